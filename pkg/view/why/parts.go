package why

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"example.com/dragoman/pkg/nearest"
	"example.com/dragoman/pkg/view"
	"example.com/dragoman/pkg/view/allocate"
)

// refusedCreation is the event of the controller that makes claims from templates
// (k8s.io/kubernetes/pkg/controller/resourceclaim).
const refusedCreation = "FailedResourceClaimCreation"

// claimsOfPod finds the claims of a pod, and says which of them are not as the scheduler needs them.
func (e *examination) claimsOfPod() {
	claims, err := allocate.PodClaims(e.Cluster, e.pod)
	for _, problem := range problems(err) {
		e.problem(problem)
	}
	for _, c := range claims {
		if slices.ContainsFunc(e.parts, func(p part) bool { return p.claim == c.Claim }) {
			continue
		}
		e.parts = append(e.parts, part{claim: c.Claim, exists: !c.Made})
		if c.Made && c.Entry != "" && e.pod.Spec.NodeName == "" {
			e.notMade(c)
		}
	}
}

// problems takes apart what allocate.PodClaims joins.
func problems(err error) []*allocate.ClaimError {
	var found []*allocate.ClaimError
	var joined interface{ Unwrap() []error }
	var one *allocate.ClaimError
	switch {
	case errors.As(err, &joined):
		for _, part := range joined.Unwrap() {
			found = append(found, problems(part)...)
		}
	case errors.As(err, &one):
		found = append(found, one)
	}
	return found
}

func (e *examination) problem(p *allocate.ClaimError) {
	object := "ResourceClaim " + p.Namespace + "/" + p.Claim
	claim := e.claim(p.Namespace, p.Claim)
	switch p.Problem {
	case allocate.ClaimMissing:
		e.missingClaim(p, object)
	case allocate.TemplateMissing:
		e.missingTemplate(p)
	case allocate.NotOfPod:
		e.stop(ClaimOfAnotherPod, object, "claim %s/%s was not made for this pod (%s)", p.Namespace, p.Claim, ownerOf(claim))
		e.advise("delete claim %s if nobody else uses it, so that one is made for this pod", p.Claim)
	case allocate.BeingDeleted:
		if e.pod.Spec.NodeName != "" {
			e.parts = append(e.parts, part{claim: claim, exists: true})
			return
		}
		e.stop(ClaimBeingDeleted, object, "claim %s/%s is being deleted%s", p.Namespace, p.Claim, holdsBack(claim))
		e.advise("wait until claim %s is gone, and make it again", p.Claim)
	case allocate.ReservedFull:
		e.stop(ClaimFull, object, "claim %s/%s has %d users, and no claim can have more", p.Namespace, p.Claim,
			len(claim.Status.ReservedFor))
		e.advise("use another claim, or wait until a pod that uses claim %s ends", p.Claim)
	case allocate.NoAllocationTime:
		e.stop(ClaimTooOld, object, "claim %s/%s got its devices from a scheduler older than Kubernetes 1.36, %s",
			p.Namespace, p.Claim, "and cannot be given to further pods (status.allocation.allocationTimestamp is empty)")
		e.advise("delete the pods that use claim %s, so that it gets its devices anew", p.Claim)
	case allocate.NamedTwice:
		e.stop(ClaimNamedTwice, object, "the pod names claim %s/%s twice in spec.resourceClaims, %s",
			p.Namespace, p.Claim, "and the scheduler cannot enter it as a user twice")
		e.advise("name claim %s once, and have all containers use that name", p.Claim)
	case allocate.NoSource:
		e.stop(ClaimMissing, "", "entry %q of spec.resourceClaims names neither a claim nor a template", p.Entry)
	default:
		e.stop(CannotTell, object, "%s", p.Error())
	}
}

func (e *examination) missingClaim(p *allocate.ClaimError, object string) {
	switch {
	case e.blind("resourceclaims"):
		e.stop(CannotTell, object, "claim %s/%s could not be seen%s", p.Namespace, p.Claim, e.takes("resourceclaims"))
	case p.Template != "":
		e.stop(ClaimMissing, object, "claim %s/%s, which was made for the pod, is gone", p.Namespace, p.Claim)
		e.advise("delete the pod: what makes it anew gets a new claim")
	default:
		known := namesIn(e.Claims, p.Namespace)
		e.stop(ClaimMissing, object, "claim %s/%s does not exist%s", p.Namespace, p.Claim, didYouMeanName(p.Claim, known))
		e.adviseName("claim", nearest.Of(p.Claim, known))
		e.advise("make ResourceClaim %q in namespace %s", p.Claim, p.Namespace)
	}
}

func (e *examination) missingTemplate(p *allocate.ClaimError) {
	object := "ResourceClaimTemplate " + p.Namespace + "/" + p.Template
	if e.blind("resourceclaimtemplates") {
		e.stop(CannotTell, object, "template %s/%s could not be seen%s", p.Namespace, p.Template,
			e.takes("resourceclaimtemplates"))
		return
	}
	known := namesIn(e.Templates, p.Namespace)
	r := e.stop(TemplateMissing, object, "template %s/%s does not exist%s", p.Namespace, p.Template,
		didYouMeanName(p.Template, known))
	r.Quotes = firstQuote(e.said("Pod", e.pod.Namespace, e.pod.Name, refusedCreation))
	e.adviseName("template", nearest.Of(p.Template, known))
	e.advise("make ResourceClaimTemplate %q in namespace %s", p.Template, p.Namespace)
}

// adviseName proposes the name that was probably meant, if there is one.
func (e *examination) adviseName(kind, name string) {
	if name != "" {
		e.advise("make the pod anew, with %s %q", kind, name)
	}
}

// notMade is about a template whose claim is not there yet.
func (e *examination) notMade(c allocate.PodClaim) {
	object := "ResourceClaimTemplate " + e.pod.Namespace + "/" + c.Template
	refused := firstQuote(e.said("Pod", e.pod.Namespace, e.pod.Name, refusedCreation))
	switch {
	case e.lacksAdminLabel(c.Claim):
		r := e.stop(AdminAccessNotAllowed, "Namespace "+e.pod.Namespace,
			"namespace %s does not allow the admin access that template %s asks for: it lacks the label %s", e.pod.Namespace,
			c.Template, adminLabel)
		r.Quotes = refused
		e.adviseAdminLabel()
	case len(refused) > 0:
		e.stop(ClaimRefused, object, "the claim of template %s/%s is refused", e.pod.Namespace, c.Template).Quotes = refused
		e.advise("mend what is said above: the claim is tried again every few minutes")
	default:
		e.stop(ClaimNotCreated, object, "the claim of template %s/%s is not made yet", e.pod.Namespace, c.Template)
		e.advise("if this lasts, see whether kube-controller-manager runs: it makes claims from templates")
	}
}

// adminLabel is what a namespace needs for claims with admin access (KEP-5018).
const adminLabel = resourceapi.DRAAdminNamespaceLabelKey + `: "true"`

func (e *examination) lacksAdminLabel(claim *resourceapi.ResourceClaim) bool {
	asks := false
	for _, n := range needsOf(claim) {
		asks = asks || n.admin
	}
	namespace := view.Find(e.Namespaces, "", claim.Namespace)
	return asks && namespace != nil && namespace.Labels[resourceapi.DRAAdminNamespaceLabelKey] != "true"
}

func (e *examination) adviseAdminLabel() {
	e.answer.Next = append(e.answer.Next, Remedy{Kind: LabelNamespace, Text: fmt.Sprintf(
		"have an administrator label the namespace: kubectl label namespace %s %s=true", e.answer.Namespace,
		resourceapi.DRAAdminNamespaceLabelKey)})
}

func ownerOf(claim *resourceapi.ResourceClaim) string {
	if owner := metav1.GetControllerOf(claim); owner != nil {
		return fmt.Sprintf("its owner is %s %s, uid %s", strings.ToLower(owner.Kind), owner.Name, owner.UID)
	}
	return "it has no owner"
}

// holdsBack says what keeps a deleted claim from going away.
func holdsBack(claim *resourceapi.ResourceClaim) string {
	names := consumersOf(claim)
	switch {
	case len(names) > 0:
		return ", and still used by " + listed(names, mostDetails)
	case len(claim.Finalizers) > 0:
		return ", and waits for finalizer " + listed(claim.Finalizers, mostDetails)
	}
	return ""
}

func key(o metav1.Object) string {
	if o.GetNamespace() == "" {
		return o.GetName()
	}
	return o.GetNamespace() + "/" + o.GetName()
}

func namesIn[O metav1.Object](objects []O, namespace string) []string {
	var names []string
	for _, o := range objects {
		if o.GetNamespace() == namespace {
			names = append(names, o.GetName())
		}
	}
	return names
}

func didYouMeanName(name string, known []string) string {
	if near := nearest.Of(name, known); near != "" {
		return fmt.Sprintf("; did you mean %q?", near)
	}
	return ""
}

func firstQuote(quotes []Quote) []Quote { return quotes[:min(len(quotes), 1)] }

// isAdmin says whether a result is for looking at a device only.
func isAdmin(r resourceapi.DeviceRequestAllocationResult) bool {
	return ptr.Deref(r.AdminAccess, false)
}
