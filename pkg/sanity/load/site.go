package load

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/client-go/tools/clientcmd"

	"example.com/dragoman/pkg/sanity/cluster"
	"example.com/dragoman/pkg/sanity/figures"
	"example.com/dragoman/pkg/sanity/footprint"
	"example.com/dragoman/pkg/sanity/kubelet"
	"example.com/dragoman/pkg/sanity/node"
	"example.com/dragoman/pkg/sanity/proxy"
	"example.com/dragoman/pkg/sanity/subject"
)

// setup is how a site differs from others.
type setup struct {
	devices int // that the driver is told to publish, in DRA_SANITY_DEVICES
	// proxied lets the driver reach the API server through a proxy, which counts its requests and costs processor time.
	proxied bool
	// delay is what the API server takes more for each answer; not together with proxied.
	delay time.Duration
}

// site is one node of its own with one driver, made for one phase of a workload: node object, namespace, directories,
// kubelet. It is not safe for concurrent use, unless a method says so.
type site struct {
	side      Side
	cluster   *cluster.Cluster
	dirs      subject.Dirs
	subject   *subject.Subject
	kubelet   *kubelet.Kubelet
	proxy     *proxy.Proxy      // nil unless proxied
	wire      *proxy.Wire       // nil unless there is a delay
	instance  *subject.Instance // the one that was started last; nil before
	pid       int               // of the driver itself, from when it has registered; before, of what was started
	plugin    *kubelet.Plugin   // the instance that has registered last, as far as anybody waited for it
	free      []cluster.Device  // of which no claim has any yet
	stage     stage
	asked     []kubelet.Claim // the claims that are timed now
	throwaway bool
	root      string
	volatile  string // beside root; may be ""
	gone      bool   // it has left its crew
}

// misdeed is an error that is the driver's: what it answered, that it ended, that it does not come.
type misdeed struct{ error }

func (m misdeed) Unwrap() error { return m.error }

// open makes a site. The driver is not started yet.
func (r *rig) open(ctx context.Context, side Side, with setup) (_ *site, err error) {
	r.mutex.Lock()
	r.sites++
	s := &site{side: side, throwaway: r.Throwaway, root: filepath.Join(r.Root, strconv.Itoa(r.sites))}
	r.mutex.Unlock()
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close(ctx))
		}
	}()
	if s.dirs, err = node.Tree(s.root, side.Driver); err != nil {
		return nil, err
	}
	if r.Volatile != "" {
		s.volatile = filepath.Join(r.Volatile, filepath.Base(s.root))
		s.dirs.CDI, s.dirs.State = filepath.Join(s.volatile, "cdi"), filepath.Join(s.volatile, "state")
		if err := errors.Join(os.MkdirAll(s.dirs.CDI, 0o750), os.MkdirAll(s.dirs.State, 0o750)); err != nil {
			return nil, fmt.Errorf("make directories for the driver: %w", err)
		}
	}
	s.cluster, err = cluster.Connect(ctx, cluster.Options{
		Kubeconfig: r.Kubeconfig, Driver: side.Driver, NoPods: r.Throwaway, // such a server has no controllers
	})
	if err != nil {
		return nil, err
	}
	kubeconfig, err := s.between(r.Kubeconfig, with)
	if err != nil {
		return nil, err
	}
	if s.kubelet, err = kubelet.Watch(s.dirs.Registry); err != nil {
		return nil, err
	}
	s.subject = subject.New(subject.Options{
		Driver: side.Driver, Node: s.cluster.Node, Kubeconfig: kubeconfig, Dirs: s.dirs, Start: side.Start, Output: r.Output,
		Environment: []string{"DRA_SANITY_DEVICES=" + strconv.Itoa(with.devices)},
	})
	return s, nil
}

// between starts what is to be between the driver and the API server, and returns the driver's kubeconfig.
func (s *site) between(kubeconfig string, with setup) (_ string, err error) {
	path := filepath.Join(s.root, "kubeconfig")
	if with.delay > 0 {
		s.wire, err = proxy.StartWire(kubeconfig, with.delay, path)
		return path, err
	}
	if !with.proxied {
		return kubeconfig, nil
	}
	upstream, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return "", fmt.Errorf("read the kubeconfig %s: %w", kubeconfig, err)
	}
	upstream.QPS = -1
	if s.proxy, err = proxy.Start(upstream, path); err != nil {
		return "", fmt.Errorf("start a proxy before the API server: %w", err)
	}
	return path, nil
}

// start starts an instance of the driver and does not wait for it. The process has been executed when it returns.
func (s *site) start(ctx context.Context) error {
	i, err := s.subject.Start(ctx)
	if err != nil {
		return misdeed{err}
	}
	s.instance, s.pid = i, i.PID()
	return nil
}

// whileItRuns ends after so long, or when the instance that was started last does; the cause says which.
func (s *site) whileItRuns(ctx context.Context, long time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeoutCause(ctx, long, fmt.Errorf("that is not done after %v", long))
	if s.instance == nil {
		return ctx, cancel
	}
	watched, end := context.WithCancelCause(ctx)
	exited := s.instance.Exited()
	go func() {
		select {
		case <-exited:
			end(errors.New("the driver ended by itself"))
		case <-watched.Done():
		}
	}()
	return watched, func() { end(nil); cancel() }
}

// registered waits until the driver has registered and returns the instance that did so last.
func (s *site) registered(ctx context.Context) (*kubelet.Plugin, error) {
	waiting, cancel := s.whileItRuns(ctx, node.Patience)
	defer cancel()
	plugin, err := s.kubelet.Registered(waiting, s.side.Driver)
	if err != nil {
		return nil, s.blame(ctx, waiting, err)
	}
	if pid, err := footprint.Listener(plugin.Endpoint); err == nil {
		s.pid = pid // the start command may be a script that has not become the driver
	}
	s.plugin = plugin
	return plugin, nil
}

// published waits until the API server has the driver's slices, complete, and returns them.
func (s *site) published(ctx context.Context) ([]resourceapi.ResourceSlice, error) {
	waiting, cancel := s.whileItRuns(ctx, node.Patience)
	defer cancel()
	pause := 10 * time.Millisecond
	for {
		all, err := s.cluster.Published(waiting)
		if err == nil {
			return all, nil
		}
		select {
		case <-waiting.Done():
			return nil, s.blame(ctx, waiting, fmt.Errorf("wait for complete pools: %w", err))
		case <-time.After(pause):
			pause = min(2*pause, time.Second/4) // many slices take long, also to read
		}
	}
}

// blame says whose error it is: the driver's, unless the run was ended.
func (s *site) blame(ctx, waiting context.Context, err error) error {
	if ctx.Err() != nil {
		return err
	}
	if cause := context.Cause(waiting); cause != nil {
		err = fmt.Errorf("%w: %w", cause, err)
	}
	return misdeed{err}
}

// change changes the driver's devices: "one", "two", "shuffle" or "back".
func (s *site) change(ctx context.Context, what string) error {
	if s.side.Change == "" {
		return errors.New("change the devices: no --change was given")
	}
	if err := s.subject.Run(ctx, s.side.Change, "DRA_SANITY_CHANGE="+what); err != nil {
		return fmt.Errorf("change the devices (%s): %w", what, err)
	}
	return nil
}

// process returns what the driver's process has now, and the processor time that it has used. Safe for concurrent use.
func (s *site) process() (figures.Process, time.Duration, error) {
	has, err := footprint.Of(s.pid)
	if err != nil {
		return has, 0, s.ended(err)
	}
	spent, err := footprint.CPU(s.pid)
	return has, spent, s.ended(err)
}

// ended makes an error the driver's if its process is gone.
func (s *site) ended(err error) error {
	if err != nil && (s.instance == nil || s.instance.Ended()) {
		return misdeed{fmt.Errorf("the driver has ended: %w", err)}
	}
	return err
}

// requests returns how many requests the driver has made through the proxy since it was started, by "verb resource",
// dry runs apart.
func (s *site) requests() map[string]float64 {
	all := map[string]float64{}
	if s.proxy == nil {
		return all
	}
	for request, count := range s.proxy.Requests() {
		all[request.String()] = float64(count)
	}
	return all
}

// log is the end of what the driver said.
func (s *site) log() string {
	const limit = 4 << 10
	if s.subject == nil {
		return ""
	}
	return strings.TrimSpace(s.subject.Log(limit))
}

// close takes the site down: the driver first, the hard way, since it would publish again what is removed. What was
// prepared goes with its directories. It works also when ctx is over.
func (s *site) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Minute) // thousands of claims
	defer cancel()
	var problems []error
	if s.kubelet != nil {
		problems = append(problems, s.kubelet.Close())
	}
	if s.subject != nil {
		problems = append(problems, s.subject.Close(ctx))
	}
	if s.proxy != nil {
		problems = append(problems, s.proxy.Close())
	}
	if s.wire != nil {
		problems = append(problems, s.wire.Close())
	}
	if s.cluster != nil {
		problems = append(problems, s.cluster.WipeSlices(ctx))
		if !s.throwaway {
			problems = append(problems, s.cluster.Close(ctx))
		}
	}
	problems = append(problems, os.RemoveAll(s.root))
	if s.volatile != "" {
		problems = append(problems, os.RemoveAll(s.volatile))
	}
	if err := errors.Join(problems...); err != nil {
		return fmt.Errorf("take down the node of %s: %w", s.side.Driver, err)
	}
	return nil
}
