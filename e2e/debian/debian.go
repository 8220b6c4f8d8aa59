// Package debian unpacks Debian packages without installing them.
package debian

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
)

// Unpack fetches packages from the mirror of the machine and unpacks them together into a folder below dir, which it
// returns. Nothing is installed on the machine.
func Unpack(ctx context.Context, dir string, packages ...string) (string, error) {
	download := append([]string{"download", "-q"}, packages...)
	if err := command(ctx, dir, "apt-get", download...); err != nil {
		// A machine whose package lists were never fetched, or are too old for what the mirror has now.
		if err := command(ctx, dir, "apt-get", "update", "-q"); err != nil {
			return "", err
		}
		if err := command(ctx, dir, "apt-get", download...); err != nil {
			return "", err
		}
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil || len(files) != len(packages) {
		return "", errors.Join(fmt.Errorf("%d packages came, expected %d", len(files), len(packages)), err)
	}
	for _, file := range files {
		if err := command(ctx, dir, "dpkg", "-x", file, "root"); err != nil {
			return "", err
		}
	}
	return filepath.Join(dir, "root"), nil
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
