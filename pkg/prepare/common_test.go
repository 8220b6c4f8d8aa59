package prepare

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	cdispecs "tags.cncf.io/container-device-interface/specs-go"
)

// library returns edits as a driver of GPUs has them, made anew each time.
func library(hookArgs ...string) *cdispecs.ContainerEdits {
	return &cdispecs.ContainerEdits{
		Env:         []string{"NVIDIA_VISIBLE_DEVICES=void"},
		DeviceNodes: []*cdispecs.DeviceNode{{Path: "/dev/nvidiactl"}},
		Mounts:      []*cdispecs.Mount{{HostPath: "/lib/libcuda.so.1", ContainerPath: "/lib/libcuda.so.1"}},
		Hooks: []*cdispecs.Hook{{HookName: "createContainer", Path: "/usr/bin/nvidia-cdi-hook",
			Args: append([]string{"nvidia-cdi-hook"}, hookArgs...)}},
		AdditionalGIDs: []uint32{44},
	}
}

func TestWhatDevicesHaveInCommonIsThereOnce(t *testing.T) {
	base := []string{"DRA_ADMIN_ACCESS=false", "DRA_RESOURCE_DRIVER_NAME=gpu.example.com", "KUBERNETES_NODE_NAME=node-a"}
	withBase := func(edits *cdispecs.ContainerEdits) cdispecs.ContainerEdits {
		edits.Env = slices.Concat(base, edits.Env)
		return *edits
	}
	two := library("update-ldcache")
	two.Hooks = append(two.Hooks, library("create-symlinks").Hooks...)
	for name, test := range map[string]struct {
		common map[string]*cdispecs.ContainerEdits
		want   cdispecs.ContainerEdits
	}{
		"nothing": {nil, cdispecs.ContainerEdits{Env: base}},
		"the same for both": {
			map[string]*cdispecs.ContainerEdits{"gpu-1": library("update-ldcache"), "gpu-0": library("update-ldcache")},
			withBase(library("update-ldcache")),
		},
		"for one of them only": {
			map[string]*cdispecs.ContainerEdits{"gpu-0": library("update-ldcache")}, withBase(library("update-ldcache")),
		},
		"partly the same, in the order of the allocation": {
			map[string]*cdispecs.ContainerEdits{"gpu-1": library("update-ldcache"), "gpu-0": library("create-symlinks")},
			withBase(two),
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newNode(t).start(t)
			p.hardware.common = test.common
			plan := planOf("c", "gpu-1", "gpu-0")
			var first []byte
			for range 2 {
				_, err := p.Prepare(t.Context(), plan)
				must(t, err)
				raw := contentOf(t, p.specOf(plan.UID))
				var spec cdispecs.Spec
				must(t, json.Unmarshal(raw, &spec))
				if diff := cmp.Diff(test.want, spec.ContainerEdits); diff != "" {
					t.Errorf("edits for all devices (-want +got):\n%s", diff)
				}
				if first != nil && !bytes.Equal(first, raw) {
					t.Errorf("another file the second time:\n%s", cmp.Diff(string(first), string(raw)))
				}
				first = raw
			}
			p.mustGoAway(t, plan.UID)
		})
	}
}

func TestWhatCannotBeHadTwiceIsRefused(t *testing.T) {
	p := newNode(t).start(t)
	p.hardware.common = map[string]*cdispecs.ContainerEdits{
		"gpu-0": {IntelRdt: &cdispecs.IntelRdt{ClosID: "a"}}, "gpu-1": {IntelRdt: &cdispecs.IntelRdt{ClosID: "b"}},
	}
	plan := planOf("c", "gpu-0", "gpu-1")
	if _, err := p.Prepare(t.Context(), plan); err == nil || !strings.Contains(err.Error(), "intelRdt") {
		t.Errorf("error %v, want one that names intelRdt", err)
	}
	p.mustGoAway(t, plan.UID)
}
