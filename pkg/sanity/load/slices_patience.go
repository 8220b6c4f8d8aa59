package load

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"example.com/dragoman/pkg/sanity/figures"
)

const (
	// poolPatience is how long a driver may take for a complete pool; who writes 5 slices a second, as clients do by
	// default, needs half a minute for 10,000 devices.
	poolPatience = 90 * time.Second
	// backPatience is how long it may take for slices that were deleted; the DRA library's defaults wait half a minute.
	backPatience = 60 * time.Second
	// settled is how long a driver that publishes fewer devices than it was asked for may take for the next one.
	settled = 3 * time.Second
	// enough is how long one driver keeps the others waiting with one thing, done several times.
	enough = 15 * time.Second
)

// tooSlow is an error that is a result: the driver was given time, and more of it would keep everybody waiting.
type tooSlow struct{ error }

func (e tooSlow) Unwrap() error { return e.error }

// complete says whether a scheduler could use the pools.
func complete(now seen) bool { return !now.complete.IsZero() }

// record begins to follow the driver's slices.
func (s *site) record(ctx context.Context) (*recorder, error) {
	return record(ctx, s.cluster.Client, s.cluster.Node, s.side.Driver)
}

// await waits until what is seen is as wanted, for at most so long and only while the driver runs.
func (s *site) await(
	ctx context.Context, watched *recorder, long time.Duration, what string, wanted func(seen) bool,
) (seen, error) {
	waiting, cancel := s.whileItRuns(ctx, long)
	defer cancel()
	now, err := watched.until(waiting, wanted)
	switch {
	case err == nil:
		return now, nil
	case ctx.Err() == nil && (s.instance == nil || !s.instance.Ended()):
		return now, tooSlow{fmt.Errorf("there was not %s within %v: there were %d slices with %d devices", what, long,
			now.slices, now.devices)}
	default:
		return now, s.blame(ctx, waiting, err)
	}
}

// pool waits until the pools are complete, with so many devices. Some drivers have others, whatever they are told: so
// it also ends when they are complete and no device was added for a while.
func (s *site) pool(ctx context.Context, watched *recorder, devices int) (seen, error) {
	for {
		now, err := s.await(ctx, watched, poolPatience, "a complete pool", complete)
		if err != nil || now.devices >= devices {
			return now, err
		}
		grown := func(n seen) bool { return n.devices > now.devices }
		more, err := s.await(ctx, watched, settled, "one more device", grown)
		switch _, slow := errors.AsType[tooSlow](err); {
		case slow && complete(more):
			return more, nil
		case err != nil && !slow:
			return more, err
		}
	}
}

// starts is how often something is done that takes as long as a start: so many times, or fewer if operations are not
// timed often either.
func (r *rig) starts(most int) int {
	const usual = 200 // rounds
	return max(1, min(most, most*r.Rounds/usual))
}

// some does something so many times at each site, in turns; fewer times at one for which it takes long, and never again
// at one that was too slow, which the report says.
func (c *crew) some(ctx context.Context, times int, do func(*site) error) {
	spent := map[*site]time.Duration{}
	c.alternate(ctx, times, func(s *site, _ int) error {
		if spent[s] > enough {
			return nil
		}
		began := time.Now()
		err := do(s)
		spent[s] += time.Since(began)
		if slow, ok := errors.AsType[tooSlow](err); ok {
			spent[s] = math.MaxInt64
			c.rig.notRun(s.side.Driver, "%v", slow)
			return nil
		}
		return err
	})
}

// moments are times since the beginning of something that is done several times.
type moments []map[string]time.Duration

// summary is the median of each moment, of an even number the later one of the two in the middle; and if there are
// several also the latest of those that matter most.
func (m moments) summary(most ...string) map[string]figures.Milliseconds {
	by := map[string][]time.Duration{}
	for _, one := range m {
		for name, moment := range one {
			by[name] = append(by[name], moment)
		}
	}
	summary := map[string]figures.Milliseconds{}
	for name, all := range by {
		slices.Sort(all)
		summary[name] = figures.Of(all[len(all)/2])
		if len(all) > 1 && slices.Contains(most, name) {
			summary["slowest "+name] = figures.Of(all[len(all)-1])
		}
	}
	return summary
}

// since is what came to counts.
func since(before, after map[string]float64) map[string]float64 {
	more := maps.Clone(after)
	for name, count := range before {
		if more[name] -= count; more[name] == 0 {
			delete(more, name)
		}
	}
	return more
}
