package main

import (
	"fmt"
	"net"
	"os"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// clients are the ways to the API server. Each has a rate limit of its own, so that none holds up another.
type clients struct {
	// claims is for what a pod waits for: without limit, since the API server's priority and fairness is one.
	claims kubernetes.Interface
	// slices is for what nobody waits for.
	slices kubernetes.Interface
	// events is for what nobody waits for either, and must not hold up slices.
	events kubernetes.Interface
	// status is for the status of claims. Nobody waits for it either, and a storm of pods must not make one of it.
	status kubernetes.Interface
	// token is the service account token of the pod that this runs in, nil elsewhere.
	token []byte
}

// newClients does not talk to the API server yet: one that is away is not an error, but a kubeconfig that cannot be
// used is.
func newClients(kubeconfig string) (clients, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = kubeconfig
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil).ClientConfig()
	switch {
	case clientcmd.IsEmptyConfig(err):
		return clients{}, fmt.Errorf("this does not run in a pod and there is no kubeconfig to use instead: "+
			"name one with --kubeconfig (looked at: %v)", rules.GetLoadingPrecedence())
	case err != nil && kubeconfig != "":
		return clients{}, fmt.Errorf("--kubeconfig %s: %w", kubeconfig, err)
	case err != nil:
		return clients{}, err
	}
	config.UserAgent = "dragoman/" + version()
	config.ContentType = runtime.ContentTypeProtobuf
	config.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON

	var c clients
	unlimited := rest.CopyConfig(config)
	unlimited.QPS = -1
	// A dial function of its own keeps client-go from sharing connections with the other client.
	unlimited.Dial = (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}).DialContext
	if c.claims, err = kubernetes.NewForConfig(unlimited); err != nil {
		return clients{}, err
	}
	limited := rest.CopyConfig(config)
	limited.QPS, limited.Burst = 100, 250 // all slices of 10,000 devices at once
	if c.slices, err = kubernetes.NewForConfig(limited); err != nil {
		return clients{}, err
	}
	slow := rest.CopyConfig(config)
	slow.QPS, slow.Burst = 2, 10
	if c.events, err = kubernetes.NewForConfig(slow); err != nil {
		return clients{}, err
	}
	modest := rest.CopyConfig(config)
	modest.QPS, modest.Burst = 20, 50 // a node's pods in seconds
	if c.status, err = kubernetes.NewForConfig(modest); err != nil {
		return clients{}, err
	}
	if config.BearerTokenFile != "" {
		c.token, _ = os.ReadFile(config.BearerTokenFile) // without it the API server is asked which node this is
	}
	return c, nil
}
