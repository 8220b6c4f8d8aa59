// Package sanity tests dra-sanity with real drivers, and with it the drivers: dragoman keeps every promise and loses
// nothing under faults, the smallest driver keeps the promises too, and variants of it that are broken on purpose are
// found out, each by the cases that are meant for it.
package sanity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/dragoman/e2e/preflight"
	"example.com/dragoman/pkg/sanity/apiserver"
)

// What all tests share; set once by TestMain.
var (
	sanity, dragoman, tinydriver, noopdriver string // programs
	kubeconfig                               string // of an API server for all runs that do not start one of their own
)

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "sanity tests:", err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	values, err := preflight.Environment("DRA_SANITY_BIN", "DRAGOMAN_BIN")
	if err != nil {
		return 0, err
	}
	sanity, dragoman = values["DRA_SANITY_BIN"], values["DRAGOMAN_BIN"]
	dir, err := os.MkdirTemp("", "d")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // in the temporary directory
	// What is not there has to be built.
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	defer cancel()
	tinydriver, noopdriver = filepath.Join(dir, "tinydriver"), filepath.Join(dir, "noopdriver")
	build := exec.CommandContext(ctx, "go", "build", "-o", dir, "../tinydriver", "../noopdriver")
	if output, err := build.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("build the drivers: %w\n%s", err, output)
	}
	programs, err := apiserver.Find(ctx, apiserver.Search{
		Environment: os.Getenv, Say: func(line string) { fmt.Fprintln(os.Stderr, line) },
	})
	if err != nil {
		return 0, err
	}
	// The tiny driver offers a device to share, which this API server is to keep.
	server, err := apiserver.Start(ctx, apiserver.Options{
		Programs: programs, FeatureGates: "DRAConsumableCapacity=true",
	})
	if err != nil {
		return 0, err
	}
	kubeconfig = server.Kubeconfig
	code = m.Run()
	return code, errors.Join(server.Err(), server.Stop())
}

// driver is one that dra-sanity is to test.
type driver struct {
	name, start string
	// parameters that it takes, and the variable of a container that shows them.
	parameters, variable string
}

// aDragoman is the driver of this repository with its made-up GPUs.
func aDragoman(t *testing.T) driver {
	t.Helper()
	script := filepath.Join(t.TempDir(), "start")
	const text = `#!/bin/sh
export POD_UID="$DRA_SANITY_INSTANCE"
exec %q --config %q --driver-name "$DRA_SANITY_DRIVER" --node-name "$DRA_SANITY_NODE" \
  --kubeconfig "$DRA_SANITY_KUBECONFIG" --kubelet-dir "$DRA_SANITY_KUBELET_DIR" \
  --cdi-dir "$DRA_SANITY_CDI_DIR" --state-dir "$DRA_SANITY_STATE_DIR" "$@"
`
	config := script + ".yaml"
	const quiet = "apiVersion: dragoman.example.com/v1alpha1\nkind: DriverConfig\nhttpAddress: \"\"\n"
	if err := errors.Join(
		os.WriteFile(script, fmt.Appendf(nil, text, dragoman, config), 0o700),
		os.WriteFile(config, []byte(quiet), 0o600),
	); err != nil {
		t.Fatal(err)
	}
	return driver{
		name: "gpu.example.com", start: script,
		parameters: `{"apiVersion":"gpu.resource.example.com/v1alpha1","kind":"GpuConfig","sharing":` +
			`{"strategy":"TimeSlicing","timeSlicingConfig":{"interval":"Long"}}}`,
		variable: "^GPU_DEVICE_.*_TIMESLICE_INTERVAL=Long$",
	}
}

// tiny is the smallest driver, broken in one way or not at all.
func tiny(broken string) driver {
	d := driver{
		name: "tiny.example.com", start: tinydriver, parameters: `{"colour":"red"}`, variable: "^TINY_.*_COLOUR=red$",
	}
	if broken != "" {
		d.start += " --broken " + broken
	}
	return d
}

// args are those of a run with the driver; without --embedded it has the API server of all.
func (d driver) args(verb string, more ...string) []string {
	args := append([]string{verb, "--driver", d.name, "--start", d.start}, more...)
	if !slices.Contains(more, "--embedded") {
		args = append(args, "--kubeconfig", kubeconfig)
	}
	if verb == "check" {
		args = append(args, "--parameters", d.parameters, "--parameters-env", d.variable)
	}
	return args
}

// outcome is how a run of dra-sanity ended.
type outcome struct {
	code           int
	stdout, stderr string
}

func command(t *testing.T, args ...string) outcome {
	t.Helper()
	var stdout, stderr strings.Builder
	c := exec.CommandContext(t.Context(), sanity, args...)
	c.Stdout, c.Stderr = &stdout, &stderr
	err := c.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return outcome{c.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// result is what the JSON report says of a case.
type result struct {
	Name, Outcome, Reason, Log string
	Messages, Notes            []string
}

// report runs dra-sanity and returns how each case ended.
func report(t *testing.T, code int, args ...string) []result {
	t.Helper()
	o := command(t, append(args, "-o", "json")...)
	var parsed struct{ Cases []result }
	if err := json.Unmarshal([]byte(o.stdout), &parsed); err != nil || len(parsed.Cases) == 0 {
		t.Fatalf("%v ended with %d and no report (%v):\n%s%s", args, o.code, err, o.stdout, o.stderr)
	}
	if o.code != code {
		t.Errorf("it ended with %d, expected %d: %s", o.code, code, o.stderr)
	}
	return parsed.Cases
}

// expect compares how the cases ended: all have passed, but those that are named.
func expect(t *testing.T, results []result, failed, notRun []string) {
	t.Helper()
	got := map[string][]string{}
	for _, r := range results {
		if got[r.Outcome] = append(got[r.Outcome], r.Name); r.Outcome == "fail" && !slices.Contains(failed, r.Name) {
			t.Errorf("%s failed:\n%s\n%s", r.Name, strings.Join(r.Messages, "\n"), r.Log)
		}
		if r.Outcome == "not run" && !slices.Contains(notRun, r.Name) {
			t.Errorf("%s was not run: %s", r.Name, r.Reason)
		}
	}
	for outcome, want := range map[string][]string{"fail": failed, "not run": notRun} {
		slices.Sort(got[outcome])
		slices.Sort(want)
		if !slices.Equal(got[outcome], want) {
			t.Errorf("%q are %v, expected %v", outcome, got[outcome], want)
		}
	}
	if unknown := without(got, "pass", "fail", "not run"); len(unknown) > 0 {
		t.Errorf("there are outcomes that nobody knows: %v", unknown)
	}
}

func without(outcomes map[string][]string, known ...string) []string {
	return slices.DeleteFunc(slices.Collect(maps.Keys(outcomes)), func(o string) bool {
		return slices.Contains(known, o)
	})
}
