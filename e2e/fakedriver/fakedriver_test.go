package main

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.com/dragoman/e2e/fakegpu"
)

// layOut builds the program and lays out a driver root with it; the library is only a file here.
func layOut(t *testing.T, flags ...string) fakegpu.Driver {
	t.Helper()
	dir := t.TempDir()
	library, program, root := filepath.Join(dir, "library"), filepath.Join(dir, "fakedriver"), filepath.Join(dir, "root")
	if err := os.WriteFile(library, []byte("library"), 0o644); err != nil {
		t.Fatal(err)
	}
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, ".")
	build.Env = append(build.Environ(), "CGO_ENABLED=0")
	run(t, build)
	run(t, exec.CommandContext(t.Context(), program, append(flags, "--library", library, "--node", "node", root)...))
	return fakegpu.Driver(root)
}

func run(t *testing.T, c *exec.Cmd) string {
	t.Helper()
	output, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(c.Args, " "), err, output)
	}
	return string(output)
}

func smiOf(t *testing.T, driver fakegpu.Driver, args ...string) string {
	t.Helper()
	return run(t, exec.CommandContext(t.Context(), driver.Path("usr/bin", smiName), args...))
}

func TestRootHasWhatADriverHas(t *testing.T) {
	driver := layOut(t, "--model", "b200")
	for path, expected := range map[string]os.FileMode{
		"usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1": 0, "usr/lib/x86_64-linux-gnu/libcuda.so.1": 0,
		"usr/bin/nvidia-cuda-mps-control": 0, "proc/driver/nvidia/params": 0, "tmp": os.ModeDir | os.ModeSticky,
		"dev/nvidiactl": os.ModeDevice | os.ModeCharDevice, "dev/nvidia7": os.ModeDevice | os.ModeCharDevice,
		"dev/nvidia-caps/nvidia-cap157": os.ModeDevice | os.ModeCharDevice,
	} {
		info, err := os.Stat(driver.Path(path))
		if err != nil {
			t.Error(err)
		} else if got := info.Mode() &^ os.ModePerm; got != expected {
			t.Errorf("%s is %v, expected %v", path, got, expected)
		}
	}
	info, err := os.Stat(driver.Path("dev/nvidia0"))
	if err != nil {
		t.Fatal(err)
	}
	if system, ok := info.Sys().(*syscall.Stat_t); !ok || system.Rdev != 1<<8|3 {
		t.Errorf("device nodes are not harmless: %+v", info.Sys())
	}
	machine, err := driver.Machine()
	if err != nil || len(machine.GPUs) != 8 || machine.GPUs[0] != "b200" || machine.Node != "node" {
		t.Errorf("the machine is %+v (%v)", machine, err)
	}
}

func TestLayingOutAgainForgets(t *testing.T) {
	driver := layOut(t)
	smiOf(t, driver, "compute-policy", "--set-timeslice", "2")
	if err := layHere(string(driver), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := driver.Machine(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("something of the earlier tree is left (%v)", err)
	}
}

func TestEmptyLibraryHasItsName(t *testing.T) {
	file, err := elf.NewFile(bytes.NewReader(emptyLibrary("libcuda.so.1")))
	if err != nil {
		t.Fatal(err)
	}
	if names, err := file.DynString(elf.DT_SONAME); err == nil && len(names) == 1 && names[0] == "libcuda.so.1" {
		return
	}
	// Without sections debug/elf does not find the names; ldconfig, which reads segments, does.
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "libcuda.so.1.2"), emptyLibrary("libcuda.so.1"), 0o755); err != nil {
		t.Fatal(err)
	}
	run(t, exec.CommandContext(t.Context(), "/sbin/ldconfig", "-n", dir))
	if target, err := os.Readlink(filepath.Join(dir, "libcuda.so.1")); err != nil || target != "libcuda.so.1.2" {
		t.Errorf("ldconfig made a link to %q (%v)", target, err)
	}
}

func TestNvidiaSMIChangesWhatTheGPUsRemember(t *testing.T) {
	driver := layOut(t, "--model", "a100")
	machine, err := driver.Machine()
	if err != nil {
		t.Fatal(err)
	}
	if list := smiOf(t, driver, "-L"); strings.Count(list, "\n") != 8 || !strings.Contains(list, machine.UUID(7)) {
		t.Errorf("it lists\n%s", list)
	}
	smiOf(t, driver, "compute-policy", "--set-timeslice", "3", "-i", machine.UUID(1))
	smiOf(t, driver, "-i", "2", "-c", "EXCLUSIVE_PROCESS")
	err = driver.Update(func(s *fakegpu.State) error { s.GPU(3).PendingMIG = true; return nil })
	if err != nil {
		t.Fatal(err)
	}
	smiOf(t, driver, "--gpu-reset", "-i", "3")
	state, err := driver.State()
	if err != nil || state.GPU(1).TimeSlice != 3 || state.GPU(2).ComputeMode != 3 ||
		!state.GPU(3).MIG || state.GPU(0).TimeSlice != 0 {
		t.Errorf("the state is %+v (%v)", state, err)
	}
	if list := smiOf(t, driver, "compute-policy", "--list", "-i", "1"); !strings.Contains(list, "Timeslice     Long") {
		t.Errorf("the time slice is\n%s", list)
	}
	broken := map[string]fakegpu.Fault{smiName: {Return: "no way"}}
	if err := driver.SetControl(fakegpu.Control{Calls: broken}); err != nil {
		t.Fatal(err)
	}
	output, err := exec.CommandContext(t.Context(), driver.Path("usr/bin", smiName), "-L").CombinedOutput()
	if err == nil || !strings.Contains(string(output), "no way") {
		t.Errorf("it ends with %v: %s", err, output)
	}
}

func TestMPSControlDaemon(t *testing.T) {
	driver, dir := layOut(t), t.TempDir()
	environment := append(os.Environ(),
		"CUDA_MPS_PIPE_DIRECTORY="+dir, "CUDA_MPS_LOG_DIRECTORY="+dir, "CUDA_VISIBLE_DEVICES=0")
	client := func(command string) (string, error) {
		c := exec.CommandContext(t.Context(), driver.Path("usr/bin", mpsName))
		c.Env, c.Stdin = environment, strings.NewReader(command)
		output, err := c.CombinedOutput()
		return string(output), err
	}
	if output, err := client("get_server_list"); err == nil {
		t.Errorf("without a daemon the client says %q", output)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	daemon := exec.CommandContext(ctx, driver.Path("usr/bin", mpsName), "-f")
	daemon.Env = environment
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	for _, err := client("get_server_list"); err != nil; _, err = client("get_server_list") {
		if ctx.Err() != nil {
			t.Fatal("the daemon does not answer")
		}
	}
	output, err := client("set_default_active_thread_percentage 25\n" +
		"set_default_device_pinned_mem_limit 0 1024M\nfake_settings")
	if expected := "25.0\ndevices=0 percentage=25.0 limit[0]=1024M\n"; err != nil || output != expected {
		t.Errorf("it answers %q (%v), expected %q", output, err, expected)
	}
	if _, err := client("quit"); err != nil {
		t.Error(err)
	}
	if err := daemon.Wait(); err != nil {
		t.Errorf("the daemon ends with %v", err)
	}
}
