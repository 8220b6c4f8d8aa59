package load

import (
	"context"
	"fmt"
	"slices"
	"time"

	"example.com/dragoman/pkg/sanity/figures"
)

// writesWorkload is what a driver costs the API server.
func writesWorkload() Workload {
	return Workload{
		Name: "slice-writes",
		About: "Writes of ResourceSlices, as the API server stores them and as the driver asks for them: at a first start, " +
			"at a restart with nothing changed, and as one device, two in two slices and the order of all change; each " +
			"counted until nothing was written for 3 s, or for twice as long as the driver needs for its first write.",
		Source: "each write goes to every scheduler and autoscaler of the cluster; a thousand nodes restart at once",
		run:    sliceWrites,
	}
}

// How long nothing is written until something counts as over: at least still, and twice as long as the driver needed
// for its first write, but not longer than stillMost. Who takes long for a change takes long to find that none is.
const (
	still     = 3 * time.Second
	stillMost = 10 * time.Second
)

// writing counts what drivers write, one operation after the other.
type writing struct {
	*crew
	devices int
	watched map[*site]*recorder
	began   map[*site]bool          // those that were not too slow for the first start
	still   map[*site]time.Duration // how long nothing is written
}

func sliceWrites(ctx context.Context, r *rig) error {
	devices := r.Devices[len(r.Devices)-1]
	w := writing{
		crew: r.openAll(ctx, setup{devices: devices, proxied: true}), devices: devices,
		watched: map[*site]*recorder{}, began: map[*site]bool{}, still: map[*site]time.Duration{},
	}
	defer func() { w.close(ctx) }()
	for _, s := range w.rest() {
		watched, err := s.record(ctx)
		if err != nil {
			return err
		}
		defer watched.close()
		w.watched[s], w.still[s] = watched, still
		if s.side.Change == "" {
			r.notRun(s.side.Driver, "changes of devices: no --change says how to make them")
		}
	}
	w.count(ctx, "first-start", func(*site) bool { return true }, w.begin)
	w.count(ctx, "restart-unchanged", func(s *site) bool { return w.began[s] }, w.begin)
	for _, change := range []struct {
		operation, what string
		writes          int // that have to come of it, at least
	}{
		{"one", "one", 1},
		{"back-from-one", "back", 1},
		{"two", "two", 2},
		{"back-from-two", "back", 2},
		{"shuffle", "shuffle", 0},
		{"back-from-shuffle", "back", 0},
	} {
		able := func(s *site) bool { return w.began[s] && s.side.Change != "" }
		w.count(ctx, change.operation, able, func(ctx context.Context, s *site) (seen, error) {
			return w.change(ctx, s, change.what, change.writes)
		})
	}
	return nil
}

// begin starts the driver anew, and waits until what comes of it is over.
func (w *writing) begin(ctx context.Context, s *site) (seen, error) {
	if err := s.end(ctx); err != nil {
		return seen{}, err
	}
	began, _, err := s.startTimed(ctx)
	if err != nil {
		return seen{}, err
	}
	now, err := s.pool(ctx, w.watched[s], w.devices)
	if err != nil {
		return now, err
	}
	if !now.first.IsZero() {
		w.slow(s, now.first.Sub(began))
	}
	return w.watched[s].quiet(ctx, w.still[s])
}

// change changes devices, and waits until what comes of it is over.
func (w *writing) change(ctx context.Context, s *site, what string, writes int) (seen, error) {
	if err := s.change(ctx, what); err != nil {
		return seen{}, err
	}
	began, watched := time.Now(), w.watched[s]
	if writes > 0 {
		writes = min(writes, watched.now().slices) // two devices may be in the only one
		now, err := s.await(ctx, watched, backPatience, fmt.Sprintf("a write of %d slices (%s)", writes, what),
			func(n seen) bool { return n.writes.total() >= writes })
		if err != nil {
			return now, err
		}
		w.slow(s, now.first.Sub(began))
		return watched.quiet(ctx, still) // what has to come has begun
	}
	return watched.quiet(ctx, w.still[s])
}

// slow takes note of how long the driver needed for a first write.
func (w *writing) slow(s *site, first time.Duration) {
	w.still[s] = min(max(w.still[s], 2*first), stillMost)
}

// count measures what drivers write while something is done.
func (w *writing) count(
	ctx context.Context, operation string, who func(*site) bool, do func(context.Context, *site) (seen, error),
) {
	if !slices.ContainsFunc(w.rest(), who) {
		return
	}
	w.rig.say("%s, %d devices", operation, w.devices)
	w.some(ctx, 1, func(s *site) error {
		if !who(s) {
			return nil
		}
		before := s.requests()
		w.watched[s].begin()
		began := time.Now()
		now, err := do(ctx, s)
		if err != nil {
			return err
		}
		w.began[s] = true
		if now.gap {
			w.rig.notRun(s.side.Driver, "%s: the watch of slices was away for too long to count all writes", operation)
			return nil
		}
		w.rig.add(written(s, operation, now, began, since(before, s.requests())))
		return nil
	})
}

// written is what an operation came to: the driver's requests, and under "writes" what the API server stored.
func written(
	s *site, operation string, now seen, began time.Time, requests map[string]float64,
) figures.Measurement {
	requests["writes"] = float64(now.writes.total())
	m := figures.Measurement{
		Driver: s.side.Driver, Situation: figures.Situation{Devices: now.devices}, Operation: operation, Requests: requests,
	}
	if now.writes.total() > 0 {
		m.Moments = map[string]figures.Milliseconds{
			"first write": figures.Of(now.first.Sub(began)), "last write": figures.Of(now.last.Sub(began)),
		}
	}
	return m
}
