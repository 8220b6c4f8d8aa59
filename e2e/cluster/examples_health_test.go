package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/e2e-framework/pkg/envconf"
	"sigs.k8s.io/e2e-framework/pkg/features"
	"sigs.k8s.io/e2e-framework/pkg/types"
)

const (
	healthExample = "14-unhealthy-device"
	unhealthyKey  = driverName + "/unhealthy"
	// sick is the device that the example is about, and why what has happened to it.
	sick, symptom = "gpu-0", "fan broken"
)

// fallsIll breaks the device as the README does.
func fallsIll(t *testing.T) {
	t.Helper()
	worker.mock(t, "set", sick, "health=unhealthy", "reason="+symptom)
}

// allWellAfterwards is a set-up after which the made-up hardware of the worker is in order when the feature ends.
func allWellAfterwards(ctx context.Context, t *testing.T, _ *envconf.Config) context.Context {
	t.Helper()
	worker.mockReset(t)
	return ctx
}

// taintedBecome waits until exactly these devices of the worker have the taint, and all others none.
func taintedBecome(t *testing.T, key string, effect resourceapi.DeviceTaintEffect, expected ...string) {
	t.Helper()
	start := time.Now()
	devicesBecome(t, worker, fmt.Sprintf("%d devices with the taint %s", len(expected), key),
		func(devices map[string]resourceapi.Device) error {
			if _, ok := devices[sick]; !ok {
				return fmt.Errorf("%s is not there", sick)
			}
			for name, device := range devices {
				tainted := slices.ContainsFunc(device.Taints, func(taint resourceapi.DeviceTaint) bool {
					return taint.Key == key && taint.Effect == effect
				})
				if tainted != slices.Contains(expected, name) || len(device.Taints) > 1 {
					return fmt.Errorf("%s has taints %s", name, asYAML(device.Taints))
				}
			}
			return nil
		})
	t.Logf("the slices say so after %v", time.Since(start).Round(10*time.Millisecond))
}

// expectNodeEvent waits for an event about the worker since the feature began, and checks its message.
func (s *scene) expectNodeEvent(t *testing.T, reason string, parts ...string) {
	t.Helper()
	about := metav1.ListOptions{FieldSelector: "involvedObject.name=" + string(worker) + ",reason=" + reason}
	until(t, "an event "+reason+" about the node "+string(worker), func(ctx context.Context) error {
		events, err := client.CoreV1().Events(metav1.NamespaceAll).List(ctx, about)
		if err != nil {
			return err
		}
		last := errors.New("none yet")
		for _, event := range events.Items {
			at := event.LastTimestamp.Time
			if event.EventTime.After(at) {
				at = event.EventTime.Time
			}
			missing := slices.DeleteFunc(slices.Clone(parts), func(part string) bool {
				return strings.Contains(event.Message, part)
			})
			if event.InvolvedObject.Kind == "Node" && len(missing) == 0 && !at.Before(s.start.Truncate(time.Second)) {
				return nil
			}
			last = fmt.Errorf("there is %q at %v", event.Message, at)
		}
		return last
	})
}

// taints is about a device that breaks while a pod has it.
func taints() types.Feature {
	s := newScene("dragoman-14", 1)
	var pool resourceapi.ResourcePool
	f := features.New(healthExample).Setup(s.applied(healthExample)).Setup(allWellAfterwards).
		Assess("it is tainted, and nothing else changes", assess(func(t *testing.T) {
			_, claim := s.expectOnlyClaim(t, s.running(t, "pod0"), "ctr0")
			if got := forRequest(t, claim, "gpu").Device; got != sick {
				t.Fatalf("the pod has %s", got)
			}
			pool = poolOf(t, sick)
			fallsIll(t)
			taintedBecome(t, unhealthyKey, resourceapi.DeviceTaintEffectNoSchedule, sick)
			if now := poolOf(t, sick); now != pool { // more than one write would have made a new generation
				t.Errorf("its pool was %+v and is %+v", pool, now)
			}
		})).
		Assess("the node has an event with the reason, and the driver counts it", assess(func(t *testing.T) {
			s.expectNodeEvent(t, "DeviceUnhealthy", sick, symptom)
			unhealthyBecome(t, worker, "1")
		})).
		Assess("who has it keeps it, and may end", assess(func(t *testing.T) {
			s.expectOnlyClaim(t, s.running(t, "pod0"), "ctr0")
			s.notRestarted(t, "pod0")
			s.deletePod(t, "pod0")
			s.unallocated(t, "first-gpu")
		})).
		Assess("nobody gets it any more but who tolerates the taint", assess(func(t *testing.T) {
			s.mustApply(t, healthExample, "while-unhealthy")
			_, claim := s.expectOnlyClaim(t, s.running(t, "repair"), "ctr0")
			if got := forRequest(t, claim, "gpu").Device; got != sick {
				t.Errorf("the pod that tolerates it has %s", got)
			}
			s.deletePod(t, "repair") // so that nothing but the taint keeps the other one off
			s.expectPending(t, "waiting", "cannot allocate all claims")
		})).
		Assess("a new driver on the node still knows", assess(func(t *testing.T) {
			replaceDriver(t, worker)
			unhealthyBecome(t, worker, "1")
			taintedBecome(t, unhealthyKey, resourceapi.DeviceTaintEffectNoSchedule, sick)
		})).
		Assess("healthy again, it is for everybody", assess(func(t *testing.T) {
			worker.mock(t, "set", sick, "health=healthy")
			taintedBecome(t, unhealthyKey, resourceapi.DeviceTaintEffectNoSchedule)
			s.expectNodeEvent(t, "DeviceHealthy", sick)
			unhealthyBecome(t, worker, "0")
			s.expectOnlyClaim(t, s.running(t, "waiting"), "ctr0")
		}))
	return s.evicts(f, "waiting").Feature()
}

// evicts adds that a taint with the effect NoExecute evicts the pod, which has the device.
func (s *scene) evicts(f *features.FeatureBuilder, pod string) *features.FeatureBuilder {
	const key = "example.com/maintenance"
	return f.Assess("a taint with the effect NoExecute evicts who has it", assess(func(t *testing.T) {
		claim := s.onlyClaim(t, s.running(t, pod))
		worker.mock(t, "set", sick, "taint="+key+"=fans:NoExecute")
		taintedBecome(t, key, resourceapi.DeviceTaintEffectNoExecute, sick)
		s.gone(t, pod)
		expectNoFiles(t, worker, claim)
	})).Assess("and is taken away again", assess(func(t *testing.T) {
		worker.mock(t, "set", sick, "taint="+key+"-")
		taintedBecome(t, key, resourceapi.DeviceTaintEffectNoExecute)
	}))
}

// unallocated waits until a claim that stays has no device.
func (s *scene) unallocated(t *testing.T, name string) {
	t.Helper()
	until(t, "claim "+name+" has no device", func(ctx context.Context) error {
		claim, err := client.ResourceV1().ResourceClaims(s.namespace).Get(ctx, name, metav1.GetOptions{})
		if err == nil && claim.Status.Allocation != nil {
			err = fmt.Errorf("it is reserved for %s", asYAML(claim.Status.ReservedFor))
		}
		return err
	})
}

// gone waits until a pod is gone without anybody's doing.
func (s *scene) gone(t *testing.T, pod string) {
	t.Helper()
	until(t, "pod "+pod+" is gone", func(ctx context.Context) error {
		_, err := client.CoreV1().Pods(s.namespace).Get(ctx, pod, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return errors.Join(fmt.Errorf("it is still there: %s", s.lastEvent(ctx, pod)), err)
	})
}

// poolOf returns the pool of the slice that has a device of the worker.
func poolOf(t *testing.T, device string) resourceapi.ResourcePool {
	t.Helper()
	list, err := client.ResourceV1().ResourceSlices().List(t.Context(), metav1.ListOptions{
		FieldSelector: "spec.nodeName=" + string(worker) + ",spec.driver=" + driverName,
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, slice := range list.Items {
		for _, d := range slice.Spec.Devices {
			if d.Name == device {
				return slice.Spec.Pool
			}
		}
	}
	t.Fatalf("no slice has %s", device)
	return resourceapi.ResourcePool{}
}

// evictingTaints is the same with the effect that evicts, a setting of the chart.
func evictingTaints() types.Feature {
	s := newScene("dragoman-14", 1)
	return features.New("a broken device is emptied").Setup(s.applied(healthExample)).Setup(allWellAfterwards).
		Assess("who has it is evicted", assess(func(t *testing.T) {
			s.expectOnlyClaim(t, s.running(t, "pod0"), "ctr0")
			fallsIll(t)
			taintedBecome(t, unhealthyKey, resourceapi.DeviceTaintEffectNoExecute, sick)
			s.gone(t, "pod0")
		})).Feature()
}

// taintsLacking is about a device that breaks where the API server drops taints: it is left out while it is broken.
func taintsLacking() types.Feature {
	s := newScene("dragoman-14", 1)
	return features.New("no taints").Setup(s.applied(healthExample)).Setup(allWellAfterwards).
		Assess("a broken device is left out, and the driver says why, once", assess(func(t *testing.T) {
			s.expectOnlyClaim(t, s.running(t, "pod0"), "ctr0")
			fallsIll(t)
			devicesBecome(t, worker, "no "+sick, func(devices map[string]resourceapi.Device) error {
				if _, ok := devices[sick]; ok || len(devices) < 2 {
					return fmt.Errorf("%d devices, %s among them: %t", len(devices), sick, ok)
				}
				return nil
			})
			worker.expectOneWarning(t, "DRADeviceTaints")
			s.expectNodeEvent(t, "DeviceUnhealthy", sick, symptom)
		})).
		Assess("who has it keeps it, and may end; the next one waits", assess(func(t *testing.T) {
			s.expectOnlyClaim(t, s.running(t, "pod0"), "ctr0")
			s.notRestarted(t, "pod0")
			s.deletePod(t, "pod0")
			s.unallocated(t, "first-gpu")
			s.create(t, ofClass("first", driverName, `device.attributes["`+driverName+`"].index == 0`))
			s.createPod(t, newPod("next", "first"))
			s.expectPending(t, "next", "cannot allocate all claims")
		})).
		Assess("healthy again, it comes back", assess(func(t *testing.T) {
			worker.mock(t, "set", sick, "health=healthy")
			taintedBecome(t, unhealthyKey, resourceapi.DeviceTaintEffectNoSchedule)
			s.expectOnlyClaim(t, s.running(t, "next"), mainContainer)
		})).Feature()
}

// healthInPodStatus is about the kubelet, which asks the driver how the devices of its pods are.
func healthInPodStatus() types.Feature {
	s := newScene("dragoman-14", 1)
	return features.New("the health of a device in the status of its pod").
		Setup(s.applied(healthExample)).Setup(allWellAfterwards).
		Assess("is healthy, then is not, with the reason, and the pod goes on", assess(func(t *testing.T) {
			s.podSays(t, "pod0", corev1.ResourceHealthStatusHealthy)
			fallsIll(t)
			s.podSays(t, "pod0", corev1.ResourceHealthStatusUnhealthy)
			if status := asYAML(s.podNow(t, "pod0").Status.ContainerStatuses[0].AllocatedResourcesStatus); gateOn(
				"ResourceHealthStatusMessage") && !strings.Contains(status, symptom) {
				t.Errorf("it does not say why: %s", status)
			}
			s.notRestarted(t, "pod0")
		})).
		Assess("and is healthy again", assess(func(t *testing.T) {
			worker.mock(t, "reset", sick)
			s.podSays(t, "pod0", corev1.ResourceHealthStatusHealthy)
		})).Feature()
}
