package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apitypes "k8s.io/apimachinery/pkg/types"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/e2e-framework/pkg/features"
	"sigs.k8s.io/e2e-framework/pkg/types"
)

// holder is a pod that has a device while something is restarted under it.
type holder struct {
	*scene
	pod   *corev1.Pod
	claim *resourceapi.ResourceClaim
}

func (h *holder) begin(t *testing.T) {
	h.create(t, newTemplate("one", 1))
	h.createPod(t, newPod("holder", "one"))
	h.pod = h.running(t, "holder")
	_, h.claim = h.expectOnlyClaim(t, h.pod, mainContainer)
}

// goesOn checks that the pod runs with its device as if nothing had happened.
func (h *holder) goesOn(t *testing.T) {
	t.Helper()
	_, claim := h.expectOnlyClaim(t, h.running(t, "holder"), mainContainer)
	if before, now := allocated(t, h.claim), allocated(t, claim); before[0].Device != now[0].Device {
		t.Errorf("the pod had device %s and has %s", before[0].Device, now[0].Device)
	}
}

// ends checks that the pod can be deleted, and that a new one gets a device.
func (h *holder) ends(t *testing.T) {
	t.Helper()
	h.createPod(t, newPod("next", "one"))
	_, next := h.expectOnlyClaim(t, h.running(t, "next"), mainContainer)
	if allocated(t, next)[0].Device == allocated(t, h.claim)[0].Device {
		t.Error("both pods have the same device")
	}
	h.deletePod(t, "holder")
	expectNoFiles(t, worker, h.claim)
	h.deletePod(t, "next")
	expectNoFiles(t, worker, next)
	h.noClaims(t)
}

func driverRestarted() types.Feature {
	h := &holder{scene: newScene("e2e-driver-restarted", 2)}
	return features.New("driver restarted").Setup(h.scene.begin).
		Assess("a pod has a device", assess(h.begin)).
		Assess("the driver's pod is replaced, the pod goes on, no slice is written", assess(func(t *testing.T) {
			settled(t)
			before := versions(t, worker)
			old, err := driverOn(t.Context(), worker)
			if err != nil {
				t.Fatal(err)
			}
			err = client.CoreV1().Pods(old.Namespace).Delete(t.Context(), old.Name, metav1.DeleteOptions{})
			if err != nil {
				t.Fatal(err)
			}
			until(t, "another pod of the driver is ready", func(ctx context.Context) error {
				pod, err := driverOn(ctx, worker)
				if err == nil && pod.UID == old.UID {
					err = errors.New("the old one is still there")
				}
				return err
			})
			settled(t)
			h.goesOn(t)
			h.notRestarted(t, "holder")
			if after := versions(t, worker); !maps.Equal(before, after) {
				t.Errorf("slices were %v and are %v", before, after)
			}
		})).
		Assess("pods end and begin", assess(h.ends)).Feature()
}

// versions tells of each slice whether it was written since.
func versions(t *testing.T, n node) map[string]string {
	t.Helper()
	complete, err := pool(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	versions := map[string]string{}
	for _, slice := range complete {
		versions[slice.Name] = string(slice.UID) + "@" + slice.ResourceVersion
	}
	return versions
}

func kubeletRestarted() types.Feature {
	h := &holder{scene: newScene("e2e-kubelet-restarted", 2)}
	return features.New("Fault17 kubelet restarted").Setup(h.scene.begin).
		Assess("a pod has a device", assess(h.begin)).
		Assess("the kubelet is restarted, slices are back, the pod goes on", assess(func(t *testing.T) {
			settled(t)
			before := versions(t, worker)
			changes := watchSlices(t, worker)
			worker.mustRun(t, "systemctl", "restart", "kubelet")
			start := time.Now()
			// The kubelet removes the slices of its node when it starts.
			until(t, "other slices are there", func(ctx context.Context) error {
				complete, err := pool(ctx, worker)
				if err != nil {
					return err
				}
				for _, slice := range complete {
					if version := string(slice.UID) + "@" + slice.ResourceVersion; before[slice.Name] == version {
						return fmt.Errorf("slice %s was not removed", slice.Name)
					}
				}
				return nil
			})
			changes.log(t, start)
			settled(t)
			h.goesOn(t)
			h.notRestarted(t, "holder")
		})).
		Assess("pods end and begin", assess(h.ends)).Feature()
}

// sliceChanges is when the slices of a node went and came.
type sliceChanges struct {
	mutex      sync.Mutex
	gone, back time.Time
}

// watchSlices notes the changes of a node's slices until the test ends.
func watchSlices(t *testing.T, n node) *sliceChanges {
	t.Helper()
	changes := &sliceChanges{}
	watch, err := client.ResourceV1().ResourceSlices().Watch(t.Context(), metav1.ListOptions{
		FieldSelector: "spec.nodeName=" + string(n) + ",spec.driver=" + driverName,
	})
	if err != nil {
		t.Fatalf("watch the slices: %v", err)
	}
	t.Cleanup(watch.Stop)
	go func() {
		for event := range watch.ResultChan() {
			changes.mutex.Lock()
			switch {
			case event.Type == apiwatch.Deleted:
				changes.gone = time.Now()
			case event.Type == apiwatch.Added && !changes.gone.IsZero() && changes.back.Before(changes.gone):
				changes.back = time.Now()
			}
			changes.mutex.Unlock()
		}
	}()
	return changes
}

// log says how long the slices were missing. That is a figure for people: nobody knows how long it may take where much
// else is going on.
func (c *sliceChanges) log(t *testing.T, start time.Time) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	ms := func(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
	t.Logf("slices were gone %v after the kubelet was restarted, and back %v later", ms(c.gone.Sub(start)),
		ms(c.back.Sub(c.gone)))
}

// driverUpdated rolls the DaemonSet, as "helm upgrade" and "kubectl rollout restart" do, while short pods come and go.
func driverUpdated() types.Feature {
	s := newScene("e2e-driver-updated", 3)
	return features.New("driver updated while pods start").Setup(s.begin).
		Assess("each pod of a stream has a device, before, while and after", assess(func(t *testing.T) {
			settled(t)
			s.create(t, newTemplate("one", 1))
			s.whilePodsComeAndGo(t, func() { rolled(t) })
			s.noPrepareFailed(t)
		})).Feature()
}

// whilePodsComeAndGo disturbs three streams of short pods; each pod must find its device in the end.
func (s *scene) whilePodsComeAndGo(t *testing.T, disturb func()) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 2*patience)
	defer stop()
	var over atomic.Bool
	var before, after, total atomic.Int64
	var streams sync.WaitGroup
	for i := range 3 {
		streams.Go(func() {
			for last := false; !last; { // at least one pod whole after the disturbance
				last = over.Load()
				name := fmt.Sprintf("short-%d-%d", i, total.Add(1))
				if err := s.short(ctx, name); err != nil {
					t.Errorf("pod %s: %v", name, err)
					return
				}
				if last {
					after.Add(1)
				} else {
					before.Add(1)
				}
			}
		})
	}
	defer streams.Wait()
	defer over.Store(true)
	until(t, "pods come and go", func(context.Context) error {
		if before.Load() < 3 && !t.Failed() {
			return fmt.Errorf("%d so far", before.Load())
		}
		return nil
	})
	disturb()
	over.Store(true)
	streams.Wait()
	t.Logf("%d pods began before or during the disturbance, %d after", before.Load(), after.Load())
}

// rolled gives the driver's pods an annotation, so that all are replaced.
func rolled(t *testing.T) {
	t.Helper()
	const annotation = "dragoman.example.com/e2e-updated"
	value := time.Now().Format(time.RFC3339Nano)
	changed(t, fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, annotation, value), func(pod *corev1.Pod) bool {
		return pod.Annotations[annotation] == value
	})
}

// changed changes the template of the driver's pods and waits until only changed ones are there.
func changed(t *testing.T, template string, isNew func(*corev1.Pod) bool) {
	t.Helper()
	set, err := daemonSet(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	surge := set.Spec.UpdateStrategy.RollingUpdate
	if surge == nil || surge.MaxSurge == nil || surge.MaxSurge.IntValue() == 0 && surge.MaxSurge.StrVal == "" {
		t.Errorf("the DaemonSet does not update with surge: %+v", set.Spec.UpdateStrategy)
	}
	patch := fmt.Appendf(nil, `{"spec":{"template":%s}}`, template)
	sets := client.AppsV1().DaemonSets(set.Namespace)
	_, err = sets.Patch(t.Context(), set.Name, apitypes.StrategicMergePatchType, patch, metav1.PatchOptions{})
	if err != nil {
		t.Fatalf("change the DaemonSet: %v", err)
	}
	for _, n := range []node{controlPlane, worker} {
		until(t, "the new driver alone is on node "+string(n), func(ctx context.Context) error {
			pod, err := driverOn(ctx, n)
			if err == nil && !isNew(pod) {
				err = fmt.Errorf("pod %s is an old one", pod.Name)
			}
			return err
		})
	}
}

// short runs a pod that looks for its device and ends, and removes it.
func (s *scene) short(ctx context.Context, name string) error {
	pods := client.CoreV1().Pods(s.namespace)
	const looks = `n=$(env | grep -c '^GPU_DEVICE_[0-9]*=gpu-'); [ "$n" = 1 ] && [ -c /dev/dragoman/gpu-* ]`
	pod := runs(newPod(name, "one"), looks)
	if _, err := pods.Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		return err
	}
	err := poll(ctx, func(ctx context.Context) error {
		pod, err := pods.Get(ctx, name, metav1.GetOptions{})
		if err == nil && pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed {
			err = fmt.Errorf("it is %s: %s", pod.Status.Phase, s.lastEvent(ctx, name))
		}
		return err
	})
	if err != nil {
		return err
	}
	ended, err := pods.Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if ended.Status.Phase != corev1.PodSucceeded {
		return fmt.Errorf("it did not find its device: %s", asYAML(ended.Status.ContainerStatuses))
	}
	return pods.Delete(ctx, name, metav1.DeleteOptions{})
}

func (s *scene) noPrepareFailed(t *testing.T) {
	t.Helper()
	failed := metav1.ListOptions{FieldSelector: "reason=FailedPrepareDynamicResources"}
	events, err := client.CoreV1().Events(s.namespace).List(t.Context(), failed)
	if err != nil {
		t.Fatal(err)
	}
	for _, event := range events.Items {
		t.Errorf("event of %s: %s", event.InvolvedObject.Name, event.Message)
	}
}
