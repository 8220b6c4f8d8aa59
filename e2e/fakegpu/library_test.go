//go:build cgo

package fakegpu_test

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"

	"example.com/dragoman/e2e/fakegpu"
)

var (
	update = flag.Bool("update", false, "write stubs.c again")
	// lib is the library that was built and is loaded from below driver, the way a driver's library is. A process can
	// have one only: go-nvml's calls are bound to the first.
	lib    nvml.Interface
	driver fakegpu.Driver
)

// ldflags are those of the Makefile.
const ldflags = "-s -w -extldflags -Wl,-soname,libnvidia-ml.so.1"

func TestMain(m *testing.M) {
	flag.Parse()
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (int, error) {
	root, err := os.MkdirTemp("", "mocknvml-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(root) //nolint:errcheck // it is a temporary folder
	driver = fakegpu.Driver(root)
	path := driver.Path("usr/lib/x86_64-linux-gnu/libnvidia-ml.so.580.95.05")
	build := exec.Command("go", "build", "-buildmode=c-shared", "-ldflags", ldflags, "-o", path, "../mocknvml")
	if output, err := build.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("build the library: %w\n%s", err, output)
	}
	link := filepath.Join(filepath.Dir(path), "libnvidia-ml.so.1")
	if err := os.Symlink(filepath.Base(path), link); err != nil {
		return 0, err
	}
	lib = nvml.New(nvml.WithLibraryPath(link))
	return m.Run(), nil
}

// play begins a test with eight new GPUs of a model and an initialised library.
func play(t *testing.T, model string) fakegpu.Machine {
	t.Helper()
	machine := fakegpu.DGX("node", model)
	err := driver.SetMachine(machine)
	if err == nil {
		err = driver.Update(func(s *fakegpu.State) error { *s = fakegpu.State{}; return nil })
	}
	if err != nil {
		t.Fatal(err)
	}
	control(t, fakegpu.Control{})
	succeeds(t, "Init", lib.Init())
	t.Cleanup(func() {
		control(t, fakegpu.Control{})
		succeeds(t, "Shutdown", lib.Shutdown())
	})
	return machine
}

func control(t *testing.T, c fakegpu.Control) {
	t.Helper()
	if err := driver.SetControl(c); err != nil {
		t.Fatal(err)
	}
}

func succeeds(t *testing.T, what string, ret nvml.Return) {
	t.Helper()
	if ret != nvml.SUCCESS {
		t.Fatalf("%s: %v", what, ret)
	}
}

func returnsIs(t *testing.T, what string, got, expected nvml.Return) {
	t.Helper()
	if got != expected {
		t.Errorf("%s returns %q (%d), expected %d", what, got, got, expected)
	}
}

func device(t *testing.T, index int) nvml.Device {
	t.Helper()
	d, ret := lib.DeviceGetHandleByIndex(index)
	succeeds(t, "DeviceGetHandleByIndex", ret)
	return d
}

func TestEveryFunctionOfNVMLIsThere(t *testing.T) {
	module, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/NVIDIA/go-nvml").Output()
	if err != nil {
		t.Fatal(err)
	}
	header, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(module)), "pkg/nvml/nvml.h"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, match := range regexp.MustCompile(`DECLDIR (nvml\w+)`).FindAllSubmatch(header, -1) {
		names = append(names, string(match[1]))
	}
	slices.Sort(names)
	names = slices.Compact(names)
	if *update {
		writeStubs(t, names)
	}
	play(t, "h100")
	for _, name := range names {
		if err := lib.Extensions().LookupSymbol(name); err != nil {
			t.Errorf("%v; \"go test ./fakegpu -update\" makes the stubs", err)
		}
	}
	if len(names) < 400 {
		t.Errorf("nvml.h has %d functions", len(names))
	}
	_, ret := device(t, 0).GetFanSpeed()
	returnsIs(t, "a function that nobody wrote", ret, nvml.ERROR_NOT_SUPPORTED)
}

func writeStubs(t *testing.T, names []string) {
	t.Helper()
	text, err := os.ReadFile("../mocknvml/stubs.c")
	if err != nil {
		t.Fatal(err)
	}
	head, _, _ := strings.Cut(string(text), "\n\n")
	for i, name := range names {
		names[i] = "NOT_SUPPORTED(" + name + ")"
	}
	text = []byte(head + "\n\n" + strings.Join(names, "\n") + "\n")
	if err := os.WriteFile("../mocknvml/stubs.c", text, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestItIsALibraryOfTheDriver(t *testing.T) {
	output, err := exec.Command("readelf", "-d", driver.Path("usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1")).Output()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(output), "Library soname: [libnvidia-ml.so.1]") {
		t.Errorf("it has not the name of NVML:\n%s", output)
	}
}

func TestInventory(t *testing.T) {
	machine := play(t, "h100")
	count, ret := lib.DeviceGetCount()
	if ret != nvml.SUCCESS || count != 8 {
		t.Fatalf("there are %d GPUs (%v)", count, ret)
	}
	version, ret := lib.SystemGetDriverVersion()
	if ret != nvml.SUCCESS || version != "580.95.05" {
		t.Errorf("driver version is %q (%v)", version, ret)
	}
	cuda, ret := lib.SystemGetCudaDriverVersion_v2()
	if ret != nvml.SUCCESS || cuda != 13000 {
		t.Errorf("CUDA version is %d (%v)", cuda, ret)
	}
	d := device(t, 3)
	uuid, _ := d.GetUUID()
	name, _ := d.GetName()
	memory, _ := d.GetMemoryInfo()
	pci, _ := d.GetPciInfo()
	major, minor, _ := d.GetCudaComputeCapability()
	number, _ := d.GetMinorNumber()
	got := fmt.Sprint(uuid, " ", name, " ", memory.Total, " ", text8(pci.BusId[:]), " ", major, minor, " ", number)
	expected := machine.UUID(3) + " NVIDIA H100 80GB HBM3 85899345920 00000000:61:00.0 9 0 3"
	if got != expected {
		t.Errorf("the GPU is\n%s, expected\n%s", got, expected)
	}
	again, ret := lib.DeviceGetHandleByUUID(uuid)
	if index, _ := again.GetIndex(); ret != nvml.SUCCESS || index != 3 {
		t.Errorf("by its UUID it is %d (%v)", index, ret)
	}
	if other := fakegpu.DGX("other", "h100").UUID(3); other == uuid {
		t.Errorf("a GPU of another node has the same UUID %s", uuid)
	}
	_, ret = lib.DeviceGetHandleByIndex(8)
	returnsIs(t, "a GPU that is not there", ret, nvml.ERROR_INVALID_ARGUMENT)
}

func text8(s []int8) string {
	var b []byte
	for _, c := range s {
		if c == 0 {
			break
		}
		b = append(b, byte(c))
	}
	return string(b)
}

func TestNothingAnswersBeforeInitAndAfterShutdown(t *testing.T) {
	play(t, "h100")
	d := device(t, 0)
	succeeds(t, "Shutdown", lib.Shutdown())
	_, ret := d.GetName()
	succeeds(t, "Init", lib.Init())
	returnsIs(t, "GetName after Shutdown", ret, nvml.ERROR_UNINITIALIZED)
	name, ret := d.GetName()
	if ret != nvml.SUCCESS || name == "" {
		t.Errorf("after another Init the handle is %q (%v)", name, ret)
	}
}

func TestWhatGoesWrong(t *testing.T) {
	unknown := fakegpu.Fault{Return: "UNKNOWN"}
	getName := func() nvml.Return { _, ret := device(t, 0).GetName(); return ret }
	cases := map[string]struct {
		control  fakegpu.Control
		call     func() nvml.Return
		expected nvml.Return
	}{
		"nothing": {fakegpu.Control{}, getName, nvml.SUCCESS},
		"a call of all GPUs": {
			fakegpu.Control{Calls: map[string]fakegpu.Fault{"nvmlDeviceGetName": unknown}}, getName, nvml.ERROR_UNKNOWN,
		},
		"a call of another GPU": {
			fakegpu.Control{Calls: map[string]fakegpu.Fault{"nvmlDeviceGetName": {Return: "UNKNOWN", GPUs: []int{1}}}},
			getName, nvml.SUCCESS,
		},
		"every other call": {
			fakegpu.Control{Calls: map[string]fakegpu.Fault{
				"*": {Return: "UNINITIALIZED"}, "nvmlDeviceGetHandleByIndex_v2": {},
			}},
			getName, nvml.ERROR_UNINITIALIZED,
		},
		"a lost GPU": {
			fakegpu.Control{Lost: []int{2}},
			func() nvml.Return { _, ret := lib.DeviceGetHandleByIndex(2); return ret }, nvml.ERROR_GPU_IS_LOST,
		},
		"a GPU beside a lost one": {fakegpu.Control{Lost: []int{2}}, getName, nvml.SUCCESS},
		"initialisation": {
			fakegpu.Control{Calls: map[string]fakegpu.Fault{"nvmlInit_v2": {Return: "LIB_RM_VERSION_MISMATCH"}}},
			lib.Init, nvml.ERROR_LIB_RM_VERSION_MISMATCH,
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			play(t, "h100")
			control(t, c.control)
			returnsIs(t, "the call", c.call(), c.expected)
		})
	}
}

func TestACallCanBeSlow(t *testing.T) {
	play(t, "h100")
	d := device(t, 0)
	control(t, fakegpu.Control{Calls: map[string]fakegpu.Fault{"nvmlDeviceGetName": {Delay: "120ms"}}})
	start := time.Now()
	_, ret := d.GetName()
	if took := time.Since(start); ret != nvml.SUCCESS || took < 120*time.Millisecond {
		t.Errorf("it answers after %v (%v)", took, ret)
	}
}

func TestComputeModeIsRemembered(t *testing.T) {
	play(t, "h100")
	succeeds(t, "SetComputeMode", device(t, 5).SetComputeMode(nvml.COMPUTEMODE_EXCLUSIVE_PROCESS))
	succeeds(t, "Shutdown", lib.Shutdown())
	succeeds(t, "Init", lib.Init())
	mode, ret := device(t, 5).GetComputeMode()
	if ret != nvml.SUCCESS || mode != nvml.COMPUTEMODE_EXCLUSIVE_PROCESS {
		t.Errorf("the mode is %v (%v)", mode, ret)
	}
	state, err := driver.State()
	if err != nil || state.GPU(5).ComputeMode != 3 || state.GPU(4).ComputeMode != 0 {
		t.Errorf("the state is %+v (%v)", state, err)
	}
}

func TestEvents(t *testing.T) {
	play(t, "h100")
	old := fakegpu.Event{ID: "old", GPU: 1, XID: 31}
	control(t, fakegpu.Control{Events: []fakegpu.Event{old}})
	set, ret := lib.EventSetCreate()
	succeeds(t, "EventSetCreate", ret)
	for _, index := range []int{1, 2} {
		succeeds(t, "RegisterEvents", device(t, index).RegisterEvents(nvml.EventTypeXidCriticalError, set))
	}
	_, ret = set.Wait(100)
	returnsIs(t, "waiting for an event from before", ret, nvml.ERROR_TIMEOUT)

	gi, ci := uint32(7), uint32(0)
	control(t, fakegpu.Control{Events: []fakegpu.Event{
		old, {ID: "unregistered", GPU: 0, XID: 79}, {ID: "other type", GPU: 1, Type: 2},
		{ID: "fatal", GPU: 2, XID: 79}, {ID: "instance", GPU: 1, XID: 13, GPUInstance: &gi, ComputeInstance: &ci},
	}})
	for _, expected := range []string{"2 8 79 4294967295 4294967295", "1 8 13 7 0"} {
		e, ret := set.Wait(2000)
		succeeds(t, "Wait", ret)
		index, _ := e.Device.GetIndex()
		if got := fmt.Sprint(index, e.EventType, e.EventData, e.GpuInstanceId, e.ComputeInstanceId); got != expected {
			t.Errorf("the event is %s, expected %s", got, expected)
		}
	}
	_, ret = set.Wait(100)
	returnsIs(t, "waiting after all events", ret, nvml.ERROR_TIMEOUT)
	control(t, fakegpu.Control{Lost: []int{2}})
	_, ret = set.Wait(2000)
	returnsIs(t, "waiting with a lost GPU", ret, nvml.ERROR_GPU_IS_LOST)
	succeeds(t, "Free", set.Free())
}

func TestRecoveryAction(t *testing.T) {
	play(t, "h100")
	control(t, fakegpu.Control{RecoveryActions: map[int]uint32{4: 1}})
	values := []nvml.FieldValue{{FieldId: nvml.FI_DEV_GET_GPU_RECOVERY_ACTION}, {FieldId: 1}}
	succeeds(t, "GetFieldValues", device(t, 4).GetFieldValues(values))
	if values[0].NvmlReturn != 0 || values[0].Value[0] != 1 || values[1].NvmlReturn != uint32(nvml.ERROR_NOT_SUPPORTED) {
		t.Errorf("the values are %+v", values)
	}
}
