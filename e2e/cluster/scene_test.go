package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/semaphore"
	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/e2e-framework/klient/k8s/resources"
	"sigs.k8s.io/e2e-framework/pkg/envconf"
	"sigs.k8s.io/yaml"
)

// Devices that the features running side by side may take of each node, so that none waits for another half-way.
var (
	workerDevices       = semaphore.NewWeighted(devicesPerNode)
	controlPlaneDevices = semaphore.NewWeighted(devicesPerNode)
)

// scene is where a feature plays: a namespace, and what the cluster does there.
type scene struct {
	namespace string
	others    []string // more namespaces, if one is not enough
	labels    map[string]string
	needs     int64               // devices
	on        *semaphore.Weighted // of this node

	resources *resources.Resources
	start     metav1.Time
}

// newScene needs so many devices of the worker.
func newScene(namespace string, devices int64) *scene {
	return &scene{namespace: namespace, needs: devices, on: workerDevices}
}

// newControlPlaneScene needs so many devices of the control plane's node.
func newControlPlaneScene(namespace string, devices int64) *scene {
	return &scene{namespace: namespace, needs: devices, on: controlPlaneDevices}
}

// in is the same scene in another of its namespaces.
func (s *scene) in(namespace string) *scene {
	other := *s
	other.namespace = namespace
	return &other
}

// begin is the set-up of a feature that makes its objects itself.
func (s *scene) begin(ctx context.Context, t *testing.T, cfg *envconf.Config) context.Context {
	t.Helper()
	s.enter(t, cfg)
	labels := map[string]string{testLabel: ""}
	maps.Copy(labels, s.labels)
	_, err := client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{
		ObjectMeta: metav1.ObjectMeta{Name: s.namespace, Labels: labels},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("make the namespace: %v", err)
	}
	return ctx
}

// enter waits for the feature's devices and for what an earlier run left of its namespace to go away, and arranges that
// all is tidied up in the end.
func (s *scene) enter(t *testing.T, cfg *envconf.Config) {
	t.Helper()
	s.resources = cfg.Client().Resources()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	if err := s.on.Acquire(ctx, s.needs); err != nil {
		t.Fatalf("wait for %d devices that no other feature uses: %v", s.needs, err)
	}
	t.Cleanup(func() { s.on.Release(s.needs) })
	for _, name := range append([]string{s.namespace}, s.others...) {
		_, err := client.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
		if err == nil {
			err = removeNamespace(ctx, name)
		}
		if err != nil && !apierrors.IsNotFound(err) {
			t.Fatalf("tidy up after an earlier run: %v", err)
		}
	}
	s.start = metav1.Now()
	t.Cleanup(func() { s.end(t) })
}

func (s *scene) end(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
	defer cancel()
	for _, name := range append([]string{s.namespace}, s.others...) {
		if t.Failed() {
			s.in(name).explain(ctx, t)
		}
		if err := removeNamespace(ctx, name); err != nil {
			s.in(name).explain(ctx, t)
			t.Errorf("tidy up: %v", err)
		}
	}
}

// explain prints what a person would look at first.
func (s *scene) explain(ctx context.Context, t *testing.T) {
	t.Helper()
	var b strings.Builder
	if pods, err := client.CoreV1().Pods(s.namespace).List(ctx, metav1.ListOptions{}); err == nil {
		for _, pod := range pods.Items {
			fmt.Fprintf(&b, "\npod %s on %q: %s\n%s", pod.Name, pod.Spec.NodeName, pod.Status.Phase,
				asYAML(pod.Status.ContainerStatuses))
		}
	}
	if events, err := client.CoreV1().Events(s.namespace).List(ctx, metav1.ListOptions{}); err == nil {
		for _, e := range events.Items {
			fmt.Fprintf(&b, "\nevent %s %s %s: %s", e.Type, e.Reason, e.InvolvedObject.Name, e.Message)
		}
	}
	if claims, err := client.ResourceV1().ResourceClaims(s.namespace).List(ctx, metav1.ListOptions{}); err == nil {
		for _, claim := range claims.Items {
			claim.ManagedFields = nil
			fmt.Fprintf(&b, "\nclaim %s\n%s", claim.Name, asYAML(claim))
		}
	}
	drivers, err := driverPods(ctx)
	if err != nil {
		fmt.Fprintf(&b, "\nthe driver's pods: %v", err)
	}
	for _, pod := range drivers {
		fmt.Fprintf(&b, "\nlog of %s on %s:\n%s", pod.Name, pod.Spec.NodeName, s.logOf(ctx, pod.Namespace, pod.Name, ""))
	}
	t.Log(b.String())
}

func asYAML(object any) string {
	text, err := yaml.Marshal(object)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// logOf returns what a container said since the feature began; for people and for pods that have ended.
func (s *scene) logOf(ctx context.Context, namespace, pod, container string) string {
	stream, err := client.CoreV1().Pods(namespace).GetLogs(pod, &corev1.PodLogOptions{
		Container: container, SinceTime: &s.start,
	}).Stream(ctx)
	if err != nil {
		return err.Error()
	}
	defer stream.Close() //nolint:errcheck // it is only read
	text, err := io.ReadAll(stream)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// logs waits until a container has said all of that since the feature began: what it did is seen before its log is.
func (s *scene) logs(t *testing.T, namespace, pod, container string, parts ...string) {
	t.Helper()
	until(t, strings.TrimSpace("the log of pod "+pod+" "+container)+" says it", func(ctx context.Context) error {
		log := s.logOf(ctx, namespace, pod, container)
		for _, part := range parts {
			if !strings.Contains(log, part) {
				return fmt.Errorf("it does not say %q:\n%s", part, log)
			}
		}
		return nil
	})
}

// create makes the objects of a feature; whatever the API server would only warn about is an error.
func (s *scene) create(t *testing.T, templates ...*resourceapi.ResourceClaimTemplate) {
	t.Helper()
	for _, template := range templates {
		templates := client.ResourceV1().ResourceClaimTemplates(s.namespace)
		if _, err := templates.Create(t.Context(), template, metav1.CreateOptions{}); err != nil {
			t.Fatalf("make the claim template %s: %v", template.Name, err)
		}
	}
}

// createPod makes a pod and returns at once.
func (s *scene) createPod(t *testing.T, pod *corev1.Pod) *corev1.Pod {
	t.Helper()
	created, err := client.CoreV1().Pods(s.namespace).Create(t.Context(), pod, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("make the pod %s: %v", pod.Name, err)
	}
	return created
}

// running waits until a pod runs and is ready, and returns it.
func (s *scene) running(t *testing.T, name string) *corev1.Pod {
	t.Helper()
	var pod *corev1.Pod
	until(t, "pod "+name+" runs", func(ctx context.Context) (err error) {
		if pod, err = client.CoreV1().Pods(s.namespace).Get(ctx, name, metav1.GetOptions{}); err != nil {
			return err
		}
		for _, condition := range pod.Status.Conditions {
			if condition.Type == corev1.PodReady && condition.Status == corev1.ConditionTrue {
				return nil
			}
		}
		return fmt.Errorf("it is %s: %s", pod.Status.Phase, s.lastEvent(ctx, name))
	})
	return pod
}

func (s *scene) lastEvent(ctx context.Context, pod string) string {
	about := metav1.ListOptions{FieldSelector: "involvedObject.name=" + pod}
	events, err := client.CoreV1().Events(s.namespace).List(ctx, about)
	if err != nil || len(events.Items) == 0 {
		return "no event"
	}
	last := events.Items[0]
	for _, e := range events.Items {
		if e.LastTimestamp.After(last.LastTimestamp.Time) {
			last = e
		}
	}
	return last.Reason + ": " + last.Message
}

// event waits for an event about a pod and returns its message.
func (s *scene) event(t *testing.T, pod, reason string) (message string) {
	t.Helper()
	until(t, "an event "+reason+" about pod "+pod, func(ctx context.Context) error {
		events, err := client.CoreV1().Events(s.namespace).List(ctx, metav1.ListOptions{
			FieldSelector: "involvedObject.name=" + pod + ",reason=" + reason,
		})
		if err != nil || len(events.Items) == 0 {
			return errors.Join(errors.New("none yet"), err)
		}
		message = events.Items[len(events.Items)-1].Message
		return nil
	})
	return message
}

// deletePod deletes a pod and waits until it is gone.
func (s *scene) deletePod(t *testing.T, name string) {
	t.Helper()
	soon := int64(1)
	err := client.CoreV1().Pods(s.namespace).Delete(t.Context(), name, metav1.DeleteOptions{GracePeriodSeconds: &soon})
	if err != nil {
		t.Fatalf("delete the pod %s: %v", name, err)
	}
	until(t, "pod "+name+" is gone", func(ctx context.Context) error {
		_, err := client.CoreV1().Pods(s.namespace).Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return errors.Join(fmt.Errorf("it is still there: %s", s.lastEvent(ctx, name)), err)
	})
}

// claims returns the claims of a pod by their names in its spec.
func (s *scene) claims(t *testing.T, pod *corev1.Pod) map[string]*resourceapi.ResourceClaim {
	t.Helper()
	names := map[string]string{}
	for _, claim := range pod.Spec.ResourceClaims {
		if claim.ResourceClaimName != nil {
			names[claim.Name] = *claim.ResourceClaimName
		}
	}
	for _, status := range pod.Status.ResourceClaimStatuses {
		if status.ResourceClaimName != nil {
			names[status.Name] = *status.ResourceClaimName
		}
	}
	claims := map[string]*resourceapi.ResourceClaim{}
	for name, object := range names {
		claim, err := client.ResourceV1().ResourceClaims(s.namespace).Get(t.Context(), object, metav1.GetOptions{})
		if err != nil {
			t.Fatalf("get the claim %s of pod %s: %v", name, pod.Name, err)
		}
		claims[name] = claim
	}
	return claims
}

// onlyClaim returns the claim of a pod that has one.
func (s *scene) onlyClaim(t *testing.T, pod *corev1.Pod) *resourceapi.ResourceClaim {
	t.Helper()
	claims := s.claims(t, pod)
	if len(claims) != 1 {
		t.Fatalf("pod %s has %d claims, expected 1", pod.Name, len(claims))
	}
	for _, claim := range claims {
		return claim
	}
	return nil
}

// exec runs a shell script in a container and returns what it prints. It tries again what went wrong: a kubelet that
// was just restarted does not know its pods yet.
func (s *scene) exec(t *testing.T, pod, container, script string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	until(t, "a shell runs in container "+container+" of pod "+pod, func(ctx context.Context) error {
		stdout.Reset()
		stderr.Reset()
		ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
		defer cancel()
		err := s.resources.ExecInPod(ctx, s.namespace, pod, container, []string{"sh", "-c", script}, &stdout, &stderr)
		if err != nil {
			return fmt.Errorf("%w: %s", err, stderr.String())
		}
		return nil
	})
	return stdout.String()
}
