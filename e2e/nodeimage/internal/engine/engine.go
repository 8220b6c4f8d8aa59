// Package engine finds a container engine to run clusters in, and asks it what clusters need.
package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"example.com/dragoman/e2e/nodeimage/internal/cache"
	"example.com/dragoman/e2e/nodeimage/internal/steps"
)

// Engine is a container engine that answers.
type Engine struct {
	// Host is what DOCKER_HOST has to be; empty means that the docker client finds the engine by itself.
	Host string
	// Ours tells whether this program runs it.
	Ours bool
}

// Command makes a command (docker, kind) that talks to this engine.
func (e Engine) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := steps.Command(ctx, name, args...)
	cmd.Env = os.Environ()
	if e.Host != "" {
		cmd.Env = append(cmd.Env, "DOCKER_HOST="+e.Host)
	}
	return cmd
}

// Answers asks the engine for its version.
func (e Engine) Answers(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := e.Command(ctx, "docker", "version", "--format", "{{.Server.Version}}").Output()
	return err == nil && len(strings.TrimSpace(string(out))) > 0
}

// CgroupV1 tells whether containers of this engine see version 1 of control groups.
func (e Engine) CgroupV1(ctx context.Context) (bool, error) {
	out, err := e.Command(ctx, "docker", "info", "--format", "{{.CgroupVersion}}").Output()
	if err != nil {
		return false, fmt.Errorf("ask the engine for its cgroup version: %w", err)
	}
	return strings.TrimSpace(string(out)) == "1", nil
}

// HasImage tells whether the engine has an image of this name.
func (e Engine) HasImage(ctx context.Context, ref string) bool {
	return e.Command(ctx, "docker", "image", "inspect", "--format", "{{.Id}}", ref).Run() == nil
}

// HasNetwork tells whether the engine has a network of this name.
func (e Engine) HasNetwork(ctx context.Context, name string) bool {
	return e.Command(ctx, "docker", "network", "inspect", "--format", "{{.Id}}", name).Run() == nil
}

// Load puts an image archive into the engine under the name ref, and takes away older images of the same version, which
// nothing would ever use again.
func (e Engine) Load(ctx context.Context, log *steps.Log, archive io.Reader, ref string) error {
	cmd := e.Command(ctx, "docker", "load")
	cmd.Stdin = archive
	if err := log.Run(cmd); err != nil {
		return err
	}
	name, tag, _ := strings.Cut(ref, ":")
	version, _, _ := strings.Cut(tag, "-")
	out, err := log.Output(e.Command(ctx, "docker", "images", "--format", "{{.Repository}}:{{.Tag}}",
		"--filter", "reference="+name+":"+version+"-*"))
	if err != nil {
		return err
	}
	for old := range strings.FieldsSeq(string(out)) {
		if old == ref {
			continue
		}
		if err := log.Run(e.Command(ctx, "docker", "image", "rm", old)); err != nil {
			log.Printf("old image %s stays: %v", old, err) // a cluster still uses it
		}
	}
	return nil
}

// CopyOut copies a file out of an image.
func (e Engine) CopyOut(ctx context.Context, log *steps.Log, ref, file, to string) error {
	out, err := log.Output(e.Command(ctx, "docker", "create", ref))
	if err != nil {
		return err
	}
	id := strings.TrimSpace(string(out))
	half := to + ".half"
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	err = log.Run(e.Command(ctx, "docker", "cp", id+":"+file, half))
	err = errors.Join(err, log.Run(e.Command(context.WithoutCancel(ctx), "docker", "rm", "-v", id)))
	if err != nil {
		return err
	}
	return os.Rename(half, to)
}

// Find returns an engine that answers: the one DOCKER_HOST names, else our own when it runs, else the docker client's
// own choice.
func Find(ctx context.Context, own Engine) (Engine, bool) {
	var candidates []Engine
	host := os.Getenv("DOCKER_HOST")
	if host != "" && host != own.Host {
		candidates = append(candidates, Engine{Host: host})
	}
	if cache.Exists(strings.TrimPrefix(own.Host, "unix://")) {
		candidates = append(candidates, own)
	}
	if host == "" {
		candidates = append(candidates, Engine{})
	}
	for _, e := range candidates {
		if e.Answers(ctx) {
			return e, true
		}
	}
	return Engine{}, false
}
