// Package admission tells the API server that a configuration is wrong when somebody makes an object with it, and not
// only when a pod with it starts: an HTTPS webhook for ResourceClaims, ResourceClaimTemplates and DeviceClasses
// (AdmissionReview, admission.k8s.io/v1).
//
// # The same sentence
//
// What is wrong is for [claim.Decide] to say, as when the claim is prepared: the object is looked at as if the
// scheduler had given all its requests devices of this driver (review.go). What only an allocation tells, such as
// whether a device with admin access is one of this driver's, is not judged here. An object whose spec does not change
// is not judged either, since nobody could mend it.
//
// # The certificate
//
// No certificate manager is needed. The program makes an authority and a certificate, keeps the certificate in a
// Secret, and forgets the authority's key; the authority goes into the caBundle of the ValidatingWebhookConfiguration
// (keeper.go). A third of a year before a certificate ends it makes another one in the same way. The bundle has the
// authorities of both for as long, and no replica serves another certificate than before until API servers have had
// 2 s to read of its authority, whoever wrote the bundle, so that replicas may do this at any time, in any order.
//
// # Rights
//
// get and update on the Secret; create only where nobody else makes it. get and patch on the webhook configuration.
//
// # What may come
//
// Anybody in the cluster may connect. A question has at most 4 MiB and 5 s to arrive, 32 are looked at at a time, and
// answers depend on nothing but the question.
package admission
