package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"example.com/dragoman/pkg/view"
)

// kubeconfig writes one with a context for each server and returns its path. Context and namespace are called as the
// server is.
func kubeconfig(t *testing.T, servers map[string]string) string {
	t.Helper()
	var text strings.Builder
	text.WriteString("apiVersion: v1\nkind: Config\ncurrent-context: here\nusers: [{name: jane, user: {token: secret}}]\n")
	text.WriteString("clusters:\n")
	for name, address := range servers {
		fmt.Fprintf(&text, "- {name: %s, cluster: {server: %q}}\n", name, address)
	}
	text.WriteString("contexts:\n")
	for name := range servers {
		fmt.Fprintf(&text, "- {name: %s, context: {cluster: %s, user: jane, namespace: of-%s}}\n", name, name, name)
	}
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// refusing is the address of a server that is down.
func refusing(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(http.NotFoundHandler())
	s.Close()
	return s.URL
}

// answering is the address of a server that answers everything with one status and a sentence.
func answering(t *testing.T, code int, reason, message string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_, _ = fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","code":%d,"reason":%q,"message":%q}`,
			code, reason, message)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// lookingCommands are all that look at a cluster.
func lookingCommands() map[string][]string {
	return map[string][]string{
		"devices":           {"devices"},
		"devices that wait": {"devices", "--watch"},
		"parts":             {"devices", "--parts", "-n", "team"},
		"why pod":           {"why", "pod/train-0"},
		"why claim":         {"why", "claim/gpus"},
		"simulate":          {"simulate", "-f", "testdata/simulate/pods.yaml"},
		"gather":            {"gather", "-o", "-"},
	}
}

func TestErrorsSayWhatAndWhereAndWhatToDo(t *testing.T) {
	down := refusing(t)
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	defer secure.Close()
	never := make(chan struct{})
	hanging := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-never:
		case <-r.Context().Done():
		}
	}))
	defer hanging.Close()
	defer close(never)

	for name, c := range map[string]struct {
		servers map[string]string
		args    []string
		want    []string
	}{
		"nobody listens": {
			servers: map[string]string{"here": down},
			want: []string{"error: the API server " + down + " (context here) cannot be asked: connection refused\n",
				"Is it up, and is this the cluster you mean? --context chooses another one.\n"},
		},
		"another context was chosen, and its server is down": {
			servers: map[string]string{"here": "http://127.0.0.1:9", "there": down},
			args:    []string{"--context", "there"},
			want:    []string{"error: the API server " + down + " (context there) cannot be asked: connection refused\n"},
		},
		"there is no such context": {
			servers: map[string]string{"here": down, "there": down},
			args:    []string{"--context", "nowhere"},
			want:    []string{"error: there is no context \"nowhere\" in the kubeconfig\nThere are: here, there\n"},
		},
		"the context that the kubeconfig itself names is not there": {
			servers: map[string]string{"there": down},
			want:    []string{"error: there is no context \"here\" in the kubeconfig\nThere are: there\n"},
		},
		"there are no contexts at all": {
			args: []string{"--context", "nowhere"},
			want: []string{"error: there is no context \"nowhere\" in the kubeconfig\n", "\nIt has none at all."},
		},
		"the server's certificate is not the one that is trusted": {
			servers: map[string]string{"here": secure.URL},
			want: []string{"error: the API server " + secure.URL + " (context here) cannot be asked: tls: ", "x509: ",
				"Was the cluster made again?"},
		},
		"the server does not answer in time": {
			servers: map[string]string{"here": hanging.URL},
			args:    []string{"--request-timeout", "50ms"},
			want: []string{"error: the API server " + hanging.URL + " (context here) cannot be asked: no answer in time\n",
				"--request-timeout says how long to wait.\n"},
		},
		"the user is not known": {
			servers: map[string]string{"here": answering(t, 401, "Unauthorized", "Unauthorized")},
			want:    []string{"error: the API server (context here) does not know you: ", "Log in again"},
		},
		"the user may see nothing": {
			servers: map[string]string{"here": answering(t, 403, "Forbidden", `User "jane" cannot list this`)},
			want:    []string{"error: ", "may see nothing", `User "jane" cannot list this`},
		},
	} {
		for command, args := range lookingCommands() {
			t.Run(name+": "+command, func(t *testing.T) {
				out, said, code := called(t, slices.Concat(args, c.args, []string{"--kubeconfig", kubeconfig(t, c.servers)})...)
				if code != exitCannotTell || out != "" {
					t.Errorf("exit code %d, want %d; stdout %q, want none", code, exitCannotTell, out)
				}
				for _, want := range c.want {
					if !strings.Contains(said, want) {
						t.Errorf("stderr lacks %q:\n%s", want, said)
					}
				}
				for _, noise := range []string{"Get \"", "dial tcp", "limit=500", "0x"} {
					if strings.Contains(said, noise) {
						t.Errorf("stderr has %q, which tells nobody anything:\n%s", noise, said)
					}
				}
			})
		}
	}
}

func TestWithoutAKubeconfigItSaysSo(t *testing.T) {
	const want = "error: no cluster to look at: neither --kubeconfig nor $KUBECONFIG nor ~/.kube/config names one\n"
	for name, args := range lookingCommands() {
		t.Run(name, func(t *testing.T) {
			_, said, code := called(t, args...)
			if code != exitCannotTell || !strings.Contains(said, want) {
				t.Errorf("exit code %d and stderr:\n%swant %d and:\n%s", code, said, exitCannotTell, want)
			}
		})
	}
}

func TestWrongUsageSaysWhereToRead(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"a command that is not there": {
			[]string{"nonsense"}, "error: unknown command \"nonsense\" for \"kubectl dra\"\nSee \"kubectl dra --help\".\n",
		},
		"a command that is nearly there": {
			[]string{"devises"}, "error: unknown command \"devises\" for \"kubectl dra\", did you mean devices?\n" +
				"See \"kubectl dra --help\".\n",
		},
		"help about a command that is not there": {
			[]string{"help", "bogus"}, "error: unknown command \"bogus\" for \"kubectl dra\"\nSee \"kubectl dra --help\".\n",
		},
		"help about a command that is nearly there": {
			[]string{"help", "simulat"}, "error: unknown command \"simulat\" for \"kubectl dra\", did you mean simulate?\n" +
				"See \"kubectl dra --help\".\n",
		},
		"help about what is below no command": {
			[]string{"help", "why", "pod"}, "error: kubectl dra why has no commands of its own, and there is \"pod\"\n" +
				"See \"kubectl dra --help\".\n",
		},
		"two things instead of a cluster": {
			[]string{"simulate", "-f", "x", "--machines", "example", "--slices", "y"},
			"error: simulate: --machines and --slices do not go together: each stands for a cluster\n" +
				"See \"kubectl dra simulate --help\".\n",
		},
		"no file": {
			[]string{"validate"},
			"error: validate: -f says which file, and there is none\nSee \"kubectl dra validate --help\".\n",
		},
		"a flag that is not there": {
			[]string{"version", "--server-too"},
			"error: unknown flag: --server-too\nSee \"kubectl dra version --help\".\n",
		},
		"a format that is not there": {
			[]string{"version", "-o", "xml"}, "error: invalid argument \"xml\" for \"-o, --output\" flag: there are: " +
				"text, json, yaml\nSee \"kubectl dra version --help\".\n",
		},
		"an argument too many": {
			[]string{"version", "now"},
			"error: kubectl dra version takes no arguments, and there is \"now\"\nSee \"kubectl dra version --help\".\n",
		},
		"no shell": {
			[]string{"completion"},
			"error: say for which shell: bash, zsh, fish or powershell\nSee \"kubectl dra completion --help\".\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			out, said, code := called(t, c.args...)
			if code != exitCannotTell || out != "" || said != c.want {
				t.Errorf("exit code %d, want %d; stdout %q, want none; stderr:\n%swant:\n%s", code, exitCannotTell, out, said,
					c.want)
			}
		})
	}
}

func TestNoIsAnAnswerAndNotAnError(t *testing.T) {
	streams, _, _, stderr := genericiooptions.NewTestIOStreams()
	s := newSession(invocation{name: "kubectl-dra", streams: streams})
	root := newRootCommand(s)
	root.AddCommand(&cobra.Command{Use: "ask", RunE: func(*cobra.Command, []string) error {
		return fmt.Errorf("after the answer: %w", errNo)
	}})
	root.SetArgs([]string{"ask"})
	if code := s.finish(t.Context(), root); code != exitNo || stderr.String() != "" {
		t.Errorf("exit code %d, want %d; stderr %q, want none", code, exitNo, stderr)
	}
}

func TestAnInterruptIsSaidInOneWord(t *testing.T) {
	streams, _, _, stderr := genericiooptions.NewTestIOStreams()
	s := newSession(invocation{name: "kubectl-dra", streams: streams})
	ctx, cancel := context.WithCancel(t.Context())
	root := newRootCommand(s)
	root.AddCommand(&cobra.Command{Use: "wait", RunE: func(command *cobra.Command, _ []string) error {
		cancel()
		return fmt.Errorf("wait: %w", command.Context().Err())
	}})
	root.SetArgs([]string{"wait"})
	if code := s.finish(ctx, root); code != exitCannotTell || stderr.String() != "Interrupted.\n" {
		t.Errorf("exit code %d, want %d; stderr %q", code, exitCannotTell, stderr)
	}
}

func TestItIsCalledAsTheUserCallsIt(t *testing.T) {
	for name, want := range map[string]string{
		"/home/jane/bin/kubectl-dra": "kubectl dra",
		"kubectl-dra.exe":            "kubectl dra",
		"/tmp/dra":                   "kubectl-dra",
	} {
		streams, _, stdout, _ := genericiooptions.NewTestIOStreams()
		run(t.Context(), invocation{name: name, args: []string{"version", "--help"}, streams: streams})
		if !strings.Contains(stdout.String(), "Usage:\n  "+want+" version") {
			t.Errorf("%s does not call itself %q:\n%s", name, want, stdout)
		}
	}
}

func TestTheNamespaceIsThatOfKubectl(t *testing.T) {
	config := kubeconfig(t, map[string]string{"here": "http://127.0.0.1:9", "there": "http://127.0.0.1:9"})
	for name, c := range map[string]struct {
		args  []string
		want  string
		asked bool
	}{
		"of the context":            {nil, "of-here", false},
		"of another context":        {[]string{"--context", "there"}, "of-there", false},
		"said":                      {[]string{"-n", "team-a"}, "team-a", true},
		"said as kubectl prints it": {[]string{"-n", "namespace/team-a"}, "team-a", true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSession(invocation{})
			if err := newRootCommand(s).ParseFlags(append(c.args, "--kubeconfig", config)); err != nil {
				t.Fatal(err)
			}
			got, asked, err := s.namespace()
			if err != nil || got != c.want || asked != c.asked {
				t.Errorf("namespace %q, asked %t, error %v; want %q, %t", got, asked, err, c.want, c.asked)
			}
		})
	}
}

func TestWhatIsNotSeenIsSaidWithWhatFollows(t *testing.T) {
	streams, _, _, stderr := genericiooptions.NewTestIOStreams()
	s := newSession(invocation{streams: streams})
	s.unseen(&view.Cluster{Unseen: []view.Unseen{
		{Resource: "devicetaintrules", NotServed: true, Why: "the server could not find the requested resource"},
		{Resource: "nodes", Forbidden: true, Right: "list nodes", Why: `nodes is forbidden: User "jane" cannot list them`},
		{Resource: "pods", Namespace: "team-b", Why: "the server was unable to return a response in time"},
		{Resource: "resourceclaims", Forbidden: true, Right: "list resourceclaims.resource.k8s.io", Only: "team-a",
			Why: `User "jane" cannot list resourceclaims at the cluster scope`},
	}})
	golden(t, "unseen.txt", stderr.String())
}
