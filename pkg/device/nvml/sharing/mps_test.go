//go:build cgo

package sharing_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"

	gpuv1alpha1 "example.com/dragoman/api/gpu/v1alpha1"
	"example.com/dragoman/pkg/device/nvml/sharing"
)

// fakeControl is a control program without libraries, as it can run in any root directory.
var fakeControl string

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "mps-daemon" { // this test, started by the code under test
		fmt.Fprintln(os.Stderr, sharing.RunDaemon(context.Background(), os.Args[2:]))
		os.Exit(1)
	}
	os.Exit(withFakeControl(m.Run))
}

func withFakeControl(run func() int) int {
	dir, err := os.MkdirTemp("", "mps")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	fakeControl = filepath.Join(dir, "control")
	build := exec.Command("go", "build", "-o", fakeControl, "./testdata/control")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		panic(fmt.Sprintf("build the fake control program: %v: %s", err, output))
	}
	return run()
}

const claimA, claimB = "00000000-0000-4000-8000-00000000000a", "00000000-0000-4000-8000-00000000000b"

// newMPS has daemons end with the test.
func newMPS(t *testing.T, plain bool) *sharing.MPS {
	t.Helper()
	base, err := os.MkdirTemp("", "m") //nolint:usetesting // short, for the sockets of plain daemons
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(base, "root")
	for _, dir := range []string{"tmp", "dev/shm", "usr/bin", "proc"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	content, err := os.ReadFile(fakeControl)
	if err != nil {
		t.Fatal(err)
	}
	const program = "/usr/bin/nvidia-cuda-mps-control"
	if err := os.WriteFile(filepath.Join(root, program), content, 0o755); err != nil {
		t.Fatal(err)
	}
	m := &sharing.MPS{
		Dir: filepath.Join(base, "mps"), Root: root, Plain: plain, Self: os.Args[0], Arguments: []string{"mps-daemon"},
		Program: func() (string, error) { return program, nil },
	}
	t.Cleanup(func() {
		if err := m.StopFor(context.Background(), func(types.UID) bool { return true }); err != nil {
			t.Error(err)
		}
		if err := os.RemoveAll(base); err != nil {
			t.Error(err)
		}
	})
	return m
}

func told(t *testing.T, m *sharing.MPS, id string) []string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(m.Dir, id, "log/told"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(raw)), "\n")
}

// pid returns the process of a daemon, 0 if it does not run.
func pid(t *testing.T, m *sharing.MPS, id string) int {
	t.Helper()
	var process struct{ PID int }
	raw, err := os.ReadFile(filepath.Join(m.Dir, id, "process"))
	if err != nil {
		return 0
	}
	if err := json.Unmarshal(raw, &process); err != nil {
		t.Fatal(err)
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", process.PID))
	if err != nil || strings.Contains(string(stat), ") Z ") {
		return 0
	}
	return process.PID
}

func kill(t *testing.T, m *sharing.MPS, id string) {
	t.Helper()
	if err := syscall.Kill(pid(t, m, id), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for pid(t, m, id) != 0 {
		time.Sleep(time.Millisecond)
	}
}

func misbehave(t *testing.T, m *sharing.MPS, id, how string) (stop func()) {
	t.Helper()
	dir := filepath.Join(m.Dir, id, "log")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, how), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	return func() { _ = os.Remove(filepath.Join(dir, how)) }
}

func limited() sharing.Daemon {
	return sharing.Daemon{
		UUIDs: []string{"GPU-1", "GPU-2"}, ThreadPercentage: new(50), MemoryLimits: map[string]string{"GPU-2": "1024M"},
	}
}

func TestADaemonOfAClaim(t *testing.T) {
	for _, plain := range []bool{true, false} {
		t.Run(fmt.Sprintf("plain %t", plain), func(t *testing.T) {
			if !plain && exec.Command("unshare", "-m", "true").Run() != nil {
				t.Skip("this user may not make mount namespaces")
			}
			m, id := newMPS(t, plain), sharing.ID(claimA, 0)
			pipe := "/tmp/nvidia-mps"
			if plain {
				pipe = filepath.Join(m.Dir, id, "pipe")
			}
			if err := os.MkdirAll(filepath.Join(m.Dir, id, "shm/mine"), 0o755); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if err := m.Start(t.Context(), id, limited()); err != nil {
					t.Fatal(err)
				}
			}
			mine := map[bool]string{true: "no", false: "yes"}[plain]
			want := []string{
				"start devices=GPU-1,GPU-2 pipe=" + pipe + " mine=" + mine,
				"set_default_active_thread_percentage 50", "set_default_device_pinned_mem_limit GPU-2 1024M",
			}
			if diff := cmp.Diff(want, told(t, m, id)); diff != "" {
				t.Error(diff)
			}
			if group, err := syscall.Getpgid(pid(t, m, id)); err != nil || group == syscall.Getpgrp() {
				t.Errorf("it ends with this process: group %d, %v", group, err)
			}
			if _, err := os.Stat(filepath.Join(m.Dir, id, "pipe/control")); err != nil {
				t.Error(err)
			}
			running := pid(t, m, id)
			for range 2 {
				if err := m.Stop(t.Context(), id); err != nil {
					t.Error(err)
				}
			}
			if _, err := os.Stat(fmt.Sprintf("/proc/%d", running)); err == nil && pid(t, m, id) != 0 {
				t.Error("it still runs")
			}
			if left, _ := os.ReadDir(m.Dir); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func TestADaemonThatEndsIsRevivedWithItsLimits(t *testing.T) {
	m, id := newMPS(t, true), sharing.ID(claimA, 0)
	if err := m.Start(t.Context(), id, limited()); err != nil {
		t.Fatal(err)
	}
	if revived, err := m.Revive(t.Context()); err != nil || len(revived) > 0 {
		t.Errorf("revived %v: %v", revived, err)
	}
	kill(t, m, id)
	other := *m // another process of the driver
	if revived, err := other.Revive(t.Context()); err != nil || len(revived) != 1 || pid(t, m, id) == 0 {
		t.Errorf("revived %v: %v", revived, err)
	}
	if got := told(t, m, id); len(got) != 6 || got[4] != "set_default_active_thread_percentage 50" {
		t.Errorf("told %v", got)
	}
	kill(t, m, id)
	if err := m.Start(t.Context(), id, limited()); err != nil || pid(t, m, id) == 0 { // the kubelet asks again
		t.Error(err)
	}
	if err := m.Stop(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if revived, err := m.Revive(t.Context()); err != nil || len(revived) > 0 {
		t.Errorf("revived a stopped one %v: %v", revived, err)
	}
}

func TestADaemonThatMisbehaves(t *testing.T) {
	for how, want := range map[string]string{
		"refuses-to-start": "already running",
		"is-slow":          "deadline exceeded",
		"refuses-limits":   "Invalid argument",
	} {
		t.Run(how, func(t *testing.T) {
			m, id := newMPS(t, true), sharing.ID(claimA, 0)
			behave := misbehave(t, m, id, how)
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			defer cancel()
			err := m.Start(ctx, id, limited())
			if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), id) {
				t.Errorf("error %v, want …%s…", err, want)
			}
			behave()
			if err := m.Start(t.Context(), id, limited()); err != nil {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
	t.Run("does not quit", func(t *testing.T) {
		m, id := newMPS(t, true), sharing.ID(claimA, 0)
		if err := m.Start(t.Context(), id, limited()); err != nil {
			t.Fatal(err)
		}
		misbehave(t, m, id, "does-not-quit")
		if err := m.Stop(t.Context(), id); err != nil || pid(t, m, id) != 0 {
			t.Error(err)
		}
	})
	t.Run("there is no control program", func(t *testing.T) {
		m, id := newMPS(t, true), sharing.ID(claimA, 0)
		m.Root = t.TempDir()
		if err := m.Start(t.Context(), id, limited()); err == nil || !strings.Contains(err.Error(), "no such file") {
			t.Errorf("error %v", err)
		}
	})
}

func TestDaemonsOfLostClaimsAreSwept(t *testing.T) {
	m := newMPS(t, true)
	for _, id := range []string{sharing.ID(claimA, 0), sharing.ID(claimA, 2), sharing.ID(claimB, 0)} {
		if err := m.Start(t.Context(), id, sharing.Daemon{UUIDs: []string{"GPU-1"}}); err != nil {
			t.Fatal(err)
		}
	}
	lost := func(claim types.UID) bool { return claim == claimA }
	for range 2 {
		if err := m.StopFor(t.Context(), lost); err != nil {
			t.Fatal(err)
		}
	}
	ids, err := m.Daemons()
	if diff := cmp.Diff([]string{sharing.ID(claimB, 0)}, ids); diff != "" || err != nil || pid(t, m, ids[0]) == 0 {
		t.Errorf("%v, %s", err, diff)
	}
}

func TestManyStartAndStopOneDaemon(t *testing.T) {
	m, id := newMPS(t, true), sharing.ID(claimA, 0)
	var wait sync.WaitGroup
	for range 4 {
		wait.Go(func() {
			for range 3 {
				if err := m.Start(t.Context(), id, sharing.Daemon{UUIDs: []string{"GPU-1"}}); err != nil {
					t.Error(err)
				}
				if err := m.Stop(t.Context(), id); err != nil {
					t.Error(err)
				}
				if _, err := m.Revive(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
	if left, _ := os.ReadDir(m.Dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestDaemonOf(t *testing.T) {
	uuids := []string{"GPU-1", "GPU-2"}
	config := &gpuv1alpha1.MPSConfig{
		DefaultActiveThreadPercentage: new(25), DefaultPinnedDeviceMemoryLimit: new(resource.MustParse("1Gi")),
		DefaultPerDevicePinnedMemoryLimit: map[string]resource.Quantity{"1": resource.MustParse("1.5Mi")},
	}
	got, err := sharing.DaemonOf(config, uuids)
	want := sharing.Daemon{
		UUIDs: uuids, ThreadPercentage: new(25), MemoryLimits: map[string]string{"GPU-1": "1024M", "GPU-2": "1M"},
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v, %s", err, diff)
	}
	for _, key := range []string{"2", "GPU-3"} {
		config.DefaultPerDevicePinnedMemoryLimit = map[string]resource.Quantity{key: resource.MustParse("1Gi")}
		if _, err := sharing.DaemonOf(config, uuids); err == nil || !strings.Contains(err.Error(), "["+key+"]") {
			t.Errorf("%s: %v", key, err)
		}
	}
}

func TestEdits(t *testing.T) {
	m := &sharing.MPS{Dir: "/run/x/mps"}
	edits := m.Edits("claim-0")
	if len(edits.Mounts) != 2 || edits.Mounts[0].HostPath != "/run/x/mps/claim-0/pipe" ||
		edits.Mounts[0].ContainerPath != "/tmp/nvidia-mps" || edits.Mounts[1].ContainerPath != "/dev/shm" ||
		edits.Env[0] != "CUDA_MPS_PIPE_DIRECTORY=/tmp/nvidia-mps" {
		t.Errorf("%+v", edits)
	}
}
