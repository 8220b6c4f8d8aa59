package load

import (
	"context"
	"fmt"
	"time"

	"example.com/dragoman/pkg/sanity/figures"
	"example.com/dragoman/pkg/sanity/kubelet"
)

// backWorkload is how long a node is without devices after its kubelet has come back.
func backWorkload() Workload {
	return Workload{
		Name: "slices-back",
		About: "From the moment at which all slices are deleted, as a kubelet does that starts, until the pool is complete " +
			"again; the kubelet registers the driver right after that, or has done so a second before.",
		Source: "a restart or an update of the kubelet: pods that wait for its devices wait on",
		run:    slicesBack,
	}
}

// registeredBefore is how long before the slices are deleted a kubelet has registered the driver, where that comes
// first.
const registeredBefore = time.Second

func slicesBack(ctx context.Context, r *rig) error {
	for i, devices := range r.Devices {
		r.say("%d devices", devices)
		both := i == 0 || i == len(r.Devices)-1 // the other order adds nothing between the least and the most
		if err := r.backWith(ctx, devices, both); err != nil || ctx.Err() != nil {
			return err
		}
	}
	return nil
}

func (r *rig) backWith(ctx context.Context, devices int, both bool) error {
	c := r.openAll(ctx, setup{devices: devices})
	defer func() { c.close(ctx) }()
	watched, published := map[*site]*recorder{}, map[*site]seen{}
	for _, s := range c.rest() {
		w, err := s.record(ctx)
		if err != nil {
			return err
		}
		defer w.close()
		watched[s] = w
	}
	c.some(ctx, 1, func(s *site) error {
		if _, _, err := s.startTimed(ctx); err != nil {
			return err
		}
		now, err := s.pool(ctx, watched[s], devices)
		if err == nil && r.asAsked(s, devices, now.devices) {
			published[s] = now
		}
		return err
	})
	for _, kind := range []struct {
		operation string
		wanted    bool
		times     int
		wipe      func(context.Context, *site) (time.Time, error)
	}{
		{"wiped, then registered", true, r.starts(3), wipeThenRegister},
		{"registered, then wiped", both, 1, registerThenWipe},
	} {
		if !kind.wanted {
			continue
		}
		took := map[*site]moments{}
		c.some(ctx, kind.times, func(s *site) error {
			if published[s].devices == 0 {
				return nil
			}
			one, err := s.back(ctx, watched[s], published[s], kind.wipe)
			if err == nil {
				took[s] = append(took[s], one)
			}
			return err
		})
		for _, s := range c.rest() {
			if len(took[s]) > 0 {
				r.add(figures.Measurement{
					Driver: s.side.Driver, Situation: figures.Situation{Devices: published[s].devices}, Operation: kind.operation,
					Moments: took[s].summary(completeMoment),
				})
			}
		}
	}
	return nil
}

// back deletes the slices and waits until as many devices as before are back. Its moments count from the deletion on.
func (s *site) back(
	ctx context.Context, watched *recorder, before seen, wipe func(context.Context, *site) (time.Time, error),
) (map[string]time.Duration, error) {
	watched.begin()
	began, err := wipe(ctx, s)
	if err != nil {
		return nil, err
	}
	// A driver may be so quick that some are back before all are deleted.
	now, err := s.await(ctx, watched, backPatience, "a complete pool again", func(n seen) bool {
		return complete(n) && n.writes.deleted >= before.slices && n.devices >= before.devices
	})
	return map[string]time.Duration{
		"wiped": now.deleted.Sub(began), firstMoment: now.first.Sub(began), completeMoment: now.complete.Sub(began),
	}, err
}

func wipeThenRegister(ctx context.Context, s *site) (time.Time, error) {
	began := time.Now()
	if err := s.cluster.WipeSlices(ctx); err != nil {
		return began, err
	}
	if err := s.newKubelet(); err != nil {
		return began, err
	}
	_, err := s.registered(ctx)
	return began, err
}

func registerThenWipe(ctx context.Context, s *site) (time.Time, error) {
	if err := s.newKubelet(); err != nil {
		return time.Time{}, err
	}
	if _, err := s.registered(ctx); err != nil {
		return time.Time{}, err
	}
	select {
	case <-time.After(registeredBefore):
	case <-ctx.Done():
		return time.Time{}, ctx.Err()
	}
	began := time.Now()
	return began, s.cluster.WipeSlices(ctx)
}

// newKubelet ends the kubelet and starts a new one, which knows nothing.
func (s *site) newKubelet() error {
	if err := s.kubelet.Close(); err != nil {
		return fmt.Errorf("end the kubelet: %w", err)
	}
	s.kubelet = nil
	k, err := kubelet.Watch(s.dirs.Registry)
	if err != nil {
		return err
	}
	s.kubelet = k
	return nil
}
