package load

import (
	"context"
	"slices"
	"time"

	"example.com/dragoman/pkg/sanity/figures"
)

// When and how the driver's memory is looked at.
const (
	idleAfter   = 10 * time.Second // since its start, or since the claims were prepared
	idleDevices = 8
	heldClaims  = 1000
)

func footprints(ctx context.Context, r *rig) error {
	rest := func() error { return sleepUntil(ctx, time.Now().Add(idleAfter)) }
	idle := r.startAll(ctx, setup{devices: idleDevices})
	defer idle.close(ctx)
	if err := rest(); err != nil {
		return err
	}
	idle.tellProcess("idle", figures.Situation{Devices: idleDevices})
	idle.close(ctx)

	most := min(heldClaims, slices.Max(r.Prepared))
	held := r.stocked(ctx, setup{devices: most + spare})
	defer held.close(ctx)
	var err error
	held.climb(ctx, []int{most}, func(there *crew, n int) {
		if err = rest(); err == nil {
			there.tellProcess("prepared", figures.Situation{Prepared: n, Devices: n + spare})
		}
	})
	return err
}

// tellProcess adds to the report what the processes have now.
func (c *crew) tellProcess(operation string, situation figures.Situation) {
	processes := map[*site]*figures.Process{}
	for _, s := range c.rest() {
		processes[s] = &figures.Process{}
	}
	c.each(func(s *site) (err error) {
		*processes[s], _, err = s.process()
		return err
	})
	for _, s := range c.rest() {
		c.rig.add(figures.Measurement{
			Driver: s.side.Driver, Situation: situation, Operation: operation, Process: processes[s],
		})
	}
}
