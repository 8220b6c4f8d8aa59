package footprint

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"example.com/dragoman/pkg/sanity/figures"
)

// Machine describes the machine, with the file system that a directory is on. What it does not tell is left empty.
func Machine(dir string) figures.Machine {
	m := figures.Machine{
		CPU: field("/proc/cpuinfo", "model name"), Cores: runtime.NumCPU(), OS: osName(), Disk: fileSystem(dir),
	}
	memory := strings.TrimSuffix(field("/proc/meminfo", "MemTotal"), " kB")
	if kibibytes, err := strconv.ParseInt(memory, 10, 64); err == nil {
		m.Memory = kibibytes >> 10
	}
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		m.Kernel = unix.ByteSliceToString(name.Release[:])
	}
	return m
}

// field returns the value of the first "name: value" of a file.
func field(path, name string) string {
	text, _ := os.ReadFile(path)
	for line := range strings.Lines(string(text)) {
		if key, value, found := strings.Cut(line, ":"); found && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func osName() string {
	text, _ := os.ReadFile("/etc/os-release")
	for line := range strings.Lines(string(text)) {
		if name, found := strings.CutPrefix(line, "PRETTY_NAME="); found {
			return strings.Trim(strings.TrimSpace(name), `"`)
		}
	}
	return runtime.GOOS
}

func fileSystem(dir string) string {
	var on unix.Statfs_t
	if err := unix.Statfs(dir, &on); err != nil {
		return ""
	}
	known := map[int64]string{
		unix.EXT4_SUPER_MAGIC: "ext4", unix.TMPFS_MAGIC: "tmpfs", unix.XFS_SUPER_MAGIC: "xfs",
		unix.BTRFS_SUPER_MAGIC: "btrfs", unix.OVERLAYFS_SUPER_MAGIC: "overlay", unix.NFS_SUPER_MAGIC: "nfs",
		zfsMagic: "zfs",
	}
	if name := known[int64(on.Type)]; name != "" {
		return name
	}
	return fmt.Sprintf("a file system of type %#x", on.Type)
}

const zfsMagic = 0x2fc12fc1 // of OpenZFS, which is not in the kernel's headers
