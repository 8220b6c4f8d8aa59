//go:build cgo

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.com/dragoman/pkg/device"
)

// bundle lays a program beside this one, as in the image.
func bundle(t *testing.T, content string) (path string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(filepath.Dir(self), cdiHook)
	if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(path) })
	return path
}

func TestTheBundledHookIsInstalledWhereTheHostFindsIt(t *testing.T) {
	config := &driverConfig{KubeletDir: t.TempDir(), DriverName: "gpu.example.com"}
	want := filepath.Join(config.KubeletDir, "plugins/gpu.example.com/nvidia-cdi-hook")
	var before os.FileInfo
	for _, content := range []string{"first", "first", "second"} {
		bundle(t, content)
		path, err := ownHook(config, true)
		if err != nil || path != want {
			t.Fatalf("%s, %v; want %s", path, err, want)
		}
		installed, err := os.ReadFile(path)
		if err != nil || string(installed) != content {
			t.Errorf("installed %q, %v; want %q", installed, err, content)
		}
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm()&0o111 == 0 {
			t.Errorf("%v, %v: nobody can run it", info, err)
		}
		if replaced := before == nil || !os.SameFile(before, info); replaced != (content == "second" || before == nil) {
			t.Errorf("%q: replaced: %v", content, replaced)
		}
		before = info
	}
}

func TestWhoOnlyLooksInstallsNothing(t *testing.T) {
	config := &driverConfig{KubeletDir: filepath.Join(t.TempDir(), "kubelet"), DriverName: "gpu.example.com"}
	beside := bundle(t, "program")
	if path, err := ownHook(config, false); err != nil || path != beside {
		t.Errorf("%s, %v; want %s", path, err, beside)
	}
	if _, err := os.Stat(config.KubeletDir); err == nil {
		t.Error("the kubelet's directory was made")
	}
	installed, err := ownHook(config, true)
	if err != nil {
		t.Fatal(err)
	}
	if path, err := ownHook(config, false); err != nil || path != installed {
		t.Errorf("beside a driver that serves: %s, %v; want %s", path, err, installed)
	}
}

func TestAHookThatCannotBeInstalledIsSaidWithTheSettingToChange(t *testing.T) {
	config := &driverConfig{KubeletDir: file(t, "file", ""), DriverName: "gpu.example.com"}
	bundle(t, "program")
	_, err := ownHook(config, true)
	if err == nil || !strings.Contains(err.Error(), "install nvidia-cdi-hook for the container runtime: ") {
		t.Errorf("%v", err)
	}
}

func TestDoctorAsksTheBackend(t *testing.T) {
	backend, err := backendOf(t.Context(), &driverConfig{Backend: "nvml"}, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := backend.(device.Examiner); !ok {
		t.Errorf("%T does not examine the node", backend)
	}
}
