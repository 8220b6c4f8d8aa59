package cluster

import (
	"context"
	"path"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/e2e-framework/pkg/features"
	"sigs.k8s.io/e2e-framework/pkg/types"
)

// confined looks at what the kernel says of the driver's processes: a pod's specification is only what was asked for.
// This is the driver with the mock backend; the one for NVIDIA GPUs needs more (see nvml.securityContext of the chart).
func confined() types.Feature {
	f := features.New("the driver's process is root without any right")
	for _, n := range []node{controlPlane, worker} {
		f = f.Assess(string(n), assess(func(t *testing.T) {
			pod := driverPod(t, n)
			for _, process := range n.processes(t, pod) {
				expectNoRights(t, n, process)
			}
		}))
	}
	return f.Feature()
}

// driverPod waits for the driver on a node.
func driverPod(t *testing.T, n node) (pod *corev1.Pod) {
	t.Helper()
	until(t, "the driver is ready on node "+string(n), func(ctx context.Context) (err error) {
		pod, err = driverOn(ctx, n)
		return err
	})
	return pod
}

// processes returns the directories below /proc of the processes of a pod's only container.
func (n node) processes(t *testing.T, pod *corev1.Pod) []string {
	t.Helper()
	_, id, ok := strings.Cut(pod.Status.ContainerStatuses[0].ContainerID, "://")
	if !ok {
		t.Fatalf("pod %s has no container: %s", pod.Name, asYAML(pod.Status.ContainerStatuses))
	}
	// A process that ends meanwhile cannot be read, which is no problem here.
	files := strings.Fields(n.mustRun(t, "sh", "-c", "grep -ls "+id+" /proc/[0-9]*/cgroup || true"))
	if len(files) == 0 {
		t.Fatalf("node %s runs no process of pod %s", n, pod.Name)
	}
	for i := range files {
		files[i] = path.Dir(files[i])
	}
	return files
}

func expectNoRights(t *testing.T, n node, process string) {
	t.Helper()
	status := map[string]string{}
	for line := range strings.Lines(n.mustRun(t, "cat", process+"/status")) {
		if key, value, ok := strings.Cut(line, ":"); ok {
			status[key] = strings.Join(strings.Fields(value), " ")
		}
	}
	for field, expected := range map[string]string{
		"CapInh": noCapability, "CapPrm": noCapability, "CapEff": noCapability, "CapBnd": noCapability,
		"CapAmb": noCapability, "NoNewPrivs": "1", "Seccomp": "2", "Uid": "0 0 0 0",
	} {
		if status[field] != expected {
			t.Errorf("%s of process %s on node %s is %q, expected %q", field, status["Name"], n, status[field], expected)
		}
	}
	// Not even the node's own root may write there.
	if _, err := n.run(t.Context(), "touch", process+"/root/new"); err == nil ||
		!strings.Contains(err.Error(), "Read-only file system") {
		t.Errorf("write to the root of process %s on node %s: %v, expected a read-only file system",
			status["Name"], n, err)
	}
	for _, namespace := range []string{"net", "pid", "ipc", "uts", "mnt"} {
		ours := n.mustRun(t, "readlink", process+"/ns/"+namespace)
		if nodes := n.mustRun(t, "readlink", "/proc/1/ns/"+namespace); ours == nodes {
			t.Errorf("process %s on node %s is in the node's %s namespace", status["Name"], n, namespace)
		}
	}
}

// noCapability is an empty set of capabilities as /proc shows it.
const noCapability = "0000000000000000"
