//go:build failpoints

package failpoint

import (
	"bytes"
	"fmt"
	"os"
	"path"
	"runtime"
	"sync"
	"syscall"
)

// Plan is what is to happen, see the documentation of the package.
type Plan struct {
	Claim  string
	Action string
	At     int
}

// run is a plan being carried out.
type run struct {
	Plan
	passed int
	names  []string
}

// state is all that this room remembers; it exists in test builds only.
var state = struct { //nolint:gochecknoglobals // see above
	sync.Mutex
	once       sync.Once
	everywhere *run            // counts in all goroutines
	working    map[string]*run // by goroutine
}{working: map[string]*run{}}

// Before is called before a system call, with what it does and to which file of which directory. An error is to be
// taken for the system call's own, which is then not made.
func Before(what, dir, name string) error { return pass("before", what, dir, name) }

// After is called after a system call that went well. An error is to be taken for the system call's own.
func After(what, dir, name string) error { return pass("after", what, dir, name) }

// Working is called when work on a claim begins; the result when it ends.
func Working(claim string) (done func()) {
	plan := read()
	if plan.Claim != claim {
		return func() {}
	}
	id := goroutine()
	state.Lock()
	defer state.Unlock()
	state.working[id] = &run{Plan: plan}
	return func() {
		state.Lock()
		defer state.Unlock()
		delete(state.working, id)
	}
}

// Arm makes all points of this process count for plan, beginning now; a plan without action ends that. It is for tests
// that have no process of their own.
func Arm(plan Plan) {
	state.Lock()
	defer state.Unlock()
	if state.everywhere = nil; plan.Action != "" {
		state.everywhere = &run{Plan: plan}
	}
}

// Passed returns the names of the points that have counted since [Arm].
func Passed() []string {
	state.Lock()
	defer state.Unlock()
	if state.everywhere == nil {
		return nil
	}
	return state.everywhere.names
}

func read() (plan Plan) {
	line, err := os.ReadFile(os.Getenv("DRAGOMAN_FAILPOINTS"))
	if err == nil {
		_, err = fmt.Sscan(string(line), &plan.Claim, &plan.Action, &plan.At)
	}
	if err != nil {
		return Plan{} // there is none at the moment
	}
	return plan
}

func pass(when, what, dir, name string) error {
	id := goroutine()
	state.Lock()
	defer state.Unlock()
	state.once.Do(func() {
		if plan := read(); plan.Claim == "*" {
			state.everywhere = &run{Plan: plan}
		}
	})
	r := state.working[id]
	if r == nil {
		r = state.everywhere
	}
	if r == nil || !counts(r.Action, when, what) {
		return nil
	}
	r.passed++
	point := when + " " + what + " " + path.Join(dir, name)
	if what == "step" {
		point = dir + " step " + name
	}
	r.names = append(r.names, point)
	trace(point)
	return r.act()
}

// counts says whether a point counts for an action: only what the system call can end with is made to happen.
func counts(action, when, what string) bool {
	reads := what == "read" || what == "list" || what == "look"
	switch action {
	case "kill":
		return !reads
	case "erofs":
		return when == "before" && !reads && what != "flock" && what != "step"
	case "enospc":
		return when == "before" && (what == "create" || what == "write" || what == "symlink" || what == "mkdir" ||
			what == "rename")
	default:
		return when == "before" && what != "step"
	}
}

func (r *run) act() error {
	switch r.Action {
	case "kill":
		if r.passed == r.At {
			_ = syscall.Kill(syscall.Getpid(), syscall.SIGKILL)
			select {}
		}
	case "enospc":
		return r.fail(r.At > 0 && r.passed >= r.At, syscall.ENOSPC)
	case "erofs":
		return r.fail(r.At > 0 && r.passed >= r.At, syscall.EROFS)
	case "eio":
		return r.fail(r.passed == r.At, syscall.EIO)
	}
	return nil
}

func (r *run) fail(now bool, with error) error {
	if now {
		return with
	}
	return nil
}

func trace(point string) {
	to := os.Getenv("DRAGOMAN_FAILPOINTS_TRACE")
	if to == "" {
		return
	}
	f, err := os.OpenFile(to, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return
	}
	defer f.Close() //nolint:errcheck // a test that misses the line says so
	_, _ = f.WriteString(point + "\n")
}

// goroutine returns the number of the calling goroutine, for which Go has no function on purpose.
func goroutine() string {
	stack := make([]byte, 64)
	fields := bytes.Fields(stack[:runtime.Stack(stack, false)])
	return string(fields[1])
}
