package subject_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.com/dragoman/pkg/sanity/subject"
)

// patience bounds waits for what takes milliseconds.
const patience = 20 * time.Second

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func start(t *testing.T, s *subject.Subject) *subject.Instance {
	t.Helper()
	i, err := s.Start(within(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return i
}

func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for ctx := within(t); !is(); {
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

func says(i *subject.Instance, text string) func() bool {
	return func() bool { return strings.Contains(i.Log(1<<20), text) }
}

func TestADriverKnowsWhereItIs(t *testing.T) {
	s := subject.New(subject.Options{
		Driver: "d.example.com", Node: "n", Kubeconfig: "/k",
		Dirs:  subject.Dirs{Kubelet: "/a", Registry: "/b", Plugin: "/c", CDI: "/d", State: "/e"},
		Start: "env | grep ^DRA_SANITY_ | sort",
	})
	i := start(t, s)
	if err := i.Wait(within(t)); err != nil {
		t.Fatal(err)
	}
	expected := "DRA_SANITY_CDI_DIR=/d\nDRA_SANITY_DRIVER=d.example.com\nDRA_SANITY_INSTANCE=" + i.ID +
		"\nDRA_SANITY_KUBECONFIG=/k\nDRA_SANITY_KUBELET_DIR=/a\nDRA_SANITY_NODE=n\nDRA_SANITY_PLUGIN_DIR=/c\n" +
		"DRA_SANITY_REGISTRY_DIR=/b\nDRA_SANITY_STATE_DIR=/e\n"
	if got := i.Log(1 << 20); got != expected {
		t.Errorf("it finds\n%s\nexpected\n%s", got, expected)
	}
}

func TestInstancesAreSideBySideAndHaveTheirOwnNames(t *testing.T) {
	s := subject.New(subject.Options{Start: "sleep 1000"})
	one, two := start(t, s), start(t, s)
	if one.ID == two.ID || one.PID() == two.PID() || len(s.Running()) != 2 {
		t.Errorf("instances %s (%d) and %s (%d), %d run", one.ID, one.PID(), two.ID, two.PID(), len(s.Running()))
	}
	if err := one.Kill(within(t)); err != nil {
		t.Error(err)
	}
	if running := s.Running(); len(running) != 1 || running[0] != two {
		t.Errorf("%d run after one was killed", len(running))
	}
	if err := s.Close(within(t)); err != nil || len(s.Running()) != 0 {
		t.Errorf("%d run after the end: %v", len(s.Running()), err)
	}
}

func TestTheProcessIsTheDriver(t *testing.T) {
	for name, command := range map[string]string{
		"a plain command":               "sleep 1000",
		"one that says exec itself":     "exec sleep 1000",
		"one with more than a command":  "true; exec sleep 1000",
		"one that begins with settings": "A=b exec sleep 1000",
	} {
		t.Run(name, func(t *testing.T) {
			i := start(t, subject.New(subject.Options{Start: command}))
			until(t, "it is sleep", func() bool {
				name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", i.PID()))
				return err == nil && string(name) == "sleep\n"
			})
		})
	}
}

func TestHowADriverEnds(t *testing.T) {
	const trap = `trap 'echo asked; exit %d' TERM; echo ready; while :; do sleep 0.01; done`
	end := map[string]func(context.Context, *subject.Instance) error{
		"stop": func(ctx context.Context, i *subject.Instance) error { return i.Stop(ctx) },
		"kill": func(ctx context.Context, i *subject.Instance) error { return i.Kill(ctx) },
		"end":  func(ctx context.Context, i *subject.Instance) error { return i.End(ctx) },
	}
	cases := map[string]struct {
		command, how string
		err, log     string
	}{
		"stopped, it ends with success":               {fmt.Sprintf(trap, 0), "stop", "", "asked"},
		"stopped, it ends with an error":              {fmt.Sprintf(trap, 3), "stop", "exit status 3", "asked"},
		"stopped, it knows no signal":                 {"echo ready; exec sleep 1000", "stop", "signal: terminated", ""},
		"ended, it may end with an error":             {fmt.Sprintf(trap, 3), "end", "", "asked"},
		"ended after its end, that is told":           {"echo ready", "end", "has ended already", ""},
		"killed, it is not asked":                     {fmt.Sprintf(trap, 0), "kill", "", ""},
		"stopped after its end, that is told":         {"echo ready", "stop", "has ended already", ""},
		"killed after its end, that is what we asked": {"echo ready", "kill", "", ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			i := start(t, subject.New(subject.Options{Start: c.command}))
			until(t, "it is ready", says(i, "ready"))
			if c.command == "echo ready" {
				until(t, "it has ended", i.Ended)
			}
			err := end[c.how](within(t), i)
			if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
				t.Errorf("the error is %v, expected %q", err, c.err)
			}
			if asked := says(i, "asked")(); asked != (c.log == "asked") {
				t.Errorf("asked: %v", asked)
			}
			if !i.Ended() {
				t.Error("it still runs")
			}
		})
	}
}

func TestADriverThatDoesNotStopIsTold(t *testing.T) {
	i := start(t, subject.New(subject.Options{Start: `trap '' TERM; echo ready; while :; do sleep 0.01; done`}))
	until(t, "it is ready", says(i, "ready"))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := i.Stop(ctx); err == nil || !strings.Contains(err.Error(), "still runs") {
		t.Errorf("the error is %v", err)
	}
}

func TestAPausedDriverDoesNothingUntilItGoesOn(t *testing.T) {
	i := start(t, subject.New(subject.Options{Start: "exec sleep 1000"}))
	state := func() string {
		status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", i.PID()))
		_, after, _ := strings.Cut(string(status), ") ")
		first, _, _ := strings.Cut(after, " ")
		return first
	}
	if err := i.Pause(); err != nil {
		t.Fatal(err)
	}
	until(t, "it is stopped", func() bool { return state() == "T" })
	if err := i.Continue(); err != nil {
		t.Fatal(err)
	}
	until(t, "it goes on", func() bool { return state() == "S" })
}

func TestADriverThatRunsElsewhere(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	note := func(what string) string { return "echo " + what + " $DRA_SANITY_DRIVER >> " + log }
	s := subject.New(subject.Options{
		Driver: "d", Start: note("start"), Stop: note("stop"), Kill: note("kill"), Restart: note("restart"),
	})
	if s.Foreground() || !s.CanStart() || !s.CanKill() || !s.CanRestart() {
		t.Error("it does not say what can be done")
	}
	i := start(t, s)
	for _, err := range []error{s.Restart(within(t)), i.Stop(within(t)), start(t, s).Kill(within(t))} {
		if err != nil {
			t.Error(err)
		}
	}
	if err := i.Pause(); err == nil {
		t.Error("it can be paused")
	}
	text, err := os.ReadFile(log)
	if expected := "start d\nrestart d\nstop d\nstart d\nkill d\n"; err != nil || string(text) != expected {
		t.Errorf("done (%v):\n%s\nexpected:\n%s", err, text, expected)
	}
	background := subject.New(subject.Options{Start: "sleep 1000 & echo $! > " + log, Stop: "kill $(cat " + log + ")"})
	if err := start(t, background).Stop(within(t)); err != nil {
		t.Errorf("a driver in the background: %v", err)
	}
	bad := subject.New(subject.Options{Start: "echo no such unit; false", Stop: "true"})
	if _, err := bad.Start(within(t)); err == nil || !strings.Contains(err.Error(), "no such unit") {
		t.Errorf("the error is %v", err)
	}
}

func TestWhatCanBeDone(t *testing.T) {
	cases := map[string]struct {
		options                            subject.Options
		foreground, start, kill, restarted bool
	}{
		"nothing with a driver that runs already": {subject.Options{}, false, false, false, false},
		"all with one in the foreground":          {subject.Options{Start: "x"}, true, true, true, true},
		"no kill without a command for it":        {subject.Options{Start: "x", Stop: "y"}, false, true, false, true},
		"a restart with a command for it":         {subject.Options{Restart: "x"}, false, false, false, true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			s := subject.New(c.options)
			got := [4]bool{s.Foreground(), s.CanStart(), s.CanKill(), s.CanRestart()}
			if expected := [4]bool{c.foreground, c.start, c.kill, c.restarted}; got != expected {
				t.Errorf("foreground, start, kill, restart: %v, expected %v", got, expected)
			}
		})
	}
	_, err := subject.New(subject.Options{}).Start(t.Context())
	if err == nil || !strings.Contains(err.Error(), "--start") {
		t.Errorf("the error is %v", err)
	}
}

// What starts a driver may be killed: then the driver ends too.
func TestNoDriverOutlivesItsStarter(t *testing.T) {
	if file := os.Getenv("SUBJECT_TEST_STARTER"); file != "" {
		i, err := subject.New(subject.Options{Start: "sleep 1000"}).Start(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file+".new", []byte(strconv.Itoa(i.PID())), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
		<-i.Exited()
		return
	}
	file := filepath.Join(t.TempDir(), "pid")
	starter := exec.CommandContext(within(t), os.Args[0], "-test.run=^TestNoDriverOutlivesItsStarter$")
	starter.Env = append(os.Environ(), "SUBJECT_TEST_STARTER="+file)
	if err := starter.Start(); err != nil {
		t.Fatal(err)
	}
	var text []byte
	until(t, "the driver is started", func() bool {
		var err error
		text, err = os.ReadFile(file)
		return err == nil
	})
	pid, err := strconv.Atoi(string(text))
	if err != nil {
		t.Fatal(err)
	}
	if err := starter.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = starter.Wait() // it was killed
	until(t, "the driver is gone", func() bool { return gone(pid) })
}

// gone says whether a process has ended; who reaps it does not matter.
func gone(pid int) bool {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) || err != nil || strings.Contains(string(status), ") Z ")
}

func TestOnlyTheEndOfALongLogIsKept(t *testing.T) {
	i := start(t, subject.New(subject.Options{Start: "seq 1 1000000; echo the end"}))
	if err := i.Wait(within(t)); err != nil {
		t.Fatal(err)
	}
	text := i.Log(100)
	if len(text) > 100 || !strings.HasSuffix(text, "1000000\nthe end\n") || !strings.HasPrefix(text, "9999") {
		t.Errorf("the end of the log is %q", text)
	}
}
