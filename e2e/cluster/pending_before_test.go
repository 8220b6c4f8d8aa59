package cluster

import (
	"context"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"example.com/dragoman/pkg/view/why"
)

// pendingBeforeDevices are the rows in which something stands in the way before any devices are chosen.
func pendingBeforeDevices() []pending {
	return []pending{
		{
			name: "SchedulingGated", reason: why.SchedulingGated, event: "none",
			story: "a queue, or an operator, holds the pod back",
			mend:  []string{`kubectl patch pod train --type=json -p '[{"op":"remove","path":"/spec/schedulingGates"}]'`},
		},
		{
			name: "NotAtScheduler", reason: why.NotAtScheduler, state: why.Possible, event: "none",
			story:  "kube-scheduler does not run",
			before: func(t *testing.T, _ *user) { stopped(t, "kube-scheduler") },
			mend:   []string{started("kube-scheduler")},
		},
		{
			name: "SchedulerUnknown", reason: why.SchedulerUnknown, event: "none",
			story: "the pod is for a scheduler that is not there",
			mend:  edit("SchedulerUnknown", "/schedulerName/d"),
		},
		{
			name: "TemplateMissing", reason: why.TemplateMissing, event: "FailedResourceClaimCreation",
			story: "the pod names a template that does not exist",
			mend:  edit("TemplateMissing", "s/one-gpus/one-gpu/"),
		},
		{
			name: "ClaimNotCreated", reason: why.ClaimNotCreated, event: "none",
			story:  "kube-controller-manager, which makes claims from templates, does not run",
			before: func(t *testing.T, _ *user) { stopped(t, "kube-controller-manager") },
			mend:   []string{started("kube-controller-manager")},
		},
		{
			name: "ClaimRefused", reason: why.ClaimRefused, event: "FailedResourceClaimCreation",
			story: "the quota of the namespace has no claim left",
			mend:  []string{"kubectl delete resourcequota claims"},
		},
		{
			name: "AdminAccessNotAllowed", reason: why.AdminAccessNotAllowed, event: "FailedResourceClaimCreation",
			story: "a template asks for admin access, and the namespace does not allow it any more",
			before: func(t *testing.T, u *user) {
				u.must(t, "kubectl label namespace "+u.namespace+" "+resourceapi.DRAAdminNamespaceLabelKey+"=true")
			},
			then: func(t *testing.T, u *user) {
				u.must(t, "kubectl label namespace "+u.namespace+" "+resourceapi.DRAAdminNamespaceLabelKey+"-")
				u.apply(t, "train.yaml")
			},
			mend: []string{"kubectl label namespace admin-access-not-allowed resource.kubernetes.io/admin-access=true"},
		},
		{
			name: "ClaimMissing", reason: why.ClaimMissing, event: "none",
			story: "the pod names a claim that does not exist",
			mend:  edit("ClaimMissing", "s/shared-gpus/shared-gpu/"),
		},
		{
			name: "ClassMissing", reason: why.ClassMissing,
			story: "the claim is for a class that does not exist",
			mend:  edit("ClassMissing", "s/example.org/example.com/"),
		},
		{
			name: "NoSlices", reason: why.NoSlices, machines: "none",
			story: "the driver does not run on any node, nor does another",
			mend: []string{
				"kubectl patch daemonset dragoman -n dragoman --type=merge " +
					`-p '{"spec":{"template":{"spec":{"nodeSelector":null}}}}'`,
			},
			mended: "Ready",
		},
		{
			name: "NoSlicesOfDriver", reason: why.NoSlicesOfDriver, stages: []why.Stage{why.StageClass},
			story: "the driver of the class does not run on any node, but another does",
			mend:  edit("NoSlicesOfDriver", "s/gpu.example.com/gpu.pending.example.com/"),
		},
		{
			name: "ExtendedResourceUnknown", reason: why.ExtendedResourceUnknown,
			story: "a container has a limit that no node offers, and no DeviceClass stands for",
		},
	}
}

// edit is what somebody types who changes the objects of a row, and makes them anew: claims cannot be changed.
func edit(row, change string) []string {
	return []string{fmt.Sprintf("sed '%s' %s.yaml | kubectl replace --force -f -", change, row)}
}

// stopped lets a part of the control plane end, as the kubelet lets it when its manifest is away, and has it back with
// the test.
func stopped(t *testing.T, component string) {
	t.Helper()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
		defer cancel()
		err := manifestBack(ctx, component)
		if err == nil {
			err = poll(ctx, func(ctx context.Context) error { return componentReady(ctx, component) })
		}
		if err != nil {
			t.Errorf("start %s again: %v", component, err)
		}
	})
	controlPlane.mustRun(t, "mv", manifests+component+".yaml", aside)
	// To the kubelet it is another pod then, so that it need not wait longer each time before it is started again.
	controlPlane.mustRun(t, "sed", "-i", "-e", "/^    e2e-stopped:/d", "-e",
		fmt.Sprintf(`s/^  labels:/&\n    e2e-stopped: "%d"/`, time.Now().UnixNano()), aside+component+".yaml")
	until(t, component+" ends", func(ctx context.Context) error {
		pods, err := componentPods(ctx, component)
		if err == nil && len(pods) > 0 {
			err = fmt.Errorf("pod %s is still there", pods[0].Name)
		}
		return err
	})
}

// Where the manifests of a control plane are, and where they are put aside.
const manifests, aside = "/etc/kubernetes/manifests/", "/root/"

// manifestBack undoes stopped, if that has not been done.
func manifestBack(ctx context.Context, component string) error {
	away := aside + component + ".yaml"
	_, err := controlPlane.run(ctx, "sh", "-c", fmt.Sprintf("[ ! -e %[1]s ] || mv %[1]s %s", away, manifests))
	return err
}

// started is what somebody types to undo stopped.
func started(component string) string {
	return fmt.Sprintf("docker exec %s mv %s%s.yaml %s", screenControlPlane, aside, component, manifests)
}

func componentPods(ctx context.Context, component string) ([]corev1.Pod, error) {
	pods, err := client.CoreV1().Pods("kube-system").List(ctx, metav1.ListOptions{LabelSelector: "component=" + component})
	if err != nil {
		return nil, err
	}
	return pods.Items, nil
}

func componentReady(ctx context.Context, component string) error {
	pods, err := componentPods(ctx, component)
	if err != nil {
		return err
	}
	if len(pods) != 1 {
		return fmt.Errorf("there are %d pods of it", len(pods))
	}
	return ready(&pods[0])
}
