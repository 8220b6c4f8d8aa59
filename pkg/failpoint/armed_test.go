//go:build failpoints

package failpoint

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// work is a call that makes some system calls and returns their errors.
func work() (errs []error) {
	for _, what := range []string{"create", "write", "flock", "unlink"} {
		errs = append(errs, Before(what, "/dir", "file"), After(what, "/dir", "file"))
	}
	return append(errs, Before("read", "/dir", "file"), Before("step", "before", "answer"))
}

func failing(errs []error) (numbers []int) {
	for i, err := range errs {
		if err != nil {
			numbers = append(numbers, i)
		}
	}
	return numbers
}

func TestWhatEachActionMakesFail(t *testing.T) {
	for name, c := range map[string]struct {
		plan   Plan
		fails  []int // of the errors that work returns
		with   error
		passed int
	}{
		"nothing":                        {Plan{Action: "kill"}, nil, nil, 9},
		"one system call":                {Plan{Action: "eio", At: 4}, []int{6}, syscall.EIO, 5},
		"a read":                         {Plan{Action: "eio", At: 5}, []int{8}, syscall.EIO, 5},
		"what needs space from then on":  {Plan{Action: "enospc", At: 1}, []int{0, 2}, syscall.ENOSPC, 2},
		"what changes files from then":   {Plan{Action: "erofs", At: 2}, []int{2, 6}, syscall.EROFS, 3},
		"nothing, as there are not many": {Plan{Action: "eio", At: 6}, nil, nil, 5},
	} {
		t.Run(name, func(t *testing.T) {
			Arm(c.plan)
			defer Arm(Plan{})
			errs := work()
			if got := failing(errs); !slices.Equal(got, c.fails) || len(Passed()) != c.passed {
				t.Errorf("%v failed, expected %v; passed %v", got, c.fails, Passed())
			}
			for _, i := range c.fails {
				if !errors.Is(errs[i], c.with) {
					t.Errorf("it failed with %v", errs[i])
				}
			}
		})
	}
}

func TestOnlyTheGoroutineThatWorksOnTheClaimCounts(t *testing.T) {
	dir := t.TempDir()
	plan, seen := filepath.Join(dir, "plan"), filepath.Join(dir, "trace")
	t.Setenv("DRAGOMAN_FAILPOINTS", plan)
	t.Setenv("DRAGOMAN_FAILPOINTS_TRACE", seen)
	try := func(line, claim string) (inside, beside []int) {
		if err := os.WriteFile(plan, []byte(line), 0o600); err != nil {
			t.Fatal(err)
		}
		done := Working(claim)
		elsewhere := make(chan []error)
		go func() { elsewhere <- work() }()
		beside, inside = failing(<-elsewhere), failing(work())
		done()
		return inside, append(beside, failing(work())...)
	}
	for line, want := range map[string][]int{"a eio 1": {0}, "a eio 2\n": {2}, "b eio 1": nil, "a eio": nil, "": nil} {
		if inside, beside := try(line, "a"); !slices.Equal(inside, want) || beside != nil {
			t.Errorf("with the plan %q, %v failed, and %v beside", line, inside, beside)
		}
	}
	trace, err := os.ReadFile(seen)
	lines := strings.Split(string(trace), "\n")
	if err != nil || len(lines) != 11 || lines[0] != "before create /dir/file" {
		t.Errorf("the trace is %q, %v", trace, err)
	}
}
