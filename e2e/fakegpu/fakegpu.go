// Package fakegpu is the made-up NVIDIA driver of the tests as files: which machine it plays, what goes wrong with it,
// and what its GPUs remember. They are JSON in the folder "fake-gpu" of a driver root. The mock NVML library and the
// fake programs read and write them; a test writes [Control] to make something happen and reads [State] to see what
// was done. Several processes may use them at the same time.
package fakegpu

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

const (
	folder      = "fake-gpu"
	machineFile = "machine.json"
	controlFile = "control.json"
	stateFile   = "state.json"
	lockFile    = "lock"
)

// Machine is what is played. It does not change while the driver is used.
type Machine struct {
	// Node is what the UUIDs are made from, so that nodes differ and each GPU keeps its own.
	Node string `json:"node"`
	// GPUs are the models by index: a100, a30, h100, h200, b200, or l4, which has no MIG.
	GPUs []string `json:"gpus"`
	// DriverVersion, NVMLVersion and CUDAVersion (major*1000 + minor*10) are what the library answers.
	DriverVersion string `json:"driverVersion"`
	NVMLVersion   string `json:"nvmlVersion"`
	CUDAVersion   int    `json:"cudaVersion"`
}

// DGX returns a machine with eight GPUs of a model.
func DGX(node, model string) Machine {
	return Machine{
		Node: node, GPUs: []string{model, model, model, model, model, model, model, model},
		DriverVersion: "580.95.05", NVMLVersion: "13.580.95.05", CUDAVersion: 13000,
	}
}

// UUID returns the UUID of a GPU, with its prefix.
func (m Machine) UUID(index int) string {
	return "GPU-" + uuid(fmt.Sprintf("%s/%d", m.Node, index))
}

// MIGUUID returns the UUID of the MIG device that is a compute instance. As with the real driver it depends on nothing
// else, so that the same instance made again has the same UUID.
func (m Machine) MIGUUID(index, gpuInstance, computeInstance int) string {
	return "MIG-" + uuid(fmt.Sprintf("%s/%d/%d/%d", m.Node, index, gpuInstance, computeInstance))
}

// uuid makes a UUID of version 5 from a name.
func uuid(name string) string {
	b := sha256.Sum256([]byte("dragoman fake GPU " + name))
	b[6], b[8] = b[6]&0x0f|0x50, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

// Control is what goes wrong, and what happens. It is read again at every call, so a change works at once.
type Control struct {
	// Calls says what becomes of a call, by the name of the exported function (nvmlDeviceGetName, nvmlInit_v2); "*"
	// stands for all that are not named.
	Calls map[string]Fault `json:"calls,omitempty"`
	// Lost are GPUs that fell off the bus, by index: every call about them answers GPU_IS_LOST.
	Lost []int `json:"lost,omitempty"`
	// Events happen once for each event set that existed, with the GPU registered, when they were written.
	Events []Event `json:"events,omitempty"`
	// DriverVersion is answered instead of the machine's.
	DriverVersion string `json:"driverVersion,omitempty"`
	// RecoveryActions are the values of field 230 by index of the GPU: 0 none, 1 GPU reset, 2 reboot, 3 drain P2P, 4
	// drain and reset.
	RecoveryActions map[int]uint32 `json:"recoveryActions,omitempty"`
}

// Fault is what becomes of a call.
type Fault struct {
	// Return is the name of an NVML return value without ERROR_: GPU_IS_LOST, UNKNOWN, IN_USE; empty: as usual.
	Return string `json:"return,omitempty"`
	// GPUs limits it to these, by index; empty: all.
	GPUs []int `json:"gpus,omitempty"`
	// Delay is waited first, such as "30s".
	Delay string `json:"delay,omitempty"`
}

// Event is one NVML event.
type Event struct {
	// ID tells events apart that are otherwise alike.
	ID string `json:"id"`
	// GPU is the index.
	GPU int `json:"gpu"`
	// Type is the event type of NVML; 0: a critical XID (8).
	Type uint64 `json:"type,omitempty"`
	// XID is the event's data.
	XID uint64 `json:"xid,omitempty"`
	// GPUInstance and ComputeInstance are nil for an event of the whole GPU.
	GPUInstance     *uint32 `json:"gpuInstance,omitempty"`
	ComputeInstance *uint32 `json:"computeInstance,omitempty"`
}

// State is what the GPUs remember, by index; a GPU that is not there is as it came from the factory.
type State struct {
	GPUs map[int]*GPU `json:"gpus,omitempty"`
}

// GPU is what one GPU remembers.
type GPU struct {
	// MIG and PendingMIG are the current mode and that after the next reset.
	MIG        bool `json:"mig,omitempty"`
	PendingMIG bool `json:"pendingMIG,omitempty"`
	// ComputeMode: 0 default, 2 prohibited, 3 exclusive process.
	ComputeMode int `json:"computeMode,omitempty"`
	// TimeSlice: 0 default, 1 short, 2 medium, 3 long.
	TimeSlice int `json:"timeSlice,omitempty"`
	// Instances are the GPU instances, by id.
	Instances []Instance `json:"instances,omitempty"`
}

// Instance is a GPU instance, or a compute instance of one.
type Instance struct {
	ID        int        `json:"id"`
	Profile   uint32     `json:"profile"`
	Start     uint32     `json:"start"`
	Size      uint32     `json:"size"`
	Instances []Instance `json:"instances,omitempty"`
}

// GPU returns what a GPU remembers, for changing it.
func (s *State) GPU(index int) *GPU {
	if s.GPUs == nil {
		s.GPUs = map[int]*GPU{}
	}
	if s.GPUs[index] == nil {
		s.GPUs[index] = &GPU{}
	}
	return s.GPUs[index]
}

// Driver is a made-up driver by the root of its tree.
type Driver string

// Find returns the driver to which a file belongs: the nearest folder above it with a machine.
func Find(file string) (Driver, error) {
	for dir := filepath.Dir(filepath.Clean(file)); ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, folder, machineFile)); err == nil {
			return Driver(dir), nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("no folder above %s has %s/%s", file, folder, machineFile)
		}
	}
}

func (d Driver) path(name string) string { return filepath.Join(string(d), folder, name) }

// Path returns the path of a file of the driver, given as in its root.
func (d Driver) Path(elements ...string) string {
	return filepath.Join(append([]string{string(d)}, elements...)...)
}

// Machine reads which machine is played.
func (d Driver) Machine() (m Machine, err error) { return m, read(d.path(machineFile), &m) }

// SetMachine says which machine is played.
func (d Driver) SetMachine(m Machine) error { return write(d.path(machineFile), m) }

// Control reads what goes wrong; where nothing was written, nothing does.
func (d Driver) Control() (c Control, err error) {
	if err = read(d.path(controlFile), &c); errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	return c, err
}

// SetControl says what goes wrong from now on.
func (d Driver) SetControl(c Control) error { return write(d.path(controlFile), c) }

// State reads what the GPUs remember.
func (d Driver) State() (s State, err error) {
	if err = read(d.path(stateFile), &s); errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	return s, err
}

// Update changes what the GPUs remember, one caller at a time; nothing is changed when change returns an error.
func (d Driver) Update(change func(*State) error) error {
	lock, err := os.OpenFile(d.path(lockFile), os.O_CREATE|os.O_RDWR, 0o666)
	if err != nil {
		return fmt.Errorf("open the lock: %w", err)
	}
	defer lock.Close() //nolint:errcheck // nothing is written to it
	for {
		if err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("take the lock: %w", err)
	}
	s, err := d.State()
	if err != nil {
		return err
	}
	if err := change(&s); err != nil {
		return err
	}
	return write(d.path(stateFile), s)
}

// Stamp tells two contents of the control file apart without reading them.
func (d Driver) Stamp() (stamp struct {
	Inode uint64
	Size  int64
	Time  time.Time
}) {
	if info, err := os.Stat(d.path(controlFile)); err == nil {
		stamp.Size, stamp.Time = info.Size(), info.ModTime()
		if system, ok := info.Sys().(*syscall.Stat_t); ok {
			stamp.Inode = system.Ino
		}
	}
	return stamp
}

func read(file string, into any) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return fmt.Errorf("read %s: %w", file, err)
	}
	return nil
}

// write replaces a file in one step, so that a reader sees the old content or the new one.
func write(file string, content any) error {
	text, err := json.MarshalIndent(content, "", "  ")
	if err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	unfinished, err := os.CreateTemp(filepath.Dir(file), ".new-")
	if err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	_, err = unfinished.Write(append(text, '\n'))
	if err = errors.Join(err, unfinished.Chmod(0o644), unfinished.Close()); err == nil {
		err = os.Rename(unfinished.Name(), file)
	}
	if err != nil {
		_ = os.Remove(unfinished.Name())
		return fmt.Errorf("write %s: %w", file, err)
	}
	return nil
}

// The limits of the numbering of capabilities in the driver.
const (
	instancesPerGPU   = 15
	capabilitiesPerGI = 9 // itself and eight compute instances
	firstCapability   = 3 // after config and monitor
)

// CapabilityMinor returns the minor number of the device node /dev/nvidia-caps/nvidia-cap<minor> of a GPU instance or
// a compute instance, as in /proc/driver/nvidia-caps/mig-minors.
func CapabilityMinor(gpu, gpuInstance int, computeInstance ...int) int {
	minor := firstCapability + (gpu*instancesPerGPU+gpuInstance)*capabilitiesPerGI
	if len(computeInstance) > 0 {
		minor += 1 + computeInstance[0]
	}
	return minor
}
