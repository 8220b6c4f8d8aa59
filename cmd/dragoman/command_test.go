package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files instead of comparing with them")

// invoke runs the command line in this process.
func invoke(t *testing.T, env map[string]string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, problems bytes.Buffer
	code = command(t.Context(), args, func(name string) string { return env[name] }, &out, &problems)
	return code, out.String(), problems.String()
}

// file writes a file and returns its path.
func file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const header = "apiVersion: dragoman.example.com/v1alpha1\nkind: DriverConfig\n"

func TestDevices(t *testing.T) {
	sick := file(t, "sick.yaml", `apiVersion: dragoman.example.com/v1alpha1
kind: MachineProfile
groups:
- name: gpus
  count: 2
  attributes: {model: {string: T4}}
  devices:
  - {groupIndex: 1, health: {unhealthy: true, reason: "XID 79: GPU has fallen off the bus"}}
`)
	kinds := file(t, "kinds.yaml", `apiVersion: dragoman.example.com/v1alpha1
kind: MachineProfile
groups:
- name: cut
  taints: [{key: example.com/maintenance, value: disk, effect: NoSchedule}, {key: example.com/old, effect: None}]
  partitioning:
    counters: {engines: 2}
    partitions: [{name: half, copies: 2, counters: {engines: 1}}]
- name: shared
  allowMultipleAllocations: true
  capacity: {memory: {value: 8Gi, requestPolicy: {default: 1Gi, validValues: [1Gi, 2Gi]}}, compute: {value: 10}}
- name: fabric
  binding: {conditions: [example.com/attached, example.com/powered], failureConditions: [example.com/failed]}
`)
	for name, args := range map[string][]string{
		"devices-dgx-h100.txt":  {"--mock-profile", "dgx-h100"},
		"devices-dgx-h100.yaml": {"--mock-profile=dgx-h100", "-o", "yaml"},
		"devices-mixed.txt":     {"-o=table", "-mock-profile", "mixed", "--driver-name", "gpu.vendor.example"},
		"devices-sick.txt":      {"--mock-profile", sick},
		"devices-showcase.txt":  {"--mock-profile", "showcase"},
		"devices-kinds.txt":     {"--mock-profile", kinds},
		"devices-kinds.yaml":    {"--mock-profile", kinds, "-o", "yaml"},
	} {
		t.Run(name, func(t *testing.T) {
			code, got, problems := invoke(t, nil, append([]string{"devices", "--node-name", "node-a"}, args...)...)
			if code != exitOK || problems != "" {
				t.Fatalf("exit code %d: %s", code, problems)
			}
			golden := filepath.Join("testdata", name)
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("differs from %s (-want +got); go test -update writes it:\n%s", golden, diff)
			}
		})
	}
}

func TestDevicesNeedsNoNodeName(t *testing.T) {
	if code, got, problems := invoke(t, nil, "devices"); code != exitOK || !strings.Contains(got, "gpu-7") {
		t.Errorf("exit code %d: %s%s", code, got, problems)
	}
}

func TestUsageIsPrintedWhenAskedFor(t *testing.T) {
	for _, args := range []string{"--help", "-h", "devices --help", "--version", "-version"} {
		code, got, problems := invoke(t, nil, strings.Fields(args)...)
		want := "dragoman"
		if strings.HasSuffix(args, "help") {
			want = "--mock-profile"
		}
		if code != exitOK || !strings.Contains(got, want) || problems != "" {
			t.Errorf("%s: exit code %d\n%s%s", args, code, got, problems)
		}
	}
}

// Each line of --help has a flag that exists, and each flag is in it.
func TestUsageIsComplete(t *testing.T) {
	_, help, _ := invoke(t, nil, "devices", "--help")
	s := newSettings("", nil)
	s.output = s.flags.String("o", "", "")
	s.flags.VisitAll(func(f *flag.Flag) {
		if dashes := "--"[:min(2, len(f.Name))]; !strings.Contains(help, "  "+dashes+f.Name+" ") {
			t.Errorf("%s is not in the help:\n%s", f.Name, help)
		}
	})
}

func TestWhatCannotBeUnderstood(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		want []string
	}{
		"an unknown flag that is near another": {[]string{"--mock-profil", "x"},
			[]string{"unknown flag --mock-profil; did you mean --mock-profile?"}},
		"an unknown flag": {[]string{"-frobnicate"}, []string{"unknown flag --frobnicate", "dragoman --help"}},
		"a flag for what is in the file": {[]string{"--http-address=:8080"},
			[]string{"unknown flag --http-address", "the file that --config names, httpAddress"}},
		"a flag without its value": {[]string{"--node-name"}, []string{"flag needs an argument: -node-name"}},
		"a verbosity in words": {[]string{"-v", "high"},
			[]string{`invalid value "high" for flag -v: must be a number`}},
		"an unknown sub-command": {[]string{"device"},
			[]string{`unknown sub-command "device"; there are: "devices", "mock", "doctor"`}},
		"a sub-command at the end": {[]string{"-v", "4", "devices"},
			[]string{"the sub-command comes first: dragoman devices"}},
		"an argument":         {[]string{"-v", "4", "run"}, []string{`unexpected argument "run"`}},
		"no name of the node": {nil, []string{"nodeName", "--node-name"}},
		"no such file": {[]string{"--config", "/no/such/file"},
			[]string{"--config: open /no/such/file: no such file"}},
		"a typo in the file": {[]string{"--config", file(t, "c.yaml", header+"mockprofile: x\n")},
			[]string{"--config ", "c.yaml: ", "mockprofile", "mockProfile"}},
		"two problems in the file": {[]string{"--config", file(t, "c.yaml", header+"a: 1\nb: 2\n")},
			[]string{"c.yaml: 2 problems\n  a: ", "\n  b: "}},
		"a file of another kind": {[]string{"--config", file(t, "c.yaml", "apiVersion: v1\nkind: ConfigMap\n")},
			[]string{"c.yaml", "dragoman.example.com/v1alpha1", "DriverConfig"}},
		"a name that no driver can have": {[]string{"--node-name", "n", "--driver-name", "GPU"},
			[]string{`configuration: driverName: Invalid value: "GPU"`}},
		"directories without room for a socket": {
			[]string{"--node-name", "n", "--kubelet-dir", "/" + strings.Repeat("x", 90)},
			[]string{"kubeletDir", "107"}},
		"an unknown format of devices": {[]string{"devices", "-o", "json"},
			[]string{"-o json: unknown format; there are: table, yaml"}},
	} {
		t.Run(name, func(t *testing.T) {
			code, stdout, stderr := invoke(t, nil, tc.args...)
			if code != exitUsage || stdout != "" {
				t.Errorf("exit code %d and %q, want %d and nothing", code, stdout, exitUsage)
			}
			for _, want := range tc.want {
				if !strings.HasPrefix(stderr, "dragoman: ") || !strings.Contains(stderr, want) {
					t.Errorf("%s\nwant %q", stderr, want)
				}
			}
		})
	}
}

func TestFlagsWinOverTheFileAndTheFileOverDefaults(t *testing.T) {
	config := file(t, "c.yaml", header+
		"nodeName: from-file\ncdiDir: /from/file\nbackend: from-file\nlogging: {verbosity: 5}\n")
	for name, tc := range map[string]struct {
		args []string
		env  map[string]string
		want string // nodeName cdiDir backend stateDir podUID verbosity
	}{
		"defaults": {nil, nil, "n /var/run/cdi mock /run/dragoman  2"},
		"file": {[]string{"--config", config}, nil,
			"from-file /from/file from-file /run/dragoman  5"},
		"flags after the file": {[]string{"--config", config, "--backend", "mock", "-v=0"}, nil,
			"from-file /from/file mock /run/dragoman  0"},
		"flags before the file": {[]string{"--backend=mock", "-v=3", "-config=" + config}, nil,
			"from-file /from/file mock /run/dragoman  3"},
		"the last of two flags": {[]string{"--backend=a", "--backend=b"}, nil, "n /var/run/cdi b /run/dragoman  2"},
		"variables": {nil, map[string]string{"NODE_NAME": "from-env", "POD_UID": "1-2"},
			"from-env /var/run/cdi mock /run/dragoman 1-2 2"},
		"the file before variables": {[]string{"--config", config}, map[string]string{"NODE_NAME": "from-env"},
			"from-file /from/file from-file /run/dragoman  5"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSettings("", nil)
			s.nodeName = "n"
			if _, err := s.parse(tc.args, nil); err != nil {
				t.Fatal(err)
			}
			c, err := s.config(func(name string) string { return tc.env[name] })
			if err != nil {
				t.Fatal(err)
			}
			got := fmt.Sprintf("%s %s %s %s %s %d",
				c.NodeName, c.CDIDir, c.Backend, c.StateDir, c.PodUID, *c.Logging.Verbosity)
			if got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

// tokenOf returns a kubeconfig with the service account token of a pod that runs on the node.
func tokenOf(t *testing.T, api *apiServer, node string) (kubeconfig string) {
	t.Helper()
	payload := fmt.Sprintf(`{"kubernetes.io":{"node":{"name":%q,"uid":"1"}}}`, node)
	token := file(t, "token", "e30."+base64.RawURLEncoding.EncodeToString([]byte(payload))+".c2ln")
	text, err := os.ReadFile(api.kubeconfig(t))
	if err != nil {
		t.Fatal(err)
	}
	return file(t, "kubeconfig", strings.NewReplacer(`"user":{}`, fmt.Sprintf(`"user":{"tokenFile":%q}`, token),
		"http:", "https:").Replace(string(text))) // tokens are for TLS only
}

// What is understood and cannot be done: the error says what, where, why and what to do.
func TestWhatCannotBeDone(t *testing.T) {
	api := newAPIServer(t)
	notADir := file(t, "file", "")
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	for name, tc := range map[string]struct {
		args []string
		want []string
	}{
		"no kubeconfig where it should be": {[]string{"--kubeconfig", "/no/such/file"},
			[]string{"find the API server: --kubeconfig /no/such/file: ", "no such file"}},
		"a kubeconfig that is none": {[]string{"--kubeconfig", file(t, "k", "hello")},
			[]string{"find the API server: --kubeconfig ", "cannot unmarshal"}},
		"an unknown backend": {[]string{"--backend", "tpu"},
			[]string{`open the backend: unknown backend "tpu"; there are: mock, nvml`}},
		"an unknown profile": {[]string{"--mock-profile", "dgx-b900"},
			[]string{"open the backend: --mock-profile: ", `"dgx-b900"`, "dgx-h100"}},
		"a bad profile": {[]string{"--mock-profile", file(t, "bad.yaml", "apiVersion: dragoman.example.com/v1alpha1\n"+
			"kind: MachineProfile\ngroups:\n- {name: a, cuont: 3}\n")},
			[]string{"bad.yaml", "groups[0].cuont", "count"}},
		"no directory for records": {[]string{"--state-dir", notADir},
			[]string{"open the records of claims: --state-dir " + notADir, "not a directory"}},
		"no directory for CDI files": {[]string{"--cdi-dir", notADir},
			[]string{"open the directory of CDI files: --cdi-dir " + notADir, "not a directory"}},
		"no directory for sockets": {[]string{"--kubelet-dir", notADir},
			[]string{"directory " + notADir + "/plugins_registry", "not a directory", "--kubelet-dir"}},
		"an address that is taken": {
			[]string{"--config", file(t, "c.yaml", header+"httpAddress: "+taken.Addr().String()+"\n")},
			[]string{"listen for metrics and health checks: httpAddress: ", taken.Addr().String(), "in use",
				"set another one"}},
		"a pod of another node": {[]string{"--kubeconfig", tokenOf(t, api, "node-b")},
			[]string{`node "node-a" is not the one this pod runs on`, `for node "node-b"`, "--node-name"}},
		"a node that does not exist": {[]string{"--node-name", "node-z"},
			[]string{`node "node-z" is not in the cluster; --node-name must be the name in "kubectl get nodes"`}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := shortDir(t)
			s := newSettings("", nil)
			args := append([]string{"--node-name", "node-a", "--kubeconfig", api.kubeconfig(t),
				"--state-dir", dir + "/state", "--cdi-dir", dir + "/cdi",
				"--kubelet-dir", dir + "/kubelet"}, tc.args...)
			if _, err := s.parse(args, nil); err != nil {
				t.Fatal(err)
			}
			config, err := s.config(func(string) string { return "" })
			if err != nil {
				t.Fatal(err)
			}
			if *config.HTTPAddress == "127.0.0.1:8080" {
				*config.HTTPAddress = ""
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			err = run(ctx, config)
			for _, want := range tc.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%v\nwant %q", err, want)
				}
			}
		})
	}
}
