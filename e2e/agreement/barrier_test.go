package agreement

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// barrier returns when the scheduler has seen all that was made before.
//
// It hears of each kind in the order in which things happen to it. So a pod that can only be scheduled with the last
// node, slice, class and claim shows that it has seen all of these; and with a rule that taints the first of two equal
// devices, getting the second shows that it has seen the rules.
func (l *lab) barrier(ctx context.Context) error {
	l.rounds++
	name := fmt.Sprintf("barrier-%d", l.rounds)
	driver := name + ".example.com"
	q := &question{name: name}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{questionLabel: name}}}
	node.Status.Allocatable = corev1.ResourceList{corev1.ResourcePods: quantity("110")}
	q.nodes = append(q.nodes, node)
	slice := &resourceapi.ResourceSlice{ObjectMeta: node.ObjectMeta}
	slice.Spec = resourceapi.ResourceSliceSpec{
		Driver: driver, NodeName: &node.Name,
		Pool:    resourceapi.ResourcePool{Name: name, ResourceSliceCount: 1},
		Devices: []resourceapi.Device{{Name: "first"}, {Name: "second"}},
	}
	q.slices = append(q.slices, slice)
	class := &resourceapi.DeviceClass{ObjectMeta: node.ObjectMeta}
	class.Spec.Selectors = []resourceapi.DeviceSelector{cel(fmt.Sprintf("device.driver == %q", driver))}
	q.classes = append(q.classes, class)
	if l.has.rules {
		rule := &resourceapi.DeviceTaintRule{ObjectMeta: node.ObjectMeta}
		rule.Spec.DeviceSelector = &resourceapi.DeviceTaintSelector{Driver: &driver, Device: new("first")}
		rule.Spec.Taint = resourceapi.DeviceTaint{Key: sick, Effect: resourceapi.DeviceTaintEffectNoSchedule}
		q.rules = append(q.rules, rule)
	}
	if err := l.put(ctx, q); err != nil {
		return fmt.Errorf("make the barrier: %w", err)
	}
	for try := 0; ; try++ {
		passed, err := l.pass(ctx, name, fmt.Sprintf("%s-%d", name, try))
		if err != nil || passed {
			return err
		}
	}
}

// pass sends a pod through the barrier. It says no if the pod shows that the scheduler has not seen everything yet.
func (l *lab) pass(ctx context.Context, barrier, name string) (bool, error) {
	meta := metav1.ObjectMeta{Name: name, Namespace: namespace, Labels: map[string]string{questionLabel: barrier}}
	claim := &resourceapi.ResourceClaim{ObjectMeta: meta}
	claim.Spec.Devices.Requests = []resourceapi.DeviceRequest{{
		Name: "request", Exactly: &resourceapi.ExactDeviceRequest{DeviceClassName: barrier},
	}}
	pod := &corev1.Pod{ObjectMeta: meta, Spec: corev1.PodSpec{
		NodeSelector:   map[string]string{questionLabel: barrier},
		Containers:     []corev1.Container{{Name: "container", Image: "registry.k8s.io/pause:3.10"}},
		ResourceClaims: []corev1.PodResourceClaim{{Name: "claim", ResourceClaimName: &claim.Name}},
	}}
	if err := l.put(ctx, &question{claims: []*resourceapi.ResourceClaim{claim}}); err != nil {
		return false, fmt.Errorf("make the barrier: %w", err)
	}
	v, err := l.ask(ctx, pod)
	if err != nil || !v.fits {
		return false, err
	}
	if len(v.claims) != 1 || v.claims[0].Status.Allocation == nil {
		return false, errors.New("the pod of the barrier is scheduled without a device")
	}
	return !l.has.rules || v.claims[0].Status.Allocation.Devices.Results[0].Device == "second", nil
}
