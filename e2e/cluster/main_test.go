// Package cluster tests dragoman on a kind cluster with two nodes that have devices, installed by its chart: scheduler,
// kubelet and containerd are real, and what counts is what is inside the containers.
package cluster

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/e2e-framework/pkg/env"
	"sigs.k8s.io/e2e-framework/pkg/envconf"

	"example.com/dragoman/e2e/preflight"
)

const (
	driverName      = "gpu.example.com"
	driverNamespace = "dragoman"
	devicesPerNode  = 8 // of the profile "example"
	testLabel       = "dragoman.example.com/e2e"
)

// What all features share; set once by TestMain.
var (
	testenv    env.Environment
	restConfig *rest.Config
	client     kubernetes.Interface
	// nodeimage is the program that made the cluster, and how it names it.
	nodeimage, clusterName string
	// controlPlane and worker are the two nodes. Pods go to the worker unless they tolerate the other's taint.
	controlPlane, worker node
	// minor is the release of Kubernetes, the 34 of 1.34.
	minor int
)

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "end-to-end tests:", err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (int, error) {
	values, err := preflight.Environment("KUBECONFIG", "NODEIMAGE", "CLUSTER")
	if err != nil {
		return 0, err
	}
	nodeimage, clusterName = values["NODEIMAGE"], values["CLUSTER"]
	version, lock, err := preflight.Cluster(values["KUBECONFIG"])
	if err != nil {
		return 0, err
	}
	defer lock.Close() //nolint:errcheck // it was only read
	fmt.Println("Kubernetes", version.GitVersion)
	if minor, err = strconv.Atoi(strings.TrimSuffix(version.Minor, "+")); err != nil {
		return 0, fmt.Errorf("read the version of Kubernetes: %w", err)
	}
	if restConfig, err = clientcmd.BuildConfigFromFlags("", values["KUBECONFIG"]); err != nil {
		return 0, fmt.Errorf("read the kubeconfig: %w", err)
	}
	restConfig.QPS = -1 // all features share the client
	if client, err = kubernetes.NewForConfig(restConfig); err != nil {
		return 0, fmt.Errorf("make a client: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if err := findNodes(ctx); err != nil {
		return 0, err
	}
	if err := findGates(ctx, os.Getenv("KIND_CONFIG")); err != nil {
		return 0, err
	}
	if err := removeLeftovers(ctx); err != nil {
		return 0, err
	}
	config := envconf.NewWithKubeConfig(values["KUBECONFIG"]).WithParallelTestEnabled()
	testenv = env.NewWithConfig(config)
	code := testenv.Run(m)
	if installedBackend != "" { // the other tests expect the driver that "make e2e" installed
		return code, installBackend(context.Background(), asFound...)
	}
	return code, nil
}

// findNodes finds the two nodes that run a kubelet.
func findNodes(ctx context.Context) error {
	list, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("list the nodes: %w", err)
	}
	for _, n := range list.Items {
		_, isControlPlane := n.Labels["node-role.kubernetes.io/control-plane"]
		switch {
		case n.Status.NodeInfo.KubeletVersion == "": // made up by the process tests
		case isControlPlane:
			controlPlane = node(n.Name)
		default:
			worker = node(n.Name)
		}
	}
	if controlPlane == "" || worker == "" {
		return fmt.Errorf("the cluster has control-plane node %q and worker %q; the tests need one of each",
			controlPlane, worker)
	}
	return nil
}

// removeLeftovers takes away what a run that was killed left in the cluster.
func removeLeftovers(ctx context.Context) error {
	if err := removePendingLeftovers(ctx); err != nil {
		return err
	}
	list, err := client.CoreV1().Namespaces().List(ctx, metav1.ListOptions{LabelSelector: testLabel})
	if err != nil {
		return fmt.Errorf("look for namespaces of earlier runs: %w", err)
	}
	for _, ns := range list.Items {
		if err := removeNamespace(ctx, ns.Name); err != nil {
			return err
		}
	}
	return nil
}

// removeNamespace removes a namespace and waits until it is gone, so that its devices are free. Its pods are told to
// end at once: most of them only sleep.
func removeNamespace(ctx context.Context, name string) error {
	soon, background := int64(1), metav1.DeletePropagationBackground
	all, pods := metav1.ListOptions{}, metav1.DeleteOptions{GracePeriodSeconds: &soon}
	jobs := metav1.DeleteOptions{PropagationPolicy: &background}
	err := client.BatchV1().Jobs(name).DeleteCollection(ctx, jobs, all)
	if err != nil {
		return fmt.Errorf("remove the jobs of %s: %w", name, err)
	}
	err = client.CoreV1().Pods(name).DeleteCollection(ctx, pods, all)
	if err != nil {
		return fmt.Errorf("remove the pods of %s: %w", name, err)
	}
	err = client.CoreV1().Namespaces().Delete(ctx, name, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("remove the namespace %s: %w", name, err)
	}
	return poll(ctx, func(ctx context.Context) error {
		ns, err := client.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err == nil {
			err = fmt.Errorf("it is still there: %v", conditions(ns))
		}
		return fmt.Errorf("remove the namespace %s: %w", name, err)
	})
}

func conditions(ns *corev1.Namespace) (messages []string) {
	for _, c := range ns.Status.Conditions {
		if c.Status == corev1.ConditionTrue {
			messages = append(messages, c.Message)
		}
	}
	return messages
}
