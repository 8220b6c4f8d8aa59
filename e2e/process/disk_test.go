package process

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// disk is a small file system in one of a rig's directories. To mount one takes root, as the driver itself does.
type disk struct {
	t   *testing.T
	dir string
}

// mount makes the directory a file system of its own, for the time of the test.
func (r *rig) mount(dir string) *disk {
	r.t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=256k,nr_inodes=128,mode=755"); err != nil {
		r.t.Fatalf("mount a small file system at %s (these tests need root): %v", dir, err)
	}
	r.t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	return &disk{r.t, dir}
}

// remount makes the file system read-only, or writable again.
func (d *disk) remount(flags uintptr) {
	d.t.Helper()
	if err := unix.Mount("", d.dir, "", unix.MS_REMOUNT|flags, "size=256k,nr_inodes=128,mode=755"); err != nil {
		d.t.Fatalf("remount %s: %v", d.dir, err)
	}
}

const ballast = "ballast"

// fill writes until there is no room for another byte.
func (d *disk) fill() {
	d.t.Helper()
	file, err := os.OpenFile(filepath.Join(d.dir, ballast), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		d.t.Fatal(err)
	}
	defer file.Close() //nolint:errcheck // what was to be found out is found out
	for page := make([]byte, 4096); err == nil; {
		_, err = file.Write(page)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		d.t.Fatalf("fill %s: %v", d.dir, err)
	}
}

// crowd makes files until there is no room for another one.
func (d *disk) crowd() {
	d.t.Helper()
	var err error
	for i := 0; err == nil; i++ {
		err = os.WriteFile(filepath.Join(d.dir, fmt.Sprintf("%s-%d", ballast, i)), nil, 0o600)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		d.t.Fatalf("crowd %s: %v", d.dir, err)
	}
}

// relieve removes what fill and crowd made.
func (d *disk) relieve() {
	d.t.Helper()
	made, err := filepath.Glob(filepath.Join(d.dir, ballast+"*"))
	if err != nil {
		d.t.Fatal(err)
	}
	for _, path := range made {
		if err := os.Remove(path); err != nil {
			d.t.Fatal(err)
		}
	}
}

// nothingTemporary checks that no file is left that somebody was writing.
func (r *rig) nothingTemporary() {
	r.t.Helper()
	for _, dir := range []string{r.cdi(), r.path("state")} {
		err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			if name := filepath.Base(path); strings.HasPrefix(name, ".") || strings.Contains(name, ".tmp") {
				r.t.Errorf("%s is left of what somebody was writing", path)
			}
			return err
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			r.t.Error(err)
		}
	}
}
