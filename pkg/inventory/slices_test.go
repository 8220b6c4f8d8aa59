package inventory

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/yaml"

	"example.com/dragoman/pkg/device"
)

var update = flag.Bool("update", false, "write the golden files")

// everything is the offer of a cluster that keeps everything.
var everything = Offer{Counters: CountersApart, Shares: true, BindingConditions: true, Taints: true, NoneTaints: true,
	TaintEffect: resourceapi.DeviceTaintEffectNoSchedule}

// gpus returns n devices, as a backend without sense of order might.
func gpus(n int) device.Snapshot {
	var s device.Snapshot
	for i := range n {
		s.Devices = append(s.Devices, device.Device{Device: resourceapi.Device{
			Name: fmt.Sprintf("gpu-%d", i),
			Attributes: map[resourceapi.QualifiedName]resourceapi.DeviceAttribute{
				"index": {IntValue: new(int64(i))}, "model": {StringValue: new("LATEST-GPU-MODEL")},
			},
			Capacity: map[resourceapi.QualifiedName]resourceapi.DeviceCapacity{"memory": {Value: resource.MustParse("80Gi")}},
		}})
	}
	return s
}

// partitioned returns n GPUs in halves, with a counter set each.
func partitioned(n int) device.Snapshot {
	var s device.Snapshot
	counter := func(amount string) map[string]resourceapi.Counter {
		return map[string]resourceapi.Counter{"memory": {Value: resource.MustParse(amount)}}
	}
	for i := range n {
		set := fmt.Sprintf("gpu-%d-counters", i)
		s.SharedCounters = append(s.SharedCounters, resourceapi.CounterSet{Name: set, Counters: counter("80Gi")})
		parts := []struct{ name, amount string }{{"full", "80Gi"}, {"partition-1", "40Gi"}, {"partition-0", "40Gi"}}
		for _, part := range parts {
			s.Devices = append(s.Devices, device.Device{Device: resourceapi.Device{
				Name: fmt.Sprintf("gpu-%d-%s", i, part.name),
				ConsumesCounters: []resourceapi.DeviceCounterConsumption{
					{CounterSet: set, Counters: counter(part.amount)},
				},
			}})
		}
	}
	return s
}

func shuffled(s device.Snapshot, seed uint64) device.Snapshot {
	r := rand.New(rand.NewPCG(seed, 1))
	s = device.Snapshot{Devices: slices.Clone(s.Devices), SharedCounters: slices.Clone(s.SharedCounters)}
	r.Shuffle(len(s.Devices), func(i, j int) { s.Devices[i], s.Devices[j] = s.Devices[j], s.Devices[i] })
	r.Shuffle(len(s.SharedCounters), func(i, j int) {
		s.SharedCounters[i], s.SharedCounters[j] = s.SharedCounters[j], s.SharedCounters[i]
	})
	return s
}

func TestSlices(t *testing.T) {
	tests := map[string]device.Snapshot{
		"no-devices":        {},
		"1-device":          gpus(1),
		"64-devices":        gpus(64),
		"65-devices":        gpus(65),
		"200-devices":       gpus(200),
		"counters-of-9-gpu": partitioned(9),
	}
	for name, snapshot := range tests {
		t.Run(name, func(t *testing.T) {
			specs, leftOut := Slices(shuffled(snapshot, 7), "gpu.example.com", "node-a", everything)
			if len(leftOut) > 0 {
				t.Errorf("left out: %v", leftOut)
			}
			got, err := yaml.Marshal(specs)
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", name+".yaml")
			if *update {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("run with -update if this is right (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTheOrderOfTheBackendDoesNotMatter(t *testing.T) {
	snapshot := hostile(3, 150)
	var first string
	for seed := range uint64(20) {
		specs, leftOut := Slices(shuffled(snapshot, seed), "gpu.example.com", "node-a", everything)
		raw, err := yaml.Marshal(specs)
		if err != nil {
			t.Fatal(err)
		}
		got := string(raw) + fmt.Sprint(leftOut)
		if seed == 0 {
			first = got
		}
		if got != first {
			t.Fatalf("seed %d:\n%s", seed, cmp.Diff(first, got))
		}
	}
}

// The backend still has what it answered, and other goroutines read it.
func TestSlicesLeavesTheSnapshotAsItIs(t *testing.T) {
	for seed := range uint64(20) {
		for name, offer := range map[string]Offer{
			"everything": everything, "nothing": {}, "beside": {Counters: CountersBeside, LeaveOutUnhealthy: true},
		} {
			snapshot, same := hostile(seed, 150), hostile(seed, 150)
			if _, leftOut := Slices(snapshot, "gpu.example.com", "node-a", offer); len(leftOut) == 0 {
				t.Fatal("there was nothing to take out")
			}
			if diff := cmp.Diff(same, snapshot); diff != "" {
				t.Fatalf("seed %d, %s: the snapshot was changed:\n%s", seed, name, diff)
			}
		}
	}
}

func TestHowManySlices(t *testing.T) {
	for n, want := range map[int]int{0: 1, 1: 1, 64: 1, 65: 2, 128: 2, 129: 3, 1000: 16, 10000: 157} {
		specs, _ := Slices(gpus(n), "gpu.example.com", "node-a", everything)
		if len(specs) != want {
			t.Errorf("%d devices: %d slices, want %d", n, len(specs), want)
		}
	}
}

func TestNaturalOrder(t *testing.T) {
	want := strings.Fields("a gpu gpu-0 gpu-01 gpu-1 gpu-1-full gpu-1-partition-0 gpu-1-partition-2 " +
		"gpu-1-partition-10 " +
		"gpu-2 gpu-10 gpu-18446744073709551616 gpu-a mig-0a mig-0b")
	got := slices.Clone(want)
	slices.Reverse(got)
	slices.SortFunc(got, naturalCompare)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

func TestDevicesAreInTheOrderOfTheirPlacesInTheMachine(t *testing.T) {
	at := func(name, address string) device.Device {
		d := device.Device{Device: resourceapi.Device{Name: name}}
		if address != "" {
			d.Attributes = map[resourceapi.QualifiedName]resourceapi.DeviceAttribute{
				"resource.kubernetes.io/pciBusID": {StringValue: &address},
			}
		}
		return d
	}
	snapshot := device.Snapshot{Devices: []device.Device{
		at("virtual-10", ""), at("gpu-aa", "0000:d1:00.0"), at("virtual-2", ""), at("mig-ff-2", "0000:1b:00.0"),
		at("gpu-ff", "0000:1b:00.0"),
	}}
	specs, _ := Slices(shuffled(snapshot, 7), "gpu.example.com", "node-a", everything)
	var got []string
	for _, d := range specs[0].Devices {
		got = append(got, d.Name)
	}
	if diff := cmp.Diff(strings.Fields("gpu-ff mig-ff-2 gpu-aa virtual-2 virtual-10"), got); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

// checkLimits is what a table can tell of the API server's validation; see TestWhatIsLeftOut for each limit.
func checkLimits(specs []resourceapi.ResourceSliceSpec, layout CounterLayout) error {
	seen := make(map[string]bool)
	sets := make(map[string]bool)
	for _, spec := range specs {
		if spec.Pool.ResourceSliceCount != int64(len(specs)) || spec.Pool.Generation != 0 || *spec.NodeName != "node-a" {
			return fmt.Errorf("pool %+v", spec.Pool)
		}
		beside := layout == CountersBeside && spec.SharedCounters != nil
		if !beside && (len(spec.Devices) > 64 || len(spec.SharedCounters) > 8 ||
			spec.Devices != nil && spec.SharedCounters != nil) {
			return fmt.Errorf("%d devices and %d counter sets in a slice", len(spec.Devices), len(spec.SharedCounters))
		}
		if beside {
			sets = make(map[string]bool) // a device must find its counters in its own slice
			f := family{spec.SharedCounters, spec.Devices}
			if reason := f.tooLarge(); reason != "" {
				return errors.New(reason)
			}
		}
		for _, set := range spec.SharedCounters {
			sets[set.Name] = true
		}
		for _, d := range spec.Devices {
			if seen[d.Name] {
				return fmt.Errorf("device %s twice", d.Name)
			}
			seen[d.Name] = true
			for _, c := range d.ConsumesCounters {
				if !sets[c.CounterSet] {
					return fmt.Errorf("device %s consumes %s", d.Name, c.CounterSet)
				}
			}
			if len(d.Attributes)+len(d.Capacity) > 32 || len(d.Taints) > 16 {
				return fmt.Errorf("device %s has too much", d.Name)
			}
		}
	}
	return nil
}

func offers() []Offer {
	return []Offer{{}, everything, {Counters: CountersBeside}, {Counters: CountersBeside, LeaveOutUnhealthy: true},
		{Counters: CountersBeside, Taints: true, TaintEffect: resourceapi.DeviceTaintEffectNoExecute},
		{Shares: true, LeaveOutUnhealthy: true}, {Counters: CountersApart, BindingConditions: true, Taints: true}}
}

func FuzzSlices(f *testing.F) {
	for seed := range uint64(50) {
		f.Add(seed, uint8(seed*5))
	}
	f.Fuzz(func(t *testing.T, seed uint64, n uint8) {
		o := offers()[seed%uint64(len(offers()))]
		snapshot := hostile(seed, int(n))
		for i := range snapshot.Devices {
			d := &snapshot.Devices[i]
			if d.Health = (device.Health{}); i%3 == 0 {
				d.Health = device.Health{Unhealthy: true, Reason: "it is too hot"}
			}
			if i%2 == 0 {
				d.PartOf = "gpu-0"
			}
		}
		specs, leftOut := Slices(snapshot, "gpu.example.com", "node-a", o)
		if err := checkLimits(specs, o.Counters); err != nil {
			t.Error(err)
		}
		for _, l := range leftOut {
			if l.Reason == "" || len(l.String()) > 1000 {
				t.Errorf("left out: %q", l)
			}
		}
		passed := device.Snapshot{Devices: published(specs), SharedCounters: sets(specs)}
		again, more := Slices(passed, "gpu.example.com", "node-a", o)
		if !cmp.Equal(specs, again) || len(more) > 0 {
			t.Errorf("what is published does not pass itself: %v", more)
		}
	})
}

func published(specs []resourceapi.ResourceSliceSpec) (all []device.Device) {
	for _, spec := range specs {
		for _, d := range spec.Devices {
			all = append(all, device.Device{Device: d})
		}
	}
	return all
}

func sets(specs []resourceapi.ResourceSliceSpec) (all []resourceapi.CounterSet) {
	for _, spec := range specs {
		all = append(all, spec.SharedCounters...)
	}
	return all
}
