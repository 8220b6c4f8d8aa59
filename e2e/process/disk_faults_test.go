package process

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// states and cdiFiles are the two places where the driver writes.
func places(r *rig) map[string]string {
	return map[string]string{"records": r.path("state"), "CDI files": r.cdi()}
}

func TestFault02FullFileSystem(t *testing.T) {
	t.Parallel()
	for kind, fill := range map[string]func(*disk){"no room": (*disk).fill, "no inodes": (*disk).crowd} {
		for _, place := range []string{"records", "CDI files"} {
			t.Run(kind+" for "+place, func(t *testing.T) {
				t.Parallel()
				r := newRig(t)
				disk := r.mount(places(r)[place])
				d := r.startReady()
				early, other := r.claim("early", r.devices("gpu-0")), r.claim("other", r.devices("gpu-1"))
				late := r.claim("late", r.devices("gpu-2", "gpu-3"))
				first := prepare(t, d, early)
				prepare(t, d, other)

				fill(disk)
				text := refused(t, d, late)
				expectSentence(t, text, []string{disk.dir, "no space left on device"})
				if again := refused(t, d, late); again != text {
					t.Errorf("the error changes, so that events would not be counted as one:\n%s\n%s", text, again)
				}
				r.nothingTemporary()
				if left := r.filesOf(r.cdi(), string(late.UID)); len(left) > 0 {
					t.Errorf("a container would find %v", left)
				}
				if again := prepare(t, d, early); !slices.Equal(first.IDs(), again.IDs()) {
					t.Errorf("what is prepared already is answered %v, and %v before", again.IDs(), first.IDs())
				}
				unprepare(t, d, other)
				r.nothingLeft(other.UID)

				fill(disk) // what was taken back made room
				d = d.restartKilled()
				r.mustResolve(prepare(t, d, early))
				refused(t, d, late)
				unprepare(t, d, early)
				r.nothingLeft(early.UID)

				disk.relieve()
				r.mustResolve(prepare(t, d, late))
				unprepare(t, d, late)
				r.nothingLeft(late.UID)
				r.nothingTemporary()
			})
		}
	}
}

// filesOf returns the files below dir whose name holds part.
func (r *rig) filesOf(dir, part string) (found []string) {
	r.t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, entry := range entries {
		if strings.Contains(entry.Name(), part) {
			found = append(found, entry.Name())
		}
	}
	return found
}

func TestFault03ReadOnlyFileSystem(t *testing.T) {
	t.Parallel()
	for _, place := range []string{"records", "CDI files"} {
		t.Run(place, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			disk := r.mount(places(r)[place])
			d := r.startReady()
			running, late := r.claim("running", r.devices("gpu-0")), r.claim("late", r.devices("gpu-1"))
			first := prepare(t, d, running)

			disk.remount(unix.MS_RDONLY)
			expectSentence(t, refused(t, d, late), []string{disk.dir, "read-only file system"})
			r.mustResolve(first)
			r.unready(disk.dir, "read-only file system")
			if err := probe(t.Context(), r.http, "/healthz"); err != nil {
				t.Errorf("the kubelet would restart the driver, which mends nothing: %v", err)
			}
			if err := d.plugin.UnprepareOne(t.Context(), running); err == nil {
				t.Error("the driver says that all is taken back, though nothing can be removed")
			} else {
				expectSentence(t, err.Error(), []string{disk.dir, "read-only file system"})
			}

			disk.remount(0)
			r.mustResolve(prepare(t, d, late))
			r.until("it is ready again", func(ctx context.Context) error { return probe(ctx, r.http, "/readyz") })
			unprepare(t, d, running)
			r.nothingLeft(running.UID)
			unprepare(t, d, late)
			r.nothingTemporary()
		})
	}
}

// A driver that ends because of it would be started again and again, and could not take back what it could.
func TestFault03StartedOnAReadOnlyFileSystem(t *testing.T) {
	t.Parallel()
	for _, place := range []string{"records", "CDI files"} {
		t.Run(place, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			disk := r.mount(places(r)[place])
			d := r.startReady()
			running, late := r.claim("running", r.devices("gpu-0")), r.claim("late", r.devices("gpu-1"))
			first := prepare(t, d, running)
			d.kill()
			disk.remount(unix.MS_RDONLY)
			r.watch()

			d = r.start()
			d.waitRegistered()
			expectSentence(t, refused(t, d, late), []string{disk.dir, "read-only file system"})
			r.unready(disk.dir, "read-only file system")
			r.mustResolve(first)

			disk.remount(0)
			r.until("it is ready", func(ctx context.Context) error { return probe(ctx, r.http, "/readyz") })
			if again := prepare(t, d, running); !slices.Equal(first.IDs(), again.IDs()) {
				t.Errorf("the driver answers %v, and %v before", again.IDs(), first.IDs())
			}
			unprepare(t, d, running)
			r.nothingLeft(running.UID)
		})
	}
}

// unready waits until /readyz says no, with these words.
func (r *rig) unready(says ...string) {
	r.t.Helper()
	r.until("it is not ready and says why", func(ctx context.Context) error {
		err := probe(ctx, r.http, "/readyz")
		if err == nil {
			return fmt.Errorf("it is ready")
		}
		for _, part := range says {
			if !strings.Contains(err.Error(), part) {
				return fmt.Errorf("it does not say %q: %w", part, err)
			}
		}
		return nil
	})
}

func TestFault06LostCDIFilesComeBack(t *testing.T) {
	t.Parallel()
	lose := map[string]func(r *rig) error{
		"the whole directory": func(r *rig) error { return os.RemoveAll(r.cdi()) },
		"the files alone": func(r *rig) error {
			for _, name := range r.filesOf(r.cdi(), "") {
				if err := os.Remove(r.cdi() + "/" + name); err != nil {
					return err
				}
			}
			return nil
		},
	}
	for name, lose := range lose {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			d := r.startReady()
			claim, other := r.claim("claim", r.devices("gpu-0", "gpu-1")), r.claim("other", r.devices("gpu-2"))
			prepared, second := prepare(t, d, claim), prepare(t, d, other)
			before := r.mustResolve(prepared)
			losing := func() {
				t.Helper()
				if err := lose(r); err != nil {
					t.Fatal(err)
				}
			}

			losing() // and the kubelet asks again
			if again := prepare(t, d, claim); !slices.Equal(prepared.IDs(), again.IDs()) {
				t.Errorf("the driver answers %v, and %v before", again.IDs(), prepared.IDs())
			}
			r.mustResolve(prepared)

			losing() // and a container is restarted, of which nobody tells the driver
			r.until("the files are there again without any call", func(context.Context) error {
				_, err := r.container(second)
				return err
			})
			r.mustResolve(prepared)

			d.kill()
			losing()
			d = d.restartKilled()
			after := r.mustResolve(prepared)
			r.mustResolve(second)
			if !slices.Equal(before.Process.Env, after.Process.Env) {
				t.Errorf("the CDI file came back with other contents:\n%v\n%v", before.Process.Env, after.Process.Env)
			}

			losing() // and the pod ends
			unprepare(t, d, claim)
			r.nothingLeft(claim.UID)
		})
	}
}
