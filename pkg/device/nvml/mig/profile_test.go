//go:build cgo

package mig_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/dgxa100"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/dgxb200"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/dgxh100"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/dgxh200"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/gpus"
	"github.com/google/go-cmp/cmp"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"

	"example.com/dragoman/pkg/device/nvml/mig"
	"example.com/dragoman/pkg/device/nvml/nvmltest"
)

const parentUUID = "GPU-4C2e1b0a-0000-4000-8000-000000000000"

func read(t *testing.T, gpu nvml.Device) mig.Layout {
	t.Helper()
	layout, err := mig.Read(gpu)
	if err != nil {
		t.Fatal(err)
	}
	return layout
}

// kinds are GPUs of each generation, as go-nvml's mocks have them and as the hardware is.
func kinds(t *testing.T) map[string]nvml.Device {
	t.Helper()
	first := func(lib nvml.Interface) nvml.Device {
		gpu, ret := lib.DeviceGetHandleByIndex(0)
		if ret != nvml.SUCCESS {
			t.Fatal(ret)
		}
		return gpu
	}
	return map[string]nvml.Device{
		"mock A100": first(dgxa100.New()),
		"mock H100": first(dgxh100.New()),
		"mock H200": first(dgxh200.New()),
		"mock B200": first(dgxb200.New()),
		"A100 40GB": first(nvmltest.New(gpus.A100_SXM4_40GB)),
		"A100 80GB": first(nvmltest.New(gpus.A100_SXM4_80GB)),
		"H100 80GB": first(nvmltest.New(gpus.H100_SXM5_80GB)),
		"H200":      first(nvmltest.New(gpus.H200_SXM5_141GB)),
		"B200":      first(nvmltest.New(gpus.B200_SXM5_180GB)),
	}
}

func TestPlacements(t *testing.T) {
	for name, want := range map[string]string{
		"A100 40GB": `
			0 19 1g.5gb 0:1 1:1 2:1 3:1 4:1 5:1 6:1
			1 14 2g.10gb 0:2 2:2 4:2
			2 9 3g.20gb 0:4 4:4
			3 5 4g.20gb 0:4
			4 0 7g.40gb 0:8
			7 20 1g.5gb+me 0:1 1:1 2:1 3:1 4:1 5:1 6:1
			9 15 1g.10gb 0:2 2:2 4:2 6:2`,
		"H100 80GB": `
			0 19 1g.10gb 0:1 1:1 2:1 3:1 4:1 5:1 6:1
			1 14 2g.20gb 0:2 2:2 4:2
			2 9 3g.40gb 0:4 4:4
			3 5 4g.40gb 0:4
			4 0 7g.80gb 0:8
			7 20 1g.10gb+me 0:1 1:1 2:1 3:1 4:1 5:1 6:1
			9 15 1g.20gb 0:2 2:2 4:2 6:2`,
		// A real one has 1g.23gb. Of go-nvml's round sizes an eighth is a little too large for nvlib's formula.
		"B200": `
			0 19 1g.45gb 0:1 1:1 2:1 3:1 4:1 5:1 6:1
			1 14 2g.45gb 0:2 2:2 4:2
			2 9 3g.90gb 0:4 4:4
			3 5 4g.90gb 0:4
			4 0 7g.180gb 0:8
			7 20 1g.45gb+me 0:1 1:1 2:1 3:1 4:1 5:1 6:1
			9 15 1g.45gb 0:2 2:2 4:2 6:2`,
	} {
		var got strings.Builder
		for _, p := range read(t, kinds(t)[name]) {
			fmt.Fprintf(&got, "\n\t\t\t%d %d %s", p.Index, p.Info.Id, p.Name)
			for _, at := range p.Placements {
				fmt.Fprintf(&got, " %d:%d", at.Start, at.Size)
			}
		}
		if diff := cmp.Diff(want, got.String()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestCounters(t *testing.T) {
	for name, test := range map[string]struct {
		set        string
		partitions map[string]string
	}{
		"A100 40GB": {
			"copy-engines 7, decoders 5, jpeg-engines 1, memory 40192Mi, memory-slice-0 1, memory-slice-1 1, " +
				"memory-slice-2 1, memory-slice-3 1, memory-slice-4 1, memory-slice-5 1, memory-slice-6 1, " +
				"memory-slice-7 1, multiprocessors 98, ofa-engines 1",
			map[string]string{
				"mig-4c2e1b0a-1g-5gb-6": "copy-engines 1, memory 4864Mi, memory-slice-6 1, multiprocessors 14",
				"mig-4c2e1b0a-1g-5gb-me-0": "copy-engines 1, decoders 1, jpeg-engines 1, memory 4864Mi, memory-slice-0 1, " +
					"multiprocessors 14, ofa-engines 1",
				"mig-4c2e1b0a-3g-20gb-4": "copy-engines 3, decoders 2, memory 19968Mi, memory-slice-4 1, memory-slice-5 1, " +
					"memory-slice-6 1, memory-slice-7 1, multiprocessors 42",
			},
		},
		"H100 80GB": {
			"copy-engines 7, decoders 7, jpeg-engines 1, memory 80Gi, memory-slice-0 1, memory-slice-1 1, " +
				"memory-slice-2 1, memory-slice-3 1, memory-slice-4 1, memory-slice-5 1, memory-slice-6 1, " +
				"memory-slice-7 1, multiprocessors 112, ofa-engines 1",
			map[string]string{
				"mig-4c2e1b0a-1g-20gb-2": "copy-engines 1, decoders 1, memory 20Gi, memory-slice-2 1, memory-slice-3 1, " +
					"multiprocessors 16",
			},
		},
		"B200": {
			"copy-engines 7, decoders 7, encoders 4, jpeg-engines 4, memory 180Gi, memory-slice-0 1, " +
				"memory-slice-1 1, memory-slice-2 1, memory-slice-3 1, memory-slice-4 1, memory-slice-5 1, " +
				"memory-slice-6 1, memory-slice-7 1, multiprocessors 126, ofa-engines 4, profile-1g-45gb-me 1",
			map[string]string{
				"mig-4c2e1b0a-1g-45gb-me-3": "copy-engines 1, decoders 1, encoders 1, jpeg-engines 1, memory 23Gi, " +
					"memory-slice-3 1, multiprocessors 18, ofa-engines 1, profile-1g-45gb-me 1",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			layout := read(t, kinds(t)[name])
			set, ok := layout.CounterSet("gpu-x")
			if diff := cmp.Diff(test.set, show(set.Counters)); diff != "" || !ok || set.Name != "gpu-x" {
				t.Errorf("set %s, %t:\n%s", set.Name, ok, diff)
			}
			for _, p := range layout.Partitions() {
				d := p.Device(mig.Parent{UUID: parentUUID, Device: "gpu-x"})
				if want, ok := test.partitions[d.Name]; ok {
					delete(test.partitions, d.Name)
					if diff := cmp.Diff(want, show(d.ConsumesCounters[0].Counters)); diff != "" {
						t.Errorf("%s:\n%s", d.Name, diff)
					}
				}
			}
			if len(test.partitions) > 0 {
				t.Errorf("missing: %v", test.partitions)
			}
		})
	}
}

func show(counters map[string]resourceapi.Counter) string {
	var all []string
	for name, c := range counters {
		all = append(all, name+" "+c.Value.String())
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// allocator hands devices out as the scheduler does (KEP-4815): as long as counters last.
type allocator map[string]resource.Quantity

func newAllocator(set resourceapi.CounterSet) allocator {
	a := allocator{}
	for name, c := range set.Counters {
		a[name] = c.Value.DeepCopy()
	}
	return a
}

// take returns false and takes nothing if not all is there.
func (a allocator) take(consumes []resourceapi.DeviceCounterConsumption) bool {
	for _, c := range consumes {
		for name, counter := range c.Counters {
			if left, ok := a[name]; !ok || left.Cmp(counter.Value) < 0 {
				return false
			}
		}
	}
	for _, c := range consumes {
		for name, counter := range c.Counters {
			left := a[name]
			left.Sub(counter.Value)
			a[name] = left
		}
	}
	return true
}

func TestOverlappingPlacementsExcludeEachOther(t *testing.T) {
	for name, gpu := range kinds(t) {
		t.Run(name, func(t *testing.T) {
			layout := read(t, gpu)
			set, _ := layout.CounterSet("gpu-x")
			partitions := layout.Partitions()
			for _, a := range partitions {
				alone := newAllocator(set)
				if !alone.take(a.Consumption(set.Name)) {
					t.Errorf("%s at %d cannot be had at all", a.Name, a.Start)
				}
				if alone.take(mig.ConsumeAll(set)) {
					t.Errorf("the whole GPU can be had besides %s at %d", a.Name, a.Start)
				}
				for _, b := range partitions {
					both := newAllocator(set)
					_ = both.take(a.Consumption(set.Name))
					if got := both.take(b.Consumption(set.Name)); got && a.Overlaps(b.Placement) {
						t.Errorf("%s at %d and %s at %d can be had together", a.Name, a.Start, b.Name, b.Start)
					}
				}
			}
			whole := newAllocator(set)
			if !whole.take(mig.ConsumeAll(set)) {
				t.Error("the whole GPU cannot be had")
			}
			for _, p := range partitions {
				if whole.take(p.Consumption(set.Name)) {
					t.Errorf("%s at %d can be had besides the whole GPU", p.Name, p.Start)
				}
			}
		})
	}
}

func TestAsManyOfAProfileAsNVMLPromises(t *testing.T) {
	for name, gpu := range kinds(t) {
		layout := read(t, gpu)
		set, _ := layout.CounterSet("gpu-x")
		for _, profile := range layout {
			free, got := newAllocator(set), uint32(0)
			for _, p := range layout.Partitions() {
				if p.Label == profile.Label && free.take(p.Consumption(set.Name)) {
					got++
				}
			}
			if got != profile.Info.InstanceCount {
				t.Errorf("%s: %d of %s fit, NVML says %d", name, got, profile.Name, profile.Info.InstanceCount)
			}
		}
	}
}

func TestDevicesAreValid(t *testing.T) {
	for name, gpu := range kinds(t) {
		names := map[string]bool{}
		parent := mig.Parent{UUID: parentUUID, Device: "gpu-x"}
		for _, p := range read(t, gpu).Partitions() {
			d := p.Device(parent)
			if errs := validation.IsDNS1123Label(d.Name); len(errs) > 0 || names[d.Name] {
				t.Errorf("%s: name %s: %v, twice: %t", name, d.Name, errs, names[d.Name])
			}
			names[d.Name] = true
			if set, _ := read(t, gpu).CounterSet("gpu-x"); len(set.Counters) > 32 {
				t.Errorf("%s: %d counters", name, len(set.Counters))
			}
			for counter := range d.ConsumesCounters[0].Counters {
				if errs := validation.IsDNS1123Label(counter); len(errs) > 0 {
					t.Errorf("%s: counter %s: %v", name, counter, errs)
				}
			}
			if *d.Attributes["profile"].StringValue != p.Name || *d.Attributes["parentUUID"].StringValue != parentUUID ||
				*d.Attributes["type"].StringValue != "mig" {
				t.Errorf("%s: %v", name, d.Attributes)
			}
			memory := d.Capacity["memory"].Value
			if memory.Value() != int64(p.Info.MemorySizeMB)<<20 || len(d.Capacity) != 7 {
				t.Errorf("%s: %v", name, d.Capacity)
			}
		}
	}
}

func TestAProfileThatNobodyKnowsIsNotOffered(t *testing.T) {
	m := nvmltest.New(gpus.H100_SXM5_80GB)
	known := m.GPUs[0].GetGpuInstanceProfileInfoFunc
	m.GPUs[0].GetGpuInstanceProfileInfoFunc = func(index int) (nvml.GpuInstanceProfileInfo, nvml.Return) {
		if index == nvml.GPU_INSTANCE_PROFILE_3_SLICE_GFX { // newer than go-nvlib
			return known(nvml.GPU_INSTANCE_PROFILE_3_SLICE)
		}
		return known(index)
	}
	layout := read(t, m.GPUs[0])
	if len(layout) != 8 || len(layout.Partitions()) != 25 {
		t.Errorf("%d profiles, %d partitions", len(layout), len(layout.Partitions()))
	}
}

func TestDecide(t *testing.T) {
	off, on := mig.Mode{Capable: true}, mig.Mode{Capable: true, Current: true, Pending: true}
	turning := "MIG mode is enabled and will be disabled after the next reset of the GPU"
	ending := mig.Mode{Capable: true, Current: true}
	state := func(mode mig.Mode, toggles bool, partitions, foreign int) mig.State {
		return mig.State{Mode: mode, Toggles: toggles, Partitions: partitions, Foreign: foreign}
	}
	static, parts := mig.Offer{Static: true}, mig.Offer{Partitions: true}
	whole, all := mig.Offer{Whole: true}, mig.Offer{Whole: true, Partitions: true}
	for name, test := range map[string]struct {
		dynamic bool
		state   mig.State
		want    mig.Offer
	}{
		"a GPU without MIG":              {true, state(mig.Mode{}, true, 0, 0), whole},
		"static, disabled":               {false, state(off, false, 25, 0), whole},
		"static, enabled without any":    {false, state(on, false, 25, 0), static},
		"static, enabled with instances": {false, state(on, false, 25, 2), static},
		"dynamic, no profile known":      {true, state(off, true, 0, 0), whole},
		"dynamic, enabled, none known":   {true, state(on, true, 0, 0), mig.Offer{}},
		"dynamic, others' instances":     {true, state(on, true, 25, 1), static},
		"dynamic, Hopper, disabled":      {true, state(off, true, 25, 0), all},
		"dynamic, Hopper, enabled":       {true, state(on, true, 25, 0), all},
		"dynamic, Ampere, disabled":      {true, state(off, false, 25, 0), whole},
		"dynamic, Ampere, enabled":       {true, state(on, false, 25, 0), parts},
		"dynamic, Ampere, waiting to end": {
			true, state(ending, false, 25, 0), mig.Offer{Partitions: true, Unhealthy: turning},
		},
		"static, waiting to end": {false, state(ending, false, 0, 1), mig.Offer{Static: true, Unhealthy: turning}},
	} {
		got := mig.Decide(test.dynamic, test.state)
		got.Unhealthy, _, _ = strings.Cut(got.Unhealthy, ";")
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if mig.Toggles(nvml.DEVICE_ARCH_AMPERE) || !mig.Toggles(nvml.DEVICE_ARCH_HOPPER) ||
		!mig.Toggles(nvml.DEVICE_ARCH_BLACKWELL) || mig.Toggles(nvml.DEVICE_ARCH_UNKNOWN) {
		t.Error("who toggles")
	}
}

func TestOneBadAnswerIsAnError(t *testing.T) {
	m := nvmltest.New(gpus.H100_SXM5_80GB)
	m.GPUs[0].GetGpuInstancePossiblePlacementsFunc = func(
		*nvml.GpuInstanceProfileInfo,
	) ([]nvml.GpuInstancePlacement, nvml.Return) {
		return nil, nvml.ERROR_UNKNOWN
	}
	if _, err := mig.Read(m.GPUs[0]); err == nil {
		t.Error("no error")
	}
}
