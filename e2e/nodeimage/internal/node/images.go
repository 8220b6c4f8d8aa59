package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"example.com/dragoman/e2e/nodeimage/internal/archive"
	"example.com/dragoman/e2e/nodeimage/internal/steps"
	"example.com/dragoman/pkg/sanity/gobuild"
)

const pathEnv = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// checkImages asks the built kubeadm which images it will want. A version table that says otherwise would only show
// minutes later, as pods that wait for a registry.
func (m Maker) checkImages(ctx context.Context, log *steps.Log) error {
	kubeadm := filepath.Join(m.bin(kubernetes(m.Set)), "kubeadm")
	out, err := log.Output(steps.Command(ctx, kubeadm, "config", "images", "list",
		"--kubernetes-version", m.Set.Kubernetes))
	if err != nil {
		return err
	}
	wanted := strings.Fields(string(out))
	slices.Sort(wanted)
	if !slices.Equal(wanted, m.Set.SystemImages()) {
		return fmt.Errorf("kubeadm %s wants the images %v, the version table makes %v",
			m.Set.Kubernetes, wanted, m.Set.SystemImages())
	}
	return nil
}

// binaries maps the last element of a system image's name to the program file in it.
func (m Maker) binaries() map[string]string {
	b := map[string]string{
		"coredns": filepath.Join(m.bin(coreDNS(m.Set)), "coredns"),
		"etcd":    filepath.Join(m.bin(gobuild.Etcd(m.Set.Etcd)), "etcd"),
		"pause":   filepath.Join(m.bin(pause(m.Set)), "pause"),
	}
	for _, c := range append(controlPlane(), "kube-proxy") {
		b[c] = filepath.Join(m.bin(kubernetes(m.Set)), c)
	}
	return b
}

// writeSystemImages writes one archive of all system images: each is one static program, and kube-proxy is that on top
// of the node's Debian, whose iptables and conntrack it calls.
func (m Maker) writeSystemImages(base archive.Layer, out string) error {
	binaries := m.binaries()
	var images []archive.Image
	for _, ref := range m.Set.SystemImages() {
		name, _, _ := strings.Cut(path.Base(ref), ":")
		layer, err := m.programLayer(name, binaries[name])
		if err != nil {
			return fmt.Errorf("make image %s: %w", ref, err)
		}
		image := archive.Image{Ref: ref, Layers: []archive.Layer{layer}, Config: archive.Config{
			Env: []string{pathEnv}, Entrypoint: []string{"/usr/local/bin/" + name},
		}}
		if name == "kube-proxy" {
			image.Layers = []archive.Layer{base, layer}
		}
		images = append(images, image)
	}
	f, err := os.Create(out)
	if err != nil {
		return fmt.Errorf("create image archive: %w", err)
	}
	return errors.Join(archive.Write(f, runtime.GOARCH, images), f.Close())
}

// programLayer is a root file system of one program, with the two folders that runtimes and programs expect.
func (m Maker) programLayer(name, binary string) (archive.Layer, error) {
	dir := filepath.Join(m.Work, "images", name)
	if err := os.RemoveAll(dir); err != nil {
		return archive.Layer{}, fmt.Errorf("remove old tree: %w", err)
	}
	for _, d := range []string{"usr/local/bin", "etc", "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return archive.Layer{}, fmt.Errorf("make tree: %w", err)
		}
	}
	if err := os.Chmod(filepath.Join(dir, "tmp"), 0o777|os.ModeSticky); err != nil {
		return archive.Layer{}, fmt.Errorf("open up tmp: %w", err)
	}
	if err := os.Link(binary, filepath.Join(dir, "usr/local/bin", name)); err != nil {
		return archive.Layer{}, fmt.Errorf("place program: %w", err)
	}
	return archive.MakeLayer(dir+".tar", dir, archive.Root)
}
