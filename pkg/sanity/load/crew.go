package load

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"example.com/dragoman/pkg/sanity/kubelet"
)

// crew are the sites of one phase, one for each side. One whose driver fails leaves, and the others go on.
type crew struct {
	rig   *rig
	sites []*site // those that have left included, until somebody asks for the rest
}

// rest are the sites that have not left.
func (c *crew) rest() []*site {
	c.sites = slices.DeleteFunc(c.sites, func(s *site) bool { return s.gone })
	return c.sites
}

// those are some of the sites. They are still the crew's to close.
func (c *crew) those(chosen func(*site) bool) *crew {
	return &crew{c.rig, slices.DeleteFunc(slices.Clone(c.rest()), func(s *site) bool { return !chosen(s) })}
}

// open makes a site for each side, side by side, and starts no driver. Those that cannot be made are in the report.
func (r *rig) openAll(ctx context.Context, with setup) *crew {
	opened := make([]*site, len(r.Sides))
	var opening sync.WaitGroup
	for i, side := range r.Sides {
		opening.Go(func() {
			s, err := r.open(ctx, side, with)
			if err != nil {
				r.broken(side.Driver, err)
				return
			}
			opened[i] = s
		})
	}
	opening.Wait()
	return &crew{r, slices.DeleteFunc(opened, func(s *site) bool { return s == nil })}
}

// startAll is openAll with drivers that have registered and published all of their devices.
func (r *rig) startAll(ctx context.Context, with setup) *crew {
	c := r.openAll(ctx, with)
	c.each(func(s *site) error { return s.ready(ctx) })
	return c
}

// ready starts the driver and waits until claims can be prepared.
func (s *site) ready(ctx context.Context) error {
	if err := s.start(ctx); err != nil {
		return err
	}
	if _, err := s.registered(ctx); err != nil {
		return err
	}
	_, err := s.published(ctx)
	return err
}

// close takes down all sites that have not left.
func (c *crew) close(ctx context.Context) {
	var closing sync.WaitGroup
	for _, s := range c.rest() {
		closing.Go(func() { c.leave(s, s.close(ctx)) })
	}
	closing.Wait()
	c.sites = nil
}

// leave says in the report why a site does not go on; nothing if err is nil.
func (c *crew) leave(s *site, err error) {
	var its misdeed
	switch {
	case err == nil:
	case errors.As(err, &its):
		c.rig.failed(s, its.error)
	default:
		c.rig.broken(s.side.Driver, err)
	}
}

// each does something at all sites at once.
func (c *crew) each(do func(*site) error) {
	sites := c.rest()
	errs := make([]error, len(sites))
	var doing sync.WaitGroup
	for i, s := range sites {
		doing.Go(func() { errs[i] = do(s) })
	}
	doing.Wait()
	c.keep(sites, errs)
}

// What a slow driver is spared: once a phase has taken that long at a site, so few rounds are enough.
const (
	phasePatience = time.Minute
	fewRounds     = 20
)

// alternate does something so many times at each site, never at two at once: what disturbs the machine for a while
// meets all of them. Who comes first changes from round to round.
func (c *crew) alternate(ctx context.Context, rounds int, do func(s *site, round int) error) {
	end := time.Now().Add(phasePatience * time.Duration(len(c.rest())))
	for round := range rounds {
		sites := slices.Clone(c.rest())
		if len(sites) == 0 || ctx.Err() != nil || round >= fewRounds && time.Now().After(end) {
			return
		}
		errs := make([]error, len(sites))
		for _, i := range turns(len(sites), round) {
			errs[i] = do(sites[i], round)
		}
		c.keep(sites, errs)
	}
}

// turns is the order of a round.
func turns(sites, round int) []int {
	order := make([]int, sites)
	for i := range order {
		order[i] = (i + round) % sites
	}
	return order
}

// keep takes down the sites that have an error.
func (c *crew) keep(sites []*site, errs []error) {
	for i, s := range sites {
		if errs[i] == nil {
			continue
		}
		c.leave(s, errs[i])
		s.gone = true
		if err := s.close(context.Background()); err != nil {
			c.rig.broken(s.side.Driver, err)
		}
	}
	c.rest()
}

// prepare prepares claims in one call; an error of any of them is the driver's. Safe for concurrent use.
func prepare(ctx context.Context, plugin *kubelet.Plugin, claims ...kubelet.Claim) error {
	answers, err := plugin.Prepare(ctx, claims...)
	for _, answer := range answers {
		err = errors.Join(err, answer.Err)
	}
	return theDrivers(ctx, err)
}

// unprepare unprepares claims in one call; an error of any of them is the driver's. Safe for concurrent use.
func unprepare(ctx context.Context, plugin *kubelet.Plugin, claims ...kubelet.Claim) error {
	answers, err := plugin.Unprepare(ctx, claims...)
	for _, answer := range answers {
		err = errors.Join(err, answer)
	}
	return theDrivers(ctx, err)
}

func theDrivers(ctx context.Context, err error) error {
	if err == nil || ctx.Err() != nil {
		return err
	}
	return misdeed{err}
}

func (s *site) prepare(ctx context.Context, claims ...kubelet.Claim) error {
	return prepare(ctx, s.plugin, claims...)
}

func (s *site) unprepare(ctx context.Context, claims ...kubelet.Claim) error {
	return unprepare(ctx, s.plugin, claims...)
}

// cycle prepares and unprepares a claim. Safe for concurrent use.
func (s *site) cycle(ctx context.Context, claim kubelet.Claim) error {
	if err := s.prepare(ctx, claim); err != nil {
		return err
	}
	return s.unprepare(ctx, claim)
}
