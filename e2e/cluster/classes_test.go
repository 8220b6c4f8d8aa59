package cluster

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/e2e-framework/pkg/envconf"
	"sigs.k8s.io/e2e-framework/pkg/features"
)

// appliedWithClasses is the set-up of a feature about an example that brings DeviceClasses, which no namespace takes
// away with it.
func (s *scene) appliedWithClasses(folder string, classes ...string) features.Func {
	return func(ctx context.Context, t *testing.T, cfg *envconf.Config) context.Context {
		t.Helper()
		remove := func(ctx context.Context) error {
			for _, class := range classes {
				err := client.ResourceV1().DeviceClasses().Delete(ctx, class, metav1.DeleteOptions{})
				if err != nil && !apierrors.IsNotFound(err) {
					return fmt.Errorf("remove the class %s: %w", class, err)
				}
			}
			return nil
		}
		if err := remove(ctx); err != nil {
			t.Fatalf("tidy up after an earlier run: %v", err)
		}
		t.Cleanup(func() {
			if err := remove(context.WithoutCancel(t.Context())); err != nil {
				t.Error(err)
			}
		})
		return s.applied(folder)(ctx, t, cfg)
	}
}

// mustApply applies one more folder of an example.
func (s *scene) mustApply(t *testing.T, folders ...string) {
	t.Helper()
	if err := s.apply(t.Context(), filepath.Join(folders...)); err != nil {
		t.Fatal(err)
	}
}

// devicePublished returns the device of a result as it is in the slices.
func devicePublished(t *testing.T, result result) resourceapi.Device {
	t.Helper()
	devices, err := devicesOf(t.Context(), node(result.Pool))
	if err != nil {
		t.Fatal(err)
	}
	device, ok := devices[result.Device]
	if !ok {
		t.Fatalf("node %s has no device %s", result.Pool, result.Device)
	}
	return device
}

// expectNoType waits until no node publishes a device of a type.
func expectNoType(t *testing.T, unwanted string) {
	t.Helper()
	for _, n := range []node{controlPlane, worker} {
		devicesBecome(t, n, "no devices of type "+unwanted, func(devices map[string]resourceapi.Device) error {
			for name, device := range devices {
				if text(device, "type") == unwanted {
					return fmt.Errorf("there is %s", name)
				}
			}
			return nil
		})
	}
}

// podNow returns a pod as it is, ready or not.
func (s *scene) podNow(t *testing.T, name string) *corev1.Pod {
	t.Helper()
	pod, err := client.CoreV1().Pods(s.namespace).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return pod
}
