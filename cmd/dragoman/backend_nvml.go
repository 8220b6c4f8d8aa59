//go:build cgo

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"k8s.io/klog/v2"

	"example.com/dragoman/pkg/device"
	"example.com/dragoman/pkg/device/nvml"
)

// cdiHook is the program of the NVIDIA container toolkit that a container runtime calls on the host.
const cdiHook = "nvidia-cdi-hook"

func openNVML(ctx context.Context, config *driverConfig, dir string) (device.Backend, error) {
	settings := config.NVML
	hook := settings.CDIHookPath
	if hook == "" && dir != "" { // without a directory nothing is served, so nothing of it is called
		var err error
		if hook, err = installHook(config); err != nil {
			return nil, err
		}
	}
	var ignored []uint64
	for _, number := range settings.IgnoredXIDs {
		ignored = append(ignored, uint64(number))
	}
	logger := klog.FromContext(ctx)
	return nvml.New(nvml.Options{
		DriverName: config.DriverName, NodeName: config.NodeName, Dir: dir,
		DriverRoot: settings.DriverRoot, HostDriverRoot: settings.HostDriverRoot, DevRoot: settings.DevRoot,
		LibraryPath: settings.LibraryPath, CDIHookPath: hook,
		DynamicMIG: settings.DynamicMIG, IgnoredXIDs: ignored,
		Warn: func(msg string, kv ...any) { logger.Info("Warning: "+msg, kv...) },
	})
}

// installHook copies the program that lies beside this one to where the host can run it, and returns that path. It is
// "" if none lies there: then the node has to have it. The copy is replaced as a whole, since a container may be
// starting with it.
func installHook(config *driverConfig) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find %s beside this program: %w", cdiHook, err)
	}
	program, err := os.ReadFile(filepath.Join(filepath.Dir(self), cdiHook))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read %s: %w", cdiHook, err)
	}
	dir := filepath.Join(config.KubeletDir, "plugins", config.DriverName)
	target := filepath.Join(dir, cdiHook)
	if there, err := os.ReadFile(target); err == nil && bytes.Equal(there, program) {
		return target, nil
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return "", fmt.Errorf("install %s for the container runtime: %w", cdiHook, err)
	}
	temporary := target + ".tmp"
	err = os.WriteFile(temporary, program, 0o755)
	if err == nil {
		err = os.Rename(temporary, target)
	}
	if err != nil {
		return "", fmt.Errorf("install %s for the container runtime: %w; --kubelet-dir must be a directory that this "+
			"process can write to, or set nvml.cdiHookPath", cdiHook, errors.Join(err, os.RemoveAll(temporary)))
	}
	return target, nil
}
