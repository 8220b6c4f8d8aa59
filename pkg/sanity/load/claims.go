package load

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"example.com/dragoman/pkg/sanity/cluster"
	"example.com/dragoman/pkg/sanity/kubelet"
)

// stocked starts drivers, waits until claims can be prepared, warms them up and reads which devices are free, once.
func (r *rig) stocked(ctx context.Context, with setup) *crew {
	c := r.startAll(ctx, with)
	c.each(func(s *site) (err error) {
		if s.free, err = stock(ctx, s.cluster); err != nil {
			return err
		}
		return s.warmUp(ctx)
	})
	return c
}

// stock returns all devices that can be allocated at once.
func stock(ctx context.Context, c *cluster.Cluster) ([]cluster.Device, error) {
	const all = 1 << 30
	free, err := c.Free(ctx, all)
	if few := (cluster.NotEnough{}); errors.As(err, &few) && few.Have > 0 {
		free, err = c.Free(ctx, few.Have)
	}
	if err != nil {
		return nil, misdeed{fmt.Errorf("look for free devices: %w", err)}
	}
	return free, nil
}

// take hands out so many of the free devices, or as many as there are.
func (s *site) take(n int) []cluster.Device {
	n = min(n, len(s.free))
	taken := s.free[:n:n]
	s.free = s.free[n:]
	return taken
}

// claims makes so many claims, with one of the devices each, over and over: of those with the same device one can be
// prepared at a time.
func (s *site) claims(ctx context.Context, devices []cluster.Device, n int) ([]kubelet.Claim, error) {
	allocations := make([]cluster.Allocation, n)
	for i := range allocations {
		allocations[i] = s.cluster.Allocate(devices[i%len(devices)])
	}
	return s.cluster.Claims(ctx, "claim", allocations)
}

// warmUp prepares and unprepares a few claims: the first ones meet connections that are not made yet, code that was
// never run and caches that are empty.
func (s *site) warmUp(ctx context.Context) error {
	const cycles = 20
	claims, err := s.claims(ctx, s.free[:min(len(s.free), cycles)], cycles)
	if err != nil {
		return err
	}
	for _, claim := range claims {
		if err := s.cycle(ctx, claim); err != nil {
			return err
		}
	}
	return nil
}

// How a node is filled with prepared claims: it is not measured, so by many callers with several claims each.
const (
	fillCallers  = 8
	fillClaims   = 8
	fillPatience = 3 * time.Minute
)

// errTooSlow says that a driver did not get as far as it should within fillPatience.
var errTooSlow = errors.New("it takes too long")

// fill prepares a claim for each device. The error is errTooSlow if that is not done within fillPatience; what was
// prepared until then stays.
func (s *site) fill(ctx context.Context, devices []cluster.Device) error {
	if len(devices) == 0 {
		return nil
	}
	claims, err := s.claims(ctx, devices, len(devices))
	if err != nil {
		return err
	}
	filling, ctx := errgroup.WithContext(ctx)
	filling.SetLimit(fillCallers)
	for end := time.Now().Add(fillPatience); len(claims) > 0 && ctx.Err() == nil; {
		some := claims[:min(fillClaims, len(claims))]
		claims = claims[len(some):]
		filling.Go(func() error { return s.prepare(ctx, some...) })
		if time.Now().After(end) {
			break
		}
	}
	if err := filling.Wait(); err != nil {
		return err
	}
	if n := len(claims); n > 0 {
		return fmt.Errorf("%d claims are not prepared after %v: %w", n, fillPatience, errTooSlow)
	}
	return nil
}
