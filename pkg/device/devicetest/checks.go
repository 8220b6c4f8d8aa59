package devicetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"

	"example.com/dragoman/pkg/device"
)

func devicesAreStable(ctx context.Context, s subject) error {
	first, err := s.names(ctx)
	if err != nil {
		return err
	}
	second, err := s.names(ctx)
	if err != nil {
		return err
	}
	slices.Sort(first)
	slices.Sort(second)
	if !slices.Equal(first, second) {
		return fmt.Errorf("first %v, then %v", first, second)
	}
	return nil
}

func prepareGrantsInOrder(ctx context.Context, s subject) error {
	r, m, err := s.all(ctx)
	if err != nil {
		return err
	}
	slices.Reverse(r.Devices) // no backend can have this order by chance
	if _, err := s.prepare(ctx, r); err != nil {
		return err
	}
	return s.unprepare(ctx, r, m)
}

func prepareIsIdempotent(ctx context.Context, s subject) error {
	r, m, err := s.all(ctx)
	if err != nil {
		return err
	}
	first, err := s.prepare(ctx, r)
	if err != nil {
		return err
	}
	second, err := s.prepare(ctx, r)
	if err != nil {
		return err
	}
	return errors.Join(same(first, second), s.unprepare(ctx, r, m))
}

func prepareRemembers(ctx context.Context, s subject) error {
	r, m, err := s.all(ctx)
	if err != nil {
		return err
	}
	grants, err := s.prepare(ctx, r)
	if err != nil {
		return err
	}
	for i, grant := range grants {
		if string(grant.Undo) != string(m.undo[i]) {
			return fmt.Errorf("device %s: Grant.Undo is %s, remembered was %s",
				grant.Result.Device, grant.Undo, m.undo[i])
		}
	}
	for i := range m.undo {
		if i < 0 || i >= len(r.Devices) {
			return fmt.Errorf("remembered something for device %d of %d", i, len(r.Devices))
		}
	}
	return s.unprepare(ctx, r, m)
}

// prepareNeedsMemory: a backend that never calls Remember changes nothing that outlives the call, and may succeed.
func prepareNeedsMemory(ctx context.Context, s subject) error {
	r, m, err := s.one(ctx)
	if err != nil {
		return err
	}
	full, called := errors.New("disk full"), false
	r.Remember = func(int, json.RawMessage) error { called = true; return full }
	_, err = s.Prepare(ctx, r)
	switch {
	case called && err == nil:
		return errors.New("no error, although Remember returned one")
	case called && !errors.Is(err, full):
		return fmt.Errorf("not the error that Remember returned: %w", err)
	}
	return s.unprepare(ctx, r, m)
}

func prepareRefusesUnknown(ctx context.Context, s subject) error {
	names, err := s.fitting(ctx)
	if err != nil {
		return err
	}
	const unknown = "no-such-device"
	r, m := s.request(0, false, names[0], unknown)
	_, err = s.Prepare(ctx, r)
	if err == nil {
		return fmt.Errorf("prepared the device %q", unknown)
	}
	if !strings.Contains(err.Error(), unknown) {
		return fmt.Errorf("the error does not name the device %q: %w", unknown, err)
	}
	return s.unprepare(ctx, r, m)
}

func failedPrepareIsUndone(ctx context.Context, s subject) error {
	r, m, err := s.all(ctx)
	if err != nil {
		return err
	}
	last := len(r.Devices) - 1
	r.Remember = func(i int, undo json.RawMessage) error {
		if i == last {
			return errors.New("disk full")
		}
		return m.remember(i, undo)
	}
	_, failed := s.Prepare(ctx, r)
	if err := s.unprepare(ctx, r, m); err != nil {
		return fmt.Errorf("after a failed prepare: %w", errors.Join(err, failed))
	}
	r.Remember = m.remember
	if _, err := s.prepare(ctx, r); err != nil {
		return fmt.Errorf("after a failed one was taken back: %w", err)
	}
	return s.unprepare(ctx, r, m)
}

func unprepareIsIdempotent(ctx context.Context, s subject) error {
	r, m, err := s.all(ctx)
	if err != nil {
		return err
	}
	if err := s.unprepare(ctx, r, m); err != nil {
		return fmt.Errorf("never prepared: %w", err)
	}
	if _, err := s.prepare(ctx, r); err != nil {
		return err
	}
	for range 2 {
		if err := s.unprepare(ctx, r, m); err != nil {
			return err
		}
	}
	gone := r.Devices[0]
	gone.Device = "no-such-device"
	if err := s.Unprepare(ctx, device.Grant{Claim: r.Claim, Result: gone}); err != nil {
		return fmt.Errorf("a device that is gone: %w", err)
	}
	return nil
}

func unprepareWithoutUndo(ctx context.Context, s subject) error {
	r, _, err := s.all(ctx)
	if err != nil {
		return err
	}
	if _, err := s.prepare(ctx, r); err != nil {
		return err
	}
	return s.unprepare(ctx, r, &memory{})
}

func prepareAgain(ctx context.Context, s subject) error {
	r, m, err := s.all(ctx)
	if err != nil {
		return err
	}
	for range 2 {
		if _, err := s.prepare(ctx, r); err != nil {
			return err
		}
		if err := s.unprepare(ctx, r, m); err != nil {
			return err
		}
	}
	return nil
}

// adminAccessIsHarmless looks at a device in use, and stops looking; its user must not notice.
func adminAccessIsHarmless(ctx context.Context, s subject) error {
	names, err := s.fitting(ctx)
	if err != nil {
		return err
	}
	user, userMemory := s.request(1, false, names[0])
	before, err := s.prepare(ctx, user)
	if err != nil {
		return err
	}
	devices, err := s.sorted(ctx)
	if err != nil {
		return err
	}
	for n := 2; n < 5; n++ {
		admin, adminMemory := s.request(n, true, names[0])
		if _, err := s.prepare(ctx, admin); err != nil {
			return fmt.Errorf("admin access beside a user: %w", err)
		}
		if err := s.unprepare(ctx, admin, adminMemory); err != nil {
			return err
		}
	}
	after, err := s.prepare(ctx, user)
	if err != nil {
		return err
	}
	devicesAfter, err := s.sorted(ctx)
	if err != nil {
		return err
	}
	if !apiequality.Semantic.DeepEqual(devices, devicesAfter) {
		return errors.New("the devices are others after admin access")
	}
	return errors.Join(same(before, after), s.unprepare(ctx, user, userMemory))
}

// claimsAreConcurrent has one user and one admin for each of some devices, all at once.
func claimsAreConcurrent(ctx context.Context, s subject) error {
	const most, rounds = 8, 5
	names, err := s.fitting(ctx)
	if err != nil {
		return err
	}
	var wait sync.WaitGroup
	var mu sync.Mutex
	var problems []error
	for i, name := range names[:min(len(names), most)] {
		for n, admin := range map[int]bool{100 + i: false, 200 + i: true} {
			wait.Go(func() {
				for range rounds {
					if err := s.takeTurn(ctx, n, admin, name); err != nil {
						mu.Lock()
						problems = append(problems, err)
						mu.Unlock()
					}
				}
			})
		}
	}
	wait.Wait()
	return errors.Join(problems...)
}

func (s subject) takeTurn(ctx context.Context, n int, admin bool, name string) error {
	r, m := s.request(n, admin, name)
	first, err := s.prepare(ctx, r)
	if err != nil {
		return fmt.Errorf("device %s: %w", name, err)
	}
	if _, err := s.Devices(ctx); err != nil {
		return err
	}
	second, err := s.prepare(ctx, r)
	if err != nil {
		return fmt.Errorf("device %s: %w", name, err)
	}
	return errors.Join(same(first, second), s.unprepare(ctx, r, m))
}

func cancelledPrepare(ctx context.Context, s subject) error {
	r, m, err := s.all(ctx)
	if err != nil {
		return err
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	grants, err := s.Prepare(cancelled, r)
	if err == nil { // it was done before anybody looked
		err = validateGrants(r, grants)
		if err != nil {
			return err
		}
	}
	if err := s.unprepare(ctx, r, m); err != nil {
		return err
	}
	if _, err := s.prepare(ctx, r); err != nil {
		return fmt.Errorf("after a cancelled one: %w", err)
	}
	return s.unprepare(ctx, r, m)
}

func sweepSparesKnown(ctx context.Context, s subject) error {
	sweeper, ok := s.Backend.(device.Sweeper)
	if !ok {
		return nil
	}
	if err := sweeper.Sweep(ctx, func(types.UID) bool { return false }); err != nil {
		return fmt.Errorf("sweep before anything was prepared: %w", err)
	}
	names, err := s.fitting(ctx)
	if err != nil {
		return err
	}
	kept, keptMemory := s.request(1, false, names[0])
	before, err := s.prepare(ctx, kept)
	if err != nil {
		return err
	}
	left, leftMemory := s.request(2, true, names[0])
	if len(names) > 1 {
		left, leftMemory = s.request(2, false, names[1])
	}
	if _, err := s.prepare(ctx, left); err != nil {
		return err
	}
	for range 2 {
		if err := sweeper.Sweep(ctx, func(claim types.UID) bool { return claim == uid(1) }); err != nil {
			return fmt.Errorf("sweep: %w", err)
		}
	}
	after, err := s.prepare(ctx, kept)
	if err != nil {
		return fmt.Errorf("after sweeping: %w", err)
	}
	return errors.Join(same(before, after), s.unprepare(ctx, kept, keptMemory), s.unprepare(ctx, left, leftMemory))
}

func watchEnds(ctx context.Context, s subject) error {
	watcher, ok := s.Backend.(device.Watcher)
	if !ok {
		return nil
	}
	ctx, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- watcher.Watch(ctx, func() {}) }()
	stop()
	deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	select {
	case err := <-ended:
		if err != nil {
			return fmt.Errorf("watch: %w", err)
		}
		return nil
	case <-deadline.Done():
		return fmt.Errorf("watch goes on %s after its context ended", patience)
	}
}
