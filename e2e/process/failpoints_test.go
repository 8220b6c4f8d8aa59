package process

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"k8s.io/apimachinery/pkg/types"
	"tags.cncf.io/container-device-interface/pkg/cdi"

	"example.com/dragoman/pkg/sanity/kubelet"
)

// These tests use a driver that was built to die, or to meet an error, at any point between two of its system calls;
// see pkg/failpoint. They find out which points there are by letting each deed happen once, and then do it again for
// each point. Nothing here knows how the driver does its work.

// armed starts a driver with failpoints on a new node.
func armed(t *testing.T) *driver {
	t.Helper()
	r := newRig(t)
	r.binary = os.Getenv("DRAGOMAN_FAILPOINTS_BIN")
	if r.binary == "" {
		t.Fatal(`DRAGOMAN_FAILPOINTS_BIN is not set: it is the driver built with -tags failpoints; "make e2e" builds it`)
	}
	r.env = []string{"DRAGOMAN_FAILPOINTS=" + r.path("plan"), "DRAGOMAN_FAILPOINTS_TRACE=" + r.path("trace")}
	return r.startRegistered()
}

// TestFault01ReleasesHaveNoFailpoints: nothing but the driver of these tests can be told to die.
func TestFault01ReleasesHaveNoFailpoints(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]bool{binary: false, os.Getenv("DRAGOMAN_FAILPOINTS_BIN"): true} {
		program, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if has := bytes.Contains(program, []byte("DRAGOMAN_FAILPOINTS")); has != want {
			t.Errorf("that %s has failpoints is %v", path, has)
		}
	}
}

// startRegistered starts the driver and waits until the kubelet can call it. Its slices are of no interest here.
func (r *rig) startRegistered() *driver {
	r.t.Helper()
	d := r.start()
	d.waitRegistered()
	return d
}

// plan says what is to happen from now on: the action at the n-th point that counts for it while the driver works on
// the claim, or, for "*", from the start of the process.
func (r *rig) plan(t *testing.T, claim types.UID, action string, n int) {
	t.Helper()
	_ = os.Remove(r.path("trace"))
	if err := os.WriteFile(r.path("plan"), fmt.Appendf(nil, "%s %s %d\n", claim, action, n), 0o600); err != nil {
		t.Fatal(err)
	}
}

// noPlan lets everything go well from now on.
func (r *rig) noPlan(t *testing.T) {
	t.Helper()
	if err := os.Remove(r.path("plan")); err != nil {
		t.Fatal(err)
	}
}

// passed returns the points that counted since the last plan, without what differs from node to node.
func (r *rig) passed(t *testing.T, claims ...kubelet.Claim) (points []string) {
	t.Helper()
	trace, err := os.ReadFile(r.path("trace"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(trace)) {
		line = strings.ReplaceAll(strings.TrimSpace(line), r.dir+"/", "")
		line = strings.ReplaceAll(line, "state/"+driverName, "state")
		for _, claim := range claims {
			name, _, _ := strings.Cut(claim.Name, "-") // which the API server made unique
			line = strings.ReplaceAll(line, string(claim.UID), name)
		}
		if marker := strings.Index(line, "/owners/gpu-"); marker >= 0 { // which ends with the hash of the node's name
			line = line[:marker+len("/owners/gpu-0")]
		}
		points = append(points, strings.ReplaceAll(line, "/", ":")) // a slash would divide the name of the test
	}
	return points
}

// wanted is a claim for two devices, of which one has a configuration of its own, and for a look at a third.
func (r *rig) wanted() kubelet.Claim {
	r.t.Helper()
	a := r.devices("gpu-1", "gpu-0", "gpu-5")
	a.results[2].AdminAccess = new(true)
	a.configs = append(a.configs, fromClaim(fmt.Sprintf(timeSlicing, "Long"), "r0"))
	return r.claim("wanted", a)
}

// rightIDs are what every Prepare of such a claim answers, whatever happened before.
func rightIDs(claim kubelet.Claim) (ids []string) {
	for _, device := range []string{"gpu-1", "gpu-0", "gpu-5"} {
		ids = append(ids, fmt.Sprintf("k8s.%s/gpu=%s-%s", driverName, claim.UID, device))
	}
	return ids
}

// deed is one call of the kubelet.
type deed struct {
	name   string
	before func(t *testing.T, d *driver, claim kubelet.Claim)
	do     func(ctx context.Context, d *driver, claim kubelet.Claim) error
}

func deeds() []deed {
	prepareIt := func(ctx context.Context, d *driver, claim kubelet.Claim) error {
		_, err := d.plugin.PrepareOne(ctx, claim)
		return err
	}
	unprepareIt := func(ctx context.Context, d *driver, claim kubelet.Claim) error {
		return d.plugin.UnprepareOne(ctx, claim)
	}
	prepared := func(t *testing.T, d *driver, claim kubelet.Claim) { t.Helper(); prepare(t, d, claim) }
	withoutCDIFiles := func(t *testing.T, d *driver, claim kubelet.Claim) {
		t.Helper()
		prepare(t, d, claim)
		if err := os.RemoveAll(d.cdi()); err != nil {
			t.Fatal(err)
		}
	}
	spoiled := func(t *testing.T, d *driver, claim kubelet.Claim) {
		t.Helper()
		prepare(t, d, claim)
		if err := os.WriteFile(d.record(claim.UID), []byte("no record"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return []deed{
		{"prepare", func(*testing.T, *driver, kubelet.Claim) {}, prepareIt},
		{"prepare again", prepared, prepareIt},
		{"prepare again without CDI files", withoutCDIFiles, prepareIt},
		{"prepare again with a spoiled record", spoiled, prepareIt},
		{"unprepare", prepared, unprepareIt},
		{"unprepare with a spoiled record", spoiled, unprepareIt},
	}
}

// points returns the names of all points of the deed that count for the action.
func (of deed) points(t *testing.T, action string) []string {
	t.Helper()
	d := armed(t)
	claim := d.wanted()
	of.before(t, d, claim)
	d.plan(t, claim.UID, action, 0)
	if err := of.do(t.Context(), d, claim); err != nil {
		t.Fatalf("%s, with nothing going wrong: %v", of.name, err)
	}
	return d.passed(t, claim)
}

func TestFault01KilledBetweenAnyTwoSystemCalls(t *testing.T) {
	t.Parallel()
	for _, of := range deeds() {
		t.Run(of.name, func(t *testing.T) {
			t.Parallel()
			points := of.points(t, "kill")
			if len(points) < 10 {
				t.Fatalf("it has only the points %q", points)
			}
			for i, point := range points {
				t.Run(fmt.Sprintf("%d %s", i+1, point), func(t *testing.T) {
					t.Parallel()
					of.killedAt(t, i+1, point)
				})
			}
			t.Run("after the answer", func(t *testing.T) {
				t.Parallel()
				of.killedAt(t, len(points)+1, "")
			})
		})
	}
	t.Run("start", func(t *testing.T) {
		t.Parallel()
		testKilledAtStart(t)
	})
}

// killedAt kills the driver at the n-th point of the deed, which is named point, or after the last one if it has none.
// What follows is different every other time: the kubelet may repeat its call, or have no use for the claim any more.
func (of deed) killedAt(t *testing.T, n int, point string) {
	d := armed(t)
	claim := d.wanted()
	of.before(t, d, claim)
	d.plan(t, claim.UID, "kill", n)
	err := of.do(t.Context(), d, claim)
	switch {
	case point == "" && err != nil:
		t.Fatalf("nothing was to go wrong: %v", err)
	case point == "":
		d.kill()
	case err == nil:
		t.Fatal("it was not killed")
	}
	d.mustBeKilled(t, point, claim)
	d.noPlan(t)
	d.mustHold(t, of.name != "prepare again without CDI files")

	d.watch()
	d = d.startRegistered()
	d.mustHold(t, true)
	if n%2 == 0 {
		d.mustPrepare(t, claim)
	}
	d.mustTakeBack(t, claim)
	d.mustPrepare(t, claim)
	d.mustTakeBack(t, claim)
}

func (d *driver) mustBeKilled(t *testing.T, point string, claims ...kubelet.Claim) {
	t.Helper()
	d.wait()
	status, ok := d.command.ProcessState.Sys().(syscall.WaitStatus)
	if !ok || status.Signal() != syscall.SIGKILL {
		t.Fatalf("it ended by itself: %v", d.err)
	}
	if points := d.passed(t, claims...); point != "" && points[len(points)-1] != point {
		t.Errorf("it was killed at %q, and this case is about %q", points[len(points)-1], point)
	}
}

// mustPrepare prepares the claim, twice, as if nothing had ever happened.
func (d *driver) mustPrepare(t *testing.T, claim kubelet.Claim) {
	t.Helper()
	for range 2 {
		prepared, err := d.plugin.PrepareOne(t.Context(), claim)
		if err != nil {
			t.Fatalf("prepare: %v", err)
		}
		if right := rightIDs(claim); !slices.Equal(prepared.IDs(), right) {
			t.Errorf("I5: it answers %v, and would have answered %v", prepared.IDs(), right)
		}
		if _, err := d.container(prepared); err != nil {
			t.Errorf("I1: %v", err)
		}
		if state := d.stateOf(t, claim.UID); state != "Prepared" {
			t.Errorf("I1: the record says %q", state)
		}
		d.mustHold(t, true)
		d.mustHaveNothingUnfinished(t)
	}
}

// mustTakeBack unprepares the claim, twice.
func (d *driver) mustTakeBack(t *testing.T, claim kubelet.Claim) {
	t.Helper()
	for range 2 {
		if err := d.plugin.UnprepareOne(t.Context(), claim); err != nil {
			t.Fatalf("unprepare: %v", err)
		}
		d.mustHaveNothingOf(t, claim.UID)
		d.mustHold(t, true)
		d.mustHaveNothingUnfinished(t)
	}
}

// tree returns the paths of all files in a directory of the driver, and what they hold: for a link, its target.
func (r *rig) tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil || entry.IsDir():
			return err
		case entry.Type() == fs.ModeSymlink:
			files[path], err = os.Readlink(path)
			return err
		default:
			content, err := os.ReadFile(path)
			files[path] = string(content)
			return err
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func (r *rig) mustHaveNothingOf(t *testing.T, uid types.UID) {
	t.Helper()
	for _, dir := range []string{r.path("state"), r.cdi()} {
		for path, content := range r.tree(t, dir) {
			if strings.HasSuffix(path, ".resolved") { // a spoiled record, for people to look at
				continue
			}
			if strings.Contains(path, string(uid)) || strings.Contains(content, string(uid)) {
				t.Errorf("I4: %s is left of a claim that was unprepared", path)
			}
		}
	}
}

func (r *rig) mustHaveNothingUnfinished(t *testing.T) {
	t.Helper()
	for _, dir := range []string{r.path("state"), r.cdi()} {
		for path := range r.tree(t, dir) {
			if strings.HasSuffix(path, ".tmp") {
				t.Errorf("%s is left of what somebody was writing", path)
			}
		}
	}
}

// stateOf returns what the record of a claim says, empty if there is none, here or in quarantine.
func (r *rig) stateOf(t *testing.T, uid types.UID) string {
	t.Helper()
	content, err := os.ReadFile(r.record(uid))
	if errors.Is(err, fs.ErrNotExist) {
		content, err = os.ReadFile(r.path("state", driverName, "quarantine", string(uid)+".1.json"))
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return ""
	case string(content) == "no record":
		return "Spoiled"
	}
	_, body, _ := bytes.Cut(content, []byte("\n"))
	var record struct{ State string }
	if err := errors.Join(err, json.Unmarshal(body, &record)); err != nil {
		t.Fatalf("the record of claim %s: %v", uid, err)
	}
	return record.State
}

// mustHold checks on the files what must hold at any moment, whoever died or failed: I2, I3 and, unless somebody else
// has removed CDI files, I1.
func (r *rig) mustHold(t *testing.T, cdiFilesAreOurs bool) {
	t.Helper()
	own := r.path("state", driverName)
	markers := r.tree(t, filepath.Join(own, "owners"))
	for path := range r.tree(t, filepath.Join(own, "backend")) {
		uid := types.UID(filepath.Base(filepath.Dir(path)))
		if r.stateOf(t, uid) == "" {
			t.Errorf("I2: %s has no record", path)
		}
		device, _, _ := strings.Cut(filepath.Base(path), ".")
		for marker, owner := range markers {
			if strings.HasPrefix(filepath.Base(marker), device+"-") && !strings.Contains(owner, string(uid)) {
				t.Errorf("I3: %s is set up for %s and held by %s", device, uid, owner)
			}
		}
		if !r.isHeld(device, markers) && device != "gpu-5" { // which it only looks at
			t.Errorf("I3: %s is set up for %s, and nobody holds it", device, uid)
		}
	}
	for path := range r.tree(t, r.cdi()) {
		if uid, whole := strings.CutSuffix(path[strings.LastIndex(path, "_")+1:], ".json"); whole &&
			r.stateOf(t, types.UID(uid)) == "" {
			t.Errorf("I2: %s has no record", path)
		}
	}
	cache, err := cdi.NewCache(cdi.WithSpecDirs(r.cdi()), cdi.WithAutoRefresh(false))
	if err != nil {
		t.Fatal(err)
	}
	if problems := cache.GetErrors(); len(problems) > 0 {
		t.Errorf("a container runtime finds half-made CDI files: %v", problems)
	}
	for path := range r.tree(t, filepath.Join(own, "claims")) {
		uid, whole := strings.CutSuffix(filepath.Base(path), ".json")
		if !whole || r.stateOf(t, types.UID(uid)) != "Prepared" || !cdiFilesAreOurs {
			continue
		}
		for _, id := range rightIDs(kubelet.Claim{UID: types.UID(uid)}) {
			if cache.GetDevice(id) == nil {
				t.Errorf("I1: claim %s is prepared, and %s does not resolve", uid, id)
			}
		}
	}
}

func (r *rig) isHeld(device string, markers map[string]string) bool {
	for marker := range markers {
		if strings.HasPrefix(filepath.Base(marker), device+"-") {
			return true
		}
	}
	return false
}

// testKilledAtStart kills the driver at each point of a start that has something to put right: a claim that is prepared
// has lost its CDI file, and the proof of another one was being written when the driver died before.
func testKilledAtStart(t *testing.T) {
	halfway := pointOf(t, "after write state:claims:.half.tmp")
	begin := func(t *testing.T) (*rig, []kubelet.Claim) {
		t.Helper()
		d := armed(t)
		lost, half := d.wanted(), d.half()
		for lost.UID > half.UID { // in whose order they are put right
			lost = d.wanted()
		}
		prepare(t, d, lost)
		d.plan(t, half.UID, "kill", halfway)
		if _, err := d.plugin.PrepareOne(t.Context(), half); err == nil {
			t.Fatal("it was not killed")
		}
		d.mustBeKilled(t, "after write state:claims:.half.tmp", half)
		if err := os.RemoveAll(d.cdi()); err != nil {
			t.Fatal(err)
		}
		d.watch()
		return d.rig, []kubelet.Claim{lost, half}
	}
	r, claims := begin(t)
	r.plan(t, "*", "kill", 0)
	r.startRegistered()
	points := r.passed(t, claims...)
	if len(points) < 10 {
		t.Fatalf("it has only the points %q", points)
	}
	for i, point := range points {
		t.Run(fmt.Sprintf("%d %s", i+1, point), func(t *testing.T) {
			t.Parallel()
			r, claims := begin(t)
			lost, half := claims[0], claims[1]
			r.plan(t, "*", "kill", i+1)
			r.start().mustBeKilled(t, point, claims...)
			r.noPlan(t)
			r.mustHold(t, false)
			d := r.startRegistered()
			d.mustHold(t, true)
			if i%2 == 0 {
				d.mustPrepare(t, lost)
			}
			d.mustTakeBack(t, half)
			d.mustTakeBack(t, lost)
		})
	}
}

// half is a claim that has nothing in common with a wanted one.
func (r *rig) half() kubelet.Claim {
	r.t.Helper()
	return r.claim("half", r.devices("gpu-2", "gpu-3"))
}

// pointOf returns the number of the last point of that name in a Prepare of such a claim.
func pointOf(t *testing.T, name string) int {
	t.Helper()
	d := armed(t)
	half := d.half()
	d.plan(t, half.UID, "kill", 0)
	prepare(t, d, half)
	points := d.passed(t, half)
	for i, point := range slices.Backward(points) {
		if point == name {
			return i + 1
		}
	}
	t.Fatalf("there is no %q among %q", name, points)
	return 0
}

// TestFault02FullFileSystemAtAnyMoment: from one of its system calls on, nothing that needs space succeeds.
func TestFault02FullFileSystemAtAnyMoment(t *testing.T) {
	t.Parallel()
	testErrors(t, "enospc", "no space left on device")
}

// TestFault03FileSystemThatFailsAtAnyMoment: one of its system calls fails, or from one of them on all that would
// change something, as when the kernel gives a broken file system up.
func TestFault03FileSystemThatFailsAtAnyMoment(t *testing.T) {
	t.Parallel()
	t.Run("one error", func(t *testing.T) { t.Parallel(); testErrors(t, "eio", "input/output error") })
	t.Run("read-only", func(t *testing.T) { t.Parallel(); testErrors(t, "erofs", "read-only file system") })
}

func testErrors(t *testing.T, action, text string) {
	for _, of := range deeds() {
		t.Run(of.name, func(t *testing.T) {
			t.Parallel()
			points := of.points(t, action)
			if len(points) == 0 {
				points = []string{"none, so that it cannot go wrong"}
			}
			d := armed(t) // which no error ends
			for i, point := range points {
				t.Run(fmt.Sprintf("%d %s", i+1, point), func(t *testing.T) {
					before := d.t
					d.t = t
					defer func() { d.t = before }()
					of.failsAt(t, d, action, text, i+1)
				})
			}
		})
	}
}

// failsAt makes the action happen at the n-th point of the deed. The answer is right, or an error of this claim alone
// that says which file and why; what is on the node holds together, and when the fault is over all is as ever.
func (of deed) failsAt(t *testing.T, d *driver, action, text string, n int) {
	claim := d.wanted()
	of.before(t, d, claim)
	d.plan(t, claim.UID, action, n)
	err := of.do(t.Context(), d, claim)
	d.noPlan(t)
	if err != nil {
		expectSentence(t, err.Error(), []string{d.dir, text})
	}
	switch {
	case !strings.HasPrefix(of.name, "unprepare"):
	case err == nil:
		if action != "enospc" { // the file of a lock may be left then, until the next call or start
			_ = os.Remove(d.path("state", driverName, "locks", string(claim.UID)))
		}
		d.mustHaveNothingOf(t, claim.UID)
	case action == "enospc":
		t.Errorf("unprepare needs space: %v", err)
	}
	d.mustHold(t, of.name != "prepare again without CDI files" || err == nil)
	if action == "enospc" {
		d.mustHaveNothingUnfinished(t)
	}
	if !strings.HasPrefix(of.name, "unprepare") || n%2 == 0 {
		d.mustPrepare(t, claim)
	}
	d.mustTakeBack(t, claim)
}
