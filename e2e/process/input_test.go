package process

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/client-go/tools/clientcmd"
)

// with is the rig's configuration file, changed by set, as arguments.
func (r *rig) with(set ...any) []string {
	config := r.config()
	for i := 0; i < len(set); i += 2 {
		config[set[i].(string)] = set[i+1]
	}
	return []string{"--config", r.writeYAML("config.yaml", config)}
}

// below returns a path that nobody can make, root neither: its parent is a file.
func (r *rig) below(file string) string {
	return filepath.Join(r.write(file, nil), "directory")
}

func TestBadInputEndsWithASentence(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		arguments func(r *rig) []string
		// says is what the message must hold: what, where, why and what to do.
		says func(r *rig) []string
	}{
		"an unknown flag": {
			func(r *rig) []string { return append(r.with(), "--node", r.node.Name) },
			func(*rig) []string { return []string{"--node", "unknown flag", "--help"} },
		},
		"an argument that is no flag": {
			func(r *rig) []string { return append(r.with(), "serve") },
			func(*rig) []string { return []string{`"serve"`, "--help"} },
		},
		"no node name": {
			func(r *rig) []string { return r.with("nodeName", "") },
			func(*rig) []string { return []string{"nodeName", "--node-name"} },
		},
		"a config file that is not there": {
			func(r *rig) []string { return []string{"--config", r.path("nowhere.yaml")} },
			func(r *rig) []string { return []string{"--config", r.path("nowhere.yaml"), "no such file"} },
		},
		"a config file with an unknown field": {
			func(r *rig) []string { return r.with("kubeletDirectory", "/x") },
			func(r *rig) []string {
				return []string{r.path("config.yaml"), "kubeletDirectory", "no such field", "kubeletDir,"}
			},
		},
		"a config file with a field in the wrong case": {
			func(r *rig) []string { return r.with("kubeletdir", "/x") },
			func(*rig) []string { return []string{"kubeletdir", "kubeletDir"} },
		},
		"a config file of another kind": {
			func(r *rig) []string { return r.with("kind", "Config") },
			func(*rig) []string { return []string{"Config", "DriverConfig"} },
		},
		"a backend that there is not": {
			func(r *rig) []string { return append(r.with(), "--backend", "abacus") },
			func(*rig) []string { return []string{"abacus", "mock", "--backend"} },
		},
		"a profile that there is not": {
			func(r *rig) []string { return r.with("mockProfile", "dgx-h1000") },
			func(*rig) []string { return []string{"dgx-h1000", "dgx-h100", "example", "l4-4x", "mixed"} },
		},
		"a profile with an unknown field": {
			func(r *rig) []string {
				p := profile(2)
				p["device"] = true
				return r.with("mockProfile", r.writeYAML("profile.yaml", p))
			},
			func(r *rig) []string { return []string{r.path("profile.yaml"), "device", "no such field", "groups"} },
		},
		"a directory for sockets that cannot be made": {
			func(r *rig) []string { return r.with("kubeletDir", r.below("file")) },
			func(r *rig) []string {
				return []string{r.path("file", "directory"), "not a directory", "--kubelet-dir"}
			},
		},
		"a directory for CDI files that cannot be made": {
			func(r *rig) []string { return r.with("cdiDir", r.below("file")) },
			func(r *rig) []string { return []string{r.path("file", "directory"), "not a directory", "--cdi-dir"} },
		},
		"a directory for records that cannot be made": {
			func(r *rig) []string { return r.with("stateDir", r.below("file")) },
			func(r *rig) []string { return []string{r.path("file", "directory"), "not a directory", "--state-dir"} },
		},
		"a directory whose socket path would be too long": {
			func(r *rig) []string { return r.with("kubeletDir", r.path(strings.Repeat("long/", 20))) },
			func(*rig) []string { return []string{"kubeletDir", "107", "dra.sock"} },
		},
		"a node that is not in the cluster": {
			func(r *rig) []string { return r.with("nodeName", "not-a-node") },
			func(*rig) []string { return []string{`"not-a-node"`, "not in the cluster", "--node-name"} },
		},
		"a kubeconfig that is not there": {
			func(r *rig) []string { return r.with("kubeconfig", r.path("nowhere.kubeconfig")) },
			func(r *rig) []string { return []string{r.path("nowhere.kubeconfig"), "no such file", "kubeconfig"} },
		},
	}
	r := newRig(t)
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			r := *r
			r.t = t
			d := r.run(c.arguments(&r)...)
			if code := d.wait(); code == 0 {
				t.Error("exit code 0")
			}
			expectSentence(t, d.output.String(), c.says(&r))
			if sockets := socketsBelow(t, r.path("kubelet")); len(sockets) > 0 {
				t.Errorf("sockets are left: %v", sockets)
			}
		})
	}
	pool, err := r.server.client.ResourceV1().ResourceSlices().List(t.Context(), slicesOf(r.node.Name))
	if err != nil || len(pool.Items) > 0 {
		t.Errorf("%d slices are published (%v)", len(pool.Items), err)
	}
}

func expectSentence(t *testing.T, output string, parts []string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(output, part) {
			t.Errorf("the message does not say %q:\n%s", part, output)
		}
	}
	for _, never := range []string{"panic:", "goroutine 1 ", "failed to", "unable to", "%!"} {
		if strings.Contains(output, never) {
			t.Errorf("the message says %q:\n%s", never, output)
		}
	}
}

func TestFault19SecondDriverOnTheSameSockets(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	first := r.startReady()
	second := r.start("httpAddress", freeAddress(t))
	if code := second.wait(); code == 0 {
		t.Error("the second driver ended with exit code 0")
	}
	expectSentence(t, second.output.String(), []string{r.path("kubelet"), ".sock", driverName, "--driver-name"})
	claim := r.claim("claim", r.devices("gpu-0"))
	r.mustResolve(prepare(t, first, claim))
	unprepare(t, first, claim)
	if code := first.stop(); code != 0 {
		t.Errorf("the first driver ended with exit code %d", code)
	}
}

// An API server that is away for a moment is no reason to crash: the driver says what it waits for, and goes on.
func TestFault08UnreachableAPIServerAtStart(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	config, err := clientcmd.LoadFromFile(r.kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	nowhere := freeAddress(t)
	config.Clusters[config.Contexts[config.CurrentContext].Cluster].Server = "https://" + nowhere
	path := r.path("nowhere.kubeconfig")
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		t.Fatal(err)
	}
	d := r.start("kubeconfig", path)
	r.until("the driver says that it waits for the API server", func(context.Context) error {
		for _, part := range []string{nowhere, "connection refused", r.node.Name} {
			if !strings.Contains(d.output.String(), part) {
				return fmt.Errorf("no %q in what it says", part)
			}
		}
		return nil
	})
	if err := probe(t.Context(), r.http, "/readyz"); err == nil {
		t.Error("it says that it is ready")
	}
	if code := d.stop(); code != 0 {
		t.Errorf("exit code %d after SIGTERM, expected 0", code)
	}
	expectSentence(t, d.output.String(), nil)
}

func TestVersionAndHelp(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		arguments []string
		says      []string
	}{
		"--version": {[]string{"--version"}, []string{"v"}},
		"--help": {
			[]string{"--help"},
			[]string{
				"config", "node-name", "kubeconfig", "driver-name", "backend", "mock-profile", "kubelet-dir", "cdi-dir",
				"state-dir", "devices",
			},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			output, err := command(t, c.arguments...)
			if err != nil {
				t.Errorf("%v: %s", err, output)
			}
			expectSentence(t, string(output), c.says)
		})
	}
}

func TestFlagsWinOverTheFile(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	config := r.config()
	config["nodeName"], config["mockProfile"] = "somewhere-else", "dgx-h100"
	d := r.run("--config", r.writeYAML("config.yaml", config), "--node-name", r.node.Name, "--mock-profile", "l4-4x")
	d.waitReady()
	r.published(4)
	for _, part := range []string{r.node.Name, "l4-4x", r.path("state")} {
		if !strings.Contains(d.output.String(), part) {
			t.Errorf("the log does not tell the configuration in effect: no %q", part)
		}
	}
	if d.stop() != 0 {
		t.Error("it did not stop cleanly")
	}
}
