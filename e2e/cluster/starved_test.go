package cluster

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/e2e-framework/pkg/features"
	"sigs.k8s.io/e2e-framework/pkg/types"
)

// outOfMemory lets the driver run into its memory limit while pods start.
func outOfMemory() types.Feature {
	h := &holder{scene: newScene("e2e-out-of-memory", 5)}
	return features.New("Fault27 driver killed at its memory limit").Setup(h.scene.begin).
		Assess("a pod has a device", assess(h.begin)).
		Assess("the kernel kills the driver while pods start, and each of them has its device in the end",
			assess(func(t *testing.T) {
				settled(t)
				h.whilePodsComeAndGo(t, func() { killedAtItsLimit(t, worker) })
				settled(t)
				h.goesOn(t)
				h.notRestarted(t, "holder")
			})).
		Assess("pods end and begin", assess(h.ends)).Feature()
}

// killedAtItsLimit uses up the memory of the driver's container from within, and waits until the driver was killed for
// it and is back.
func killedAtItsLimit(t *testing.T, n node) {
	t.Helper()
	pod := driverPod(t, n)
	limit := pod.Spec.Containers[0].Resources.Limits.Memory()
	if limit.IsZero() {
		t.Fatal("the chart sets no memory limit")
	}
	process := n.processes(t, pod)[0]
	if environment := n.mustRun(t, "cat", process+"/environ"); !strings.Contains(environment,
		fmt.Sprintf("MEMORY_LIMIT=%d\x00", limit.Value())) {
		t.Errorf("the driver does not know the memory limit of %d bytes: %q", limit.Value(), environment)
	}
	// The driver first: by itself the kernel would take the larger one, which eats the memory.
	n.mustRun(t, "sh", "-c", "echo 1000 > "+process+"/oom_score_adj")
	const eat = `echo $$ > %s/cgroup.procs && head -c %d /dev/zero | tail -c %[2]d`
	twice := 2 * limit.Value()
	_, err := n.run(t.Context(), "sh", "-c", fmt.Sprintf(eat, n.controlGroup(t, process, "memory"), twice))
	t.Logf("what ate the memory ended as well: %v", err != nil)
	until(t, "the driver was killed and is back", func(ctx context.Context) error {
		now, err := driverOn(ctx, n)
		if err != nil {
			return err
		}
		status := now.Status.ContainerStatuses[0]
		if now.UID != pod.UID || status.RestartCount == pod.Status.ContainerStatuses[0].RestartCount {
			return fmt.Errorf("it was not restarted: %s", asYAML(status))
		}
		if ended := status.LastTerminationState.Terminated; ended == nil || ended.ExitCode != 137 {
			return fmt.Errorf("it was not killed: %s", asYAML(status))
		}
		return nil
	})
	t.Logf("it ended as %s", driverPod(t, n).Status.ContainerStatuses[0].LastTerminationState.Terminated.Reason)
}

// controlGroup returns the directory of a process' control group, as version 1 or 2 has it.
func (n node) controlGroup(t *testing.T, process, controller string) string {
	t.Helper()
	unified := ""
	for line := range strings.Lines(n.mustRun(t, "cat", process+"/cgroup")) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		switch {
		case len(parts) != 3:
		case parts[1] == controller:
			return "/sys/fs/cgroup/" + controller + parts[2]
		case parts[1] == "":
			unified = "/sys/fs/cgroup" + parts[2]
		}
	}
	return unified
}

// littleCPU gives the driver the CPU of its request and less, first to start with and then while it runs.
func littleCPU() types.Feature {
	s := newScene("e2e-little-cpu", 6)
	return features.New("Fault27 driver with little CPU").Setup(s.begin).
		Assess("with 50m it starts and no pod has to wait for a second try", assess(func(t *testing.T) {
			s.create(t, newTemplate("one", 1))
			start := time.Now()
			limitedTo(t, "50m")
			t.Logf("the driver was replaced on both nodes within %v", time.Since(start).Round(time.Second))
			settled(t)
			s.sixAtOnce(t, "few")
			s.noPrepareFailed(t)
		})).
		Assess("with 10m pods start and end too", assess(func(t *testing.T) {
			before := driverPod(t, worker)
			group := throttled(t, worker, 10)
			s.sixAtOnce(t, "fewer")
			t.Logf("the kernel says:\n%s", worker.mustRun(t, "cat", group+"/cpu.stat"))
			after, err := client.CoreV1().Pods(before.Namespace).Get(t.Context(), before.Name, metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if now := after.Status.ContainerStatuses[0]; now.RestartCount > before.Status.ContainerStatuses[0].RestartCount {
				t.Errorf("the driver was restarted: %s", asYAML(now))
			}
		})).
		Assess("without a limit the driver is as it was", assess(func(t *testing.T) {
			limitedTo(t, "")
			settled(t)
		})).Feature()
}

// sixAtOnce starts six pods with a device each and removes them.
func (s *scene) sixAtOnce(t *testing.T, name string) {
	t.Helper()
	start := time.Now()
	for i := range 6 {
		s.createPod(t, newPod(fmt.Sprintf("%s-%d", name, i), "one"))
	}
	for i := range 6 {
		s.expectOnlyClaim(t, s.running(t, fmt.Sprintf("%s-%d", name, i)), mainContainer)
	}
	t.Logf("six pods ran after %v", time.Since(start).Round(10*time.Millisecond))
	for i := range 6 {
		s.deletePod(t, fmt.Sprintf("%s-%d", name, i))
	}
	s.noClaims(t)
}

// limitedTo replaces the driver's pods by ones with so much CPU; empty: as much as they like.
func limitedTo(t *testing.T, cpu string) {
	t.Helper()
	limit := "null"
	if cpu != "" {
		limit = `"` + cpu + `"`
	}
	set, err := daemonSet(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	template := fmt.Sprintf(`{"spec":{"containers":[{"name":%q,"resources":{"limits":{"cpu":%s}}}]}}`,
		set.Spec.Template.Spec.Containers[0].Name, limit)
	changed(t, template, func(pod *corev1.Pod) bool {
		got, limited := pod.Spec.Containers[0].Resources.Limits[corev1.ResourceCPU]
		return limited == (cpu != "") && (!limited || got.String() == cpu)
	})
}

// throttled gives the driver's container on a node so many thousandths of a CPU, without a restart, and returns its
// control group.
func throttled(t *testing.T, n node, thousandths int) (group string) {
	t.Helper()
	process := n.processes(t, driverPod(t, n))[0]
	group = n.controlGroup(t, process, "cpu")
	script := fmt.Sprintf(`if [ -e %[1]s/cpu.max ]; then echo "%[2]d 100000" > %[1]s/cpu.max
		else echo 100000 > %[1]s/cpu.cfs_period_us && echo %[2]d > %[1]s/cpu.cfs_quota_us; fi`, group, thousandths*100)
	n.mustRun(t, "sh", "-c", script)
	return group
}
