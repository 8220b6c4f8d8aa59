package driver

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsapi "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"

	"example.com/dragoman/pkg/device"
	"example.com/dragoman/pkg/prepare"
)

const (
	// eventQueue is how many events can wait. More are dropped: claims fail faster than anybody can read.
	eventQueue = 64
	// eventAttempts is how often an event is tried; between two attempts is a pause, the first of firstEventPause, each
	// later one twice as long.
	eventAttempts   = 5
	firstEventPause = time.Second
	// eventsKnown bounds what is remembered of events. Above it, the API server is asked again to make some that it has.
	eventsKnown = 1000

	// What the API accepts.
	maxEventNote, maxEventName, maxEventInstance = 1024, 253, 128
)

// Reasons of events, besides those of [prepare.Lasting].
const (
	reasonInvalidClaim  = "InvalidClaim"
	reasonInternalError = "InternalError"
)

// events tells users of a claim why it cannot be prepared, and operators what is wrong with devices of the node, where
// they look for it. Nobody waits for them, and without the right to make them the driver goes on as with it.
type events struct {
	client               kubernetes.Interface // nil if nobody wants them
	driverName, nodeName string
	queue                chan *eventsapi.Event

	mu     sync.Mutex
	known  map[string]bool // names of those that were queued
	denied bool            // the log says that the right is missing
}

func newEvents(o Options) *events {
	return &events{client: o.Events, driverName: o.DriverName, nodeName: o.NodeName,
		queue: make(chan *eventsapi.Event, eventQueue), known: make(map[string]bool)}
}

// tell makes an event of the claim with the sentence, unless there was one with the same. It does not wait.
func (e *events) tell(ctx context.Context, c device.Claim, reason, sentence string) {
	if e.client == nil || c.Namespace == "" || c.Name == "" {
		return
	}
	e.enqueue(ctx, e.make(c, reason, sentence))
}

// enqueue has an event made, unless there was one of that name.
func (e *events) enqueue(ctx context.Context, event *eventsapi.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.known[event.Name] {
		return
	}
	select {
	case e.queue <- event:
	default:
		klog.FromContext(ctx).V(2).Info("Dropped an event, since many others wait", "event", klog.KObj(event))
		return
	}
	if len(e.known) >= eventsKnown {
		clear(e.known)
	}
	e.known[event.Name] = true
}

// make gives the same event the same name, so that another process, or this one after a restart, does not make it
// again: a name can be taken once.
func (e *events) make(c device.Claim, reason, sentence string) *eventsapi.Event {
	sum := sha256.Sum256([]byte(string(c.UID) + "\n" + reason + "\n" + sentence))
	suffix := "." + hex.EncodeToString(sum[:8])
	return &eventsapi.Event{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: c.Namespace,
			Name:      strings.TrimRight(beginning(c.Name, maxEventName-len(suffix)), ".-") + suffix,
		},
		EventTime:           metav1.NowMicro(),
		ReportingController: e.driverName,
		ReportingInstance:   beginning(e.nodeName, maxEventInstance),
		Action:              "Prepare",
		Reason:              reason,
		Type:                corev1.EventTypeWarning,
		Note:                beginning(sentence, maxEventNote),
		Regarding: corev1.ObjectReference{
			APIVersion: "resource.k8s.io/v1", Kind: "ResourceClaim", Namespace: c.Namespace, Name: c.Name, UID: c.UID,
		},
	}
}

// run makes the events that tell queues until ctx ends.
func (e *events) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case event := <-e.queue:
			e.create(ctx, event)
		}
	}
}

func (e *events) create(ctx context.Context, event *eventsapi.Event) {
	logger := klog.LoggerWithValues(klog.FromContext(ctx), "of", event.Regarding.Kind,
		"name", klog.KRef(event.Regarding.Namespace, event.Regarding.Name))
	var err error
	for n, pause := 0, firstEventPause; n < eventAttempts; n, pause = n+1, 2*pause {
		if n > 0 {
			select {
			case <-ctx.Done():
				return
			case <-time.After(pause):
			}
		}
		attempt, cancel := context.WithTimeout(ctx, fetchAttempt)
		_, err = e.client.EventsV1().Events(event.Namespace).Create(attempt, event, metav1.CreateOptions{})
		cancel()
		switch {
		case err == nil, apierrors.IsAlreadyExists(err):
			e.note(logger, nil)
			return
		case apierrors.IsNotFound(err), apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
			return // the namespace is gone, or goes, with the claim
		case apierrors.IsForbidden(err):
			e.note(logger, err)
			return
		case !isTrouble(err):
			logger.Error(err, "Make an event")
			return
		}
	}
	logger.V(2).Info("Gave up making an event; the API server is in trouble", "err", err)
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.known, event.Name) // the next time it may work
}

// note says once that the right is missing.
func (e *events) note(logger klog.Logger, denied error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if denied != nil && !e.denied {
		logger.Error(denied, "Not allowed to make events: what is wrong with claims is in the events of pods, and here; "+
			"to have it in those of claims too, and what is wrong with devices in those of the Node, allow to create events "+
			"in the API group events.k8s.io")
	}
	e.denied = denied != nil
}

// invalidError is what Decide says of a claim. Asking again does not help.
type invalidError struct{ error }

func (e *invalidError) Unwrap() error { return e.error }

// internalError is a panic.
type internalError struct{ error }

// lasting returns why asking again does not help, empty if it may.
func lasting(err error) string {
	switch {
	case errors.As(err, new(*invalidError)):
		return reasonInvalidClaim
	case errors.As(err, new(*internalError)):
		return reasonInternalError
	}
	return prepare.Lasting(err)
}

// Tell makes an event of a problem with a claim that was found without a call of the kubelet, if asking again does not
// help against it.
func (d *Driver) Tell(ctx context.Context, c device.Claim, problem error) {
	if reason := lasting(problem); reason != "" {
		d.events.tell(ctx, c, reason, problem.Error())
	}
}
