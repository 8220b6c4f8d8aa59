package process

import (
	"context"
	"errors"
	"fmt"
	"os"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"example.com/dragoman/pkg/sanity/apiserver"
)

// featureGates are what the tests want of the API server beside what it has by default: taints of devices, and shares.
const featureGates = "DRADeviceTaints=true,DRAConsumableCapacity=true"

// server is an API server with nothing in it but a namespace for the claims of the tests. It is one of the tests' own
// rather than that of a kind cluster: nothing else is done to it, it has the feature gates that a test needs, and it
// takes everything that is left with it when it ends.
type server struct {
	*apiserver.Server
	config    *rest.Config
	client    kubernetes.Interface
	namespace string
}

// startServer starts an API server with Kubernetes' defaults, changed by the gates.
func startServer(ctx context.Context, gates string) (*server, error) {
	programs, err := apiserver.Find(ctx, apiserver.Search{
		Environment: os.Getenv, Say: func(line string) { fmt.Fprintln(os.Stderr, line) },
	})
	if err != nil {
		return nil, err
	}
	running, err := apiserver.Start(ctx, apiserver.Options{Programs: programs, FeatureGates: gates})
	if err != nil {
		return nil, err
	}
	s := &server{Server: running}
	if err := s.prepare(ctx); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	return s, nil
}

func (s *server) prepare(ctx context.Context) (err error) {
	if s.config, err = clientcmd.BuildConfigFromFlags("", s.Kubeconfig); err != nil {
		return fmt.Errorf("read the kubeconfig: %w", err)
	}
	s.config.QPS = -1 // the tests share this client
	if s.client, err = kubernetes.NewForConfig(s.config); err != nil {
		return fmt.Errorf("make a client: %w", err)
	}
	ns, err := s.client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		GenerateName: "process-", Labels: map[string]string{"resource.kubernetes.io/admin-access": "true"},
	}}, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("make a namespace: %w", err)
	}
	s.namespace = ns.Name
	return nil
}

// stop says what went wrong with the server itself, which explains what went wrong with the tests.
func (s *server) stop() error { return errors.Join(s.Err(), s.Stop()) }

func slicesOf(node string) metav1.ListOptions {
	return metav1.ListOptions{FieldSelector: "spec.nodeName=" + node + ",spec.driver=" + driverName}
}
