package main

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"example.com/dragoman/e2e/debian"
)

// find returns a statically linked busybox and the names of its applets.
func find(ctx context.Context) (program []byte, applets []string, err error) {
	path, err := exec.LookPath("busybox")
	if err != nil || !static(path) {
		dir, err := os.MkdirTemp("", "busybox-")
		if err != nil {
			return nil, nil, fmt.Errorf("make a directory for the package: %w", err)
		}
		defer func() { _ = os.RemoveAll(dir) }()
		if path, err = fetched(ctx, dir); err != nil {
			return nil, nil, fmt.Errorf("fetch the Debian package busybox-static (or install it yourself: "+
				"apt-get install busybox-static): %w", err)
		}
	}
	list, err := exec.CommandContext(ctx, path, "--list").Output()
	if err != nil {
		return nil, nil, fmt.Errorf("ask %s for its applets: %w", path, err)
	}
	if program, err = os.ReadFile(path); err != nil {
		return nil, nil, fmt.Errorf("read the program: %w", err)
	}
	applets = slices.DeleteFunc(strings.Fields(string(list)), func(name string) bool { return name == "busybox" })
	slices.Sort(applets)
	return program, slices.Compact(applets), nil
}

// static says whether the program at path runs without a dynamic linker, as it must in an image that has none.
func static(path string) bool {
	file, err := elf.Open(path)
	if err != nil {
		return false
	}
	defer file.Close() //nolint:errcheck // it was only read
	return !slices.ContainsFunc(file.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP })
}

// fetched returns the program of the package, which is unpacked below dir.
func fetched(ctx context.Context, dir string) (string, error) {
	root, err := debian.Unpack(ctx, dir, "busybox-static")
	if err != nil {
		return "", err
	}
	for _, path := range []string{"bin/busybox", "usr/bin/busybox"} {
		if path = filepath.Join(root, path); static(path) {
			return path, nil
		}
	}
	return "", errors.New("the package holds no statically linked bin/busybox")
}
