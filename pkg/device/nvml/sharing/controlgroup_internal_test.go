//go:build cgo

package sharing

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestBesidePods(t *testing.T) {
	for name, test := range map[string]struct {
		line, controllers, group string
	}{
		"a pod": {"4:memory:/kubepods/burstable/pod1/c1", "memory", "/dragoman-mps"},
		"a pod of systemd": {
			"1:name=systemd:/kubepods.slice/kubepods-pod1.slice/cri-c1.scope\n", "name=systemd", "/dragoman-mps",
		},
		"a pod of a kubelet in a group": {
			"3:cpu,cpuacct:/docker/n/kubelet/kubepods/pod1/c1", "cpu,cpuacct", "/docker/n/kubelet/dragoman-mps",
		},
		"a pod of systemd, of a kubelet in a group": {
			"9:pids:/docker/n/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod1.slice/cri-c1.scope", "pids",
			"/docker/n/kubelet.slice/dragoman-mps",
		},
		"a process of the host":          {"4:memory:/user.slice", "", ""},
		"version 2 beside version 1":     {"0::/kubepods/pod1/c1", "", "/dragoman-mps"},
		"nothing that the kernel writes": {"memory", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			controllers, group, ok := besidePods(test.line)
			if controllers != test.controllers || group != test.group || ok != (test.group != "") {
				t.Errorf("%q, %q, %v; want %q, %q", controllers, group, ok, test.controllers, test.group)
			}
		})
	}
}

func TestADaemonLeavesItsPodsControlGroup(t *testing.T) {
	tree := t.TempDir()
	if err := os.WriteFile(filepath.Join(tree, "cgroup.controllers"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the group may be there already
		launch{}.leaveControlGroup(tree)
		got, err := os.ReadFile(filepath.Join(tree, daemonsGroup, "cgroup.procs"))
		if err != nil || string(got) != strconv.Itoa(os.Getpid()) {
			t.Errorf("%q, %v", got, err)
		}
	}
}

func TestADaemonHasItsLimitsFromTheStart(t *testing.T) {
	daemon := Daemon{UUIDs: []string{"GPU-a", "GPU-b"}, ThreadPercentage: new(40),
		MemoryLimits: map[string]string{"GPU-b": "512M"}}
	want := []string{"CUDA_VISIBLE_DEVICES=GPU-a,GPU-b", "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE=40",
		"CUDA_MPS_PINNED_DEVICE_MEM_LIMIT=1=512M"}
	if diff := cmp.Diff(want, daemon.environment()); diff != "" {
		t.Error(diff)
	}
	if got := (Daemon{UUIDs: []string{"GPU-a"}}).environment(); len(got) != 1 {
		t.Errorf("without limits: %v", got)
	}
}
