package prepare

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"example.com/dragoman/pkg/cdi"
	"example.com/dragoman/pkg/checkpoint"
	"example.com/dragoman/pkg/claim"
	"example.com/dragoman/pkg/device"
)

// Action is something that was put right without a call of the kubelet.
type Action string

// All actions.
const (
	MadeCDIFile       Action = "cdi_file_made"      // of a prepared claim, where it was missing or another one
	MadeMarker        Action = "marker_made"        // of a device that a prepared claim owns
	RemovedCDIFile    Action = "cdi_file_removed"   // of which no record knows
	RemovedMarker     Action = "marker_removed"     // which no record knows of, and which does not name a claim
	SweptBackend      Action = "backend_swept"      // of what was left of a claim that no record knows of
	QuarantinedRecord Action = "record_quarantined" // because it could not be read
	TookBackClaim     Action = "claim_taken_back"   // because it does not exist any more
)

// Actions returns all actions.
func Actions() []Action {
	return []Action{MadeCDIFile, MadeMarker, RemovedCDIFile, RemovedMarker, SweptBackend, QuarantinedRecord, TookBackClaim}
}

// State says how far a claim has come.
type State string

// The states of a claim of which something may be on the node.
const (
	Preparing   State = State(checkpoint.Preparing)
	Prepared    State = State(checkpoint.Prepared)
	Unpreparing State = State(checkpoint.Unpreparing)
	// Unreadable means that only markers tell of the claim: its record cannot be read, or is gone.
	Unreadable State = "Unreadable"
)

// Remembered is a claim of which something may be on the node.
type Remembered struct {
	Claim device.Claim
	State State
	// Devices are without CDI IDs, and unknown in part if the record is unreadable.
	Devices []Device
}

// Remembered returns the claims of which something may be on this node, ordered by UID: those with a record, whatever
// its state, and those that hold a device though their record cannot be read or is gone.
func (p *Preparer) Remembered() ([]Remembered, error) {
	recorded, _, err := p.o.Records.Claims()
	if err != nil {
		return nil, err
	}
	held, _, err := p.o.Records.Held()
	if err != nil {
		return nil, err
	}
	all := make(map[types.UID]Remembered, len(recorded))
	for _, key := range slices.SortedFunc(maps.Keys(held), checkpoint.DeviceKey.Compare) {
		c := all[held[key].UID]
		c.Claim, c.State = device.Claim(held[key]), Unreadable
		c.Devices = append(c.Devices, remembered(checkpoint.Device{DeviceKey: key}))
		all[c.Claim.UID] = c
	}
	for _, uid := range recorded {
		r, err := p.o.Records.Look(uid)
		if err != nil {
			continue // its markers tell
		}
		c := Remembered{Claim: device.Claim(r.Claim), State: State(r.State)}
		for _, d := range r.Devices {
			c.Devices = append(c.Devices, remembered(d))
		}
		all[r.Claim.UID] = c
	}
	return slices.SortedFunc(maps.Values(all), func(a, b Remembered) int {
		return strings.Compare(string(a.Claim.UID), string(b.Claim.UID))
	}), nil
}

func remembered(d checkpoint.Device) Device {
	shows := shownOf(d.Shown)
	known := Device{Request: d.Request, Pool: d.Pool, Device: d.Device, Network: shows.Network, Data: shows.Data}
	if d.ShareID != "" {
		known.ShareID = new(types.UID(d.ShareID))
	}
	return known
}

// ErrUnfinished means that there was more to look at than a start may take.
var ErrUnfinished = errors.New("not all claims were looked at yet")

// restoredAtOnce is how many claims Restore looks at in detail: more than there are pods on a node, and no more than
// the kubelet can wait for.
const restoredAtOnce = 500

// Restore is for the start of a process, before the kubelet is served. It removes what no record knows of: CDI files,
// and what a [device.Sweeper] finds. Later nothing is removed for want of a record: a process that dies leaves nothing
// without one, so somebody else removed the record, and a container may be using what is left. For the same reason a
// marker stays that names a claim: whether it is gone is for the API server to say.
//
// Then it does what [Preparer.Repair] does, but for so many claims only as are on a node. If there are more, and
// nothing else is wrong, the error is [ErrUnfinished]. After any error the rest is for Repair to do.
func (p *Preparer) Restore(ctx context.Context) error {
	held, bad, err := p.o.Records.Held()
	if err != nil {
		return err
	}
	for _, problem := range bad {
		p.reportOnce(checkpoint.Claim{}, problem)
	}
	known := make(map[types.UID]bool, len(held))
	for _, c := range held { // of this boot, as the markers are
		known[c.UID] = known[c.UID] || isNamed(c)
	}
	recorded, quarantined, err := p.o.Records.Claims() // which saves looking for each
	for _, uid := range recorded {
		known[uid] = true
	}
	problems := []error{err, p.removeOrphanSpecs(known), p.removeOrphanMarkers(held), p.sweepOrphans(ctx, known)}
	claims := slices.Concat(recorded, quarantined)
	problems = append(problems, p.repair(ctx, claims[:min(len(claims), p.atOnce)], held))
	if err := errors.Join(problems...); err != nil || len(claims) <= p.atOnce {
		return err
	}
	return ErrUnfinished
}

// Repair makes again what prepared claims miss (CDI files, markers), and moves records away that cannot be read. Claims
// that somebody else works on at the moment are left to them. All that goes wrong is in the error, and can be done
// another time.
func (p *Preparer) Repair(ctx context.Context) error {
	held, _, err := p.o.Records.Held() // before the records: a claim that is prepared meanwhile lacks nothing
	if err != nil {
		return err
	}
	recorded, quarantined, err := p.o.Records.Claims()
	if err != nil {
		return err
	}
	return p.repair(ctx, slices.Concat(recorded, quarantined), held)
}

func (p *Preparer) repair(
	ctx context.Context, claims []types.UID, held map[checkpoint.DeviceKey]checkpoint.Claim,
) error {
	var problems, bad []error
	for _, uid := range claims {
		if ctx.Err() != nil {
			return errors.Join(append(problems, ctx.Err())...)
		}
		record, err := p.o.Records.Look(uid)
		switch {
		case errors.Is(err, checkpoint.ErrNotFound):
		case err != nil:
			bad = append(bad, err)
		case !p.isComplete(record, held):
			problems = append(problems, p.alone(uid, func(uid types.UID) error { return p.repairClaim(uid, held) }))
		}
	}
	return errors.Join(append(problems, p.quarantine(bad, held))...)
}

// isComplete looks without a lock, since most claims are: then nothing is to be done.
func (p *Preparer) isComplete(record *checkpoint.Record, held map[checkpoint.DeviceKey]checkpoint.Claim) bool {
	if record.State != checkpoint.Prepared {
		return true // the kubelet repeats its call, or gives the claim up
	}
	for _, d := range record.Devices {
		if !d.AdminAccess && held[d.DeviceKey].UID != record.Claim.UID {
			return false
		}
	}
	return p.o.CDI.Says(record.Claim.UID, record.CDISpec) && !p.o.CDI.Interrupted(record.Claim.UID)
}

// filesLook is what came of the last look for missing CDI files.
type filesLook struct {
	mu    sync.Mutex
	stamp cdi.Stamp
	sure  bool // nothing was missing, a while after the directory got that stamp
}

// RepairFiles makes CDI files again that prepared claims have lost altogether. While nothing changes in the directory,
// that is one system call; otherwise it reads names of files, unless one is missing. So it can be done every few
// seconds.
func (p *Preparer) RepairFiles(ctx context.Context) error {
	p.files.mu.Lock()
	defer p.files.mu.Unlock()
	stamp, err := p.o.CDI.Stamp()
	if err != nil || stamp == p.files.stamp && p.files.sure {
		return err
	}
	missing, err := p.repairMissingFiles(ctx)
	p.files.sure = missing == 0 && err == nil && stamp == p.files.stamp
	p.files.stamp = stamp
	return err
}

func (p *Preparer) repairMissingFiles(ctx context.Context) (missing int, err error) {
	recorded, _, err := p.o.Records.Claims() // before the files, which are older than the proof in the record
	if err != nil {
		return 0, err
	}
	specs, err := p.o.CDI.List()
	if err != nil {
		return 0, err
	}
	var problems []error
	for _, uid := range recorded {
		if _, there := slices.BinarySearch(specs, uid); there || ctx.Err() != nil {
			continue
		}
		missing++
		problems = append(problems, p.alone(uid, func(uid types.UID) error {
			record, err := p.o.Records.Get(uid)
			if err != nil || record.State != checkpoint.Prepared {
				return nil //nolint:nilerr // [Preparer.Repair] says so
			}
			return p.repairSpec(record)
		}))
	}
	return missing, errors.Join(problems...)
}

// alone does something with a claim if nobody else is working on it.
func (p *Preparer) alone(uid types.UID, do func(types.UID) error) error {
	unlock, err := p.o.Records.TryLock(uid)
	if err != nil || unlock == nil {
		return err
	}
	defer unlock()
	return do(uid)
}

// repairClaim knows from held who owned what a moment ago.
func (p *Preparer) repairClaim(uid types.UID, held map[checkpoint.DeviceKey]checkpoint.Claim) error {
	record, err := p.o.Records.Get(uid)
	switch {
	case errors.Is(err, checkpoint.ErrNotFound):
		return nil // it was taken back meanwhile
	case err != nil:
		return err
	case record.State != checkpoint.Prepared:
		return nil // the kubelet repeats its call, or gives the claim up
	}
	c := p.begin(record.Claim, claim.Plan{})
	c.record = record
	for _, d := range c.owned() {
		if held[d.DeviceKey].UID == uid {
			continue
		}
		if err := p.repairMarker(d, record.Claim); err != nil {
			return fmt.Errorf("restore claim %s: %w", record.Claim, err)
		}
	}
	return p.repairSpec(record)
}

func (p *Preparer) repairMarker(d checkpoint.Device, by checkpoint.Claim) error {
	now, _, err := p.o.Records.Held()
	if err != nil || now[d.DeviceKey].UID == by.UID {
		return err
	}
	if err := p.o.Records.Hold(d, by); err != nil {
		return err
	}
	p.reconciled(by, MadeMarker)
	return nil
}

func (p *Preparer) repairSpec(record *checkpoint.Record) error {
	uid, there := record.Claim.UID, p.o.CDI.Says(record.Claim.UID, record.CDISpec)
	err := p.o.CDI.WriteRaw(uid, record.CDISpec) // which removes an unfinished file too
	if err == nil && !there {
		p.reconciled(record.Claim, MadeCDIFile)
	}
	return err
}

// quarantine moves the records away that cannot be read, tells of all bad ones, and returns what it cannot do.
func (p *Preparer) quarantine(bad []error, held map[checkpoint.DeviceKey]checkpoint.Claim) error {
	names := make(map[types.UID]checkpoint.Claim, len(held))
	for _, c := range held {
		names[c.UID] = c
	}
	var problems []error
	for _, problem := range bad {
		var corrupt *checkpoint.CorruptError
		var newer *checkpoint.VersionError
		switch {
		case errors.As(problem, &newer):
			p.reportOnce(named(newer.UID, names), problem)
		case !errors.As(problem, &corrupt):
			problems = append(problems, problem)
		case corrupt.Earlier:
			p.reportOnce(named(corrupt.UID, names), problem)
		default:
			problems = append(problems, p.alone(corrupt.UID, func(uid types.UID) error {
				_, err := p.o.Records.Get(uid)
				return p.noteUnreadable(named(uid, names), err)
			}))
		}
	}
	return errors.Join(problems...)
}

func named(uid types.UID, names map[types.UID]checkpoint.Claim) checkpoint.Claim {
	if c, ok := names[uid]; ok {
		return c
	}
	return checkpoint.Claim{UID: uid}
}

// noteUnreadable tells of a record that was just moved away, and returns err if it is about something else.
func (p *Preparer) noteUnreadable(c checkpoint.Claim, err error) error {
	var corrupt *checkpoint.CorruptError
	switch {
	case errors.Is(err, checkpoint.ErrNotFound):
		return nil
	case !errors.As(err, &corrupt):
		return err
	case !corrupt.Earlier && corrupt.QuarantinedTo != "":
		p.reconciled(c, QuarantinedRecord)
	}
	p.reportOnce(c, err)
	return nil
}

func (p *Preparer) removeOrphanSpecs(known map[types.UID]bool) error {
	specs, err := p.o.CDI.List()
	problems := []error{err}
	for _, uid := range specs {
		if known[uid] {
			continue
		}
		problems = append(problems, p.ifUnknown(uid, func(uid types.UID) error {
			err := p.o.CDI.Remove(uid)
			if err == nil {
				p.reconciled(checkpoint.Claim{UID: uid}, RemovedCDIFile)
			}
			return err
		}))
	}
	return errors.Join(problems...)
}

func (p *Preparer) removeOrphanMarkers(held map[checkpoint.DeviceKey]checkpoint.Claim) error {
	var problems []error
	for _, key := range slices.SortedFunc(maps.Keys(held), checkpoint.DeviceKey.Compare) {
		if isNamed(held[key]) {
			continue
		}
		problems = append(problems, p.ifUnknown(held[key].UID, func(uid types.UID) error {
			err := p.o.Records.Release(uid, key)
			if err == nil {
				p.reconciled(held[key], RemovedMarker)
			}
			return err
		}))
	}
	return errors.Join(problems...)
}

func isNamed(c checkpoint.Claim) bool { return c.Namespace != "" && c.Name != "" }

// sweepOrphans has the backend remove what it finds of claims that neither a record nor a marker knows of.
func (p *Preparer) sweepOrphans(ctx context.Context, known map[types.UID]bool) error {
	var unknown []types.UID
	err := p.begin(checkpoint.Claim{}, claim.Plan{}).sweep(ctx, func(uid types.UID) bool {
		if known[uid] || p.mayBeKnown(uid) {
			return true
		}
		if !slices.Contains(unknown, uid) {
			unknown = append(unknown, uid)
		}
		return false
	})
	if err != nil {
		return err
	}
	for _, uid := range unknown {
		p.reconciled(checkpoint.Claim{UID: uid}, SweptBackend)
	}
	return nil
}

// ifUnknown does something with a claim that has no record. It looks twice, since most claims have one and looking
// alone costs more.
func (p *Preparer) ifUnknown(uid types.UID, do func(types.UID) error) error {
	if p.mayBeKnown(uid) {
		return nil
	}
	return p.alone(uid, func(uid types.UID) error {
		if p.mayBeKnown(uid) {
			return nil
		}
		return do(uid)
	})
}
