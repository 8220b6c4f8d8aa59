//go:build failpoints

package dir

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"

	"example.com/dragoman/pkg/failpoint"
)

// faulty are the ways in which a file system goes wrong, by the row of the table of faults and the failpoint.
var faulty = map[string]error{"enospc": syscall.ENOSPC, "eio": syscall.EIO, "erofs": syscall.EROFS}

func TestFault02FullFileSystem(t *testing.T) { testFaults(t, "enospc") }

func TestFault03FileSystemThatDoesNotWork(t *testing.T) {
	testFaults(t, "eio")
	testFaults(t, "erofs")
}

// testFaults makes each system call of each operation fail. The error says which file and why, what was there before is
// still there or replaced as a whole, and once the fault is over the same operation succeeds.
func testFaults(t *testing.T, action string) {
	for name, do := range map[string]func(d Dir) error{
		"Replace of what is there": func(d Dir) error { return d.Replace("old", "temp", []byte("new"), 0o644) },
		"Replace of nothing":       func(d Dir) error { return d.Replace("new", "temp", []byte("new"), 0o600) },
		"Replace after half a one": func(d Dir) error { return d.Replace("old", "half", []byte("new"), 0o600) },
		"Remove":                   func(d Dir) error { return d.Remove("old") },
		"RemoveAll":                func(d Dir) error { return d.RemoveAll("old") },
		"Rename":                   func(d Dir) error { return d.Rename("old", "new") },
		"Symlink":                  func(d Dir) error { return d.Symlink("x", "link") },
		"Make":                     func(d Dir) error { return At(d.File("folder"), 0o700).Make() },
		"Read":                     func(d Dir) error { _, err := d.Read("old", plenty); return err },
		"Readlink":                 func(d Dir) error { _, err := d.Readlink("target"); return err },
		"Lstat":                    func(d Dir) error { _, err := d.Lstat("old"); return err },
		"List":                     func(d Dir) error { _, err := d.List(); return err },
		"Lock": func(d Dir) error {
			lock, err := d.Lock("lock", false)
			if err == nil {
				lock.Unlock()
			}
			return err
		},
	} {
		points := passing(t, action, do)
		for i, point := range points {
			t.Run(fmt.Sprintf("%s of %s, %s", action, name, point), func(t *testing.T) {
				d := filled(t)
				failpoint.Arm(failpoint.Plan{Action: action, At: i + 1})
				err := do(d)
				failpoint.Arm(failpoint.Plan{})
				explained := fmt.Sprint(d.Explain("do it", err))
				if !errors.Is(err, faulty[action]) || !strings.Contains(explained, d.Path()) {
					t.Errorf("it ended with %v", explained)
				}
				got := names(t, d)
				if temp := slices.Contains(got, "temp"); temp && action != "erofs" { // then not even that can be removed
					t.Errorf("there are %v", got)
				}
				if content, err := d.Read("old", plenty); string(content) != "old" || err != nil {
					t.Errorf("it reads %q, %v", content, err)
				}
				must(t, do(d))
				if slices.Contains(names(t, d), "temp") {
					t.Errorf("in the end there are %v", names(t, d))
				}
			})
		}
	}
}

// TestFault03NothingToRemoveOnAReadOnlyFileSystem, which does not say that there is nothing.
func TestFault03NothingToRemoveOnAReadOnlyFileSystem(t *testing.T) {
	d := filled(t)
	failpoint.Arm(failpoint.Plan{Action: "erofs", At: 1})
	defer failpoint.Arm(failpoint.Plan{})
	must(t, d.Remove("missing"))
	must(t, d.RemoveAll("missing"))
	if err := d.Remove("old"); !errors.Is(err, syscall.EROFS) {
		t.Errorf("Remove of what is there: %v", err)
	}
}

func filled(t *testing.T) Dir {
	t.Helper()
	d := newDir(t)
	must(t, d.Replace("old", "temp", []byte("old"), 0o600))
	must(t, d.Replace("half", "temp", []byte("ha"), 0o600))
	must(t, d.Symlink("text", "target"))
	return d
}

func passing(t *testing.T, action string, do func(d Dir) error) (points []string) {
	t.Helper()
	d := filled(t)
	failpoint.Arm(failpoint.Plan{Action: action})
	defer failpoint.Arm(failpoint.Plan{})
	must(t, do(d))
	for _, point := range failpoint.Passed() {
		points = append(points, strings.ReplaceAll(point, d.Path()+"/", ""))
	}
	return points
}
