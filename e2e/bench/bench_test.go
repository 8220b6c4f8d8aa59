package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sync/errgroup"

	"example.com/dragoman/e2e/preflight"
	"example.com/dragoman/pkg/sanity/figures"
)

// TestDragomanStaysFast is the benchmark with small numbers, and asserts what holds on every machine: counts and
// ratios.
func TestDragomanStaysFast(t *testing.T) {
	programs, err := preflight.Environment("DRA_SANITY_BIN", "DRAGOMAN_BIN")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := exec.LookPath("strace"); err != nil {
		t.Fatal(`system calls are counted with strace, which is not installed; "make strace" installs it`)
	}
	measure := func(ctx context.Context, args ...string) (figures.Report, error) {
		file := filepath.Join(t.TempDir(), "report.json")
		return shortRun(ctx, programs["DRA_SANITY_BIN"], programs["DRAGOMAN_BIN"], file, args)
	}
	counted := fmt.Sprintf("%d,%d", few, many)
	// Two at once, since one of them mostly waits until all is quiet.
	var claims, publishing figures.Report
	both, ctx := errgroup.WithContext(t.Context())
	both.Go(func() (err error) {
		claims, err = measure(ctx, "--prepared", counted, "--rounds", "100", "--run", "^(prepared|requests)$")
		return err
	})
	both.Go(func() (err error) {
		publishing, err = measure(ctx, "--devices", "8,200", "--run", "^(start|slice-writes)$")
		return err
	})
	if err := both.Wait(); err != nil {
		t.Fatal(err)
	}
	all := claims
	all.Measurements = slices.Concat(claims.Measurements, publishing.Measurements)
	all.NotRun = slices.Concat(claims.NotRun, publishing.NotRun)
	for _, problem := range broken(all) {
		t.Error(problem)
	}
	var text bytes.Buffer
	if err := figures.Text(&text, all); err != nil {
		t.Error(err)
	}
	t.Log(text.String())
	// What grows does so each time.
	problems := grown(claims)
	for tries := 1; len(problems) > 0 && tries < 3; tries++ {
		t.Logf("measured again: %s", problems)
		again, err := measure(t.Context(), "--prepared", counted, "--rounds", "100", "--run", "^(prepared|requests)$")
		if err != nil {
			t.Fatal(err)
		}
		problems = grown(again)
	}
	for _, problem := range problems {
		t.Error(problem)
	}
}

// shortRun measures dragoman alone.
func shortRun(ctx context.Context, sanity, dragoman, file string, args []string) (figures.Report, error) {
	c := exec.CommandContext(ctx, sanity, append([]string{
		"load", "--embedded", "--driver", driverName, "--start", script, "--change", script, "--json", file,
	}, args...)...)
	c.Dir = filepath.Join("..", "..")
	c.Env = append(os.Environ(), "DRAGOMAN="+dragoman)
	c.Cancel = func() error { return c.Process.Signal(os.Interrupt) } // it takes down what it started
	if output, err := c.CombinedOutput(); err != nil {
		return figures.Report{}, fmt.Errorf("dra-sanity %q: %w\n%s", c.Args[1:], err, output)
	}
	return read(file)
}
