package load

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"example.com/dragoman/pkg/sanity/figures"
	"example.com/dragoman/pkg/sanity/kubelet"
)

// pods is how many pods a node has at most, unless it is told otherwise.
const pods = 110

// late is a site whose API server takes its time.
func (r *rig) late(devices int) setup { return setup{devices: devices, delay: r.Delay} }

func claimsPerCall(ctx context.Context, r *rig) error {
	sizes := []int{1, 4, 8, 32}
	c := r.stocked(ctx, r.late(slices.Max(sizes)))
	defer c.close(ctx)
	for _, size := range sizes {
		there := c.withClaims(ctx, size)
		l := timings{}
		there.alternate(ctx, r.part(4), func(s *site, _ int) error {
			t := l.at(s)
			if err := t.of(opPrepare, func() error { return s.prepare(ctx, s.asked...) }); err != nil {
				return err
			}
			return t.of(opUnprepare, func() error { return s.unprepare(ctx, s.asked...) })
		})
		there.tell(l, figures.Situation{Claims: size, APIDelay: figures.Of(r.Delay)}, opPrepare, opUnprepare)
	}
	return nil
}

// withClaims makes so many claims with a device each, and leaves sites out that have fewer devices.
func (c *crew) withClaims(ctx context.Context, n int) *crew {
	there := c.those(func(s *site) bool { return n <= len(s.free) })
	for _, s := range c.those(func(s *site) bool { return n > len(s.free) }).sites {
		c.rig.notRun(s.side.Driver, "%d claims cannot be prepared at once: the driver publishes %d devices that a claim may "+
			"have for itself", n, len(s.free))
	}
	there.each(func(s *site) (err error) {
		s.asked, err = s.claims(ctx, s.free, n)
		return err
	})
	return there
}

func callers(ctx context.Context, r *rig) error {
	c := r.stocked(ctx, r.late(pods))
	defer c.close(ctx)
	for _, callers := range []int{1, 4, 16, 64, pods} {
		there, l := c.withClaims(ctx, callers), timings{}
		took, spent, done := map[*site]time.Duration{}, map[*site]time.Duration{}, map[*site]int{}
		cycles := max(1, r.Rounds/callers) // of each caller
		there.alternate(ctx, min(r.Rounds, 3), func(s *site, _ int) error {
			_, before, err := s.process()
			if err != nil {
				return err
			}
			began := time.Now()
			if err := s.loop(ctx, l.at(s), cycles); err != nil {
				return err
			}
			took[s] += time.Since(began)
			done[s] += callers * cycles
			_, after, err := s.process()
			spent[s] += after - before
			return err
		})
		situation := figures.Situation{Callers: callers, APIDelay: figures.Of(r.Delay)}
		there.tell(l, situation, opPrepare, opUnprepare)
		for _, s := range there.rest() {
			r.add(figures.Measurement{
				Driver: s.side.Driver, Situation: situation, Operation: opCycle,
				Throughput: float64(done[s]) / took[s].Seconds(),
				CPU:        figures.Of(spent[s] / time.Duration(max(1, done[s]))),
			})
		}
	}
	return nil
}

// loop has a caller for each claim, that prepares and unprepares it so many times.
func (s *site) loop(ctx context.Context, all times, cycles int) error {
	var mutex sync.Mutex
	callers, ctx := errgroup.WithContext(ctx)
	for _, claim := range s.asked {
		callers.Go(func() error {
			mine := times{}
			for range cycles {
				if err := mine.of(opPrepare, func() error { return s.prepare(ctx, claim) }); err != nil {
					return err
				}
				if err := mine.of(opUnprepare, func() error { return s.unprepare(ctx, claim) }); err != nil {
					return err
				}
			}
			mutex.Lock()
			defer mutex.Unlock()
			for operation, taken := range mine {
				all[operation] = append(all[operation], taken...)
			}
			return nil
		})
	}
	return callers.Wait()
}

func storm(ctx context.Context, r *rig) error {
	c := r.stocked(ctx, r.late(pods))
	defer c.close(ctx)
	there, l := c.withClaims(ctx, pods), timings{}
	there.alternate(ctx, min(r.Rounds, 5), func(s *site, _ int) error {
		now := make([]time.Duration, len(s.asked))
		if err := s.come(ctx, now, s.prepare, l.at(s), opPrepare); err != nil {
			return err
		}
		return s.come(ctx, now, s.unprepare, l.at(s), opUnprepare)
	})
	there.tell(l, figures.Situation{Callers: pods, APIDelay: figures.Of(r.Delay)}, opPrepare, opUnprepare)
	return nil
}

// come makes a call for each claim, at its moment after now. A call counts from the moment at which it should have
// begun: if this machine is late, those who wait do not wait less.
func (s *site) come(
	ctx context.Context, moments []time.Duration, call func(context.Context, ...kubelet.Claim) error, t times, as string,
) error {
	taken := make([]time.Duration, len(s.asked))
	calls, calling := errgroup.WithContext(ctx)
	began := time.Now()
	for i, claim := range s.asked {
		if err := sleepUntil(calling, began.Add(moments[i])); err != nil {
			break // the error of the call that ended it is better
		}
		calls.Go(func() error {
			err := call(calling, claim)
			taken[i] = time.Since(began) - moments[i]
			return err
		})
	}
	if err := errors.Join(calls.Wait(), ctx.Err()); err != nil {
		return err
	}
	t[as] = append(t[as], taken...)
	return nil
}

func sleepUntil(ctx context.Context, moment time.Time) error {
	long := time.Until(moment)
	if long <= 0 {
		return nil
	}
	select {
	case <-time.After(long):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// How claims come in the open loop.
const (
	openRate   = 100 // in a second
	openClaims = 100 // before it is the other driver's turn
)

func openLoop(ctx context.Context, r *rig) error {
	c := r.stocked(ctx, r.late(openClaims))
	defer c.close(ctx)
	there, l := c.withClaims(ctx, openClaims), timings{}
	there.alternate(ctx, min(r.Rounds, 5), func(s *site, round int) error {
		moments := arrivals(r.Seed+uint64(round), openClaims)
		if err := s.come(ctx, moments, s.prepare, l.at(s), opPrepare); err != nil {
			return err
		}
		return s.unprepare(ctx, s.asked...)
	})
	there.tell(l, figures.Situation{Rate: openRate, APIDelay: figures.Of(r.Delay)}, opPrepare)
	return nil
}

// arrivals are the moments at which pods come that know nothing of each other, openRate in a second on average
// (a Poisson process). The same seed brings the same ones.
func arrivals(seed uint64, n int) []time.Duration {
	random := rand.New(rand.NewPCG(seed, seed))
	moments, now := make([]time.Duration, n), 0.0
	for i := range moments {
		now += random.ExpFloat64() / openRate
		moments[i] = time.Duration(now * float64(time.Second))
	}
	return moments
}
