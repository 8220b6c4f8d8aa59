package publish

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/kubernetes"
)

const (
	driver = "gpu.example.com"
	node   = "node-a"
)

// pool returns the slices of a pool; each argument lists the devices of a slice, each device as name or name=model.
func pool(devices ...string) []resourceapi.ResourceSliceSpec {
	specs := []resourceapi.ResourceSliceSpec{}
	for _, names := range devices {
		spec := resourceapi.ResourceSliceSpec{
			Driver: driver, NodeName: new(node),
			Pool: resourceapi.ResourcePool{Name: node, ResourceSliceCount: int64(len(devices))},
		}
		for name := range strings.FieldsSeq(names) {
			name, model, _ := strings.Cut(name, "=")
			spec.Devices = append(spec.Devices, resourceapi.Device{
				Name:       name,
				Attributes: map[resourceapi.QualifiedName]resourceapi.DeviceAttribute{"model": {StringValue: &model}},
			})
		}
		specs = append(specs, spec)
	}
	return specs
}

func tainted(specs []resourceapi.ResourceSliceSpec) []resourceapi.ResourceSliceSpec {
	for i := range specs[0].Devices {
		specs[0].Devices[i].Taints = []resourceapi.DeviceTaint{{Key: "gpu.example.com/unhealthy", Effect: "NoSchedule"}}
	}
	return specs
}

// running is a publisher at work.
type running struct {
	*Publisher
	t      *testing.T
	syncs  atomic.Int32
	stop   context.CancelFunc
	done   chan error
	mu     sync.Mutex
	events []string
}

func start(t *testing.T, client kubernetes.Interface, specs []resourceapi.ResourceSliceSpec) *running {
	t.Helper()
	r := &running{t: t, done: make(chan error, 1)}
	r.Publisher = New(Options{Client: client, DriverName: driver, NodeName: node, NodeUID: "node-uid", Observe: r.observe})
	synced := r.queue.synced
	r.queue.synced = func() { synced(); r.syncs.Add(1) }
	ctx, stop := context.WithCancel(context.Background())
	r.stop = sync.OnceFunc(func() {
		stop()
		if err := <-r.done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(r.stop)
	if specs != nil {
		r.Publish(specs)
	}
	go func() { r.done <- r.Run(ctx) }()
	return r
}

func (r *running) observe(e Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	text := string(e.Type)
	if e.Verb != "" {
		text += " " + string(e.Verb)
	}
	if e.Problem != nil {
		text += " " + string(e.Problem.Reason)
	}
	r.events = append(r.events, text)
}

func (r *running) history() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.events)
}

func (r *running) saw(event string) int {
	n := 0
	for _, e := range r.history() {
		if e == event {
			n++
		}
	}
	return n
}

// problem returns what Acknowledged says, or a problem without reason.
func (r *running) problem() *Problem {
	var p *Problem
	if !errors.As(r.Acknowledged(), &p) {
		return &Problem{}
	}
	return p
}

// eventually waits for a condition.
func (r *running) eventually(what string, condition func() bool) {
	r.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !condition() {
		if time.Now().After(deadline) {
			r.t.Fatalf("%s: still not so; acknowledged: %v; events: %q", what, r.Acknowledged(), r.history())
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func (r *running) acknowledges() {
	r.t.Helper()
	r.eventually("the API server holds what was published", func() bool { return r.Acknowledged() == nil })
}

// settles waits until the controller has compared n more times.
func (r *running) settles(n int32) {
	r.t.Helper()
	target := r.syncs.Load() + n
	r.eventually("the controller has compared", func() bool { return r.syncs.Load() >= target })
}

func (r *running) complains(reason Reason) {
	r.t.Helper()
	r.eventually("the problem is "+string(reason), func() bool { return r.problem().Reason == reason })
}

// describe returns one line for each slice: generation/count and devices.
func describe(held []*resourceapi.ResourceSlice) []string {
	var lines []string
	for _, slice := range held {
		line := fmt.Sprintf("%d/%d", slice.Spec.Pool.Generation, slice.Spec.Pool.ResourceSliceCount)
		for _, d := range slice.Spec.Devices {
			line += " " + d.Name
			if model := *d.Attributes["model"].StringValue; model != "" {
				line += "=" + model
			}
		}
		lines = append(lines, line)
	}
	return lines
}

func (s *apiServer) expect(t *testing.T, lines ...string) {
	t.Helper()
	if diff := cmp.Diff(lines, describe(s.stored())); diff != "" {
		t.Errorf("slices (-want +got):\n%s", diff)
	}
}

// refuse makes the API server refuse slices with a device of the given model.
func refuse(model string) func(*resourceapi.ResourceSlice) *apierrors.StatusError {
	return func(slice *resourceapi.ResourceSlice) *apierrors.StatusError {
		for i, d := range slice.Spec.Devices {
			if *d.Attributes["model"].StringValue == model {
				at := field.NewPath("spec", "devices").Index(i).Child("attributes").Key("model")
				return apierrors.NewInvalid(resourceapi.SchemeGroupVersion.WithKind("ResourceSlice").GroupKind(), slice.Name,
					field.ErrorList{field.Invalid(at, model, "no such model")})
			}
		}
		return nil
	}
}

func dropTaints(slice *resourceapi.ResourceSlice) *apierrors.StatusError {
	for i := range slice.Spec.Devices {
		slice.Spec.Devices[i].Taints = nil
	}
	return nil
}

func TestFirstPublish(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	r := start(t, s.client(t), nil)
	if err := r.Acknowledged(); err == nil || !strings.Contains(err.Error(), "not known") {
		t.Errorf("before anything is published: %v", err)
	}
	r.Publish(pool("gpu-0 gpu-1", "gpu-2"))
	r.acknowledges()
	s.expect(t, "1/2 gpu-0 gpu-1", "1/2 gpu-2")
	owner := s.stored()[0].OwnerReferences
	if len(owner) != 1 || owner[0].UID != "node-uid" || owner[0].Kind != "Node" || s.count("get node") != 0 {
		t.Errorf("owner %v, %d GETs of the node", owner, s.count("get node"))
	}
	r.eventually("the acknowledgement is told of", func() bool { return r.saw("acknowledged") == 1 })
	r.eventually("the writes are told of", func() bool { return r.saw("wrote create") == 2 })
}

func TestTheNodeIsLookedUpWithoutItsUID(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	p := New(Options{Client: s.client(t), DriverName: driver, NodeName: node})
	p.Publish(pool(""))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- p.Run(ctx) }()
	r := &running{Publisher: p, t: t}
	r.acknowledges()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	s.expect(t, "1/1")
	if s.stored()[0].OwnerReferences[0].UID != "node-uid" {
		t.Errorf("owner: %v", s.stored()[0].OwnerReferences)
	}
}

func TestNothingIsTouchedBeforeTheFirstPublish(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	first := start(t, s.client(t), pool("gpu-0"))
	first.acknowledges()
	first.stop()
	before := s.writes()
	second := start(t, s.client(t), nil)
	second.Resync()
	second.stop()
	if s.writes() != before || len(s.stored()) != 1 {
		t.Errorf("%d writes, slices %v", s.writes()-before, describe(s.stored()))
	}
}

func TestWrites(t *testing.T) {
	many := func(models ...string) (slices []string) {
		for i, model := range models {
			slices = append(slices, fmt.Sprintf("a%d=%s b%d", i, model, i))
		}
		return slices
	}
	tests := map[string]struct {
		before, after             []string
		creates, updates, deletes int
		want                      []string
	}{
		"no change writes nothing": {
			before: []string{"a b", "c"}, after: []string{"a b", "c"},
			want: []string{"1/2 a b", "1/2 c"},
		},
		"one device changed is one update": {
			before: many("x", "x", "x"), after: many("x", "y", "x"), updates: 1,
			want: []string{"1/3 a0=x b0", "1/3 a1=y b1", "1/3 a2=x b2"},
		},
		"two devices changed in two of three slices are two updates": {
			before: many("x", "x", "x"), after: many("y", "x", "y"), updates: 2,
			want: []string{"1/3 a0=y b0", "1/3 a1=x b1", "1/3 a2=y b2"},
		},
		"a change in all slices is one update of each": {
			before: many("x", "x"), after: many("y", "y"), updates: 2,
			want: []string{"2/2 a0=y b0", "2/2 a1=y b1"},
		},
		"one slice less": {
			before: []string{"a b", "c d", "e"}, after: []string{"a b", "d e"}, updates: 2, deletes: 1,
			want: []string{"2/2 a b", "2/2 d e"},
		},
		"one slice more": {
			before: []string{"a b"}, after: []string{"a b", "c"}, creates: 1, updates: 1,
			want: []string{"2/2 a b", "2/2 c"},
		},
		"a device moves from slice to slice": {
			before: []string{"a b", "c", "d"}, after: []string{"a", "b c", "d"}, updates: 3,
			want: []string{"2/3 a", "2/3 b c", "2/3 d"},
		},
		"no devices any more is one empty slice": {
			before: []string{"a", "b"}, after: []string{""}, updates: 1, deletes: 1,
			want: []string{"1/1"},
		},
		"nothing at all deletes everything": {
			before: []string{"a", "b"}, after: []string{}, deletes: 2,
		},
	}
	for name, tt := range tests {
		for _, restart := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, restarted %v", name, restart), func(t *testing.T) {
				t.Parallel()
				s := newAPIServer(t)
				r := start(t, s.client(t), pool(tt.before...))
				r.acknowledges()
				c, u, d := s.count("create"), s.count("update"), s.count("delete")
				if restart {
					r.stop()
					r = start(t, s.client(t), pool(tt.after...))
				} else {
					r.Publish(pool(tt.after...))
				}
				r.acknowledges()
				if len(tt.after) > 0 && (restart || cmp.Equal(tt.before, tt.after)) {
					r.Resync()
					r.settles(1)
				}
				s.expect(t, tt.want...)
				got := [3]int{s.count("create") - c, s.count("update") - u, s.count("delete") - d}
				if want := [3]int{tt.creates, tt.updates, tt.deletes}; got != want {
					t.Errorf("creates, updates, deletes: got %v, want %v", got, want)
				}
			})
		}
	}
}

func TestTenThousandDevices(t *testing.T) {
	t.Parallel()
	var all []string
	for i := range 157 {
		var names strings.Builder
		for j := i * 64; j < min(i*64+64, 10000); j++ {
			fmt.Fprintf(&names, "gpu-%d ", j)
		}
		all = append(all, names.String())
	}
	s := newAPIServer(t)
	r := start(t, s.client(t), pool(all...))
	r.acknowledges()
	all[3] = strings.Replace(all[3], "gpu-200", "gpu-200=new", 1)
	all[100] = strings.Replace(all[100], "gpu-6400", "gpu-6400=new", 1)
	r.Publish(pool(all...))
	r.acknowledges()
	if c, u := s.count("create"), s.count("update"); c != 157 || u != 2 {
		t.Errorf("%d creates, %d updates", c, u)
	}
	if n := len(s.stored()); n != 157 {
		t.Errorf("%d slices", n)
	}
}

func TestWipedSlicesComeBackWithinASecond(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	r := start(t, s.client(t), pool("a b", "c", "d"))
	r.acknowledges()
	for range 3 {
		acknowledgements := r.saw("acknowledged")
		wiped := time.Now()
		s.wipe()
		r.eventually("the slices are back", func() bool { return r.saw("acknowledged") > acknowledgements })
		if took := time.Since(wiped); took > time.Second {
			t.Errorf("took %s", took)
		}
		if err := r.Acknowledged(); err != nil {
			t.Error(err)
		}
	}
	// Deleted at once after they were written, which the library's releases before 0.37 lost.
	r.Publish(pool("a=x b", "c=x", "d=x"))
	r.eventually("the update is "+
		"written", func() bool { return strings.Contains(fmt.Sprint(describe(s.stored())), "d=x") })
	s.wipe()
	r.eventually("the slices are back", func() bool { return len(s.stored()) == 3 && r.Acknowledged() == nil })
}

func TestForeignChangesAreUndone(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	r := start(t, s.client(t), pool("a", "b"))
	r.acknowledges()
	for i := range warBurst + 3 {
		acknowledgements := r.saw("acknowledged")
		s.with(func() {
			for _, slice := range s.slices {
				slice = slice.DeepCopy()
				slice.Spec.Devices = nil
				s.put(slice)
				break
			}
		})
		if i >= warBurst {
			r.eventually("it is noticed", func() bool { return r.Acknowledged() != nil || r.queue.atWar() })
			break
		}
		r.eventually("it is undone", func() bool { return r.saw("acknowledged") > acknowledgements })
	}
	r.eventually("the driver does not go on with a war", r.queue.atWar)
}

func TestAnInvalidSlice(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	s.admit = refuse("bad")
	r := start(t, s.client(t), pool("a", "b c"))
	r.acknowledges()
	updates, began := s.count("update"), time.Now()
	r.Publish(pool("a", "b c=bad"))
	r.eventually("the controller tries", func() bool { return r.saw("failed update invalid") > 0 })
	r.complains(Invalid)
	problem := r.problem()
	for _, want := range []string{"device c: ", "spec.devices[1].attributes[model]"} {
		if !strings.Contains(problem.Error(), want) {
			t.Errorf("%s is not named: %s", want, problem)
		}
	}
	r.eventually("it is tried again", func() bool { return r.saw("failed rehearse invalid") >= 3 })
	if took := time.Since(began); took < 3*time.Second || s.count("rehearse")+s.count("update")-updates > 6 {
		t.Errorf("%d updates and %d rehearsals in %s", s.count("update")-updates, s.count("rehearse"), took)
	}
	s.expect(t, "1/2 a", "1/2 b c")
	s.wipe()
	r.eventually("the last good slices are back", func() bool { return len(s.stored()) == 2 })
	r.complains(Invalid)
	s.expect(t, "1/2 a", "1/2 b c")
	r.Publish(pool("a", "b c=good"))
	r.acknowledges()
	s.expect(t, "1/2 a", "1/2 b c=good")
}

// TestAnInvalidChangeOfSeveralSlices has the controller's weak spot: left alone it deletes good slices.
func TestAnInvalidChangeOfSeveralSlices(t *testing.T) {
	tests := map[string][]string{
		"one by one":               {"a=new", "b=bad", "c"},
		"all":                      {"a=new", "b=bad", "c=new"},
		"fewer slices":             {"a", "b=bad"},
		"more slices":              {"a", "b", "c", "d=bad"},
		"a device moved":           {"a b", "x=bad", "c"},
		"the good one comes first": {"a=new", "b", "c=bad"},
	}
	for name, bad := range tests {
		for _, restart := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, restarted %v", name, restart), func(t *testing.T) {
				t.Parallel()
				s := newAPIServer(t)
				s.admit = refuse("bad")
				r := start(t, s.client(t), pool("a", "b", "c"))
				r.acknowledges()
				if restart {
					r.stop()
					r = start(t, s.client(t), pool(bad...))
				} else {
					r.Publish(pool(bad...))
				}
				r.complains(Invalid)
				r.eventually("it is rehearsed again", func() bool { return r.saw("failed rehearse invalid") >= 2 })
				if n := s.count("delete"); n != 0 {
					t.Errorf("%d slices deleted", n)
				}
				for i, slice := range s.stored() {
					if slice.Spec.Pool.Generation != 1 || slice.Spec.Pool.ResourceSliceCount != 3 || i > 2 {
						t.Errorf("slices: %v", describe(s.stored()))
					}
				}
				// What is there is kept, also over a restart of the kubelet, which deletes before it registers.
				created := s.count("create")
				s.wipe()
				r.eventually("the wipe is seen", func() bool {
					return len(r.witness.slices()) == 0 || s.count("create") > created
				})
				r.Resync()
				r.eventually("the last good slices are back", func() bool { return len(s.stored()) == 3 })
				r.complains(Invalid)
				s.with(func() { s.admit = nil })
				r.Resync()
				r.acknowledges()
				if got := len(s.stored()); got != len(bad) {
					t.Errorf("slices: %v", describe(s.stored()))
				}
			})
		}
	}
}

func TestAPoolThatContradictsItself(t *testing.T) {
	counters := func(device, set, counter string) []resourceapi.ResourceSliceSpec {
		specs := pool("", device)
		specs[0].SharedCounters = []resourceapi.CounterSet{
			{Name: "set", Counters: map[string]resourceapi.Counter{"memory": {}}},
		}
		specs[1].Devices[0].ConsumesCounters = []resourceapi.DeviceCounterConsumption{
			{CounterSet: set, Counters: map[string]resourceapi.Counter{counter: {}}},
		}
		return specs
	}
	twice := counters("a", "set", "memory")
	twice[1].SharedCounters = twice[0].SharedCounters
	other := pool("a")
	other[0].Pool.Name = "node-b"
	tests := map[string]struct {
		specs []resourceapi.ResourceSliceSpec
		want  string
	}{
		"good counters":  {counters("a", "set", "memory"), ""},
		"a device twice": {pool("a", "a"), `device "a" is there twice`},
		"a set twice":    {twice, `counter set "set" is there twice`},
		"an unknown set": {counters("a", "other", "memory"), `device "a" consumes counter set "other", which does ` +
			`not ` +
			`exist`},
		"an unknown number": {counters("a", "set", "x"), `device "a" consumes counter "x", which counter set "set" ` +
			`does ` +
			`not have`},
		"another pool": {other, `slice #0 is of pool "node-b" instead of "node-a"`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := ""
			if err := checkPool(tt.specs, node); err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}

	t.Run("is not published", func(t *testing.T) {
		t.Parallel()
		s := newAPIServer(t)
		r := start(t, s.client(t), pool("a", "b"))
		r.acknowledges()
		writes := s.writes()
		r.Publish(pool("a", "a"))
		r.complains(Invalid)
		if p := r.problem(); !strings.Contains(p.Error(), "twice") {
			t.Error(p)
		}
		if s.writes() != writes {
			t.Errorf("%d writes", s.writes()-writes)
		}
	})
}

func TestDroppedFields(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	s.admit = dropTaints
	r := start(t, s.client(t), tainted(pool("a", "b")))
	r.complains(DroppedFields)
	problem := r.problem()
	if diff := cmp.Diff([]string{"DRADeviceTaints"}, problem.Features); diff != "" {
		t.Errorf("features (-want +got):\n%s", diff)
	}
	want := `ResourceSlice #0 of pool "node-a" is published without some of its fields: enable the feature gate ` +
		`DRADeviceTaints in kube-apiserver and kube-scheduler, or turn the option off that needs it`
	if problem.Error() != want {
		t.Errorf("text: %s", problem)
	}
	r.eventually("both slices are there", func() bool { return len(s.stored()) == 2 })
	s.expect(t, "1/2 a", "1/2 b")
	writes := s.writes()
	for _, slice := range s.stored() { // The watch brings an event of each slice; nothing comes of it.
		s.with(func() { s.put(slice) })
	}
	r.settles(1)
	if s.writes() != writes {
		t.Errorf("%d writes because of what was dropped", s.writes()-writes)
	}
	r.complains(DroppedFields)
	if p := r.problem(); r.saw("failed dropped_fields") == 0 || r.saw("acknowledged") > 0 {
		t.Errorf("%v; events: %q", p, r.history())
	}
	// The gate gets enabled, and the kubelet registers the driver again some time later.
	s.with(func() { s.admit = nil })
	r.Resync()
	r.acknowledges()
	if taints := s.stored()[0].Spec.Devices[0].Taints; len(taints) != 1 {
		t.Errorf("taints: %v", taints)
	}
}

func TestFieldsDroppedFromSomeOfManySlices(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	s.admit = dropTaints
	r := start(t, s.client(t), pool("a", "b", "c"))
	r.acknowledges()
	some := tainted(pool("a", "b=new", "c"))
	r.Publish(some)
	r.complains(DroppedFields)
	r.eventually("the rest is "+
		"published", func() bool { return strings.Contains(fmt.Sprint(describe(s.stored())), "b=new") })
	r.Publish(pool("a", "b", "c"))
	r.acknowledges()
}

func TestForbidden(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	s.admit = func(slice *resourceapi.ResourceSlice) *apierrors.StatusError {
		return apierrors.NewForbidden(resourceapi.Resource("resourceslices"), slice.Name, fmt.Errorf("no RBAC rule"))
	}
	r := start(t, s.client(t), pool("a"))
	r.complains(Forbidden)
	if p := r.problem(); !strings.Contains(p.Error(), "ClusterRole") {
		t.Error(p)
	}
	s.with(func() {
		s.admit = func(slice *resourceapi.ResourceSlice) *apierrors.StatusError {
			err := apierrors.NewForbidden(resourceapi.Resource("resourceslices"), slice.Name,
				fmt.Errorf("ValidatingAdmissionPolicy 'x' with binding 'x' denied request: wrong node"))
			err.ErrStatus.Reason, err.ErrStatus.Code = metav1.StatusReasonInvalid, 422
			return err
		}
	})
	r.Resync()
	r.eventually("the policy is named", func() bool {
		p := r.problem()
		return p.Reason == Forbidden && strings.Contains(p.Error(), "denied request: wrong node")
	})
	s.with(func() { s.admit = nil })
	r.acknowledges()
}

func TestAnUnreachableAPIServer(t *testing.T) {
	t.Run("at the start", func(t *testing.T) {
		t.Parallel()
		s := newAPIServer(t)
		s.setDown(true)
		r := start(t, s.client(t), pool("a"))
		r.complains(Unreachable)
		s.setDown(false)
		r.acknowledges()
	})
	t.Run("later", func(t *testing.T) {
		t.Parallel()
		s := newAPIServer(t)
		r := start(t, s.client(t), pool("a"))
		r.acknowledges()
		s.setDown(true)
		r.eventually("the watch has ended", func() bool { return r.saw("failed watch unreachable") > 0 })
		if err := r.Acknowledged(); err != nil {
			t.Errorf("what is published is still there, as far as anybody knows: %v", err)
		}
		r.Publish(pool("a=new"))
		r.complains(Unreachable)
		s.setDown(false)
		r.acknowledges()
		s.expect(t, "1/1 a=new")
	})
	t.Run("for good", func(t *testing.T) {
		t.Parallel()
		s := newAPIServer(t)
		s.Close()
		r := start(t, s.client(t), pool("a"))
		r.complains(Unreachable)
		r.stop()
	})
}

func TestStopWhileNothingIsPublished(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	start(t, s.client(t), nil).stop()
	if s.count("list", "watch") != 0 {
		t.Error("it asked the API server")
	}
}
