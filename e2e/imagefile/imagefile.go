// Package imagefile writes container images as archives that "docker load", "ctr images import" and "kind load
// image-archive" read, without a container engine and without a registry.
package imagefile

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"strings"
)

// Entry is one file of an image: a directory if the name ends in a slash, a symbolic link if Link is set.
type Entry struct {
	Name, Link string
	Mode       int64
	Content    []byte
}

// Archive returns an archive with one image of one layer. Config is what containers get unless they are told otherwise,
// with the keys of the OCI image specification: Env, Cmd. The same input gives the same bytes.
func Archive(tag string, entries []Entry, config map[string]any) ([]byte, error) {
	layer, err := pack(entries)
	if err != nil {
		return nil, err
	}
	description, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH,
		"os":           "linux",
		"config":       config,
		"rootfs":       map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + sum(layer)}},
	})
	if err != nil {
		return nil, err
	}
	manifest, err := json.Marshal([]map[string]any{{
		"Config": sum(description) + ".json", "RepoTags": []string{tag}, "Layers": []string{"layer0/layer.tar"},
	}})
	if err != nil {
		return nil, err
	}
	return pack([]Entry{
		{Name: "layer0/", Mode: 0o755},
		{Name: "layer0/layer.tar", Mode: 0o644, Content: layer},
		{Name: sum(description) + ".json", Mode: 0o644, Content: description},
		{Name: "manifest.json", Mode: 0o644, Content: manifest},
	})
}

// Write writes an archive under its own name only when it is whole: an interrupted run must not leave half of one.
func Write(file string, archive []byte) error {
	unfinished := file + ".new"
	if err := os.WriteFile(unfinished, archive, 0o644); err != nil {
		return fmt.Errorf("write the image: %w", err)
	}
	if err := os.Rename(unfinished, file); err != nil {
		return fmt.Errorf("write the image: %w", err)
	}
	return nil
}

func pack(entries []Entry) ([]byte, error) {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for _, e := range entries {
		size := int64(len(e.Content))
		header := tar.Header{Name: e.Name, Linkname: e.Link, Mode: e.Mode, Size: size, Typeflag: tar.TypeReg}
		switch {
		case e.Link != "":
			header.Typeflag = tar.TypeSymlink
		case strings.HasSuffix(e.Name, "/"):
			header.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(&header); err != nil {
			return nil, err
		}
		if _, err := w.Write(e.Content); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return archive.Bytes(), nil
}

func sum(b []byte) string {
	digest := sha256.Sum256(b)
	return hex.EncodeToString(digest[:])
}
