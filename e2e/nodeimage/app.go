package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"example.com/dragoman/e2e/nodeimage/internal/cache"
	"example.com/dragoman/e2e/nodeimage/internal/debian"
	"example.com/dragoman/e2e/nodeimage/internal/dockerd"
	"example.com/dragoman/e2e/nodeimage/internal/engine"
	"example.com/dragoman/e2e/nodeimage/internal/node"
	"example.com/dragoman/e2e/nodeimage/internal/steps"
	"example.com/dragoman/e2e/nodeimage/internal/versions"
	"example.com/dragoman/pkg/sanity/gobuild"
)

// app is what the commands share: the cache, its places, and where progress goes.
type app struct {
	cache   cache.Cache
	steps   *steps.Reporter
	out     io.Writer // for what env prints
	own     dockerd.Own
	builder gobuild.Builder
}

func newApp(c cache.Cache, r *steps.Reporter, out io.Writer) app {
	return app{
		cache: c, steps: r, out: out,
		own: dockerd.Own{Dir: c.Path("engine")}, builder: gobuild.Builder{Work: c.Path("build")},
	}
}

// lock keeps other runs away from a part of the cache, and says so when it has to wait for one.
func (a app) lock(ctx context.Context, what string, shared bool) (func(), error) {
	return a.cache.Lock(ctx, what, shared, func() {
		a.steps.Note("another nodeimage works on the %s of %s: waiting for it", what, a.cache.Path())
	})
}

func (a app) build(ctx context.Context, o options) error {
	set, err := versions.Lookup(o.kubernetes)
	if err != nil {
		return err
	}
	file, err := a.nodeArchive(ctx, set)
	if err != nil {
		return err
	}
	a.steps.Note("archive: %s", file)
	return nil
}

// archiveFile is where the node image of a set of versions is kept.
func (a app) archiveFile(set versions.Set) string {
	return a.cache.Path("images", "node-"+set.Kubernetes+"-"+node.Key(set)+".tar.zst")
}

// nodeArchive returns the node image's archive, which it makes when the cache has none.
func (a app) nodeArchive(ctx context.Context, set versions.Set) (string, error) {
	file := a.archiveFile(set)
	if cache.Exists(file) { // before the lock: it comes whole, and a build of something else may take long
		a.steps.Done("node image %s is in the cache", node.Ref(set))
		return file, nil
	}
	unlock, err := a.lock(ctx, cache.Builds, false)
	if err != nil {
		return "", err
	}
	defer unlock()
	if cache.Exists(file) { // the run we waited for has made it
		return file, nil
	}
	if os.Geteuid() != 0 {
		return "", steps.Advise(errors.New("build a node image: only root can install Debian into a folder"),
			"Run this as root, or where kind's own node image can be pulled (--node-image pull).")
	}
	if need := debian.Missing([]debian.Need{{Command: "debootstrap", Package: "debootstrap"}}); len(need) > 0 {
		if err := debian.CanInstall(); err != nil {
			return "", steps.Advise(fmt.Errorf("build a node image: debootstrap is missing, and %w", err),
				"Install debootstrap.")
		}
		err := a.steps.Run(ctx, "host-debootstrap", "installing debootstrap on this host", "",
			func(ctx context.Context, log *steps.Log) error { return debian.Install(ctx, log, need) })
		if err != nil {
			return "", err
		}
	}
	m := node.Maker{Set: set, Steps: a.steps, Go: a.builder, Work: a.cache.Path("work", node.Key(set))}
	if err := m.Make(ctx, file); err != nil {
		return "", err
	}
	return file, a.removeOldArchives(set)
}

// removeOldArchives removes what was made for the same Kubernetes version by an earlier recipe.
func (a app) removeOldArchives(set versions.Set) error {
	found, err := filepath.Glob(a.cache.Path("images", "node-"+set.Kubernetes+"-*"))
	if err != nil {
		return err
	}
	for _, f := range found {
		if f == a.archiveFile(set) {
			continue
		}
		if err := os.Remove(f); err != nil {
			return fmt.Errorf("remove old node image: %w", err)
		}
	}
	return nil
}

// engine returns a container engine that answers, which may mean to install and start one.
func (a app) engine(ctx context.Context) (engine.Engine, error) {
	if e, ok := engine.Find(ctx, a.own.Engine()); ok {
		a.steps.Done("container engine answers%s", at(e))
		return e, nil
	}
	if host := os.Getenv("DOCKER_HOST"); host != "" && host != a.own.Host() {
		a.steps.Note("no engine answers at DOCKER_HOST=%s: using one of our own", host)
	}
	if len(dockerd.MissingPackages()) > 0 {
		err := a.steps.Run(ctx, "host-docker", "installing Docker on this host", "about 30 s", a.own.Install)
		if err != nil {
			return engine.Engine{}, err
		}
	}
	err := a.steps.Run(ctx, "engine-start", "starting a container engine of our own", "", a.own.Start)
	return a.own.Engine(), err
}

func at(e engine.Engine) string {
	switch {
	case e.Ours:
		return " (our own, " + e.Host + ")"
	case e.Host != "":
		return " at " + e.Host
	}
	return ""
}

// kind returns the folder of the kind program, built once.
func (a app) kind(ctx context.Context, set versions.Set) (string, error) {
	dir := a.cache.Path("bin", "kind-"+set.Kind)
	if cache.Exists(dir) {
		return dir, nil
	}
	unlock, err := a.lock(ctx, cache.Builds, false)
	if err != nil {
		return "", err
	}
	defer unlock()
	if cache.Exists(dir) {
		return dir, nil
	}
	const module = "sigs.k8s.io/kind"
	p := gobuild.Program{Name: "kind", Module: module, Version: set.Kind, Packages: []string{module}, Binary: "kind"}
	return dir, a.steps.Run(ctx, "go-kind", "building kind "+set.Kind, "about 20 s cold",
		func(ctx context.Context, log *steps.Log) error {
			half := dir + ".half"
			if err := a.builder.Build(ctx, log, p, half); err != nil {
				return err
			}
			return os.Rename(half, dir)
		})
}
