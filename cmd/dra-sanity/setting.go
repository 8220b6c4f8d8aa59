package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/client-go/tools/clientcmd"

	"example.com/dragoman/pkg/sanity/apiserver"
	"example.com/dragoman/pkg/sanity/cluster"
	"example.com/dragoman/pkg/sanity/fault"
	"example.com/dragoman/pkg/sanity/node"
	"example.com/dragoman/pkg/sanity/proxy"
	"example.com/dragoman/pkg/sanity/subject"
	"example.com/dragoman/pkg/sanity/suite"
)

// setting is where cases run: what has to be taken down in the end.
type setting struct {
	root    string // a directory of ours
	server  *apiserver.Server
	proxy   *proxy.Proxy // between the driver and the API server
	cluster *cluster.Cluster
	node    *node.Node
	started bool // the driver is ours to start, and its slices to remove
}

// patience bounds the set-up, without what is built, and the taking down.
const patience = 2 * time.Minute

// run sets up, runs the cases and takes down again.
func (r *request) run(ctx context.Context, stdout, stderr io.Writer) (code int, err error) {
	var s setting
	defer func() { err = errors.Join(err, s.close(ctx, r.keep, stderr)) }()
	if err := s.open(ctx, r, stderr); err != nil {
		return 0, err
	}
	cases, err := r.cases(s.node)
	if err != nil {
		return 0, err
	}
	if err := r.greet(stdout, len(cases), s.cluster.Node); err != nil {
		return 0, err
	}
	summary, err := suite.Run(ctx, cases, suite.Options{
		Timeout: r.timeout, Unmet: r.unmet(s.node), Before: s.node.Fresh, Log: s.node.Log, Report: r.reporter(stdout),
	})
	switch {
	case err != nil:
		return 0, err
	case summary.Failed > summary.Unready:
		return exitFailed, nil
	case summary.Failed > 0 && summary.Passed == 0:
		return 0, errors.New("the driver could not be made ready for any case; the report tells why")
	case summary.Failed > 0:
		return exitFailed, nil
	case ctx.Err() != nil:
		return 0, errors.New("the run was ended before all cases were run")
	case summary.Passed == 0:
		return 0, errors.New("no case could be run")
	default:
		return exitPassed, nil
	}
}

// greet says what is about to be run, and with which seed.
func (r *request) greet(out io.Writer, cases int, node string) error {
	if r.output != "text" {
		return nil
	}
	seed := ""
	if r.verb == "fault" {
		seed = fmt.Sprintf(", --seed %d", r.faults.Seed)
	}
	if _, err := fmt.Fprintf(out, "%d cases for %s on node %s%s\n", cases, r.driver, node, seed); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

func (s *setting) open(ctx context.Context, r *request, stderr io.Writer) error {
	root, err := shortDir()
	if s.root = root; err != nil {
		return err
	}
	kubeconfig, server, err := r.server.open(ctx, stderr)
	if s.server = server; err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	options := cluster.Options{Kubeconfig: kubeconfig, Driver: r.driver, Node: r.node}
	if s.cluster, err = cluster.Connect(ctx, options); err != nil {
		return err
	}
	dirs, err := s.directories(r)
	if err != nil {
		return err
	}
	if r.verb == "fault" {
		if kubeconfig, err = s.between(r, kubeconfig); err != nil {
			return err
		}
	}
	driver := subject.Options{
		Driver: r.driver, Node: s.cluster.Node, Kubeconfig: kubeconfig, Dirs: dirs,
		Start: r.start, Stop: r.stop, Kill: r.kill, Restart: r.restart,
	}
	if r.verbose {
		driver.Output = stderr
	}
	s.started = r.start != ""
	s.node = &node.Node{Dirs: dirs, Cluster: s.cluster, Subject: subject.New(driver)}
	return nil
}

// shortDir makes a directory with a short name: paths of sockets are limited.
func shortDir() (string, error) {
	dir, err := os.MkdirTemp("", "d")
	if err != nil {
		return "", fmt.Errorf("make a directory: %w", err)
	}
	return dir, nil
}

// between starts a proxy that can be a bad API server, and returns the kubeconfig that leads through it.
func (s *setting) between(r *request, kubeconfig string) (string, error) {
	upstream, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return "", fmt.Errorf("read the kubeconfig %s: %w", kubeconfig, err)
	}
	path := filepath.Join(s.root, "kubeconfig")
	if s.proxy, err = proxy.Start(upstream, path); err != nil {
		return "", fmt.Errorf("start a proxy before the API server: %w", err)
	}
	r.faults.Proxy = s.proxy
	return path, nil
}

// directories are those that were given, and for a driver that is started here new ones for the rest.
func (s *setting) directories(r *request) (subject.Dirs, error) {
	given, made := r.dirs, subject.Dirs{}
	if r.start != "" {
		tree, err := node.Tree, error(nil)
		if r.verb == "fault" {
			tree = fault.Tree
		}
		if made, err = tree(s.root, r.driver); err != nil {
			return made, err
		}
	}
	if given.Kubelet != "" {
		given.Registry = cmp.Or(given.Registry, filepath.Join(given.Kubelet, "plugins_registry"))
		given.Plugin = cmp.Or(given.Plugin, filepath.Join(given.Kubelet, "plugins", r.driver))
	}
	given.Kubelet = cmp.Or(given.Kubelet, made.Kubelet)
	given.Registry = cmp.Or(given.Registry, made.Registry)
	given.Plugin = cmp.Or(given.Plugin, made.Plugin)
	given.CDI = cmp.Or(given.CDI, made.CDI)
	given.State = cmp.Or(given.State, made.State)
	for _, dir := range []*string{&given.Kubelet, &given.Registry, &given.Plugin, &given.CDI, &given.State} {
		if *dir == "" {
			continue
		}
		absolute, err := filepath.Abs(*dir)
		if err != nil {
			return given, fmt.Errorf("find %s: %w", *dir, err)
		}
		*dir = absolute
	}
	return given, nil
}

// close takes everything down: the driver first, since it would publish again what is removed.
func (s *setting) close(ctx context.Context, keep bool, stderr io.Writer) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	var problems []error
	if s.node != nil {
		if keep {
			path := filepath.Join(s.root, "driver.log")
			problems = append(problems, os.WriteFile(path, []byte(s.node.Subject.Log(1<<20)), 0o600))
			_, _ = fmt.Fprintf(stderr, "the driver's directories and its log are in %s\n", s.root)
		}
		problems = append(problems, s.node.Close(ctx))
	}
	if s.cluster != nil {
		if s.started {
			problems = append(problems, s.cluster.WipeSlices(ctx))
		}
		problems = append(problems, s.cluster.Close(ctx))
	}
	if s.proxy != nil {
		problems = append(problems, s.proxy.Close())
	}
	if s.server != nil {
		problems = append(problems, s.server.Stop())
	}
	if s.root != "" && !keep {
		problems = append(problems, s.removeRoot())
	}
	if err := errors.Join(problems...); err != nil {
		return fmt.Errorf("take down: %w", err)
	}
	return nil
}

// removeRoot removes the directories that were made, and before it what was mounted there.
func (s *setting) removeRoot() error {
	entries, err := os.ReadDir(s.root)
	for _, entry := range entries {
		_ = unix.Unmount(filepath.Join(s.root, entry.Name()), unix.MNT_DETACH) // most are none
	}
	return errors.Join(err, os.RemoveAll(s.root))
}

func (r *request) reporter(out io.Writer) suite.Reporter {
	switch r.output {
	case "json":
		return &suite.JSON{Out: out, Suite: r.verb}
	case "junit":
		return &suite.JUnit{Out: out, Suite: r.verb}
	default:
		return &suite.Text{Out: out, Colour: isTerminal(out) && os.Getenv("NO_COLOR") == ""}
	}
}

func isTerminal(out io.Writer) bool {
	file, ok := out.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(file.Fd()), unix.TCGETS)
	return err == nil
}
