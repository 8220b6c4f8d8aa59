package suite

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"
)

// T is how a case tells what it sees. Its methods may be called by several goroutines, except that only the case's own
// may end it.
type T struct {
	ctx context.Context

	mutex    sync.Mutex
	messages []string
	notes    []string
	notRun   string
	// unprepared is true while Options.Before runs, and after it failed.
	unprepared bool
	cleanups   []func(ctx context.Context)
}

// ended is thrown by what ends a case early.
type ended struct{}

// Context ends when the time of the case is up.
func (t *T) Context() context.Context { return t.ctx }

// Errorf says that the promise is broken, what was expected and what was seen. The case goes on.
func (t *T) Errorf(format string, arguments ...any) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.messages = append(t.messages, fmt.Sprintf(format, arguments...))
}

// Fatalf is Errorf, and the case ends.
func (t *T) Fatalf(format string, arguments ...any) {
	t.Errorf(format, arguments...)
	panic(ended{})
}

// Must ends the case if there is an error, which it says behind what was being done.
func (t *T) Must(err error, doing string, arguments ...any) {
	if err != nil {
		t.Fatalf("%s: %v", fmt.Sprintf(doing, arguments...), err)
	}
}

// NotRun ends the case without a verdict, with the reason: what the driver or the cluster does not have.
func (t *T) NotRun(format string, arguments ...any) {
	t.mutex.Lock()
	t.notRun = fmt.Sprintf(format, arguments...)
	t.mutex.Unlock()
	panic(ended{})
}

// Notef tells something that is worth knowing and no fault.
func (t *T) Notef(format string, arguments ...any) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.notes = append(t.notes, fmt.Sprintf(format, arguments...))
}

// Failed says whether a promise was seen broken.
func (t *T) Failed() bool {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	return len(t.messages) > 0
}

// Cleanup is called when the case has ended, the last one first, with a context that is good for half a minute even if
// the time of the case was up.
func (t *T) Cleanup(f func(ctx context.Context)) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.cleanups = append(t.cleanups, f)
}

func (t *T) cleanUp() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.ctx), grace/2)
	defer cancel()
	for {
		t.mutex.Lock()
		if len(t.cleanups) == 0 {
			t.mutex.Unlock()
			return
		}
		last := t.cleanups[len(t.cleanups)-1]
		t.cleanups = t.cleanups[:len(t.cleanups)-1]
		t.mutex.Unlock()
		t.guard(func() { last(ctx) })
	}
}

// Until polls check until it returns nil. When the time of the case, or the shorter one given, is up, the case ends
// with check's last error.
func (t *T) Until(bound time.Duration, what string, check func(ctx context.Context) error) {
	if err := Poll(t.ctx, bound, check); err != nil {
		t.Fatalf("%s: not within %v: %v", what, bound, err)
	}
}

// Poll calls check until it returns nil, at most so long, and returns its last error.
func Poll(ctx context.Context, bound time.Duration, check func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var last error
	for {
		err := check(ctx)
		if err == nil {
			return nil
		}
		if last == nil || ctx.Err() == nil { // that the time is up says less than the error before
			last = err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return last
		}
	}
}

// guard lets neither the early end of a case nor a mistake in it end the program.
func (t *T) guard(f func()) {
	defer func() {
		switch thrown := recover().(type) {
		case nil, ended:
		default:
			t.Errorf("the case itself is broken, please report it: panic: %v\n%s", thrown, debug.Stack())
		}
	}()
	f()
}

// ready says whether Options.Before has made the case ready.
func (t *T) ready(is bool) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.unprepared = !is
}

// report says what was seen so far: a case that does not end goes on writing.
func (t *T) report(r *Result) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	r.Messages, r.Notes, r.unprepared = slices.Clone(t.messages), slices.Clone(t.notes), t.unprepared
	switch {
	case len(t.messages) > 0:
		r.Outcome = Failed
	case t.notRun != "":
		r.Outcome, r.Reason = NotRun, t.notRun
	default:
		r.Outcome = Passed
	}
}
