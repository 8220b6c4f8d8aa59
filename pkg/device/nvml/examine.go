//go:build cgo

package nvml

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"example.com/dragoman/pkg/device"
)

// Examine looks for what the backend needs, from the library to what containers get. It changes nothing.
func (b *Backend) Examine(ctx context.Context) []device.Finding {
	missed, err := b.options.missedGPUs()
	if err != nil {
		return []device.Finding{bad("PCI bus", err.Error(), "the driver's pod needs /sys of the node")}
	}
	snapshot, err := b.Devices(ctx)
	cannot, ok := errors.AsType[*CannotLookError](err)
	switch {
	case ok:
		detail := cannot.What
		if len(cannot.Searched) > 0 {
			detail += "; tried: " + strings.Join(cannot.Searched, ", ")
		}
		return append([]device.Finding{bad("NVML", detail, cannot.Mend)}, b.examineFiles()...)
	case err != nil:
		return []device.Finding{bad("NVML", err.Error(), "try again")}
	case len(snapshot.Devices) == 0 && b.current() == nil:
		return []device.Finding{doubtful("NVML", "the node has no NVIDIA GPU on its PCI bus",
			"use another backend on this node, or a node selector that leaves it out")}
	}
	findings := []device.Finding{b.examineLibrary(), b.examineGPUs(missed)}
	findings = append(findings, b.examineFiles()...)
	return append(findings, b.examineEdits(ctx))
}

func (b *Backend) examineLibrary() device.Finding {
	s := b.current()
	if s == nil {
		return bad("NVML", "the driver went away while it was looked at", "try again")
	}
	if s.driver == "" {
		return doubtful("NVML", s.path+" is initialised, but does not tell the version of the driver", "update the driver")
	}
	return good("NVML", fmt.Sprintf("%s is initialised, driver %s", s.path, s.driver))
}

func (b *Backend) examineGPUs(missed []pciGPU) device.Finding {
	var sick []string
	gpus := b.known()
	for _, g := range gpus {
		g.mu.Lock()
		if health := g.healthOf(offer{}.isHitBy); health.Unhealthy {
			sick = append(sick, fmt.Sprintf("%s: %s", g.uuid, health.Reason))
		}
		g.mu.Unlock()
	}
	switch {
	case len(sick) > 0:
		return doubtful("GPUs", fmt.Sprintf("%d of %d are unhealthy: %s", len(sick), len(gpus), strings.Join(sick, "; ")),
			"reset or replace them; they stay tainted until they work")
	case len(missed) > len(gpus):
		return doubtful("GPUs", fmt.Sprintf("NVML sees %d, the PCI bus has %d", len(gpus), len(missed)),
			`see "dmesg | grep NVRM" on the node`)
	}
	return good("GPUs", fmt.Sprintf("%d, all of them work", len(gpus)))
}

// examineFiles looks for device nodes and programs, which need no library.
func (b *Backend) examineFiles() []device.Finding {
	return append([]device.Finding{b.examineNodes(), b.examineHook()},
		b.examineProgram("nvidia-smi", "time slices of GPUs cannot be set"),
		b.examineProgram("nvidia-cuda-mps-control", "GPUs cannot be shared through MPS"),
	)
}

func (b *Backend) examineNodes() device.Finding {
	root, _ := b.options.devRoots()
	names := []string{"nvidiactl", "nvidia-uvm"}
	for _, g := range b.known() {
		if _, _, f := g.grip(); f.minor != nil {
			names = append(names, fmt.Sprintf("nvidia%d", *f.minor))
		}
	}
	var missing []string
	for _, name := range names {
		file := filepath.Join(root, "dev", name)
		if info, err := os.Stat(file); err != nil || info.Mode()&os.ModeCharDevice == 0 {
			missing = append(missing, file)
		}
	}
	if len(missing) > 0 {
		return bad("device nodes", "not there: "+strings.Join(missing, ", "),
			`run "nvidia-modprobe -c 0 -u" on the node (nvidia-persistenced does it at boot), or set nvml.devRoot`)
	}
	return good("device nodes", fmt.Sprintf("%s below %s", strings.Join(names, ", "), filepath.Join(root, "dev")))
}

// examineHook: the hook runs on the host, which this process may see only a part of.
func (b *Backend) examineHook() device.Finding {
	const subject = "nvidia-cdi-hook"
	onHost := b.options.hook()
	for _, file := range []string{moved(onHost, b.options.HostDriverRoot, b.options.DriverRoot), onHost} {
		if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return good(subject, onHost+" on the host")
		}
	}
	if b.options.CDIHookPath != "" {
		return doubtful(subject, onHost+" on the host cannot be seen from here", "see that it is there and executable")
	}
	return bad(subject, onHost+" is not there; without it no container with a GPU starts",
		"install the NVIDIA Container Toolkit on the node, or set nvml.cdiHookPath")
}

func (b *Backend) examineProgram(name, without string) device.Finding {
	found, searched := b.options.driver().Program(name)
	if found == "" {
		return doubtful(name, "not in "+strings.Join(below(b.options.DriverRoot, searched), ", ")+": "+without,
			"install the driver's utilities, or set nvml.driverRoot")
	}
	return good(name, found)
}

// examineEdits generates what a container would get.
func (b *Backend) examineEdits(ctx context.Context) device.Finding {
	const subject = "container edits"
	gpus := b.known()
	for _, g := range gpus {
		if _, err := b.inject(ctx, g); err != nil {
			return bad(subject, err.Error(), "see what is missing")
		}
	}
	return good(subject, fmt.Sprintf("complete for %d GPUs", len(gpus)))
}

func good(subject, detail string) device.Finding {
	return device.Finding{Subject: subject, Verdict: device.Good, Detail: detail}
}

func doubtful(subject, detail, mend string) device.Finding {
	return device.Finding{Subject: subject, Verdict: device.Doubtful, Detail: detail, Mend: mend}
}

func bad(subject, detail, mend string) device.Finding {
	return device.Finding{Subject: subject, Verdict: device.Bad, Detail: detail, Mend: mend}
}
