package fault

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"

	"example.com/dragoman/pkg/sanity/node"
	"example.com/dragoman/pkg/sanity/subject"
)

// small is what a file system may hold at most for a case to fill it.
const small = 64 << 20

// ownMounts marks a process that has a mount namespace of its own.
const ownMounts = "DRA_SANITY_OWN_MOUNTS"

// OwnMounts gives the program a mount namespace of its own, so that what it mounts is gone with it, however it ends. It
// has to be called before the program does anything: the program is started once more, in the same process. Without
// the right to, it does nothing.
func OwnMounts() error {
	if os.Getenv(ownMounts) != "" || os.Geteuid() != 0 {
		return nil
	}
	runtime.LockOSThread() // the namespace is this thread's, and exec makes it the only one
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		runtime.UnlockOSThread()
		return nil //nolint:nilerr // no right to: cases that need it say so
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keep mounts to this process: %w", err)
	}
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	return os.NewSyscallError("exec", unix.Exec(program, os.Args, append(os.Environ(), ownMounts+"=1")))
}

// Tree is node.Tree with small file systems of their own below the CDI, state and kubelet directories, if OwnMounts had
// the right to.
func Tree(root, driver string) (subject.Dirs, error) {
	if os.Getenv(ownMounts) == "" {
		return node.Tree(root, driver)
	}
	for name, size := range map[string]string{"c": "size=1m", "s": "size=1m", "k": "size=4m"} {
		dir := filepath.Join(root, name)
		if err := os.Mkdir(dir, 0o750); err != nil {
			return subject.Dirs{}, fmt.Errorf("make directories for the driver: %w", err)
		}
		if err := unix.Mount("dra-sanity", dir, "tmpfs", 0, size+",mode=0750"); err != nil {
			return subject.Dirs{}, fmt.Errorf("mount a small file system on %s: %w", dir, err)
		}
	}
	d := subject.Dirs{
		Kubelet:  filepath.Join(root, "k"),
		Registry: filepath.Join(root, "k", "plugins_registry"),
		Plugin:   filepath.Join(root, "k", "plugins", driver),
		CDI:      filepath.Join(root, "c", "cdi"),
		State:    filepath.Join(root, "s", "state"),
	}
	for _, dir := range []string{d.Registry, d.Plugin, d.CDI, d.State} {
		if err := os.MkdirAll(dir, 0o750); err != nil {
			return d, fmt.Errorf("make directories for the driver: %w", err)
		}
	}
	return d, nil
}

// disk is the file system that one of the driver's directories is on.
type disk struct {
	of    string // what the directory is for
	dir   string
	mount string // where it is mounted, "" if that is not known
}

func (r *rig) disksOf() []disk {
	all := []disk{{of: "CDI", dir: r.Dirs.CDI}}
	if r.Dirs.State != "" {
		all = append(all, disk{of: "state", dir: r.Dirs.State})
	}
	for i := range all {
		all[i].mount = mountOf(all[i].dir)
	}
	return all
}

// mountOf returns the mount point of a directory: the last one upwards on the same device.
func mountOf(dir string) string {
	device := func(path string) (uint64, bool) {
		var stat unix.Stat_t
		return stat.Dev, unix.Stat(path, &stat) == nil
	}
	here, ok := device(dir)
	for ok && dir != "/" {
		above, known := device(filepath.Dir(dir))
		if !known || above != here {
			return dir
		}
		dir = filepath.Dir(dir)
	}
	return ""
}

func (r *rig) whyNoDisks() string {
	for _, d := range r.disksOf() {
		var stat unix.Statfs_t
		err := unix.Statfs(d.dir, &stat)
		if size := int64(stat.Blocks) * stat.Bsize; err != nil || size > small || d.mount == "" {
			return fmt.Sprintf("needs root with the throw-away directories of dra-sanity, or --cdi-dir and --state-dir on "+
				"file systems of at most %d MiB each, which are filled and made read-only: %s is on one of %d MiB",
				small>>20, d.dir, size>>20)
		}
	}
	return ""
}

// filler is the file that fills a disk.
const filler = "dra-sanity-fills-this-disk"

// fill leaves no space and returns what frees it.
func (d disk) fill() (free func() error, err error) {
	path := filepath.Join(d.mount, filler)
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("fill the disk of the %s directory: %w", d.of, err)
	}
	free = func() error {
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("free the disk of the %s directory: %w", d.of, err)
		}
		return nil
	}
	for size := 64 << 10; size > 0 && err == nil; {
		_, err = file.Write(make([]byte, size))
		if errors.Is(err, unix.ENOSPC) {
			size, err = size/2, nil
		}
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return nil, errors.Join(fmt.Errorf("fill the disk of the %s directory: %w", d.of, err), free())
	}
	return free, nil
}

// lock makes the disk read-only and returns what makes it writable.
func (d disk) lock() (unlock func() error, err error) {
	remount := func(flags uintptr) error {
		if err := unix.Mount("", d.mount, "", unix.MS_REMOUNT|flags, ""); err != nil {
			return fmt.Errorf("remount the disk of the %s directory: %w", d.of, err)
		}
		return nil
	}
	return func() error { return remount(0) }, remount(unix.MS_RDONLY)
}
