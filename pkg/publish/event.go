package publish

import (
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/dynamic-resource-allocation/resourceslice"
)

// EventType says what an [Event] is about.
type EventType string

const (
	// Wrote is a write that the API server accepted.
	Wrote EventType = "wrote"
	// Failed is an attempt that failed. What fails for long is told of again and again, less and less often.
	Failed EventType = "failed"
	// Acknowledged means that the API server now holds exactly what was published last, and did not before.
	Acknowledged EventType = "acknowledged"
)

// Verb is what was asked of the API server.
type Verb string

// The verbs of events. Rehearse is a create that changes nothing (dry run).
const (
	Create   Verb = "create"
	Update   Verb = "update"
	Delete   Verb = "delete"
	List     Verb = "list"
	Watch    Verb = "watch"
	Rehearse Verb = "rehearse"
)

// Reason is the kind of a problem.
type Reason string

// The reasons of problems.
const (
	Pending       Reason = "pending"        // nothing is wrong, it is just not done yet
	DroppedFields Reason = "dropped_fields" // stored without some fields, since a feature gate is off
	Invalid       Reason = "invalid"        // refused because of its content
	Forbidden     Reason = "forbidden"      // refused by RBAC or an admission policy
	Conflict      Reason = "conflict"       // somebody else wrote or deleted it at the same time
	Unreachable   Reason = "unreachable"    // the API server does not answer or is overloaded
	Other         Reason = "other"
)

// Event tells of one thing that happened while publishing.
type Event struct {
	Type EventType
	// Verb is set for Wrote, and for Failed if a request for ResourceSlices failed.
	Verb Verb
	// Problem is set for Failed.
	Problem *Problem
}

// Problem says why the API server does not hold what was published last.
type Problem struct {
	Reason Reason
	// Features are the feature gates that would help, for DroppedFields.
	Features []string
	// Err is the cause; nil for Pending.
	Err error

	text  string
	since time.Time
}

func (p *Problem) Error() string { return p.text }

// Unwrap returns the cause.
func (p *Problem) Unwrap() error { return p.Err }

func pending(format string, args ...any) *Problem {
	return &Problem{Reason: Pending, text: fmt.Sprintf(format, args...)}
}

// problemOf says what err means for whoever runs the cluster, and what to do about it. Devices that it is about are
// looked up in wanted.
func problemOf(err error, wanted []resourceapi.ResourceSliceSpec) *Problem {
	p := &Problem{Reason: reasonOf(err), Err: err}
	var dropped *resourceslice.DroppedFieldsError
	switch {
	case errors.As(err, &dropped):
		p.Features = dropped.DisabledFeatures()
		slices.Sort(p.Features)
		gates := strings.Join(p.Features, ", ")
		if gates == "" {
			gates = "that these fields belong to"
		}
		p.text = fmt.Sprintf("ResourceSlice #%d of pool %q is published without some of its fields: enable the feature "+
			"gate %s in kube-apiserver and kube-scheduler, or turn the option off that needs it", dropped.SliceIndex,
			dropped.PoolName, gates)
	case p.Reason == Invalid:
		p.text = fmt.Sprintf("the devices are refused and those published before stay: %s%v", culprits(err, wanted), err)
	case p.Reason == Forbidden:
		p.text = fmt.Sprintf("this is forbidden; check the driver's ClusterRole, its binding and the "+
			"ValidatingAdmissionPolicies for resourceslices: %v", err)
	case p.Reason == Unreachable:
		p.text = fmt.Sprintf("the API server does not answer; it is asked again until it does: %v", err)
	case p.Reason == Conflict:
		p.text = fmt.Sprintf("ResourceSlices were changed by somebody else at the same time; they are written again: %v", err)
	default:
		p.text = fmt.Sprintf("publishing ResourceSlices: %v", err)
	}
	return p
}

func reasonOf(err error) Reason {
	var dropped *resourceslice.DroppedFieldsError
	var bad *poolError
	var network net.Error
	switch {
	case errors.As(err, &dropped):
		return DroppedFields
	case apierrors.IsInvalid(err) && strings.Contains(err.Error(), "ValidatingAdmissionPolicy"):
		return Forbidden // The API server gives the denial of a policy the same code as bad content.
	case errors.As(err, &bad), apierrors.IsInvalid(err), apierrors.IsBadRequest(err),
		apierrors.IsRequestEntityTooLargeError(err):
		return Invalid
	case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err):
		return Forbidden
	case apierrors.IsConflict(err), apierrors.IsNotFound(err), apierrors.IsAlreadyExists(err),
		apierrors.IsResourceExpired(err), apierrors.IsGone(err):
		return Conflict
	case apierrors.IsServerTimeout(err), apierrors.IsTimeout(err), apierrors.IsTooManyRequests(err),
		apierrors.IsServiceUnavailable(err), apierrors.IsInternalError(err), apierrors.IsUnexpectedServerError(err),
		errors.As(err, &network), utilnet.IsConnectionRefused(err), utilnet.IsConnectionReset(err),
		utilnet.IsProbableEOF(err), errors.Is(err, context.DeadlineExceeded):
		return Unreachable
	default:
		return Other
	}
}

var (
	sliceIndex  = regexp.MustCompile(`^([0-9a-f]{5,})-`)
	deviceIndex = regexp.MustCompile(`spec\.devices\[(\d+)\]`)
)

// indexOf returns the index of the slice of that name, with which the name begins.
func indexOf(name string) (index int, ok bool) {
	at := sliceIndex.FindStringSubmatch(name)
	if at == nil {
		return 0, false
	}
	parsed, err := strconv.ParseInt(at[1], 16, 32)
	return int(parsed), err == nil
}

// culprits names the devices that the API server refuses, of which its error has only the positions: the slice's is in
// the slice's name.
func culprits(err error, wanted []resourceapi.ResourceSliceSpec) string {
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Details == nil {
		return ""
	}
	index, ok := indexOf(status.Status().Details.Name)
	if !ok || index >= len(wanted) {
		return ""
	}
	devices := wanted[index].Devices
	var names []string
	for _, cause := range status.Status().Details.Causes {
		position := deviceIndex.FindStringSubmatch(cause.Field)
		if position == nil {
			continue
		}
		n, err := strconv.Atoi(position[1])
		if err == nil && n < len(devices) && !slices.Contains(names, devices[n].Name) {
			names = append(names, devices[n].Name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	return "device " + strings.Join(names, ", ") + ": "
}
