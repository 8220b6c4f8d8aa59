//go:build cgo

package nvml

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/dgxh100"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/server"

	"example.com/dragoman/pkg/device"
)

func TestExamine(t *testing.T) {
	remove := func(name string) func(*testing.T, *node, *server.Server) {
		return func(t *testing.T, n *node, _ *server.Server) {
			t.Helper()
			if err := os.RemoveAll(filepath.Join(n.options.DriverRoot, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, test := range map[string]struct {
		spoil func(*testing.T, *node, *server.Server)
		want  map[string]string // verdict and part of the detail by subject; all else is ok
	}{
		"a node as it must be": {func(*testing.T, *node, *server.Server) {}, nil},
		"no driver": {remove(""), map[string]string{
			"NVML": "bad: libnvidia-ml.so.1 of NVIDIA's driver is not there", "device nodes": "bad: nvidiactl",
			"nvidia-cdi-hook": "bad: /usr/bin/nvidia-cdi-hook", "nvidia-smi": "warning: time slices",
			"nvidia-cuda-mps-control": "warning: MPS",
		}},
		"a driver that is not loaded": {func(_ *testing.T, n *node, _ *server.Server) {
			n.library.fail("Init", nvml.ERROR_DRIVER_NOT_LOADED)
		}, map[string]string{"NVML": "bad: DRIVER_NOT_LOADED"}},
		"no GPU": {func(t *testing.T, n *node, s *server.Server) {
			t.Helper()
			unplugAll(t, n, s)
			n.library.fail("Init", nvml.ERROR_DRIVER_NOT_LOADED)
		}, map[string]string{"NVML": "warning: no NVIDIA GPU"}},
		"a GPU that is lost": {func(_ *testing.T, n *node, _ *server.Server) {
			n.library.fail("3.GetMemoryInfo", nvml.ERROR_GPU_IS_LOST)
		}, map[string]string{"GPUs": "warning: GPU_IS_LOST"}},
		"a GPU that NVML never saw": {func(_ *testing.T, n *node, _ *server.Server) {
			failHandle(n, 3)
		}, map[string]string{"GPUs": "warning: NVML sees 7, the PCI bus has 8"}},
		"no node of a GPU": {remove("dev/nvidia2"), map[string]string{
			"device nodes": "bad: dev/nvidia2", "container edits": "bad: /dev/nvidia2 not found",
		}},
		"no unified memory": {remove("dev/nvidia-uvm"), map[string]string{"device nodes": "bad: dev/nvidia-uvm"}},
		"no hook": {remove("usr/bin/nvidia-cdi-hook"), map[string]string{
			"nvidia-cdi-hook": "bad: no container with a GPU starts",
		}},
		"no nvidia-smi": {remove("usr/bin/nvidia-smi"), map[string]string{"nvidia-smi": "warning: usr/bin"}},
		"a driver without a version": {func(_ *testing.T, n *node, _ *server.Server) {
			n.library.fail("SystemGetDriverVersion", nvml.ERROR_UNKNOWN)
		}, map[string]string{"NVML": "warning: does not tell the version"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := dgxh100.New()
			n := newNode(t, s)
			test.spoil(t, n, s)
			left := map[string]string{}
			maps.Copy(left, test.want)
			for _, f := range n.Examine(t.Context()) {
				want := "ok: "
				if text, ok := left[f.Subject]; ok {
					want = text
					delete(left, f.Subject)
				}
				verdict, detail, _ := strings.Cut(want, ": ")
				if string(f.Verdict) != verdict || !strings.Contains(f.Detail, detail) {
					t.Errorf("%+v, want %s", f, want)
				}
				if (f.Mend == "") != (f.Verdict == device.Good) || f.Detail == "" {
					t.Errorf("%+v: what is not ok says what to do", f)
				}
			}
			if len(left) > 0 {
				t.Errorf("nothing was said about %v", left)
			}
		})
	}
}

func TestAHookThatCannotBeSeenIsNotCalledMissing(t *testing.T) {
	n := newNode(t, dgxh100.New(), func(o *Options) { o.CDIHookPath = "/only/on/the/host" })
	said := fmt.Sprint(n.examineHook())
	if !strings.Contains(said, "cannot be seen from here") || n.examineHook().Verdict != device.Doubtful {
		t.Error(said)
	}
}
