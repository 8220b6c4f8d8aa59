package load

import (
	"context"
	"errors"
	"slices"
	"sync"

	"example.com/dragoman/pkg/sanity/figures"
	"example.com/dragoman/pkg/sanity/footprint"
	"example.com/dragoman/pkg/sanity/kubelet"
)

// How many claims are prepared and unprepared while something is counted, and beside how many, at most.
const (
	countedClaims = 50
	countedBeside = 1000
)

func counted(ctx context.Context, r *rig) error {
	prepared := slices.DeleteFunc(slices.Clone(r.Prepared), func(n int) bool { return n > countedBeside })
	if len(prepared) == 0 {
		prepared = []int{0}
	}
	if r.Strace == "" {
		r.notRun("", "system calls are not counted: that needs strace in the PATH")
	}
	c := r.stocked(ctx, setup{devices: slices.Max(prepared) + spare, proxied: true})
	defer c.close(ctx)
	c.climb(ctx, prepared, func(there *crew, n int) {
		there.newClaims(ctx, min(countedClaims, r.Rounds))
		there.countRequests(ctx, n)
		if r.Strace != "" {
			there.countSystemCalls(ctx, n)
		}
	})
	return nil
}

// countRequests counts the requests that claims cost, operation by operation.
func (c *crew) countRequests(ctx context.Context, prepared int) {
	var mutex sync.Mutex
	counts := map[*site]map[string]map[string]float64{}
	c.each(func(s *site) error {
		of := map[string]map[string]float64{}
		some := s.asked[:min(len(s.asked), len(s.stage.timed))] // they are prepared at the same time
		for _, operation := range []string{opPrepare, opAgain, opUnprepare} {
			do := map[string]func(context.Context, ...kubelet.Claim) error{opUnprepare: s.unprepare}[operation]
			if do == nil {
				do = s.prepare
			}
			before := s.requests()
			for _, claim := range some {
				if err := do(ctx, claim); err != nil {
					return err
				}
			}
			of[operation] = more(s.requests(), before, len(some))
		}
		mutex.Lock()
		defer mutex.Unlock()
		counts[s] = of
		return nil
	})
	for _, operation := range []string{opPrepare, opAgain, opUnprepare} {
		for _, s := range c.rest() {
			c.rig.add(figures.Measurement{
				Driver: s.side.Driver, Situation: figures.Situation{Prepared: prepared}, Operation: operation,
				Requests: counts[s][operation], PerClaim: true,
			})
		}
	}
}

// more is by how much counts have grown, for each claim.
func more(after, before map[string]float64, claims int) map[string]float64 {
	grown := map[string]float64{}
	for what, count := range after {
		if by := count - before[what]; by != 0 {
			grown[what] = by / float64(claims)
		}
	}
	return grown
}

// countSystemCalls counts the system calls that preparing and unpreparing a claim takes.
func (c *crew) countSystemCalls(ctx context.Context, prepared int) {
	var mutex sync.Mutex
	counts := map[*site]map[string]float64{}
	c.each(func(s *site) error {
		calls, err := footprint.Calls(ctx, c.rig.Strace, s.pid, func() error {
			for _, claim := range s.asked {
				if err := s.cycle(ctx, claim); err != nil {
					return err
				}
			}
			return nil
		})
		if errors.Is(err, footprint.ErrNotTraced) {
			c.rig.notRun(s.side.Driver, "system calls are not counted: %v", err)
			return nil
		}
		if err != nil {
			return err
		}
		mutex.Lock()
		defer mutex.Unlock()
		counts[s] = map[string]float64{}
		for name, count := range calls {
			counts[s][name] = float64(count) / float64(len(s.asked))
		}
		return nil
	})
	for _, s := range c.rest() {
		if counts[s] == nil {
			continue
		}
		c.rig.add(figures.Measurement{
			Driver: s.side.Driver, Situation: figures.Situation{Prepared: prepared}, Operation: opCycle,
			SystemCalls: counts[s], PerClaim: true,
		})
	}
}
