package cluster

import (
	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	image         = "busybox:1.36"
	mainContainer = "main"
)

// newTemplate is a claim template that asks for so many devices of the driver.
func newTemplate(name string, count int64) *resourceapi.ResourceClaimTemplate {
	return &resourceapi.ResourceClaimTemplate{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: resourceapi.ResourceClaimTemplateSpec{Spec: resourceapi.ResourceClaimSpec{
			Devices: resourceapi.DeviceClaim{Requests: []resourceapi.DeviceRequest{{
				Name:    "gpus",
				Exactly: &resourceapi.ExactDeviceRequest{DeviceClassName: driverName, Count: count},
			}}},
		}},
	}
}

// newPod is a pod on the worker with one container that does nothing, and a claim made from the template.
func newPod(name, template string) *corev1.Pod {
	soon := int64(1)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: &soon,
			ResourceClaims: []corev1.PodResourceClaim{{
				Name: "gpus", ResourceClaimTemplateName: &template,
			}},
			Containers: []corev1.Container{{
				Name: mainContainer, Image: image, ImagePullPolicy: corev1.PullIfNotPresent,
				Command:   []string{"sh", "-c", "trap 'exit 0' TERM; sleep 86400 & wait"},
				Resources: corev1.ResourceRequirements{Claims: []corev1.ResourceClaim{{Name: "gpus"}}},
			}},
		},
	}
}

// onControlPlane sends a pod to the other node.
func onControlPlane(pod *corev1.Pod) *corev1.Pod {
	pod.Spec.NodeSelector = map[string]string{corev1.LabelHostname: string(controlPlane)}
	pod.Spec.Tolerations = []corev1.Toleration{{
		Key: "node-role.kubernetes.io/control-plane", Operator: corev1.TolerationOpExists,
	}}
	return pod
}

// runs sets the shell script of the pod; the pod ends with it.
func runs(pod *corev1.Pod, script string) *corev1.Pod {
	pod.Spec.RestartPolicy = corev1.RestartPolicyNever
	pod.Spec.Containers[0].Command = []string{"sh", "-c", script}
	return pod
}
