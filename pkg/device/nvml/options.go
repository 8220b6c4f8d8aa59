//go:build cgo

package nvml

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/NVIDIA/go-nvml/pkg/nvml"

	"example.com/dragoman/pkg/device/nvml/driverroot"
)

// Options say where the driver is and what to do with it.
type Options struct {
	// DriverName and NodeName are those of the DRA driver. Both required.
	DriverName, NodeName string
	// Dir is a directory for nobody but this backend, with the same path in this process and on the host. It is made
	// when it is needed. Required.
	Dir string

	// DriverRoot is the root of the driver's installation as this process sees it. Default: "/".
	DriverRoot string
	// HostDriverRoot is the same directory as the host sees it. Default: DriverRoot.
	HostDriverRoot string
	// DevRoot is the directory whose dev has the driver's device nodes, as this process sees it. Default: DriverRoot if
	// that has dev/nvidiactl or dev, else "/".
	DevRoot string
	// LibraryPath is the path of libnvidia-ml.so.1 as this process sees it. Default: it is searched below DriverRoot.
	LibraryPath string
	// CDIHookPath is the path of nvidia-cdi-hook as the container runtime sees it. Default: it is searched below
	// DriverRoot, and /usr/bin/nvidia-cdi-hook if it is not there.
	CDIHookPath string

	// DynamicMIG offers every possible MIG placement of the GPUs that can be cut, and cuts them when somebody gets one.
	DynamicMIG bool
	// IgnoredXIDs are error numbers that say nothing against a GPU here, besides those of the table.
	IgnoredXIDs []uint64

	// Self is the path of this program, which serves as a helper for MPS. Default: os.Executable.
	Self string
	// SysRoot is the directory whose sys and proc describe the machine. Default: "/".
	SysRoot string
	// Library opens the library at a path. Default: go-nvml.
	Library func(path string) nvml.Interface
	// Warn is told once of each new problem that costs something but not everything: an attribute, a GPU, the
	// monitoring. It may be called from any goroutine and may be nil.
	Warn func(msg string, kv ...any)
}

// complete checks the options and fills in what has a default.
func (o Options) complete() (Options, error) {
	for name, value := range map[string]string{
		"driver root": o.DriverRoot, "host driver root": o.HostDriverRoot, "dev root": o.DevRoot,
		"library path": o.LibraryPath, "CDI hook path": o.CDIHookPath,
	} {
		if value != "" && !filepath.IsAbs(value) {
			return o, fmt.Errorf("%s %q: must be an absolute path", name, value)
		}
	}
	var err error
	if o.Dir, err = filepath.Abs(o.Dir); err != nil {
		return o, fmt.Errorf("directory of the nvml backend: %w", err)
	}
	o.DriverRoot = cleanOr(o.DriverRoot, "/")
	o.HostDriverRoot = cleanOr(o.HostDriverRoot, o.DriverRoot)
	o.SysRoot = cleanOr(o.SysRoot, "/")
	if o.Library == nil {
		o.Library = func(path string) nvml.Interface { return nvml.New(nvml.WithLibraryPath(path)) }
	}
	if o.Warn == nil {
		o.Warn = func(string, ...any) {}
	}
	return o, nil
}

func cleanOr(path, otherwise string) string {
	if path == "" {
		return otherwise
	}
	return filepath.Clean(path)
}

func (o Options) driver() driverroot.Root { return driverroot.Root(o.DriverRoot) }

// devRoots returns the root of the device nodes for this process and for the host. It is asked anew each time, since a
// driver that arrives late may bring its own dev.
func (o Options) devRoots() (here, onHost string) {
	here = o.DevRoot
	if here == "" {
		here = "/"
		if info, err := os.Stat(filepath.Join(o.DriverRoot, "dev")); err == nil && info.IsDir() {
			here = o.DriverRoot
		}
	}
	here = filepath.Clean(here)
	return here, o.onHost(here)
}

// onHost returns what a path of this process is on the host: what is below DriverRoot is below HostDriverRoot, and
// everything else has the same path.
func (o Options) onHost(path string) string {
	return moved(path, o.DriverRoot, o.HostDriverRoot)
}

// moved replaces a directory at the beginning of a path by another one.
func moved(path, from, to string) string {
	if path == from {
		return to
	}
	rest, below := strings.CutPrefix(path, strings.TrimSuffix(from, "/")+"/")
	if !below {
		return path
	}
	return filepath.Join(to, rest)
}

// sys returns a path below the machine's /sys.
func (o Options) sys(elements ...string) string {
	return filepath.Join(append([]string{o.SysRoot, "sys"}, elements...)...)
}
