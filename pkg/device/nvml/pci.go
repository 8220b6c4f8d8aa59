//go:build cgo

package nvml

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// pciGPU is an NVIDIA display controller on the PCI bus.
type pciGPU struct {
	address string // "0000:3b:00.0"
	driver  string // the kernel driver that it is bound to; empty if none
}

// missed tells whether NVML should see it. One that is given to a virtual machine as a whole is none of ours.
func (g pciGPU) missed() bool { return !strings.HasPrefix(g.driver, "vfio") && g.driver != "pci-stub" }

// pciGPUs returns NVIDIA's display controllers: what NVML should see, and what is there while it sees nothing. A
// machine without a PCI bus has none.
func (o Options) pciGPUs() ([]pciGPU, error) {
	const nvidia, displayClass = "0x10de", "0x03" // PCI ID repository; PCI class code base 03h
	entries, err := os.ReadDir(o.sys("bus", "pci", "devices"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("scan the PCI bus: %w", err)
	}
	var found []pciGPU
	for _, entry := range entries {
		dir := o.sys("bus", "pci", "devices", entry.Name())
		if word(dir, "vendor") != nvidia || !strings.HasPrefix(word(dir, "class"), displayClass) {
			continue
		}
		driver, err := os.Readlink(filepath.Join(dir, "driver"))
		if err != nil {
			driver = "" // bound to none
		}
		found = append(found, pciGPU{address: entry.Name(), driver: strings.TrimPrefix(filepath.Base(driver), ".")})
	}
	return found, nil
}

// word returns the content of a file of sysfs; a device that vanishes meanwhile has none.
func word(dir, file string) string {
	raw, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(raw))
}

// missedGPUs returns those that NVML should see.
func (o Options) missedGPUs() ([]pciGPU, error) {
	all, err := o.pciGPUs()
	var missed []pciGPU
	for _, g := range all {
		if g.missed() {
			missed = append(missed, g)
		}
	}
	return missed, err
}
