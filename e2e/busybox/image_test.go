package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"testing"
)

// unpackAll returns the files of an archive, and where its links lead.
func unpackAll(t *testing.T, archive []byte) (files map[string][]byte, links map[string]string) {
	t.Helper()
	files, links = map[string][]byte{}, map[string]string{}
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files, links
		}
		if err != nil {
			t.Fatal(err)
		}
		if header.Typeflag == tar.TypeSymlink {
			links[header.Name] = header.Linkname
			continue
		}
		if files[header.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func TestImageIsWhatEnginesRead(t *testing.T) {
	archive, err := image([]byte("program"), []string{"cat", "sh"}, "busybox:1.36")
	if err != nil {
		t.Fatal(err)
	}
	files, _ := unpackAll(t, archive)
	var manifest []struct {
		Config           string
		RepoTags, Layers []string
	}
	if err := json.Unmarshal(files["manifest.json"], &manifest); err != nil || len(manifest) != 1 {
		t.Fatalf("%v: manifest.json is %s", err, files["manifest.json"])
	}
	if len(manifest[0].RepoTags) != 1 || manifest[0].RepoTags[0] != "busybox:1.36" || len(manifest[0].Layers) != 1 {
		t.Fatalf("manifest.json is %s", files["manifest.json"])
	}
	var config struct {
		Architecture, OS string
		RootFS           struct {
			DiffIDs []string `json:"diff_ids"`
		}
	}
	if err := json.Unmarshal(files[manifest[0].Config], &config); err != nil {
		t.Fatalf("%v: the config is %s", err, files[manifest[0].Config])
	}
	layer := files[manifest[0].Layers[0]]
	if ids := config.RootFS.DiffIDs; config.OS != "linux" || len(ids) != 1 || ids[0] != digest(layer) {
		t.Errorf("the config does not name the layer by its content: %+v", config)
	}
	inside, links := unpackAll(t, layer)
	if string(inside["bin/busybox"]) != "program" || links["bin/sh"] != "busybox" || links["bin/cat"] != "busybox" {
		t.Errorf("the layer has files %v and links %v", inside, links)
	}
	again, err := image([]byte("program"), []string{"cat", "sh"}, "busybox:1.36")
	if err != nil || !bytes.Equal(archive, again) {
		t.Errorf("the same input gives other bytes (%v)", err)
	}
}
