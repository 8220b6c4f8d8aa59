package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.com/dragoman/e2e/nodeimage/internal/cache"
	"example.com/dragoman/e2e/nodeimage/internal/engine"
	"example.com/dragoman/e2e/nodeimage/internal/steps"
)

// Record is what is known about a cluster that was asked for. It is written before kind starts, so that a run that was
// cut off leaves a name to clean up.
type Record struct {
	Kubernetes string
	Image      string
	OwnNetwork bool // pods use the network of this package, not kind's own
	Ranges
	DockerHost  string // empty: what the docker client finds by itself
	OwnEngine   bool
	MadeNetwork bool // Docker's network "kind" came with the first cluster and goes with the last
	KubectlDir  string
	KindDir     string
	Created     bool // kind finished; a cluster whose making was cut off may still answer
}

// Cluster is a kind cluster by name; Dir holds its record, kind configuration and kubeconfig.
type Cluster struct {
	Name string
	Dir  string
}

// Kubeconfig is the cluster's own; the user's is left alone.
func (c Cluster) Kubeconfig() string { return filepath.Join(c.Dir, "kubeconfig") }

func (c Cluster) configFile() string { return filepath.Join(c.Dir, "kind.yaml") }
func (c Cluster) recordFile() string { return filepath.Join(c.Dir, "cluster.json") }

// Record reads what is known about the cluster; the error of one that nobody asked for is os.ErrNotExist.
func (c Cluster) Record() (Record, error) {
	r := Record{Ranges: defaultRanges()} // for what an older record does not say
	b, err := os.ReadFile(c.recordFile())
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return r, fmt.Errorf("read record of cluster %s: %w", c.Name, err)
	}
	return r, nil
}

// Live is a cluster together with what it takes to talk to it.
type Live struct {
	Cluster
	Record
}

// Engine is where the cluster's nodes run.
func (l Live) Engine() engine.Engine { return engine.Engine{Host: l.DockerHost, Ours: l.OwnEngine} }

func (l Live) kind(ctx context.Context, args ...string) *exec.Cmd {
	return l.Engine().Command(ctx, filepath.Join(l.KindDir, "kind"), args...)
}

func (l Live) kubectl(ctx context.Context, args ...string) *exec.Cmd {
	args = append([]string{"--kubeconfig", l.Kubeconfig()}, args...)
	return steps.Command(ctx, filepath.Join(l.KubectlDir, "kubectl"), args...)
}

// Clusters lists the kind clusters of the engine.
func (l Live) Clusters(ctx context.Context) ([]string, error) {
	out, err := l.kind(ctx, "get", "clusters", "--quiet").Output()
	if err != nil {
		return nil, fmt.Errorf("list kind clusters: %w", err)
	}
	return strings.Fields(string(out)), nil
}

// Nodes lists the names of the cluster's node containers, running or not.
func (l Live) Nodes(ctx context.Context) ([]string, error) {
	out, err := l.kind(ctx, "get", "nodes", "--quiet", "--name", l.Name).Output()
	if err != nil {
		return nil, fmt.Errorf("list nodes of cluster %s: %w", l.Name, err)
	}
	nodes := strings.Fields(string(out))
	slices.Sort(nodes)
	return nodes, nil
}

// Differs says in what an existing cluster is not the wanted one; empty when it is, and answers.
func (l Live) Differs(ctx context.Context, was Record, config []byte) string {
	before, err := os.ReadFile(l.configFile())
	switch {
	case was.Image != l.Image:
		return "it runs " + was.Image
	case was.DockerHost != l.DockerHost:
		return "it ran in another container engine"
	case err != nil || !bytes.Equal(before, config):
		return "it was made with another configuration"
	}
	if !was.Created {
		return "its making was cut off"
	}
	nodes, err := l.Nodes(ctx)
	if err != nil || len(nodes) == 0 {
		return "its nodes are gone"
	}
	format := "{{.State.Running}} {{.Config.Image}}"
	out, err := l.Engine().Command(ctx, "docker", append([]string{"inspect", "--format", format}, nodes...)...).Output()
	for line := range strings.Lines(string(out)) {
		if strings.TrimSpace(line) != "true "+l.Image {
			return "a node does not run"
		}
	}
	if err != nil {
		return "its nodes are gone"
	}
	if l.kubectl(ctx, "get", "--raw", "/readyz", "--request-timeout=10s").Run() != nil {
		return "its API server does not answer"
	}
	return ""
}

// Create makes the cluster; nodes are not Ready when it returns.
func (l Live) Create(ctx context.Context, log *steps.Log, config []byte) error {
	if err := l.remember(config); err != nil {
		return err
	}
	// Without --wait: nodes only get Ready with a pod network. With --retain: a failure can be looked at.
	err := log.Run(l.kind(ctx, "create", "cluster", "--name", l.Name, "--image", l.Image, "--config", l.configFile(),
		"--kubeconfig", l.Kubeconfig(), "--retain"))
	if err != nil {
		return steps.Advise(err, "The nodes are still there, see: docker logs "+l.Name+"-control-plane. "+
			"The next up makes them anew."+crowded())
	}
	l.Created = true
	return l.remember(config)
}

// crowded names the limit that a host with several clusters reaches first. Nothing in the failure itself would.
func crowded() string {
	const limit = "/proc/sys/fs/inotify/max_user_instances"
	b, err := os.ReadFile(limit)
	if n, numErr := strconv.Atoi(strings.TrimSpace(string(b))); err != nil || numErr != nil || n > 256 {
		return ""
	}
	return " If more than four nodes run on this host: fs.inotify.max_user_instances is too low for them."
}

func (l Live) remember(config []byte) error {
	b, err := json.MarshalIndent(l.Record, "", "  ")
	if err != nil {
		return fmt.Errorf("write record of cluster %s: %w", l.Name, err)
	}
	for file, text := range map[string][]byte{l.configFile(): config, l.recordFile(): b} {
		err := cache.Write(file, 0o644, func(w io.Writer) error { _, err := w.Write(text); return err })
		if err != nil {
			return err
		}
	}
	return nil
}

// Delete removes the cluster's nodes and everything known about it.
func (l Live) Delete(ctx context.Context, log *steps.Log) error {
	err := log.Run(l.kind(ctx, "delete", "cluster", "--name", l.Name, "--kubeconfig", l.Kubeconfig()))
	if err != nil {
		return err
	}
	return os.RemoveAll(l.Dir)
}

// Load puts image archives into all nodes.
func (l Live) Load(ctx context.Context, log *steps.Log, archives []string) error {
	return log.Run(l.kind(ctx, append([]string{"load", "image-archive", "--name", l.Name}, archives...)...))
}

// AwaitReady waits until every node is Ready and, unless the cluster was made without it, CoreDNS answers.
func (l Live) AwaitReady(ctx context.Context, log *steps.Log) error {
	if err := l.awaitKubelets(ctx, log); err != nil {
		return err
	}
	err := log.Run(l.kubectl(ctx, "wait", "--for=condition=Ready", "nodes", "--all", "--timeout=180s"))
	if err != nil {
		_ = log.Run(l.kubectl(ctx, "get", "nodes,pods", "-A", "-o", "wide")) // for the reader of the log only
		return err
	}
	dns, err := log.Output(l.kubectl(ctx, "-n", "kube-system", "get", "deployment", "coredns", "--ignore-not-found",
		"-o", "name"))
	if err != nil || len(dns) == 0 {
		return err
	}
	// Available, not a finished rollout: the second replica may have to wait 10 s for its next readiness probe.
	return log.Run(l.kubectl(ctx, "-n", "kube-system", "wait", "--for=condition=Available", "deployment/coredns",
		"--timeout=120s"))
}

// awaitKubelets waits for the kubelets themselves: for 40 s after a node has gone its Node object still says Ready.
func (l Live) awaitKubelets(ctx context.Context, log *steps.Log) error {
	nodes, err := l.Nodes(ctx)
	if err != nil {
		return err
	}
	for _, n := range nodes {
		err := await(ctx, 2*time.Minute, func() error {
			return log.Run(l.Engine().Command(ctx, "docker", "exec", n, "curl", "-fsS", "-m", "5",
				"http://127.0.0.1:10248/healthz"))
		})
		if err != nil {
			return steps.Advise(fmt.Errorf("wait for the kubelet of %s: %w", n, err),
				"Look at: docker exec "+n+" journalctl -u kubelet")
		}
	}
	return nil
}

// await repeats try every half second until it succeeds, ctx ends or the time is up.
func await(ctx context.Context, limit time.Duration, try func() error) error {
	for end := time.Now().Add(limit); ; {
		err := try()
		if err == nil || time.Now().After(end) {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(500 * time.Millisecond):
		}
	}
}
