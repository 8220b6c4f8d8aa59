package driver

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsapi "k8s.io/api/events/v1"
	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/klog/v2"
	"k8s.io/klog/v2/textlogger"

	"example.com/dragoman/pkg/checkpoint"
	"example.com/dragoman/pkg/claim"
	"example.com/dragoman/pkg/device"
	"example.com/dragoman/pkg/prepare"
)

// failing is a preparer with an error.
type failing struct {
	memory
	err error
}

func (f *failing) Prepare(context.Context, claim.Plan) ([]prepare.Device, error) { return nil, f.err }

// TestAClaimThatCannotBePreparedGetsOneEvent: with the sentence that the kubelet gets, however often it asks and
// whoever answers; and none where asking again may help.
func TestAClaimThatCannotBePreparedGetsOneEvent(t *testing.T) {
	held := &checkpoint.HeldError{Key: checkpoint.DeviceKey{Pool: "node-a", Device: "gpu-0"},
		By: checkpoint.Claim{Namespace: "team-b", Name: "other", UID: "2"}}
	for name, tc := range map[string]struct {
		decide, prepare error
		want            string // reason
	}{
		"its configuration is wrong":      {decide: errors.New("spec.devices.config[0]: wrong"), want: "InvalidClaim"},
		"another claim has its device":    {prepare: fmt.Errorf("hold: %w", held), want: "DeviceHeld"},
		"a newer version has recorded it": {prepare: &checkpoint.VersionError{UID: "1", Version: 2}, want: "NewerRecord"},
		"the backend panics":              {prepare: &prepare.PanicError{During: "prepare"}, want: "InternalError"},
		"the backend refuses it": {
			prepare: fmt.Errorf("set up gpu-0: %w", &device.RefusedError{Reason: errors.New("no MPS")}), want: "Refused"},
		"a record cannot be moved away": {prepare: &checkpoint.CorruptError{UID: "1"}, want: "UnreadableRecord"},
		"it is not allocated":           {decide: fmt.Errorf("claim %w", claim.ErrNotAllocated)},
		"the disk is full":              {prepare: errors.New("write record: no space left on device")},
		"nothing is wrong":              {},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := fake.NewClientset()
				ctx, cancel := context.WithCancel(quietly(t.Context()))
				defer cancel()
				var sentence string
				for range 2 { // instances
					d := New(Options{Events: client, DriverName: "gpu.example.com", NodeName: "node-a",
						Preparer: &failing{err: tc.prepare},
						Decide:   func(*resourceapi.ResourceClaim) (claim.Plan, error) { return claim.Plan{}, tc.decide }})
					go d.events.run(ctx) //nolint:errcheck // always nil
					for range 3 {
						answer, _ := d.PrepareResourceClaims(ctx, []*resourceapi.ResourceClaim{allocated("1", "gpu-0")})
						if err := answer["1"].Err; err != nil {
							sentence = err.Error()
						}
						synctest.Wait()
						time.Sleep(time.Minute)
					}
				}
				all, err := client.EventsV1().Events("team-a").List(ctx, metav1.ListOptions{})
				if err != nil {
					t.Fatal(err)
				}
				if tc.want == "" {
					if len(all.Items) != 0 {
						t.Errorf("events: %v", all.Items)
					}
					return
				}
				creates := 0
				for _, action := range client.Actions() {
					if action.GetVerb() == "create" {
						creates++
					}
				}
				if creates != 2 {
					t.Errorf("the API server was asked %d times, want once by each instance", creates)
				}
				if len(all.Items) != 1 {
					t.Fatalf("%d events, want one: %v", len(all.Items), all.Items)
				}
				e := all.Items[0]
				if e.Reason != tc.want || e.Note != sentence || e.Type != corev1.EventTypeWarning ||
					e.Regarding.UID != "1" || e.Regarding.Name != "train" || e.Regarding.Kind != "ResourceClaim" {
					t.Errorf("the event is %+v", e)
				}
			})
		})
	}
}

func TestWhatTheAPIServerSaysOfEvents(t *testing.T) {
	resource := schema.GroupResource{Group: "events.k8s.io", Resource: "events"}
	ending := apierrors.NewForbidden(resource, "e", errors.New("namespace is being terminated"))
	ending.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: corev1.NamespaceTerminatingCause}}
	for name, tc := range map[string]struct {
		answer error // to all attempts
		asked  int   // for two events
		says   int   // lines of the log at level 1
	}{
		"yes":                    {nil, 2, 0},
		"it is there already":    {apierrors.NewAlreadyExists(resource, "e"), 2, 0},
		"not allowed":            {apierrors.NewForbidden(resource, "e", errors.New("no role")), 2, 1},
		"the namespace is gone":  {apierrors.NewNotFound(resource, "team-a"), 2, 0},
		"the namespace goes":     {ending, 2, 0},
		"trouble":                {apierrors.NewInternalError(errors.New("etcd")), 2 * eventAttempts, 0},
		"there is no such thing": {apierrors.NewInvalid(schema.GroupKind{}, "e", nil), 2, 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, asked := fake.NewClientset(), 0
				client.PrependReactor("create", "events", func(clienttesting.Action) (bool, runtime.Object, error) {
					asked++
					return true, &eventsapi.Event{}, tc.answer
				})
				var log strings.Builder
				ctx, cancel := context.WithCancel(klog.NewContext(t.Context(), textlogger.NewLogger(
					textlogger.NewConfig(textlogger.Output(&log), textlogger.Verbosity(1)))))
				d := New(Options{Events: client})
				ended := make(chan error)
				go func() { ended <- d.events.run(ctx) }()
				for _, uid := range []types.UID{"1", "2"} {
					d.Tell(ctx, device.Claim{Namespace: "team-a", Name: "train", UID: uid}, &invalidError{errors.New("wrong")})
				}
				time.Sleep(time.Hour)
				cancel()
				if err := <-ended; err != nil {
					t.Error(err)
				}
				if asked != tc.asked || strings.Count(log.String(), "\n") != tc.says {
					t.Errorf("asked %d times, want %d; said, want %d lines:\n%s", asked, tc.asked, tc.says, log.String())
				}
			})
		})
	}
}

func TestEventsThatNobodyMakesDoNotHoldUpAnybody(t *testing.T) {
	d := New(Options{Events: fake.NewClientset()}) // and nothing runs
	for n := range 3 * eventsKnown {
		uid := types.UID(fmt.Sprint(n))
		d.Tell(quietly(t.Context()), device.Claim{Namespace: "a", Name: "b", UID: uid}, &invalidError{errors.New("no")})
	}
	if len(d.events.queue) != eventQueue || len(d.events.known) > eventsKnown {
		t.Errorf("%d wait, %d are known", len(d.events.queue), len(d.events.known))
	}
	d = New(Options{})
	d.Tell(quietly(t.Context()), device.Claim{Namespace: "a", Name: "b"}, &invalidError{errors.New("no")})
}

// TestAnEventIsWhatTheAPIAccepts, whatever the claim is called and however long the sentence is.
func TestAnEventIsWhatTheAPIAccepts(t *testing.T) {
	e := newEvents(Options{Events: fake.NewClientset(), DriverName: "gpu.example.com", NodeName: strings.Repeat("n", 253)})
	for _, name := range []string{"train", strings.Repeat("a.", 126) + "b", "x"} {
		event := e.make(device.Claim{Namespace: "team-a", Name: name, UID: "1"}, "Reason", strings.Repeat("ä", 1000))
		if problems := validation.IsDNS1123Subdomain(event.Name); len(problems) != 0 {
			t.Errorf("name %s: %v", event.Name, problems)
		}
		if len(event.Note) > 1024 || len(event.ReportingInstance) > 128 || event.EventTime.IsZero() {
			t.Errorf("the event is %+v", event)
		}
	}
	one := e.make(device.Claim{Namespace: "a", Name: "b", UID: "1"}, "Reason", "sentence")
	for what, other := range map[string]*eventsapi.Event{
		"UID":      e.make(device.Claim{Namespace: "a", Name: "b", UID: "2"}, "Reason", "sentence"),
		"sentence": e.make(device.Claim{Namespace: "a", Name: "b", UID: "1"}, "Reason", "another"),
	} {
		if other.Name == one.Name {
			t.Errorf("another %s has the same name", what)
		}
	}
}
