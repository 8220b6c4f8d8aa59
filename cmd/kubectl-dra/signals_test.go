package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// started is the program in a process of its own. Its stdin is written to; its stderr is read after it has ended.
func started(t *testing.T, args ...string) (p *exec.Cmd, stdin io.WriteCloser, said *strings.Builder) {
	t.Helper()
	p = exec.Command(os.Args[0], args...)
	p.Args[0] = "kubectl-dra"
	p.Env = append(os.Environ(), asProgram+"=yes")
	said = &strings.Builder{}
	p.Stderr = said
	stdin, err := p.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Process.Kill() }) // has ended, if all went well
	return p, stdin, said
}

// ends sends a signal to the program and returns its exit code.
func ends(t *testing.T, p *exec.Cmd, s os.Signal) int {
	t.Helper()
	if err := p.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
	err := p.Wait()
	if exit := new(exec.ExitError); !errors.As(err, &exit) {
		t.Fatalf("it ended with %v", err)
	}
	return p.ProcessState.ExitCode()
}

func codesOfSignals() map[os.Signal]int {
	return map[os.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 143}
}

// TestTheFirstSignalEndsACommandThatLooksAtACluster, in whose API server each request hangs.
func TestTheFirstSignalEndsACommandThatLooksAtACluster(t *testing.T) {
	for s, want := range codesOfSignals() {
		for name, args := range lookingCommands() {
			t.Run(name+" "+s.String(), func(t *testing.T) {
				t.Parallel()
				asked, done := make(chan struct{}, 100), make(chan struct{})
				server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					asked <- struct{}{}
					select {
					case <-r.Context().Done():
					case <-done:
					}
				}))
				defer server.Close()
				defer close(done)
				program, _, said := started(t, append(args, "--server", server.URL)...)
				<-asked
				if code := ends(t, program, s); code != want || strings.Contains(said.String(), "error") {
					t.Errorf("it ends with %d, want %d, and says %q", code, want, said)
				}
			})
		}
	}
}

// TestTheFirstSignalEndsACommandThatReadsStdin: a terminal, perhaps, at which nobody types.
func TestTheFirstSignalEndsACommandThatReadsStdin(t *testing.T) {
	for s, want := range codesOfSignals() {
		for name, args := range map[string][]string{
			"validate": {"validate", "-f", "-"},
			"simulate": {"simulate", "-f", "-", "--machines", "example"},
			"slices":   {"simulate", "-f", "testdata/simulate/pods.yaml", "--slices", "-"},
			"devices":  {"devices", "--from", "-"},
			"why":      {"why", "pod/a", "--from", "-"},
		} {
			t.Run(name+" "+s.String(), func(t *testing.T) {
				t.Parallel()
				program, stdin, said := started(t, args...)
				// More than a pipe holds: when it is written, somebody reads.
				if _, err := io.WriteString(stdin, strings.Repeat("# a comment\n", 1<<15)); err != nil {
					t.Fatal(err)
				}
				if code := ends(t, program, s); code != want || strings.Contains(said.String(), "error") {
					t.Errorf("it ends with %d, want %d, and says %q", code, want, said)
				}
			})
		}
	}
}

// TestAnInterruptEndsWhatMakesUpMachines does not wait for thousands of them.
func TestAnInterruptEndsWhatMakesUpMachines(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c := &simulateCommand{session: newSession(invocation{}), machines: "dgx-h100", nodes: mostNodes}
	if cluster, err := c.makeUp(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("there are %d machines, error %v", len(cluster.Nodes), err)
	}
}

func TestACommandThatEndsByItselfKeepsItsExitCode(t *testing.T) {
	for want, args := range map[int][]string{
		exitYes: {"version"}, exitNo: {"validate", "-f", "testdata/validate/bad.yaml"}, exitCannotTell: {"devices", "x"},
	} {
		program, _, said := started(t, args...)
		_ = program.Wait() // the exit code tells
		if code := program.ProcessState.ExitCode(); code != want {
			t.Errorf("%v ends with %d, want %d, and says %q", args, code, want, said)
		}
	}
}
