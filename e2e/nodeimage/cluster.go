package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"example.com/dragoman/e2e/nodeimage/internal/cache"
	"example.com/dragoman/e2e/nodeimage/internal/cluster"
	"example.com/dragoman/e2e/nodeimage/internal/engine"
	"example.com/dragoman/e2e/nodeimage/internal/node"
	"example.com/dragoman/e2e/nodeimage/internal/steps"
	"example.com/dragoman/e2e/nodeimage/internal/versions"
)

func (a app) cluster(name string) cluster.Cluster {
	return cluster.Cluster{Name: name, Dir: a.cache.Path("clusters", name)}
}

func (a app) up(ctx context.Context, o options) error {
	set, err := versions.Lookup(o.kubernetes)
	if err != nil {
		return err
	}
	user, err := userConfig(o.config)
	if err != nil {
		return err
	}
	e, err := a.engine(ctx)
	if err != nil {
		return err
	}
	kind, err := a.kind(ctx, set)
	if err != nil {
		return err
	}
	plan := planner{a, e, set, kind, user}
	live, reused, err := plan.reuse(ctx, o)
	if err != nil {
		return err
	}
	if !reused {
		if live, err = plan.create(ctx, o); err != nil {
			return err
		}
	}
	if err := a.ready(ctx, live); err != nil {
		return err
	}
	a.steps.Note(`cluster %s is up; to use it: eval "$(%s env --name %s)"`, o.name, filepath.Base(os.Args[0]), o.name)
	return nil
}

// userConfig reads a user's kind configuration, and checks it before anything takes minutes.
func userConfig(file string) ([]byte, error) {
	if file == "" {
		return nil, nil
	}
	user, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read kind config: %w", err)
	}
	if _, _, err := cluster.Config(user, cluster.Needs{}); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return user, nil
}

// planner knows what a wanted cluster is made of.
type planner struct {
	app    app
	engine engine.Engine
	set    versions.Set
	kind   string
	user   []byte // kind configuration
}

// want is the cluster as it should be, and its kind configuration.
func (p planner) want(ctx context.Context, name string, built bool) (cluster.Live, []byte, error) {
	v1, err := p.engine.CgroupV1(ctx)
	if err != nil {
		return cluster.Live{}, nil, err
	}
	needs := cluster.Needs{OwnNetwork: built, CgroupV1: v1, Minor: p.set.Minor()}
	config, ranges, err := cluster.Config(p.user, needs)
	if err != nil {
		return cluster.Live{}, nil, err
	}
	image := pulledRef(p.set)
	if built {
		image = node.Ref(p.set)
	}
	return cluster.Live{Cluster: p.app.cluster(name), Record: cluster.Record{
		Kubernetes: p.set.Kubernetes, Image: image, OwnNetwork: built, Ranges: ranges,
		DockerHost: p.engine.Host, OwnEngine: p.engine.Ours,
		KubectlDir: p.app.kubectlDir(p.set), KindDir: p.kind,
	}}, config, nil
}

// reuse returns the cluster of this name if it is the wanted one and answers. Any other cluster that was made here
// under this name is deleted; one that was not is nobody's to touch.
func (p planner) reuse(ctx context.Context, o options) (cluster.Live, bool, error) {
	was, err := p.app.cluster(o.name).Record()
	if errors.Is(err, os.ErrNotExist) {
		return cluster.Live{}, false, p.refuseForeign(ctx, o.name)
	}
	if err != nil {
		return cluster.Live{}, false, err
	}
	built := was.OwnNetwork
	if o.nodeImage != "auto" {
		built = o.nodeImage == "build"
	}
	live, config, err := p.want(ctx, o.name, built)
	if err != nil {
		return live, false, err
	}
	live.MadeNetwork = was.MadeNetwork
	why := live.Differs(ctx, was, config)
	if why == "" {
		p.app.steps.Done("cluster %s runs %s and answers: using it", o.name, live.Image)
		return live, true, nil
	}
	p.app.steps.Note("cluster %s is there, but %s: making it anew", o.name, why)
	return live, false, p.app.steps.Run(ctx, "delete-"+o.name, "deleting the old cluster "+o.name, "", live.Delete)
}

func (p planner) refuseForeign(ctx context.Context, name string) error {
	clusters, err := p.engine.KindClusters(ctx)
	if err != nil || !slices.Contains(clusters, name) {
		return err
	}
	return steps.Advise(fmt.Errorf("there is a kind cluster %s that was not made by nodeimage with this cache", name),
		"Choose another --name, or delete it: kind delete cluster --name "+name)
}

func (p planner) create(ctx context.Context, o options) (cluster.Live, error) {
	built, err := p.app.image(ctx, p.engine, p.set, o.nodeImage)
	if err != nil {
		return cluster.Live{}, err
	}
	live, config, err := p.want(ctx, o.name, built)
	if err != nil {
		return live, err
	}
	live.MadeNetwork = !p.engine.HasNetwork(ctx, kindNetwork)
	if _, err := p.app.kubectl(ctx, p.engine, p.set, live.Image); err != nil {
		return live, err
	}
	return live, p.app.steps.Run(ctx, "create-"+o.name, "creating cluster "+o.name, "about 25 s",
		func(ctx context.Context, log *steps.Log) error { return live.Create(ctx, log, config) })
}

// kindNetwork is the Docker network that all kind clusters share.
const kindNetwork = "kind"

// ready makes the pod network where it is ours and waits for the nodes.
func (a app) ready(ctx context.Context, live cluster.Live) error {
	if live.OwnNetwork {
		if err := a.steps.Run(ctx, "network-"+live.Name, "making the pod network", "", live.Connect); err != nil {
			return err
		}
	}
	return a.steps.Run(ctx, "ready-"+live.Name, "waiting for nodes and cluster DNS", "", live.AwaitReady)
}

// live returns a cluster that up has made.
func (a app) live(name string) (cluster.Live, error) {
	c := a.cluster(name)
	record, err := c.Record()
	if errors.Is(err, os.ErrNotExist) {
		err = fmt.Errorf("there is no cluster %s", name)
		return cluster.Live{}, steps.Advise(err, "Make it: nodeimage up --name "+name)
	}
	return cluster.Live{Cluster: c, Record: record}, err
}

func (a app) network(ctx context.Context, o options) error {
	live, err := a.live(o.name)
	if err != nil {
		return err
	}
	if !live.OwnNetwork {
		a.steps.Note("the pod network of %s is kind's own", live.Image)
	}
	return a.ready(ctx, live)
}

func (a app) load(ctx context.Context, o options) error {
	live, err := a.live(o.name)
	if err != nil {
		return err
	}
	title := "loading " + strings.Join(o.args, ", ") + " into all nodes of " + o.name
	return a.steps.Run(ctx, "load-"+o.name, title, "", func(ctx context.Context, log *steps.Log) error {
		return live.Load(ctx, log, o.args)
	})
}

// env prints one line for a shell to evaluate.
func (a app) env(_ context.Context, o options) error {
	live, err := a.live(o.name)
	if err != nil {
		return err
	}
	line := "export"
	if live.DockerHost != "" {
		line += " DOCKER_HOST=" + quote(live.DockerHost)
	}
	line += " KUBECONFIG=" + quote(live.Kubeconfig()) + " PATH=" + quote(live.KubectlDir+":"+live.KindDir) + `:"$PATH"`
	_, err = fmt.Fprintln(a.out, line)
	return err
}

// quote makes a shell word of s.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

func (a app) down(ctx context.Context, o options) error {
	live, err := a.live(o.name)
	known := err == nil
	if !known && cache.Exists(a.cluster(o.name).Dir) {
		return err
	}
	if known {
		if err := a.deleteCluster(ctx, live); err != nil {
			return err
		}
	}
	if a.own.Used() {
		return a.stopEngine(ctx)
	}
	if !known {
		a.steps.Done("nothing to take away")
	}
	return nil
}

func (a app) deleteCluster(ctx context.Context, live cluster.Live) error {
	e := live.Engine()
	if !e.Answers(ctx) {
		if !e.Ours {
			return steps.Advise(fmt.Errorf("the container engine of cluster %s does not answer%s", live.Name, at(e)),
				"Start it again, or, when it is gone for good, remove "+live.Dir)
		}
		if err := a.revive(ctx); err != nil {
			return err
		}
	}
	err := a.steps.Run(ctx, "delete-"+live.Name, "deleting cluster "+live.Name, "", live.Delete)
	if err != nil || e.Ours || !live.MadeNetwork {
		return err
	}
	left, err := e.KindClusters(ctx)
	if err != nil || len(left) > 0 {
		return err
	}
	return a.steps.Run(ctx, "network-remove", "removing the network of kind clusters", "",
		func(ctx context.Context, log *steps.Log) error { return e.RemoveNetwork(ctx, log, kindNetwork) })
}

// revive starts an engine of ours that died: its containers may outlive it, and only it can take them away.
func (a app) revive(ctx context.Context) error {
	return a.steps.Run(ctx, "engine-start", "starting our container engine again, to clean up with it", "", a.own.Start)
}

// stopEngine takes our engine away when no cluster needs it any more.
func (a app) stopEngine(ctx context.Context) error {
	e := a.own.Engine()
	if !e.Answers(ctx) {
		if err := a.revive(ctx); err != nil {
			return err
		}
	}
	left, err := e.KindClusters(ctx)
	if err != nil {
		return err
	}
	if len(left) > 0 {
		slices.Sort(left)
		a.steps.Note("the engine goes on running for: %s", strings.Join(slices.Compact(left), ", "))
		return nil
	}
	return a.steps.Run(ctx, "engine-stop", "stopping our container engine and restoring the host", "",
		func(ctx context.Context, log *steps.Log) error {
			if err := e.RemoveNetwork(ctx, log, kindNetwork); err != nil {
				return err
			}
			return a.own.Stop(ctx, log)
		})
}
