package node

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// File tells whether a file is still the same.
type File struct {
	Size     int64
	Modified time.Time
}

// CDIFiles lists the files of the CDI directory by their paths; none if the directory is not there.
func (n *Node) CDIFiles() (map[string]File, error) { return files(n.Dirs.CDI) }

// files lists what is below a directory and is no directory and no socket.
func files(dir string) (map[string]File, error) {
	all := map[string]File{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || entry.Type()&fs.ModeSocket != 0 {
			return known(err)
		}
		info, err := entry.Info()
		if err == nil {
			all[path] = File{info.Size(), info.ModTime()}
		}
		return known(err)
	})
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", dir, err)
	}
	return all, nil
}

// known makes what is not there, any more or yet, no error.
func known(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// baseline remembers what is in the CDI directory before the first claim.
func (n *Node) baseline() error {
	if n.first != nil {
		return nil
	}
	var err error
	n.first, err = n.CDIFiles()
	return err
}

// Left returns what is left of all claims that were ever made, all of which are unprepared: CDI files that were not
// there before the first of them, and files elsewhere that have the UID of one in their name or text.
func (n *Node) Left() ([]string, error) {
	now, err := n.CDIFiles()
	if err != nil {
		return nil, err
	}
	var left []string
	for path := range now {
		if _, before := n.first[path]; !before {
			left = append(left, path)
		}
	}
	for _, dir := range n.stateful() {
		all, err := files(dir)
		if err != nil {
			return nil, err
		}
		for path := range all {
			if uid := n.mentioned(path); uid != "" && !slices.Contains(left, path) {
				left = append(left, fmt.Sprintf("%s (of claim %s)", path, uid))
			}
		}
	}
	slices.Sort(left)
	return slices.Compact(left), nil
}

// mentioned returns the UID of a claim that is in a file's path or text.
func (n *Node) mentioned(path string) types.UID {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	text := []byte(path)
	if info, err := os.Lstat(path); err == nil && info.Mode().IsRegular() && info.Size() <= 1<<20 {
		content, _ := os.ReadFile(path) // one that is gone meanwhile is not left
		text = append(text, content...)
	}
	for uid := range n.ever {
		if bytes.Contains(text, []byte(uid)) {
			return uid
		}
	}
	return ""
}
