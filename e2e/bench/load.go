package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// driverName is what dragoman is called in the report.
const driverName = "gpu.example.com"

// script starts dragoman, and changes its devices.
const script = "cmd/dra-sanity/examples/dragoman-load.sh"

// measure runs dra-sanity and leaves its report in a file. The error is nil if every driver held out.
func measure(ctx context.Context, programs, report string, stderr io.Writer) error {
	if err := os.Remove(report); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the last report: %w", err)
	}
	dragoman, err := filepath.Abs(filepath.Join(programs, "dragoman"))
	if err != nil {
		return err
	}
	// The command lines are in the report, so nothing in them depends on where the repository is.
	c := exec.CommandContext(ctx, filepath.Join(programs, "dra-sanity"), "load", "--embedded", "--driver", driverName,
		"--start", script, "--change", script, "--vs", "./"+filepath.Join(programs, "noopdriver"),
		"--vs-driver", "noop.example.com", "--json", report)
	c.Env = append(os.Environ(), "DRAGOMAN="+dragoman)
	c.Stdout, c.Stderr = io.Discard, stderr
	c.Cancel = func() error { return c.Process.Signal(os.Interrupt) } // it takes down what it started
	if err := c.Run(); err != nil {
		return fmt.Errorf("run dra-sanity load: %w", err)
	}
	return nil
}
