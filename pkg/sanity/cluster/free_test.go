package cluster_test

import (
	"errors"
	"strings"
	"testing"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"

	"example.com/dragoman/pkg/sanity/cluster"
)

const driver = "d.example.com"

// slice is one of a pool of so many.
func slice(name string, generation, of int64, devices ...resourceapi.Device) *resourceapi.ResourceSlice {
	return &resourceapi.ResourceSlice{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: resourceapi.ResourceSliceSpec{
			Driver: driver, NodeName: new("node"), Devices: devices,
			Pool: resourceapi.ResourcePool{Name: "pool", Generation: generation, ResourceSliceCount: of},
		},
	}
}

func plain(names ...string) (all []resourceapi.Device) {
	for _, name := range names {
		all = append(all, resourceapi.Device{Name: name})
	}
	return all
}

func connect(t *testing.T, objects ...runtime.Object) *cluster.Cluster {
	t.Helper()
	c, err := cluster.With(t.Context(), fake.NewClientset(objects...), cluster.Options{Driver: driver, Node: "node"})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func names(devices []cluster.Device) string {
	var all []string
	for _, d := range devices {
		all = append(all, d.Name)
	}
	return strings.Join(all, " ")
}

func TestDevicesAreFreeOnce(t *testing.T) {
	c := connect(t, slice("a", 1, 1, plain("one", "two", "three")...))
	first, err := c.Free(t.Context(), 2)
	if err != nil || names(first) != "one two" {
		t.Fatalf("%v: %s", err, names(first))
	}
	claim, err := c.Claim(t.Context(), "claim", c.Allocate(first...))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Claim(t.Context(), "admin", c.Admin(first...)); err != nil {
		t.Fatal(err)
	}
	if rest, err := c.Free(t.Context(), 1); err != nil || names(rest) != "three" {
		t.Errorf("%v: %s; expected three alone", err, names(rest))
	}
	few := cluster.NotEnough{}
	if _, err := c.Free(t.Context(), 2); !errors.As(err, &few) || few.Have != 1 || few.Want != 2 {
		t.Errorf("the error is %v", err)
	}
	if err := c.Delete(t.Context(), claim); err != nil {
		t.Fatal(err)
	}
	if all, err := c.Free(t.Context(), 3); err != nil {
		t.Errorf("the claim is gone: %v, %s", err, names(all))
	}
	claim, err = c.Claim(t.Context(), "claim", c.Allocate(first...))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Abandon(t.Context(), claim); err != nil {
		t.Fatal(err)
	}
	if rest, err := c.Free(t.Context(), 1); err != nil || names(rest) != "three" {
		t.Errorf("%v: %s; the devices of an abandoned claim were given to another", err, names(rest))
	}
}

func TestWhatAClaimMayNotHaveIsNotFree(t *testing.T) {
	device := func(name string, change func(*resourceapi.Device)) resourceapi.Device {
		d := resourceapi.Device{Name: name}
		change(&d)
		return d
	}
	taint := func(effect resourceapi.DeviceTaintEffect) func(*resourceapi.Device) {
		return func(d *resourceapi.Device) { d.Taints = []resourceapi.DeviceTaint{{Key: "k", Effect: effect}} }
	}
	c := connect(t, slice("a", 1, 1,
		device("tainted", taint(resourceapi.DeviceTaintEffectNoSchedule)),
		device("evicting", taint(resourceapi.DeviceTaintEffectNoExecute)),
		device("shared", func(d *resourceapi.Device) { d.AllowMultipleAllocations = new(true) }),
		device("attached-later", func(d *resourceapi.Device) { d.BindingConditions = []string{"attached"} }),
		device("informed", taint(resourceapi.DeviceTaintEffectNone)),
		device("good", func(*resourceapi.Device) {})))
	if free, err := c.Free(t.Context(), 2); err != nil || names(free) != "informed good" {
		t.Errorf("%v: %s", err, names(free))
	}
	if d, found, err := c.Shareable(t.Context()); err != nil || !found || d.Name != "shared" {
		t.Errorf("%v: %v %s", err, found, d.Name)
	}
}

func TestCountersAreForAllDevicesTogether(t *testing.T) {
	part := func(name, memory string) resourceapi.Device {
		return resourceapi.Device{Name: name, ConsumesCounters: []resourceapi.DeviceCounterConsumption{{
			CounterSet: "gpu", Counters: map[string]resourceapi.Counter{"memory": {Value: resource.MustParse(memory)}},
		}}}
	}
	sets := slice("a", 1, 2)
	sets.Spec.SharedCounters = []resourceapi.CounterSet{{
		Name: "gpu", Counters: map[string]resourceapi.Counter{"memory": {Value: resource.MustParse("80Gi")}},
	}}
	c := connect(t, sets, slice("b", 1, 2, part("half-0", "40Gi"), part("whole", "80Gi"), part("half-1", "40Gi")))
	free, err := c.Free(t.Context(), 2)
	if err != nil || names(free) != "half-0 half-1" {
		t.Fatalf("%v: %s", err, names(free))
	}
	if _, err := c.Claim(t.Context(), "claim", c.Allocate(free[0])); err != nil {
		t.Fatal(err)
	}
	if rest, err := c.Free(t.Context(), 1); err != nil || names(rest) != "half-1" {
		t.Errorf("%v: %s; half of the memory is taken", err, names(rest))
	}
	if parts, found, err := c.Parts(t.Context()); err != nil || found {
		t.Errorf("%v: %v; half of the memory is taken", err, parts)
	}
}

func TestPartsAreOfOneDevice(t *testing.T) {
	part := func(name, set, memory string) resourceapi.Device {
		return resourceapi.Device{Name: name, ConsumesCounters: []resourceapi.DeviceCounterConsumption{{
			CounterSet: set, Counters: map[string]resourceapi.Counter{"memory": {Value: resource.MustParse(memory)}},
		}}}
	}
	sets := slice("a", 1, 2)
	for _, name := range []string{"gpu-0", "gpu-1"} {
		sets.Spec.SharedCounters = append(sets.Spec.SharedCounters, resourceapi.CounterSet{
			Name: name, Counters: map[string]resourceapi.Counter{"memory": {Value: resource.MustParse("80Gi")}},
		})
	}
	c := connect(t, sets, slice("b", 1, 2, part("whole-0", "gpu-0", "80Gi"), part("part-0", "gpu-0", "40Gi"),
		part("whole-1", "gpu-1", "80Gi"), part("large-1", "gpu-1", "60Gi"), part("small-1", "gpu-1", "20Gi")))
	parts, found, err := c.Parts(t.Context())
	if err != nil || !found || names(parts[:]) != "large-1 small-1" {
		t.Errorf("%v, %v: %s", err, found, names(parts[:]))
	}
}

func TestADeviceIsShareableIfTwoSharesFit(t *testing.T) {
	capacity := func(value, share string) map[resourceapi.QualifiedName]resourceapi.DeviceCapacity {
		c := resourceapi.DeviceCapacity{Value: resource.MustParse(value)}
		if share != "" {
			c.RequestPolicy = &resourceapi.CapacityRequestPolicy{Default: new(resource.MustParse(share))}
		}
		return map[resourceapi.QualifiedName]resourceapi.DeviceCapacity{"memory": c}
	}
	cases := map[string]struct {
		value, share string
		fits         bool
		takes        string
	}{
		"two shares of the default size": {"80Gi", "10Gi", true, "10Gi"},
		"the default is all there is":    {"80Gi", "80Gi", false, ""},
		"any size is allowed":            {"80Gi", "", true, "40Gi"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			device := resourceapi.Device{
				Name: "shared", AllowMultipleAllocations: new(true), Capacity: capacity(c.value, c.share),
			}
			on := connect(t, slice("a", 1, 1, device))
			d, fits, err := on.Shareable(t.Context())
			if err != nil || fits != c.fits {
				t.Fatalf("%v: fits: %v", err, fits)
			}
			if !fits {
				return
			}
			result := on.Share(d).Results[0]
			takes := result.ConsumedCapacity["memory"]
			if takes.String() != c.takes || result.ShareID == nil {
				t.Errorf("a share takes %s, expected %s: %+v", takes.String(), c.takes, result)
			}
		})
	}
}

func TestComplete(t *testing.T) {
	cases := map[string]struct {
		slices []*resourceapi.ResourceSlice
		says   string
	}{
		"one slice of one": {[]*resourceapi.ResourceSlice{slice("a", 1, 1)}, ""},
		"two of two":       {[]*resourceapi.ResourceSlice{slice("a", 3, 2), slice("b", 3, 2)}, ""},
		"one of two":       {[]*resourceapi.ResourceSlice{slice("a", 1, 2)}, "1 slices and says that it has 2"},
		"an older one beside the newest": {
			[]*resourceapi.ResourceSlice{slice("a", 1, 2), slice("b", 2, 2)}, "slice a of generation 1",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var all []resourceapi.ResourceSlice
			for _, s := range c.slices {
				all = append(all, *s)
			}
			err := cluster.Complete(all)
			if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
				t.Errorf("the error is %v, expected %q", err, c.says)
			}
		})
	}
	if _, err := connect(t).Published(t.Context()); err == nil || !strings.Contains(err.Error(), "no slice") {
		t.Errorf("without slices the error is %v", err)
	}
}
