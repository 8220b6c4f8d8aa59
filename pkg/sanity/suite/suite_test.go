package suite_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/dragoman/pkg/sanity/suite"
)

// heard is a reporter that remembers.
type heard struct {
	order   []string
	results map[string]suite.Result
}

func (h *heard) Begin(cases []suite.Case) { h.results = map[string]suite.Result{} }
func (h *heard) Started(c suite.Case)     { h.order = append(h.order, c.Name) }
func (h *heard) Ended(r suite.Result)     { h.results[r.Case.Name] = r }
func (h *heard) End(suite.Summary) error  { return nil }

func run(t *testing.T, options suite.Options, cases ...suite.Case) (*heard, suite.Summary) {
	t.Helper()
	h := &heard{}
	options.Report = h
	summary, err := suite.Run(t.Context(), cases, options)
	if err != nil {
		t.Fatal(err)
	}
	return h, summary
}

func TestACaseEndsAsItShould(t *testing.T) {
	cases := map[string]struct {
		run     func(t *suite.T)
		outcome suite.Outcome
		says    string // in the first message, or in the reason
	}{
		"one that says nothing has passed": {func(*suite.T) {}, suite.Passed, ""},
		"one that tells an error has failed": {
			func(t *suite.T) { t.Errorf("seen %d", 7) },
			suite.Failed,
			"seen 7",
		},
		"what comes after a fatal error is not done": {
			func(t *suite.T) { t.Fatalf("first"); t.Errorf("second") },
			suite.Failed,
			"first",
		},
		"an error behind what was being done is fatal": {
			func(t *suite.T) { t.Must(errors.New("no"), "open %s", "it"); t.Errorf("x") },
			suite.Failed,
			"open it: no",
		},
		"no error behind what was being done is none": {func(t *suite.T) { t.Must(nil, "open") }, suite.Passed, ""},
		"one that cannot tell is not run": {
			func(t *suite.T) { t.NotRun("there is no %s", "device") },
			suite.NotRun,
			"there is no device",
		},
		"an error counts also if it then cannot tell": {
			func(t *suite.T) { t.Errorf("seen"); t.NotRun("why") },
			suite.Failed,
			"seen",
		},
		"a mistake in the case is not the driver's": {
			func(*suite.T) { panic("oops") },
			suite.Failed,
			"the case itself is broken",
		},
		"an error in the clean-up counts": {
			func(t *suite.T) { t.Cleanup(func(context.Context) { t.Errorf("left") }) },
			suite.Failed,
			"left",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			h, summary := run(t, suite.Options{}, suite.Case{Name: "case", Run: c.run})
			result := h.results["case"]
			if result.Outcome != c.outcome {
				t.Errorf("the outcome is %q, expected %q: %+v", result.Outcome, c.outcome, result)
			}
			if c.says != "" && !strings.Contains(strings.Join(append(result.Messages, result.Reason), "\n"), c.says) {
				t.Errorf("it does not say %q: %+v", c.says, result)
			}
			if len(result.Messages) > 1 {
				t.Errorf("it went on after its end: %q", result.Messages)
			}
			counts := [3]int{summary.Passed, summary.Failed, summary.NotRun}
			expected := map[suite.Outcome][3]int{suite.Passed: {1, 0, 0}, suite.Failed: {0, 1, 0}, suite.NotRun: {0, 0, 1}}
			if counts != expected[c.outcome] {
				t.Errorf("counted passed, failed, not run: %v", counts)
			}
		})
	}
}

func TestCasesRunInOrderEachAfterWhatMakesItReady(t *testing.T) {
	var done []string
	note := func(what string) func(*suite.T) { return func(*suite.T) { done = append(done, what) } }
	one := suite.Case{Name: "one", Run: func(t *suite.T) {
		done = append(done, "one")
		t.Cleanup(func(context.Context) { done = append(done, "tidied last") })
		t.Cleanup(func(context.Context) { done = append(done, "tidied first") })
		t.Fatalf("it ends here")
	}}
	run(t, suite.Options{Before: note("before"), After: note("after")}, one, suite.Case{Name: "two", Run: note("two")})
	expected := []string{"before", "one", "tidied first", "tidied last", "after", "before", "two", "after"}
	if !slices.Equal(done, expected) {
		t.Errorf("done %q, expected %q", done, expected)
	}
}

func TestWhatIsMissingIsSaidAndNothingIsRun(t *testing.T) {
	needy := suite.Case{Name: "needy", Needs: []suite.Need{"a spoon"}, Run: func(t *suite.T) { t.Errorf("it was run") }}
	unmet := func(need suite.Need) string { return "needs " + string(need) }
	h, _ := run(t, suite.Options{Unmet: unmet}, needy)
	if r := h.results["needy"]; r.Outcome != suite.NotRun || r.Reason != "needs a spoon" {
		t.Errorf("%+v", r)
	}
}

func TestACaseHasATime(t *testing.T) { synctest.Test(t, aCaseHasATime) }

func aCaseHasATime(t *testing.T) {
	slow := func(t *suite.T) {
		t.Until(time.Hour, "it happens", func(ctx context.Context) error {
			if ctx.Err() != nil {
				return ctx.Err() // as a request says that is under way when the time is up
			}
			return errors.New("the last error")
		})
	}
	h, _ := run(t, suite.Options{Timeout: 10 * time.Millisecond}, suite.Case{Name: "slow", Run: slow})
	text := strings.Join(h.results["slow"].Messages, "\n")
	for _, part := range []string{"it happens", "the last error", "longer than 10ms"} {
		if !strings.Contains(text, part) {
			t.Errorf("the message does not say %q: %s", part, text)
		}
	}
	patient := suite.Case{Name: "patient", Timeout: time.Hour, Run: func(t *suite.T) {
		if deadline, _ := t.Context().Deadline(); time.Until(deadline) < time.Minute {
			t.Errorf("it has only until %v", deadline)
		}
	}}
	if h, _ := run(t, suite.Options{Timeout: time.Millisecond}, patient); h.results["patient"].Outcome != suite.Passed {
		t.Errorf("the case's own time is not its bound: %+v", h.results["patient"])
	}
}

func TestADriverThatNeverStartsIsNotTriedForEachCase(t *testing.T) {
	tries := 0
	before := func(t *suite.T) {
		tries++
		t.Fatalf("it does not start")
	}
	var cases []suite.Case
	for _, name := range []string{"a", "b", "c", "d"} {
		cases = append(cases, suite.Case{Name: name, Run: func(t *suite.T) { t.Errorf("it was run") }})
	}
	_, summary := run(t, suite.Options{Before: before}, cases...)
	if tries != 2 || summary.Failed != 2 || summary.Unready != 2 || summary.NotRun != 2 {
		t.Errorf("%d tries, expected 2; expected 2 failed, not made ready, and 2 not run: %+v", tries, summary)
	}
}

func TestARunThatIsEndedLeavesTheRestNotRun(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	h := &heard{}
	summary, err := suite.Run(ctx, []suite.Case{
		{Name: "first", Run: func(*suite.T) {}},
		{Name: "interrupted", Run: func(t *suite.T) {
			cancel()
			t.Errorf("the context is canceled")
		}},
		{Name: "second", Run: func(t *suite.T) { t.Errorf("it was run") }},
	}, suite.Options{Report: h})
	if err != nil || summary.Passed != 1 || summary.NotRun != 2 {
		t.Errorf("%v: %+v", err, summary)
	}
	for name, reason := range map[string]string{"interrupted": "while the case ran", "second": "before"} {
		if !strings.Contains(h.results[name].Reason, reason) {
			t.Errorf("the reason of %s is %q", name, h.results[name].Reason)
		}
	}
}

func TestSelect(t *testing.T) {
	all := []suite.Case{{Name: "prepare-again"}, {Name: "prepare-many"}, {Name: "unprepare-again"}}
	cases := map[string]struct {
		run, skip string
		names     string
		err       string
	}{
		"nothing said selects all":            {"", "", "prepare-again prepare-many unprepare-again", ""},
		"a part of the name is enough":        {"many", "", "prepare-many", ""},
		"an expression can be exact":          {"^prepare", "", "prepare-again prepare-many", ""},
		"what is skipped is not run":          {"", "again$", "prepare-many", ""},
		"both together":                       {"^prepare", "many", "prepare-again", ""},
		"a typo selects nothing and is told":  {"prepaire", "", "", "leave no case"},
		"a broken expression is told":         {"(", "", "", "--run"},
		"a broken expression to skip is told": {"", "(", "", "--skip"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			selected, err := suite.Select(all, c.run, c.skip)
			var names []string
			for _, one := range selected {
				names = append(names, one.Name)
			}
			if got := strings.Join(names, " "); got != c.names {
				t.Errorf("selected %q, expected %q", got, c.names)
			}
			if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
				t.Errorf("the error is %v, expected %q", err, c.err)
			}
		})
	}
}
