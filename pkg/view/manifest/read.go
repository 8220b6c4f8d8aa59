package manifest

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Stdin is the Source of what came from standard input.
const Stdin = "stdin"

// Read returns the objects of files and folders, in the order of paths and, within a folder, of names; "-" is stdin. Of
// folders it reads the files that end in .yaml, .yml or .json, with recursive also those of the folders below. What is
// wrong with a document is in its Problems; the error is about a path that cannot be read.
func Read(paths []string, recursive bool, stdin io.Reader) ([]Document, error) {
	var all []Document
	for _, path := range paths {
		documents, err := read(path, recursive, stdin)
		if err != nil {
			return nil, err
		}
		all = append(all, documents...)
	}
	return all, nil
}

func read(path string, recursive bool, stdin io.Reader) ([]Document, error) {
	if path == "-" {
		raw, err := io.ReadAll(stdin)
		if err != nil {
			return nil, fmt.Errorf("read standard input: %w", err)
		}
		return Parse(Stdin, raw), nil
	}
	if strings.HasPrefix(path, "http://") || strings.HasPrefix(path, "https://") {
		return nil, fmt.Errorf("read %s: addresses are not fetched; pipe what is there into -f -", path)
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	files := []string{path}
	if info.IsDir() {
		if files, err = within(path, recursive); err != nil {
			return nil, err
		}
	}
	var all []Document
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read manifest: %w", err)
		}
		all = append(all, Parse(file, raw)...)
	}
	return all, nil
}

// within returns the manifests of a folder, which must have some: an answer about nothing is no answer.
func within(folder string, recursive bool) ([]string, error) {
	var files []string
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && path != folder && !recursive:
			return filepath.SkipDir
		case !entry.IsDir() && slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(path)):
			files = append(files, path)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the folder %s: %w", folder, err)
	}
	if len(files) == 0 {
		hint := ""
		if !recursive {
			hint = "; folders below it are read with --recursive"
		}
		return nil, fmt.Errorf("read the folder %s: it has no files that end in .yaml, .yml or .json%s", folder, hint)
	}
	return files, nil
}
