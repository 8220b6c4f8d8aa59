//go:build cgo

package nvml

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/gpus"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/server"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"

	gpuv1alpha1 "example.com/dragoman/api/gpu/v1alpha1"
	"example.com/dragoman/pkg/device"
	"example.com/dragoman/pkg/device/devicetest"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == MPSDaemonCommand { // this test, started by the code under test
		fmt.Fprintln(os.Stderr, RunMPSDaemon(context.Background(), os.Args[2:]))
		os.Exit(1)
	}
	os.Exit(withFakeControl(m.Run))
}

// fakeControl is a control program of MPS without libraries.
var fakeControl []byte

func withFakeControl(run func() int) int {
	dir, err := os.MkdirTemp("", "mps")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	file := filepath.Join(dir, "control")
	build := exec.Command("go", "build", "-o", file, "./sharing/testdata/control")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		panic(fmt.Sprintf("build the fake control program: %v: %s", err, output))
	}
	if fakeControl, err = os.ReadFile(file); err != nil {
		panic(err)
	}
	return run()
}

// fakeSMI keeps the time slices of the GPUs beside itself.
const fakeSMI = `#!/bin/sh
for last; do :; done
file=$(dirname "$0")/slice-$last
[ -e "$file" ] || echo 1 >"$file"
case $2 in
--set-timeslice) echo "$3" >"$file" ;;
--list) echo "| 0 Timeslice $(cat "$file") |" ;;
esac
`

// newSharingNode has programs that work, and daemons that end with the test.
func newSharingNode(t *testing.T, s *server.Server, change ...func(*Options)) *node {
	t.Helper()
	n := newMIGNode(t, s, append(change, func(o *Options) { o.Self = os.Args[0] })...)
	base, err := os.MkdirTemp("", "m") //nolint:usetesting // short, for the sockets of daemons without a root of their own
	if err != nil {
		t.Fatal(err)
	}
	n.mps.Dir, n.mps.Plain, n.mps.ControlGroups = filepath.Join(base, "mps"), true, ""
	bin := filepath.Join(n.options.DriverRoot, "usr/bin")
	writeText(t, filepath.Join(bin, "nvidia-smi"), fakeSMI)
	writeText(t, filepath.Join(bin, "nvidia-cuda-mps-control"), string(fakeControl))
	t.Cleanup(func() {
		if err := n.mps.StopFor(context.Background(), func(types.UID) bool { return true }); err != nil {
			t.Error(err)
		}
		_ = os.RemoveAll(base)
	})
	return n
}

func sharingConfig(strategy gpuv1alpha1.GpuSharingStrategy) *gpuv1alpha1.GpuConfig {
	c := &gpuv1alpha1.GpuConfig{Sharing: &gpuv1alpha1.GpuSharing{Strategy: strategy}}
	gpuv1alpha1.SetDefaults(c)
	return c
}

func longSlices() *gpuv1alpha1.GpuConfig {
	c := sharingConfig(gpuv1alpha1.TimeSlicingStrategy)
	c.Sharing.TimeSlicingConfig.Interval = gpuv1alpha1.LongTimeSlice
	return c
}

// slice is the time slice of the first GPU.
func (n *node) slice(t *testing.T) string {
	t.Helper()
	smi, err := n.smi()
	if err != nil {
		t.Fatal(err)
	}
	slice, err := smi.TimeSlice(t.Context(), n.library.machine.GPUs[0].UUID)
	if err != nil {
		t.Fatal(err)
	}
	return strconv.Itoa(int(slice))
}

func isWhole(d device.Device) bool { return d.PartOf == "" }

func TestConformanceWithSharing(t *testing.T) {
	for name, config := range map[string]*gpuv1alpha1.GpuConfig{
		"exclusive": sharingConfig(gpuv1alpha1.ExclusiveStrategy), "long slices": longSlices(),
	} {
		t.Run(name, func(t *testing.T) {
			devicetest.Run(t, func(t *testing.T) device.Backend {
				return unlessAdmin{newSharingNode(t, mixedServer(gpus.H100_SXM5_80GB, gpus.H100_SXM5_80GB))}
			}, config)
		})
	}
}

// unlessAdmin gives requests for admin access the default configuration, as the claim room does: others are refused.
type unlessAdmin struct{ *node }

func (u unlessAdmin) Prepare(ctx context.Context, r device.Request) ([]device.Grant, error) {
	if isAdmin(r.Devices[0].AdminAccess) {
		r.Config = gpuv1alpha1.Default()
	}
	return u.node.Prepare(ctx, r)
}

func TestSettingsComeBack(t *testing.T) {
	for name, test := range map[string]struct {
		config *gpuv1alpha1.GpuConfig
		during string // compute mode and time slice
	}{
		"default":     {gpuv1alpha1.Default(), "2 1"},
		"exclusive":   {sharingConfig(gpuv1alpha1.ExclusiveStrategy), "3 1"},
		"long slices": {longSlices(), "0 3"},
		"MPS":         {sharingConfig(gpuv1alpha1.MPSStrategy), "3 1"},
	} {
		for _, end := range []string{"unprepare", "unprepare without record", "sweep"} {
			t.Run(name+", "+end, func(t *testing.T) {
				n := newSharingNode(t, mixedServer(gpus.H100_SXM5_80GB))
				sim := n.library.machine.GPUs[0]
				if ret := sim.SetComputeMode(nvml.COMPUTEMODE_PROHIBITED); ret != nvml.SUCCESS {
					t.Fatal(ret)
				}
				settings := func() string { return fmt.Sprintf("%d %s", sim.ComputeMode(), n.slice(t)) }
				a := newAsk("claim-a", test.config, names(n.look(t), isWhole)...)
				a.prepare(t, n)
				if got := settings(); got != test.during {
					t.Errorf("settings %s, want %s", got, test.during)
				}
				var err error
				switch end {
				case "sweep":
					err = n.Sweep(t.Context(), func(types.UID) bool { return false })
				case "unprepare without record":
					clear(a.undo)
					fallthrough
				default:
					a.unprepare(t, n)
				}
				if daemons, _ := n.mps.Daemons(); err != nil || settings() != "2 1" || len(daemons) > 0 {
					t.Errorf("%v, settings %s, daemons %v", err, settings(), daemons)
				}
			})
		}
	}
}

func TestMPSForAClaim(t *testing.T) {
	n := newSharingNode(t, mixedServer(gpus.H100_SXM5_80GB, gpus.H100_SXM5_80GB))
	config := sharingConfig(gpuv1alpha1.MPSStrategy)
	config.Sharing.MPSConfig.DefaultPerDevicePinnedMemoryLimit = memoryLimit("1")
	wholes := names(n.look(t), isWhole)
	a := newAsk("claim-a", config, wholes...)
	first := a.prepare(t, n)
	second := a.prepare(t, n)
	for i, grant := range first {
		if !slices.Contains(grant.Edits.Env, "CUDA_MPS_PIPE_DIRECTORY=/tmp/nvidia-mps") ||
			grant.Edits.Mounts[len(grant.Edits.Mounts)-1].ContainerPath != "/dev/shm" {
			t.Errorf("edits %+v", grant.Edits)
		}
		if string(grant.Undo) != string(second[i].Undo) {
			t.Errorf("remembered %s, then %s", grant.Undo, second[i].Undo)
		}
	}
	daemons, err := n.mps.Daemons()
	if err != nil || !slices.Equal(daemons, []string{"claim-a-0"}) {
		t.Fatalf("daemons %v, %v", daemons, err)
	}
	told, err := os.ReadFile(filepath.Join(n.mps.Dir, daemons[0], "log/told"))
	gpus := n.library.machine.GPUs
	if want := "devices=" + gpus[0].UUID + "," + gpus[1].UUID; err != nil || !strings.Contains(string(told), want) ||
		!strings.Contains(string(told), "set_default_device_pinned_mem_limit "+gpus[1].UUID+" 2048M") {
		t.Errorf("told %s, %v", told, err)
	}
	a.unprepare(t, n)
	if daemons, _ := n.mps.Daemons(); len(daemons) > 0 || gpus[1].ComputeMode() != nvml.COMPUTEMODE_DEFAULT {
		t.Errorf("daemons %v, compute mode %d", daemons, gpus[1].ComputeMode())
	}
}

func TestMPSOnAMIGDevice(t *testing.T) {
	n := newSharingNode(t, mixedServer(gpus.H100_SXM5_80GB), dynamic)
	sim := n.library.machine.GPUs[0]
	part := names(n.look(t), ofProfile("2g.20gb"))[1]
	config := sharingConfig(gpuv1alpha1.MPSStrategy)
	a := newAsk("claim-a", config, part)
	grants := a.prepare(t, n)
	told, err := os.ReadFile(filepath.Join(n.mps.Dir, "claim-a-0/log/told"))
	if err != nil || !strings.Contains(string(told), "devices=MIG-") || sim.Calls("SetComputeMode") > 0 {
		t.Errorf("told %s, %v", told, err)
	}
	if !slices.Contains(grants[0].Edits.Env, "CUDA_MPS_PIPE_DIRECTORY=/tmp/nvidia-mps") {
		t.Errorf("environment %v", grants[0].Edits.Env)
	}
	a.unprepare(t, n)
	if daemons, _ := n.mps.Daemons(); len(daemons) > 0 || len(sim.Instances()) > 0 {
		t.Errorf("daemons %v, instances %v", daemons, sim.Instances())
	}
}

func TestWhatCannotBeShared(t *testing.T) {
	n := newSharingNode(t, mixedServer(gpus.H100_SXM5_80GB, gpus.H100_SXM5_80GB), dynamic)
	sim := n.library.machine.GPUs[0]
	part := names(n.look(t), ofProfile("2g.20gb"))[1]
	whole := names(n.look(t), isWhole)[1]
	admin := func(a *ask) *ask { a.Devices[0].AdminAccess = new(true); return a }
	for want, a := range map[string]*ask{
		"is a setting of a whole GPU":    newAsk("claim-a", sharingConfig(gpuv1alpha1.ExclusiveStrategy), part),
		"use MPS, or a MIG device":       newAsk("claim-a", sharingConfig(gpuv1alpha1.SpacePartitioningStrategy), whole),
		"admin access never changes":     admin(newAsk("claim-a", longSlices(), whole)),
		"[2]: the configuration applies": newAsk("claim-a", tooMany(), whole),
	} {
		if _, err := n.Prepare(t.Context(), a.Request); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want …%s…", err, want)
		} else if !errors.As(err, new(*device.RefusedError)) {
			t.Errorf("error %v does not say that it lasts", err)
		}
		a.unprepare(t, n)
	}
	if len(sim.Instances()) > 0 || sim.ComputeMode() != nvml.COMPUTEMODE_DEFAULT {
		t.Errorf("instances %v, compute mode %d", sim.Instances(), sim.ComputeMode())
	}
}

func memoryLimit(device string) map[string]resource.Quantity {
	return map[string]resource.Quantity{device: resource.MustParse("2Gi")}
}

func tooMany() *gpuv1alpha1.GpuConfig {
	config := sharingConfig(gpuv1alpha1.MPSStrategy)
	config.Sharing.MPSConfig.DefaultPerDevicePinnedMemoryLimit = memoryLimit("2")
	return config
}

func TestADaemonThatEndsIsStartedAgain(t *testing.T) {
	n := newSharingNode(t, mixedServer(gpus.H100_SXM5_80GB))
	a := newAsk("claim-a", sharingConfig(gpuv1alpha1.MPSStrategy), names(n.look(t), isWhole)...)
	a.prepare(t, n)
	ctx, stop := context.WithCancel(t.Context())
	watched := make(chan error, 1)
	go func() { watched <- n.Watch(ctx, func() {}) }()
	defer func() {
		stop()
		if err := <-watched; err != nil {
			t.Error(err)
		}
	}()
	socket := filepath.Join(n.mps.Dir, "claim-a-0/pipe/control")
	tell := func() error {
		quit := exec.Command(filepath.Join(n.options.DriverRoot, "usr/bin/nvidia-cuda-mps-control"))
		quit.Env, quit.Stdin = []string{"CUDA_MPS_PIPE_DIRECTORY=" + filepath.Dir(socket)}, strings.NewReader("quit\n")
		return quit.Run()
	}
	if err := tell(); err != nil {
		t.Fatal(err)
	}
	await(t, func() bool { return slices.ContainsFunc(n.warned(), startedAgain) })
	if err := tell(); err != nil {
		t.Errorf("the new one does not answer: %v", err)
	}
}

func startedAgain(warning string) bool { return strings.Contains(warning, "started again") }

func await(t *testing.T, what func() bool) {
	t.Helper()
	const patience = 20 * time.Second
	for deadline := time.Now().Add(patience); !what(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("waited in vain")
		}
	}
}

func TestTwoConfigurationsOfOneClaim(t *testing.T) {
	n := newSharingNode(t, mixedServer(gpus.H100_SXM5_80GB, gpus.H100_SXM5_80GB))
	wholes := names(n.look(t), isWhole)
	first := newAsk("claim-a", sharingConfig(gpuv1alpha1.MPSStrategy), wholes[0])
	second := newAsk("claim-a", sharingConfig(gpuv1alpha1.MPSStrategy), wholes[1])
	second.Devices[0].Request = "another"
	all := []resourceapi.DeviceRequestAllocationResult{first.Devices[0], second.Devices[0]}
	first.All, second.All = all, all
	first.prepare(t, n)
	second.prepare(t, n)
	if daemons, err := n.mps.Daemons(); err != nil || !slices.Equal(daemons, []string{"claim-a-0", "claim-a-1"}) {
		t.Errorf("daemons %v, %v", daemons, err)
	}
	first.unprepare(t, n)
	second.unprepare(t, n)
}
