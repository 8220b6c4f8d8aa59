// Package preflight checks, before the first test, that what the tests need is there. A test that cannot run fails: a
// skipped test looks like one that passed.
package preflight

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/version"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/tools/clientcmd"
)

// Environment returns the values of the named variables. The error names those that are not set and the command that
// sets them.
func Environment(names ...string) (map[string]string, error) {
	values := map[string]string{}
	var missing []string
	for _, name := range names {
		if values[name] = os.Getenv(name); values[name] == "" {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf(`not set: %s; "make e2e" at the top of the repository makes what these tests need, `+
			"a kind cluster or programs, and then runs them", strings.Join(missing, ", "))
	}
	return values, nil
}

// Cluster checks that the API server of the kubeconfig answers, and takes the cluster for this process: two runs of the
// end-to-end tests would disturb each other. The returned file keeps the lock until it is closed or the process ends.
func Cluster(kubeconfig string) (*version.Info, *os.File, error) {
	lock, err := os.Open(kubeconfig)
	if err != nil {
		return nil, nil, fmt.Errorf("open the kubeconfig: %w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return nil, nil, fmt.Errorf("wait for other tests on the cluster of %s: %w", kubeconfig, err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, nil, fmt.Errorf("read the kubeconfig: %w", err)
	}
	config.Timeout = 20 * time.Second
	client, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, nil, fmt.Errorf("make a client for the cluster: %w", err)
	}
	info, err := client.ServerVersion()
	if err != nil {
		return nil, nil, fmt.Errorf("ask the API server of %s for its version: %w; "+
			`"make e2e" makes a cluster and runs the tests`, kubeconfig, err)
	}
	return info, lock, nil
}
