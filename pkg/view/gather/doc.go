// Package gather writes a support bundle: what somebody who mends a DRA driver needs to know of a cluster, in one
// compressed tar file.
//
// What is in it is chosen so that it can be sent to strangers. Secrets are never read. Of pods there is no environment,
// no arguments and no annotations, and of the configuration that claims have for drivers there is the shape but no
// values, unless all is asked for; what looks like a password or a token is masked in any case, in logs too. A README
// in the bundle says what there is and what is missing.
package gather
