package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"runtime"
	"strings"
)

const passwd = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n"

// image returns an archive with one image of one layer: the program, a link to it for every applet, and the few
// directories and files that programs expect. The same input gives the same bytes.
func image(program []byte, applets []string, tag string) ([]byte, error) {
	entries := []entry{
		{name: "bin/", mode: 0o755},
		{name: "bin/busybox", mode: 0o755, content: program},
		{name: "etc/", mode: 0o755},
		{name: "etc/group", mode: 0o644, content: []byte("root:x:0:\nnogroup:x:65534:\n")},
		{name: "etc/passwd", mode: 0o644, content: []byte(passwd)},
		{name: "root/", mode: 0o700},
		{name: "tmp/", mode: 0o1777},
	}
	for _, applet := range applets {
		entries = append(entries, entry{name: "bin/" + applet, mode: 0o777, link: "busybox"})
	}
	layer, err := pack(entries)
	if err != nil {
		return nil, err
	}
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH,
		"os":           "linux",
		"config":       map[string]any{"Env": []string{"PATH=/bin"}, "Cmd": []string{"sh"}},
		"rootfs":       map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + sum(layer)}},
	})
	if err != nil {
		return nil, err
	}
	manifest, err := json.Marshal([]map[string]any{{
		"Config": sum(config) + ".json", "RepoTags": []string{tag}, "Layers": []string{"layer0/layer.tar"},
	}})
	if err != nil {
		return nil, err
	}
	return pack([]entry{
		{name: "layer0/", mode: 0o755},
		{name: "layer0/layer.tar", mode: 0o644, content: layer},
		{name: sum(config) + ".json", mode: 0o644, content: config},
		{name: "manifest.json", mode: 0o644, content: manifest},
	})
}

// entry is one file of an archive: a directory if the name ends in a slash, a symbolic link if link is set.
type entry struct {
	name, link string
	mode       int64
	content    []byte
}

func pack(entries []entry) ([]byte, error) {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for _, e := range entries {
		size := int64(len(e.content))
		header := tar.Header{Name: e.name, Linkname: e.link, Mode: e.mode, Size: size, Typeflag: tar.TypeReg}
		switch {
		case e.link != "":
			header.Typeflag = tar.TypeSymlink
		case strings.HasSuffix(e.name, "/"):
			header.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(&header); err != nil {
			return nil, err
		}
		if _, err := w.Write(e.content); err != nil {
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
