package prepare

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	tcdi "tags.cncf.io/container-device-interface/pkg/cdi"
	cdispecs "tags.cncf.io/container-device-interface/specs-go"

	gpuv1alpha1 "example.com/dragoman/api/gpu/v1alpha1"
	"example.com/dragoman/pkg/cdi"
	"example.com/dragoman/pkg/checkpoint"
	"example.com/dragoman/pkg/claim"
	"example.com/dragoman/pkg/device"
)

const (
	driverName = "gpu.example.com"
	nodeName   = "node-a"
)

// hardware is a backend whose devices are files: one is there while a claim uses the device, and holds its UID. So it
// outlives the process, as hardware does. It complains about what must never be asked of hardware.
type hardware struct {
	dir        string
	at         func(moment string) error
	complaints []string // what broke I3, or touched what is another claim's
	// common is what containers get once, whichever devices they use; by device, nil where there is nothing.
	common map[string]*cdispecs.ContainerEdits
}

func newHardware(dir string) *hardware {
	return &hardware{dir: dir, at: func(string) error { return nil }}
}

func (h *hardware) complain(format string, args ...any) {
	h.complaints = append(h.complaints, fmt.Sprintf(format, args...))
}

func (h *hardware) file(r resourceapi.DeviceRequestAllocationResult) string {
	return filepath.Join(h.dir, r.Device+"_"+string(ptr.Deref(r.ShareID, "")))
}

func (h *hardware) Devices(context.Context) (device.Snapshot, error) { return device.Snapshot{}, nil }

func (h *hardware) Prepare(_ context.Context, r device.Request) ([]device.Grant, error) {
	var grants []device.Grant
	for i, result := range r.Devices {
		grants = append(grants, device.Grant{Claim: r.Claim, Result: result,
			Edits: &cdispecs.ContainerEdits{Env: device.Environment(r, i)}, Common: h.common[result.Device]})
		if ptr.Deref(result.AdminAccess, false) {
			continue
		}
		user, err := os.ReadFile(h.file(result))
		if err == nil && string(user) != string(r.Claim.UID) {
			h.complain("%s was set up for %s while %s uses it", result.Device, r.Claim.UID, user)
		}
		if err := r.Remember(i, json.RawMessage(fmt.Sprintf(`{"undo":%q}`, result.Device))); err != nil {
			return nil, err
		}
		if err := h.at("before effect"); err != nil {
			return nil, err
		}
		if err := os.WriteFile(h.file(result), []byte(r.Claim.UID), 0o600); err != nil {
			return nil, err
		}
		if err := h.at("after effect"); err != nil {
			return nil, err
		}
	}
	return grants, nil
}

func (h *hardware) Unprepare(_ context.Context, g device.Grant) error {
	if err := h.at("before undo"); err != nil {
		return err
	}
	if ptr.Deref(g.Result.AdminAccess, false) {
		return nil
	}
	user, err := os.ReadFile(h.file(g.Result))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil // unknown
	case string(user) != string(g.Claim.UID):
		h.complain("%s was taken back from %s while %s uses it", g.Result.Device, g.Claim.UID, user)
		return nil
	case g.Undo == nil:
		return nil // we cannot know how
	}
	if err := os.Remove(h.file(g.Result)); err != nil {
		return err
	}
	return h.at("after undo")
}

// effects returns which claim uses which device.
func (h *hardware) effects(t *testing.T) map[string]types.UID {
	t.Helper()
	entries, err := os.ReadDir(h.dir)
	must(t, err)
	effects := map[string]types.UID{}
	for _, entry := range entries {
		user, err := os.ReadFile(filepath.Join(h.dir, entry.Name()))
		must(t, err)
		effects[entry.Name()] = types.UID(user)
	}
	return effects
}

// sweeping is hardware that finds what no record knows of.
type sweeping struct{ *hardware }

func (s sweeping) Sweep(_ context.Context, known func(types.UID) bool) error {
	entries, err := os.ReadDir(s.dir)
	for _, entry := range entries {
		path := filepath.Join(s.dir, entry.Name())
		if user, err := os.ReadFile(path); err == nil && !known(types.UID(user)) {
			_ = os.Remove(path)
		}
	}
	return err
}

var (
	_ device.Backend = (*hardware)(nil)
	_ device.Sweeper = sweeping{}
)

// node is the directories of a node, which outlive processes.
type node struct{ state, cdi, hardware string }

// newNode is in memory where that is possible, as the state of a real node is: some disk file systems flush a file
// that is renamed over another one.
func newNode(t testing.TB) node {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "dragoman-test-") //nolint:usetesting // t.TempDir cannot be told where
	if err != nil {
		return nodeAt(t, t.TempDir())
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return nodeAt(t, dir)
}

func nodeAt(t testing.TB, dir string) node {
	t.Helper()
	n := node{filepath.Join(dir, "state"), filepath.Join(dir, "cdi"), filepath.Join(dir, "hardware")}
	must(t, os.MkdirAll(n.hardware, 0o700))
	return n
}

// process is one instance of the driver on a node.
type process struct {
	*Preparer
	node
	hardware *hardware
	records  *checkpoint.Store
	reports  []error
	done     []string // what was put right: action, namespace/name, UID
}

func (n node) start(t testing.TB) *process {
	t.Helper()
	p := &process{node: n, hardware: newHardware(n.hardware)}
	return p.with(t, p.hardware)
}

func (p *process) with(t testing.TB, backend device.Backend) *process {
	t.Helper()
	records, err := checkpoint.Open(p.state)
	must(t, err)
	dir, err := cdi.Open(p.cdi, driverName)
	must(t, err)
	p.records = records
	p.Preparer = New(Options{
		Backend: backend, Records: records, CDI: dir, DriverName: driverName, NodeName: nodeName,
		Capacity: func(string, string) (map[resourceapi.QualifiedName]resource.Quantity, bool) {
			return map[resourceapi.QualifiedName]resource.Quantity{"memory": resource.MustParse("80Gi")}, true
		},
		Report: func(_ device.Claim, problem error) { p.reports = append(p.reports, problem) },
		Reconciled: func(c device.Claim, did Action) {
			p.done = append(p.done, fmt.Sprintf("%s %s/%s %s", did, c.Namespace, c.Name, c.UID))
		},
	})
	return p
}

// mustHaveDone compares what the process has put right with want, in any order, and forgets it.
func mustHaveDone(t *testing.T, p *process, want ...string) {
	t.Helper()
	slices.Sort(p.done)
	slices.Sort(want)
	if !slices.Equal(p.done, want) {
		t.Errorf("put right:\n%q\nwant\n%q", p.done, want)
	}
	p.done = nil
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// planOf returns the plan of a claim for devices such as "gpu-0", "gpu-1 admin", "gpu-2 share=s-1" or
// "gpu-2 share=s-2 takes=30Gi", of the 80Gi of memory that each device has.
func planOf(uid types.UID, devices ...string) claim.Plan {
	plan := claim.Plan{Namespace: "team-" + string(uid), Name: "train", UID: uid}
	for i, words := range devices {
		name, more, _ := strings.Cut(words, " ")
		more, takes, _ := strings.Cut(more, " takes=")
		d := claim.Device{ConfigIndex: -1, Config: gpuv1alpha1.Default()}
		d.Result = resourceapi.DeviceRequestAllocationResult{
			Request: fmt.Sprint("request-", i), Driver: driverName, Pool: nodeName, Device: name,
		}
		if share, ok := strings.CutPrefix(more, "share="); ok {
			d.Result.ShareID = new(types.UID(share))
			if takes != "" {
				d.Result.ConsumedCapacity = map[resourceapi.QualifiedName]resource.Quantity{"memory": resource.MustParse(takes)}
			}
		} else if more == "admin" {
			d.Result.AdminAccess = new(true)
		}
		plan.Devices = append(plan.Devices, d)
	}
	return plan
}

// dying runs do in a goroutine and says whether it came to its end: runtime.Goexit in it stands for the death of the
// process. No line after it runs, and deferred functions give back only what the kernel would, the locks.
func dying(do func()) (survived bool) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		do()
		survived = true
	}()
	<-done
	return survived
}

// failAt makes the given occurrence of a moment fail with what with returns. It counts the moments of the backend too.
func (p *process) failAt(occurrence int, with func(moment string) error) (moments *[]string) {
	moments = &[]string{}
	at := func(moment string) error {
		*moments = append(*moments, moment)
		if len(*moments)-1 == occurrence {
			return with(moment)
		}
		return nil
	}
	p.at, p.hardware.at = at, at
	return moments
}

func die(string) error { runtime.Goexit(); return nil }

func fail(moment string) error { return fmt.Errorf("injected %s", moment) }

// left returns what there is of any claim on the node: records, markers, CDI files, unfinished files, locks, effects.
func (n node) left(t *testing.T) []string {
	t.Helper()
	var left []string
	for _, dir := range []string{n.state, n.cdi, n.hardware} {
		must(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && !entry.IsDir() && entry.Name() != "epoch" {
				name, _ := filepath.Rel(filepath.Dir(n.state), path)
				left = append(left, name)
			}
			return err
		}))
	}
	slices.Sort(left)
	return left
}

func (n node) mustBeClean(t *testing.T) {
	t.Helper()
	if left := n.left(t); len(left) != 0 {
		t.Errorf("left on the node (I4): %v", left)
	}
}

// mustHold checks what must hold at any moment, whoever died: I2 and I3.
func (p *process) mustHold(t *testing.T) {
	t.Helper()
	for _, complaint := range p.hardware.complaints {
		t.Errorf("I3: %s", complaint)
	}
	held, bad, err := p.records.Held()
	if err != nil || len(bad) != 0 {
		t.Errorf("markers: %v, %v", bad, err)
	}
	for file, uid := range p.hardware.effects(t) {
		if known, err := p.records.Has(uid); !known || err != nil {
			t.Errorf("I2: %s is set up for %s, of which there is no record (%v)", file, uid, err)
		}
		name, share, _ := strings.Cut(file, "_")
		if by := held[checkpoint.DeviceKey{Pool: nodeName, Device: name, ShareID: share}]; by.UID != uid {
			t.Errorf("I3: %s is set up for %s and held by %v", file, uid, by)
		}
	}
}

// mustBePrepared checks I1: the record is complete, and each CDI ID resolves.
func (p *process) mustBePrepared(t *testing.T, uid types.UID, answer []Device) {
	t.Helper()
	record, err := p.records.Get(uid)
	if err != nil || record.State != checkpoint.Prepared || len(record.Devices) != len(answer) {
		t.Fatalf("I1: the record is %+v, %v", record, err)
	}
	effects := p.hardware.effects(t)
	for _, d := range record.Devices {
		if file := d.Device + "_" + d.ShareID; !d.AdminAccess && effects[file] != uid {
			t.Errorf("I1: %s is not set up for %s: %v", file, uid, effects)
		}
		if d.AdminAccess == (d.Undo != nil) {
			t.Errorf("the record does not say how to undo %+v", d)
		}
	}
	cache, err := tcdi.NewCache(tcdi.WithSpecDirs(p.cdi), tcdi.WithAutoRefresh(false))
	must(t, err)
	for _, d := range answer {
		for _, id := range d.CDIDeviceIDs {
			if cache.GetDevice(id) == nil {
				t.Errorf("I1: %s does not resolve: %v", id, cache.GetErrors())
			}
		}
	}
}

// mustEndAsIfNothingHappened prepares the claim, twice, and takes it back.
func (n node) mustEndAsIfNothingHappened(t *testing.T, plan claim.Plan, want []Device) {
	t.Helper()
	p := n.start(t)
	must(t, p.Restore(context.Background()))
	for range 2 {
		answer, err := p.Prepare(context.Background(), plan)
		must(t, err)
		mustBeEqual(t, answer, want)
		p.mustHold(t)
		p.mustBePrepared(t, plan.UID, answer)
	}
	n.mustGoAway(t, plan.UID)
}

// mustGoAway takes the claim back, twice.
func (n node) mustGoAway(t *testing.T, uid types.UID) {
	t.Helper()
	p := n.start(t)
	for range 2 {
		must(t, p.Unprepare(context.Background(), uid))
		p.mustHold(t)
		n.mustBeClean(t)
	}
}

func mustBeEqual(t *testing.T, answer, want []Device) {
	t.Helper()
	got, _ := json.Marshal(answer)
	expected, _ := json.Marshal(want)
	if string(got) != string(expected) {
		t.Errorf("I5: the answer is\n%s, it was\n%s", got, expected)
	}
}
