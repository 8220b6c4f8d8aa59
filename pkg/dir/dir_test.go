package dir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

const plenty = 1 << 20

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newDir returns a directory that has a neighbour, which nobody may touch.
func newDir(t testing.TB) Dir {
	t.Helper()
	d := At(filepath.Join(t.TempDir(), "ours"), 0o700)
	must(t, d.Make())
	return d
}

func names(t testing.TB, d Dir) []string {
	t.Helper()
	entries, err := d.List()
	must(t, err)
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

func TestMake(t *testing.T) {
	defer unix.Umask(unix.Umask(0o077))
	top := t.TempDir()
	d := At(filepath.Join(top, "a", "b"), 0o755)
	must(t, d.Make())
	must(t, d.Make())
	if info, err := os.Stat(d.Path()); err != nil || info.Mode() != fs.ModeDir|0o755 {
		t.Errorf("it has mode %v, %v, whatever the umask says", info.Mode(), err)
	}
	must(t, os.Chmod(d.Path(), 0o711))
	must(t, d.Make())
	if info, err := os.Stat(d.Path()); err != nil || info.Mode() != fs.ModeDir|0o711 {
		t.Errorf("of a directory that was there the mode became %v, %v", info.Mode(), err)
	}
	must(t, os.WriteFile(filepath.Join(top, "file"), nil, 0o600))
	for _, path := range []string{"file", "file/below"} {
		err := At(filepath.Join(top, path), 0o700).Make()
		if !errors.Is(err, syscall.ENOTDIR) || !strings.Contains(err.Error(), filepath.Join(top, "file")) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestReplaceLeavesTheContentAndNothingElse(t *testing.T) {
	defer unix.Umask(unix.Umask(0o077))
	spoil := map[string]func(temp string) error{
		"nothing":            func(string) error { return nil },
		"half a file":        func(temp string) error { return os.WriteFile(temp, []byte("half"), 0o400) },
		"a directory":        func(temp string) error { return os.MkdirAll(filepath.Join(temp, "x"), 0o700) },
		"a link to outside":  func(temp string) error { return os.Symlink("../outside", temp) },
		"a link to a record": func(temp string) error { return os.Symlink("other", temp) },
		"a named pipe":       func(temp string) error { return unix.Mkfifo(temp, 0o600) },
	}
	for name, before := range spoil {
		t.Run(name+" where it is written first", func(t *testing.T) {
			d := newDir(t)
			must(t, before(d.File("temp")))
			must(t, d.Replace("other", "other.tmp", []byte("other"), 0o600))
			must(t, d.Replace("name", "temp", []byte("first"), 0o600))
			must(t, d.Replace("name", "temp", []byte("second"), 0o644))
			if content, err := d.Read("name", plenty); string(content) != "second" || err != nil {
				t.Errorf("it reads %q, %v", content, err)
			}
			if content, err := d.Read("other", plenty); string(content) != "other" || err != nil {
				t.Errorf("the other file reads %q, %v", content, err)
			}
			if info, err := d.Lstat("name"); err != nil || info.Mode() != 0o644 {
				t.Errorf("it has mode %v, %v", info.Mode(), err)
			}
			if got := names(t, d); !slices.Equal(got, []string{"name", "other"}) {
				t.Errorf("there are %v", got)
			}
			if _, err := os.Lstat(filepath.Join(d.Path(), "..", "outside")); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("something was written outside: %v", err)
			}
		})
	}
}

func TestRead(t *testing.T) {
	d := newDir(t)
	outside := filepath.Join(filepath.Dir(d.Path()), "outside")
	must(t, os.WriteFile(outside, []byte("secret"), 0o600))
	long := strings.Repeat("0123456789", 1000)
	must(t, os.WriteFile(d.File("long"), []byte(long), 0o600))
	must(t, os.WriteFile(d.File("empty"), nil, 0o600))
	must(t, os.Mkdir(d.File("directory"), 0o700))
	must(t, unix.Mkfifo(d.File("pipe"), 0o600))
	must(t, os.Symlink(outside, d.File("absolute")))
	must(t, os.Symlink("../outside", d.File("relative")))
	must(t, os.Symlink("long", d.File("inside")))
	for name, want := range map[string]struct {
		content, err string
	}{
		"long":      {content: long},
		"empty":     {},
		"inside":    {content: long},
		"missing":   {err: "no such file"},
		"directory": {err: "it is not a file"},
		"pipe":      {err: "it is not a file"},
		"absolute":  {err: "it is not a file"},
		"relative":  {err: "it is not a file"},
	} {
		content, err := d.Read(name, plenty)
		if string(content) != want.content || (want.err == "") != (err == nil) {
			t.Errorf("%s: %d bytes, %v", name, len(content), err)
		}
		if err != nil && (!strings.Contains(err.Error(), want.err) || !strings.Contains(err.Error(), d.File(name))) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if content, err := d.Read("long", 7); string(content) != long[:7] || err != nil {
		t.Errorf("with a limit of 7: %q, %v", content, err)
	}
	if content, err := d.Read("long", int64(len(long))); string(content) != long || err != nil {
		t.Errorf("with a limit that is just enough: %d bytes, %v", len(content), err)
	}
}

func TestRemoveRenameAndLinks(t *testing.T) {
	d := newDir(t)
	must(t, os.WriteFile(d.File("a"), []byte("a"), 0o600))
	must(t, d.Symlink("any text: {}", "link"))
	err := d.Symlink("another", "link")
	if !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), d.File("link")) {
		t.Errorf("a second link: %v", err)
	}
	if target, err := d.Readlink("link"); target != "any text: {}" || err != nil {
		t.Errorf("Readlink: %q, %v", target, err)
	}
	for _, length := range []int{511, 512, 513, 4000} {
		long := strings.Repeat("x", length)
		must(t, d.Symlink(long, "long"))
		if target, err := d.Readlink("long"); target != long || err != nil {
			t.Errorf("Readlink of %d bytes: %d, %v", length, len(target), err)
		}
		must(t, d.Remove("long"))
	}
	must(t, os.MkdirAll(d.File("folder/below"), 0o700))
	must(t, d.Rename("a", "folder/b"))
	must(t, d.Rename("folder/b", "c"))
	if err := d.Rename("missing", "d"); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), d.File("d")) {
		t.Errorf("Rename of nothing: %v", err)
	}
	if err := d.Remove("folder"); !errors.Is(err, syscall.ENOTEMPTY) {
		t.Errorf("Remove of a directory that is not empty: %v", err)
	}
	must(t, d.RemoveAll("folder"))
	for _, name := range []string{"c", "c", "link", "missing"} {
		must(t, d.Remove(name))
	}
	if got := names(t, d); len(got) != 0 {
		t.Errorf("left: %v", got)
	}
}

func TestDirectoriesWithin(t *testing.T) {
	d := newDir(t)
	must(t, d.MakeDir("within"))
	must(t, d.MakeDir("within"))
	if info, err := os.Lstat(d.File("within")); err != nil || info.Mode().Perm() != 0o700 || !info.IsDir() {
		t.Errorf("%v, %v", info, err)
	}
	within := At(d.File("within"), 0o700)
	must(t, within.Symlink("text", "a"))
	must(t, d.Symlink("within", "link"))
	must(t, os.WriteFile(d.File("file"), nil, 0o600))
	for _, stays := range []string{"within", "link", "file", "missing"} {
		must(t, d.RemoveEmpty(stays))
	}
	must(t, d.MakeDir("file"))
	if got := fmt.Sprint(names(t, d)); got != "[file link within]" {
		t.Errorf("there are %s", got)
	}
	must(t, within.Remove("a"))
	must(t, d.RemoveEmpty("within"))
	if got := fmt.Sprint(names(t, d)); got != "[file link]" {
		t.Errorf("there are %s", got)
	}
	if err := At(d.File("missing"), 0o700).MakeDir("within"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("in a directory that is missing: %v", err)
	}
}

// TestADirectoryThatSomebodyRemoved is the promise that nothing is remembered.
func TestADirectoryThatSomebodyRemoved(t *testing.T) {
	d := newDir(t)
	must(t, d.Replace("name", "temp", []byte("old"), 0o600))
	must(t, os.Rename(d.Path(), d.Path()+".moved"))
	_, readErr := d.Read("name", plenty)
	_, lockErr := d.Lock("lock", false)
	for call, err := range map[string]error{
		"Read": readErr, "Lock": lockErr, "Replace": d.Replace("name", "temp", nil, 0o600),
		"Symlink": d.Symlink("x", "name"), "Rename": d.Rename("name", "other"),
	} {
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", call, err)
		}
	}
	must(t, d.Remove("name"))
	must(t, d.RemoveAll("name"))
	if got := names(t, d); len(got) != 0 {
		t.Errorf("there are %v", got)
	}
	must(t, d.Make())
	must(t, d.Replace("name", "temp", []byte("new"), 0o600))
	for path, want := range map[string]string{d.Path(): "new", d.Path() + ".moved": "old"} {
		if content, err := os.ReadFile(path + "/name"); string(content) != want || err != nil {
			t.Errorf("%s: %q, %v", path, content, err)
		}
	}
}

func TestAFileInPlaceOfTheDirectory(t *testing.T) {
	for name, put := range map[string]func(path string) error{
		"a file":  func(path string) error { return os.WriteFile(path, nil, 0o600) },
		"a pipe":  func(path string) error { return unix.Mkfifo(path, 0o600) },
		"nothing": func(path string) error { return os.Symlink("nowhere", path) },
	} {
		t.Run(name, func(t *testing.T) {
			d := At(filepath.Join(t.TempDir(), "d"), 0o700)
			must(t, put(d.Path()))
			err := d.Explain("write it", d.Replace("name", "temp", nil, 0o600))
			if name != "nothing" && !errors.Is(err, syscall.ENOTDIR) || err == nil || !strings.Contains(err.Error(), d.Path()) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestLocks(t *testing.T) {
	d := newDir(t)
	lock, err := d.Lock("name", true)
	must(t, err)
	if _, err := d.Lock("name", false); !errors.Is(err, ErrLocked) {
		t.Errorf("a second lock: %v", err)
	}
	other, err := d.Lock("other", false)
	must(t, err)
	other.Unlock()
	lock.Unlock()
	lock, err = d.Lock("name", false)
	must(t, err)
	lock.Unlock()
	all, err := d.LockAll()
	must(t, err)
	all.Unlock()
	must(t, os.Symlink("other", d.File("link")))
	if _, err := d.Lock("link", true); err == nil || !strings.Contains(err.Error(), d.File("link")) {
		t.Errorf("a lock on a link: %v", err)
	}
}

// TestALockEndsOnce: the number of its file may be another file's by the second time.
func TestALockEndsOnce(t *testing.T) {
	d := newDir(t)
	lock, err := d.Lock("name", true)
	must(t, err)
	lock.Unlock()
	other, err := d.Lock("other", true) // which gets the number
	must(t, err)
	defer other.Unlock()
	lock.Unlock()
	if _, err := d.Lock("other", false); !errors.Is(err, ErrLocked) {
		t.Errorf("the other lock has ended too: %v", err)
	}
}

// TestNothingIsLeftOpen, whatever became of it.
func TestNothingIsLeftOpen(t *testing.T) {
	d := newDir(t)
	must(t, d.Replace("old", "temp", []byte("old"), 0o600))
	must(t, os.Mkdir(d.File("folder"), 0o700))
	must(t, unix.Mkfifo(d.File("pipe"), 0o600))
	must(t, os.Symlink("nowhere", d.File("link")))
	lock, err := d.Lock("locked", false)
	must(t, err)
	defer lock.Unlock()
	before, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	if _, err := d.Lock("locked", false); !errors.Is(err, ErrLocked) {
		t.Errorf("a second lock: %v", err)
	}
	for _, name := range []string{"old", "folder", "pipe", "link", "missing", "../x"} {
		everything(d, name)
	}
	after, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	if len(after) > len(before) {
		t.Errorf("%d files were open, and now %d", len(before), len(after))
	}
}

// TestALockOnARemovedFileIsNone: who held the lock removed the file, and somebody else made and locked a new one.
func TestALockOnARemovedFileIsNone(t *testing.T) {
	d, opened := newDir(t), 0
	lock, err := d.lock("lock", true, func() (file, error) {
		f, err := d.openFile("lock", unix.O_CREAT|unix.O_RDWR, 0o600)
		if opened++; opened <= 2 {
			must(t, os.Remove(d.File("lock")))
		}
		if opened == 2 {
			must(t, os.WriteFile(d.File("lock"), nil, 0o600))
		}
		return f, err
	})
	must(t, err)
	defer lock.Unlock()
	if opened != 3 {
		t.Errorf("the lock was taken on file %d, the third is at its path", opened)
	}
}

// everything does all there is to do with a name and returns the errors.
func everything(d Dir, name string) map[string]error {
	_, readErr := d.Read(name, plenty)
	_, lstatErr := d.Lstat(name)
	_, readlinkErr := d.Readlink(name)
	lock, lockErr := d.Lock(name, false)
	if lock != nil {
		lock.Unlock()
	}
	return map[string]error{
		"Read": readErr, "Lstat": lstatErr, "Readlink": readlinkErr, "Lock": lockErr,
		"Replace":        d.Replace(name, "temp", []byte("x"), 0o644),
		"Replace by way": d.Replace("other", name, []byte("x"), 0o600),
		"Symlink":        d.Symlink("../outside", name),
		"Rename from":    d.Rename(name, "moved"),
		"Rename to":      d.Rename("other", name),
		"Remove":         d.Remove(name),
		"RemoveAll":      d.RemoveAll(name),
		"MakeDir":        d.MakeDir(name),
		"RemoveEmpty":    d.RemoveEmpty(name),
	}
}

func TestFault24NamesThatAreNone(t *testing.T) {
	for _, name := range []string{
		"", ".", "..", "/", "/etc/passwd", "../outside", "a/b", "a/../../outside", "./a", "a/", "x\x00y",
		strings.Repeat("a", 256), "../" + strings.Repeat("b", 100),
	} {
		t.Run(fmt.Sprintf("%.20q", name), func(t *testing.T) {
			d := newDir(t)
			outside := filepath.Join(filepath.Dir(d.Path()), "outside")
			must(t, os.WriteFile(outside, []byte("untouched"), 0o600))
			for call, err := range everything(d, name) {
				if path := strings.HasPrefix(call, "Rename") && strings.Count(name, "/") == 1 && name == "a/b"; !path &&
					(err == nil || !strings.Contains(err.Error(), "cannot be the name of a file")) {
					t.Errorf("%s: %v", call, err)
				}
			}
			if content, err := os.ReadFile(outside); string(content) != "untouched" || err != nil {
				t.Errorf("outside there is %q, %v", content, err)
			}
		})
	}
}

// FuzzNames does everything with any name, where links lead outside, and looks outside afterwards.
func FuzzNames(f *testing.F) {
	for _, name := range []string{"a", "..", "../outside", "link", "link/outside", "folder/../../x", "a\x00", "/etc"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		top, err := os.MkdirTemp("/dev/shm", "dragoman-fuzz-") //nolint:usetesting // in memory
		must(t, err)
		defer os.RemoveAll(top) //nolint:errcheck // a later run makes another one
		d := At(filepath.Join(top, "ours"), 0o700)
		must(t, d.Make())
		must(t, os.WriteFile(filepath.Join(top, "outside"), []byte("untouched"), 0o600))
		must(t, os.Mkdir(filepath.Join(top, "beside"), 0o700))
		must(t, os.Symlink("../outside", d.File("link")))
		must(t, os.Symlink("../beside", d.File("folder")))
		everything(d, name)
		everything(d, "folder")
		_ = d.Rename("other", "folder/"+name)
		if content, err := os.ReadFile(filepath.Join(top, "outside")); string(content) != "untouched" || err != nil {
			t.Errorf("with name %q, outside there is %q, %v", name, content, err)
		}
		for path, want := range map[string]int{top: 3, filepath.Join(top, "beside"): 0} {
			if entries, err := os.ReadDir(path); len(entries) != want || err != nil {
				t.Errorf("with name %q, %s has %v, %v", name, path, entries, err)
			}
		}
	})
}
