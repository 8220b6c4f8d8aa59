package process

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// The wall clock of this machine is not a test's to set, and no namespace has one of its own. What a jump would do to
// the driver is done from the outside instead: all it has written is older or newer than it was, and its monotonic
// clock is another one. That nothing is told by the time is shown by what it writes, which has none in it.
func TestFault22ClockJumps(t *testing.T) {
	t.Parallel()
	for name, jump := range map[string]time.Duration{"an hour ahead": time.Hour, "an hour back": -time.Hour} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			d := r.startReady()
			claim := r.claim("claim", r.devices("gpu-0", "gpu-1"))
			first := prepare(t, d, claim)
			pool := versions(r.published(8))

			r.age(-jump) // to the eyes of who looks at the clock now
			before := r.written(claim)
			for range 2 {
				if again := prepare(t, d, claim); !slices.Equal(first.IDs(), again.IDs()) {
					t.Errorf("the driver answers %v, and %v before", again.IDs(), first.IDs())
				}
				if after := r.written(claim); !maps.Equal(before, after) {
					t.Errorf("files were written because of their age:\nbefore %v\nafter  %v", before, after)
				}
				d.kill()
				r.watch()
				offset := fmt.Sprint(int(jump.Seconds()))
				r.wrapper = []string{"unshare", "--time", "--fork", "--kill-child", "--monotonic", offset, "--boottime", offset}
				d = r.startReady()
			}
			if after := versions(r.published(8)); !maps.Equal(pool, after) {
				t.Errorf("slices were written because of their age:\nbefore %v\nafter  %v", pool, after)
			}
			unprepare(t, d, claim)
			r.nothingLeft(claim.UID)
		})
	}
}

// age makes all files of the node, sockets included, younger by d, or older.
func (r *rig) age(d time.Duration) {
	r.t.Helper()
	now := time.Now().Add(d)
	err := filepath.WalkDir(r.dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.Type() == fs.ModeSymlink {
			return err
		}
		return os.Chtimes(path, now, now)
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

func TestFault22NothingThatIsWrittenHasATime(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	d := r.startReady()
	claim := r.claim("claim", r.devices("gpu-0", "gpu-1"))
	prepare(t, d, claim)
	first := r.contents(string(claim.UID))
	if len(first) < 4 {
		t.Fatalf("the claim has the files %v", slices.Collect(maps.Keys(first)))
	}
	unprepare(t, d, claim)
	begin := time.Now().Truncate(time.Second)
	r.until("the clock shows another second", func(context.Context) error {
		if !time.Now().Truncate(time.Second).After(begin) {
			return fmt.Errorf("it does not")
		}
		return nil
	})
	prepare(t, d, claim)
	for path, content := range r.contents(string(claim.UID)) {
		if first[path] != content {
			t.Errorf("%s is not what it was before:\n%s\n%s", path, first[path], content)
		}
	}
	unprepare(t, d, claim)
}

// contents returns the contents of all files in whose path is the part.
func (r *rig) contents(part string) map[string]string {
	r.t.Helper()
	all := map[string]string{}
	for _, dir := range []string{r.cdi(), r.path("state")} {
		err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || !entry.Type().IsRegular() || !strings.Contains(path, part) {
				return err
			}
			content, err := os.ReadFile(path)
			all[path] = string(content)
			return err
		})
		if err != nil {
			r.t.Fatal(err)
		}
	}
	return all
}
