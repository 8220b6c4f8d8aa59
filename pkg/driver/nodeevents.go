package driver

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsapi "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Reasons of events of the Node.
const (
	reasonUnhealthy = "DeviceUnhealthy"
	reasonHealthy   = "DeviceHealthy"
	reasonGone      = "DeviceGone"
	reasonAdded     = "DeviceAdded"
)

// maxNamed is how many devices one event names.
const maxNamed = 10

// change is news of one device.
type change struct {
	device string
	// reason is that of an event of the Node.
	reason string
	// because is what is wrong with a device that fell ill, or was with one that recovered.
	because string
	// first says that nothing was known of the devices before, so that it may have been told by an earlier process.
	first bool
}

// tellNode makes events of the Node, where people look for what is wrong with it. News that differ in nothing but the
// device are one event: of a GPU and its parts, or of all devices when somebody has pulled a cable. It does not wait.
func (e *events) tellNode(ctx context.Context, news []change) {
	if e.client == nil {
		return
	}
	var kinds []change
	devices := make(map[change][]string)
	for _, one := range news {
		kind := one
		kind.device = ""
		if devices[kind] == nil {
			kinds = append(kinds, kind)
		}
		devices[kind] = append(devices[kind], one.device)
	}
	for _, kind := range kinds {
		e.enqueue(ctx, e.makeForNode(kind, devices[kind]))
	}
}

// makeForNode gives what was found by the first look the same name in each process, so that it is told once; what
// happens later can happen again.
func (e *events) makeForNode(news change, devices []string) *eventsapi.Event {
	now := metav1.NowMicro()
	sentence := news.sentence(devices)
	once := "first"
	if !news.first {
		once = now.Format(time.RFC3339Nano)
	}
	sum := sha256.Sum256([]byte(e.driverName + "\n" + e.nodeName + "\n" + sentence + "\n" + once))
	suffix := "." + hex.EncodeToString(sum[:8])
	severity := corev1.EventTypeNormal
	if news.reason == reasonUnhealthy || news.reason == reasonGone {
		severity = corev1.EventTypeWarning
	}
	return &eventsapi.Event{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: metav1.NamespaceDefault, // that of events of objects without one
			Name:      strings.TrimRight(beginning(e.nodeName, maxEventName-len(suffix)), ".-") + suffix,
		},
		EventTime:           now,
		ReportingController: e.driverName,
		ReportingInstance:   beginning(e.nodeName, maxEventInstance),
		Action:              "Watch",
		Reason:              news.reason,
		Type:                severity,
		Note:                beginning(sentence, maxEventNote),
		// As in the kubelet's events of the Node; "kubectl describe node" looks for this UID, too.
		Regarding: corev1.ObjectReference{
			APIVersion: "v1", Kind: "Node", Name: e.nodeName, UID: types.UID(e.nodeName),
		},
	}
}

func (news change) sentence(devices []string) string {
	subject, is := "device "+devices[0], "is"
	if len(devices) > 1 {
		subject, is = "devices "+strings.Join(devices[:min(len(devices), maxNamed)], ", "), "are"
	}
	if more := len(devices) - maxNamed; more > 0 {
		subject += fmt.Sprintf(" and %d more", more)
	}
	switch news.reason {
	case reasonUnhealthy:
		return subject + " " + is + " unhealthy: " + news.because
	case reasonHealthy:
		return subject + " " + is + " healthy again; before: " + news.because
	case reasonGone:
		return subject + " " + is + " gone: the driver does not see " + map[string]string{"is": "it", "are": "them"}[is] +
			" on the node any more"
	default:
		return subject + " " + is + " there now"
	}
}
