package dir

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"example.com/dragoman/pkg/failpoint"
)

// nameLimit is the longest name that file systems take.
const nameLimit = 255

// Dir is a directory, which may be missing. All methods may be called concurrently and by several processes.
type Dir struct {
	path string
	mode fs.FileMode
}

// At returns the directory at path. If [Dir.Make] makes it, it gets the permissions mode, whatever the umask says.
func At(path string, mode fs.FileMode) Dir { return Dir{path: filepath.Clean(path), mode: mode} }

// Path returns the path of the directory.
func (d Dir) Path() string { return d.path }

// Name returns the last part of the path.
func (d Dir) Name() string { return filepath.Base(d.path) }

// File returns the path of a file in the directory, for messages and for other programs.
func (d Dir) File(name string) string { return d.path + "/" + name }

// Make makes the directory, and those above it, where it is missing.
func (d Dir) Make() error {
	info, err := os.Stat(d.path)
	switch {
	case err == nil && info.IsDir():
		return nil
	case err == nil:
		return &fs.PathError{Op: "mkdir", Path: d.path, Err: syscall.ENOTDIR}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return d.change("mkdir", "", func() error {
		if os.Mkdir(d.path, d.mode) != nil { // those above it are missing, most likely
			if err := os.MkdirAll(d.path, d.mode); err != nil {
				return err
			}
		}
		return os.Chmod(d.path, d.mode)
	})
}

// MakeDir makes a directory in the directory, with the same permissions, less what the umask takes from others. If
// anything has the name, it stays as it is, which is no error.
func (d Dir) MakeDir(name string) error {
	if err := check(name); err != nil {
		return err
	}
	err := d.change("mkdir", name, func() error {
		return d.call("mkdir", name, func(path string) error { return unix.Mkdir(path, uint32(d.mode.Perm())) })
	})
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

// ErrNoFile means that something has the name which is no file and leads to none.
var ErrNoFile = errors.New("it is not a file")

// Read returns the content of a file, up to limit bytes of it. For what is not a file the error is [ErrNoFile]; it is
// never waited for.
func (d Dir) Read(name string, limit int64) (content []byte, err error) {
	if err := d.look("read", name); err != nil {
		return nil, err
	}
	f, err := d.openFile(name, unix.O_RDONLY, 0)
	if err != nil {
		return d.readOddity(name, limit, err)
	}
	defer f.close() //nolint:errcheck // it was only read
	stat, err := f.stat()
	switch {
	case err != nil:
		return nil, err
	case !isRegular(stat):
		return nil, &fs.PathError{Op: "read", Path: f.path, Err: ErrNoFile}
	}
	return f.read(stat.Size, limit)
}

// readOddity is Read of what cannot be opened like a file: a symbolic link leads to one or not, but never out of the
// directory, and other things are none.
func (d Dir) readOddity(name string, limit int64, why error) (content []byte, err error) {
	stat, err := d.lstat(name)
	switch {
	case err != nil || isRegular(stat):
		return nil, why
	case stat.Mode&unix.S_IFMT != unix.S_IFLNK:
		return nil, &fs.PathError{Op: "read", Path: d.File(name), Err: ErrNoFile}
	}
	err = d.in(func(root *os.Root) error {
		info, err := root.Stat(name)
		if err != nil || !info.Mode().IsRegular() {
			return &fs.PathError{Op: "read", Path: name, Err: ErrNoFile} // such as a link to nowhere
		}
		content, err = root.ReadFile(name)
		return err
	})
	return content[:min(int64(len(content)), limit)], err
}

// Replace makes a file have the content and the permissions mode, by way of a file named temp. Whoever looks sees the
// old content or the new one, whole. After an error there is no temp. One caller at a time uses the same temp; what an
// interrupted Replace left there is replaced.
func (d Dir) Replace(name, temp string, content []byte, mode fs.FileMode) error {
	if err := cmp.Or(check(name), check(temp)); err != nil {
		return err
	}
	err := d.write(temp, content, mode)
	if err == nil {
		err = d.change("rename", name, func() error {
			return d.call("rename", name, func(path string) error { return unix.Rename(d.File(temp), path) })
		})
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		_ = d.change("unlink", temp, func() error { return d.unlink(temp) })
	}
	return err
}

// write makes a new file. O_EXCL keeps it from following a symbolic link that somebody put there.
func (d Dir) write(name string, content []byte, mode fs.FileMode) (err error) {
	var f file
	create := func() (err error) {
		f, err = d.openFile(name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, mode)
		return err
	}
	err = d.change("create", name, create)
	if errors.Is(err, fs.ErrExist) {
		if err = d.change("unlink", name, func() error { return d.unlinkAll(name) }); err == nil {
			err = d.change("create", name, create)
		}
	}
	if f.path == "" {
		return err
	}
	if err == nil {
		err = d.change("write", name, func() error { return f.write(content) })
	}
	if err == nil && mode&0o077 != 0 { // no umask takes anything from the owner
		err = d.change("chmod", name, func() error { return f.chmod(mode) })
	}
	return errors.Join(err, f.close())
}

// Remove removes a file or an empty directory. One that is missing counts as removed, also on a read-only file system,
// which does not say that it is missing. It needs no free space.
func (d Dir) Remove(name string) error { return d.remove(name, d.unlink) }

// RemoveAll is [Dir.Remove] also for a directory with all that is in it.
func (d Dir) RemoveAll(name string) error { return d.remove(name, d.unlinkAll) }

// RemoveEmpty removes a directory that is empty. One that is not, or is missing, and anything else that has the name
// stay as they are, which is no error. Nothing that is made at the same time is lost.
func (d Dir) RemoveEmpty(name string) error {
	if err := check(name); err != nil {
		return err
	}
	err := d.change("rmdir", name, func() error { return d.call("rmdir", name, unix.Rmdir) })
	if errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil
	}
	return err
}

func (d Dir) remove(name string, how func(name string) error) error {
	if err := check(name); err != nil {
		return err
	}
	err := d.change("unlink", name, func() error { return how(name) })
	if errors.Is(err, syscall.EROFS) {
		if _, missing := d.Lstat(name); missing != nil {
			err = missing
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// unlinkAll follows no link out of the directory, wherever in what it removes one is.
func (d Dir) unlinkAll(name string) error {
	return d.in(func(root *os.Root) error { return root.RemoveAll(name) })
}

// Rename gives a file another name, and replaces what had that name. Here, and nowhere else, names may say in which
// directory of this directory the file is: folder/name.
func (d Dir) Rename(from, to string) error {
	for part := range strings.SplitSeq(from+"/"+to, "/") {
		if err := check(part); err != nil {
			return err
		}
	}
	return d.in(func(root *os.Root) error {
		return d.change("rename", to, func() error { return root.Rename(from, to) })
	})
}

// Symlink makes a symbolic link, unless something has that name: then the error is fs.ErrExist. The target may be any
// text; nothing here ever follows it out of the directory.
func (d Dir) Symlink(target, name string) error {
	if err := check(name); err != nil {
		return err
	}
	return d.change("symlink", name, func() error {
		return d.call("symlink", name, func(path string) error { return unix.Symlink(target, path) })
	})
}

// Readlink returns the target of a symbolic link.
func (d Dir) Readlink(name string) (string, error) {
	if err := d.look("read", name); err != nil {
		return "", err
	}
	return d.readlink(name)
}

// Lstat says what has a name, without following it.
func (d Dir) Lstat(name string) (fs.FileInfo, error) {
	if err := d.look("look", name); err != nil {
		return nil, err
	}
	return os.Lstat(d.File(name))
}

// look comes before what needs no root: a name without slashes is not followed by a system call that looks at links.
func (d Dir) look(how, name string) error {
	if err := check(name); err != nil {
		return err
	}
	if err := failpoint.Before(how, d.path, name); err != nil {
		return &fs.PathError{Op: how, Path: d.File(name), Err: err}
	}
	return nil
}

// List returns what is in the directory, sorted by name; nothing if the directory is missing.
func (d Dir) List() (entries []fs.DirEntry, err error) {
	if err := failpoint.Before("list", d.path, ""); err != nil {
		return nil, &fs.PathError{Op: "list", Path: d.path, Err: err}
	}
	err = d.in(func(root *os.Root) error {
		entries, err = fs.ReadDir(root.FS(), ".")
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return entries, err
}

// in does something beneath the directory as it is now.
func (d Dir) in(do func(*os.Root) error) error {
	root, err := os.OpenRoot(d.path + "/") // the slash: not anything but a directory
	if err != nil {
		return err
	}
	defer root.Close() //nolint:errcheck // nothing is written through it
	return d.absolute(do(root))
}

// change makes one system call that changes something.
func (d Dir) change(what, name string, do func() error) error {
	if err := failpoint.Before(what, d.path, name); err != nil {
		return &fs.PathError{Op: what, Path: d.File(name), Err: err}
	}
	if err := do(); err != nil {
		return err
	}
	if err := failpoint.After(what, d.path, name); err != nil {
		return &fs.PathError{Op: what, Path: d.File(name), Err: err}
	}
	return nil
}

// absolute makes the errors of [os.Root] say where the file is.
func (d Dir) absolute(err error) error {
	var path *fs.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &path):
		if filepath.IsAbs(path.Path) {
			return path
		}
		return &fs.PathError{Op: strings.TrimSuffix(path.Op, "at"), Path: d.File(path.Path), Err: path.Err}
	case errors.As(err, &link):
		return &fs.PathError{Op: strings.TrimSuffix(link.Op, "at"), Path: d.File(link.New), Err: link.Err}
	}
	return err
}

func check(name string) error {
	if name == "" || name == "." || name == ".." || len(name) > nameLimit || strings.ContainsAny(name, "/\x00") {
		return fmt.Errorf("%q cannot be the name of a file", name)
	}
	return nil
}

// IsName says whether s can be part of the name of a file: 1 to 64 letters, digits, hyphens and characters of more.
func IsName(s, more string) bool {
	for _, c := range []byte(s) {
		plain := c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '-'
		if !plain && strings.IndexByte(more, c) < 0 {
			return false
		}
	}
	return len(s) >= 1 && len(s) <= 64
}

// Explain wraps err, which names a file, with what was being done and with what can be done about it. It returns nil
// for nil.
func (d Dir) Explain(doing string, err error) error {
	var todo string
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		todo = "; free space in the file system of " + d.path
	case errors.Is(err, syscall.EROFS), errors.Is(err, fs.ErrPermission):
		todo = "; make " + d.path + " writable for this process"
	case errors.Is(err, syscall.ENOTDIR):
		todo = "; make " + d.path + " a directory"
	}
	return fmt.Errorf("%s: %w%s", doing, err, todo)
}
