package archive

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Owners says whose files a layer's files are.
type Owners int

const (
	// Root makes every file root's, of 1970: for trees of our own, so that the same tree gives the same layer.
	Root Owners = iota
	// Kept keeps owners and times: for an installed operating system.
	Kept
)

// MakeLayer writes the tree dir as a layer into file. The content of dir/dev is left out: runtimes make their own.
func MakeLayer(file, dir string, owners Owners) (Layer, error) {
	f, err := os.Create(file)
	if err != nil {
		return Layer{}, fmt.Errorf("create layer: %w", err)
	}
	defer func() { _ = f.Close() }()
	h := sha256.New()
	count := &counter{}
	tw := tar.NewWriter(io.MultiWriter(f, h, count))
	walk := treeWriter{tw: tw, dir: dir, owners: owners, links: map[inode]string{}}
	if err := filepath.WalkDir(dir, walk.add); err != nil {
		return Layer{}, fmt.Errorf("write layer of %s: %w", dir, err)
	}
	if err := tw.Close(); err != nil {
		return Layer{}, fmt.Errorf("close layer: %w", err)
	}
	if err := f.Close(); err != nil {
		return Layer{}, fmt.Errorf("close layer: %w", err)
	}
	return Layer{File: file, Size: count.n, Digest: hex.EncodeToString(h.Sum(nil))}, nil
}

type counter struct{ n int64 }

func (c *counter) Write(b []byte) (int, error) {
	c.n += int64(len(b))
	return len(b), nil
}

type inode struct{ dev, ino uint64 }

// treeWriter adds the files of a tree in the order of their names.
type treeWriter struct {
	tw     *tar.Writer
	dir    string
	owners Owners
	links  map[inode]string // first name of files that have several
}

func (t treeWriter) add(path string, d fs.DirEntry, err error) error {
	if err != nil {
		return err
	}
	name, err := filepath.Rel(t.dir, path)
	if err != nil {
		return err
	}
	if name == "." || strings.HasPrefix(name, "dev/") || d.Type()&fs.ModeSocket != 0 {
		return nil
	}
	info, err := d.Info()
	if err != nil {
		return err
	}
	hdr, err := t.header(path, name, info)
	if err != nil {
		return err
	}
	if err := t.tw.WriteHeader(hdr); err != nil {
		return err
	}
	if hdr.Typeflag != tar.TypeReg {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	_, err = io.Copy(t.tw, f)
	return err
}

func (t treeWriter) header(path, name string, info fs.FileInfo) (*tar.Header, error) {
	target := ""
	if info.Mode()&fs.ModeSymlink != 0 {
		var err error
		if target, err = os.Readlink(path); err != nil {
			return nil, err
		}
	}
	hdr, err := tar.FileInfoHeader(info, target)
	if err != nil {
		return nil, err
	}
	hdr.Name = name
	if info.IsDir() {
		hdr.Name += "/"
	}
	// Names come from the building machine's user table, times of access and change say nothing: both would only make
	// equal trees differ.
	hdr.Uname, hdr.Gname, hdr.AccessTime, hdr.ChangeTime = "", "", time.Time{}, time.Time{}
	hdr.Format = tar.FormatPAX
	if t.owners == Root {
		hdr.Uid, hdr.Gid, hdr.ModTime = 0, 0, time.Unix(0, 0)
	}
	hdr.ModTime = hdr.ModTime.Truncate(time.Second)
	t.hardLink(hdr, info)
	return hdr, nil
}

// hardLink turns the second and later names of a file into links to the first.
func (t treeWriter) hardLink(hdr *tar.Header, info fs.FileInfo) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || hdr.Typeflag != tar.TypeReg || st.Nlink < 2 {
		return
	}
	id := inode{uint64(st.Dev), st.Ino}
	first, seen := t.links[id]
	if !seen {
		t.links[id] = hdr.Name
		return
	}
	hdr.Typeflag, hdr.Linkname, hdr.Size = tar.TypeLink, first, 0
}
