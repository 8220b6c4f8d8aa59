//go:build cgo

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
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
	if hook == "" {
		var err error
		if hook, err = ownHook(config, dir != ""); err != nil {
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

// helperCommands are not for people: the backend starts this program with them.
func helperCommands() []subcommand {
	return []subcommand{{nvml.MPSDaemonCommand, "become a daemon of MPS",
		func(ctx context.Context, args []string, _ func(string) string, _, _ io.Writer) error {
			return nvml.RunMPSDaemon(ctx, args)
		}}}
}

// ownHook returns the path of the program that comes with this one, "" if none does: then the node has to have it. To
// serve, it is copied to where the host can run it.
func ownHook(config *driverConfig, serve bool) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find %s beside this program: %w", cdiHook, err)
	}
	beside, installed := filepath.Join(filepath.Dir(self), cdiHook), hookTarget(config)
	program, err := os.ReadFile(beside)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", nil
	case err != nil:
		return "", fmt.Errorf("read %s: %w", cdiHook, err)
	case serve:
		return installHook(config, program)
	}
	if _, err := os.Stat(installed); err == nil {
		return installed, nil // of a driver that serves this node
	}
	return beside, nil
}

// hookTarget is where the host runs it from.
func hookTarget(config *driverConfig) string {
	return filepath.Join(config.KubeletDir, "plugins", config.DriverName, cdiHook)
}

// installHook replaces the copy on the host as a whole, since a container may be starting with it.
func installHook(config *driverConfig, program []byte) (string, error) {
	target := hookTarget(config)
	if there, err := os.ReadFile(target); err == nil && bytes.Equal(there, program) {
		return target, nil
	}
	temporary := target + ".tmp"
	err := os.MkdirAll(filepath.Dir(target), 0o750)
	if err == nil {
		err = os.WriteFile(temporary, program, 0o755)
	}
	if err == nil {
		err = os.Rename(temporary, target)
	}
	if err != nil {
		_ = os.Remove(temporary)
		return "", fmt.Errorf("install %s for the container runtime: %w; --kubelet-dir must be a directory that this "+
			"process can write to, or set nvml.cdiHookPath", cdiHook, err)
	}
	return target, nil
}
