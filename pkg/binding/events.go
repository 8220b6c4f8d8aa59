package binding

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsapi "k8s.io/api/events/v1"
	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"

	"example.com/dragoman/pkg/device"
)

const (
	// eventTimeout bounds making an event: it is told once, and the conditions say the same.
	eventTimeout = 10 * time.Second
	// What the API accepts.
	maxNote, maxEventName = 1024, 253
)

// report says what came of attaching a device, in the log and, if it went wrong, in an event of the claim.
func (c *Controller) report(
	ctx context.Context, claim device.Claim, r resourceapi.DeviceRequestAllocationResult, problem error,
) {
	logger := klog.LoggerWithValues(klog.FromContext(ctx), "claim", klog.KRef(claim.Namespace, claim.Name),
		"claimUID", claim.UID, "pool", r.Pool, "device", r.Device)
	if problem == nil {
		logger.V(2).Info("Attached a device")
		return
	}
	logger.Error(problem, "Device was not attached")
	if c.options.Events == nil {
		return
	}
	event := c.event(claim, r, problem)
	c.working.Go(func() {
		// The allocation may end sooner, because of this very problem.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), eventTimeout)
		defer cancel()
		_, err := c.options.Events.EventsV1().Events(claim.Namespace).Create(ctx, event, metav1.CreateOptions{})
		if err != nil && !apierrors.IsAlreadyExists(err) && !apierrors.IsNotFound(err) {
			logger.V(2).Info("Event of a claim was not made", "err", err)
		}
	})
}

// event gives the same problem of the same allocation the same name, so that it is told once.
func (c *Controller) event(claim device.Claim, r resourceapi.DeviceRequestAllocationResult, problem error,
) *eventsapi.Event {
	note := "device " + r.Device + " of pool " + r.Pool + " was not attached: " + problem.Error()
	sum := sha256.Sum256([]byte(string(claim.UID) + "\n" + note))
	suffix := "." + hex.EncodeToString(sum[:8])
	return &eventsapi.Event{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: claim.Namespace,
			Name:      strings.TrimRight(claim.Name[:min(len(claim.Name), maxEventName-len(suffix))], ".-") + suffix,
		},
		EventTime:           metav1.NowMicro(),
		ReportingController: c.options.DriverName,
		ReportingInstance:   fieldManager(c.options.DriverName),
		Action:              "Attach",
		Reason:              reasonAttachFailed,
		Type:                corev1.EventTypeWarning,
		Note:                shortened(note, maxNote),
		Regarding: corev1.ObjectReference{
			APIVersion: "resource.k8s.io/v1", Kind: "ResourceClaim",
			Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID,
		},
	}
}
