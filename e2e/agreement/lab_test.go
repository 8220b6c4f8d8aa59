package agreement

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"example.com/dragoman/pkg/sanity/apiserver"
)

// lab is a running control plane.
type lab struct {
	setup
	config *rest.Config
	client *kubernetes.Clientset
	rounds int // how many barriers there were
}

// startLab starts the control plane of a setup. What it does not find it builds, which takes minutes.
func startLab(t *testing.T, s setup) *lab {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 25*time.Minute)
	defer stop()
	found, err := apiserver.Find(ctx, apiserver.Search{
		Version: s.version, Environment: os.Getenv, Say: func(line string) { t.Log(line) },
	})
	if err != nil {
		t.Fatal(err)
	}
	program, err := findScheduler(ctx, s.version, t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	server, err := apiserver.Start(ctx, apiserver.Options{
		Programs: found, FeatureGates: s.gates, RuntimeConfig: s.runtime,
		// Nobody here makes service accounts, or removes the taint that new nodes get.
		Flags: []string{"--disable-admission-plugins=ServiceAccount,TaintNodesByCondition"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(server.Err(), server.Stop()); err != nil {
			t.Error(err)
		}
	})
	scheduler, err := startScheduler(program, server.Dir, server.Kubeconfig, s.gates)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := scheduler.stop(); err != nil {
			t.Error(err)
		}
	})
	l := &lab{setup: s}
	if l.config, err = clientcmd.BuildConfigFromFlags("", server.Kubeconfig); err != nil {
		t.Fatal(err)
	}
	l.config.QPS = -1
	if l.client, err = kubernetes.NewForConfig(l.config); err != nil {
		t.Fatal(err)
	}
	_, err = l.client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: namespace, Labels: map[string]string{"resource.kubernetes.io/admin-access": "true"},
	}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// put makes everything of the question but its pod.
func (l *lab) put(ctx context.Context, q *question) error {
	for _, node := range q.nodes {
		if _, err := l.client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("make node %s: %w", node.Name, err)
		}
	}
	resources := l.client.ResourceV1()
	for _, slice := range q.slices {
		if _, err := resources.ResourceSlices().Create(ctx, slice, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("make slice %s: %w", slice.Name, err)
		}
	}
	for _, class := range q.classes {
		if _, err := resources.DeviceClasses().Create(ctx, class, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("make class %s: %w", class.Name, err)
		}
	}
	for _, rule := range q.rules {
		if err := l.putRule(ctx, rule); err != nil {
			return fmt.Errorf("make taint rule %s: %w", rule.Name, err)
		}
	}
	for _, claim := range q.claims {
		made, err := resources.ResourceClaims(namespace).Create(ctx, claim, metav1.CreateOptions{})
		if err != nil {
			return fmt.Errorf("make claim %s: %w", claim.Name, err)
		}
		if claim.Status.Allocation == nil {
			continue
		}
		made.Status = claim.Status
		if _, err := resources.ResourceClaims(namespace).UpdateStatus(ctx, made, metav1.UpdateOptions{}); err != nil {
			return fmt.Errorf("allocate claim %s: %w", claim.Name, err)
		}
	}
	for _, template := range q.templates {
		_, err := resources.ResourceClaimTemplates(namespace).Create(ctx, template, metav1.CreateOptions{})
		if err != nil {
			return fmt.Errorf("make template %s: %w", template.Name, err)
		}
	}
	return nil
}

// clear removes what only makes the next questions slower. Claims stay: they have names of their own.
func (l *lab) clear(ctx context.Context) error {
	now := metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))}
	ours := metav1.ListOptions{LabelSelector: questionLabel}
	return errors.Join(
		l.client.CoreV1().Pods(namespace).DeleteCollection(ctx, now, ours),
		l.client.CoreV1().Nodes().DeleteCollection(ctx, now, ours),
		l.client.ResourceV1().ResourceSlices().DeleteCollection(ctx, now, ours),
	)
}
