package main

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
)

// gpuParts is what an installation for NVIDIA GPUs takes beside the rest. The GPUs are made up too, but below the
// driver of NVIDIA, whose library and programs are replaced (see e2e/fakedriver).
type gpuParts struct {
	driver, library, fakeDriver, glibc string
	model                              string
	dynamicMIG                         bool
}

const (
	glibcImage = "dragoman-glibc:12"
	driverRoot = "/opt/fake-driver" // on the nodes
	gpuLabel   = "nvidia.com/gpu.present=true"
)

func (d *demo) installNVML(ctx context.Context, scratch string) ([]step, error) {
	tag, err := tagOf(d.gpu.driver)
	if err != nil {
		return nil, err
	}
	nodes, err := d.nodes(ctx)
	if err != nil {
		return nil, err
	}
	tag += "-nvml"
	image, glibc := repository+":"+tag, filepath.Join(scratch, "glibc.tar")
	steps := []step{
		{"make the image " + glibcImage, d.command(d.gpu.glibc, "-o", glibc, "-tag", glibcImage)},
		{"load it", d.command("docker", "load", "-q", "-i", glibc)},
		{"build the driver's image " + image, d.command("docker", "build", "-q", "--target", "nvml-prebuilt",
			"--build-arg", "GLIBC_IMAGE="+glibcImage, "-t", image, ".")},
	}
	steps = append(steps, d.load(scratch, image)...)
	for _, node := range nodes {
		steps = append(steps, step{"make NVIDIA's driver up on " + node, d.command(d.gpu.fakeDriver,
			"--library", d.gpu.library, "--model", d.gpu.model, "--container", node, driverRoot)})
	}
	label := append(append([]string{"label", "--overwrite", "nodes"}, nodes...), gpuLabel)
	return append(steps, step{"label the nodes", d.command("kubectl", label...)}, d.chart(tag,
		"--values", "deployments/helm/dragoman/values-nvml.yaml", "--set", "nvml.driverRoot="+driverRoot,
		"--set", fmt.Sprintf("nvml.dynamicMIG=%t", d.gpu.dynamicMIG))), nil
}

// nodes returns the nodes of the cluster, which are containers.
func (d *demo) nodes(ctx context.Context) ([]string, error) {
	list := d.command("docker", "ps", "--filter", "label=io.x-k8s.kind.cluster="+d.name, "--format", "{{.Names}}")(ctx)
	output, err := list.Output()
	if err != nil {
		return nil, fmt.Errorf("list the nodes of %s: %w%s", d.name, err, problems(err))
	}
	nodes := strings.Fields(string(output))
	if len(nodes) == 0 {
		return nil, fmt.Errorf("cluster %s has no nodes on this machine", d.name)
	}
	return nodes, nil
}

// problems is what a program that ended with an error said.
func problems(err error) string {
	if exit, ok := err.(*exec.ExitError); ok && len(exit.Stderr) > 0 { //nolint:errorlint // straight from Output
		return ": " + string(exit.Stderr)
	}
	return ""
}
