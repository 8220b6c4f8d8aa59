package fault

import (
	"context"
	"math/rand/v2"
	"slices"
	"strings"

	"example.com/dragoman/pkg/sanity/cluster"
	"example.com/dragoman/pkg/sanity/history"
	"example.com/dragoman/pkg/sanity/node"
	"example.com/dragoman/pkg/sanity/suite"
)

func (r *rig) random() []suite.Case {
	return []suite.Case{{
		Name: "random-schedule",
		Promise: "Whatever is done to the driver in whatever order, the invariants I1 to I7 hold; a schedule that " +
			"breaks one is shortened.",
		Source: sourceInvariants, Needs: []suite.Need{node.NeedsProcesses}, Timeout: 3 * long, Run: r.schedule,
	}}
}

// schedule plays a random plan; if it fails, the shortest part of it that still does is the case's failure.
func (r *rig) schedule(t *suite.T) {
	devices := r.Free(t, 3)
	claims, allocations := r.cast(devices, r.mayLook(t, devices[0]))
	w := &world{
		rig: r, claims: claims, random: rand.New(rand.NewPCG(r.Seed, 4)), lasting: map[history.Fault]func() error{},
	}
	t.Cleanup(func(ctx context.Context) {
		if err := w.end(ctx); err != nil {
			t.Errorf("tidy up: %v", err)
		}
	})
	replay := func(ctx context.Context, plan []history.Operation) (history.History, error) {
		if err := w.begin(ctx, allocations); err != nil {
			return history.History{}, err
		}
		return history.Play(ctx, w, claims, plan)
	}
	plan := history.Generate(r.Seed, r.Steps, claims, r.choices(t))
	played, err := replay(t.Context(), plan)
	t.Must(err, "play the schedule of seed %d", r.Seed)
	t.Notef("%d operations, seed %d", len(played.Events), r.Seed)
	if played.Violation == nil {
		return
	}
	soon, cancel := context.WithTimeout(t.Context(), long)
	defer cancel()
	shortest, err := history.Shrink(soon, played, 2, replay)
	if err != nil {
		t.Errorf("shorten the schedule: %v", err)
	}
	t.Errorf("seed %d breaks %v\nafter these of %d operations:\n%v", r.Seed, played.Violation, len(played.Events),
		indented(shortest.String()))
}

func indented(text string) string {
	return "    " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n    ")
}

// cast returns the claims of a schedule: rivals for devices, a claim for two, and one that looks on if it may.
func (r *rig) cast(d []cluster.Device, look bool) ([]history.Claim, []cluster.Allocation) {
	of := func(devices ...cluster.Device) []string {
		var names []string
		for _, device := range devices {
			names = append(names, device.Pool+"/"+device.Name)
		}
		return names
	}
	claims := []history.Claim{
		{Name: "a", Devices: of(d[0])}, {Name: "b", Devices: of(d[0], d[1])}, {Name: "c", Devices: of(d[1])},
		{Name: "d", Devices: of(d[2])},
	}
	allocations := []cluster.Allocation{
		r.Cluster.Allocate(d[0]), r.Cluster.Allocate(d[0], d[1]), r.Cluster.Allocate(d[1]), r.Cluster.Allocate(d[2]),
	}
	if look {
		claims = append(claims, history.Claim{Name: "e", Devices: of(d[0]), Shares: true})
		allocations = append(allocations, r.Cluster.Admin(d[0]))
	}
	return claims, allocations
}

// choices leaves out what cannot be done here, and says so.
func (r *rig) choices(t *suite.T) []history.Choice {
	noProxy, noDisks := r.whyNoProxy(), r.whyNoDisks()
	if noDisks == "" && !r.canLock() {
		noDisks = "the file systems cannot be made read-only"
	}
	var missing []string
	for _, why := range []string{noProxy, noDisks} {
		if why != "" {
			missing = append(missing, why)
		}
	}
	if len(missing) > 0 {
		t.Notef("the schedule is without some faults: %s", strings.Join(missing, "; "))
	}
	return slices.DeleteFunc(history.Everything(), func(c history.Choice) bool {
		switch c.Fault {
		case history.NoAPIServer:
			return noProxy != ""
		case history.FullDisk:
			return r.whyNoDisks() != ""
		case history.ReadOnly:
			return noDisks != ""
		default:
			return false
		}
	})
}

// canLock tries whether the disks can be made read-only.
func (r *rig) canLock() bool {
	for _, d := range r.disksOf() {
		unlock, err := d.lock()
		if err != nil || unlock() != nil {
			return false
		}
	}
	return true
}
