//go:build cgo

package nvml

import (
	"errors"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/dgxh100"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/server"
	"github.com/google/go-cmp/cmp"
	resourceapi "k8s.io/api/resource/v1"
	"sigs.k8s.io/yaml"

	"example.com/dragoman/pkg/device"
)

var update = flag.Bool("update", false, "write the golden files")

func golden(t *testing.T, name string, value any) {
	t.Helper()
	got, err := yaml.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join("testdata", name)
	if *update {
		writeText(t, file, string(got))
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got; -update writes it):\n%s", file, diff)
	}
}

func TestInventory(t *testing.T) {
	for name, machine := range machines() {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, machine())
			devices := n.look(t)
			if len(devices) != 8 {
				t.Fatalf("%d devices", len(devices))
			}
			golden(t, "inventory-"+strings.ToLower(strings.ReplaceAll(name, " ", "-"))+".yaml",
				[]device.Device{devices[0], devices[7]})
			if warnings := n.warned(); len(warnings) > 0 {
				t.Error(warnings)
			}
		})
	}
}

// TestEachCallFailsInTurn: what a call would have told is lost, and nothing else.
func TestEachCallFailsInTurn(t *testing.T) {
	whole := newNode(t, dgxh100.New())
	want := whole.look(t)
	type loss struct {
		attributes []string // of GPU 3
		of         string   // "" GPU 3, "all", "the GPU", "the look"
	}
	losses := map[string]loss{
		"Init":                        {of: "the look"},
		"DeviceGetCount":              {of: "the look"},
		"DeviceGetHandleByIndex":      {of: "the GPU"},
		"SystemGetDriverVersion":      {[]string{"driverVersion"}, "all"},
		"SystemGetCudaDriverVersion":  {[]string{"cudaDriverVersion"}, "all"},
		"LookupSymbol":                {[]string{"addressingMode"}, "all"},
		"3.GetUUID":                   {of: "the GPU"},
		"3.GetMinorNumber":            {},
		"3.GetName":                   {[]string{"model", "productName"}, ""},
		"3.GetBrand":                  {[]string{"brand"}, ""},
		"3.GetArchitecture":           {[]string{"architecture"}, ""},
		"3.GetCudaComputeCapability":  {[]string{"cudaComputeCapability"}, ""},
		"3.GetAddressingMode":         {[]string{"addressingMode"}, ""},
		"3.GetMemoryInfo":             {[]string{"capacity memory"}, ""},
		"3.GetFieldValues":            {},
		"3.GetMigMode":                {},
		"3.GetMaxMigDeviceCount":      {},
		"3.GetGpuInstanceProfileInfo": {},
		"3.GetGpuInstances":           {},
		"3.GetMigDeviceHandleByIndex": {},
		"3.GetGpuInstanceById":        {},
		"3.GetVirtualizationMode":     {},
		"3.GetIndex":                  {},
		"3.GetPciInfo": {[]string{
			"resource.kubernetes.io/numaNode", "resource.kubernetes.io/pciBusID", "resource.kubernetes.io/pcieRoot",
		}, ""},
		"3.GetGpuInstancePossiblePlacements": {},
	}
	for call := range whole.library.total() {
		if index, _, ofGPU := strings.Cut(call, "."); ofGPU && index != "3" {
			continue
		}
		t.Run(call, func(t *testing.T) {
			lost, known := losses[call]
			if !known {
				t.Fatal("is called and not in the table: what does it cost when it fails?")
			}
			n := newNode(t, dgxh100.New())
			if call == "DeviceGetHandleByIndex" {
				failHandle(n, 3)
			} else {
				n.library.fail(call, nvml.ERROR_UNKNOWN)
			}
			snapshot, err := n.Devices(t.Context())
			if lost.of == "the look" {
				cannot, ok := errors.AsType[*CannotLookError](err)
				if !ok || cannot.What == "" || cannot.Mend == "" {
					t.Errorf("error %v, want one that says what is wrong and what to do", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if len(lost.attributes) > 0 && call != "LookupSymbol" || lost.of == "the GPU" {
				if len(n.warned()) != 1 {
					t.Errorf("%d warnings instead of one: %v", len(n.warned()), n.warned())
				}
			}
			check(t, want, snapshot.Devices, lost.of, lost.attributes)
			if _, err := n.Devices(t.Context()); err != nil || len(n.warned()) > 1 {
				t.Errorf("asked again: error %v, warnings %v", err, n.warned())
			}
		})
	}
}

// check compares devices with what they are when nothing fails.
func check(t *testing.T, want, got []device.Device, of string, attributes []string) {
	t.Helper()
	byName := map[string]device.Device{}
	for _, d := range got {
		byName[d.Name] = d
	}
	for i, w := range want {
		g, there := byName[w.Name]
		switch {
		case of == "the GPU" && i == 3:
			if there {
				t.Errorf("GPU 3 is there")
			}
			continue
		case !there:
			t.Errorf("GPU %d is gone", i)
			continue
		}
		var lost []string
		for name := range w.Attributes {
			if _, ok := g.Attributes[name]; !ok {
				lost = append(lost, string(name))
			}
		}
		for name := range w.Capacity {
			if _, ok := g.Capacity[name]; !ok {
				lost = append(lost, "capacity "+string(name))
			}
		}
		slices.Sort(lost)
		var expected []string
		if of == "all" || i == 3 {
			expected = attributes
		}
		if !slices.Equal(lost, expected) {
			t.Errorf("GPU %d has lost %v, want %v", i, lost, expected)
		}
		if g.Health.Unhealthy {
			t.Errorf("GPU %d: %s", i, g.Health.Reason)
		}
	}
}

// failHandle lets NVML not find one GPU by its index.
func failHandle(n *node, index int) {
	original := n.library.DeviceGetHandleByIndexFunc
	n.library.DeviceGetHandleByIndexFunc = func(i int) (nvml.Device, nvml.Return) {
		if i == index {
			return nil, nvml.ERROR_GPU_IS_LOST
		}
		return original(i)
	}
}

func TestWhatFailedOnceIsAskedAgain(t *testing.T) {
	n := newNode(t, dgxh100.New())
	n.library.fail("3.GetName", nvml.ERROR_TIMEOUT)
	if _, ok := n.look(t)[3].Attributes["productName"]; ok {
		t.Error("there is a name, although it could not be read")
	}
	n.library.fail("3.GetName", nvml.SUCCESS)
	if _, ok := n.look(t)[3].Attributes["productName"]; !ok {
		t.Error("the name is missing for good")
	}
	n.library.total()
	n.look(t)
	if calls := n.library.total(); calls["3.GetName"] > 0 || calls["3.GetPciInfo"] > 0 {
		t.Errorf("what never changes is asked at every look: %v", calls)
	}
}

func TestUnknownConstantsCostTheirAttribute(t *testing.T) {
	s := dgxh100.New()
	n := newNode(t, s)
	gpu := s.Devices[0].(*server.Device)
	gpu.GetArchitectureFunc = func() (nvml.DeviceArchitecture, nvml.Return) { return 999, nvml.SUCCESS }
	gpu.GetBrandFunc = func() (nvml.BrandType, nvml.Return) { return 999, nvml.SUCCESS }
	d := n.look(t)[0]
	for _, name := range []resourceapi.QualifiedName{"architecture", "brand"} {
		if value, ok := d.Attributes[name]; ok {
			t.Errorf("%s is %v", name, value)
		}
	}
	if len(n.warned()) != 2 || d.Health.Unhealthy {
		t.Errorf("warnings %v, health %v", n.warned(), d.Health)
	}
}

func TestAPanicCostsOneGPU(t *testing.T) {
	s := dgxh100.New()
	n := newNode(t, s)
	n.look(t)
	s.Devices[5].(*server.Device).GetMemoryInfoFunc = func() (nvml.Memory, nvml.Return) { panic("out of order") }
	for i, d := range n.look(t) {
		if d.Health.Unhealthy != (i == 5) {
			t.Errorf("GPU %d: %v", i, d.Health)
		}
	}
}

func TestAGPUThatGetsLostIsUnhealthyUnderItsName(t *testing.T) {
	for name, lose := range map[string]func(*node){
		"its handle is gone":       func(n *node) { failHandle(n, 3) },
		"its UUID cannot be read":  func(n *node) { n.library.fail("3.GetUUID", nvml.ERROR_GPU_IS_LOST) },
		"it says that it is lost":  func(n *node) { n.library.fail("3.GetMemoryInfo", nvml.ERROR_GPU_IS_LOST) },
		"it says it needs a reset": func(n *node) { n.library.fail("3.GetFieldValues", nvml.ERROR_RESET_REQUIRED) },
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, dgxh100.New())
			want := n.look(t)
			lose(n)
			got := n.look(t)
			if len(got) != len(want) {
				t.Fatalf("%d devices, want %d", len(got), len(want))
			}
			for i := range want {
				if got[i].Name != want[i].Name || got[i].Health.Unhealthy != (i == 3) {
					t.Errorf("GPU %d: %s, want %s; %v", i, got[i].Name, want[i].Name, got[i].Health)
				}
				if diff := cmp.Diff(want[i].Attributes, got[i].Attributes); diff != "" {
					t.Errorf("GPU %d has other attributes: %s", i, diff)
				}
			}
			if _, err := n.Devices(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAGPUThatHangsCostsNobodyElse(t *testing.T) {
	n := newNode(t, dgxh100.New())
	synctest.Test(t, func(t *testing.T) {
		n.look(t)
		goOn := n.library.hang("3.GetMemoryInfo")
		for range 2 {
			for i, d := range n.look(t) {
				if d.Health.Unhealthy != (i == 3) {
					t.Errorf("GPU %d: %v", i, d.Health)
				}
			}
		}
		if calls := n.library.total()["3.GetMemoryInfo"]; calls > 3 {
			t.Errorf("%d calls wait for a GPU that hangs", calls)
		}
		goOn()
		synctest.Wait()
		for i, d := range n.look(t) {
			if d.Health.Unhealthy {
				t.Errorf("GPU %d, after it went on: %v", i, d.Health)
			}
		}
	})
}

func TestAGPUThatIsTakenOut(t *testing.T) {
	s := dgxh100.New()
	n := newNode(t, s)
	n.look(t)
	gone := s.Devices[7].(*server.Device)
	s.Devices = s.Devices[:7]
	if d := n.look(t); len(d) != 8 || !d[7].Health.Unhealthy {
		t.Errorf("%d devices; one that is on the bus and not in NVML must be there, unhealthy", len(d))
	}
	unplug(t, n.root, gone.PciBusID)
	if d := n.look(t); len(d) != 7 {
		t.Errorf("%d devices after one was taken out", len(d))
	}
}

func TestNamesFollowTheGPU(t *testing.T) {
	s := dgxh100.New()
	n := newNode(t, s)
	before := n.look(t)
	slices.Reverse(s.Devices)
	for i, d := range s.Devices {
		d.(*server.Device).Minor = i
	}
	again, err := New(n.options)
	if err != nil {
		t.Fatal(err)
	}
	after, err := again.Devices(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i := range before {
		if before[i].Name != after.Devices[i].Name ||
			*before[i].Attributes["uuid"].StringValue != *after.Devices[i].Attributes["uuid"].StringValue {
			t.Errorf("GPU %d is %s after a restart, before it was %s", i, after.Devices[i].Name, before[i].Name)
		}
	}
}

func TestGPUNames(t *testing.T) {
	for uuid, want := range map[string]string{
		"GPU-8F3B2C1D-0000-4000-8000-000000000001": "gpu-8f3b2c1d-0000-4000-8000-000000000001",
		"weird/UUID_":            "gpu-weird-uuid",
		strings.Repeat("x", 100): "gpu-" + strings.Repeat("x", 59),
	} {
		if got := gpuName(uuid); got != want {
			t.Errorf("%s: %s, want %s", uuid, got, want)
		}
	}
}

func TestSemanticVersions(t *testing.T) {
	for version, want := range map[string]string{
		"580.95.05": "580.95.5", "550.54.15": "550.54.15", "550.54": "550.54.0", "600": "600.0.0",
		"580.00.00": "580.0.0", " 470.1.2 ": "470.1.2",
		"": "", "unknown": "", "580.95.05-beta": "", "1.2.3.4": "", "99999999999.1": "",
	} {
		if got := semantic(version); got != want {
			t.Errorf("%q: %q, want %q", version, got, want)
		}
	}
}

func TestTheDriversVersionIsAnAttributeInAnyCase(t *testing.T) {
	for version, want := range map[string]resourceapi.DeviceAttribute{
		"580.95.05":       {VersionValue: new("580.95.5")},
		"R580 (internal)": {StringValue: new("R580 (internal)")},
	} {
		s := dgxh100.New()
		s.DriverVersion = version
		n := newNode(t, s)
		if diff := cmp.Diff(want, n.look(t)[0].Attributes["driverVersion"]); diff != "" {
			t.Errorf("%s: %s", version, diff)
		}
	}
}

func TestStringsAreCutToWhatTheAPIAccepts(t *testing.T) {
	got := *text(strings.Repeat("ä", 40) + "\xff").StringValue
	if got != strings.Repeat("ä", 32) {
		t.Errorf("%q has %d bytes", got, len(got))
	}
}

// BenchmarkInventory is the first look at a machine of eight GPUs, and the looks after it.
func BenchmarkInventory(b *testing.B) {
	n := newNode(b, dgxh100.New())
	for name, again := range map[string]bool{"first": false, "again": true} {
		b.Run(name, func(b *testing.B) {
			backend := n.Backend
			for b.Loop() {
				if !again {
					var err error
					if backend, err = New(n.options); err != nil {
						b.Fatal(err)
					}
				}
				if _, err := backend.Devices(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func TestAWarmLookAsksLittle(t *testing.T) {
	n := newNode(t, dgxh100.New())
	n.look(t)
	n.library.total()
	n.look(t)
	total := 0
	calls := n.library.total()
	for call := range maps.Keys(calls) {
		total += calls[call]
	}
	if total > 8*6 {
		t.Errorf("%d calls for 8 GPUs: %v", total, calls)
	}
}
