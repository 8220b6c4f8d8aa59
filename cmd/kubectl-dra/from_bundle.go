package main

import (
	"archive/tar"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"example.com/dragoman/pkg/view"
	"example.com/dragoman/pkg/view/manifest"
)

// Where a bundle has what makes up a cluster, below its one folder.
const (
	bundleObjects = "cluster"
	bundleLook    = "look.json"
	bundleLimit   = 1 << 30
)

// look is what a bundle knows of a look at a cluster beside the objects.
type look struct {
	Version string        `json:"version"`
	Unseen  []view.Unseen `json:"unseen"`
}

// readBundle reads what "gather" has written. Only what makes up the cluster is looked at; logs and answers are not.
func readBundle(compressed io.Reader) ([]manifest.Document, *look, error) {
	plain, err := gzip.NewReader(compressed)
	if err != nil {
		return nil, nil, fmt.Errorf("uncompress the bundle: %w", err)
	}
	var documents []manifest.Document
	var with look
	for files := tar.NewReader(&limited{plain, bundleLimit}); ; {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			return documents, &with, nil
		} else if err != nil {
			return nil, nil, fmt.Errorf("read the bundle: %w", err)
		}
		name := path.Clean(header.Name)
		if path.Base(path.Dir(name)) != bundleObjects || header.Typeflag != tar.TypeReg {
			continue
		}
		raw, err := io.ReadAll(files)
		if err != nil {
			return nil, nil, fmt.Errorf("read %s of the bundle: %w", name, err)
		}
		switch {
		case path.Base(name) == bundleLook:
			if err := json.Unmarshal(raw, &with); err != nil {
				return nil, nil, fmt.Errorf("read %s of the bundle: %w", name, err)
			}
		case strings.HasSuffix(name, ".yaml"):
			documents = append(documents, manifest.Parse(name, raw)...)
		}
	}
}
