//go:build cgo

package nvml

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"time"
)

// slot is the place of one operation that cannot be cancelled, such as a call of the NVML library. There is never more
// than one of it under way: who comes while it runs waits for the same answer. A caller stops waiting when its context
// ends or its patience does; the operation goes on by itself.
type slot[T any] struct {
	mu      sync.Mutex
	running *flight[T]
}

type flight[T any] struct {
	done  chan struct{} // closed when the two below are there
	value T
	err   error
}

// noAnswerError says that an operation did not end in time. It goes on and may end later.
type noAnswerError struct {
	what     string
	patience time.Duration
}

func (e *noAnswerError) Error() string {
	return fmt.Sprintf("%s: no answer within %s", e.what, e.patience)
}

// do returns what operation answers, or an error when that takes longer than the context or patience allow.
func (s *slot[T]) do(ctx context.Context, patience time.Duration, what string, operation func() (T, error)) (T, error) {
	s.mu.Lock()
	f := s.running
	if f == nil {
		f = &flight[T]{done: make(chan struct{})}
		s.running = f
		go s.fly(f, operation)
	}
	s.mu.Unlock()
	return f.wait(ctx, patience, what)
}

func (s *slot[T]) fly(f *flight[T], operation func() (T, error)) {
	defer func() {
		if p := recover(); p != nil {
			f.err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
		s.mu.Lock()
		s.running = nil
		s.mu.Unlock()
		close(f.done)
	}()
	f.value, f.err = operation()
}

func (f *flight[T]) wait(ctx context.Context, patience time.Duration, what string) (T, error) {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	var none T
	select {
	case <-f.done:
		return f.value, f.err
	case <-ctx.Done():
		return none, fmt.Errorf("%s: %w", what, ctx.Err())
	case <-timer.C:
		return none, &noAnswerError{what, patience}
	}
}

// within runs one operation that cannot be cancelled and stops waiting for it when the context or patience end. What it
// did after that nobody learns, so an operation that changes something is looked at again before it is repeated.
func within(ctx context.Context, patience time.Duration, what string, operation func() error) error {
	var s slot[struct{}]
	_, err := s.do(ctx, patience, what, func() (struct{}, error) { return struct{}{}, operation() })
	return err
}
