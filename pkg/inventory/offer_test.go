package inventory

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"example.com/dragoman/pkg/device"
)

// migGPU returns a whole device and n parts of it, which consume the counters of one set.
func migGPU(name string, n, counters int) device.Snapshot {
	s := device.Snapshot{SharedCounters: []resourceapi.CounterSet{{Name: name, Counters: amounts(counters, "1")}}}
	add := func(d, partOf string) {
		s.Devices = append(s.Devices, device.Device{PartOf: partOf, Device: resourceapi.Device{Name: d,
			ConsumesCounters: []resourceapi.DeviceCounterConsumption{{CounterSet: name, Counters: amounts(counters, "1")}}}})
	}
	add(name, "")
	for i := range n {
		add(fmt.Sprintf("mig-%s-%d", name, i), name)
	}
	return s
}

func amounts(n int, value string) map[string]resourceapi.Counter {
	counters := make(map[string]resourceapi.Counter, n)
	for i := range n {
		counters[fmt.Sprintf("slice-%d", i)] = resourceapi.Counter{Value: resource.MustParse(value)}
	}
	return counters
}

func node(all ...device.Snapshot) (s device.Snapshot) {
	for _, one := range all {
		s.Devices = append(s.Devices, one.Devices...)
		s.SharedCounters = append(s.SharedCounters, one.SharedCounters...)
	}
	return s
}

func sick(s device.Snapshot, name string, taints ...resourceapi.DeviceTaint) device.Snapshot {
	for i := range s.Devices {
		if s.Devices[i].Name == name {
			s.Devices[i].Health = device.Health{Unhealthy: true, Reason: "it fell off the bus (XID 79)"}
			s.Devices[i].Taints = taints
		}
	}
	return s
}

func tainted(s device.Snapshot, name string, taints ...resourceapi.DeviceTaint) device.Snapshot {
	for i := range s.Devices {
		if s.Devices[i].Name == name {
			s.Devices[i].Taints = taints
		}
	}
	return s
}

// outline says of each slice which counter sets and devices are in it: "[set] device(consumes) device!effect".
func outline(specs []resourceapi.ResourceSliceSpec) (lines []string) {
	for _, spec := range specs {
		var words []string
		for _, set := range spec.SharedCounters {
			words = append(words, "["+set.Name+"]")
		}
		for _, d := range spec.Devices {
			word := d.Name
			for _, c := range d.ConsumesCounters {
				word += "(" + c.CounterSet + ")"
			}
			for _, t := range d.Taints {
				word += "!" + t.Key + "=" + t.Value + ":" + string(t.Effect)
			}
			words = append(words, word)
		}
		lines = append(lines, strings.Join(words, " "))
	}
	return lines
}

func TestWhereCountersAre(t *testing.T) {
	mixed := node(migGPU("gpu-10", 1, 16), migGPU("gpu-2", 2, 16), gpus(1), migGPU("gpu-3", 1, 16))
	spanning := node(migGPU("gpu-2", 0, 1), migGPU("gpu-3", 0, 1), migGPU("gpu-4", 0, 1))
	spanning.Devices[0].ConsumesCounters = append(spanning.Devices[0].ConsumesCounters,
		resourceapi.DeviceCounterConsumption{CounterSet: "gpu-4", Counters: amounts(1, "1")})
	static := gpus(1)
	static.Devices[0].PartOf = "gpu-of-somebody"
	for name, test := range map[string]struct {
		layout   CounterLayout
		snapshot device.Snapshot
		want     []string
		leftOut  []string
	}{
		"apart": {CountersApart, mixed, []string{
			"[gpu-2] [gpu-3] [gpu-10]",
			"gpu-0 gpu-2(gpu-2) gpu-3(gpu-3) gpu-10(gpu-10) mig-gpu-2-0(gpu-2) mig-gpu-2-1(gpu-2) mig-gpu-3-0(gpu-3) " +
				"mig-gpu-10-0(gpu-10)",
		}, nil},
		"beside, 32 counters in a slice": {CountersBeside, mixed, []string{
			"[gpu-2] [gpu-3] gpu-2(gpu-2) mig-gpu-2-0(gpu-2) mig-gpu-2-1(gpu-2) gpu-3(gpu-3) mig-gpu-3-0(gpu-3)",
			"[gpu-10] gpu-10(gpu-10) mig-gpu-10-0(gpu-10)",
			"gpu-0",
		}, nil},
		"beside, a device that consumes two sets": {CountersBeside, spanning, []string{
			"[gpu-2] [gpu-4] [gpu-3] gpu-2(gpu-2)(gpu-4) gpu-4(gpu-4) gpu-3(gpu-3)",
		}, nil},
		"beside, a set without consumers": {CountersBeside,
			device.Snapshot{SharedCounters: migGPU("gpu-0", 0, 1).SharedCounters}, []string{"[gpu-0]"}, nil},
		"beside, more than fits": {CountersBeside, node(migGPU("gpu-0", 128, 1), migGPU("gpu-1", 1, 1)), []string{
			"[gpu-1] gpu-1(gpu-1) mig-gpu-1-0(gpu-1)", "gpu-0",
		}, []string{"sharedCounters[gpu-0] is left out: it has 1 counters, of which 129 devices consume 129: Kubernetes " +
			"1.34 allows 32, 128 and 1024 in the one slice that they have to share, and later versions more"}},
		"none": {NoCounters, mixed, []string{"gpu-0 gpu-2 gpu-3 gpu-10"}, []string{
			"partitioning is left out: it needs the feature gate DRAPartitionableDevices, without which the API server drops " +
				"shared counters: whole devices are offered, and no parts of them"}},
		"none, and no parts":                      {NoCounters, gpus(2), []string{"gpu-0 gpu-1"}, nil},
		"none, and a part that somebody else cut": {NoCounters, static, []string{"gpu-0"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			specs, leftOut := Slices(shuffled(test.snapshot, 3), "gpu.example.com", "node-a", Offer{Counters: test.layout})
			if diff := cmp.Diff(test.want, outline(specs)); diff != "" {
				t.Errorf("slices (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.leftOut, sentences(leftOut)); diff != "" {
				t.Errorf("left out (-want +got):\n%s", diff)
			}
			for _, spec := range specs {
				if spec.Pool.ResourceSliceCount != int64(len(specs)) {
					t.Errorf("pool %+v of %d slices", spec.Pool, len(specs))
				}
			}
		})
	}
}

func sentences(leftOut []LeftOut) (all []string) {
	for _, l := range leftOut {
		all = append(all, l.String())
	}
	return all
}

func TestWhatBecomesOfAnUnhealthyDevice(t *testing.T) {
	own := resourceapi.DeviceTaint{Key: "example.com/maintenance", Effect: resourceapi.DeviceTaintEffectNoExecute}
	note := resourceapi.DeviceTaint{Key: "example.com/note", Effect: resourceapi.DeviceTaintEffectNone}
	const dropped = "tainting is left out: it needs the feature gate DRADeviceTaints, without which the API server " +
		"drops " +
		"taints: devices "
	const kept, gone = dropped + "are offered that a taint would keep pods away from",
		dropped + "that a taint would keep pods away from are not offered"
	for name, test := range map[string]struct {
		offer    Offer
		snapshot device.Snapshot
		want     string
		leftOut  []string
	}{
		"a taint": {Offer{Taints: true, TaintEffect: "NoSchedule"}, sick(gpus(2), "gpu-1"),
			"gpu-0 gpu-1!gpu.example.com/unhealthy=true:NoSchedule", nil},
		"a taint that evicts": {Offer{Taints: true, TaintEffect: "NoExecute", LeaveOutUnhealthy: true},
			sick(gpus(2), "gpu-0"), "gpu-0!gpu.example.com/unhealthy=true:NoExecute gpu-1", nil},
		"a taint beside its own": {Offer{Taints: true, NoneTaints: true, TaintEffect: "None"}, sick(gpus(1), "gpu-0", own),
			"gpu-0!example.com/maintenance=:NoExecute!gpu.example.com/unhealthy=true:None", nil},
		"no taint wanted": {Offer{Taints: true}, sick(gpus(1), "gpu-0"), "gpu-0", nil},
		"taints are dropped, it is kept": {Offer{TaintEffect: "NoSchedule"}, sick(gpus(2), "gpu-1"),
			"gpu-0 gpu-1", []string{kept}},
		"taints are dropped, it is kept as no taint was wanted": {Offer{}, sick(gpus(2), "gpu-1"), "gpu-0 gpu-1", nil},
		"taints are dropped, its own are told": {Offer{TaintEffect: "NoSchedule"}, sick(gpus(1), "gpu-0", own),
			"gpu-0", []string{kept}},
		"taints are dropped, it is left out": {Offer{TaintEffect: "NoSchedule", LeaveOutUnhealthy: true},
			sick(gpus(2), "gpu-1"), "gpu-0", []string{gone,
				"device gpu-1 is left out: health is bad, which no taint can say here: it fell off the bus (XID 79)"}},
		"taints are dropped, what has its own is left out": {Offer{LeaveOutUnhealthy: true}, tainted(gpus(2), "gpu-1", own),
			"gpu-0", []string{gone, "device gpu-1 is left out: taints would not keep pods away here"}},
		"taints are dropped, those for information are not missed": {Offer{LeaveOutUnhealthy: true},
			tainted(gpus(2), "gpu-1", note), "gpu-0 gpu-1", nil},
		"Kubernetes 1.34 refuses the effect None": {Offer{Taints: true, TaintEffect: "NoSchedule"},
			tainted(sick(gpus(1), "gpu-0"), "gpu-0", note, own),
			"gpu-0!example.com/maintenance=:NoExecute!gpu.example.com/unhealthy=true:NoSchedule",
			[]string{"tainting for information is left out: it needs Kubernetes 1.35, before which the API server refuses the " +
				"effect None: devices are offered without such taints"}},
		"Kubernetes 1.34 refuses more than four taints": {Offer{Taints: true, TaintEffect: "NoSchedule"},
			tainted(sick(gpus(2), "gpu-0"), "gpu-0", own, own, own, own), "gpu-1",
			[]string{"device gpu-0 is left out: taints has 5 entries, of which Kubernetes 1.34 allows 4"}},
	} {
		t.Run(name, func(t *testing.T) {
			before := cmp.Diff(device.Snapshot{}, test.snapshot)
			specs, leftOut := Slices(test.snapshot, "gpu.example.com", "node-a", test.offer)
			if diff := cmp.Diff([]string{test.want}, outline(specs)); diff != "" {
				t.Errorf("slices (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.leftOut, sentences(leftOut)); diff != "" {
				t.Errorf("left out (-want +got):\n%s", diff)
			}
			if cmp.Diff(device.Snapshot{}, test.snapshot) != before {
				t.Error("the snapshot was changed")
			}
		})
	}
}

// TestATaintMovesNoDevice: with and without it the same devices are in the same slices, so that it costs one write.
func TestATaintMovesNoDevice(t *testing.T) {
	for _, layout := range []CounterLayout{NoCounters, CountersBeside, CountersApart} {
		o := everything
		o.Counters = layout
		snapshot := node(gpus(200), migGPU("mig", 20, 10))
		before, _ := Slices(snapshot, "gpu.example.com", "node-a", o)
		after, _ := Slices(sick(snapshot, "gpu-77"), "gpu.example.com", "node-a", o)
		var changed []int
		for i := range before {
			if !cmp.Equal(before[i], after[i]) {
				changed = append(changed, i)
			}
			names := func(s resourceapi.ResourceSliceSpec) string { return strings.Join(deviceNames(s), " ") }
			if len(before) != len(after) || names(before[i]) != names(after[i]) {
				t.Fatalf("layout %q: slice %d holds other devices", layout, i)
			}
		}
		if len(changed) != 1 {
			t.Errorf("layout %q: slices %v changed", layout, changed)
		}
	}
}

func deviceNames(s resourceapi.ResourceSliceSpec) (names []string) {
	for _, d := range s.Devices {
		names = append(names, d.Name)
	}
	return names
}

func TestSlicesWaitForAnOfferAndFollowIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &backend{}
		b.set(nil, "gpu-0", "gpu-1")
		b.snapshot = sick(b.snapshot, "gpu-1")
		i := New(Options{Backend: b, DriverName: "gpu.example.com", NodeName: "node-a"})
		r := runWith(t, i)
		r.expect(t, "unknown")
		if !r.last.Seen || len(r.last.Devices) != 2 {
			t.Errorf("the devices are not told: %+v", r.last)
		}
		looks := b.reset()
		for _, step := range []struct {
			offer Offer
			want  []string
		}{
			{Offer{}, []string{"gpu-0 gpu-1"}},
			{everything, []string{"gpu-0 gpu-1!gpu.example.com/unhealthy=true:NoSchedule"}},
			{Offer{LeaveOutUnhealthy: true}, []string{"gpu-0"}},
		} {
			i.Offer(step.offer)
			r.expect(t, "1 slices: gpu-0 gpu-1")
			if got := outline(r.last.Slices); !slices.Equal(got, step.want) {
				t.Errorf("offer %+v: %q, want %q", step.offer, got, step.want)
			}
		}
		i.Offer(Offer{LeaveOutUnhealthy: true})
		r.expect(t)
		if again := b.reset(); looks != 1 || again != 0 {
			t.Errorf("%d looks before the first offer and %d after", looks, again)
		}
	})
}
