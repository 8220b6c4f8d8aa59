package main

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"example.com/dragoman/e2e/fakegpu"
)

const libraries = "usr/lib/x86_64-linux-gnu"

// entry is one thing in the tree; what it is follows from what is set.
type entry struct {
	path    string // ends in a slash: a folder
	mode    os.FileMode
	content []byte
	link    string // a symbolic link to it
	device  bool   // a character device that is another /dev/null
}

// tree returns the driver root of a machine, folders first.
func tree(machine fakegpu.Machine, library string) ([]entry, error) {
	nvml, err := os.ReadFile(library)
	if err != nil {
		return nil, fmt.Errorf("read the mock library (make build-fake makes it): %w", err)
	}
	program, err := self()
	if err != nil {
		return nil, err
	}
	description, err := json.MarshalIndent(machine, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("describe the machine: %w", err)
	}
	// What a driver in a container image has beside its own files: programs of the driver run with this as their root.
	entries := []entry{
		{path: "fake-gpu/", mode: 0o777}, {path: "tmp/", mode: 0o777 | os.ModeSticky}, {path: "dev/shm/", mode: 0o777},
		{path: "etc/"}, {path: "run/"}, {path: "sys/"}, {path: "var/log/"},
		{path: "fake-gpu/machine.json", content: append(description, '\n')},
	}
	for _, name := range []string{smiName, mpsName, mpsServerName} {
		entries = append(entries, entry{path: "usr/bin/" + name, mode: 0o755, content: program})
	}
	entries = append(entries, libraryFiles(machine.DriverVersion, nvml)...)
	entries = append(entries, deviceNodes(machine)...)
	return withFolders(append(entries, procFiles(machine)...)), nil
}

// libraryFiles are the libraries with the links that the driver's installer makes.
func libraryFiles(version string, nvml []byte) (entries []entry) {
	entries = []entry{{path: "lib/firmware/nvidia/" + version + "/gsp_ga10x.bin", content: []byte("firmware\n")}}
	links := map[string][]string{
		"libnvidia-ml": {".1"}, "libcuda": {".1", ""}, "libcudadebugger": {".1"}, "libnvidia-opencl": {".1"},
		"libnvidia-ptxjitcompiler": {".1", ""}, "libnvidia-nvvm": {".4", ""}, "libnvidia-cfg": {".1"},
	}
	for _, name := range []string{
		"libnvidia-ml", "libcuda", "libcudadebugger", "libnvidia-opencl", "libnvidia-ptxjitcompiler", "libnvidia-nvvm",
		"libnvidia-cfg",
	} {
		content := nvml
		if name != "libnvidia-ml" {
			content = emptyLibrary(name + ".so" + links[name][0])
		}
		file := name + ".so." + version
		entries = append(entries, entry{path: path.Join(libraries, file), mode: 0o755, content: content})
		for _, suffix := range links[name] {
			entries = append(entries, entry{path: path.Join(libraries, name+".so"+suffix), link: file})
		}
	}
	return entries
}

// deviceNodes are those of the driver, and those of the capabilities of all instances that there can be with one
// compute instance each.
func deviceNodes(machine fakegpu.Machine) (entries []entry) {
	names := []string{"nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset"}
	capabilities := []int{1, 2}
	for gpu := range machine.GPUs {
		names = append(names, fmt.Sprintf("nvidia%d", gpu))
		for gi := range 15 {
			capabilities = append(capabilities, fakegpu.CapabilityMinor(gpu, gi), fakegpu.CapabilityMinor(gpu, gi, 0))
		}
	}
	for _, minor := range capabilities {
		names = append(names, fmt.Sprintf("nvidia-caps/nvidia-cap%d", minor))
	}
	names = append(names, "null")
	for _, name := range names {
		entries = append(entries, entry{path: "dev/" + name, mode: 0o666, device: true})
	}
	return entries
}

// procFiles are what the kernel module says; the capabilities of instances come and go with them.
func procFiles(machine fakegpu.Machine) []entry {
	var minors bytes.Buffer
	minors.WriteString("config 1\nmonitor 2\n")
	entries := []entry{
		{path: "proc/driver/nvidia/version", content: fmt.Appendf(nil,
			"NVRM version: NVIDIA UNIX x86_64 Kernel Module  %s  (made up)\n", machine.DriverVersion)},
		{path: "proc/driver/nvidia/params", content: []byte("ModifyDeviceFiles: 1\nDeviceFileMode: 438\n")},
		{path: "proc/driver/nvidia/capabilities/mig/config", content: capability(1)},
		{path: "proc/driver/nvidia/capabilities/mig/monitor", content: capability(2)},
	}
	for gpu := range machine.GPUs {
		entries = append(entries, entry{path: fmt.Sprintf("proc/driver/nvidia/capabilities/gpu%d/mig/", gpu), mode: 0o777})
		for gi := range 15 {
			name := fmt.Sprintf("gpu%d/gi%d", gpu, gi)
			fmt.Fprintf(&minors, "%s/access %d\n%s/ci0/access %d\n",
				name, fakegpu.CapabilityMinor(gpu, gi), name, fakegpu.CapabilityMinor(gpu, gi, 0))
		}
	}
	return append(entries, entry{path: "proc/driver/nvidia-caps/mig-minors", content: minors.Bytes()})
}

func capability(minor int) []byte {
	return fmt.Appendf(nil, "DeviceFileMinor: %d\nDeviceFileMode: 256\nDeviceFileModify: 1\n", minor)
}

// withFolders puts the folders that the entries need before them and gives everything a mode.
func withFolders(entries []entry) (all []entry) {
	there := map[string]bool{".": true}
	var folder func(string, os.FileMode)
	folder = func(name string, mode os.FileMode) {
		if !there[name] {
			there[name] = true
			folder(path.Dir(name), 0o755)
			all = append(all, entry{path: name + "/", mode: mode})
		}
	}
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.path, "/"); ok {
			if e.mode == 0 {
				e.mode = 0o755
			}
			folder(name, e.mode)
			continue
		}
		if e.mode == 0 {
			e.mode = 0o644
		}
		folder(path.Dir(e.path), 0o755)
		all = append(all, e)
	}
	return all
}

// layHere makes the tree below a folder. Files are replaced, not written over: a process may have loaded one.
func layHere(root string, entries []entry) error {
	if err := forget(root); err != nil {
		return err
	}
	for _, e := range entries {
		if err := e.lay(filepath.Join(root, e.path)); err != nil {
			return fmt.Errorf("lay out %s: %w", e.path, err)
		}
	}
	return nil
}

// forget takes away what an earlier tree remembers.
func forget(root string) error {
	return errors.Join(os.RemoveAll(filepath.Join(root, "fake-gpu")), os.RemoveAll(filepath.Join(root, "proc/driver")))
}

func (e entry) lay(target string) error {
	if strings.HasSuffix(e.path, "/") {
		return errors.Join(os.MkdirAll(target, 0o755), os.Chmod(target, e.mode))
	}
	if err := os.Remove(target); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	switch {
	case e.device:
		err := unix.Mknod(target, unix.S_IFCHR|uint32(e.mode), int(unix.Mkdev(1, 3)))
		return errors.Join(err, os.Chmod(target, e.mode))
	case e.link != "":
		return os.Symlink(e.link, target)
	}
	return errors.Join(os.WriteFile(target, e.content, e.mode), os.Chmod(target, e.mode))
}

// inContainer makes room for the tree and unpacks it. The parts that change are file systems of their own, so that they
// can be written where the tree is mounted read-only, as the real /proc can.
const inContainer = `
set -e
root=$1
mkdir -p "$root/fake-gpu" "$root/proc"
for dir in fake-gpu proc; do
  mountpoint -q "$root/$dir" || mount -t tmpfs fake "$root/$dir"
done
rm -rf "$root"/fake-gpu/* "$root"/proc/*
tar --extract --same-permissions --directory "$root"
`

func layInContainer(ctx context.Context, container, root string, entries []entry) error {
	archive, err := pack(entries)
	if err != nil {
		return fmt.Errorf("pack the tree: %w", err)
	}
	c := exec.CommandContext(ctx, "docker", "exec", "--interactive", container, "sh", "-c", inContainer, "sh", root)
	c.Stdin = bytes.NewReader(archive)
	if output, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("lay the tree out in container %s: %w\n%s", container, err, output)
	}
	return nil
}

func pack(entries []entry) ([]byte, error) {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for _, e := range entries {
		header := tar.Header{Name: e.path, Linkname: e.link, Typeflag: tar.TypeReg, Size: int64(len(e.content))}
		header.Mode = int64(e.mode.Perm())
		if e.mode&os.ModeSticky != 0 {
			header.Mode |= 0o1000
		}
		switch {
		case strings.HasSuffix(e.path, "/"):
			header.Typeflag = tar.TypeDir
		case e.device:
			header.Typeflag, header.Devmajor, header.Devminor = tar.TypeChar, 1, 3
		case e.link != "":
			header.Typeflag, header.Mode = tar.TypeSymlink, 0o777
		}
		if err := w.WriteHeader(&header); err != nil {
			return nil, err
		}
		if _, err := w.Write(e.content); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return archive.Bytes(), nil
}
