//go:build cgo

package mig

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// CapabilityNodes are where the device nodes are that let a container use an instance, besides the GPU's own.
const CapabilityNodes = "/dev/nvidia-caps"

// Capability is a device node of an instance. Major is 0 if the kernel does not name it.
type Capability struct {
	// Path is that of the node on the host, if somebody made it, and in the container.
	Path         string
	Major, Minor int64
}

// Capabilities returns the device nodes for the GPU instance and the compute instance of GPU number minor, as the
// kernel's driver has numbered them now, below root ("/", where proc/ is). The numbers change with each boot.
func Capabilities(root string, minor int, gi, ci uint32) ([]Capability, error) {
	major, err := capabilityMajor(root)
	if err != nil {
		return nil, err
	}
	var nodes []Capability
	for _, what := range []string{fmt.Sprintf("gi%d", gi), fmt.Sprintf("gi%d/ci%d", gi, ci)} {
		n, err := capabilityMinor(root, minor, what)
		if err != nil {
			return nil, fmt.Errorf("find the capability of MIG instance %s of GPU number %d: %w", what, minor, err)
		}
		path := fmt.Sprintf("%s/nvidia-cap%d", CapabilityNodes, n)
		nodes = append(nodes, Capability{Path: path, Major: major, Minor: n})
	}
	return nodes, nil
}

// capabilityMinor asks the file of the instance first and the table of all of them if the kernel has no such file.
func capabilityMinor(root string, gpu int, what string) (int64, error) {
	file := filepath.Join(root, "proc/driver/nvidia/capabilities", fmt.Sprintf("gpu%d/mig/%s/access", gpu, what))
	content, err := os.ReadFile(file)
	if err == nil {
		for line := range strings.Lines(string(content)) {
			if value, ok := strings.CutPrefix(line, "DeviceFileMinor:"); ok {
				return strconv.ParseInt(strings.TrimSpace(value), 10, 32)
			}
		}
		return 0, fmt.Errorf("%s has no line DeviceFileMinor", file)
	}
	if !errors.Is(err, os.ErrNotExist) {
		return 0, err
	}
	table := filepath.Join(root, "proc/driver/nvidia-caps/mig-minors")
	content, tableErr := os.ReadFile(table)
	if tableErr != nil {
		return 0, errors.Join(err, tableErr)
	}
	for line := range strings.Lines(string(content)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if name == fmt.Sprintf("gpu%d/%s/access", gpu, what) {
			return strconv.ParseInt(value, 10, 32)
		}
	}
	return 0, fmt.Errorf("%w, and %s does not name it", err, table)
}

// capabilityMajor returns 0 if the kernel does not say.
func capabilityMajor(root string) (int64, error) {
	content, err := os.ReadFile(filepath.Join(root, "proc/devices"))
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("find the numbers of MIG capabilities: %w", err)
	}
	for lines := bufio.NewScanner(bytes.NewReader(content)); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) == 2 && fields[1] == "nvidia-caps" {
			return strconv.ParseInt(fields[0], 10, 32)
		}
	}
	return 0, nil
}
