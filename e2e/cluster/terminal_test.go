package cluster

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// terminal is where somebody uses "kubectl dra": a directory, a kubeconfig, and the built program in the PATH.
type terminal struct{ programs, directory, kubeconfig string }

// answer is what somebody sees who has typed a command.
type answer struct {
	out, talk string // stdout and stderr
	code      int
}

// newTerminal finds the program beside the one that made the cluster, where "make build" puts both, and makes a
// directory to work in. Who sits there may do everything in the cluster.
func newTerminal(t *testing.T) terminal {
	t.Helper()
	at := terminal{programs: t.TempDir(), directory: t.TempDir(), kubeconfig: os.Getenv("KUBECONFIG")}
	const name = "kubectl-dra"
	built := filepath.Join(filepath.Dir(nodeimage), name)
	if _, err := os.Stat(built); err != nil {
		t.Fatalf("%v: \"make build\" builds it", err)
	}
	for _, link := range []string{name, "kubectl_complete-dra"} { // as "make install" does
		if err := os.Symlink(built, filepath.Join(at.programs, link)); err != nil {
			t.Fatal(err)
		}
	}
	return at
}

// types runs "kubectl dra" with these words, through kubectl itself.
func (at terminal) types(t *testing.T, line string) answer {
	t.Helper()
	return at.call(t, append([]string{"kubectl", "dra"}, strings.Fields(line)...)...)
}

// call runs a program.
func (at terminal) call(t *testing.T, command ...string) answer {
	t.Helper()
	call := at.command(t, command...)
	var out, talk bytes.Buffer
	call.Stdout, call.Stderr = &out, &talk
	var exit *exec.ExitError
	if err := call.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatalf("run %s: %v", strings.Join(command, " "), err)
	}
	return answer{out.String(), talk.String(), call.ProcessState.ExitCode()}
}

// command is a program that can be started there.
func (at terminal) command(t *testing.T, command ...string) *exec.Cmd {
	t.Helper()
	c := exec.CommandContext(t.Context(), command[0], command[1:]...)
	c.Dir = at.directory
	c.Env = append(os.Environ(), "KUBECONFIG="+at.kubeconfig, "PATH="+at.programs+":"+os.Getenv("PATH"))
	return c
}

// expect checks an answer: its exit code, and what must be on stdout and, in talk, on stderr.
func (a answer) expect(t *testing.T, command string, code int, out []string, talk ...string) {
	t.Helper()
	var wrong []string
	if a.code != code {
		wrong = append(wrong, "its exit code")
	}
	for _, part := range out {
		if !strings.Contains(a.out, part) {
			wrong = append(wrong, "on stdout the lack of "+part)
		}
	}
	for _, part := range talk {
		if !strings.Contains(a.talk, part) {
			wrong = append(wrong, "on stderr the lack of "+part)
		}
	}
	if len(talk) == 0 && a.talk != "" {
		wrong = append(wrong, "talk on stderr")
	}
	if len(wrong) > 0 {
		t.Errorf("$ kubectl dra %s\n%s%s[exit %d]\nwrong with it (expected exit %d): %s",
			command, a.out, a.talk, a.code, code, strings.Join(wrong, "; "))
	}
}
