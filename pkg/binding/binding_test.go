package binding

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"example.com/dragoman/pkg/device"
)

const (
	driver     = "gpu.example.com"
	isAttached = "gpu.example.com/attached"
	isPowered  = "gpu.example.com/powered"
	hasFailed  = "gpu.example.com/attach-failed"
	isBroken   = "gpu.example.com/broken"
)

// wait is how long a test waits for what has to happen.
const wait = 20 * time.Second

func result(name string, change ...func(*resourceapi.DeviceRequestAllocationResult),
) resourceapi.DeviceRequestAllocationResult {
	r := resourceapi.DeviceRequestAllocationResult{Request: "gpu", Driver: driver, Pool: "node-a", Device: name,
		BindingConditions: []string{isAttached, isPowered}, BindingFailureConditions: []string{hasFailed, isBroken}}
	for _, c := range change {
		c(&r)
	}
	return r
}

func ofDriver(name string) func(*resourceapi.DeviceRequestAllocationResult) {
	return func(r *resourceapi.DeviceRequestAllocationResult) { r.Driver = name }
}

func share(id types.UID) func(*resourceapi.DeviceRequestAllocationResult) {
	return func(r *resourceapi.DeviceRequestAllocationResult) { r.ShareID = &id }
}

func withoutFailures(r *resourceapi.DeviceRequestAllocationResult) { r.BindingFailureConditions = nil }

func unconditional(r *resourceapi.DeviceRequestAllocationResult) {
	r.BindingConditions, r.BindingFailureConditions = nil, nil
}

func aClaim(name string, results ...resourceapi.DeviceRequestAllocationResult) *resourceapi.ResourceClaim {
	c := &resourceapi.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "team-a", Name: name,
		UID: types.UID("uid-of-" + name), ResourceVersion: "1"}}
	if len(results) > 0 {
		c.Status.Allocation = allocation(results...)
	}
	return c
}

func allocation(results ...resourceapi.DeviceRequestAllocationResult) *resourceapi.AllocationResult {
	return &resourceapi.AllocationResult{Devices: resourceapi.DeviceAllocationResult{Results: results},
		AllocationTimestamp: new(metav1.Unix(1000, 0))}
}

// status is an entry for the device of r with these conditions, those that begin with "!" being False.
func status(r resourceapi.DeviceRequestAllocationResult, types ...string) resourceapi.AllocatedDeviceStatus {
	s := resourceapi.AllocatedDeviceStatus{Driver: r.Driver, Pool: r.Pool, Device: r.Device, ShareID: (*string)(r.ShareID)}
	for _, t := range types {
		name, not := strings.CutPrefix(t, "!")
		condition := metav1.Condition{Type: name, Status: metav1.ConditionTrue, Reason: "Before",
			LastTransitionTime: metav1.Unix(1, 0)}
		if not {
			condition.Status = metav1.ConditionFalse
		}
		s.Conditions = append(s.Conditions, condition)
	}
	return s
}

// server is as much of an API server as the controller needs: it keeps claims and merges conditions.
type server struct {
	*fake.Clientset
	mu      sync.Mutex
	version int
	patches []string
	// trouble refuses a write if it returns an error.
	trouble func(n int) error
	// drops makes the server drop status.devices.
	drops bool
	// watched is closed when somebody watches claims. What was there and is gone by then is not told of, as real servers
	// do.
	watched chan struct{}
}

func newServer(t *testing.T, claims ...*resourceapi.ResourceClaim) *server {
	t.Helper()
	s := &server{Clientset: fake.NewClientset(), version: 1, watched: make(chan struct{})}
	watched := sync.OnceFunc(func() { close(s.watched) })
	s.PrependWatchReactor("resourceclaims", func(action clienttesting.Action) (bool, watch.Interface, error) {
		events, err := s.Tracker().Watch(action.GetResource(), action.GetNamespace(),
			action.(clienttesting.WatchActionImpl).ListOptions)
		watched()
		return true, events, err
	})
	s.PrependReactor("patch", "resourceclaims", func(action clienttesting.Action) (bool, runtime.Object, error) {
		patched, err := s.patch(action.(clienttesting.PatchAction))
		return true, patched, err
	})
	for _, c := range claims {
		if err := s.Tracker().Add(c); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func (s *server) patch(action clienttesting.PatchAction) (*resourceapi.ResourceClaim, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.patches = append(s.patches, string(action.GetPatch()))
	if s.trouble != nil {
		if err := s.trouble(len(s.patches)); err != nil {
			return nil, err
		}
	}
	object, err := s.Tracker().Get(action.GetResource(), action.GetNamespace(), action.GetName())
	if err != nil {
		return nil, err
	}
	stored := object.(*resourceapi.ResourceClaim).DeepCopy()
	var applied resourceapi.ResourceClaim
	if err := json.Unmarshal(action.GetPatch(), &applied); err != nil {
		return nil, err
	}
	if action.GetPatchType() != types.ApplyPatchType || action.GetSubresource() != "status" {
		return nil, fmt.Errorf("%s of %q", action.GetPatchType(), action.GetSubresource())
	}
	if applied.ResourceVersion != stored.ResourceVersion || applied.UID != stored.UID {
		return nil, apierrors.NewConflict(action.GetResource().GroupResource(), stored.Name, errors.New("changed"))
	}
	if !s.drops {
		merge(stored, applied.Status.Devices)
	}
	return stored, s.store(stored)
}

func merge(c *resourceapi.ResourceClaim, devices []resourceapi.AllocatedDeviceStatus) {
	for _, d := range devices {
		found := false
		for i := range c.Status.Devices {
			stored := &c.Status.Devices[i]
			if stored.Device == d.Device && stored.Driver == d.Driver &&
				(stored.ShareID == nil) == (d.ShareID == nil) && (d.ShareID == nil || *stored.ShareID == *d.ShareID) {
				for _, condition := range d.Conditions {
					meta.SetStatusCondition(&stored.Conditions, condition)
				}
				found = true
			}
		}
		if !found {
			c.Status.Devices = append(c.Status.Devices, d)
		}
	}
}

// store keeps a new version of a claim, which watchers see.
func (s *server) store(c *resourceapi.ResourceClaim) error {
	s.version++
	c.ResourceVersion = strconv.Itoa(s.version)
	return s.Tracker().Update(resourceapi.SchemeGroupVersion.WithResource("resourceclaims"), c.DeepCopy(), c.Namespace)
}

// isWatched waits until the controller is told of all that is done to claims.
func (s *server) isWatched(t *testing.T) {
	t.Helper()
	select {
	case <-s.watched:
	case <-time.After(wait):
		t.Fatal("nobody watches claims")
	}
}

// change is what somebody else does to a claim.
func (s *server) change(t *testing.T, name string, do func(*resourceapi.ResourceClaim)) {
	t.Helper()
	s.isWatched(t)
	s.mu.Lock()
	defer s.mu.Unlock()
	object, err := s.Tracker().Get(resourceapi.SchemeGroupVersion.WithResource("resourceclaims"), "team-a", name)
	if err != nil {
		t.Fatal(err)
	}
	c := object.(*resourceapi.ResourceClaim).DeepCopy()
	do(c)
	if err := s.store(c); err != nil {
		t.Fatal(err)
	}
}

// waitFor waits until the status of a claim has the conditions, as "device[/share]: type reason", and no others.
func (s *server) waitFor(t *testing.T, name string, want ...string) {
	t.Helper()
	slices.Sort(want)
	var got []string
	for end := time.Now().Add(wait); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		object, err := s.Tracker().Get(resourceapi.SchemeGroupVersion.WithResource("resourceclaims"), "team-a", name)
		if err != nil {
			t.Fatal(err)
		}
		got = nil
		for _, d := range object.(*resourceapi.ResourceClaim).Status.Devices {
			of := d.Device
			if d.ShareID != nil {
				of += "/" + *d.ShareID
			}
			for _, c := range d.Conditions {
				got = append(got, fmt.Sprintf("%s: %s %s", of, strings.TrimPrefix(c.Type, driver+"/"), c.Reason))
			}
		}
		slices.Sort(got) // devices are attached side by side
		if gocmp.Equal(want, got) {
			return
		}
	}
	t.Fatalf("claim %s does not get the conditions (-want +got):\n%s", name, gocmp.Diff(want, got))
}

func (s *server) written() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.patches)
}

// fabric attaches as it is told, device by device.
type fabric struct {
	asked chan string
	ended chan string // of those that were cancelled
	mu    sync.Mutex
	tell  map[string]func(ctx context.Context) error
}

func newFabric() *fabric {
	return &fabric{asked: make(chan string, 1000), ended: make(chan string, 1000),
		tell: map[string]func(context.Context) error{}}
}

func (f *fabric) Attach(ctx context.Context, _ device.Claim, r resourceapi.DeviceRequestAllocationResult) error {
	f.asked <- r.Device
	f.mu.Lock()
	told := f.tell[r.Device]
	f.mu.Unlock()
	if told == nil {
		return nil
	}
	err := told(ctx)
	if ctx.Err() != nil {
		f.ended <- r.Device
	}
	return err
}

func (f *fabric) on(name string, do func(ctx context.Context) error) *fabric {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tell[name] = do
	return f
}

// until attaches when the channel is closed.
func until(open <-chan struct{}) func(ctx context.Context) error {
	return func(ctx context.Context) error {
		select {
		case <-open:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func never(ctx context.Context) error { return until(nil)(ctx) }

func next(t *testing.T, what string, from <-chan string) string {
	t.Helper()
	select {
	case got := <-from:
		return got
	case <-time.After(wait):
		t.Fatalf("waited in vain for %s", what)
		return ""
	}
}

// run runs a controller until the returned function is called or the test ends.
func run(t *testing.T, s *server, f *fabric, change ...func(*Options)) (stop func()) {
	t.Helper()
	options := Options{DriverName: driver, Fabric: f, Client: s.Clientset, Events: s.Clientset}
	for _, c := range change {
		c(&options)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- New(options).Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			select {
			case err := <-done:
				if err != nil {
					t.Error(err)
				}
			case <-time.After(wait):
				t.Error("the controller does not end")
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

func TestAllConditionsAreSetWhenADeviceIsAttached(t *testing.T) {
	s := newServer(t, aClaim("claim", result("a"), result("other", ofDriver("other.example.com")),
		result("plain", unconditional), result("s", share("1")), result("s", share("2"))), aClaim("unallocated"))
	f := newFabric()
	run(t, s, f)
	s.waitFor(t, "claim", "a: attached Attached", "a: powered Attached",
		"s/1: attached Attached", "s/1: powered Attached", "s/2: attached Attached", "s/2: powered Attached")
	if len(f.asked) != 3 {
		t.Errorf("the fabric was asked %d times, expected once for each device of ours with conditions", len(f.asked))
	}
}

func TestTheFirstFailureConditionSaysWhy(t *testing.T) {
	s := newServer(t, aClaim("claim", result("bad"), result("slow")))
	begun := make(chan struct{})
	f := newFabric().on("bad", func(ctx context.Context) error {
		return cmp.Or(until(begun)(ctx), errors.New("no cable"))
	}).on("slow", func(ctx context.Context) error {
		close(begun)
		return never(ctx)
	})
	run(t, s, f)
	s.waitFor(t, "claim", "bad: attach-failed AttachFailed")
	if got := next(t, "the end of the other device", f.ended); got != "slow" {
		t.Errorf("%s was cancelled", got)
	}
	for {
		events, err := s.EventsV1().Events("team-a").List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if len(events.Items) == 0 {
			time.Sleep(time.Millisecond)
			continue
		}
		e := events.Items[0]
		if e.Note != "device bad of pool node-a was not attached: no cable" || e.Reason != "AttachFailed" ||
			e.Regarding.Name != "claim" || e.Type != "Warning" || !strings.HasPrefix(e.Name, "claim.") {
			t.Errorf("the event is %+v", e)
		}
		return
	}
}

func TestADeviceWithoutFailureConditionsIsTriedAgain(t *testing.T) {
	s := newServer(t, aClaim("claim", result("bad", withoutFailures), result("good")))
	tries := 0
	f := newFabric().on("bad", func(context.Context) error {
		if tries++; tries < 3 {
			return errors.New("not now")
		}
		return nil
	})
	run(t, s, f)
	s.waitFor(t, "claim", "good: attached Attached", "good: powered Attached",
		"bad: attached Attached", "bad: powered Attached")
}

func TestWhatGoesAwayIsCancelled(t *testing.T) {
	for name, do := range map[string]func(t *testing.T, s *server){
		"the allocation": func(t *testing.T, s *server) {
			s.change(t, "claim", func(c *resourceapi.ResourceClaim) { c.Status.Allocation = nil })
		},
		"the device": func(t *testing.T, s *server) {
			s.change(t, "claim", func(c *resourceapi.ResourceClaim) { c.Status.Allocation = allocation(result("other")) })
		},
		"the time of the allocation": func(t *testing.T, s *server) {
			s.change(t, "claim", func(c *resourceapi.ResourceClaim) {
				c.Status.Allocation.AllocationTimestamp = new(metav1.Unix(2000, 0))
			})
		},
		"the claim": func(t *testing.T, s *server) {
			s.isWatched(t)
			err := s.Tracker().Delete(resourceapi.SchemeGroupVersion.WithResource("resourceclaims"), "team-a", "claim")
			if err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, aClaim("claim", result("far")))
			f := newFabric().on("far", never)
			run(t, s, f)
			next(t, "the fabric to be asked", f.asked)
			do(t, s)
			next(t, "the end of attaching", f.ended)
			s.mu.Lock()
			defer s.mu.Unlock()
			if all := strings.Join(s.patches, "\n"); strings.Contains(all, `"far"`) {
				t.Errorf("something was written about it: %s", all)
			}
		})
	}
}

// The same devices in the same second: only what happened between tells the allocations apart.
func TestAnAllocationLikeTheLastIsAttachedAnew(t *testing.T) {
	s := newServer(t, aClaim("claim", result("far")))
	open := make(chan struct{})
	f := newFabric().on("far", until(open))
	run(t, s, f)
	next(t, "the fabric to be asked", f.asked)
	s.change(t, "claim", func(c *resourceapi.ResourceClaim) { c.Status.Allocation = nil })
	s.change(t, "claim", func(c *resourceapi.ResourceClaim) { c.Status.Allocation = allocation(result("far")) })
	next(t, "the end of attaching", f.ended)
	next(t, "the fabric to be asked again", f.asked)
	close(open)
	s.waitFor(t, "claim", "far: attached Attached", "far: powered Attached")
}

func TestWhatIsSetAlreadyIsLeftAlone(t *testing.T) {
	done, broken := aClaim("done", result("a")), aClaim("broken", result("b"), result("c"))
	done.Status.Devices = []resourceapi.AllocatedDeviceStatus{status(result("a"), isAttached, isPowered, "Ready")}
	broken.Status.Devices = []resourceapi.AllocatedDeviceStatus{status(result("b"), isBroken)}
	half := aClaim("half", result("d"))
	half.Status.Devices = []resourceapi.AllocatedDeviceStatus{status(result("d"), isAttached, "!"+isPowered)}
	s := newServer(t, done, broken, half)
	f := newFabric()
	run(t, s, f)
	s.waitFor(t, "half", "d: attached Attached", "d: powered Attached")
	if s.written() != 1 || len(f.asked) != 1 || next(t, "", f.asked) != "d" {
		t.Errorf("%d writes: %s", s.written(), s.patches)
	}
}

func TestARestartGoesOn(t *testing.T) {
	s := newServer(t, aClaim("claim", result("quick"), result("slow")))
	f := newFabric().on("slow", never)
	stop := run(t, s, f)
	s.waitFor(t, "claim", "quick: attached Attached", "quick: powered Attached")
	stop()
	f = newFabric()
	run(t, s, f)
	s.waitFor(t, "claim", "quick: attached Attached", "quick: powered Attached",
		"slow: attached Attached", "slow: powered Attached")
	if len(f.asked) != 1 {
		t.Errorf("after the restart the fabric was asked %d times, expected for what was not attached alone", len(f.asked))
	}
	// What a field manager leaves out is removed, so the last write has to have both devices.
	if last := s.patches[len(s.patches)-1]; !strings.Contains(last, "quick") || !strings.Contains(last, "slow") {
		t.Errorf("the last write is %s", last)
	}
}

func TestAWriteIsRepeatedUntilItWorks(t *testing.T) {
	forbidden := apierrors.NewForbidden(schema.GroupResource{}, "claim", errors.New("no right"))
	for name, trouble := range map[string]error{
		"the claim has changed":    apierrors.NewConflict(schema.GroupResource{}, "claim", errors.New("changed")),
		"a right is missing":       forbidden,
		"the server is in trouble": errors.New("connection refused"),
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, aClaim("claim", result("a")))
			s.trouble = func(n int) error {
				if n < 3 {
					return trouble
				}
				return nil
			}
			f := newFabric()
			run(t, s, f)
			s.waitFor(t, "claim", "a: attached Attached", "a: powered Attached")
			if len(f.asked) != 1 {
				t.Errorf("the fabric was asked %d times", len(f.asked))
			}
		})
	}
}

func TestAServerThatDropsTheStatusIsSaidSo(t *testing.T) {
	s := newServer(t, aClaim("claim", result("a")))
	s.drops = true
	wrote := make(chan string, 100)
	run(t, s, newFabric(), func(o *Options) { o.Observe.Wrote = func(err error) { wrote <- fmt.Sprint(err) } })
	if got := next(t, "a write", wrote); !strings.Contains(got, "feature gate DRAResourceClaimDeviceStatus") {
		t.Error(got)
	}
}

func TestNoMoreDevicesAtOnceThanAllowed(t *testing.T) {
	var claims []*resourceapi.ResourceClaim
	f, open := newFabric(), make(chan struct{})
	for i := range 10 {
		device := fmt.Sprintf("d%d", i)
		claims = append(claims, aClaim(device, result(device)))
		f.on(device, until(open))
	}
	s := newServer(t, claims...)
	var mu sync.Mutex
	now, most, attached := 0, 0, 0
	run(t, s, f, func(o *Options) {
		o.Parallel = 3
		o.Observe.InProgress = func(delta int) {
			mu.Lock()
			defer mu.Unlock()
			now += delta
			most = max(most, now)
		}
		o.Observe.Attached = func(_ time.Duration, err error) {
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				attached++
			}
		}
	})
	for range 3 {
		next(t, "the fabric to be asked", f.asked)
	}
	select { // nothing tells that nobody comes
	case device := <-f.asked:
		t.Errorf("the fabric is asked for %s, too", device)
	case <-time.After(300 * time.Millisecond):
	}
	close(open)
	for i := range 10 {
		device := fmt.Sprintf("d%d", i)
		s.waitFor(t, device, device+": attached Attached", device+": powered Attached")
	}
	mu.Lock()
	defer mu.Unlock()
	if now != 0 || most > 3 || attached != 10 {
		t.Errorf("in progress: %d, at most %d; attached: %d", now, most, attached)
	}
}

func TestOnlyWhatIsOfConcernIsKeptInMemory(t *testing.T) {
	full := aClaim("claim", result("a"), result("b", ofDriver("other.example.com")), result("c", unconditional))
	full.Annotations = map[string]string{"a": "b"}
	full.Spec.Devices.Requests = []resourceapi.DeviceRequest{{Name: "gpu"}}
	full.Status.ReservedFor = []resourceapi.ResourceClaimConsumerReference{{Name: "pod"}}
	full.Status.Devices = []resourceapi.AllocatedDeviceStatus{status(result("a"), "Ready", isAttached),
		status(result("b", ofDriver("other.example.com")))}
	full.Status.Devices[0].Data = &runtime.RawExtension{Raw: []byte("{}")}
	want := aClaim("claim", result("a"))
	want.Status.Devices = []resourceapi.AllocatedDeviceStatus{status(result("a"), "Ready", isAttached)}
	got, err := trimmed(driver)(full)
	if diff := gocmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v; %s", err, diff)
	}
	foreign := aClaim("foreign", result("b", ofDriver("other.example.com")))
	got, err = trimmed(driver)(foreign)
	if diff := gocmp.Diff(aClaim("foreign"), got); diff != "" || err != nil {
		t.Errorf("%v; %s", err, diff)
	}
}

func TestMessagesAndNamesHaveRoom(t *testing.T) {
	long := strings.Repeat("ä", 2000)
	conditions := []metav1.Condition{}
	add(&conditions, result("a"), outcome{err: errors.New(long), at: time.Unix(1, 0)})
	if n := len(conditions[0].Message); n > maxMessage || n < maxMessage-4 {
		t.Errorf("the message has %d bytes", n)
	}
	c := New(Options{DriverName: driver, Client: fake.NewClientset()})
	e := c.event(device.Claim{Namespace: "team-a", Name: strings.Repeat("c.", 126) + "c", UID: "uid"}, result("a"),
		errors.New(long))
	if len(e.Name) > maxEventName || strings.Contains(e.Name, "..") || len(e.Note) > maxNote {
		t.Errorf("the event has a name of %d and a note of %d bytes", len(e.Name), len(e.Note))
	}
}
