package prepare

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"example.com/dragoman/pkg/checkpoint"
	"example.com/dragoman/pkg/claim"
	"example.com/dragoman/pkg/device"
)

// Prepared returns the claims of which something may be on this node, ordered by UID: those with a record, whatever its
// state, and those that hold a device though their record cannot be read.
func (p *Preparer) Prepared() ([]device.Claim, error) {
	records, _, err := p.o.Records.List()
	if err != nil {
		return nil, err
	}
	held, _, err := p.o.Records.Held()
	if err != nil {
		return nil, err
	}
	claims := make(map[types.UID]device.Claim, len(records))
	for _, c := range held {
		claims[c.UID] = device.Claim(c)
	}
	for _, r := range records {
		claims[r.Claim.UID] = device.Claim(r.Claim)
	}
	return slices.SortedFunc(maps.Values(claims), func(a, b device.Claim) int {
		return strings.Compare(string(a.UID), string(b.UID))
	}), nil
}

// Restore is for the start of a process. It makes again what prepared claims miss (CDI files, markers), and removes
// what no record knows of (CDI files, markers, what a [device.Sweeper] finds). Claims that somebody else works on at
// the moment are left to them. All that goes wrong is in the error, and none of it is a reason not to start.
func (p *Preparer) Restore(ctx context.Context) error {
	records, bad, err := p.o.Records.List()
	if err != nil {
		return err
	}
	var problems []error
	for _, r := range records {
		problems = append(problems, p.alone(r.Claim.UID, p.restoreClaim))
	}
	problems = append(problems, p.quarantine(bad)...)
	problems = append(problems, p.removeOrphans()...)
	c := p.begin(checkpoint.Claim{}, claim.Plan{})
	return errors.Join(append(problems, c.sweep(ctx, p.mayBeKnown))...)
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

func (p *Preparer) restoreClaim(uid types.UID) error {
	record, err := p.o.Records.Get(uid)
	if errors.Is(err, checkpoint.ErrNotFound) {
		return nil // it was taken back meanwhile
	}
	if err != nil || record.State != checkpoint.Prepared {
		return err
	}
	c := p.begin(record.Claim, claim.Plan{})
	c.record = record
	if err := c.holdDevices(context.Background()); err != nil {
		return fmt.Errorf("restore claim %s: %w", record.Claim, err)
	}
	return p.o.CDI.WriteRaw(uid, record.CDISpec)
}

// quarantine moves the records away that cannot be read, and returns what is to be said about the bad ones.
func (p *Preparer) quarantine(bad []error) []error {
	for i, problem := range bad {
		var corrupt *checkpoint.CorruptError
		if !errors.As(problem, &corrupt) || corrupt.Earlier {
			continue
		}
		err := p.alone(corrupt.UID, func(uid types.UID) error { _, err := p.o.Records.Get(uid); return err })
		if err != nil {
			bad[i] = err
		}
	}
	return bad
}

func (p *Preparer) removeOrphans() []error {
	var problems []error
	specs, err := p.o.CDI.List()
	problems = append(problems, err)
	for _, uid := range specs {
		problems = append(problems, p.ifUnknown(uid, p.o.CDI.Remove))
	}
	held, bad, err := p.o.Records.Held()
	problems = append(append(problems, bad...), err)
	for _, key := range slices.SortedFunc(maps.Keys(held), compareKeys) {
		problems = append(problems, p.ifUnknown(held[key].UID, func(uid types.UID) error {
			return p.o.Records.Release(uid, key)
		}))
	}
	return problems
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
