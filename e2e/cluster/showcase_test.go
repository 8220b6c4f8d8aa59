package cluster

import (
	"context"
	"fmt"
	"testing"

	resourceapi "k8s.io/api/resource/v1"
)

// extendedResourceName is what the class of whole GPUs is called in the limits of containers.
const extendedResourceName = "example.com/gpu"

// useExample makes sure that the driver runs as "make e2e" installed it: with eight devices on each node, like those of
// the upstream example driver.
func useExample(t *testing.T) {
	t.Helper()
	if installedBackend == "" {
		settled(t)
		return
	}
	if err := installBackend(t.Context(), asFound...); err != nil {
		t.Fatal(err)
	}
	settled(t)
}

// asFound are the arguments of the installation that the tests begin and end with.
var asFound = []string{"--backend", "mock"}

// useShowcase makes sure that the driver runs with the made-up machine that has every kind of device, and with all that
// can be switched on.
func useShowcase(t *testing.T, settings ...string) {
	t.Helper()
	useMachine(t, append([]string{
		"--profile", "showcase", "--set", "deviceClass.extendedResourceName=" + extendedResourceName,
		"--set", "kubeletPlugin.deviceMetadata=true", "--set", "controller.enabled=true", "--set", "webhook.enabled=true",
	}, settings...)...)
}

// useMachine installs the driver with made-up hardware and waits until it is ready and publishes some on both nodes.
func useMachine(t *testing.T, args ...string) {
	t.Helper()
	if err := installBackend(t.Context(), append([]string{"--backend", "mock"}, args...)...); err != nil {
		t.Fatal(err)
	}
	for _, n := range []node{controlPlane, worker} {
		until(t, "the driver is ready on node "+string(n), func(ctx context.Context) error {
			_, err := driverOn(ctx, n)
			return err
		})
		devicesBecome(t, n, "devices", func(devices map[string]resourceapi.Device) error {
			if len(devices) == 0 {
				return fmt.Errorf("there are none")
			}
			return nil
		})
	}
}

// mock runs "dragoman mock" in the driver's pod of a node, as a person does with kubectl exec.
func (n node) mock(t *testing.T, args ...string) string {
	t.Helper()
	pod, err := driverOn(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	command := append([]string{"-n", pod.Namespace, "exec", pod.Name, "--", "/dragoman", "mock"}, args...)
	output, err := program(t.Context(), "kubectl", command...)
	if err != nil {
		t.Fatal(err)
	}
	return output
}

// mockReset is the clean-up after mock: everything made up is as its profile says again.
func (n node) mockReset(t *testing.T) {
	t.Cleanup(func() {
		pod, err := driverOn(context.WithoutCancel(t.Context()), n)
		if err == nil {
			_, err = program(context.WithoutCancel(t.Context()), "kubectl", "-n", pod.Namespace, "exec", pod.Name, "--",
				"/dragoman", "mock", "reset")
		}
		if err != nil {
			t.Error(err)
		}
	})
}
