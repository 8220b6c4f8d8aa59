package agreement

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
	watchtools "k8s.io/client-go/tools/watch"
)

// verdict is what the scheduler says to a pod.
type verdict struct {
	fits bool
	// node is where the pod goes, if it fits.
	node string
	// claims are those of the pod, in its order, as they are then.
	claims []*resourceapi.ResourceClaim
	// why it does not fit.
	reason, message string
}

func (v verdict) String() string {
	if v.fits {
		return "it fits on " + v.node
	}
	return fmt.Sprintf("it does not fit: %s: %s", v.reason, v.message)
}

// ask makes the pod, does for it what the controller of resource claims would do, and waits for what the scheduler
// says first. The scheduler must have seen the rest of the question (see barrier).
func (l *lab) ask(ctx context.Context, pod *corev1.Pod) (v verdict, err error) {
	pod, err = l.client.CoreV1().Pods(namespace).Create(ctx, pod, metav1.CreateOptions{})
	if err != nil {
		return v, fmt.Errorf("make the pod: %w", err)
	}
	if err := l.instantiate(ctx, pod); err != nil {
		return v, err
	}
	pod, err = l.decided(ctx, pod.Name)
	if err != nil {
		return v, err
	}
	condition := scheduled(pod)
	v = verdict{fits: condition.Status == corev1.ConditionTrue, node: pod.Spec.NodeName, reason: condition.Reason,
		message: condition.Message}
	if !v.fits {
		// It would be tried again.
		now := metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))}
		err := l.client.CoreV1().Pods(namespace).Delete(ctx, pod.Name, now)
		if err != nil {
			return v, fmt.Errorf("remove the pod: %w", err)
		}
		return v, nil
	}
	for _, name := range claimNames(pod) {
		claim, err := l.client.ResourceV1().ResourceClaims(namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return v, fmt.Errorf("look at a claim of the pod: %w", err)
		}
		v.claims = append(v.claims, claim)
	}
	return v, nil
}

// instantiate makes the claims of the pod's templates, as the controller of resource claims does.
func (l *lab) instantiate(ctx context.Context, pod *corev1.Pod) error {
	resources := l.client.ResourceV1()
	for _, entry := range pod.Spec.ResourceClaims {
		if entry.ResourceClaimTemplateName == nil {
			continue
		}
		template, err := resources.ResourceClaimTemplates(namespace).Get(ctx, *entry.ResourceClaimTemplateName,
			metav1.GetOptions{})
		if err != nil {
			return fmt.Errorf("look at a template of the pod: %w", err)
		}
		claim, err := resources.ResourceClaims(namespace).Create(ctx, &resourceapi.ResourceClaim{
			ObjectMeta: metav1.ObjectMeta{
				GenerateName: pod.Name + "-" + entry.Name + "-", Namespace: namespace, Labels: pod.Labels,
				Annotations: map[string]string{"resource.kubernetes.io/pod-claim-name": entry.Name},
				OwnerReferences: []metav1.OwnerReference{
					*metav1.NewControllerRef(pod, corev1.SchemeGroupVersion.WithKind("Pod")),
				},
			},
			Spec: template.Spec.Spec,
		}, metav1.CreateOptions{})
		if err != nil {
			return fmt.Errorf("make the claim of a template: %w", err)
		}
		pod.Status.ResourceClaimStatuses = append(pod.Status.ResourceClaimStatuses, corev1.PodResourceClaimStatus{
			Name: entry.Name, ResourceClaimName: &claim.Name,
		})
	}
	if len(pod.Status.ResourceClaimStatuses) == 0 {
		return nil
	}
	if _, err := l.client.CoreV1().Pods(namespace).UpdateStatus(ctx, pod, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("tell the pod its claims: %w", err)
	}
	return nil
}

// decided waits until the scheduler has said something about the pod.
func (l *lab) decided(ctx context.Context, name string) (*corev1.Pod, error) {
	// A watch from nowhere tells first what is there already.
	all, err := l.client.CoreV1().Pods(namespace).Watch(ctx, metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("metadata.name", name).String(),
	})
	if err != nil {
		return nil, fmt.Errorf("watch pod %s: %w", name, err)
	}
	defer all.Stop()
	event, err := watchtools.UntilWithoutRetry(ctx, all, func(event watch.Event) (bool, error) {
		pod, ok := event.Object.(*corev1.Pod)
		return ok && scheduled(pod) != nil, nil
	})
	if err != nil {
		return nil, fmt.Errorf("wait until the scheduler says something about pod %s: %w", name, err)
	}
	return event.Object.(*corev1.Pod), nil
}

// scheduled is what the scheduler has said about a pod; nil if it has not.
func scheduled(pod *corev1.Pod) *corev1.PodCondition {
	for i, condition := range pod.Status.Conditions {
		if condition.Type != corev1.PodScheduled {
			continue
		}
		if condition.Status == corev1.ConditionTrue || condition.Reason == corev1.PodReasonUnschedulable ||
			condition.Reason == corev1.PodReasonSchedulerError {
			return &pod.Status.Conditions[i]
		}
	}
	return nil
}

// claimNames are the names of the claims that the pod has got, in the order of its entries; that of its extended
// resources is the last.
func claimNames(pod *corev1.Pod) (names []string) {
	made := map[string]string{}
	for _, status := range pod.Status.ResourceClaimStatuses {
		if status.ResourceClaimName != nil {
			made[status.Name] = *status.ResourceClaimName
		}
	}
	for _, entry := range pod.Spec.ResourceClaims {
		if entry.ResourceClaimName != nil {
			names = append(names, *entry.ResourceClaimName)
		} else if name, ok := made[entry.Name]; ok {
			names = append(names, name)
		}
	}
	if status := pod.Status.ExtendedResourceClaimStatus; status != nil {
		names = append(names, status.ResourceClaimName)
	}
	return names
}
