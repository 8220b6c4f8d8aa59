package cluster

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// daemonSet returns the driver's DaemonSet.
func daemonSet(ctx context.Context) (*appsv1.DaemonSet, error) {
	list, err := client.AppsV1().DaemonSets(driverNamespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("look for the driver: %w", err)
	}
	if len(list.Items) != 1 {
		return nil, fmt.Errorf("%d DaemonSets are in namespace %s, expected one", len(list.Items), driverNamespace)
	}
	return &list.Items[0], nil
}

// driverPods returns the driver's pods on the nodes that run a kubelet.
func driverPods(ctx context.Context) ([]corev1.Pod, error) {
	set, err := daemonSet(ctx)
	if err != nil {
		return nil, err
	}
	list, err := client.CoreV1().Pods(driverNamespace).List(ctx, metav1.ListOptions{
		LabelSelector: metav1.FormatLabelSelector(set.Spec.Selector),
	})
	if err != nil {
		return nil, fmt.Errorf("look for the driver's pods: %w", err)
	}
	return slices.DeleteFunc(list.Items, func(pod corev1.Pod) bool {
		return pod.Spec.NodeName != string(worker) && pod.Spec.NodeName != string(controlPlane)
	}), nil
}

// driverOn returns the driver's pod on a node; there must be one, and it must be ready.
func driverOn(ctx context.Context, n node) (*corev1.Pod, error) {
	pods, err := driverPods(ctx)
	if err != nil {
		return nil, err
	}
	pods = slices.DeleteFunc(pods, func(pod corev1.Pod) bool { return pod.Spec.NodeName != string(n) })
	if len(pods) != 1 {
		return nil, fmt.Errorf("%d pods of the driver are on node %s", len(pods), n)
	}
	return &pods[0], ready(&pods[0])
}

func ready(pod *corev1.Pod) error {
	if pod.DeletionTimestamp != nil {
		return fmt.Errorf("pod %s is about to go", pod.Name)
	}
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady {
			if condition.Status == corev1.ConditionTrue {
				return nil
			}
			return fmt.Errorf("pod %s is not ready: %s", pod.Name, condition.Message)
		}
	}
	return fmt.Errorf("pod %s is %s", pod.Name, pod.Status.Phase)
}

// pool returns the slices of a node, sorted by name, when they are complete.
func pool(ctx context.Context, n node) ([]resourceapi.ResourceSlice, error) {
	list, err := client.ResourceV1().ResourceSlices().List(ctx, metav1.ListOptions{
		FieldSelector: "spec.nodeName=" + string(n) + ",spec.driver=" + driverName,
	})
	if err != nil {
		return nil, fmt.Errorf("list the slices of node %s: %w", n, err)
	}
	if len(list.Items) == 0 {
		return nil, fmt.Errorf("node %s has no slices", n)
	}
	devices := 0
	for _, slice := range list.Items {
		if slice.Spec.Pool.ResourceSliceCount != int64(len(list.Items)) {
			expected := slice.Spec.Pool.ResourceSliceCount
			return nil, fmt.Errorf("node %s has %d of %d slices", n, len(list.Items), expected)
		}
		devices += len(slice.Spec.Devices)
	}
	if devices != devicesPerNode {
		return nil, fmt.Errorf("node %s has %d devices, expected %d", n, devices, devicesPerNode)
	}
	slices.SortFunc(list.Items, func(a, b resourceapi.ResourceSlice) int { return strings.Compare(a.Name, b.Name) })
	return list.Items, nil
}

// published returns the devices of a node by name.
func published(t *testing.T, n node) map[string]resourceapi.Device {
	t.Helper()
	devices := map[string]resourceapi.Device{}
	until(t, "slices of node "+string(n), func(ctx context.Context) error {
		complete, err := pool(ctx, n)
		for _, slice := range complete {
			for _, device := range slice.Spec.Devices {
				devices[device.Name] = device
			}
		}
		return err
	})
	return devices
}

// settled waits until the driver is ready on both nodes and both have their slices, as before and after a disturbance.
func settled(t *testing.T) {
	t.Helper()
	start := time.Now()
	for _, n := range []node{controlPlane, worker} {
		until(t, "the driver is ready on node "+string(n), func(ctx context.Context) error {
			_, err := driverOn(ctx, n)
			return err
		})
		published(t, n)
	}
	t.Logf("driver ready and slices complete on both nodes after %v", time.Since(start).Round(10*time.Millisecond))
}
