package load

import (
	"context"
	"errors"
	"slices"
	"time"

	"example.com/dragoman/pkg/sanity/cluster"
	"example.com/dragoman/pkg/sanity/figures"
)

// spare are the devices besides those of claims that stay prepared: the claims that are timed have one after the other.
const spare = 64

// stage is how far a site is with claims that stay prepared.
type stage struct {
	reachable []int            // numbers of prepared claims for which there are devices
	fill      []cluster.Device // for claims that stay prepared
	prepared  int              // how many of these are
	timed     []cluster.Device // for the claims that are timed
}

// divide divides the free devices, and says in the report which numbers of claims cannot be reached with them.
func (r *rig) divide(s *site, prepared []int) {
	have := len(s.free)
	for _, n := range prepared {
		if n < have {
			s.stage.reachable = append(s.stage.reachable, n)
			continue
		}
		r.notRun(s.side.Driver, "%d claims cannot be prepared already: the driver publishes %d devices that a claim may "+
			"have for itself, and one more claim is needed", n, have)
	}
	if len(s.stage.reachable) > 0 {
		s.stage.fill, s.stage.timed = s.take(slices.Max(s.stage.reachable)), s.take(spare)
	}
}

// reach prepares claims until so many are. A site that does not get there has said so in the report.
func (r *rig) reach(ctx context.Context, s *site, n int) error {
	at := &s.stage
	if !slices.Contains(at.reachable, n) {
		return nil
	}
	err := s.fill(ctx, at.fill[at.prepared:n])
	if errors.Is(err, errTooSlow) {
		for _, later := range at.reachable[slices.Index(at.reachable, n):] {
			r.notRun(s.side.Driver, "%d claims cannot be prepared already: on the way from %d on, %v", later, at.prepared, err)
		}
		at.reachable, at.prepared = nil, -1
		return nil
	}
	at.prepared = n
	return err
}

// climb goes through numbers of prepared claims, ascending, with those sites that get there.
func (c *crew) climb(ctx context.Context, prepared []int, do func(there *crew, n int)) {
	for _, s := range c.rest() {
		c.rig.divide(s, prepared)
	}
	for _, n := range prepared {
		if len(c.rest()) == 0 || ctx.Err() != nil {
			return
		}
		c.rig.say("%d claims prepared already", n)
		c.each(func(s *site) error { return c.rig.reach(ctx, s, n) })
		there := c.those(func(s *site) bool { return s.stage.prepared == n && slices.Contains(s.stage.reachable, n) })
		do(there, n)
	}
}

func besidePrepared(ctx context.Context, r *rig) error {
	c := r.stocked(ctx, setup{devices: slices.Max(r.Prepared) + spare})
	defer c.close(ctx)
	c.climb(ctx, r.Prepared, func(there *crew, n int) {
		situation := figures.Situation{Prepared: n}
		there.timeCalls(ctx, situation)
		there.timeProcessor(ctx, situation)
	})
	return nil
}

// timeCalls times prepare, a repeated prepare and unprepare, of one new claim after the other.
func (c *crew) timeCalls(ctx context.Context, situation figures.Situation) {
	l, rounds := timings{}, c.rig.Rounds
	c.newClaims(ctx, rounds)
	c.alternate(ctx, rounds, func(s *site, round int) error {
		claim, t := s.asked[round], l.at(s)
		return errors.Join(
			t.of(opPrepare, func() error { return s.prepare(ctx, claim) }),
			t.of(opAgain, func() error { return s.prepare(ctx, claim) }),
			t.of(opUnprepare, func() error { return s.unprepare(ctx, claim) }))
	})
	c.tell(l, situation, opPrepare, opAgain, opUnprepare)
}

// timeProcessor measures the processor time of prepare and unprepare, and what the process has afterwards.
func (c *crew) timeProcessor(ctx context.Context, situation figures.Situation) {
	type account struct {
		spent   time.Duration
		cycles  int
		process figures.Process
	}
	accounts, rounds := map[*site]*account{}, c.rig.Rounds
	c.newClaims(ctx, rounds)
	for _, s := range c.rest() {
		accounts[s] = &account{}
	}
	look := func(s *site, sign time.Duration) error {
		process, spent, err := s.process()
		accounts[s].process = process
		accounts[s].spent += sign * spent
		return err
	}
	c.each(func(s *site) error { return look(s, -1) })
	c.alternate(ctx, rounds, func(s *site, round int) error {
		accounts[s].cycles++
		return s.cycle(ctx, s.asked[round])
	})
	c.each(func(s *site) error { return look(s, +1) })
	for _, s := range c.rest() {
		a := accounts[s]
		c.rig.add(figures.Measurement{
			Driver: s.side.Driver, Situation: situation, Operation: opCycle, Process: &a.process,
			CPU: figures.Of(a.spent / time.Duration(max(1, a.cycles))),
		})
	}
}

// newClaims makes new claims to be timed, in place of those before.
func (c *crew) newClaims(ctx context.Context, n int) {
	c.each(func(s *site) (err error) {
		s.asked, err = s.claims(ctx, s.stage.timed, n)
		return err
	})
}
