// Package node is one node as a DRA driver sees it: a kubelet, a container runtime's look at CDI files, objects in the
// API server, directories, and the driver itself as processes. Cases are written with it.
//
// The room is larger than others because it is all that cases share; without it each would look at files by itself.
package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"example.com/dragoman/pkg/sanity/cluster"
	"example.com/dragoman/pkg/sanity/kubelet"
	"example.com/dragoman/pkg/sanity/subject"
	"example.com/dragoman/pkg/sanity/suite"
)

// Patience bounds every wait for something that a driver normally does in a second or less.
const Patience = 30 * time.Second

// Node is the node.
type Node struct {
	Dirs    subject.Dirs
	Cluster *cluster.Cluster
	Subject *subject.Subject

	mutex   sync.Mutex
	kubelet *kubelet.Kubelet
	ever    map[types.UID]bool // the claims that were made, in all cases
	first   map[string]File    // what was in the CDI directory before the first of them
}

// Needs of cases.
const (
	NeedsRestart   suite.Need = "a driver that can be restarted"
	NeedsKill      suite.Need = "a driver that can be killed"
	NeedsProcesses suite.Need = "a driver whose processes are started here" // so that two can run at once, and be paused
)

// Unmet says why a need is not met; "" if it is.
func (n *Node) Unmet(need suite.Need) string {
	switch {
	case need == NeedsRestart && !n.Subject.CanRestart():
		return "needs --start or --restart: how the driver is started again"
	case need == NeedsKill && !n.Subject.CanKill():
		return "needs --start, or --kill besides --start and --stop: how the driver is killed"
	case need == NeedsProcesses && !n.Subject.Foreground():
		return "needs --start without --stop: the driver as a process in the foreground"
	default:
		return ""
	}
}

// Tree makes directories for a driver below root, with short names: paths of sockets are limited to 107 bytes.
func Tree(root, driver string) (subject.Dirs, error) {
	d := subject.Dirs{
		Kubelet:  filepath.Join(root, "k"),
		Registry: filepath.Join(root, "k", "plugins_registry"),
		Plugin:   filepath.Join(root, "k", "plugins", driver),
		CDI:      filepath.Join(root, "cdi"),
		State:    filepath.Join(root, "state"),
	}
	for _, dir := range []string{d.Registry, d.Plugin, d.CDI, d.State} {
		if err := os.MkdirAll(dir, 0o750); err != nil {
			return d, fmt.Errorf("make directories for the driver: %w", err)
		}
	}
	return d, nil
}

// Close ends the kubelet and the driver. Objects in the API server are the Cluster's to remove.
func (n *Node) Close(ctx context.Context) error {
	var err error
	if n.kubelet != nil {
		err = n.kubelet.Close()
	}
	return errors.Join(err, n.Subject.Close(ctx))
}

// Kubelet returns the kubelet that runs now.
func (n *Node) Kubelet() *kubelet.Kubelet {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	return n.kubelet
}

// RestartKubelet ends the kubelet and starts a new one, which knows nothing.
func (n *Node) RestartKubelet(options kubelet.Options) error {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	if n.kubelet != nil {
		if err := n.kubelet.Close(); err != nil {
			return fmt.Errorf("end the kubelet: %w", err)
		}
		n.kubelet = nil
	}
	var err error
	n.kubelet, err = kubelet.WatchWith(n.Dirs.Registry, options)
	return err
}

// Fresh prepares for the next case: a new kubelet, and one running driver that has registered with it and published its
// devices. It is made for suite.Options.Before.
func (n *Node) Fresh(t *suite.T) {
	n.Subject.Forget()
	running := n.Subject.Running()
	if len(running) > 1 { // a case that was ended early left them
		for _, i := range running[1:] {
			t.Must(i.Kill(t.Context()), "end a second instance that an earlier case left")
		}
	}
	t.Must(n.RestartKubelet(kubelet.Options{}), "start a kubelet")
	if len(running) == 0 && n.Subject.CanStart() {
		n.Start(t)
	}
	n.Registered(t)
	n.Published(t)
	t.Must(n.baseline(), "look at the CDI directory")
}

// Start starts one more instance of the driver.
func (n *Node) Start(t *suite.T) *subject.Instance {
	i, err := n.Subject.Start(t.Context())
	t.Must(err, "start the driver")
	return i
}

// Registered waits until the driver has registered with the kubelet, and returns the instance that did so last.
func (n *Node) Registered(t *suite.T) *kubelet.Plugin {
	ctx, cancel := n.whileItRuns(t.Context())
	defer cancel()
	plugin, err := n.Kubelet().Registered(ctx, n.Cluster.Driver)
	if err != nil {
		n.refuseIfEnded(t)
		t.Fatalf("the driver did not register within %v: %v; expected a socket in %s that answers GetInfo with the name %s",
			Patience, err, n.Dirs.Registry, n.Cluster.Driver)
	}
	return plugin
}

// whileItRuns ends with Patience, or when the only instance of the driver does.
func (n *Node) whileItRuns(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	running := n.Subject.Running()
	if n.Subject.Foreground() && len(running) == 1 {
		go func() {
			select {
			case <-running[0].Exited():
				cancel()
			case <-ctx.Done():
			}
		}()
	}
	return ctx, cancel
}

// refuseIfEnded ends the case if no driver runs any more.
func (n *Node) refuseIfEnded(t *suite.T) {
	if n.Subject.Foreground() && len(n.Subject.Running()) == 0 {
		t.Fatalf("the driver ended before it registered: its log tells why")
	}
}

// Published waits until the API server has the driver's slices, complete.
func (n *Node) Published(t *suite.T) {
	t.Until(Patience, "the driver publishes complete pools", func(ctx context.Context) error {
		_, err := n.Cluster.Published(ctx)
		return err
	})
}

// RestartDriver asks the driver to end, starts it again and waits until it has registered.
func (n *Node) RestartDriver(t *suite.T) *kubelet.Plugin {
	before := n.Kubelet().Registrations(n.Cluster.Driver)
	t.Must(n.Subject.Restart(t.Context()), "restart the driver")
	return n.registeredAgain(t, before)
}

// KillDriver kills all instances of the driver, which leaves their sockets, starts one and waits until it has
// registered.
func (n *Node) KillDriver(t *suite.T) *kubelet.Plugin {
	before := n.Kubelet().Registrations(n.Cluster.Driver)
	for _, i := range n.Subject.Running() {
		t.Must(i.Kill(t.Context()), "kill the driver")
	}
	n.Start(t)
	return n.registeredAgain(t, before)
}

func (n *Node) registeredAgain(t *suite.T, before int) *kubelet.Plugin {
	ctx, cancel := n.whileItRuns(t.Context())
	defer cancel()
	plugin, err := n.Kubelet().RegisteredAgain(ctx, n.Cluster.Driver, before)
	if err != nil {
		n.refuseIfEnded(t)
		t.Fatalf("the driver did not register again within %v: %v", Patience, err)
	}
	return plugin
}

// SecondInstance starts an instance beside those that run, as a rolling update does, and waits until it has registered.
func (n *Node) SecondInstance(t *suite.T) (*subject.Instance, *kubelet.Plugin) {
	known := n.Kubelet().Instances(n.Cluster.Driver)
	i := n.Start(t)
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	all, err := n.Kubelet().RegisteredInstances(ctx, n.Cluster.Driver, len(known)+1)
	if err != nil {
		t.Fatalf("a second instance did not register beside the first within %v: %v; it has to use sockets with other "+
			"names, made of $DRA_SANITY_INSTANCE, as a DaemonSet with maxSurge does of the pod's UID", Patience, err)
	}
	return i, all[len(all)-1]
}

// Log returns the end of what the driver said.
func (n *Node) Log() string { return strings.TrimSpace(n.Subject.Log(logLimit)) }

// logLimit is how much of each instance's log is shown with a failure.
const logLimit = 4 << 10
