//go:build cgo

package nvml

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/dgxh100"
	"github.com/google/go-cmp/cmp"
	resourceapi "k8s.io/api/resource/v1"
	cdispecs "tags.cncf.io/container-device-interface/specs-go"

	gpuv1alpha1 "example.com/dragoman/api/gpu/v1alpha1"
	"example.com/dragoman/pkg/device"
)

func request(names ...string) device.Request {
	r := device.Request{
		Claim:    device.Claim{Namespace: "team", Name: "claim", UID: "11111111-0000-4000-8000-000000000000"},
		Config:   gpuv1alpha1.Default(),
		Remember: func(int, json.RawMessage) error { return nil },
	}
	for i, name := range names {
		r.Devices = append(r.Devices, resourceapi.DeviceRequestAllocationResult{
			Request: fmt.Sprintf("request-%d", i), Driver: "gpu.example.com", Pool: "node-a", Device: name,
		})
	}
	r.All = r.Devices
	return r
}

func prepareOne(t *testing.T, n *node, name string) device.Grant {
	t.Helper()
	grants, err := n.Prepare(t.Context(), request(name))
	if err != nil {
		t.Fatal(err)
	}
	return grants[0]
}

func TestWhatAContainerGets(t *testing.T) {
	n := newNode(t, dgxh100.New())
	grants, err := n.Prepare(t.Context(), request(n.look(t)[2].Name, n.look(t)[5].Name))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(grants[0].Common, grants[1].Common); diff != "" {
		t.Errorf("what is common differs: %s", diff)
	}
	for _, node := range slices.Concat(grants[0].Edits.DeviceNodes, grants[0].Common.DeviceNodes) {
		node.GID = nil // is that of who runs the test, who made the nodes
	}
	golden(t, "edits.yaml", map[string]any{"gpu": grants[0].Edits, "common": grants[0].Common})
	for _, grant := range grants {
		if !slices.Contains(grant.Edits.Env, "NVIDIA_VISIBLE_DEVICES=void") {
			t.Errorf("NVIDIA_VISIBLE_DEVICES is not void: %v", grant.Edits.Env)
		}
		if grant.Undo != nil {
			t.Errorf("there is something to undo: %s", grant.Undo)
		}
		for _, edits := range []*cdispecs.ContainerEdits{grant.Edits, grant.Common} {
			if raw, err := json.Marshal(edits); err != nil || strings.Contains(string(raw), n.root) {
				t.Errorf("a path of this process is in %s (%v)", raw, err)
			}
		}
	}
}

func TestAWarmPrepareMakesNoCall(t *testing.T) {
	n := newNode(t, dgxh100.New())
	devices := n.look(t)
	for _, d := range devices {
		prepareOne(t, n, d.Name)
	}
	n.library.total()
	for _, d := range devices {
		grant := prepareOne(t, n, d.Name)
		if err := n.Unprepare(t.Context(), grant); err != nil {
			t.Error(err)
		}
	}
	if calls := n.library.total(); len(calls) > 0 {
		t.Errorf("made calls: %v", calls)
	}
}

// TestAColdPrepareMakesNoCallEither: the edits come from what a look found out.
func TestAColdPrepareMakesNoCallEither(t *testing.T) {
	n := newNode(t, dgxh100.New())
	name := n.look(t)[0].Name
	n.library.total()
	prepareOne(t, n, name)
	if calls := n.library.total(); len(calls) > 0 {
		t.Errorf("made calls: %v", calls)
	}
}

func TestPrepareBeforeTheFirstLook(t *testing.T) {
	s := dgxh100.New()
	n := newNode(t, s)
	name := n.look(t)[0].Name
	again, err := New(n.options)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := again.Prepare(t.Context(), request(name)); err != nil {
		t.Error(err)
	}
}

func TestNobodyChangesWhatIsKept(t *testing.T) {
	n := newNode(t, dgxh100.New())
	name := n.look(t)[0].Name
	want, err := json.Marshal(prepareOne(t, n, name))
	if err != nil {
		t.Fatal(err)
	}
	spoiled := prepareOne(t, n, name)
	for _, edits := range []*cdispecs.ContainerEdits{spoiled.Edits, spoiled.Common} {
		edits.Env = append(edits.Env[:0], "SPOILED=1")
		for _, node := range edits.DeviceNodes {
			node.Path, node.HostPath = "/spoiled", "/spoiled"
			if node.FileMode != nil {
				*node.FileMode = 0
			}
		}
		for _, mount := range edits.Mounts {
			mount.HostPath, mount.Options[0] = "/spoiled", "spoiled"
		}
		for _, hook := range edits.Hooks {
			hook.Path, hook.Args[0] = "/spoiled", "spoiled"
		}
	}
	got, err := json.Marshal(prepareOne(t, n, name))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("the next one gets something else: %s", diff)
	}
}

func TestAnIncompleteDriverIsAnErrorAndIsNotKept(t *testing.T) {
	for name, test := range map[string]struct {
		remove string
		back   func(t *testing.T, file string)
		want   string
	}{
		"no node of the GPU": {
			"dev/nvidia0", func(t *testing.T, file string) { t.Helper(); charDevice(t, file) }, "/dev/nvidia0 not found",
		},
		"no control node": {
			"dev/nvidiactl", func(t *testing.T, file string) { t.Helper(); charDevice(t, file) }, "/dev/nvidiactl not found",
		},
		"a file instead of the node": {
			"dev/nvidia0", func(t *testing.T, file string) { t.Helper(); charDevice(t, file) }, "/dev/nvidia0 not found",
		},
		"no libcuda": {
			"usr/lib/x86_64-linux-gnu/libcuda.so.550.54.15",
			func(t *testing.T, file string) { t.Helper(); write(t, file, 0o644) }, "libcuda.so not found",
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, dgxh100.New())
			device := n.look(t)[0].Name
			file := filepath.Join(n.options.DriverRoot, test.remove)
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(name, "a file") {
				write(t, file, 0o644)
			}
			_, err := n.Prepare(t.Context(), request(device))
			for _, want := range []string{device, test.want, "nvml.driverRoot"} {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%v\ndoes not contain %q", err, want)
				}
			}
			if err := os.RemoveAll(file); err != nil {
				t.Fatal(err)
			}
			test.back(t, file)
			prepareOne(t, n, device)
		})
	}
}

func TestWhatUsuallyIsThereIsLookedForAgain(t *testing.T) {
	n := newNode(t, dgxh100.New())
	name := n.look(t)[0].Name
	file := filepath.Join(n.options.DriverRoot, "dev/nvidia-uvm")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if hasNode(prepareOne(t, n, name).Common, "/dev/nvidia-uvm") {
		t.Error("there is a node that is not there")
	}
	charDevice(t, file)
	if !hasNode(prepareOne(t, n, name).Common, "/dev/nvidia-uvm") {
		t.Error("the edits without nvidia-uvm were kept")
	}
}

func TestADriverRootThatIsALink(t *testing.T) {
	var link string
	n := newNode(t, dgxh100.New(), func(o *Options) {
		link = filepath.Join(filepath.Dir(o.DriverRoot), "link")
		symlink(t, o.DriverRoot, link)
		o.DriverRoot, o.DevRoot = link, link
	})
	want := newNode(t, dgxh100.New())
	name := n.look(t)[0].Name
	want.look(t)
	if diff := cmp.Diff(prepareOne(t, want, name), prepareOne(t, n, name)); diff != "" {
		t.Errorf("the edits differ (-without link +with link):\n%s", diff)
	}
}

func TestNodeNumbersAreLeftToTheRuntime(t *testing.T) {
	n := newNode(t, dgxh100.New())
	grant := prepareOne(t, n, n.look(t)[0].Name)
	for _, node := range append(grant.Edits.DeviceNodes, grant.Common.DeviceNodes...) {
		if node.Major != 0 || node.Minor != 0 || node.Type != "" {
			t.Errorf("%s is %s %d:%d, which may be another device after the driver was loaded again",
				node.Path, node.Type, node.Major, node.Minor)
		}
	}
}

func TestTheHook(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*Options)
		want   string
	}{
		"is where the driver's root has it": {func(*Options) {}, "/run/nvidia/driver/usr/bin/nvidia-cdi-hook"},
		"is where the options say": {
			func(o *Options) { o.CDIHookPath = "/opt/hook" }, "/opt/hook",
		},
		"is at its usual place if it is not seen": {
			func(o *Options) {
				o.DriverRoot = "/nowhere"
			}, "/usr/bin/nvidia-cdi-hook",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got := newNode(t, dgxh100.New(), test.change).options.hook(); got != test.want {
				t.Errorf("%s, want %s", got, test.want)
			}
		})
	}
}

func TestAPartOfAGPUGetsNoDisplayNodes(t *testing.T) {
	edits := ofPart(&cdispecs.ContainerEdits{
		DeviceNodes: []*cdispecs.DeviceNode{{Path: "/dev/nvidia0"}, {Path: "/dev/dri/card0"}},
		Hooks:       []*cdispecs.Hook{{Args: []string{"--link", "../card0::/dev/dri/by-path/pci-0000:00:00.0-card"}}},
	})
	if len(edits.DeviceNodes) != 1 || len(edits.Hooks) != 0 {
		t.Errorf("%v", edits)
	}
}

func TestAddedEditsReplaceVariables(t *testing.T) {
	edits := &cdispecs.ContainerEdits{
		Env: []string{"A=1", "B=1"}, DeviceNodes: []*cdispecs.DeviceNode{{Path: "/dev/nvidia0"}},
	}
	add(edits, &cdispecs.ContainerEdits{
		Env:         []string{"A=2"},
		DeviceNodes: []*cdispecs.DeviceNode{{Path: "/dev/nvidia0"}, {Path: "/dev/nvidia-caps/nvidia-cap1"}},
		Mounts:      []*cdispecs.Mount{{HostPath: "/a", ContainerPath: "/a"}},
	})
	add(edits, nil)
	if !slices.Equal(edits.Env, []string{"B=1", "A=2"}) || len(edits.DeviceNodes) != 2 || len(edits.Mounts) != 1 {
		t.Errorf("%+v", edits)
	}
}
