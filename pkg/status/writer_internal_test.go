package status

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"example.com/dragoman/pkg/device"
)

var claims = schema.GroupResource{Group: "resource.k8s.io", Resource: "resourceclaims"}

// rig is a writer on a virtual clock. The API server is one claim that takes what is applied, or answers with errors;
// the real one is asked in the end-to-end tests.
type rig struct {
	w *Writer

	mu       sync.Mutex
	claim    *resourceapi.ResourceClaim
	answers  []error // of patches, one after the other; then they are accepted
	drops    bool
	recorded []Device
	unsure   error
	asked    []string
	events   []string
	during   func() // called while a patch is answered
}

func newRig(t *testing.T) *rig {
	r := &rig{recorded: []Device{set("gpu-0")}, claim: &resourceapi.ResourceClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "team-a", Name: "train", UID: "1"}, Status: showing()}}
	client := fake.NewClientset()
	client.PrependReactor("*", "*", r.answer)
	r.w = New(Options{Client: client, DriverName: driverName, NodeName: nodeName,
		Recorded: func(device.Claim) ([]Device, error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			return r.recorded, r.unsure
		},
		Observe: func(e Event) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.events = append(r.events, fmt.Sprintf("%s %t", e.Result, e.News))
		}})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := r.w.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() {
		stop()
		<-ended
	})
	return r
}

func (r *rig) answer(action clienttesting.Action) (bool, runtime.Object, error) {
	r.mu.Lock()
	during := r.during
	r.mu.Unlock()
	if during != nil {
		during()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = append(r.asked, action.GetVerb())
	patch, isPatch := action.(clienttesting.PatchAction)
	switch {
	case r.claim == nil:
		return true, nil, apierrors.NewNotFound(claims, "train")
	case isPatch && len(r.answers) > 0:
		err := r.answers[0]
		r.answers = r.answers[1:]
		if err != nil {
			return true, nil, err
		}
	}
	is := r.claim.DeepCopy()
	if isPatch {
		var applied resourceapi.ResourceClaim
		if err := json.Unmarshal(patch.GetPatch(), &applied); err != nil {
			return true, nil, err
		}
		if is.Status.Devices = applied.Status.Devices; r.drops {
			is.Status.Devices = nil
		}
		r.claim = is
	}
	return true, is.DeepCopy(), nil
}

func (r *rig) ref() device.Claim { return device.Claim{Namespace: "team-a", Name: "train", UID: "1"} }

// did returns what was asked of the API server and told of it since it was called last, once all is quiet.
func (r *rig) did() (asked, events string) {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	asked, events = strings.Join(r.asked, " "), strings.Join(r.events, ", ")
	r.asked, r.events = nil, nil
	return asked, events
}

func (r *rig) expect(t *testing.T, when, asked, events string) {
	t.Helper()
	if a, e := r.did(); a != asked || e != events {
		t.Errorf("%s: asked %q and told %q, want %q and %q", when, a, e, asked, events)
	}
}

func (r *rig) change(do func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	do()
}

// inABubble runs a test on a virtual clock.
func inABubble(t *testing.T, test func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, newRig(t)) })
}

func TestAClaimCostsOneRequestWhenPreparedAndOneWhenTakenBack(t *testing.T) {
	inABubble(t, func(t *testing.T, r *rig) {
		r.w.Changed(r.ref(), r.claim.DeepCopy())
		r.expect(t, "prepared", "patch", "ok false")
		if got := inShort(r.claim.Status.Devices); len(got) != 1 {
			t.Errorf("the status shows %q", got)
		}
		r.change(func() { r.recorded = nil })
		r.w.Changed(r.ref(), nil)
		r.expect(t, "taken back", "patch", "ok false")
		if got := r.claim.Status.Devices; len(got) != 0 {
			t.Errorf("the status still shows %v", got)
		}
	})
}

func TestTheLatestWins(t *testing.T) {
	inABubble(t, func(t *testing.T, r *rig) {
		release := make(chan struct{})
		r.change(func() { r.during = func() { <-release } })
		r.w.Changed(r.ref(), r.claim.DeepCopy())
		synctest.Wait() // it is being written
		for range 100 {
			r.w.Changed(r.ref(), r.claim.DeepCopy())
		}
		r.change(func() { r.recorded, r.during = nil, nil })
		r.w.Changed(r.ref(), nil)
		close(release)
		r.expect(t, "101 changes during a write", "patch patch", "ok false, ok false")
		if got := r.claim.Status.Devices; len(got) != 0 {
			t.Errorf("the status shows %v, and nothing is recorded", got)
		}
	})
}

func TestComparingWritesOnlyWhatDiffers(t *testing.T) {
	inABubble(t, func(t *testing.T, r *rig) {
		r.w.Compare(r.ref(), r.claim.DeepCopy())
		r.expect(t, "nothing is shown", "patch", "ok false")
		r.w.Compare(r.ref(), r.claim.DeepCopy())
		r.expect(t, "all is shown", "", "")
		r.w.Compare(r.ref(), nil)
		r.expect(t, "all is shown, which is to be looked up", "get", "")
		r.change(func() { r.recorded[0].Health = nil })
		r.w.Compare(r.ref(), nil)
		r.expect(t, "the device is gone", "get patch", "ok false")
	})
}

func TestComparingDoesNotReplaceAChangeThatWaits(t *testing.T) {
	w := New(Options{})
	c := device.Claim{Namespace: "team-a", Name: "train", UID: "1"}
	w.Changed(c, nil)
	w.Compare(c, &resourceapi.ResourceClaim{})
	if d := w.due["1"]; d.unlessShown || d.seen != nil {
		t.Errorf("what waits is now %+v", d)
	}
}

func TestTroubleIsTriedAgainWithLongerAndLongerPauses(t *testing.T) {
	busy := apierrors.NewTooManyRequests("slow down", 0)
	broken := apierrors.NewInternalError(errors.New("etcd"))
	proxys := apierrors.NewGenericServerResponse(404, "patch", claims, "train", "404 page not found", 0, true)
	for name, tc := range map[string]struct {
		answers []error
		took    time.Duration
	}{
		"too many requests":       {[]error{busy}, time.Second},
		"an internal error":       {[]error{broken, busy}, 3 * time.Second},
		"a proxy's word":          {[]error{proxys, proxys, busy}, 7 * time.Second},
		"a connection":            {[]error{errors.New("connection refused")}, time.Second},
		"a conflict":              {[]error{apierrors.NewConflict(claims, "train", errors.New("changed"))}, time.Second},
		"a token that is too old": {[]error{apierrors.NewUnauthorized("expired")}, time.Second},
		"ten times":               {slices.Repeat([]error{busy}, 10), (255 + 256 + 300) * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			inABubble(t, func(t *testing.T, r *rig) {
				r.change(func() { r.answers = tc.answers })
				begin := time.Now()
				r.w.Changed(r.ref(), r.claim.DeepCopy())
				time.Sleep(tc.took - time.Millisecond)
				if _, events := r.did(); strings.Contains(events, "ok") {
					t.Errorf("written too soon: %s", events)
				}
				time.Sleep(time.Millisecond)
				r.expect(t, "then", "get patch", "ok false")
				if took := time.Since(begin); took != tc.took {
					t.Errorf("it took %v", took)
				}
			})
		})
	}
}

// TestWhatIsNewerDoesNotWaitForTheSecondAttempt of what it replaces.
func TestWhatIsNewerDoesNotWaitForTheSecondAttempt(t *testing.T) {
	inABubble(t, func(t *testing.T, r *rig) {
		release := make(chan struct{})
		r.change(func() {
			r.during, r.answers = func() { <-release }, []error{apierrors.NewTooManyRequests("slow down", 0)}
		})
		r.w.Changed(r.ref(), r.claim.DeepCopy())
		synctest.Wait() // it is being refused
		r.change(func() { r.during = nil })
		r.w.Changed(r.ref(), r.claim.DeepCopy())
		close(release)
		r.expect(t, "at once", "patch patch", "unreachable false, ok false")
		time.Sleep(time.Hour)
		r.expect(t, "later", "", "")
	})
}

func TestAClaimThatIsGoneOrAnotherIsDropped(t *testing.T) {
	busy := apierrors.NewTooManyRequests("slow down", 0)
	for name, change := range map[string]func(r *rig){
		"gone":          func(r *rig) { r.claim = nil },
		"not allocated": func(r *rig) { r.claim.Status.Allocation = nil },
		"another one":   func(r *rig) { r.claim.UID = "2" },
	} {
		t.Run(name, func(t *testing.T) {
			inABubble(t, func(t *testing.T, r *rig) {
				r.change(func() { r.answers = []error{busy} })
				r.w.Changed(r.ref(), r.claim.DeepCopy())
				r.expect(t, "trouble", "patch", "unreachable false")
				r.change(func() { change(r) })
				time.Sleep(time.Hour)
				r.expect(t, "then", "get", "")
			})
		})
	}
	t.Run("gone, found out by writing", func(t *testing.T) {
		inABubble(t, func(t *testing.T, r *rig) {
			seen := r.claim.DeepCopy()
			r.change(func() { r.claim = nil })
			r.w.Changed(r.ref(), seen)
			time.Sleep(time.Hour)
			r.expect(t, "then", "patch", "")
		})
	})
	t.Run("another one, found out by taking back", func(t *testing.T) {
		inABubble(t, func(t *testing.T, r *rig) {
			other := apierrors.NewInvalid(schema.GroupKind{Group: "resource.k8s.io", Kind: "ResourceClaim"}, "train", nil)
			other.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: "FieldValueInvalid", Field: "metadata.uid"}}
			r.change(func() { r.recorded, r.answers = nil, []error{other} })
			r.w.Changed(r.ref(), nil)
			time.Sleep(time.Hour)
			r.expect(t, "then", "patch", "")
		})
	})
}

func TestAWriterRestsAndComesBackByItself(t *testing.T) {
	right := apierrors.NewForbidden(claims, "train", errors.New(`cannot patch resource "resourceclaims/status"`))
	granular := apierrors.NewInvalid(schema.GroupKind{Kind: "ResourceClaim"}, "train", nil)
	granular.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: metav1.CauseTypeForbidden, Field: "status.devices"}}
	for name, tc := range map[string]struct {
		drops   bool
		answers []error
		result  string
	}{
		"dropped":             {true, nil, "dropped"},
		"forbidden":           {false, []error{right, right}, "forbidden"},
		"forbidden, granular": {false, []error{granular, right}, "forbidden"},
	} {
		t.Run(name, func(t *testing.T) {
			inABubble(t, func(t *testing.T, r *rig) {
				r.change(func() { r.drops, r.answers = tc.drops, tc.answers })
				r.w.Changed(r.ref(), r.claim.DeepCopy())
				r.expect(t, "the first time", "patch", tc.result+" true")
				time.Sleep(restTime - time.Millisecond)
				r.w.Changed(r.ref(), r.claim.DeepCopy())
				r.expect(t, "while it rests", "", "")
				time.Sleep(time.Millisecond)
				r.w.Changed(r.ref(), r.claim.DeepCopy())
				r.expect(t, "after that", "patch", tc.result+" false")
				time.Sleep(restTime)
				has := r.recorded
				r.change(func() { r.recorded, r.drops = nil, false })
				r.w.Changed(r.ref(), nil)
				r.expect(t, "nothing to show proves nothing", "", "")
				r.change(func() { r.recorded = has })
				r.w.Changed(r.ref(), r.claim.DeepCopy())
				r.expect(t, "when it is kept", "patch", "ok true")
				r.w.Changed(r.ref(), r.claim.DeepCopy())
				r.expect(t, "from then on", "patch", "ok false")
			})
		})
	}
}

func TestWhatIsRefusedIsLeftAsItIs(t *testing.T) {
	kind := schema.GroupKind{Group: "resource.k8s.io", Kind: "ResourceClaim"}
	for name, refusal := range map[string]error{
		"invalid": apierrors.NewInvalid(kind, "train", nil),
		"by a policy": apierrors.NewForbidden(claims, "train",
			errors.New("ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no")),
		"by a webhook": apierrors.NewForbidden(claims, "train", errors.New(`admission webhook "w" denied the request: no`)),
	} {
		t.Run(name, func(t *testing.T) {
			inABubble(t, func(t *testing.T, r *rig) {
				r.change(func() { r.answers = []error{refusal} })
				r.w.Changed(r.ref(), r.claim.DeepCopy())
				time.Sleep(time.Hour)
				r.expect(t, "then", "patch", "refused false")
				r.w.Changed(r.ref(), r.claim.DeepCopy())
				r.expect(t, "the next change is tried", "patch", "ok false")
			})
		})
	}
}

func TestWhatIsNotKnownChangesNothing(t *testing.T) {
	for name, err := range map[string]error{
		"a call is in progress": ErrUnsettled, "the record cannot be read": errors.New("it is corrupt"),
	} {
		t.Run(name, func(t *testing.T) {
			inABubble(t, func(t *testing.T, r *rig) {
				r.change(func() { r.unsure = err })
				r.w.Changed(r.ref(), r.claim.DeepCopy())
				time.Sleep(time.Hour)
				r.expect(t, "then", "", "")
			})
		})
	}
}

func TestNobodyWaitsForAWriterThatIsBehind(t *testing.T) {
	w := New(Options{}) // not running
	for i := range 2 * maxDue {
		w.Changed(device.Claim{Namespace: "team-a", Name: "train", UID: types.UID(fmt.Sprint(i))}, nil)
	}
	w.Changed(device.Claim{UID: "no-name"}, nil)
	if len(w.due) != maxDue {
		t.Errorf("%d claims wait, want %d", len(w.due), maxDue)
	}
	w.Changed(device.Claim{Namespace: "team-a", Name: "train", UID: "7"}, &resourceapi.ResourceClaim{})
	if w.due["7"].seen == nil {
		t.Error("what waits was not replaced by what is newer")
	}
}

// TestClaimsAreWrittenInTheOrderInWhichTheyBecameDue so that none waits for ever.
func TestClaimsAreWrittenInTheOrderInWhichTheyBecameDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := New(Options{})
		for _, uid := range []types.UID{"c", "a", "b"} {
			w.Changed(device.Claim{Namespace: "team-a", Name: "train", UID: uid}, nil)
			time.Sleep(time.Millisecond)
		}
		var order []string
		for d, _ := w.next(time.Now()); d != nil; d, _ = w.next(time.Now()) {
			order = append(order, string(d.claim.UID))
		}
		if !slices.Equal(order, []string{"c", "a", "b"}) {
			t.Errorf("written in the order %q", order)
		}
	})
}
