package main

import (
	"context"
	"fmt"

	"example.com/dragoman/e2e/nodeimage/internal/cache"
	"example.com/dragoman/e2e/nodeimage/internal/engine"
	"example.com/dragoman/e2e/nodeimage/internal/node"
	"example.com/dragoman/e2e/nodeimage/internal/steps"
	"example.com/dragoman/e2e/nodeimage/internal/versions"
)

// pulledRef is the name of kind's own node image.
func pulledRef(set versions.Set) string { return "kindest/node:" + set.Kubernetes }

// image brings a node image into the engine and says whether it is one that was built here. What is there already comes
// first, whatever its origin: a second run asks no registry.
func (a app) image(ctx context.Context, e engine.Engine, set versions.Set, from string) (built bool, err error) {
	if from != "build" && e.HasImage(ctx, pulledRef(set)) {
		a.steps.Done("node image %s is in the engine", pulledRef(set))
		return false, nil
	}
	haveBuilt := e.HasImage(ctx, node.Ref(set)) || cache.Exists(a.archiveFile(set))
	if from == "pull" || from == "auto" && !haveBuilt {
		if refused := a.pull(ctx, e, set); refused == nil {
			return false, nil
		} else if from == "pull" || ctx.Err() != nil {
			return false, fmt.Errorf("pull %s: %w", pulledRef(set), refused)
		} else {
			a.steps.Note("%s cannot be pulled (%v): building a node image", pulledRef(set), refused)
		}
	}
	return true, a.loadBuilt(ctx, e, set)
}

// pull returns why the image cannot be pulled. As there is another way, that is no failed step.
func (a app) pull(ctx context.Context, e engine.Engine, set versions.Set) error {
	var refused error
	err := a.steps.Run(ctx, "pull", "asking registries for "+pulledRef(set), "",
		func(ctx context.Context, log *steps.Log) error {
			refused = e.Pull(ctx, log, pulledRef(set))
			return nil
		})
	if err != nil {
		return err
	}
	return refused
}

func (a app) loadBuilt(ctx context.Context, e engine.Engine, set versions.Set) error {
	if e.HasImage(ctx, node.Ref(set)) {
		a.steps.Done("node image %s is in the engine", node.Ref(set))
		return nil
	}
	file, err := a.nodeArchive(ctx, set)
	if err != nil {
		return err
	}
	return a.steps.Run(ctx, "engine-load", "loading the node image into the engine", "about 10 s",
		func(ctx context.Context, log *steps.Log) error {
			archive, err := node.Open(file)
			if err != nil {
				return err
			}
			defer func() { _ = archive.Close() }()
			return e.Load(ctx, log, archive, node.Ref(set))
		})
}

// kubectl returns the folder of the kubectl that belongs to the node image; every node image has it.
func (a app) kubectl(ctx context.Context, e engine.Engine, set versions.Set, ref string) (string, error) {
	dir := a.kubectlDir(set)
	if cache.Exists(dir + "/kubectl") {
		return dir, nil
	}
	return dir, a.steps.Run(ctx, "kubectl", "taking kubectl out of the node image", "",
		func(ctx context.Context, log *steps.Log) error {
			return e.CopyOut(ctx, log, ref, "/usr/bin/kubectl", dir+"/kubectl")
		})
}

func (a app) kubectlDir(set versions.Set) string {
	return a.cache.Path("bin", "kubernetes-"+set.Kubernetes)
}
