//go:build cgo

package nvml

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/dgxh100"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/server"

	"example.com/dragoman/pkg/device"
)

// bare returns a node whose driver is not installed yet.
func bare(t *testing.T, s *server.Server) *node {
	t.Helper()
	n := newNode(t, s)
	if err := os.RemoveAll(n.options.DriverRoot); err != nil {
		t.Fatal(err)
	}
	return n
}

// unplugAll takes all GPUs out of a machine.
func unplugAll(t *testing.T, n *node, s *server.Server) {
	t.Helper()
	for _, d := range s.Devices {
		unplug(t, n.root, d.(*server.Device).PciBusID)
	}
}

// cannotLook checks that nobody can look, and that the error says so with these texts.
func cannotLook(t *testing.T, n *node, want ...string) {
	t.Helper()
	_ = whyNot(t, n, want...)
}

func whyNot(t *testing.T, n *node, want ...string) *CannotLookError {
	t.Helper()
	snapshot, err := n.Devices(t.Context())
	cannot, ok := errors.AsType[*CannotLookError](err)
	if !ok {
		t.Fatalf("%d devices and error %v, want a CannotLookError", len(snapshot.Devices), err)
	}
	for _, text := range want {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%v\ndoes not contain %q", err, text)
		}
	}
	return cannot
}

func TestNoneIsNotTheSameAsCannotLook(t *testing.T) {
	none := func(t *testing.T, n *node) {
		t.Helper()
		if d := n.look(t); len(d) != 0 {
			t.Errorf("%d devices", len(d))
		}
	}
	t.Run("no driver and no GPU is none", func(t *testing.T) {
		s := dgxh100.New()
		n := bare(t, s)
		unplugAll(t, n, s)
		none(t, n)
	})
	t.Run("no PCI bus at all is none", func(t *testing.T) {
		n := bare(t, dgxh100.New())
		if err := os.RemoveAll(filepath.Join(n.root, "sys")); err != nil {
			t.Fatal(err)
		}
		none(t, n)
	})
	t.Run("a driver without a GPU is none", func(t *testing.T) {
		s := dgxh100.New()
		n := newNode(t, s)
		unplugAll(t, n, s)
		n.library.fail("Init", nvml.ERROR_DRIVER_NOT_LOADED)
		none(t, n)
	})
	t.Run("GPUs that belong to virtual machines are none", func(t *testing.T) {
		s := dgxh100.New()
		n := bare(t, s)
		bindAll(t, n, s, "vfio-pci")
		none(t, n)
	})
	t.Run("GPUs and no driver", func(t *testing.T) {
		n := bare(t, dgxh100.New())
		cannotLook(t, n, "the node has 8 NVIDIA GPUs", "libnvidia-ml.so.1",
			n.options.DriverRoot+"/usr/lib/x86_64-linux-gnu", "nvml.driverRoot", "nvml.libraryPath")
	})
	t.Run("GPUs that another kernel driver has", func(t *testing.T) {
		s := dgxh100.New()
		n := bare(t, s)
		bindAll(t, n, s, "nouveau")
		cannotLook(t, n, `0000:00:00.0 is bound to the kernel driver "nouveau"`)
	})
	t.Run("GPUs and a driver that is not loaded", func(t *testing.T) {
		n := newNode(t, dgxh100.New())
		n.library.fail("Init", nvml.ERROR_DRIVER_NOT_LOADED)
		cannotLook(t, n, "DRIVER_NOT_LOADED", "libnvidia-ml.so.550.54.15", "lsmod")
	})
	t.Run("no GPU on the bus, and a library that fails", func(t *testing.T) {
		s := dgxh100.New()
		n := newNode(t, s)
		unplugAll(t, n, s)
		n.library.fail("Init", nvml.ERROR_UNKNOWN)
		cannotLook(t, n, "UNKNOWN")
	})
	t.Run("GPUs, and NVML sees none", func(t *testing.T) {
		s := dgxh100.New()
		n := newNode(t, s)
		s.Devices = nil
		cannotLook(t, n, "the node has 8 NVIDIA GPUs, but NVML does not see any")
	})
	t.Run("a file that is no library", func(t *testing.T) {
		n := newNode(t, dgxh100.New())
		n.options.Library = func(path string) nvml.Interface { return nvml.New(nvml.WithLibraryPath(path)) }
		cannotLook(t, n, "LIBRARY_NOT_FOUND", "file too short")
	})
}

func bindAll(t *testing.T, n *node, s *server.Server, driver string) {
	t.Helper()
	for _, d := range s.Devices {
		file := filepath.Join(n.options.sys("bus/pci/devices"), d.(*server.Device).PciBusID, "driver")
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		symlink(t, "../../../bus/pci/drivers/"+driver, file)
	}
}

func TestADriverThatAppearsLaterIsFound(t *testing.T) {
	s := dgxh100.New()
	n := bare(t, s)
	cannotLook(t, n)
	install(t, n.options.DriverRoot, s.DriverVersion)
	if d := n.look(t); len(d) != 8 {
		t.Errorf("%d devices", len(d))
	}
	if inits := n.library.total()["Init"]; inits != 1 {
		t.Errorf("the library was initialised %d times", inits)
	}
	n.look(t)
	if calls := n.library.total(); calls["Init"] > 0 || calls["Shutdown"] > 0 {
		t.Errorf("one session does not last: %v", calls)
	}
}

func TestASessionThatIsOverBeginsAnew(t *testing.T) {
	for _, code := range []nvml.Return{nvml.ERROR_UNINITIALIZED, nvml.ERROR_DRIVER_NOT_LOADED} {
		for _, call := range []string{"DeviceGetCount", "3.GetUUID", "DeviceGetHandleByIndex", "SystemGetDriverVersion"} {
			t.Run(meaning(code)+", "+call, func(t *testing.T) {
				n := newNode(t, dgxh100.New())
				n.look(t)
				n.library.total()
				n.library.once(call, code)
				for i, d := range n.look(t) {
					if d.Health.Unhealthy {
						t.Errorf("GPU %d: %v", i, d.Health)
					}
				}
				if inits := n.library.total()["Init"]; inits != 1 {
					t.Errorf("the library was initialised %d times", inits)
				}
			})
		}
	}
}

func TestADriverThatGoesAwayIsNoEmptyNode(t *testing.T) {
	s := dgxh100.New()
	n := newNode(t, s)
	unplugAll(t, n, s) // as in a container that sees no PCI bus
	n.look(t)
	n.library.fail("DeviceGetCount", nvml.ERROR_DRIVER_NOT_LOADED)
	n.library.fail("Init", nvml.ERROR_DRIVER_NOT_LOADED)
	cannotLook(t, n, "DRIVER_NOT_LOADED")
	n.library.fail("DeviceGetCount", nvml.SUCCESS)
	n.library.fail("Init", nvml.SUCCESS)
	if d := n.look(t); len(d) != 8 {
		t.Errorf("%d devices when it is back", len(d))
	}
}

func TestAnotherVersionOfTheDriverIsNoticed(t *testing.T) {
	s := dgxh100.New()
	n := newNode(t, s)
	n.look(t)
	prepareOne(t, n, n.look(t)[0].Name)
	s.DriverVersion = "580.95.05"
	libraries := filepath.Join(n.options.DriverRoot, "usr/lib/x86_64-linux-gnu")
	if err := os.Rename(libraries+"/libcuda.so.550.54.15", libraries+"/libcuda.so.580.95.05"); err != nil {
		t.Fatal(err)
	}
	if got := *n.look(t)[0].Attributes["driverVersion"].VersionValue; got != "580.95.5" {
		t.Errorf("the driver's version is %s", got)
	}
	grant := prepareOne(t, n, n.look(t)[0].Name)
	found := false
	for _, mount := range grant.Common.Mounts {
		found = found || strings.HasSuffix(mount.ContainerPath, "/libcuda.so.580.95.05")
		if strings.Contains(mount.ContainerPath, "550.54.15") {
			t.Errorf("%s is of the driver before", mount.ContainerPath)
		}
	}
	if !found {
		t.Error("the new driver's libcuda is not there")
	}
}

func TestALibraryThatDoesNotFitTheKernelNeedsARestart(t *testing.T) {
	n := newNode(t, dgxh100.New())
	n.library.fail("Init", nvml.ERROR_LIB_RM_VERSION_MISMATCH)
	if cannot := whyNot(t, n, "LIB_RM_VERSION_MISMATCH", "reboot the node"); cannot.Restart {
		t.Error("asks for a restart of a process that had no other library before")
	}
	n.library.fail("Init", nvml.SUCCESS)
	n.look(t)
	n.library.fail("DeviceGetCount", nvml.ERROR_LIB_RM_VERSION_MISMATCH)
	n.library.fail("Init", nvml.ERROR_LIB_RM_VERSION_MISMATCH)
	if cannot := whyNot(t, n, "has to start again"); !cannot.Restart {
		t.Error("does not ask for a restart")
	}
}

func TestALibraryThatIsReplacedNeedsARestart(t *testing.T) {
	s := dgxh100.New()
	n := newNode(t, s)
	n.look(t)
	library := filepath.Join(n.options.DriverRoot, "usr/lib/x86_64-linux-gnu/libnvidia-ml.so."+s.DriverVersion)
	if err := os.Rename(library, library+".away"); err != nil {
		t.Fatal(err)
	}
	if cannot := whyNot(t, n, "is not there"); cannot.Restart {
		t.Error("asks for a restart while there is no library")
	}
	if err := os.Rename(library+".away", library); err != nil {
		t.Fatal(err)
	}
	if d := n.look(t); len(d) != 8 {
		t.Errorf("%d devices when the same library is back", len(d))
	}
	write(t, library+".new", 0o644)
	if err := os.Rename(library+".new", library); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := n.Devices(t.Context()); !errors.Is(err, device.ErrNeedsRestart) {
			t.Errorf("error %v, want one that asks for a restart", err)
		}
	}
}

func TestALibraryThatHangsWhileItInitialises(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, dgxh100.New())
		goOn := n.library.hang("Init")
		cannotLook(t, n, "initialise NVML: no answer within 25s")
		cannotLook(t, n, "initialise NVML: no answer within 25s")
		goOn()
		synctest.Wait()
		if d := n.look(t); len(d) != 8 {
			t.Errorf("%d devices when it went on", len(d))
		}
		if inits := n.library.total()["Init"]; inits != 1 {
			t.Errorf("it was initialised %d times at the same time", inits)
		}
	})
}

func TestASessionIsNotShutDownWhileACallHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, dgxh100.New())
		n.look(t)
		goOn, goOnToo := n.library.hang("3.GetMemoryInfo"), n.library.hang("4.GetMemoryInfo")
		n.look(t)
		n.library.once("DeviceGetCount", nvml.ERROR_UNINITIALIZED)
		n.look(t)
		if calls := n.library.total(); calls["Shutdown"] > 0 || calls["Init"] != 2 {
			t.Errorf("%d Shutdowns, %d Inits while a call hangs", calls["Shutdown"], calls["Init"])
		}
		goOn()
		synctest.Wait()
		if calls := n.library.total(); calls["Shutdown"] > 0 {
			t.Error("shut down while another call still hangs")
		}
		goOnToo()
		synctest.Wait()
		if calls := n.library.total(); calls["Shutdown"] != 1 {
			t.Errorf("%d Shutdowns after it went on", calls["Shutdown"])
		}
	})
}

func TestALookEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, dgxh100.New())
		n.look(t)
		defer n.library.hang("3.GetMemoryInfo")()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begin := time.Now()
		if _, err := n.Devices(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if took := time.Since(begin); took != time.Second {
			t.Errorf("took %s", took)
		}
	})
}

func TestOptions(t *testing.T) {
	for name, test := range map[string]struct {
		options Options
		want    string
	}{
		"a relative driver root":  {Options{DriverRoot: "driver"}, `driver root "driver": must be an absolute path`},
		"a relative library path": {Options{LibraryPath: "lib.so"}, "library path"},
		"a relative hook":         {Options{CDIHookPath: "hook"}, "CDI hook path"},
	} {
		if _, err := New(test.options); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	b, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	if o := b.options; o.DriverRoot != "/" || o.HostDriverRoot != "/" || !filepath.IsAbs(o.Dir) {
		t.Errorf("defaults are %+v", o)
	}
}

func TestPathsOfTheHost(t *testing.T) {
	for name, test := range map[string]struct{ path, from, to, want string }{
		"below":                     {"/driver-root/usr/lib/a.so", "/driver-root", "/", "/usr/lib/a.so"},
		"another with its prefix":   {"/driver-root-2/a", "/driver-root", "/run/nvidia", "/driver-root-2/a"},
		"the root itself":           {"/driver-root", "/driver-root", "/run/nvidia", "/run/nvidia"},
		"from the file system root": {"/usr/lib/a.so", "/", "/host", "/host/usr/lib/a.so"},
		"somewhere else":            {"/dev/nvidia0", "/driver-root", "/run/nvidia", "/dev/nvidia0"},
	} {
		if got := moved(test.path, test.from, test.to); got != test.want {
			t.Errorf("%s: %s, want %s", name, got, test.want)
		}
	}
}

func TestWhereDeviceNodesAre(t *testing.T) {
	with, without := t.TempDir(), t.TempDir()
	if err := os.Mkdir(filepath.Join(with, "dev"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		options      Options
		here, onHost string
	}{
		"the driver has its own dev": {
			Options{DriverRoot: with, HostDriverRoot: "/run/nvidia/driver"}, with, "/run/nvidia/driver",
		},
		"the driver has none":        {Options{DriverRoot: without, HostDriverRoot: "/run/nvidia/driver"}, "/", "/"},
		"it is said where they are":  {Options{DriverRoot: with, DevRoot: "/elsewhere"}, "/elsewhere", "/elsewhere"},
		"the host's root is mounted": {Options{DriverRoot: with, HostDriverRoot: "/"}, with, "/"},
	} {
		o, err := test.options.complete()
		if err != nil {
			t.Fatal(err)
		}
		if here, onHost := o.devRoots(); here != test.here || onHost != test.onHost {
			t.Errorf("%s: %s, on the host %s", name, here, onHost)
		}
	}
}
