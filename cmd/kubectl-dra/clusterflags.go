package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

// clusterFlags say which cluster, as whom, and which namespace: the flags of kubectl, which mean the same.
type clusterFlags struct {
	*genericclioptions.ConfigFlags
}

func newClusterFlags() clusterFlags {
	f := genericclioptions.NewConfigFlags(true)
	f.CacheDir = nil // nothing here is cached
	f.WrapConfigFn = func(config *rest.Config) *rest.Config {
		config.QPS = -1 // the API server knows better how much it can take
		config.UserAgent = "kubectl-dra/" + version()
		return config
	}
	return clusterFlags{f}
}

// add binds the flags. Without them nothing else here may be called.
func (f clusterFlags) add(flags *pflag.FlagSet) {
	f.AddFlags(flags)
}

// errNoCluster says that nothing names a cluster.
var errNoCluster = errors.New("no cluster to look at: " +
	"neither --kubeconfig nor $KUBECONFIG nor ~/.kube/config names one")

// noContextError says that the kubeconfig has no context of that name.
type noContextError struct {
	name   string
	others []string
}

func (e *noContextError) Error() string {
	return fmt.Sprintf("there is no context %q in the kubeconfig", e.name)
}

// config is what a client of the cluster is made from. Where nothing names a cluster there is an error, and not the
// localhost:8080 that kubectl tries.
func (f clusterFlags) config() (*rest.Config, error) {
	raw, err := f.kubeconfig()
	if err != nil {
		return nil, err
	}
	config, err := f.ToRESTConfig()
	switch {
	case err != nil:
		return nil, fmt.Errorf("read kubeconfig: %w", err)
	case len(raw.Clusters) == 0 && *f.APIServer == "" && config.Host == clientcmd.ClusterDefaults.Server:
		return nil, errNoCluster
	}
	return config, nil
}

// kubeconfig is what the files say, which have the context that was asked for.
func (f clusterFlags) kubeconfig() (api.Config, error) {
	raw, err := f.ToRawKubeConfigLoader().RawConfig()
	if err != nil {
		return raw, fmt.Errorf("read kubeconfig: %w", err)
	}
	name := *f.Context
	if name == "" && *f.APIServer == "" {
		name = raw.CurrentContext
	}
	if _, found := raw.Contexts[name]; name != "" && !found {
		return raw, &noContextError{name, slices.Sorted(maps.Keys(raw.Contexts))}
	}
	return raw, nil
}

// namespace is the one of -n, else of the context, else "default"; asked says that it was said with -n.
func (f clusterFlags) namespace() (name string, asked bool, err error) {
	*f.Namespace = withoutPrefix(*f.Namespace) // before anything is loaded, which is kept
	if _, err := f.kubeconfig(); err != nil {
		return "", false, err
	}
	name, _, err = f.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return "", false, fmt.Errorf("read kubeconfig: %w", err)
	}
	return name, *f.Namespace != "", nil
}

// withoutPrefix turns "ns/a" into "a", as kubectl does.
func withoutPrefix(namespace string) string {
	for _, prefix := range []string{"namespaces/", "namespace/", "ns/"} {
		if name, found := strings.CutPrefix(namespace, prefix); found {
			return name
		}
	}
	return namespace
}

// contextName is that of the context in use, "" if there is none.
func (f clusterFlags) contextName() string {
	if *f.Context != "" {
		return *f.Context
	}
	raw, err := f.ToRawKubeConfigLoader().RawConfig()
	if err != nil {
		return ""
	}
	return raw.CurrentContext
}
