package dir

import (
	"errors"
	"io/fs"
	"sync"

	"golang.org/x/sys/unix"
)

// ErrLocked means that somebody else has the lock.
var ErrLocked error = unix.EWOULDBLOCK

// Lock is a lock on a file that ends with Unlock or with the process.
type Lock struct {
	file file
	end  sync.Once
}

// Unlock ends the lock. It may be called more than once.
func (l *Lock) Unlock() { l.end.Do(func() { _ = l.file.close() }) }

// Lock locks a file, which it makes if it is missing. One that is there is only opened for reading, so that a full or
// read-only file system keeps nobody from taking back what was done. If somebody else has locked it, in this process or
// in another one, Lock waits, or returns [ErrLocked] if it is not to wait.
func (d Dir) Lock(name string, wait bool) (*Lock, error) {
	if err := check(name); err != nil {
		return nil, err
	}
	return d.lock(name, wait, func() (f file, err error) {
		if f, err = d.openFile(name, unix.O_RDONLY, 0); !errors.Is(err, fs.ErrNotExist) {
			return f, err
		}
		err = d.change("create", name, func() (err error) {
			f, err = d.openFile(name, unix.O_RDONLY|unix.O_CREAT, 0o600)
			return err
		})
		return f, err
	})
}

// LockAll locks the directory itself, which needs no free space, and waits if it must.
func (d Dir) LockAll() (*Lock, error) {
	return d.lock("", true, func() (file, error) { return d.openFile("", unix.O_RDONLY|unix.O_DIRECTORY, 0) })
}

// lock locks what open opens. Since that may have been removed before it was locked, by who unlocked it, lock looks
// afterwards whether it is still the one of that name, and begins anew if not.
func (d Dir) lock(name string, wait bool, open func() (file, error)) (*Lock, error) {
	for {
		f, err := open()
		if err != nil {
			return nil, closing(f, err)
		}
		if err := d.change("flock", name, func() error { return f.flock(wait) }); err != nil {
			return nil, closing(f, err)
		}
		locked, err := f.stat()
		if err != nil {
			return nil, closing(f, err)
		}
		current, err := d.lstat(name)
		switch kind := current.Mode & unix.S_IFMT; {
		case err == nil && locked.Dev == current.Dev && locked.Ino == current.Ino:
			return &Lock{file: f}, nil
		case err == nil && kind != unix.S_IFREG && kind != unix.S_IFDIR:
			return nil, closing(f, &fs.PathError{Op: "lock", Path: d.File(name), Err: ErrNoFile})
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return nil, closing(f, err)
		}
		_ = f.close()
	}
}

// closing closes f, if there is one, and returns err.
func closing(f file, err error) error {
	if f.path != "" {
		_ = f.close()
	}
	return err
}

func (f file) flock(wait bool) error {
	how := unix.LOCK_EX
	if !wait {
		how |= unix.LOCK_NB
	}
	return explained("flock", f.path, func() error { return unix.Flock(f.fd, how) })
}
