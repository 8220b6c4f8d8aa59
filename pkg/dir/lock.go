package dir

import (
	"errors"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// ErrLocked means that somebody else has the lock.
var ErrLocked error = unix.EWOULDBLOCK

// Lock is a lock on a file that ends with Unlock or with the process.
type Lock struct{ file *os.File }

// Unlock ends the lock.
func (l *Lock) Unlock() { _ = l.file.Close() }

// Lock locks a file, which it makes if it is missing. One that is there is only opened for reading, so that a full or
// read-only file system keeps nobody from taking back what was done. If somebody else has locked it, in this process or
// in another one, Lock waits, or returns [ErrLocked] if it is not to wait.
func (d Dir) Lock(name string, wait bool) (*Lock, error) {
	const how = os.O_RDONLY | syscall.O_NONBLOCK
	return d.lock(name, wait, func() (f *os.File, err error) {
		err = d.open(name, func(root *os.Root) error {
			if f, err = root.OpenFile(name, how, 0); !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			return d.change("create", name, func() error { f, err = root.OpenFile(name, how|os.O_CREATE, 0o600); return err })
		})
		return f, err
	})
}

// LockAll locks the directory itself, which needs no free space, and waits if it must.
func (d Dir) LockAll() (*Lock, error) {
	return d.lock("", true, func() (*os.File, error) { return os.Open(d.path + "/") })
}

// lock locks what open opens. Since that may have been removed before it was locked, by who unlocked it, lock looks
// afterwards whether it is still the one of that name, and begins anew if not.
func (d Dir) lock(name string, wait bool, open func() (*os.File, error)) (*Lock, error) {
	for {
		f, err := open()
		if err != nil {
			return nil, closing(f, err)
		}
		if err := d.change("flock", name, func() error { return flock(f, wait) }); err != nil {
			return nil, closing(f, err)
		}
		locked, err := f.Stat()
		if err != nil {
			return nil, closing(f, err)
		}
		current, err := os.Lstat(d.File(name))
		switch {
		case err == nil && os.SameFile(locked, current):
			return &Lock{f}, nil
		case err == nil && !current.Mode().IsRegular() && !current.IsDir():
			return nil, closing(f, &fs.PathError{Op: "lock", Path: d.File(name), Err: ErrNoFile})
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return nil, closing(f, err)
		}
		_ = f.Close()
	}
}

// closing closes f, if there is one, and returns err.
func closing(f *os.File, err error) error {
	if f != nil {
		_ = f.Close()
	}
	return err
}

func flock(f *os.File, wait bool) error {
	how := unix.LOCK_EX
	if !wait {
		how |= unix.LOCK_NB
	}
	for {
		err := unix.Flock(int(f.Fd()), how)
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, unix.EINTR):
			return &fs.PathError{Op: "flock", Path: f.Name(), Err: err}
		}
	}
}
