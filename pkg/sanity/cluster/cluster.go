// Package cluster makes the objects in a real API server that a driver sees there: a node, and claims as the scheduler
// leaves them, allocated from the driver's own ResourceSlices.
//
// The room is larger than others because an allocation has many forms: shares, sub-requests, admin access, counters.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

const prefix = "dra-sanity-"

// Options say where.
type Options struct {
	Kubeconfig string
	Driver     string
	// Node is the node's name; one is made up, with an object of its own, if it is "" or not in the cluster.
	Node string
	// NoPods says that nobody takes a reservation back whose pod is not there, because no controllers run: then claims are
	// reserved for pods that are not made.
	NoPods bool
}

// Cluster is an API server with a node, and a namespace for claims.
type Cluster struct {
	Driver    string
	Node      string
	Namespace string
	Client    kubernetes.Interface

	madeNode bool
	noPods   bool

	mutex sync.Mutex
	names int
	// held are the devices of the claims that were made and not deleted, by the claim's name.
	held map[string][]held
}

// Connect makes the node, if it is not there, and the namespace.
func Connect(ctx context.Context, options Options) (*Cluster, error) {
	client, err := connect(options.Kubeconfig)
	if err != nil {
		return nil, err
	}
	return With(ctx, client, options)
}

// Version returns the version of the API server that a kubeconfig leads to, such as v1.34.3.
func Version(kubeconfig string) (string, error) {
	client, err := connect(kubeconfig)
	if err != nil {
		return "", err
	}
	version, err := client.Discovery().ServerVersion()
	if err != nil {
		return "", fmt.Errorf("ask the API server for its version: %w", err)
	}
	return version.GitVersion, nil
}

func connect(kubeconfig string) (kubernetes.Interface, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("read the kubeconfig %s: %w", kubeconfig, err)
	}
	config.QPS = -1 // the API server's own fairness limits us
	// What is quickest to encode: tests make thousands of objects beside the driver that they measure.
	config.ContentType = runtime.ContentTypeProtobuf
	config.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("make a client for %s: %w", config.Host, err)
	}
	return client, nil
}

// With is Connect for a client that is there already.
func With(ctx context.Context, client kubernetes.Interface, options Options) (*Cluster, error) {
	c := &Cluster{
		Driver: options.Driver, Node: options.Node, Client: client, noPods: options.NoPods, held: map[string][]held{},
	}
	if err := c.findNode(ctx); err != nil {
		return nil, err
	}
	namespace, err := client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		GenerateName: prefix, Labels: map[string]string{"resource.kubernetes.io/admin-access": "true"},
	}}, metav1.CreateOptions{})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make a namespace for claims: %w", err), c.Close(ctx))
	}
	c.Namespace = namespace.Name
	// Where no controller manager makes it, no pod could be made without.
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
	_, err = client.CoreV1().ServiceAccounts(c.Namespace).Create(ctx, account, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return nil, errors.Join(fmt.Errorf("make a service account: %w", err), c.Close(ctx))
	}
	return c, nil
}

func (c *Cluster) findNode(ctx context.Context) error {
	nodes := c.Client.CoreV1().Nodes()
	if c.Node != "" {
		_, err := nodes.Get(ctx, c.Node, metav1.GetOptions{})
		if err == nil || !apierrors.IsNotFound(err) {
			return wrap(err, "look for the node %s", c.Node)
		}
	}
	// The taint keeps the pods of others away where there is a scheduler.
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: c.Node},
		Spec:       corev1.NodeSpec{Taints: []corev1.Taint{{Key: "dra-sanity", Effect: corev1.TaintEffectNoSchedule}}},
	}
	if c.Node == "" {
		node.GenerateName = prefix
	}
	node, err := nodes.Create(ctx, node, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("make a node: %w", err)
	}
	c.Node, c.madeNode = node.Name, true
	return nil
}

func wrap(err error, doing string, arguments ...any) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", fmt.Sprintf(doing, arguments...), err)
}

// MadeNode says whether the node is made up: no kubelet runs there, and it is removed by Close.
func (c *Cluster) MadeNode() bool { return c.madeNode }

// Close removes what was made: claims, namespace, and the node with its slices if it is made up.
func (c *Cluster) Close(ctx context.Context) error {
	var problems []error
	now := metav1.DeleteOptions{GracePeriodSeconds: new(int64)}
	if c.Namespace != "" {
		problems = append(problems, c.Reset(ctx))
		err := c.Client.CoreV1().Namespaces().Delete(ctx, c.Namespace, now)
		problems = append(problems, wrap(gone(err), "remove the namespace %s", c.Namespace))
	}
	if c.madeNode {
		problems = append(problems,
			wrap(gone(c.Client.CoreV1().Nodes().Delete(ctx, c.Node, now)), "remove the node %s", c.Node), c.WipeSlices(ctx))
	}
	return errors.Join(problems...)
}

// gone makes what is not there no error.
func gone(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// Reset removes all claims that were made, and their pods.
func (c *Cluster) Reset(ctx context.Context) error {
	now := metav1.DeleteOptions{GracePeriodSeconds: new(int64)}
	err := errors.Join(
		wrap(c.Client.CoreV1().Pods(c.Namespace).DeleteCollection(ctx, now, metav1.ListOptions{}), "remove pods"),
		wrap(c.Client.ResourceV1().ResourceClaims(c.Namespace).DeleteCollection(ctx, now, metav1.ListOptions{}),
			"remove claims"))
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.held = map[string][]held{}
	return err
}
