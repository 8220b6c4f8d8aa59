package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"example.com/dragoman/pkg/dir"
)

// Lock waits until nobody else works on the claim, in this process and in others that use the same directory, or until
// ctx ends. It does not poll. If the lock is free, it is given even if ctx ended before. The lock ends with unlock,
// which may be called more than once, or with the process.
func (s *Store) Lock(ctx context.Context, uid types.UID) (unlock func(), err error) {
	if err := checkUID(uid); err != nil {
		return nil, err
	}
	leave, err := s.turns.enter(ctx, uid)
	if err != nil {
		return nil, waited(ctx, uid)
	}
	lock, err := s.lockFile(uid, false)
	if errors.Is(err, dir.ErrLocked) {
		lock, err = s.waitForFile(ctx, uid, leave)
		if err != nil {
			return nil, err
		}
	}
	if err != nil {
		leave()
		return nil, s.explain("lock claim", err)
	}
	return sync.OnceFunc(func() { s.unlockClaim(lock, uid); leave() }), nil
}

// TryLock is [Store.Lock] without waiting; it returns nil for unlock if somebody works on the claim.
func (s *Store) TryLock(uid types.UID) (unlock func(), err error) {
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	unlock, err = s.Lock(ended, uid)
	if errors.Is(err, context.Canceled) {
		return nil, nil
	}
	return unlock, err
}

func waited(ctx context.Context, uid types.UID) error {
	return fmt.Errorf("wait for the lock of claim %s, another call or instance of the driver is working on it: %w",
		uid, context.Cause(ctx))
}

// waitForFile waits for the lock in a goroutine, since flock(2) cannot be cancelled. If ctx ends first, the goroutine
// stays until it gets the lock, and gives it back; leave is called only then, so that at most one waits per claim.
func (s *Store) waitForFile(ctx context.Context, uid types.UID, leave func()) (*dir.Lock, error) {
	if ctx.Err() != nil {
		leave()
		return nil, waited(ctx, uid)
	}
	type result struct {
		lock *dir.Lock
		err  error
	}
	got := make(chan result, 1)
	go func() {
		lock, err := s.lockFile(uid, true)
		got <- result{lock, err}
	}()
	select {
	case r := <-got:
		if r.err != nil {
			leave()
			return nil, s.explain("lock claim", r.err)
		}
		return r.lock, nil
	case <-ctx.Done():
		go func() {
			if r := <-got; r.err == nil {
				s.unlockClaim(r.lock, uid)
			}
			leave()
		}()
		return nil, waited(ctx, uid)
	}
}

func (s *Store) lockFile(uid types.UID, wait bool) (lock *dir.Lock, err error) {
	err = s.withTree(func() error {
		lock, err = s.locks.Lock(string(uid), wait)
		return err
	})
	return lock, err
}

// unlockClaim keeps the lock file of a claim that has a record, so that taking the claim back can lock it although the
// disk is full. Otherwise it removes the file while it is still locked: who waits for it notices, and makes a new one.
func (s *Store) unlockClaim(lock *dir.Lock, uid types.UID) {
	if known, err := s.Has(uid); err == nil && !known {
		_ = s.locks.Remove(string(uid))
	}
	lock.Unlock()
}

// turns lets one goroutine of this process at a time work on a claim.
type turns struct {
	mu      sync.Mutex
	byClaim map[types.UID]*turn
}

type turn struct {
	taken chan struct{} // holds one element while somebody has the turn
	users int           // who has it or waits for it
}

// enter waits for the turn of uid or the end of ctx. A free turn is given even if ctx ended before.
func (t *turns) enter(ctx context.Context, uid types.UID) (leave func(), err error) {
	t.mu.Lock()
	mine := t.byClaim[uid]
	if mine == nil {
		mine = &turn{taken: make(chan struct{}, 1)}
		t.byClaim[uid] = mine
	}
	mine.users++
	t.mu.Unlock()

	select {
	case mine.taken <- struct{}{}:
		return func() { <-mine.taken; t.drop(uid, mine) }, nil
	default:
	}
	select {
	case mine.taken <- struct{}{}:
		return func() { <-mine.taken; t.drop(uid, mine) }, nil
	case <-ctx.Done():
		t.drop(uid, mine)
		return nil, context.Cause(ctx)
	}
}

func (t *turns) drop(uid types.UID, mine *turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if mine.users--; mine.users == 0 {
		delete(t.byClaim, uid)
	}
}

// sweepLocks removes the lock files of unknown claims that a process left when it died, unless somebody holds them.
// Which claims had a record a moment ago saves looking for each: most have one.
func (s *Store) sweepLocks(recorded map[types.UID]bool) error {
	entries, err := s.locks.List()
	if err != nil {
		return s.explain("sweep lock files", err)
	}
	for _, entry := range entries {
		uid := types.UID(entry.Name())
		if recorded[uid] {
			continue
		}
		if known, err := s.Has(uid); known || err != nil {
			continue
		}
		if unlock, err := s.TryLock(uid); err == nil && unlock != nil {
			unlock() // which removes the file
		}
	}
	return nil
}
