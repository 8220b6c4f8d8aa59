package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"example.com/dragoman/pkg/view"
)

// seenCluster is the cluster of a file of package view's tests.
func seenCluster(t *testing.T, name string) *view.Cluster {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "pkg", "view", "testdata", name+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var objects []runtime.Object
	for d := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 1024); ; {
		u := &unstructured.Unstructured{}
		if err := d.Decode(&u.Object); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if u.Object != nil {
			objects = append(objects, u)
		}
	}
	cluster, err := view.FromObjects(objects)
	if err != nil {
		t.Fatal(err)
	}
	return cluster
}

// listed is what "devices" prints of a cluster: stdout, then stderr with "! " before each line.
func listed(t *testing.T, cluster *view.Cluster, format string, change func(*devicesCommand)) string {
	t.Helper()
	streams, _, stdout, stderr := genericiooptions.NewTestIOStreams()
	s := newSession(invocation{name: "kubectl-dra", streams: streams})
	d := &devicesCommand{session: s, format: newOutputFormat("table")}
	d.format.value = format
	if change != nil {
		change(d)
	}
	d.options.Selects = d.selects(t.Context())
	listing, err := view.Devices(cluster, d.options)
	if err != nil {
		t.Fatal(err)
	}
	d.unseen(cluster)
	d.tell(listing, cluster)
	if err := d.print(listing); err != nil {
		t.Fatal(err)
	}
	text := stdout.String()
	for line := range strings.Lines(stderr.String()) {
		text += "! " + line
	}
	return text
}

func TestTheTableOfDevices(t *testing.T) {
	for name, test := range map[string]struct {
		cluster, format string
		change          func(*devicesCommand)
	}{
		"small":      {cluster: "small"},
		"small-wide": {cluster: "small", format: "wide"},
		"small-yaml": {
			cluster: "small", format: "yaml", change: func(d *devicesCommand) { d.options.Node = "node-b" },
		},
		"small-json": {
			cluster: "small", format: "json", change: func(d *devicesCommand) { d.options.Node = "node-c" },
		},
		"small-free":          {cluster: "small", change: func(d *devicesCommand) { d.options.Free = true }},
		"small-namespace":     {cluster: "small", change: func(d *devicesCommand) { d.options.Namespace = "team-a" }},
		"small-node":          {cluster: "small", change: func(d *devicesCommand) { d.options.Node = "node-b" }},
		"small-node-unknown":  {cluster: "small", change: func(d *devicesCommand) { d.options.Node = "node-z" }},
		"small-driver":        {cluster: "small", change: func(d *devicesCommand) { d.options.Driver = "nic.example.com" }},
		"small-driver-absent": {cluster: "small", change: func(d *devicesCommand) { d.options.Driver = "nix.example.com" }},
		"small-class": {
			cluster: "small", change: func(d *devicesCommand) { d.options.Class = "big-gpu.example.com" },
		},
		"small-attributes": {cluster: "small", change: func(d *devicesCommand) {
			d.attributes = []string{"index", "dra.net/ifName", "memory", "model"}
		}},
		"small-attributes-all": {cluster: "small", change: func(d *devicesCommand) { d.attributes = []string{"all"} }},
		"small-parts":          {cluster: "small", change: func(d *devicesCommand) { d.parts = true }},
		"shares":               {cluster: "shares"},
		"shares-free":          {cluster: "shares", change: func(d *devicesCommand) { d.options.Free = true }},
		"shares-yaml":          {cluster: "shares", format: "yaml"},
		"parts":                {cluster: "parts"},
		"parts-parts":          {cluster: "parts", change: func(d *devicesCommand) { d.parts = true }},
		"parts-free":           {cluster: "parts", change: func(d *devicesCommand) { d.options.Free = true }},
		"changing":             {cluster: "changing"},
		"changing-class": {
			cluster: "changing", change: func(d *devicesCommand) { d.options.Class = "gpu.example.com" },
		},
		"network":      {cluster: "network"},
		"network-node": {cluster: "network", change: func(d *devicesCommand) { d.options.Node = "node-2" }},
	} {
		t.Run(name, func(t *testing.T) {
			format := test.format
			if format == "" {
				format = "table"
			}
			golden(t, "devices/"+name+".txt", listed(t, seenCluster(t, test.cluster), format, test.change))
		})
	}
}

func TestOfManyThatBlockADeviceTwoAreNamed(t *testing.T) {
	var blockers []view.Blocker
	for _, name := range []string{"a", "b", "c", "d"} {
		blockers = append(blockers, view.Blocker{Device: name, UsedBy: []view.User{{Namespace: "team", Pods: []string{"p"}}}})
	}
	for n, want := range map[int]string{
		3: "a (team/p), b (team/p), c (team/p)", 4: "a (team/p), b (team/p) and 2 more",
	} {
		if got := blockersText(blockers[:n]); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

func TestTheTableOfDevicesSaysWhatCouldNotBeSeen(t *testing.T) {
	cluster := seenCluster(t, "small")
	cluster.Claims = cluster.Claims[:1]
	cluster.Nodes, cluster.TaintRules = nil, nil
	cluster.Unseen = []view.Unseen{
		{
			Resource: "resourceclaims", Forbidden: true, Only: "team-a", Right: "list resourceclaims.resource.k8s.io",
			Why: `resourceclaims.resource.k8s.io is forbidden: User "jane" cannot list resource "resourceclaims"`,
		},
		{
			Resource: "nodes", Forbidden: true, Right: "list nodes",
			Why: `nodes is forbidden: User "jane" cannot list resource "nodes"`,
		},
		{Resource: "devicetaintrules", NotServed: true, Why: "the server has no such kind"},
	}
	golden(t, "devices/small-unseen.txt", listed(t, cluster, "table", nil))
	golden(t, "devices/small-unseen-free.txt",
		listed(t, cluster, "table", func(d *devicesCommand) { d.options.Free = true }))
	cluster.Slices, cluster.Claims, cluster.Unseen = nil, nil, nil
	golden(t, "devices/none.txt", listed(t, cluster, "table", nil))
}

func TestDevicesThatCannotBeSeenAreNoEmptyList(t *testing.T) {
	packed := bundle(t, bundled{"cluster/resourceclaims.yaml", aClaim},
		bundled{"cluster/look.json", `{"unseen":[{"resource":"resourceslices","forbidden":true,"why":"no",` +
			`"right":"list resourceslices.resource.k8s.io"}]}`})
	file := filepath.Join(t.TempDir(), "bundle.tar.gz")
	if err := os.WriteFile(file, packed, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range []string{"devices", "devices -o json", "simulate -f testdata/simulate/typo.yaml"} {
		out, errOut, code := called(t, append(strings.Fields(args), "--from", file)...)
		if code != exitCannotTell || out != "" || !strings.Contains(errOut, "cannot be seen") ||
			strings.Contains(errOut, "No driver") || !strings.Contains(errOut, "list resourceslices.resource.k8s.io") {
			t.Errorf("%s: exit code %d, stdout %q, stderr %q", args, code, out, errOut)
		}
	}
}
