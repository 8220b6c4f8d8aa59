// Package node makes a kind node image out of Go modules and Debian packages, without a container daemon or registry.
//
// The image has two layers: Debian's packages, and what is ours. The second one holds a containerd store that is
// already filled with the images of the control plane, so that a node pulls nothing. kube-proxy needs the tools of the
// first layer and simply has that layer as its own image's base.
//
// It is one room of some 650 lines because everything in it is one recipe: a file of it alone makes no sense elsewhere.
package node

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"

	"github.com/klauspost/compress/zstd"

	"example.com/dragoman/e2e/nodeimage/internal/archive"
	"example.com/dragoman/e2e/nodeimage/internal/cache"
	"example.com/dragoman/e2e/nodeimage/internal/debian"
	"example.com/dragoman/e2e/nodeimage/internal/steps"
	"example.com/dragoman/e2e/nodeimage/internal/versions"
	"example.com/dragoman/pkg/sanity/gobuild"
)

// recipe is raised when an image made by changed code differs though no version and no file of assets does.
const recipe = "1"

// Key names the image: equal keys, equal image (but for Debian's own updates). kind's base files are not in it by
// content: kind's version pins them, and Go checks the module's sum.
func Key(set versions.Set) string {
	parts := []string{recipe, runtime.GOARCH, entrypoint, crictl, storage, coreDNSMain, pauseMain}
	return set.Key(append(parts, debian.NodePackages()...)...)
}

// Ref is the image's name in a container engine.
func Ref(set versions.Set) string { return "dragoman/node:" + set.Kubernetes + "-" + Key(set) }

// Maker makes the node image of one set of versions.
type Maker struct {
	Set   versions.Set
	Steps *steps.Reporter
	Go    gobuild.Builder
	// Work is a folder for what is big and only needed on the way. It goes when the image is there; after a failure
	// it stays, and the next run goes on from it.
	Work string
}

// Make writes the image as a zstd-compressed docker archive to out.
func (m Maker) Make(ctx context.Context, out string) error {
	for _, p := range parts(m.Set) {
		if err := m.build(ctx, p); err != nil {
			return err
		}
	}
	var base archive.Layer
	err := m.Steps.Run(ctx, "debian", "installing Debian "+m.Set.Debian+" for the node", "about 50 s",
		func(ctx context.Context, log *steps.Log) (err error) {
			base, err = m.baseLayer(ctx, log)
			return err
		})
	if err != nil {
		return err
	}
	err = m.Steps.Run(ctx, "node-archive", "packing the node image "+Ref(m.Set), "about 30 s",
		func(ctx context.Context, log *steps.Log) error { return m.pack(ctx, log, base, out) })
	if err != nil {
		return err
	}
	return debian.RemoveTree(m.Work)
}

// bin is the folder of a program's binaries.
func (m Maker) bin(p gobuild.Program) string {
	return filepath.Join(m.Work, "bin", p.Name+"-"+p.Version)
}

func (m Maker) build(ctx context.Context, p part) error {
	dir := m.bin(p.program)
	if cache.Exists(dir) {
		m.Steps.Done("%s %s is built", p.program.Name, p.program.Version)
		return nil
	}
	return m.Steps.Run(ctx, "go-"+p.program.Name, p.title(), p.cold, func(ctx context.Context, log *steps.Log) error {
		half := dir + ".half"
		if err := m.Go.Build(ctx, log, p.program, half); err != nil {
			return err
		}
		return os.Rename(half, dir)
	})
}

func (m Maker) baseLayer(ctx context.Context, log *steps.Log) (archive.Layer, error) {
	dir := filepath.Join(m.Work, "debian")
	if err := debian.MakeTree(ctx, log, m.Set.Debian, dir); err != nil {
		return archive.Layer{}, err
	}
	layer, err := archive.MakeLayer(filepath.Join(m.Work, "debian.tar"), dir, archive.Kept)
	if err != nil {
		return archive.Layer{}, err
	}
	log.Printf("layer of Debian's packages: %d MB", layer.Size>>20)
	return layer, debian.RemoveTree(dir)
}

func (m Maker) pack(ctx context.Context, log *steps.Log, base archive.Layer, out string) error {
	if err := m.checkImages(ctx, log); err != nil {
		return err
	}
	tree := filepath.Join(m.Work, "tree")
	if err := m.fillTree(ctx, log, tree); err != nil {
		return err
	}
	images := filepath.Join(m.Work, "images.tar")
	if err := m.writeSystemImages(base, images); err != nil {
		return err
	}
	if err := m.fillStore(ctx, log, images, filepath.Join(tree, "var/lib/containerd")); err != nil {
		return err
	}
	ours, err := archive.MakeLayer(filepath.Join(m.Work, "ours.tar"), tree, archive.Root)
	if err != nil {
		return err
	}
	log.Printf("layer of the node's own files: %d MB", ours.Size>>20)
	image := archive.Image{Ref: Ref(m.Set), Layers: []archive.Layer{base, ours}, Config: archive.Config{
		Env:        []string{"container=docker", pathEnv},
		Entrypoint: []string{"/usr/local/bin/nodeimage-entrypoint", "/sbin/init"},
		StopSignal: "SIGRTMIN+3", // systemd ends on this one; SIGTERM makes it start anew
	}}
	return cache.Write(out, 0o644, func(w io.Writer) error { return writeCompressed(w, image) })
}

// writeCompressed uses a window wide enough to find the Debian layer again inside the image store.
func writeCompressed(w io.Writer, image archive.Image) error {
	z, err := zstd.NewWriter(w, zstd.WithWindowSize(window), zstd.WithEncoderLevel(zstd.SpeedDefault))
	if err != nil {
		return fmt.Errorf("start compression: %w", err)
	}
	if err := archive.Write(z, runtime.GOARCH, []archive.Image{image}); err != nil {
		return err
	}
	return z.Close()
}

const window = 128 << 20

// Open opens an archive that Make wrote, uncompressed.
func Open(file string) (io.ReadCloser, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("open node archive: %w", err)
	}
	z, err := zstd.NewReader(f, zstd.WithDecoderMaxWindow(window))
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("open node archive: %w", err)
	}
	return uncompressed{z, f}, nil
}

type uncompressed struct {
	*zstd.Decoder
	file *os.File
}

func (u uncompressed) Close() error {
	u.Decoder.Close()
	return u.file.Close()
}
