package main

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// update writes the golden files of this package anew.
var update = flag.Bool("update", false, "write the golden files anew")

// asProgram is set in the environment of a process that shall be the program, and not its tests.
const asProgram = "KUBECTL_DRA_AS_PROGRAM"

// TestMain keeps the tests away from whatever cluster the machine knows.
func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	flag.Parse()
	_ = os.Setenv("KUBECONFIG", filepath.Join(os.TempDir(), "no such kubeconfig"))
	_ = os.Unsetenv("KUBERNETES_SERVICE_HOST")
	os.Exit(m.Run())
}

// called is what somebody sees who calls "kubectl dra" with args: stdout, stderr, exit code.
func called(t *testing.T, args ...string) (out, errOut string, code int) {
	t.Helper()
	return coloured(t, false, args...)
}

// coloured is what somebody sees whose terminal has colours, or has none.
func coloured(t *testing.T, colours bool, args ...string) (out, errOut string, code int) {
	t.Helper()
	streams, _, stdout, stderr := genericiooptions.NewTestIOStreams()
	in := invocation{name: "/usr/local/bin/kubectl-dra", args: args, streams: streams}
	s := newSession(in)
	s.colours = colours
	code = s.run(t.Context(), in)
	return stdout.String(), stderr.String(), code
}

// golden compares got with a file below testdata, or writes the file with -update.
func golden(t *testing.T, path, got string) {
	t.Helper()
	path = filepath.Join("testdata", path)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("read golden file (-update writes it): %v", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs (- file, + now):\n%s", path, diff)
	}
}
