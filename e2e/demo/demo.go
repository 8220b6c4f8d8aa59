package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

const (
	namespace  = "dragoman"
	repository = "dragoman"
	example    = "deployments/examples/01-one-device"
	exampleNS  = "dragoman-01"
)

// demo holds where the parts are; its methods are the verbs.
type demo struct {
	out                              io.Writer
	name, cache, kubernetes, config  string
	backend, profile                 string
	chartArgs                        []string // of helm
	nodeimage, helm, driver, busybox string
	gpu                              gpuParts
	env                              []string // of the cluster: DOCKER_HOST, KUBECONFIG, PATH
}

// chartArg takes the values of a flag that is handed on to helm.
func (d *demo) chartArg(name string) func(string) error {
	return func(value string) error {
		d.chartArgs = append(d.chartArgs, name, value)
		return nil
	}
}

func (d *demo) up(ctx context.Context) error {
	args := []string{"--name", d.name}
	if d.kubernetes != "" {
		args = append(args, "--kubernetes", d.kubernetes)
	}
	if d.config != "" {
		args = append(args, "--config", d.config)
	}
	if err := d.stream(ctx, d.nodeimage, d.nodeimageArgs("up", args...)...); err != nil {
		return fmt.Errorf("bring the cluster %s up: %w", d.name, err)
	}
	return d.install(ctx)
}

// install builds the image around the binary, loads it into the nodes and installs the chart. The image's tag is made
// from the binary, so that an unchanged driver is not rolled and a changed one always is.
func (d *demo) install(ctx context.Context) error {
	if err := d.useCluster(ctx); err != nil {
		return err
	}
	scratch, err := os.MkdirTemp("", "dragoman-images-")
	if err != nil {
		return fmt.Errorf("make a directory for image archives: %w", err)
	}
	defer os.RemoveAll(scratch)
	plan := d.installMock
	if d.backend == "nvml" {
		plan = d.installNVML
	}
	steps, err := plan(ctx, scratch)
	if err != nil {
		return err
	}
	if err := d.forgetCutOff(ctx); err != nil {
		return err
	}
	for _, s := range steps {
		if err := s.run(ctx, d.out); err != nil {
			return err
		}
	}
	return nil
}

// forgetCutOff removes what helm remembers of an installation that was killed; as long as it does, it refuses every
// other one ("another operation is in progress").
func (d *demo) forgetCutOff(ctx context.Context) error {
	cutOff := d.command("kubectl", "-n", namespace, "delete", "secrets", "--ignore-not-found", "-l",
		"owner=helm,name=dragoman,status in (pending-install,pending-upgrade,pending-rollback)")
	if output, err := cutOff(ctx).CombinedOutput(); err != nil {
		return fmt.Errorf("remove what is left of installations that were cut off: %w: %s", err, output)
	}
	return nil
}

func (d *demo) installMock(_ context.Context, scratch string) ([]step, error) {
	tag, err := tagOf(d.driver)
	if err != nil {
		return nil, err
	}
	image := repository + ":" + tag
	build := d.command("docker", "build", "-q", "--target", "prebuilt", "-t", image, ".")
	steps := append([]step{{"build the driver's image " + image, build}}, d.load(scratch, image)...)
	return append(steps, d.chart(tag, "--set", "mock.profile="+d.profile)), nil
}

// load brings the driver's image and that of the example pods to the nodes.
func (d *demo) load(scratch, image string) []step {
	archive, pods := filepath.Join(scratch, "dragoman.tar"), filepath.Join(scratch, "busybox.tar")
	return []step{
		{"write it to a file", d.command("docker", "save", "-o", archive, image)},
		{"make the image of the example pods", d.command(d.busybox, "-o", pods)},
		{"load both into the nodes", d.command(d.nodeimage, d.nodeimageArgs("load", "--name", d.name, archive, pods)...)},
	}
}

func (d *demo) chart(tag string, args ...string) step {
	return step{"install the chart", d.command(d.helm, append([]string{
		"upgrade", "--install", "dragoman", "deployments/helm/dragoman", "--reset-values",
		"--namespace", namespace, "--create-namespace", "--wait", "--timeout", "3m",
		"--set", "image.repository=" + repository, "--set", "image.tag=" + tag,
	}, append(args, d.chartArgs...)...)...)}
}

func (d *demo) show(ctx context.Context) error {
	if err := d.useCluster(ctx); err != nil {
		return err
	}
	steps := []step{
		{"apply " + example, d.command("kubectl", "apply", "-f", example)},
		{"wait until the pod runs (at most 2 min)", d.command("kubectl", "-n", exampleNS, "wait", "pod", "--all",
			"--for=condition=Ready", "--timeout=2m")},
	}
	for _, s := range steps {
		if err := s.run(ctx, d.out); err != nil {
			return err
		}
	}
	fmt.Fprintf(d.out, "\nThe devices of the nodes, as the scheduler sees them:\n")
	if err := d.print(ctx, "kubectl", "get", "resourceslices"); err != nil {
		return err
	}
	fmt.Fprintf(d.out, "\nWhat the pod asked for, and that it has it:\n")
	if err := d.print(ctx, "kubectl", "-n", exampleNS, "get", "pods,resourceclaims"); err != nil {
		return err
	}
	fmt.Fprintf(d.out, "\nWhat the pod sees of its device:\n")
	if err := d.print(ctx, "kubectl", "-n", exampleNS, "logs", "--all-containers", "--prefix=false",
		"--selector=app=one-device", "--tail=-1"); err != nil {
		return err
	}
	fmt.Fprintf(d.out, next, d.nodeimage, strings.Join(d.nodeimageArgs("env", "--name", d.name), " "), exampleNS)
	return nil
}

const next = `
Where to look next:
  eval "$(%s %s)"    # kubectl, docker and kind of this cluster
  kubectl -n %s describe pod          # the claim, and the kubelet's events
  kubectl get resourceslices -o yaml            # every device with its attributes
  kubectl -n dragoman logs daemonset/dragoman   # the driver
  ls deployments/examples                       # sharing, selecting, prioritized lists, admin access
  make demo-down                                # all of it away again
`

func (d *demo) down(ctx context.Context) error {
	if err := d.stream(ctx, d.nodeimage, d.nodeimageArgs("down", "--name", d.name)...); err != nil {
		return fmt.Errorf("take the cluster %s down: %w", d.name, err)
	}
	return nil
}

func (d *demo) nodeimageArgs(verb string, args ...string) []string {
	if d.cache != "" {
		args = append([]string{"--cache", d.cache}, args...)
	}
	return append([]string{verb}, args...)
}

// useCluster asks nodeimage how to reach the cluster; later commands get these variables.
func (d *demo) useCluster(ctx context.Context) error {
	out, err := exec.CommandContext(ctx, d.nodeimage, d.nodeimageArgs("env", "--name", d.name)...).Output()
	if err != nil {
		return fmt.Errorf("ask for the cluster %s (make kind-up makes it): %w", d.name, err)
	}
	// The shell that is to read this output reads it here too.
	resolved, err := exec.CommandContext(ctx, "sh", "-c", string(out)+"\nenv").Output()
	if err != nil {
		return fmt.Errorf("read the variables of the cluster %s: %w", d.name, err)
	}
	d.env = strings.Split(strings.TrimSpace(string(resolved)), "\n")
	for _, variable := range d.env {
		if path, ok := strings.CutPrefix(variable, "PATH="); ok {
			if err := os.Setenv("PATH", path); err != nil { // exec looks programs up in our own PATH
				return fmt.Errorf("use the PATH of the cluster: %w", err)
			}
		}
	}
	return nil
}

func (d *demo) command(name string, args ...string) func(context.Context) *exec.Cmd {
	return func(ctx context.Context) *exec.Cmd {
		c := exec.CommandContext(ctx, name, args...)
		c.Env = d.env
		return c
	}
}

// stream runs a command whose own output is what the user is to see.
func (d *demo) stream(ctx context.Context, name string, args ...string) error {
	c := exec.CommandContext(ctx, name, args...)
	c.Env, c.Stdout, c.Stderr = d.env, d.out, os.Stderr
	return c.Run()
}

func (d *demo) print(ctx context.Context, name string, args ...string) error {
	out, err := d.command(name, args...)(ctx).CombinedOutput()
	for line := range strings.Lines(string(out)) {
		fmt.Fprint(d.out, "  ", line)
	}
	if err != nil {
		return fmt.Errorf("run %s %s: %w", name, strings.Join(args, " "), err)
	}
	return nil
}

// step is one command with a title; what it prints is shown only when it goes wrong.
type step struct {
	title   string
	command func(context.Context) *exec.Cmd
}

func (s step) run(ctx context.Context, out io.Writer) error {
	var output bytes.Buffer
	c := s.command(ctx)
	c.Stdout, c.Stderr = &output, &output
	start := time.Now()
	if err := c.Run(); err != nil {
		fmt.Fprintf(out, " ✗ %s\n%s", s.title, output.String())
		return fmt.Errorf("%s: run %s: %w", s.title, strings.Join(c.Args, " "), err)
	}
	fmt.Fprintf(out, " ✓ %s (%.1f s)\n", s.title, time.Since(start).Seconds())
	return nil
}

// tagOf names an image by the content of the binary in it.
func tagOf(binary string) (string, error) {
	content, err := os.ReadFile(binary)
	if err != nil {
		return "", fmt.Errorf("read the driver's binary (make build makes it): %w", err)
	}
	sum := sha256.Sum256(content)
	return "dev-" + hex.EncodeToString(sum[:6]), nil
}
