package apiserver

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"example.com/dragoman/pkg/sanity/apiserver"
)

// kubectlDRA builds the program and returns its path.
func kubectlDRA(t testing.TB) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "kubectl-dra")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", program, "./cmd/kubectl-dra")
	build.Dir = "../.."
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build kubectl-dra: %v\n%s", err, out)
	}
	return program
}

// terminal calls the program as somebody in a directory.
type terminal struct{ program, directory, kubeconfig string }

func (at terminal) call(t *testing.T, args ...string) (out, said string, code int) {
	t.Helper()
	call := exec.CommandContext(t.Context(), at.program, args...)
	call.Dir = at.directory
	call.Env = append(os.Environ(), "KUBECONFIG="+at.kubeconfig)
	var stdout, stderr bytes.Buffer
	call.Stdout, call.Stderr = &stdout, &stderr
	var exit *exec.ExitError
	if err := call.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return stdout.String(), stderr.String(), call.ProcessState.ExitCode()
}

func TestKubectlDRAAnswersWithTheRightsOfItsUser(t *testing.T) {
	program := kubectlDRA(t)
	for _, version := range []string{apiserver.DefaultVersion, newestVersion} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			l := newLooked(t, version)
			admin := terminal{program, t.TempDir(), l.Kubeconfig}
			const all = "get,list "
			of := func(user string, rights map[string]string) terminal {
				l.as(t, user, rights)
				kubeconfig, err := l.KubeconfigAs(user)
				if err != nil {
					t.Fatal(err)
				}
				return terminal{program, t.TempDir(), kubeconfig}
			}
			alice := of("alice", map[string]string{"team-a": all + "resourceclaims,resourceclaimtemplates,pods,events"})
			bob := of("bob", map[string]string{"": all + "resourceslices,deviceclasses"})
			nobody := of("nobody", nil)
			for name, c := range map[string]struct {
				who         terminal
				args        string
				code        int
				out, errOut []string
			}{
				"who may see all sees the devices": {admin, "devices", 0, []string{"driver.example.com", "1 device"}, nil},
				"why a pod waits":                  {admin, "why pod/pod -n team-a", 1, []string{"Pod team-a/pod waits"}, nil},
				"why a claim waits": {
					admin, "why claim/claim -n team-b -o json", 1, []string{`"namespace": "team-b"`}, nil,
				},
				"a pod that is not there": {admin, "why pod/none -n team-a", 2, nil, []string{`pod "none"`}},
				"who sees no claims is told": {
					bob, "devices", 0, []string{"1 device on 1 node"},
					[]string{"Not seen: resourceclaims", "list resourceclaims.resource.k8s.io"},
				},
				"who sees one namespace is told": {
					alice, "why pod/pod -n team-a", -1, nil, []string{"Not seen: resourceslices"},
				},
				"who may see nothing gets no answer": {nobody, "devices", 2, nil, []string{"error: ", "may see nothing"}},
				"words for the shell":                {admin, "__complete why -n team-a pod/", 0, []string{"pod/pod\n"}, nil},
				"no words for who may see nothing":   {nobody, "__complete devices --node x", 0, []string{":4\n"}, nil},
			} {
				t.Run(name, func(t *testing.T) {
					out, said, code := c.who.call(t, strings.Fields(c.args)...)
					if code != c.code && c.code >= 0 {
						t.Errorf("exit code %d, want %d", code, c.code)
					}
					for _, want := range c.out {
						if !strings.Contains(out, want) {
							t.Errorf("stdout lacks %q", want)
						}
					}
					for _, want := range c.errOut {
						if !strings.Contains(said, want) {
							t.Errorf("stderr lacks %q", want)
						}
					}
					if len(c.errOut) == 0 && said != "" && !strings.HasPrefix(c.args, "__complete") {
						t.Error("there is talk")
					}
					if t.Failed() {
						t.Logf("stdout:\n%sstderr:\n%s", out, said)
					}
				})
			}
			aBundleSaysTheSame(t, admin)
		})
	}
}

// aBundleSaysTheSame gathers a bundle and compares answers from it with those from the cluster.
func aBundleSaysTheSame(t *testing.T, at terminal) {
	t.Helper()
	if out, said, code := at.call(t, "gather", "-o", "bundle.tar.gz"); code != 0 {
		t.Fatalf("gather exits with %d\n%s%s", code, out, said)
	}
	for _, command := range []string{"devices -o wide", "devices -o json", "why pod/pod -n team-a"} {
		args := strings.Fields(command)
		live, _, liveCode := at.call(t, args...)
		kept, said, keptCode := at.call(t, append(args, "--from", "bundle.tar.gz")...)
		if live != kept || liveCode != keptCode {
			t.Errorf("%s: the cluster says (%d)\n%sand the bundle (%d)\n%s%s", command, liveCode, live, keptCode, kept, said)
		}
	}
}
