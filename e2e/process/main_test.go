// Package process tests the real driver binary as a plain process: against the real API server of the kind cluster,
// with directories of its own and a kubelet played by the test. What needs no scheduler, container or reboot is tested
// here, because here every call, crash and file is in the test's hand.
package process

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"example.com/dragoman/e2e/preflight"
)

const (
	driverName = "process.example.com"
	nodePrefix = "process-"
)

// What all tests share; set once by TestMain.
var (
	client     kubernetes.Interface
	kubeconfig string
	binary     string
	namespace  string

	update = flag.Bool("update", false, "rewrite the golden files")
)

func TestMain(m *testing.M) {
	flag.Parse()
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "process tests:", err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	values, err := preflight.Environment("KUBECONFIG", "DRAGOMAN_BIN")
	if err != nil {
		return 0, err
	}
	kubeconfig, binary = values["KUBECONFIG"], values["DRAGOMAN_BIN"]
	if _, err := os.Stat(binary); err != nil {
		return 0, fmt.Errorf(`find the driver's binary ("make build" makes it): %w`, err)
	}
	_, lock, err := preflight.Cluster(kubeconfig)
	if err != nil {
		return 0, err
	}
	defer lock.Close() //nolint:errcheck // it was only read
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return 0, fmt.Errorf("read the kubeconfig: %w", err)
	}
	config.QPS = -1 // the tests share this client
	if client, err = kubernetes.NewForConfig(config); err != nil {
		return 0, fmt.Errorf("make a client: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := removeLeftovers(ctx); err != nil {
		return 0, err
	}
	ns, err := client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		GenerateName: nodePrefix,
		Labels:       map[string]string{leftoverLabel: "", "resource.kubernetes.io/admin-access": "true"},
	}}, metav1.CreateOptions{})
	if err != nil {
		return 0, fmt.Errorf("make a namespace: %w", err)
	}
	namespace = ns.Name
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		err = errors.Join(err, removeLeftovers(ctx))
	}()
	return m.Run(), nil
}

const leftoverLabel = "process.example.com/test"

// removeLeftovers takes away what a run that was killed left in the cluster.
func removeLeftovers(ctx context.Context) error {
	nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{LabelSelector: leftoverLabel})
	if err != nil {
		return fmt.Errorf("look for nodes of earlier runs: %w", err)
	}
	for _, node := range nodes.Items {
		if err := removeNode(ctx, node.Name); err != nil {
			return err
		}
	}
	namespaces, err := client.CoreV1().Namespaces().List(ctx, metav1.ListOptions{LabelSelector: leftoverLabel})
	if err != nil {
		return fmt.Errorf("look for namespaces of earlier runs: %w", err)
	}
	for _, ns := range namespaces.Items {
		err := client.CoreV1().Namespaces().Delete(ctx, ns.Name, metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("remove the namespace %s: %w", ns.Name, err)
		}
	}
	return nil
}

// removeNode removes a made-up node, what a DaemonSet put on it and its slices.
func removeNode(ctx context.Context, name string) error {
	if !strings.HasPrefix(name, nodePrefix) {
		return fmt.Errorf("node %s is none of ours", name)
	}
	err := client.CoreV1().Nodes().Delete(ctx, name, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("remove the node %s: %w", name, err)
	}
	err = client.ResourceV1().ResourceSlices().DeleteCollection(ctx, metav1.DeleteOptions{}, slicesOf(name))
	if err != nil {
		return fmt.Errorf("remove the slices of node %s: %w", name, err)
	}
	pods, err := client.CoreV1().Pods("").List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=" + name})
	if err != nil {
		return fmt.Errorf("look for pods on node %s: %w", name, err)
	}
	for _, pod := range pods.Items { // no kubelet would ever confirm a graceful end
		now := metav1.DeleteOptions{GracePeriodSeconds: new(int64)}
		err := client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, now)
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("remove the pod %s: %w", pod.Name, err)
		}
	}
	return nil
}

func slicesOf(node string) metav1.ListOptions {
	return metav1.ListOptions{FieldSelector: "spec.nodeName=" + node + ",spec.driver=" + driverName}
}
