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
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
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
	granular := withoutRight("[associated-node:patch arbitrary-node:patch]")
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
				r.w.Compare(r.ref(), r.claim.DeepCopy())
				r.w.Changed(r.ref(), r.claim.DeepCopy())
				r.w.Compare(r.ref(), r.claim.DeepCopy())
				r.expect(t, "while it rests", "", "")
				time.Sleep(time.Millisecond)
				r.expect(t, "after that", "get patch", tc.result+" false")
				time.Sleep(restTime)
				r.expect(t, "what is recorded is compared by others", "", "")
				has := r.recorded
				r.change(func() { r.recorded, r.drops = nil, false })
				r.w.Changed(r.ref(), nil)
				r.expect(t, "nothing to show proves nothing", "get", "")
				r.change(func() { r.recorded = has })
				r.w.Changed(r.ref(), r.claim.DeepCopy())
				r.expect(t, "when it is kept", "patch", "ok true")
				r.w.Changed(r.ref(), r.claim.DeepCopy())
				r.expect(t, "from then on", "patch", "ok false")
			})
		})
	}
}

// withoutRight is how Kubernetes 1.36 and later say that one of the rights to do this to entries is missing.
func withoutRight(verbs string) *apierrors.StatusError {
	problem := field.Forbidden(field.NewPath("status", "devices"), fmt.Sprintf(`changing status.devices requires `+
		`resource="resourceclaims/driver", verb="%s" permission: resourceclaims.resource.k8s.io is forbidden`, verbs))
	return apierrors.NewInvalid(schema.GroupKind{Group: "resource.k8s.io", Kind: "ResourceClaim"}, "train",
		field.ErrorList{problem})
}

// TestWhatIsTakenBackIsRemovedAfterARest: nobody compares a claim of which there is no record.
func TestWhatIsTakenBackIsRemovedAfterARest(t *testing.T) {
	right := apierrors.NewForbidden(claims, "train", errors.New(`cannot patch resource "resourceclaims/status"`))
	for name, rest := range map[string]func(t *testing.T, r *rig){
		"taken back during it": func(t *testing.T, r *rig) {
			r.w.Changed(r.ref(), r.claim.DeepCopy())
			r.expect(t, "forbidden", "patch", "forbidden true")
			r.change(func() { r.recorded = nil })
			r.w.Changed(r.ref(), nil)
			r.w.Compare(r.ref(), nil)
		},
		"due when it began": func(t *testing.T, r *rig) {
			release := make(chan struct{})
			r.change(func() { r.during = func() { <-release } })
			r.w.Changed(r.ref(), r.claim.DeepCopy())
			synctest.Wait() // it is being forbidden
			r.change(func() { r.recorded, r.during = nil, nil })
			r.w.Changed(r.ref(), nil)
			close(release)
			r.expect(t, "forbidden", "patch", "forbidden true")
		},
		"the cause of it": func(t *testing.T, r *rig) {
			r.change(func() { r.recorded = nil })
			r.w.Changed(r.ref(), nil)
			r.expect(t, "forbidden", "patch", "forbidden true")
		},
	} {
		t.Run(name, func(t *testing.T) {
			inABubble(t, func(t *testing.T, r *rig) {
				r.w.Changed(r.ref(), r.claim.DeepCopy())
				r.expect(t, "prepared", "patch", "ok false")
				has := r.recorded
				r.change(func() { r.answers = []error{right, right} })
				begin := time.Now()
				rest(t, r)
				time.Sleep(restTime - time.Since(begin) - time.Millisecond)
				r.expect(t, "while it rests", "", "")
				time.Sleep(time.Millisecond)
				r.expect(t, "after a rest the right is still missing", "get patch", "forbidden false")
				time.Sleep(restTime)
				r.expect(t, "after another one it is there", "get patch", "ok false")
				if got := r.claim.Status.Devices; len(got) != 0 {
					t.Errorf("the status still shows %v", got)
				}
				r.change(func() { r.recorded = has })
				r.w.Changed(r.ref(), r.claim.DeepCopy())
				r.expect(t, "to show something ends the rest", "patch", "ok true")
			})
		})
	}
}

func TestAWriterThatRestsForEverRemembersSoManyClaims(t *testing.T) {
	inABubble(t, func(t *testing.T, r *rig) {
		r.change(func() { r.drops = true })
		r.w.Changed(r.ref(), r.claim.DeepCopy())
		r.expect(t, "dropped", "patch", "dropped true")
		for i := range 2 * maxDue {
			c := device.Claim{Namespace: "team-a", Name: "train", UID: types.UID(fmt.Sprint(i))}
			r.w.Changed(c, r.claim.DeepCopy())
			r.w.Changed(c, nil)
		}
		synctest.Wait()
		r.w.mu.Lock()
		defer r.w.mu.Unlock()
		if n := len(r.w.due); n != maxDue {
			t.Errorf("%d claims wait, want %d", n, maxDue)
		}
		for _, d := range r.w.due {
			if d.seen != nil {
				t.Fatal("a claim is kept as it was before the rest")
			}
		}
	})
}

// TestWhatIsForbiddenOfOneClaimIsNotForbiddenOfOthers: one that is allocated to another node by now.
func TestWhatIsForbiddenOfOneClaimIsNotForbiddenOfOthers(t *testing.T) {
	inABubble(t, func(t *testing.T, r *rig) {
		r.change(func() { r.answers = []error{withoutRight("[arbitrary-node:patch]")} })
		moved := r.ref()
		moved.UID = "2"
		r.change(func() { r.recorded = nil })
		r.w.Changed(moved, nil)
		r.expect(t, "the one", "patch", "refused false")
		r.change(func() { r.recorded = []Device{set("gpu-0")} })
		r.w.Changed(r.ref(), r.claim.DeepCopy())
		r.expect(t, "another", "patch", "ok false")
	})
}

func TestEachNodeHasAFieldManagerOfItsOwn(t *testing.T) {
	long := strings.Repeat("n", 252)
	known := map[string]string{}
	for _, of := range [][2]string{
		{driverName, nodeName}, {driverName, "node-b"}, {"gpu.example.org", nodeName},
		{strings.Repeat("d", 63), strings.Repeat("n", 64)}, {strings.Repeat("d", 63), strings.Repeat("n", 65)},
		{driverName, long + "a"}, {driverName, long + "b"},
	} {
		name := fieldManager(of[0], of[1])
		if problems := metavalidation.ValidateFieldManager(name, nil); len(problems) > 0 {
			t.Errorf("%q of %q: %v", name, of, problems)
		}
		if !strings.HasPrefix(name, of[0]+"/") {
			t.Errorf("%q does not say that it is of %s", name, of[0])
		}
		if before, is := known[name]; is {
			t.Errorf("%q is that of %q and %q", name, before, of)
		}
		known[name] = fmt.Sprint(of)
	}
	if got := fieldManager(driverName, nodeName); got != "gpu.example.com/node-a" {
		t.Errorf("it is %q", got)
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
