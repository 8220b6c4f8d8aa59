//go:build cgo

package nvml

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/dgxa100"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/dgxh100"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/gpus"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/server"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	gpuv1alpha1 "example.com/dragoman/api/gpu/v1alpha1"
	"example.com/dragoman/pkg/device"
	"example.com/dragoman/pkg/device/devicetest"
	"example.com/dragoman/pkg/device/nvml/nvmltest"
)

func dynamic(o *Options) { o.DynamicMIG = true }

// newMIGNode is a node whose kernel has numbers for all instances that there can be.
func newMIGNode(t testing.TB, s *server.Server, change ...func(*Options)) *node {
	t.Helper()
	n := newNode(t, s, change...)
	var table strings.Builder
	for _, d := range s.Devices {
		minor := d.(*server.Device).Minor
		for gi := range 15 {
			number := 100*minor + 2*gi
			fmt.Fprintf(&table, "gpu%d/gi%d/access %d\ngpu%d/gi%d/ci0/access %d\n", minor, gi, number, minor, gi, number+1)
		}
	}
	writeText(t, filepath.Join(n.root, "proc/driver/nvidia-caps/mig-minors"), table.String())
	writeText(t, filepath.Join(n.root, "proc/devices"), "Character devices:\n195 nvidia\n511 nvidia-caps\n")
	return n
}

// mixedServer has GPUs of several kinds with the profiles of the hardware.
func mixedServer(kinds ...gpus.Config) *server.Server { return nvmltest.New(kinds...).Server }

func TestConformanceWithDynamicMIG(t *testing.T) {
	for name, machine := range machines() {
		t.Run(name, func(t *testing.T) {
			devicetest.Run(t, func(t *testing.T) device.Backend {
				n := newMIGNode(t, machine(), dynamic)
				if strings.Contains(name, "A100") { // a machine with and without MIG
					for _, g := range n.library.machine.GPUs[:4] {
						g.SetMode(nvml.DEVICE_MIG_ENABLE, nvml.DEVICE_MIG_ENABLE)
					}
				}
				return n
			}, gpuv1alpha1.Default())
		})
	}
}

// ask is a claim for devices with the default configuration, and what it was told to remember.
type ask struct {
	device.Request
	undo map[int]json.RawMessage
}

func newAsk(claim string, config runtime.Object, devices ...string) *ask {
	a := &ask{undo: map[int]json.RawMessage{}}
	a.Claim = device.Claim{Namespace: "team", Name: claim, UID: types.UID(claim)}
	a.Config = config
	for i, name := range devices {
		a.Devices = append(a.Devices, resourceapi.DeviceRequestAllocationResult{
			Request: fmt.Sprintf("request-%d", i), Driver: "gpu.example.com", Pool: "node-a", Device: name,
		})
	}
	a.All = a.Devices
	a.Remember = func(i int, undo json.RawMessage) error { a.undo[i] = slices.Clone(undo); return nil }
	return a
}

func (a *ask) prepare(t *testing.T, n *node) []device.Grant {
	t.Helper()
	grants, err := n.Prepare(t.Context(), a.Request)
	if err != nil {
		t.Fatal(err)
	}
	return grants
}

func (a *ask) unprepare(t *testing.T, n *node) {
	t.Helper()
	for i, result := range a.Devices {
		if err := n.Unprepare(t.Context(), device.Grant{Claim: a.Claim, Result: result, Undo: a.undo[i]}); err != nil {
			t.Error(err)
		}
	}
}

// names returns the names of the devices that have what is wanted.
func names(devices []device.Device, want func(device.Device) bool) []string {
	var found []string
	for _, d := range devices {
		if want(d) {
			found = append(found, d.Name)
		}
	}
	return found
}

func ofProfile(profile string) func(device.Device) bool {
	return func(d device.Device) bool {
		a, ok := d.Attributes["profile"]
		return ok && *a.StringValue == profile
	}
}

func TestAPartitionComesAndGoesWithItsClaim(t *testing.T) {
	n := newMIGNode(t, mixedServer(gpus.H100_SXM5_80GB, gpus.H100_SXM5_80GB), dynamic)
	sim := n.library.machine.GPUs[1]
	threes := names(n.look(t), ofProfile("3g.40gb"))
	if len(threes) != 4 || threes[3] != "mig-a0000001-3g-40gb-4" {
		t.Fatalf("devices %v", threes)
	}
	a := newAsk("a", gpuv1alpha1.Default(), threes[3])
	grants := a.prepare(t, n)
	if got := sim.Instances(); !slices.Equal(got, []string{"9@4"}) {
		t.Errorf("instances %v", got)
	}
	var nodes []string
	for _, node := range grants[0].Edits.DeviceNodes {
		nodes = append(nodes, fmt.Sprintf("%s %d:%d", node.Path, node.Major, node.Minor))
	}
	want := []string{
		"/dev/nvidia1 0:0", "/dev/nvidia-caps/nvidia-cap102 511:102", "/dev/nvidia-caps/nvidia-cap103 511:103",
	}
	if !slices.Equal(nodes, want) {
		t.Errorf("device nodes %v, want %v", nodes, want)
	}
	if !slices.Contains(grants[0].Edits.Env, "NVIDIA_VISIBLE_DEVICES=void") {
		t.Errorf("environment %v", grants[0].Edits.Env)
	}
	if got := names(n.look(t), ofProfile("3g.40gb")); !slices.Equal(got, threes) {
		t.Errorf("other devices are offered while one is in use: %v", got)
	}
	a.unprepare(t, n)
	if got := sim.Instances(); len(got) > 0 || sim.Mode() != nvml.DEVICE_MIG_DISABLE {
		t.Errorf("instances %v, mode %d", got, sim.Mode())
	}
}

func TestAPlaceThatIsGivenUpAMomentLater(t *testing.T) {
	n := newMIGNode(t, mixedServer(gpus.H100_SXM5_80GB), dynamic)
	devices := n.look(t)
	first := newAsk("a", gpuv1alpha1.Default(), names(devices, ofProfile("1g.10gb"))[0])
	for _, next := range []string{names(devices, ofProfile("7g.80gb"))[0], names(devices, isWhole)[0]} {
		first.prepare(t, n)
		second := newAsk("b", gpuv1alpha1.Default(), next)
		failed := make(chan error, 1)
		n.library.total()
		go func() {
			_, err := n.Prepare(t.Context(), second.Request)
			failed <- err
		}()
		await(t, func() bool { return n.library.wasCalled("0.GetGpuInstances") })
		first.unprepare(t, n)
		if err := <-failed; err != nil {
			t.Error(err)
		}
		second.unprepare(t, n)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	first.prepare(t, n)
	other := newAsk("b", gpuv1alpha1.Default(), names(devices, ofProfile("1g.20gb"))[0])
	if _, err := n.Prepare(ctx, other.Request); err == nil || !strings.Contains(err.Error(), "claim with UID a") {
		t.Errorf("error %v", err)
	}
}

// wasCalled tells whether a call was made since the calls were counted last.
func (l *library) wasCalled(name string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.calls[name] > 0
}

func TestANodeWithAllSortsOfGPUs(t *testing.T) {
	withoutMIG := gpus.A100_PCIE_40GB
	withoutMIG.Name, withoutMIG.MIGProfiles = "NVIDIA L40", gpus.MIGProfileConfig{}
	n := newMIGNode(t, mixedServer(
		gpus.H100_SXM5_80GB, gpus.A100_SXM4_40GB, gpus.A100_SXM4_40GB, withoutMIG, gpus.H100_SXM5_80GB, gpus.A100_SXM4_40GB,
	), dynamic)
	machine := n.library.machine
	machine.GPUs[2].SetMode(nvml.DEVICE_MIG_ENABLE, nvml.DEVICE_MIG_ENABLE)
	machine.GPUs[4].SetMode(nvml.DEVICE_MIG_ENABLE, nvml.DEVICE_MIG_ENABLE)
	if err := machine.GPUs[4].Make(nvml.GPU_INSTANCE_PROFILE_2_SLICE, 2); err != nil {
		t.Fatal(err)
	}
	machine.GPUs[5].SetMode(nvml.DEVICE_MIG_ENABLE, nvml.DEVICE_MIG_DISABLE)
	snapshot, err := n.Devices(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	type seen struct{ whole, parts, counted, sick int }
	byGPU := map[string]seen{}
	for _, d := range snapshot.Devices {
		parent := d.PartOf
		if parent == "" {
			parent = d.Name
		}
		s := byGPU[parent[:12]]
		if d.PartOf == "" {
			s.whole++
		} else {
			s.parts++
		}
		if len(d.ConsumesCounters) > 0 {
			s.counted++
		}
		if d.Health.Unhealthy {
			s.sick++
		}
		byGPU[parent[:12]] = s
	}
	want := map[string]seen{
		"gpu-a0000000": {1, 25, 26, 0},  // Hopper: all ways at once
		"gpu-a0000001": {1, 0, 0, 0},    // Ampere, MIG disabled
		"gpu-a0000002": {0, 25, 25, 0},  // Ampere, MIG enabled
		"gpu-a0000003": {1, 0, 0, 0},    // no MIG
		"gpu-a0000004": {0, 1, 0, 0},    // somebody else's instances
		"gpu-a0000005": {0, 25, 25, 25}, // waits for a reset
	}
	if !maps.Equal(byGPU, want) {
		t.Errorf("%v, want %v", byGPU, want)
	}
	if len(snapshot.SharedCounters) != 3 {
		t.Errorf("%d counter sets", len(snapshot.SharedCounters))
	}
	if warnings := n.warned(); len(warnings) > 0 {
		t.Error(warnings)
	}
}

func TestStaticInstances(t *testing.T) {
	n := newMIGNode(t, mixedServer(gpus.H100_SXM5_80GB, gpus.A100_SXM4_40GB))
	sim := n.library.machine.GPUs[0]
	sim.SetMode(nvml.DEVICE_MIG_ENABLE, nvml.DEVICE_MIG_ENABLE)
	for profile, start := range map[int]uint32{
		nvml.GPU_INSTANCE_PROFILE_3_SLICE: 4, nvml.GPU_INSTANCE_PROFILE_1_SLICE_REV1: 0,
	} {
		if err := sim.Make(profile, start); err != nil {
			t.Fatal(err)
		}
	}
	devices := n.look(t)
	if len(devices) != 3 || devices[0].Name != "mig-a0000000-1g-10gb-me-0" || devices[1].Name != "mig-a0000000-3g-40gb-4" {
		t.Fatalf("devices %v", names(devices, func(device.Device) bool { return true }))
	}
	d := devices[1]
	uuid := *d.Attributes["uuid"].StringValue
	if !strings.HasPrefix(uuid, "MIG-") || *d.Attributes["parentUUID"].StringValue != sim.UUID ||
		*d.Attributes["productName"].StringValue == "" || len(d.ConsumesCounters) > 0 || d.PartOf == "" {
		t.Errorf("%+v", d)
	}
	memory := d.Capacity["memory"].Value
	if one := d.Capacity["memorySlice7"].Value; memory.String() != "40Gi" || one.String() != "1" || len(d.Capacity) != 11 {
		t.Errorf("capacity %v", d.Capacity)
	}
	devicetest.Run(t, func(t *testing.T) device.Backend {
		n := newMIGNode(t, mixedServer(gpus.H100_SXM5_80GB))
		sim := n.library.machine.GPUs[0]
		sim.SetMode(nvml.DEVICE_MIG_ENABLE, nvml.DEVICE_MIG_ENABLE)
		for start := range uint32(3) {
			if err := sim.Make(nvml.GPU_INSTANCE_PROFILE_1_SLICE, start); err != nil {
				t.Fatal(err)
			}
		}
		return n
	}, gpuv1alpha1.Default())
	a := newAsk("a", gpuv1alpha1.Default(), d.Name)
	a.prepare(t, n)
	a.unprepare(t, n)
	if err := n.Sweep(t.Context(), func(types.UID) bool { return false }); err != nil || len(sim.Instances()) != 2 {
		t.Errorf("%v, instances %v", err, sim.Instances())
	}
	sim.Destroy(9, 4)
	if devices := n.look(t); len(devices) != 2 {
		t.Errorf("a destroyed instance is offered: %v", devices)
	}
}

func TestCrashesWithDynamicMIG(t *testing.T) {
	for name, crash := range map[string]func(t *testing.T, n *node, a *ask){
		"the instance was made and not remembered": func(_ *testing.T, n *node, a *ask) {
			calls := 0
			a.Remember = func(i int, undo json.RawMessage) error {
				if calls++; calls == 2 {
					return errors.New("killed")
				}
				a.undo[i] = slices.Clone(undo)
				return nil
			}
			_, _ = n.Prepare(context.Background(), a.Request)
			a.Remember = func(i int, undo json.RawMessage) error { a.undo[i] = slices.Clone(undo); return nil }
		},
		"it was prepared and the record was lost": func(t *testing.T, n *node, a *ask) {
			a.prepare(t, n)
			clear(a.undo)
		},
	} {
		for _, after := range []string{"prepare", "unprepare", "sweep"} {
			t.Run(name+", then "+after, func(t *testing.T) {
				s := mixedServer(gpus.H100_SXM5_80GB)
				n := newMIGNode(t, s, dynamic)
				sim := n.library.machine.GPUs[0]
				a := newAsk("a", gpuv1alpha1.Default(), names(n.look(t), ofProfile("1g.10gb"))[2])
				crash(t, n, a)
				if len(sim.Instances()) != 1 {
					t.Fatalf("instances %v", sim.Instances())
				}
				next := n.restarted(t)
				if got := len(next.look(t)); got != 26 {
					t.Errorf("%d devices after the restart", got)
				}
				switch after {
				case "prepare":
					a.prepare(t, next)
					if len(sim.Instances()) != 1 {
						t.Errorf("instances %v", sim.Instances())
					}
					a.unprepare(t, next)
				case "unprepare":
					a.unprepare(t, next)
				default:
					if err := next.Sweep(t.Context(), func(types.UID) bool { return false }); err != nil {
						t.Error(err)
					}
				}
				if got := sim.Instances(); len(got) > 0 || sim.Mode() != nvml.DEVICE_MIG_DISABLE {
					t.Errorf("instances %v, mode %d", got, sim.Mode())
				}
			})
		}
	}
}

// restarted is another process of the driver on the same node.
func (n *node) restarted(t *testing.T) *node {
	t.Helper()
	next := &node{root: n.root, library: n.library}
	o := n.options
	o.Warn = next.warn
	var err error
	if next.Backend, err = New(o); err != nil {
		t.Fatal(err)
	}
	return next
}

func TestTheNodeRebooted(t *testing.T) {
	n := newMIGNode(t, mixedServer(gpus.H100_SXM5_80GB), dynamic)
	sim := n.library.machine.GPUs[0]
	a := newAsk("a", gpuv1alpha1.Default(), names(n.look(t), ofProfile("1g.10gb"))[0])
	a.prepare(t, n)
	sim.SetMode(nvml.DEVICE_MIG_DISABLE, nvml.DEVICE_MIG_DISABLE)
	sim.Reset()
	if err := os.RemoveAll(n.options.Dir); err != nil {
		t.Fatal(err)
	}
	a.unprepare(t, n.restarted(t))
	if warnings := n.warned(); len(warnings) > 0 {
		t.Error(warnings)
	}
}

func TestTheGPUIsGone(t *testing.T) {
	s := mixedServer(gpus.H100_SXM5_80GB, gpus.H100_SXM5_80GB)
	n := newMIGNode(t, s, dynamic)
	a := newAsk("a", gpuv1alpha1.Default(), names(n.look(t), ofProfile("1g.10gb"))[7]) // of the second GPU
	a.prepare(t, n)
	unplug(t, n.root, s.Devices[1].(*server.Device).PciBusID)
	s.Devices = s.Devices[:1]
	next := n.restarted(t)
	if err := next.Sweep(t.Context(), func(types.UID) bool { return true }); err != nil {
		t.Error(err)
	}
	a.unprepare(t, next)
	if entries, err := next.workshop.Book.OfClaim("a", a.Devices[0].Device); err != nil || len(entries) > 0 {
		t.Errorf("%v, %v", entries, err)
	}
}

func TestAWholeGPUOfANodeWithDynamicMIG(t *testing.T) {
	n := newMIGNode(t, mixedServer(gpus.H100_SXM5_80GB), dynamic)
	sim := n.library.machine.GPUs[0]
	wholes := names(n.look(t), func(d device.Device) bool { return d.PartOf == "" })
	n.library.total()
	a := newAsk("a", gpuv1alpha1.Default(), wholes[0])
	a.prepare(t, n)
	n.library.total()
	a.prepare(t, n)
	if calls := n.library.total(); !maps.Equal(calls, map[string]int{"0.GetMigMode": 1}) {
		t.Errorf("calls of a warm Prepare: %v", calls)
	}
	a.unprepare(t, n)
	sim.SetMode(nvml.DEVICE_MIG_ENABLE, nvml.DEVICE_MIG_ENABLE)
	first := a.prepare(t, n)
	second := a.prepare(t, n)
	if string(first[0].Undo) != string(second[0].Undo) || len(first[0].Undo) == 0 {
		t.Errorf("remembered %s, then %s", first[0].Undo, second[0].Undo)
	}
	if sim.Mode() != nvml.DEVICE_MIG_DISABLE {
		t.Error("a whole GPU in MIG mode")
	}
	a.unprepare(t, n)
	if sim.Mode() != nvml.DEVICE_MIG_ENABLE {
		t.Error("MIG mode did not come back")
	}
}

func TestAdminAccessMakesNoInstance(t *testing.T) {
	n := newMIGNode(t, mixedServer(gpus.H100_SXM5_80GB), dynamic)
	sim := n.library.machine.GPUs[0]
	all := names(n.look(t), func(device.Device) bool { return true })
	a := newAsk("a", gpuv1alpha1.Default(), all[:2]...)
	for i := range a.Devices {
		a.Devices[i].AdminAccess = new(true)
	}
	sim.SetMode(nvml.DEVICE_MIG_ENABLE, nvml.DEVICE_MIG_ENABLE)
	a.prepare(t, n)
	a.unprepare(t, n)
	if sim.Calls("SetMigMode")+sim.Calls("CreateGpuInstance") > 0 || len(a.undo) > 0 {
		t.Errorf("changed something: %v", a.undo)
	}
}

func TestHowAGPUIsCutIsKeptWhenItDoesNotTell(t *testing.T) {
	for _, call := range []string{"GetMigMode", "GetGpuInstances"} {
		s := mixedServer(gpus.H100_SXM5_80GB)
		n := newMIGNode(t, s, dynamic)
		n.library.machine.GPUs[0].SetMode(nvml.DEVICE_MIG_ENABLE, nvml.DEVICE_MIG_ENABLE)
		before := len(n.look(t))
		n.library.fail("0."+call, nvml.ERROR_UNKNOWN)
		if got := len(n.look(t)); got != before || len(n.warned()) != 1 {
			t.Errorf("%s: %d devices instead of %d, warnings %v", call, got, before, n.warned())
		}
	}
}

// TestWhatIsDestroyedDuringALookIsNotTakenForSomebodyElses: a look that saw the instance and then no entry for it.
func TestWhatIsDestroyedDuringALookIsNotTakenForSomebodyElses(t *testing.T) {
	n := newMIGNode(t, mixedServer(gpus.H100_SXM5_80GB), dynamic)
	sim := n.library.machine.GPUs[0]
	before := n.look(t)
	a := newAsk("a", gpuv1alpha1.Default(), names(before, ofProfile("1g.10gb"))[0])
	a.prepare(t, n)
	list := sim.GetGpuInstancesFunc
	sim.GetGpuInstancesFunc = func(info *nvml.GpuInstanceProfileInfo) ([]nvml.GpuInstance, nvml.Return) {
		found, ret := list(info)
		if len(found) > 0 {
			if err := n.workshop.Book.Forget(sim.UUID, func(types.UID) bool { return true }); err != nil {
				t.Error(err)
			}
		}
		return found, ret
	}
	if got := n.look(t); len(got) != len(before) {
		t.Errorf("%d devices instead of %d", len(got), len(before))
	}
}

func TestDynamicMIGOffCostsOneCall(t *testing.T) {
	n := newNode(t, dgxh100.New())
	n.look(t)
	n.library.total()
	n.look(t)
	for call, count := range n.library.total() {
		if strings.Contains(call, "Instance") || strings.HasSuffix(call, "GetMigMode") && count != 1 {
			t.Errorf("%s %d times", call, count)
		}
	}
	a100 := newNode(t, dgxa100.New(), dynamic)
	if got := len(a100.look(t)); got != 8 {
		t.Errorf("%d devices of A100s without MIG mode", got)
	}
}
