package dir

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// The system calls that are made for every claim are made by path, and not through [os.File] and [os.Root]: those open
// the directory each time, look what each file is, and try to have it watched for readiness, which files cannot be.
// That was more than half of all system calls. A name without slashes, checked before, and O_NOFOLLOW keep them in the
// directory as well.

// openFile opens what has the name, unless that is a symbolic link: then the error is ELOOP. It never waits for
// somebody at the other end of a pipe.
func (d Dir) openFile(name string, how int, mode fs.FileMode) (file, error) {
	const always = unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC
	var fd int
	err := d.call("open", name, func(path string) (err error) {
		fd, err = unix.Open(path, how|always, uint32(mode.Perm()))
		return err
	})
	if err != nil {
		return file{}, err
	}
	return file{fd: fd, path: d.File(name)}, nil
}

// call makes a system call for the file of that name, again if a signal interrupted it.
func (d Dir) call(op, name string, do func(path string) error) error {
	path := d.File(name)
	return explained(op, path, func() error { return do(path) })
}

func explained(op, path string, do func() error) error {
	for {
		err := do()
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, unix.EINTR):
			return &fs.PathError{Op: op, Path: path, Err: err}
		}
	}
}

// file is an open file. It is closed once.
type file struct {
	fd   int
	path string
}

func (f file) close() error {
	if err := unix.Close(f.fd); err != nil && !errors.Is(err, unix.EINTR) { // upon which it is closed too
		return &fs.PathError{Op: "close", Path: f.path, Err: err}
	}
	return nil
}

func (f file) stat() (stat unix.Stat_t, err error) {
	return stat, explained("stat", f.path, func() error { return unix.Fstat(f.fd, &stat) })
}

func (f file) chmod(mode fs.FileMode) error {
	return explained("chmod", f.path, func() error { return unix.Fchmod(f.fd, uint32(mode.Perm())) })
}

func (f file) write(content []byte) error {
	for len(content) > 0 {
		err := explained("write", f.path, func() error {
			n, err := unix.Write(f.fd, content)
			content = content[max(n, 0):]
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// read reads up to limit bytes. Files here are replaced and never grow, so that the end is where size says.
func (f file) read(size, limit int64) ([]byte, error) {
	content := make([]byte, min(size, limit))
	for done := 0; done < len(content); {
		var n int
		err := explained("read", f.path, func() (err error) { n, err = unix.Read(f.fd, content[done:]); return err })
		if err != nil {
			return nil, err
		}
		if done += n; n == 0 {
			return content[:done], nil // it was cut meanwhile
		}
	}
	return content, nil
}

// lstat says what has a name, without following it.
func (d Dir) lstat(name string) (stat unix.Stat_t, err error) {
	return stat, d.call("lstat", name, func(path string) error { return unix.Lstat(path, &stat) })
}

func isRegular(stat unix.Stat_t) bool { return stat.Mode&unix.S_IFMT == unix.S_IFREG }

// unlink removes a file, a link or an empty directory.
func (d Dir) unlink(name string) error {
	err := d.call("unlink", name, unix.Unlink)
	if errors.Is(err, unix.EISDIR) {
		err = d.call("unlink", name, unix.Rmdir)
	}
	return err
}

// readlink begins with room for what is common, so that one system call is enough.
func (d Dir) readlink(name string) (target string, err error) {
	var buffer [512]byte
	err = d.call("readlink", name, func(path string) error {
		n, err := unix.Readlink(path, buffer[:])
		if err != nil {
			return err
		}
		if n == len(buffer) { // maybe not all of it
			target, err = os.Readlink(path)
			return err
		}
		target = string(buffer[:n])
		return nil
	})
	return target, err
}
