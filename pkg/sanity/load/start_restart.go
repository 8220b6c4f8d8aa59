package load

import (
	"context"
	"time"

	"example.com/dragoman/pkg/sanity/figures"
)

// restartWorkload is how long it takes until a driver is there again.
func restartWorkload() Workload {
	return Workload{
		Name: "restart",
		About: "From the moment at which the driver's program is executed until it has registered, and has answered the " +
			"first call, where its slices are published already: medians of up to 3 restarts with no claim prepared, and with " +
			"up to 1000.",
		Source: "an update of a driver on a node where pods run, as a DaemonSet does it",
		run:    restart,
	}
}

// mostRecords is how many claims are prepared at most when a driver starts again: more than a node ever has.
const mostRecords = 1000

// restart prepares as many claims as there are devices in between: a driver may look through all before it answers.
func restart(ctx context.Context, r *rig) error {
	devices := r.Devices[0]
	for _, n := range r.Devices {
		if n <= mostRecords {
			devices = n
		}
	}
	r.say("%d devices", devices)
	c := r.stocked(ctx, setup{devices: devices + 1})
	defer func() { c.close(ctx) }()
	has := map[*site]int{}
	c.each(func(s *site) (err error) {
		has[s] = len(s.free)
		s.asked, err = s.claims(ctx, s.take(1), 1)
		return err
	})
	c.startAgain(ctx, func(s *site) figures.Situation { return figures.Situation{Devices: has[s]} })
	r.say("%d devices, all but one prepared", devices+1)
	c.each(func(s *site) error { return s.fill(ctx, s.take(len(s.free))) })
	c.startAgain(ctx, func(s *site) figures.Situation {
		return figures.Situation{Devices: has[s], Prepared: has[s] - 1}
	})
	return nil
}

// startAgain restarts the drivers some times.
func (c *crew) startAgain(ctx context.Context, situation func(*site) figures.Situation) {
	took := map[*site]moments{}
	c.some(ctx, c.rig.starts(3), func(s *site) error {
		one, err := s.startAgain(ctx)
		if err == nil {
			took[s] = append(took[s], one)
		}
		return err
	})
	for _, s := range c.rest() {
		if len(took[s]) > 0 {
			c.rig.add(figures.Measurement{
				Driver: s.side.Driver, Situation: situation(s), Operation: "restart", Moments: took[s].summary("first answer"),
			})
		}
	}
}

func (s *site) startAgain(ctx context.Context) (map[string]time.Duration, error) {
	if err := s.end(ctx); err != nil {
		return nil, err
	}
	executed, registered, err := s.startTimed(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.prepare(ctx, s.asked[0]); err != nil {
		return nil, err
	}
	answered := time.Now()
	return map[string]time.Duration{
		registeredMoment: registered.Sub(executed), "first answer": answered.Sub(executed),
	}, s.unprepare(ctx, s.asked[0])
}
