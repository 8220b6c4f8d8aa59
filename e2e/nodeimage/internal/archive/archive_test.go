package archive

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// makeTree is a small root file system with everything that is easy to lose on the way into a tar file.
func makeTree(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{"usr/bin", "dev/shm", "tmp"} {
		must(t, os.MkdirAll(filepath.Join(dir, d), 0o755))
	}
	must(t, os.Chmod(filepath.Join(dir, "tmp"), 0o777|os.ModeSticky))
	must(t, os.WriteFile(filepath.Join(dir, "usr/bin/mount"), []byte("binary"), 0o755))
	must(t, os.Chmod(filepath.Join(dir, "usr/bin/mount"), 0o755|os.ModeSetuid))
	must(t, os.Link(filepath.Join(dir, "usr/bin/mount"), filepath.Join(dir, "usr/bin/umount")))
	must(t, os.Symlink("usr/bin", filepath.Join(dir, "bin")))
	must(t, os.WriteFile(filepath.Join(dir, "dev/null"), nil, 0o666))
	return dir
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// read returns headers and contents of a tar stream by name.
func read(t *testing.T, r io.Reader) (map[string]*tar.Header, map[string][]byte) {
	t.Helper()
	headers, contents := map[string]*tar.Header{}, map[string][]byte{}
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return headers, contents
		}
		must(t, err)
		if headers[h.Name] != nil {
			t.Errorf("%s is there twice", h.Name)
		}
		headers[h.Name] = h
		contents[h.Name], err = io.ReadAll(tr)
		must(t, err)
	}
}

func TestLayerKeepsWhatAFileIs(t *testing.T) {
	layer, err := MakeLayer(filepath.Join(t.TempDir(), "l.tar"), makeTree(t), Root)
	must(t, err)
	f, err := os.Open(layer.File)
	must(t, err)
	defer func() { _ = f.Close() }()
	h, contents := read(t, f)

	want := []string{"bin", "dev/", "tmp/", "usr/", "usr/bin/", "usr/bin/mount", "usr/bin/umount"}
	if got := slices.Sorted(maps.Keys(h)); !slices.Equal(got, want) {
		t.Fatalf("names are %v, want %v", got, want)
	}
	if h["bin"].Typeflag != tar.TypeSymlink || h["bin"].Linkname != "usr/bin" {
		t.Errorf("bin is %+v, want a link to usr/bin", h["bin"])
	}
	if h["usr/bin/umount"].Typeflag != tar.TypeLink || h["usr/bin/umount"].Linkname != "usr/bin/mount" {
		t.Errorf("umount is %+v, want a hard link to mount", h["usr/bin/umount"])
	}
	if string(contents["usr/bin/mount"]) != "binary" || h["usr/bin/mount"].Mode != 0o4755 {
		t.Errorf("mount is %q mode %o", contents["usr/bin/mount"], h["usr/bin/mount"].Mode)
	}
	if h["tmp/"].Mode != 0o1777 {
		t.Errorf("tmp has mode %o, want 1777", h["tmp/"].Mode)
	}
	for name, hdr := range h {
		if hdr.Uid != 0 || hdr.Gid != 0 || hdr.Uname != "" || hdr.ModTime.Unix() != 0 {
			t.Errorf("%s is of %d:%d %q at %v, want root's of 1970", name, hdr.Uid, hdr.Gid, hdr.Uname, hdr.ModTime)
		}
	}
}

func TestEqualTreesMakeEqualLayers(t *testing.T) {
	var layers []Layer
	for range 2 {
		l, err := MakeLayer(filepath.Join(t.TempDir(), "l.tar"), makeTree(t), Root)
		must(t, err)
		layers = append(layers, l)
	}
	if layers[0].Digest != layers[1].Digest {
		t.Error("two layers of equal trees differ")
	}
}

func TestArchiveRoundTrip(t *testing.T) {
	base, err := MakeLayer(filepath.Join(t.TempDir(), "base.tar"), makeTree(t), Kept)
	must(t, err)
	top, err := MakeLayer(filepath.Join(t.TempDir(), "top.tar"), filepath.Join(makeTree(t), "usr"), Root)
	must(t, err)
	images := []Image{
		{Ref: "a:1", Layers: []Layer{base}, Config: Config{Entrypoint: []string{"/init"}, StopSignal: "SIGRTMIN+3"}},
		{Ref: "b:2", Layers: []Layer{base, top}, Config: Config{Env: []string{"A=1"}}},
	}
	var out bytes.Buffer
	must(t, Write(&out, "arm64", images))
	_, files := read(t, &out) // a shared layer must be there once: read refuses a second one

	var manifest []manifestEntry
	must(t, json.Unmarshal(files["manifest.json"], &manifest))
	if len(manifest) != 2 {
		t.Fatalf("manifest has %d images, want 2", len(manifest))
	}
	for i, entry := range manifest {
		if !slices.Equal(entry.RepoTags, []string{images[i].Ref}) {
			t.Errorf("image %d is called %v, want %s", i, entry.RepoTags, images[i].Ref)
		}
		checkConfig(t, files, entry, images[i])
	}
}

// checkConfig checks what importers check: the digests of config and layers.
func checkConfig(t *testing.T, files map[string][]byte, entry manifestEntry, want Image) {
	t.Helper()
	raw := files[entry.Config]
	if hash(raw)+".json" != entry.Config {
		t.Errorf("config %s does not have the digest of its name", entry.Config)
	}
	var config struct {
		Architecture, OS string
		Config           Config
		RootFS           struct {
			DiffIDs []string `json:"diff_ids"`
		}
	}
	must(t, json.Unmarshal(raw, &config))
	if config.Architecture != "arm64" || config.OS != "linux" || !reflect.DeepEqual(config.Config, want.Config) {
		t.Errorf("config of %s is %+v", want.Ref, config)
	}
	if len(config.RootFS.DiffIDs) != len(want.Layers) || len(entry.Layers) != len(want.Layers) {
		t.Fatalf("%s has layers %v and digests %v", want.Ref, entry.Layers, config.RootFS.DiffIDs)
	}
	for i, name := range entry.Layers {
		if got := hash(files[name]); got != strings.TrimPrefix(config.RootFS.DiffIDs[i], "sha256:") {
			t.Errorf("layer %s has digest %s, its image says %s", name, got, config.RootFS.DiffIDs[i])
		}
	}
}

func hash(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
