package history

import (
	"context"
	"fmt"
	"slices"
)

// Replay plays a plan once more from the very beginning: a new driver with nothing prepared.
type Replay func(ctx context.Context, plan []Operation) (History, error)

// Shrink takes operations out of the plan of a failed history for as long as the same invariant is violated without
// them, and returns the shortest history that was seen to fail. Where that takes luck, as when a kill must meet a
// moment, each plan is tried so many times. It stops early, with what it has, when ctx ends.
func Shrink(ctx context.Context, failed History, tries int, replay Replay) (History, error) {
	s := &shrinker{best: failed, tries: tries, replay: replay, tried: map[string]bool{}}
	// What came after the violation did not cause it.
	s.plan = plan(failed)
	for _, step := range []func(context.Context) error{s.takeOut, s.simplify, s.takeOut} {
		if err := step(ctx); err != nil {
			if ctx.Err() != nil {
				return s.best, nil //nolint:nilerr // the time is over, and there is an answer
			}
			return s.best, err
		}
	}
	return s.best, nil
}

func plan(h History) []Operation {
	operations := make([]Operation, 0, len(h.Events))
	for _, event := range h.Events {
		operations = append(operations, event.Operation)
	}
	return operations
}

type shrinker struct {
	best   History
	plan   []Operation
	tries  int
	replay Replay
	tried  map[string]bool
}

// takeOut takes out ever smaller parts, down to single operations (ddmin).
func (s *shrinker) takeOut(ctx context.Context) error {
	for size := max(len(s.plan)/2, 1); ; {
		shorter := false
		for from := 0; from < len(s.plan); {
			candidate := slices.Concat(s.plan[:from], s.plan[min(from+size, len(s.plan)):])
			fails, err := s.fails(ctx, candidate)
			if err != nil {
				return err
			}
			if fails {
				shorter = true // what follows has moved here
			} else {
				from += size
			}
		}
		switch {
		case size > 1:
			size = max(size/2, 1)
		case !shorter:
			return nil
		}
	}
}

// simplify replaces calls at once by one of them or by one after the other, and calls in which the driver dies by calls
// in which it does not.
func (s *shrinker) simplify(ctx context.Context) error {
	for i := 0; i < len(s.plan); {
		fails := false
		for _, simpler := range s.plan[i].simpler() {
			var err error
			if fails, err = s.fails(ctx, slices.Concat(s.plan[:i], simpler, s.plan[i+1:])); err != nil {
				return err
			}
			if fails { // it may become simpler still
				break
			}
		}
		if !fails {
			i++
		}
	}
	return nil
}

func (o Operation) simpler() [][]Operation {
	var all [][]Operation
	if o.Killed {
		alive := o
		alive.Killed = false
		all = append(all, []Operation{alive})
	}
	if o.Kind == AtOnce {
		for i := range o.Calls {
			one := o.Calls[i]
			one.Killed = o.Killed
			all = append(all, []Operation{one})
		}
		all = append(all, o.Calls)
		for i := range o.Calls {
			if fewer := o; len(o.Calls) > 2 {
				fewer.Calls = slices.Delete(slices.Clone(o.Calls), i, i+1)
				all = append(all, []Operation{fewer})
			}
		}
	}
	return all
}

// fails says whether the plan violates the same invariant, and goes on with it if so.
func (s *shrinker) fails(ctx context.Context, candidate []Operation) (bool, error) {
	candidate = tidy(candidate)
	key := fmt.Sprint(candidate)
	if s.tried[key] || len(candidate) >= len(s.plan) && fmt.Sprint(s.plan) == key {
		return false, nil
	}
	s.tried[key] = true
	for range s.tries {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		history, err := s.replay(ctx, candidate)
		if err != nil {
			return false, err
		}
		if v := history.Violation; v != nil && v.Invariant == s.best.Violation.Invariant {
			s.best, s.plan = history, plan(history)
			return true, nil
		}
	}
	return false, nil
}
