package allocate

import (
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"example.com/dragoman/pkg/view"
)

// Problem is why a claim keeps a pod from being scheduled, whatever devices there are.
type Problem string

// The problems that a claim of a pod can have.
const (
	// ClaimMissing: there is no claim of the name.
	ClaimMissing Problem = "ClaimMissing"
	// TemplateMissing: there is no template of the name, so nobody makes the claim.
	TemplateMissing Problem = "TemplateMissing"
	// BeingDeleted: the claim goes away as soon as nobody uses it any more.
	BeingDeleted Problem = "BeingDeleted"
	// NotOfPod: the claim has the name that the pod's status says, and was made for another pod.
	NotOfPod Problem = "NotOfPod"
	// ReservedFull: as many use the claim as can.
	ReservedFull Problem = "ReservedFull"
	// NamedTwice: two entries of the pod name the claim. The scheduler would allocate it twice or, if it has devices, name
	// the pod twice among its users, and the API server refuses both.
	NamedTwice Problem = "NamedTwice"
	// NoAllocationTime: the claim was allocated by a Kubernetes older than 1.36, or without binding conditions. The
	// scheduler tries to add the time when it reserves the claim for a further pod, and the API server refuses that.
	NoAllocationTime Problem = "NoAllocationTime"
	// NoSource: the pod names neither a claim nor a template.
	NoSource Problem = "NoSource"
)

// ClaimError is a problem with one of a pod's claims.
type ClaimError struct {
	Problem   Problem
	Namespace string
	// Entry is the name in the pod's spec.resourceClaims.
	Entry string
	// Claim and Template are names. Empty where the pod has none.
	Claim, Template string
	// Owner is whose the claim is, with NotOfPod. Empty if nobody's.
	Owner string
}

func (e *ClaimError) Error() string {
	switch e.Problem {
	case ClaimMissing:
		return fmt.Sprintf("claim %s/%s does not exist", e.Namespace, e.Claim)
	case TemplateMissing:
		return fmt.Sprintf("claim template %s/%s does not exist, so there is no claim %q", e.Namespace, e.Template, e.Entry)
	case BeingDeleted:
		return fmt.Sprintf("claim %s/%s is being deleted", e.Namespace, e.Claim)
	case NotOfPod:
		owner := "nobody"
		if e.Owner != "" {
			owner = e.Owner
		}
		return fmt.Sprintf("claim %s/%s was not made for this pod: it belongs to %s", e.Namespace, e.Claim, owner)
	case ReservedFull:
		return fmt.Sprintf("claim %s/%s is used by %d already, and no more can", e.Namespace, e.Claim,
			resourceapi.ResourceClaimReservedForMaxSize)
	case NamedTwice:
		return fmt.Sprintf("claim %s/%s is named by two entries of the pod, the second of which is %q, and the scheduler "+
			"would allocate it, or enter the pod as its user, twice, which the API server refuses: name it once, containers "+
			"can share it", e.Namespace, e.Claim, e.Entry)
	case NoAllocationTime:
		return fmt.Sprintf("claim %s/%s has its devices since before Kubernetes knew when that was "+
			"(status.allocation.allocationTimestamp is empty), so no further pod can be added to those that use it: "+
			"delete the pods that use it, so that it is allocated anew", e.Namespace, e.Claim)
	default:
		return fmt.Sprintf("entry %q names neither a claim nor a template", e.Entry)
	}
}

// PodClaim is one of the claims of a pod.
type PodClaim struct {
	// Entry is the name in the pod's spec.resourceClaims. Empty for the claim of extended resources.
	Entry string
	// Template is what the claim is, or would be, made from. Empty if the pod names the claim itself.
	Template string
	// Claim is the cluster's own, which nobody changes, or one that Made says of.
	Claim *resourceapi.ResourceClaim
	// Made says that the cluster does not have the claim yet.
	Made bool
}

// ofLimits says that the claim would be made for extended resources.
func (c PodClaim) ofLimits() bool { return c.Entry == "" && c.Made }

// PodClaims returns the claims of a pod, in its order: those that exist, those that its templates would be made into,
// and last the one that the scheduler would make for limits like "example.com/gpu: 1", see ExtendedClaim. Templates
// that need no claim, as the pod's status says, have none.
//
// The error is of *ClaimErrors, joined, one for each claim with a problem; the others are returned with it.
func PodClaims(c *view.Cluster, pod *corev1.Pod) ([]PodClaim, error) {
	claims, problems := podClaims(c, pod, FeaturesOf(c))
	return claims, errors.Join(problems...)
}

func podClaims(c *view.Cluster, pod *corev1.Pod, f Features) (claims []PodClaim, problems []error) {
	for i := range pod.Spec.ResourceClaims {
		claim, err := podClaim(c, pod, &pod.Spec.ResourceClaims[i])
		again := claim.Claim != nil && !reserved(claim.Claim, pod) &&
			slices.ContainsFunc(claims, func(other PodClaim) bool { return other.Claim == claim.Claim })
		switch {
		case again:
			problems = append(problems, &ClaimError{
				Problem: NamedTwice, Namespace: pod.Namespace, Entry: claim.Entry, Claim: claim.Claim.Name,
			})
		case err != nil:
			problems = append(problems, err)
		case claim.Claim != nil:
			claims = append(claims, claim)
		}
	}
	if f.ExtendedResources {
		if claim := existingExtendedClaim(c, pod); claim != nil {
			claims = append(claims, PodClaim{Claim: claim})
		} else if claim, err := ExtendedClaim(c, pod, nil); err == nil && claim != nil {
			claims = append(claims, PodClaim{Claim: claim, Made: true})
		}
	}
	return claims, problems
}

// podClaim finds the claim of an entry. Without one and without an error, the pod needs none.
func podClaim(c *view.Cluster, pod *corev1.Pod, entry *corev1.PodResourceClaim) (PodClaim, error) {
	at := ClaimError{Namespace: pod.Namespace, Entry: entry.Name}
	fail := func(p Problem) (PodClaim, error) {
		at.Problem = p
		return PodClaim{}, &at
	}
	switch {
	case entry.ResourceClaimName != nil:
		at.Claim = *entry.ResourceClaimName
	case entry.ResourceClaimTemplateName != nil:
		at.Template = *entry.ResourceClaimTemplateName
		made, known := madeFor(pod, entry.Name)
		if known && made == nil {
			return PodClaim{}, nil
		}
		if !known {
			return imagine(c, pod, entry.Name, &at)
		}
		at.Claim = *made
	default:
		return fail(NoSource)
	}
	claim := view.Find(c.Claims, pod.Namespace, at.Claim)
	switch {
	case claim == nil:
		return fail(ClaimMissing)
	case claim.DeletionTimestamp != nil:
		return fail(BeingDeleted)
	case at.Template != "" && !metav1.IsControlledBy(claim, pod) && !ofGroup(pod, claim):
		if owner := metav1.GetControllerOfNoCopy(claim); owner != nil {
			at.Owner = owner.Kind + " " + owner.Name
		}
		return fail(NotOfPod)
	case len(claim.Status.ReservedFor) >= resourceapi.ResourceClaimReservedForMaxSize && !reserved(claim, pod):
		return fail(ReservedFull)
	case tooOld(c, claim) && !reserved(claim, pod):
		return fail(NoAllocationTime)
	}
	return PodClaim{Entry: entry.Name, Template: at.Template, Claim: claim}, nil
}

// tooOld says that a scheduler would set the time of allocation although it cannot be set any more (bindClaim of
// pkg/scheduler/framework/plugins/dynamicresources). Objects that nobody knows the version of are made up.
func tooOld(c *view.Cluster, claim *resourceapi.ResourceClaim) bool {
	return claim.Status.Allocation != nil && claim.Status.Allocation.AllocationTimestamp == nil &&
		c.Version != "" && !isOlder(c.Version, 36)
}

// madeFor returns the name of the claim that was made for an entry; nil if the pod turned out to need none.
func madeFor(pod *corev1.Pod, entry string) (name *string, known bool) {
	for _, s := range pod.Status.ResourceClaimStatuses {
		if s.Name == entry {
			return s.ResourceClaimName, true
		}
	}
	return nil, false
}

// imagine makes the claim that a template would be made into.
func imagine(c *view.Cluster, pod *corev1.Pod, entry string, at *ClaimError) (PodClaim, error) {
	template := view.Find(c.Templates, pod.Namespace, at.Template)
	if template == nil {
		at.Problem = TemplateMissing
		return PodClaim{}, at
	}
	claim := &resourceapi.ResourceClaim{
		ObjectMeta: *template.Spec.ObjectMeta.DeepCopy(),
		Spec:       *template.Spec.Spec.DeepCopy(),
	}
	claim.Namespace = pod.Namespace
	claim.Name = pod.Name + "-" + entry
	claim.UID = types.UID(pod.Namespace + "/" + claim.Name)
	return PodClaim{Entry: entry, Template: at.Template, Claim: claim, Made: true}, nil
}

// ofGroup says that the claim was made for the group of pods that the pod belongs to (KEP-5729).
func ofGroup(pod *corev1.Pod, claim *resourceapi.ResourceClaim) bool {
	group, owner := pod.Spec.SchedulingGroup, metav1.GetControllerOfNoCopy(claim)
	return group != nil && group.PodGroupName != nil && owner != nil &&
		owner.Kind == "PodGroup" && owner.Name == *group.PodGroupName
}

func reserved(claim *resourceapi.ResourceClaim, pod *corev1.Pod) bool {
	for _, r := range claim.Status.ReservedFor {
		if r.UID == pod.UID && r.Name == pod.Name {
			return true
		}
	}
	return false
}
