package main

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
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
		if path, err = unpack(ctx, dir); err != nil {
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

// unpack fetches the package into dir and returns where its program is. Nothing is installed on the machine.
func unpack(ctx context.Context, dir string) (string, error) {
	if err := command(ctx, dir, "apt-get", "download", "-q", "busybox-static"); err != nil {
		// A machine whose package lists were never fetched, or are too old for what the mirror has now.
		if err := command(ctx, dir, "apt-get", "update", "-q"); err != nil {
			return "", err
		}
		if err := command(ctx, dir, "apt-get", "download", "-q", "busybox-static"); err != nil {
			return "", err
		}
	}
	packages, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil || len(packages) != 1 {
		return "", errors.Join(fmt.Errorf("%d packages came, expected 1", len(packages)), err)
	}
	if err := command(ctx, dir, "dpkg", "-x", packages[0], "root"); err != nil {
		return "", err
	}
	for _, path := range []string{"root/bin/busybox", "root/usr/bin/busybox"} {
		if path = filepath.Join(dir, path); static(path) {
			return path, nil
		}
	}
	return "", errors.New("the package holds no statically linked bin/busybox")
}

func command(ctx context.Context, dir, name string, args ...string) error {
	c := exec.CommandContext(ctx, name, args...)
	c.Dir = dir
	var output bytes.Buffer
	c.Stdout, c.Stderr = &output, &output
	if err := c.Run(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(c.Args, " "), err, bytes.TrimSpace(output.Bytes()))
	}
	return nil
}
