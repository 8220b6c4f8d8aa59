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
	"syscall"
	"testing"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"

	"example.com/dragoman/pkg/sanity/kubelet"
)

// written tells of each file of a claim whether it was written since: which inode it is, and when that changed.
func (r *rig) written(claim kubelet.Claim) map[string]string {
	r.t.Helper()
	all := map[string]string{}
	for _, dir := range []string{r.cdi(), r.path("state")} {
		err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || !strings.Contains(path, string(claim.UID)) || entry.IsDir() {
				return err
			}
			info, err := entry.Info()
			if err != nil {
				return err
			}
			stat := info.Sys().(*syscall.Stat_t)
			all[path] = fmt.Sprint(stat.Ino, " ", stat.Mtim, " ", stat.Ctim)
			return nil
		})
		if err != nil {
			r.t.Fatal(err)
		}
	}
	return all
}

func TestFault11PreparedAgainWritesNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	d := r.startReady()
	a := r.devices("gpu-0", "gpu-1")
	a.configs = []resourceapi.DeviceAllocationConfiguration{fromClaim(fmt.Sprintf(timeSlicing, "Long"), "r0", "r1")}
	admin := r.admin("gpu-2").results[0]
	admin.Request = "look"
	a.results = append(a.results, admin)
	claim := r.claim("claim", a)
	first := prepare(t, d, claim)
	before := r.written(claim)
	if len(before) < 3 { // record, CDI file, descriptions
		t.Fatalf("the claim has the files %v", before)
	}
	steps := []struct {
		name  string
		first func()
	}{
		{"asked again", func() {}},
		{"and once more", func() {}},
		{"after kill -9", func() { d = d.restartKilled() }},
		{"after SIGTERM", func() { d.stop(); d = r.startReady() }},
	}
	for _, step := range steps {
		step.first()
		if again := prepare(t, d, claim); !slices.Equal(first.IDs(), again.IDs()) {
			t.Errorf("%s the driver answers %v, and %v before", step.name, again.IDs(), first.IDs())
		}
		if after := r.written(claim); !maps.Equal(before, after) {
			t.Errorf("%s files were written:\nbefore %v\nafter  %v", step.name, before, after)
		}
	}
	unprepare(t, d, claim)
	r.nothingLeft(claim.UID)
}

// newRaceRig has a driver that finds out whether it does two things at once which must not be done at once.
func newRaceRig(t *testing.T) *rig {
	t.Helper()
	r := newRig(t)
	if r.binary = os.Getenv("DRAGOMAN_RACE_BIN"); r.binary == "" {
		t.Fatal(`DRAGOMAN_RACE_BIN is not set: it is the driver built with -race; "make e2e" builds it`)
	}
	return r
}

func TestFault12ManyCallsForOneClaimAtOnce(t *testing.T) {
	t.Parallel()
	r := newRaceRig(t)
	d := r.startReady()
	claim := r.claim("claim", r.devices("gpu-0", "gpu-1"))
	const calls = 16
	answers := make(chan kubelet.Prepared, calls)
	for range calls {
		go func() {
			prepared, err := d.plugin.PrepareOne(t.Context(), claim)
			if err != nil {
				t.Errorf("prepare: %v", err)
			}
			answers <- prepared
		}()
	}
	first := <-answers
	for range calls - 1 {
		if next := <-answers; !slices.Equal(first.IDs(), next.IDs()) {
			t.Errorf("one call is answered %v, another one %v", first.IDs(), next.IDs())
		}
	}
	r.mustResolve(first)
	done := make(chan error, calls)
	for range calls {
		go func() { done <- d.plugin.UnprepareOne(t.Context(), claim) }()
	}
	for range calls {
		if err := <-done; err != nil {
			t.Errorf("unprepare: %v", err)
		}
	}
	r.nothingLeft(claim.UID)
}

// The kubelet does not do that, but two instances of it, of which one was given up, may.
func TestFault12PrepareAgainstUnprepare(t *testing.T) {
	t.Parallel()
	t.Run("the last call counts when they race", func(t *testing.T) {
		t.Parallel()
		r := newRaceRig(t)
		d := r.startReady()
		claim := r.claim("claim", r.devices("gpu-0", "gpu-1"))
		for round := range 20 {
			done := make(chan error, 8)
			for i := range cap(done) {
				go func() {
					if i%2 == 0 {
						_, err := d.plugin.PrepareOne(t.Context(), claim)
						done <- err
						return
					}
					done <- d.plugin.UnprepareOne(t.Context(), claim)
				}()
			}
			for range cap(done) {
				if err := <-done; err != nil {
					t.Error(err)
				}
			}
			if round%2 == 0 {
				r.mustResolve(prepare(t, d, claim))
				continue
			}
			unprepare(t, d, claim)
			r.nothingLeft(claim.UID)
		}
	})
	t.Run("an unprepare waits for the prepare in progress", func(t *testing.T) {
		t.Parallel()
		r := newRaceRig(t)
		d := r.startReady()
		claim, other := r.claim("claim", r.devices("gpu-0")), r.claim("other", r.devices("gpu-1"))
		release := r.hold(claim)
		preparing := d.preparing(t.Context(), claim)
		r.until("the prepare has begun", func(context.Context) error { return r.isAwaited(claim) })
		unpreparing := make(chan error, 1)
		go func() { unpreparing <- d.plugin.UnprepareOne(t.Context(), claim) }()
		r.until("both calls are in progress", func(ctx context.Context) error {
			return r.metric(ctx, "dragoman_calls_in_flight", "2")
		})
		r.mustResolve(prepare(t, d, other)) // nobody else waits
		select {
		case err := <-unpreparing:
			t.Errorf("the unprepare did not wait: %v", err)
		default:
		}
		release()
		if answer := <-preparing; answer.Err != nil {
			t.Errorf("prepare: %v", answer.Err)
		}
		if err := <-unpreparing; err != nil {
			t.Errorf("unprepare: %v", err)
		}
		r.nothingLeft(claim.UID)
	})
}

func TestFault13ShareOfADevice(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	d := r.startReady()
	share := func(id string) allocation {
		a := r.devices("gpu-0")
		a.results[0].ShareID = new(types.UID(id))
		a.results[0].ConsumedCapacity = map[resourceapi.QualifiedName]resource.Quantity{
			"memory": resource.MustParse("10Gi"),
		}
		return a
	}
	const one, two = "11111111-0000-4000-8000-000000000000", "22222222-0000-4000-8000-000000000000"
	first, second, same := r.claim("first", share(one)), r.claim("second", share(two)), r.claim("same", share(one))
	a, b := prepare(t, d, first), prepare(t, d, second)
	r.mustResolve(a)
	r.mustResolve(b)
	if slices.Equal(a.IDs(), b.IDs()) {
		t.Errorf("two shares have the same CDI ids %v", a.IDs())
	}
	owner := first.Namespace + "/" + first.Name
	expectSentence(t, refused(t, d, same), []string{one, "gpu-0", "held by", owner, string(first.UID)})
	unprepare(t, d, first)
	r.mustResolve(b)
	r.mustResolve(prepare(t, d, same))
}

func TestFault14UnprepareOfWhatIsNotThere(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	d := r.startReady()
	never := kubelet.Claim{Namespace: r.server.namespace, Name: "never-seen", UID: "3d0b2b3c-0000-4000-8000-000000000000"}
	claim, refusedOne := r.claim("claim", r.devices("gpu-0")), r.claim("refused", r.devices("gpu-0"))
	deleted, kept := r.claim("deleted", r.devices("gpu-1")), r.claim("kept", r.devices("gpu-2"))
	prepare(t, d, claim)
	refused(t, d, refusedOne)
	prepare(t, d, deleted)
	first := prepare(t, d, kept)
	r.deleteClaim(deleted)

	all := []kubelet.Claim{never, claim, refusedOne, deleted}
	for _, when := range []string{"once", "twice", "after a restart"} {
		if when == "after a restart" {
			d = d.restartKilled()
		}
		answer, err := d.plugin.Unprepare(t.Context(), all...) // which has an entry for each of them
		if err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		for _, one := range all {
			if answer[one.UID] != nil {
				t.Errorf("%s: unprepare %s: %v", when, one.Name, answer[one.UID])
			}
			r.nothingLeft(one.UID)
		}
	}
	r.mustResolve(first)
	unprepare(t, d, kept)
}

func TestFault15UnprepareAfterTheDeviceIsGone(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		change  func(r *rig, d *driver, file string) *driver
		publish int
	}{
		"it was unplugged": {func(r *rig, d *driver, file string) *driver {
			r.writeYAML(filepath.Base(file), profile(2))
			return d
		}, 2},
		"nothing can be said of any device": {func(r *rig, d *driver, file string) *driver {
			r.write(filepath.Base(file), []byte("kind: MachineProfile\nnot: one\n"))
			r.unready(file)
			return d
		}, 4},
		"it was unplugged while the driver was away": {func(r *rig, d *driver, file string) *driver {
			d.kill()
			r.writeYAML(filepath.Base(file), profile(2))
			return d.restartKilled("mockProfile", file)
		}, 2},
		"the configuration has another machine": {func(_ *rig, d *driver, _ string) *driver {
			return d.restartKilled("mockProfile", "l4-4x", "health", map[string]any{"taintEffect": "None"})
		}, 4},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			file := r.writeYAML("profile.yaml", profile(4))
			d := r.startReady("mockProfile", file)
			r.published(4)
			a := r.devices("gpu-3", "gpu-0")
			a.configs = []resourceapi.DeviceAllocationConfiguration{fromClaim(fmt.Sprintf(timeSlicing, "Long"))}
			claim := r.claim("claim", a)
			prepare(t, d, claim)

			d = c.change(r, d, file)
			r.published(c.publish)
			unprepare(t, d, claim)
			r.nothingLeft(claim.UID)
			unprepare(t, d, claim)
			if n := strings.Count(d.output.String(), string(claim.UID)); n > 8 {
				t.Errorf("the log has %d lines about it", n)
			}
		})
	}
}
