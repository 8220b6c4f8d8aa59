package collect

import (
	"context"
	"fmt"
	"sync"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	coreclient "k8s.io/client-go/kubernetes/typed/core/v1"
	draclient "k8s.io/client-go/kubernetes/typed/resource/v1"
	"k8s.io/client-go/rest"

	"example.com/dragoman/pkg/view"
)

// Want says what a look is for. ResourceSlices and DeviceClasses are always looked at.
type Want struct {
	// Namespace is where claims, templates and pods that use devices are looked for. Empty means all namespaces.
	Namespace string
	// Fallback is the namespace that is looked at where the user may not look at all of them. Empty means none.
	Fallback string

	// Nodes, Claims, Templates, TaintRules and Namespaces are the further kinds to look at.
	Nodes, Claims, Templates, TaintRules, Namespaces bool
	// Pods are those that have to do with devices: they have claims, or ask for extended resources. Of their
	// specification there is what says what they ask for and where they may run; environment, commands, volumes and
	// images are dropped.
	Pods bool
	// WholePods keeps these pods with all that they are.
	WholePods bool
	// DriverPods adds the pods that register plugins with the kubelet, with all that they are: those of all namespaces,
	// whichever is wanted, as far as the user may look at them.
	DriverPods bool
	// Whole names pods to have with their whole specification. Those that do not exist are left out.
	Whole []types.NamespacedName
	// EventsFor names the objects whose events are wanted.
	EventsFor []Ref
}

// Ref names an object that events are about. Without a name it means all objects of the kind, in all namespaces if
// Namespace is empty too.
type Ref struct {
	Kind, Namespace, Name string
}

// Collector looks at the cluster of one API server, as one user. Several goroutines may use it.
type Collector struct {
	core    coreclient.CoreV1Interface
	dra     draclient.ResourceV1Interface
	dynamic dynamic.Interface // for what has no type here that holds all of it
}

// New returns a collector for the server and the user of config, which it does not change. It does not ask the server
// anything yet.
//
// Requests are not held back on this side, whatever config says: the server knows better how many it can take.
func New(config *rest.Config) (*Collector, error) {
	config = rest.CopyConfig(config)
	config.QPS, config.RateLimiter = -1, nil
	config.ContentType = runtime.ContentTypeProtobuf
	config.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	config.WarningHandler = rest.NoWarnings{} // those about old versions of taint rules are not for the user
	c := &Collector{}
	connections, err := rest.HTTPClientFor(config)
	if err == nil {
		c.core, err = coreclient.NewForConfigAndClient(config, connections)
	}
	if err == nil {
		c.dra, err = draclient.NewForConfigAndClient(config, connections)
	}
	if err == nil {
		config.ContentType, config.AcceptContentTypes = runtime.ContentTypeJSON, runtime.ContentTypeJSON
		c.dynamic, err = dynamic.NewForConfigAndClient(config, connections)
	}
	if err != nil {
		return nil, fmt.Errorf("make a client for the API server: %w", err)
	}
	return c, nil
}

// Look asks for everything wanted, side by side. Objects are sorted by namespace and name, and events by time.
//
// What could not be seen is in the cluster's Unseen. There is an error only when nothing can be said: nothing could be
// seen, the context ended, or the server is too old (NotServedError).
func (c *Collector) Look(ctx context.Context, want Want) (*view.Cluster, error) {
	s := &sight{collector: c, want: want}
	var group sync.WaitGroup
	group.Go(func() { s.cluster.Version = c.version(ctx) })
	for _, k := range c.kinds(want) {
		group.Go(func() { k.look(ctx, s) })
	}
	group.Wait()
	cluster, err := s.end(ctx)
	if err != nil {
		return nil, fmt.Errorf("look at the cluster: %w", err)
	}
	return cluster, nil
}

// version returns what the server calls itself; a server that does not say is as good.
func (c *Collector) version(ctx context.Context) string {
	var said struct {
		GitVersion string `json:"gitVersion"`
	}
	if err := c.readJSON(ctx, "/version", &said); err != nil {
		return ""
	}
	return said.GitVersion
}
