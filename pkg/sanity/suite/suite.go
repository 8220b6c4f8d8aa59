// Package suite runs cases one after the other and tells how each ended. A case is a promise that somebody made
// elsewhere, a sentence long, and a way to see whether it is kept.
//
// The room is larger than others because a report has three forms.
package suite

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"time"
)

// Case is one promise and the way to see whether it is kept.
type Case struct {
	// Name is stable: people write it into their --skip. Lower case with hyphens.
	Name string
	// Promise is one sentence: what holds when the case passes.
	Promise string
	// Source says who promises it or asks for it.
	Source string
	// Needs are what must be given for the case to run; otherwise it is not run, with the reason.
	Needs []Need
	// Timeout is how long the case may take, where that is longer than usual.
	Timeout time.Duration
	// Run looks. It returns early by t.Fatalf or t.NotRun.
	Run func(t *T)
}

// Need is something that not every caller can give, such as "a start command".
type Need string

// Outcome is how a case ended.
type Outcome string

// The outcomes. A case that did not run never counts as passed.
const (
	Passed Outcome = "pass"
	Failed Outcome = "fail"
	NotRun Outcome = "not run"
)

// Result is what became of one case.
type Result struct {
	Case    Case
	Outcome Outcome
	// Messages say what was expected and what was seen; Reason says why the case did not run.
	Messages []string
	Reason   string
	// Notes are what a case found worth telling although nothing is wrong, such as how long something took.
	Notes []string
	// Log is the end of what the driver said, of a case that failed.
	Log      string
	Duration time.Duration

	unprepared bool // Options.Before failed
	endless    bool // it goes on although its time is over
}

// Summary counts the results.
type Summary struct {
	Passed, Failed, NotRun int
	// Unready counts those of the failed for which nothing could be made ready: they say nothing about their promise.
	Unready  int
	Results  []Result
	Duration time.Duration
}

// Options say how to run.
type Options struct {
	// Timeout bounds each case that names no time of its own; a minute by default.
	Timeout time.Duration
	// Unmet returns why a need is not met, "" if it is.
	Unmet func(Need) string
	// Before prepares for the next case, which fails if it does.
	Before func(t *T)
	// After looks at what a case left, once its own clean-up is done.
	After func(t *T)
	// Log returns the end of what the driver said since the case began.
	Log func() string
	// Report hears how each case ends, at once.
	Report Reporter
}

// Reporter hears how cases end.
type Reporter interface {
	// Begin comes before the first of so many cases.
	Begin(cases []Case)
	// Started comes before each case, Ended after it.
	Started(c Case)
	Ended(r Result)
	// End comes last.
	End(s Summary) error
}

// Select returns the cases whose names match run and do not match skip; an empty expression selects all or skips none.
// It is an error if no case is left: a typo in a name must not pass.
func Select(cases []Case, run, skip string) ([]Case, error) {
	wanted, err := regexp.Compile(run)
	if err != nil {
		return nil, fmt.Errorf("read --run: %w", err)
	}
	unwanted, err := regexp.Compile(skip)
	if err != nil {
		return nil, fmt.Errorf("read --skip: %w", err)
	}
	selected := slices.DeleteFunc(slices.Clone(cases), func(c Case) bool {
		return !wanted.MatchString(c.Name) || skip != "" && unwanted.MatchString(c.Name)
	})
	if len(selected) == 0 {
		return nil, fmt.Errorf("--run %q and --skip %q leave no case; --list prints the names", run, skip)
	}
	return selected, nil
}

// Run runs the cases in their order until all are done or ctx ends; what did not come to run for that is "not run".
func Run(ctx context.Context, cases []Case, options Options) (Summary, error) {
	options = withDefaults(options)
	start := time.Now()
	var summary Summary
	options.Report.Begin(cases)
	unprepared := 0
	for _, c := range cases {
		options.Report.Started(c)
		result := Result{Case: c, Outcome: NotRun, Reason: "the cases before it could not be made ready, or did not end"}
		if unprepared < giveUp {
			result = runOne(ctx, c, options)
		}
		switch {
		case result.endless:
			unprepared = giveUp
		case result.unprepared:
			unprepared++
		case result.Outcome != NotRun:
			unprepared = 0
		}
		summary.add(result)
		options.Report.Ended(result)
	}
	summary.Duration = time.Since(start)
	return summary, options.Report.End(summary)
}

// giveUp is after how many cases in a row for which nothing could be made ready the rest is not run.
const giveUp = 2

func withDefaults(o Options) Options {
	if o.Timeout == 0 {
		o.Timeout = time.Minute
	}
	if o.Unmet == nil {
		o.Unmet = func(Need) string { return "" }
	}
	if o.Before == nil {
		o.Before = func(*T) {}
	}
	if o.After == nil {
		o.After = func(*T) {}
	}
	if o.Log == nil {
		o.Log = func() string { return "" }
	}
	return o
}

func (s *Summary) add(r Result) {
	s.Results = append(s.Results, r)
	switch r.Outcome {
	case Passed:
		s.Passed++
	case Failed:
		s.Failed++
		if r.unprepared {
			s.Unready++
		}
	default:
		s.NotRun++
	}
}

// grace is how long a case may go on after its time is up, for its clean-up.
const grace = time.Minute

func runOne(ctx context.Context, c Case, options Options) Result {
	result := Result{Case: c, Outcome: NotRun}
	if ctx.Err() != nil {
		result.Reason = "the run was ended before"
		return result
	}
	for _, need := range c.Needs {
		if reason := options.Unmet(need); reason != "" {
			result.Reason = reason
			return result
		}
	}
	start := time.Now()
	bound := options.Timeout
	if c.Timeout > 0 {
		bound = c.Timeout
	}
	inTime, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	t := &T{ctx: inTime}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer t.guard(func() { options.After(t) })
		defer t.cleanUp()
		t.guard(func() {
			t.ready(false)
			options.Before(t)
			if !t.Failed() {
				t.ready(true)
				c.Run(t)
			}
		})
	}()
	select {
	case <-done:
		if inTime.Err() != nil && ctx.Err() == nil && t.Failed() {
			t.Errorf("the case took longer than %v", bound)
		}
	case <-afterBoth(inTime.Done(), grace):
		t.Errorf("the case did not end, %v after its %v were over", grace, bound)
		result.endless = true
	}
	t.report(&result)
	if result.Outcome == Failed && ctx.Err() != nil { // what it saw may be no more than that
		result.Outcome, result.Reason, result.Messages = NotRun, "the run was ended while the case ran", nil
	}
	result.Duration = time.Since(start)
	if result.Outcome == Failed {
		result.Log = options.Log()
	}
	return result
}

// afterBoth is closed so long after done is.
func afterBoth(done <-chan struct{}, d time.Duration) <-chan struct{} {
	over := make(chan struct{})
	go func() {
		<-done
		time.AfterFunc(d, func() { close(over) })
	}()
	return over
}
