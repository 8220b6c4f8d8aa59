package node

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"example.com/dragoman/pkg/sanity/kubelet"
	"example.com/dragoman/pkg/sanity/subject"
)

const uid = "3d0b2b3c-0000-4000-8000-000000000001"

func onNode(t *testing.T) *Node {
	t.Helper()
	dirs, err := Tree(t.TempDir(), "d.example.com")
	if err != nil {
		t.Fatal(err)
	}
	n := &Node{Dirs: dirs, Subject: subject.New(subject.Options{}), ever: map[types.UID]bool{uid: true}}
	if err := n.baseline(); err != nil {
		t.Fatal(err)
	}
	return n
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

const spec = `{"cdiVersion":"0.6.0","kind":"d.example.com/gpu",` +
	`"devices":[{"name":"a","containerEdits":{"env":["A=1"]}}]}`

func TestContainer(t *testing.T) {
	cases := map[string]struct {
		file string // of the CDI directory
		id   string
		says string
		env  []string
	}{
		"an id that resolves":           {spec, "d.example.com/gpu=a", "", []string{"A=1"}},
		"an id that does not":           {spec, "d.example.com/gpu=b", "d.example.com/gpu=b", nil},
		"an answer without ids":         {spec, "", "", nil},
		"a file that is not valid":      {`{"kind":"x"}`, "", "file.json", nil},
		"a file that is no file of CDI": {`nonsense`, "", "file.json", nil},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			n := onNode(t)
			write(t, filepath.Join(n.Dirs.CDI, "file.json"), c.file)
			var answer kubelet.Prepared
			if c.id != "" {
				answer.Devices = []kubelet.Device{{CDIDeviceIDs: []string{c.id}}}
			}
			container, err := n.Container(answer)
			if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
				t.Fatalf("the error is %v, expected %q", err, c.says)
			}
			if c.env != nil && (container.Process == nil || !slices.Equal(container.Process.Env, c.env)) {
				t.Errorf("the container is %+v, expected the environment %q", container.Process, c.env)
			}
		})
	}
}

func TestWhatIsLeftOfAClaimIsFound(t *testing.T) {
	cdi := func(d subject.Dirs) string { return d.CDI }
	state := func(d subject.Dirs) string { return d.State }
	plugin := func(d subject.Dirs) string { return d.Plugin }
	cases := map[string]struct {
		dir        func(subject.Dirs) string
		file, text string
		trace      bool // it has the UID in its name
		left       bool
	}{
		"a CDI file of it":              {cdi, "d-" + uid + ".json", spec, true, true},
		"any new CDI file":              {cdi, "new.json", spec, false, true},
		"a record of it":                {state, uid, "", true, true},
		"a line about it":               {state, "all.json", `{"` + uid + `":1}`, false, true},
		"a file beside the driver's":    {plugin, uid + ".lock", "", true, true},
		"records of others are no harm": {state, "all.json", "{}", false, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			n := onNode(t)
			write(t, filepath.Join(c.dir(n.Dirs), c.file), c.text)
			traces, err := n.Traces(uid)
			if err != nil || (len(traces) > 0) != c.trace {
				t.Errorf("%v: its traces are %q", err, traces)
			}
			left, err := n.Left()
			if err != nil || (len(left) > 0) != c.left {
				t.Errorf("%v: left is %q", err, left)
			}
		})
	}
}

func TestDirectoriesThatAreGoneHoldNothing(t *testing.T) {
	n := onNode(t)
	for _, dir := range []string{n.Dirs.CDI, n.Dirs.State} {
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	traces, err := n.Traces(uid)
	if err != nil || len(traces) > 0 {
		t.Errorf("%v: %q", err, traces)
	}
	if left, err := n.Left(); err != nil || len(left) > 0 {
		t.Errorf("%v: %q", err, left)
	}
}
