//go:build cgo

package nvml

import (
	"context"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/NVIDIA/nvidia-container-toolkit/pkg/nvcdi"
	cdispecs "tags.cncf.io/container-device-interface/specs-go"
)

// editPatience is how long a Prepare waits for edits to be generated: some searching in directories.
const editPatience = 10 * time.Second

// visibleDevices keeps NVIDIA's own container runtime, where it is installed, from adding all GPUs to a container whose
// image asks for them.
const visibleDevices = "NVIDIA_VISIBLE_DEVICES"

const defaultHook = "/usr/bin/nvidia-cdi-hook"

// injector keeps what containers get, generated once for each GPU and session.
type injector struct {
	mu      sync.Mutex
	session *session
	ready   map[string]injection        // by UUID
	slots   map[string]*slot[injection] // by UUID
}

// injection is what a container gets for a GPU.
type injection struct {
	// device is for the GPU alone, common for all GPUs of a container together.
	device, common *cdispecs.ContainerEdits
	// partial says that something that usually is there was not, so that it is looked for again the next time.
	partial bool
}

// inject returns what a container gets for a whole GPU, as the caller's own copy. An error says what is missing; it may
// be there a moment later.
func (b *Backend) inject(ctx context.Context, g *gpu) (injection, error) {
	s, handle, f := g.grip()
	if s == nil {
		return injection{}, fmt.Errorf("device %s: the GPU has not answered yet", g.name)
	}
	kept, where := b.injector.kept(s, g.uuid)
	if where != nil {
		var err error
		kept, err = where.do(ctx, editPatience, "generate the edits of device "+g.name, func() (injection, error) {
			made, err := b.options.generate(newRecording(s, handle, f), f)
			if err == nil && !made.partial {
				b.injector.keep(s, g.uuid, made)
			}
			return made, err
		})
		if err != nil {
			return injection{}, err
		}
	}
	return injection{device: clone(kept.device), common: clone(kept.common)}, nil
}

// kept returns the injection of a GPU, or else the slot in which to make it.
func (i *injector) kept(s *session, uuid string) (injection, *slot[injection]) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.session != s {
		i.session, i.ready, i.slots = s, map[string]injection{}, map[string]*slot[injection]{}
	}
	if made, ok := i.ready[uuid]; ok {
		return made, nil
	}
	if i.slots[uuid] == nil {
		i.slots[uuid] = &slot[injection]{}
	}
	return injection{}, i.slots[uuid]
}

func (i *injector) keep(s *session, uuid string, made injection) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.session == s {
		i.ready[uuid] = made
	}
}

// generate asks nvcdi for the edits of a GPU and makes them what the container runtime of the host can use.
func (o Options) generate(lib *recording, f facts) (injection, error) {
	if f.minor == nil {
		return injection{}, fmt.Errorf("device %s: NVML does not tell its minor number, without which nobody knows "+
			"which device node is its own", gpuName(f.uuid))
	}
	o = o.withoutLinks()
	devRoot, _ := o.devRoots()
	generator, err := nvcdi.New(
		nvcdi.WithMode(nvcdi.ModeNvml),
		nvcdi.WithNvmlLib(lib),
		nvcdi.WithDriverRoot(o.DriverRoot),
		nvcdi.WithDevRoot(devRoot),
		nvcdi.WithNVIDIACDIHookPath(o.hook()),
		nvcdi.WithFeatureFlags(nvcdi.FeatureDisableNvsandboxUtils),
		// It sets a limit in the GPU that a container's variables ask for, and nobody takes it back.
		nvcdi.WithDisabledHooks("apply-cuda-memory-limits"),
		nvcdi.WithLogger(silent{}),
	)
	if err != nil {
		return injection{}, fmt.Errorf("prepare to generate edits: %w", err)
	}
	devices, err := generator.GetDeviceSpecsByID(f.uuid)
	if err != nil {
		return injection{}, o.notReady(f, err.Error())
	}
	common, err := generator.GetCommonEdits()
	if err != nil {
		return injection{}, o.notReady(f, err.Error())
	}
	if len(devices) != 1 {
		return injection{}, fmt.Errorf("device %s: %d sets of edits instead of one", gpuName(f.uuid), len(devices))
	}
	made := injection{device: clone(&devices[0].ContainerEdits), common: clone(common.ContainerEdits)}
	missing := made.missing(*f.minor)
	if len(missing) > 0 {
		return injection{}, o.notReady(f, strings.Join(missing, ", ")+" not found")
	}
	made.partial = !hasNode(made.common, "/dev/nvidia-uvm")
	o.forHost(made.device)
	o.forHost(made.common)
	made.common.Env = without(made.common.Env, visibleDevices)
	made.device.Env = append(without(made.device.Env, visibleDevices), visibleDevices+"=void")
	return made, nil
}

// withoutLinks resolves symbolic links in the roots: nvcdi resolves those of the files below them and takes what does
// not begin with the root for a path in the container.
func (o Options) withoutLinks() Options {
	for _, root := range []*string{&o.DriverRoot, &o.DevRoot} {
		if resolved, err := filepath.EvalSymlinks(*root); *root != "" && err == nil {
			*root = resolved
		}
	}
	return o
}

// notReady says what a container would lack.
func (o Options) notReady(f facts, what string) error {
	devRoot, _ := o.devRoots()
	return fmt.Errorf("device %s: the driver is not ready for containers: %s (driver root %s, device nodes below %s); "+
		"it may still be starting; else see nvml.driverRoot and nvml.devRoot", gpuName(f.uuid), what, o.DriverRoot,
		filepath.Join(devRoot, "dev"))
}

// missing names what no container that uses a GPU can do without.
func (i injection) missing(minor int) []string {
	var missing []string
	if node := fmt.Sprintf("/dev/nvidia%d", minor); !hasNode(i.device, node) {
		missing = append(missing, node)
	}
	if !hasNode(i.common, "/dev/nvidiactl") {
		missing = append(missing, "/dev/nvidiactl")
	}
	for _, mount := range i.common.Mounts {
		if strings.HasPrefix(path.Base(mount.ContainerPath), "libcuda.so.") {
			return missing
		}
	}
	return append(missing, "libcuda.so")
}

func hasNode(edits *cdispecs.ContainerEdits, node string) bool {
	for _, n := range edits.DeviceNodes {
		if n.Path == node {
			return true
		}
	}
	return false
}

// hook returns the path of nvidia-cdi-hook for the container runtime.
func (o Options) hook() string {
	if o.CDIHookPath != "" {
		return o.CDIHookPath
	}
	if found, _ := o.driver().Program(path.Base(defaultHook)); found != "" {
		return o.onHost(found)
	}
	return defaultHook
}

// forHost makes paths of this process paths of the host, and leaves the numbers of device nodes to the container
// runtime: they may be others after the driver's modules were loaded again (CDI fills in what is missing from the
// host's node).
func (o Options) forHost(edits *cdispecs.ContainerEdits) {
	here, onHost := o.devRoots()
	for _, node := range edits.DeviceNodes {
		if node.HostPath == "" {
			node.HostPath = node.Path
		}
		node.HostPath = moved(node.HostPath, here, onHost)
		if node.HostPath == node.Path {
			node.HostPath = ""
		}
		node.Type, node.Major, node.Minor = "", 0, 0
	}
	for _, mount := range edits.Mounts {
		mount.HostPath = o.onHost(mount.HostPath)
	}
	for _, hook := range edits.Hooks {
		if hook.HookName == "createRuntime" { // runs outside of the container
			for i, arg := range hook.Args {
				hook.Args[i] = o.onHost(arg)
			}
		}
	}
}

// without returns the variables that do not have a name.
func without(env []string, name string) []string {
	var kept []string
	for _, variable := range env {
		if !strings.HasPrefix(variable, name+"=") {
			kept = append(kept, variable)
		}
	}
	return kept
}

// clone returns a copy that shares nothing.
func clone(edits *cdispecs.ContainerEdits) *cdispecs.ContainerEdits {
	c := *edits
	c.Env = slices.Clone(edits.Env)
	c.AdditionalGIDs = slices.Clone(edits.AdditionalGIDs)
	c.DeviceNodes = each(edits.DeviceNodes, func(n *cdispecs.DeviceNode) {
		n.FileMode, n.UID, n.GID = copied(n.FileMode), copied(n.UID), copied(n.GID)
	})
	c.NetDevices = each(edits.NetDevices, func(*cdispecs.LinuxNetDevice) {})
	c.Hooks = each(edits.Hooks, func(h *cdispecs.Hook) {
		h.Args, h.Env, h.Timeout = slices.Clone(h.Args), slices.Clone(h.Env), copied(h.Timeout)
	})
	c.Mounts = each(edits.Mounts, func(m *cdispecs.Mount) { m.Options = slices.Clone(m.Options) })
	c.IntelRdt = copied(edits.IntelRdt)
	return &c
}

// each returns copies of what the pointers point at; own replaces what a copy still shares.
func each[T any](from []*T, own func(*T)) []*T {
	if from == nil {
		return nil
	}
	to := make([]*T, len(from))
	for i, p := range from {
		to[i] = copied(p)
		own(to[i])
	}
	return to
}

func copied[T any](p *T) *T {
	if p == nil {
		return nil
	}
	c := *p
	return &c
}

// silent is a log for nvcdi that nobody reads: what matters of its warnings is checked in what it generates.
type silent struct{}

func (silent) Debugf(string, ...any)   {}
func (silent) Errorf(string, ...any)   {}
func (silent) Infof(string, ...any)    {}
func (silent) Warningf(string, ...any) {}
func (silent) Tracef(string, ...any)   {}
