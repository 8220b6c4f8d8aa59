package load

import (
	"context"
	"errors"
	"fmt"
	"time"

	"example.com/dragoman/pkg/sanity/figures"
	"example.com/dragoman/pkg/sanity/kubelet"
	"example.com/dragoman/pkg/sanity/node"
)

// meanwhileWorkload shows whether pods wait for slices.
func meanwhileWorkload() Workload {
	return Workload{
		Name: "prepare-while-publishing",
		About: "Claims are prepared and unprepared by one caller while the driver publishes all of its devices for the " +
			"first time, from its registration until the pool is complete; and for 3 s when all is quiet.",
		Source: "a node that comes back with many devices: pods that have theirs already start at the same time, and one " +
			"rate limit for all requests would let them wait",
		run: prepareMeanwhile,
	}
}

const (
	quietFor  = 3 * time.Second // how long claims are prepared for comparison
	loopOver  = 8               // claims in turn
	twoStarts = 2               // so that a short publication has enough calls too
)

// meanwhile is one site's part.
type meanwhile struct {
	watched             *recorder
	claims              []kubelet.Claim
	devices             int
	quiet, publishing   []time.Duration
	quietU, publishingU []time.Duration // of unprepare
}

func prepareMeanwhile(ctx context.Context, r *rig) error {
	devices := r.Devices[len(r.Devices)-1]
	c := r.openAll(ctx, setup{devices: devices})
	defer func() { c.close(ctx) }()
	parts := map[*site]*meanwhile{}
	for _, s := range c.rest() {
		watched, err := s.record(ctx)
		if err != nil {
			return err
		}
		defer watched.close()
		parts[s] = &meanwhile{watched: watched}
	}
	r.say("%d devices, all published", devices)
	c.some(ctx, 1, func(s *site) error { return parts[s].whenQuiet(ctx, s, devices) })
	r.say("%d devices, while they are published", devices)
	c.some(ctx, twoStarts, func(s *site) error {
		if parts[s].devices == 0 {
			return nil
		}
		return parts[s].whilePublishing(ctx, s)
	})
	for _, s := range c.rest() {
		part := parts[s]
		for _, m := range []struct {
			operation string
			took      []time.Duration
		}{
			{"prepare, all published", part.quiet}, {"prepare, while publishing", part.publishing},
			{"unprepare, all published", part.quietU}, {"unprepare, while publishing", part.publishingU},
		} {
			if len(m.took) > 0 {
				r.add(figures.Measurement{
					Driver: s.side.Driver, Situation: figures.Situation{Devices: part.devices, Callers: 1}, Operation: m.operation,
					Latency: figures.Summarise(m.took),
				})
			}
		}
	}
	return nil
}

// whenQuiet starts the driver, makes claims for devices of it, and prepares them for a while.
func (m *meanwhile) whenQuiet(ctx context.Context, s *site, devices int) error {
	if _, _, err := s.startTimed(ctx); err != nil {
		return err
	}
	now, err := s.pool(ctx, m.watched, devices)
	if err != nil {
		return err
	}
	free, err := s.cluster.Free(ctx, min(loopOver, now.devices))
	if err != nil {
		return err
	}
	for _, device := range free {
		claim, err := s.cluster.Claim(ctx, "claim", s.cluster.Allocate(device))
		if err != nil {
			return err
		}
		m.claims = append(m.claims, claim)
	}
	plugin, err := s.registered(ctx)
	if err != nil {
		return err
	}
	if err := s.calm(ctx); err != nil {
		return err
	}
	until := time.Now().Add(quietFor)
	m.quiet, m.quietU, err = inTurn(ctx, plugin, m.claims, func() bool { return time.Now().After(until) })
	m.devices = now.devices
	return err
}

// calm waits until the driver computes no more, but not for long: some always do.
func (s *site) calm(ctx context.Context) error {
	const patience, look, busy = 15 * time.Second, time.Second / 2, time.Second / 40
	_, before, err := s.process()
	for end := time.Now().Add(patience); err == nil && time.Now().Before(end); {
		select {
		case <-time.After(look):
		case <-ctx.Done():
			return ctx.Err()
		}
		var spent time.Duration
		if _, spent, err = s.process(); err == nil && spent-before < busy {
			return nil
		}
		before = spent
	}
	return err
}

// whilePublishing starts the driver where there are no slices, and prepares claims until they are there.
func (m *meanwhile) whilePublishing(ctx context.Context, s *site) error {
	if err := s.rest(ctx); err != nil {
		return err
	}
	gone, stop := context.WithTimeout(ctx, node.Patience)
	defer stop()
	if _, err := m.watched.until(gone, func(n seen) bool { return n.slices == 0 }); err != nil {
		return err
	}
	if _, _, err := s.startTimed(ctx); err != nil {
		return err
	}
	plugin, err := s.registered(ctx)
	if err != nil {
		return err
	}
	waiting, cancel := s.whileItRuns(ctx, poolPatience)
	defer cancel()
	done := func() bool {
		now := m.watched.now()
		return complete(now) && now.devices >= m.devices || waiting.Err() != nil
	}
	prepared, unprepared, err := inTurn(ctx, plugin, m.claims, done)
	m.publishing, m.publishingU = append(m.publishing, prepared...), append(m.publishingU, unprepared...)
	var its misdeed
	if errors.As(err, &its) && !s.instance.Ended() {
		return tooSlow{fmt.Errorf("before all devices are published it does not prepare claims: %w", its)}
	}
	if err == nil && waiting.Err() != nil {
		return tooSlow{fmt.Errorf("the pool was not complete within %v", poolPatience)}
	}
	return err
}

// inTurn prepares and unprepares one claim after the other until it is done, and returns how long each call took.
func inTurn(
	ctx context.Context, plugin *kubelet.Plugin, claims []kubelet.Claim, done func() bool,
) (prepared, unprepared []time.Duration, err error) {
	for i := 0; !done() || i == 0; i++ {
		claim := claims[i%len(claims)]
		began := time.Now()
		if err := prepare(ctx, plugin, claim); err != nil {
			return prepared, unprepared, err
		}
		between := time.Now()
		if err := unprepare(ctx, plugin, claim); err != nil {
			return prepared, unprepared, err
		}
		prepared = append(prepared, between.Sub(began))
		unprepared = append(unprepared, time.Since(between))
	}
	return prepared, unprepared, nil
}
