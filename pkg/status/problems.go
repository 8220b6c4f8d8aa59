package status

import (
	"errors"
	"strings"

	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// errDropped says what is needed for more.
var errDropped = errors.New("the API server drops status.devices of ResourceClaims; " +
	"it keeps them with the feature gate DRAResourceClaimDeviceStatus")

// resultOf says how an attempt ended.
func resultOf(err error) Result {
	var answer apierrors.APIStatus
	switch {
	case err == nil:
		return Wrote
	case errors.Is(err, errDropped):
		return Dropped
	case !errors.As(err, &answer):
		return Unreachable
	case apierrors.IsForbidden(err) && !isByAdmission(err), isRightToEntries(answer.Status()):
		return Forbidden
	}
	code := answer.Status().Code
	if code == 401 || code == 409 || code == 429 || code >= 500 ||
		apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse) {
		return Unreachable
	}
	return Refused
}

// isByAdmission tells a policy or a webhook, which judge one claim, from the lack of a right.
func isByAdmission(err error) bool {
	return strings.Contains(err.Error(), "denied request") || strings.Contains(err.Error(), "denied the request")
}

// isRightToEntries says whether the right to the entries of the driver is missing: that to resourceclaims/driver, since
// Kubernetes 1.36. Of a claim that is allocated to another node the API server asks for a right to all nodes instead,
// which the driver is not to have: that is about one claim.
func isRightToEntries(s metav1.Status) bool {
	if s.Reason != metav1.StatusReasonInvalid || s.Details == nil {
		return false
	}
	for _, cause := range s.Details.Causes {
		if cause.Type == metav1.CauseTypeForbidden && strings.Contains(cause.Message, resourceapi.VerbPrefixAssociatedNode) {
			return true
		}
	}
	return false
}

// isReplaced says whether another claim has the name now.
func isReplaced(err error) bool {
	var answer apierrors.APIStatus
	if !errors.As(err, &answer) {
		return false
	}
	if apierrors.IsConflict(err) {
		return strings.Contains(err.Error(), "uid mismatch")
	}
	if s := answer.Status(); s.Reason == metav1.StatusReasonInvalid && s.Details != nil {
		for _, cause := range s.Details.Causes {
			if cause.Field == "metadata.uid" {
				return true
			}
		}
	}
	return false
}

// isGone tells the API server's word about a claim from that of a proxy, and from an API server that does not serve
// claims: all say 404.
func isGone(err error) bool {
	var answer apierrors.APIStatus
	if !apierrors.IsNotFound(err) || !errors.As(err, &answer) {
		return false
	}
	details := answer.Status().Details
	return details != nil && details.Kind == "resourceclaims" &&
		!apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse)
}
