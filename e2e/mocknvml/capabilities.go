//go:build cgo

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/NVIDIA/go-nvml/pkg/nvml"

	"example.com/dragoman/e2e/fakegpu"
)

// capability returns the folder in which the kernel module describes the capability of a GPU instance, or of a compute
// instance of one.
func (g gpu) capability(gi int, ci ...int) string {
	path := library.driver.Path("proc/driver/nvidia/capabilities", fmt.Sprintf("gpu%d/mig/gi%d", g.index, gi))
	if len(ci) > 0 {
		path = filepath.Join(path, fmt.Sprintf("ci%d", ci[0]))
	}
	return path
}

func (g gpu) addCapability(gi int, ci ...int) nvml.Return {
	path := g.capability(gi, ci...)
	access := fmt.Sprintf("DeviceFileMinor: %d\nDeviceFileMode: 292\nDeviceFileModify: 1\n",
		fakegpu.CapabilityMinor(g.index, gi, ci...))
	err := errors.Join(os.MkdirAll(path, 0o755), os.WriteFile(filepath.Join(path, "access"), []byte(access), 0o444))
	return done(err)
}

func (g gpu) removeCapability(gi int, ci ...int) nvml.Return {
	return done(os.RemoveAll(g.capability(gi, ci...)))
}

func done(err error) nvml.Return {
	if err != nil {
		complain(err)
		return nvml.ERROR_OPERATING_SYSTEM
	}
	return nvml.SUCCESS
}
