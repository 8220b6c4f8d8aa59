// Package archive writes image archives in the form that "docker load" and "ctr images import" both read.
package archive

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
)

// Layer is a finished layer: an uncompressed tar file, which several images may share.
type Layer struct {
	File   string
	Size   int64
	Digest string // hex SHA-256 of the file
}

// Config is what a container of the image starts with, in the spelling of the image format.
type Config struct {
	Env        []string `json:"Env,omitempty"`
	Entrypoint []string `json:"Entrypoint,omitempty"`
	StopSignal string   `json:"StopSignal,omitempty"`
}

// Image is one image of an archive.
type Image struct {
	Ref    string
	Layers []Layer
	Config Config
}

type manifestEntry struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// Write writes an archive of images for one architecture. The same input gives the same bytes.
func Write(w io.Writer, arch string, images []Image) error {
	tw := tar.NewWriter(w)
	written := map[string]bool{}
	var manifest []manifestEntry
	for _, im := range images {
		entry, err := writeImage(tw, arch, im, written)
		if err != nil {
			return fmt.Errorf("write image %s: %w", im.Ref, err)
		}
		manifest = append(manifest, entry)
	}
	b, err := json.Marshal(manifest)
	if err != nil {
		return fmt.Errorf("encode manifest: %w", err)
	}
	if err := put(tw, "manifest.json", b); err != nil {
		return fmt.Errorf("write manifest: %w", err)
	}
	return tw.Close()
}

func writeImage(tw *tar.Writer, arch string, im Image, written map[string]bool) (manifestEntry, error) {
	type rootfs struct {
		Type    string   `json:"type"`
		DiffIDs []string `json:"diff_ids"`
	}
	entry := manifestEntry{RepoTags: []string{im.Ref}}
	fs := rootfs{Type: "layers"}
	for _, l := range im.Layers {
		name := l.Digest + "/layer.tar"
		entry.Layers = append(entry.Layers, name)
		fs.DiffIDs = append(fs.DiffIDs, "sha256:"+l.Digest)
		if written[name] {
			continue
		}
		written[name] = true
		if err := putLayer(tw, name, l); err != nil {
			return entry, err
		}
	}
	config, err := json.Marshal(struct {
		Architecture string `json:"architecture"`
		OS           string `json:"os"`
		Config       Config `json:"config"`
		RootFS       rootfs `json:"rootfs"`
	}{arch, "linux", im.Config, fs})
	if err != nil {
		return entry, fmt.Errorf("encode image config: %w", err)
	}
	sum := sha256.Sum256(config)
	entry.Config = hex.EncodeToString(sum[:]) + ".json"
	return entry, put(tw, entry.Config, config)
}

func putLayer(tw *tar.Writer, name string, l Layer) error {
	f, err := os.Open(l.File)
	if err != nil {
		return fmt.Errorf("open layer: %w", err)
	}
	defer func() { _ = f.Close() }()
	if err := tw.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: l.Size}); err != nil {
		return err
	}
	if _, err := io.Copy(tw, f); err != nil {
		return fmt.Errorf("copy layer: %w", err)
	}
	return nil
}

func put(tw *tar.Writer, name string, b []byte) error {
	if err := tw.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(b))}); err != nil {
		return err
	}
	_, err := tw.Write(b)
	return err
}
