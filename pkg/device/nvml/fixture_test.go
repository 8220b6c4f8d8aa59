//go:build cgo

package nvml

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/dgxa100"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/dgxb200"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/dgxh100"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/dgxh200"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/server"
	"golang.org/x/sys/unix"

	"example.com/dragoman/pkg/device"
	"example.com/dragoman/pkg/device/nvml/nvmltest"
)

func machines() map[string]func() *server.Server {
	return map[string]func() *server.Server{
		"DGX A100": dgxa100.New, "DGX H100": dgxh100.New, "DGX H200": dgxh200.New, "DGX B200": dgxb200.New,
	}
}

// node is a machine with a driver in a directory, and a backend that looks at it.
type node struct {
	*Backend
	root    string
	library *library

	mu       sync.Mutex
	warnings []string
}

func (n *node) warn(msg string, kv ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.warnings = append(n.warnings, msg+" "+fmt.Sprint(kv...))
}

// warned returns what was warned of so far.
func (n *node) warned() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]string(nil), n.warnings...)
}

// newNode returns a node with the GPUs of a mock server, complete unless change makes it otherwise.
func newNode(t testing.TB, s *server.Server, change ...func(*Options)) *node {
	t.Helper()
	n := &node{root: t.TempDir(), library: newLibrary(s)}
	driver := filepath.Join(n.root, "driver")
	install(t, driver, s.DriverVersion)
	for i, d := range s.Devices {
		d := d.(*server.Device)
		plug(t, n.root, d.PciBusID, i/4)
		charDevice(t, filepath.Join(driver, "dev", fmt.Sprintf("nvidia%d", d.Minor)))
	}
	o := Options{
		DriverName: "gpu.example.com", NodeName: "node-a", Dir: filepath.Join(n.root, "dir"),
		DriverRoot: driver, HostDriverRoot: "/run/nvidia/driver", SysRoot: n.root, Warn: n.warn,
		Library: func(string) nvml.Interface { return s },
	}
	for _, c := range change {
		c(&o)
	}
	var err error
	if n.Backend, err = New(o); err != nil {
		t.Fatal(err)
	}
	return n
}

// install lays a driver out as its packages do.
func install(t testing.TB, root, version string) {
	t.Helper()
	const libraries, programs = "usr/lib/x86_64-linux-gnu", "usr/bin"
	for _, name := range []string{"libnvidia-ml.so.", "libcuda.so.", "libnvidia-ptxjitcompiler.so."} {
		write(t, filepath.Join(root, libraries, name+version), 0o644)
		symlink(t, name+version, filepath.Join(root, libraries, name+"1"))
	}
	for _, name := range []string{"nvidia-smi", "nvidia-cdi-hook", "nvidia-cuda-mps-control"} {
		write(t, filepath.Join(root, programs, name), 0o755)
	}
	for _, name := range []string{"nvidiactl", "nvidia-uvm", "nvidia-uvm-tools"} {
		charDevice(t, filepath.Join(root, "dev", name))
	}
}

// plug puts a GPU on the PCI bus of a machine.
func plug(t testing.TB, root, address string, numaNode int) {
	t.Helper()
	dir := filepath.Join(root, "sys/devices/pci0000:00/0000:00:01.0", address)
	for file, content := range map[string]string{
		"vendor": "0x10de\n", "class": "0x030200\n", "numa_node": fmt.Sprintf("%d\n", numaNode),
	} {
		writeText(t, filepath.Join(dir, file), content)
	}
	symlink(t, "../../../bus/pci/drivers/nvidia", filepath.Join(dir, "driver"))
	symlink(t, "../../../devices/pci0000:00/0000:00:01.0/"+address, filepath.Join(root, "sys/bus/pci/devices", address))
}

func unplug(t testing.TB, root, address string) {
	t.Helper()
	if err := os.Remove(filepath.Join(root, "sys/bus/pci/devices", address)); err != nil {
		t.Fatal(err)
	}
}

func write(t testing.TB, file string, mode os.FileMode) {
	t.Helper()
	writeText(t, file, "made up\n")
	if err := os.Chmod(file, mode); err != nil {
		t.Fatal(err)
	}
}

func writeText(t testing.TB, file, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func symlink(t testing.TB, target, file string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, file); err != nil {
		t.Fatal(err)
	}
}

// charDevice makes a character device: like /dev/null if this user may, else with the number 0:0, which everybody may
// make (mknod(2), whiteout device).
func charDevice(t testing.TB, file string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	err := unix.Mknod(file, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3)))
	if errors.Is(err, unix.EPERM) {
		err = unix.Mknod(file, unix.S_IFCHR|0o666, 0)
	}
	if err == nil {
		err = os.Chmod(file, 0o666) // whatever the umask
	}
	if err != nil {
		t.Fatalf("make device node %s: %v", file, err)
	}
}

// library is a mock server whose calls are counted, and fail or wait on purpose.
type library struct {
	*server.Server
	machine *nvmltest.Machine

	mu    sync.Mutex
	calls map[string]int
	fails map[string]nvml.Return // by "DeviceGetCount" or, for GPU 3, "3.GetName"
	waits map[string]chan struct{}
	// single has the calls that fail only once.
	single map[string]bool

	events     chan nvml.EventData
	wait       nvml.Return // what waiting for an event ends with; SUCCESS if it works
	registered map[string]uint64
	made       int // event sets
	freed      int
}

// newLibrary completes a mock server and takes hold of all its calls.
func newLibrary(s *server.Server) *library {
	l := &library{
		Server: s, machine: nvmltest.Complete(s), calls: map[string]int{}, fails: map[string]nvml.Return{},
		waits: map[string]chan struct{}{}, single: map[string]bool{},
		events: make(chan nvml.EventData, 8), registered: map[string]uint64{},
	}
	for i, d := range s.Devices {
		d := d.(*server.Device)
		d.GetPciInfoFunc = func() (nvml.PciInfo, nvml.Return) {
			var info nvml.PciInfo
			for i, c := range []byte("0000" + strings.ToUpper(d.PciBusID)) {
				info.BusId[i] = int8(c)
			}
			return info, nvml.SUCCESS
		}
		d.GetAddressingModeFunc = func() (nvml.DeviceAddressingMode, nvml.Return) {
			return nvml.DeviceAddressingMode{Value: uint32(nvml.DEVICE_ADDRESSING_MODE_HMM)}, nvml.SUCCESS
		}
		d.GetFieldValuesFunc = func(values []nvml.FieldValue) nvml.Return { return nvml.SUCCESS } // NONE is 0
		d.GetSupportedEventTypesFunc = func() (uint64, nvml.Return) { return 0xffff, nvml.SUCCESS }
		d.RegisterEventsFunc = func(mask uint64, _ nvml.EventSet) nvml.Return {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.registered[d.UUID] = mask
			return nvml.SUCCESS
		}
		l.hook(&d.Device, fmt.Sprintf("%d.", i))
	}
	s.EventSetCreateFunc = func() (nvml.EventSet, nvml.Return) { return l.eventSet(), nvml.SUCCESS }
	l.hook(&s.Interface, "")
	l.hook(&s.ExtendedInterface, "")
	return l
}

// eventSet is one whose events are those of l.events.
func (l *library) eventSet() nvml.EventSet {
	l.mu.Lock()
	l.made++
	l.mu.Unlock()
	return &mock.EventSet{
		WaitFunc: func(milliseconds uint32) (nvml.EventData, nvml.Return) {
			l.mu.Lock()
			broken := l.wait
			l.mu.Unlock()
			if broken != nvml.SUCCESS {
				return nvml.EventData{}, broken
			}
			select {
			case event := <-l.events:
				return event, nvml.SUCCESS
			case <-time.After(time.Duration(milliseconds) * time.Millisecond):
				return nvml.EventData{}, nvml.ERROR_TIMEOUT
			}
		},
		FreeFunc: func() nvml.Return {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.freed++
			return nvml.SUCCESS
		},
	}
}

// xid is an event that hits a whole GPU.
func (l *library) xid(index int, number uint64) nvml.EventData {
	return nvml.EventData{
		Device: l.Devices[index], EventType: nvml.EventTypeXidCriticalError, EventData: number,
		GpuInstanceId: allInstances, ComputeInstanceId: allInstances,
	}
}

// hook takes hold of the functions of a moq mock, which are fields named <call>Func.
func (l *library) hook(mock any, prefix string) {
	v := reflect.ValueOf(mock).Elem()
	for i := range v.NumField() {
		name, isFunc := strings.CutSuffix(v.Type().Field(i).Name, "Func")
		field := v.Field(i)
		if !isFunc || field.Kind() != reflect.Func || field.IsNil() || name == "Extensions" {
			continue
		}
		original := reflect.ValueOf(field.Interface())
		field.Set(reflect.MakeFunc(field.Type(), func(args []reflect.Value) []reflect.Value {
			if code, fails := l.called(prefix + name); fails {
				return failing(field.Type(), code)
			}
			return original.Call(args)
		}))
	}
}

func (l *library) called(name string) (nvml.Return, bool) {
	l.mu.Lock()
	l.calls[name]++
	code, fails := l.fails[name]
	wait := l.waits[name]
	if l.single[name] {
		delete(l.single, name)
		delete(l.fails, name)
	}
	l.mu.Unlock()
	if wait != nil {
		<-wait
	}
	return code, fails
}

// failing returns zero values and, where the function returns codes, the code.
func failing(of reflect.Type, code nvml.Return) []reflect.Value {
	var values []reflect.Value
	for out := range of.Outs() {
		value := reflect.Zero(out)
		switch out {
		case reflect.TypeFor[nvml.Return]():
			value = reflect.ValueOf(code)
		case reflect.TypeFor[error]():
			value = reflect.ValueOf(&callError{"made up", code})
		}
		values = append(values, value)
	}
	return values
}

// fail lets a call end with a code from now on; SUCCESS lets it work again.
func (l *library) fail(name string, code nvml.Return) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fails[name] = code
	if code == nvml.SUCCESS {
		delete(l.fails, name)
	}
}

// once lets the next call end with a code.
func (l *library) once(name string, code nvml.Return) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fails[name], l.single[name] = code, true
}

// hang lets a call wait until the function that is returned is called.
func (l *library) hang(name string) (goOn func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	wait := make(chan struct{})
	l.waits[name] = wait
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.waits, name)
		close(wait)
	}
}

// total returns how many calls there were, and forgets them.
func (l *library) total() map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	calls := l.calls
	l.calls = map[string]int{}
	return calls
}

func (n *node) look(t testing.TB) []device.Device {
	t.Helper()
	snapshot, err := n.Devices(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return snapshot.Devices
}
