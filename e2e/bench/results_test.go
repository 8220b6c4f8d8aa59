package main

import (
	"bytes"
	"compress/gzip"
	"errors"
	"flag"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.com/dragoman/e2e/preflight"
	"example.com/dragoman/pkg/sanity/figures"
)

var update = flag.Bool("update", false, "rewrite the golden file")

func page() document {
	r := good()
	r.Began = time.Date(2026, 11, 23, 4, 5, 6, 0, time.UTC)
	r.Kubernetes, r.Program = "v1.34.3", "dra-sanity v0.1.0"
	r.Machine.CPU, r.Machine.Cores, r.Machine.OS, r.Machine.Kernel = "Example 9000", 2, "Debian GNU/Linux 12", "6.1.0"
	r.Machine.Disk = "tmpfs"
	for i := range r.Measurements { // one target is missed
		if r.Measurements[i].Workload == "storm" {
			r.Measurements[i].Latency.Max = 501
		}
	}
	return document{Report: r, Rows: judge(r, smallImage), Versions: versions{"v0.1.0", "abcdef0", "go1.26.8"}}
}

func TestThePageOfResults(t *testing.T) {
	dir := t.TempDir()
	if err := write(dir, page()); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(dir, resultsFile))
	if err != nil {
		t.Fatal(err)
	}
	head, _, found := strings.Cut(string(got), "### ") // the figures are tested where they are written
	if !found {
		t.Error("there are no figures")
	}
	golden := filepath.Join("testdata", "results.md")
	if *update {
		if err := os.WriteFile(golden, []byte(head), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	expected, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if head != string(expected) {
		t.Errorf("this is not %s; if the change is meant, run the tests with -update:\n%s", golden, head)
	}
	if _, err := os.Stat(filepath.Join(dir, plotFile)); err != nil {
		t.Error(err)
	}
}

func TestWhatWasWrittenByHandStays(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, resultsFile)
	if err := write(dir, page()); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const note = "\nThe storm: all of it waits for the API server.\n\n"
	if err := os.WriteFile(path, bytes.Replace(text, []byte(nothing), []byte(note), 1), 0o644); err != nil {
		t.Fatal(err)
	}
	later := page()
	later.Report.Kubernetes = "v1.99.0"
	if err := write(dir, later); err != nil {
		t.Fatal(err)
	}
	if text, err = os.ReadFile(path); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), keptFrom+note+keptTo) || !strings.Contains(string(text), "v1.99.0") {
		t.Errorf("expected the note in new results:\n%s", text)
	}

	without := strings.Replace(string(text), keptTo, "", 1)
	if err := os.WriteFile(path, []byte(without), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := write(dir, later); err == nil || !strings.Contains(err.Error(), "<!-- to here -->") {
		t.Errorf("the end of the note is gone, and the error is %v", err)
	}
	if after, err := os.ReadFile(path); err != nil || string(after) != without {
		t.Errorf("the file was written though its note could not be kept: %v", err)
	}
}

// A program of zeros is packed well, one of chance not at all.
func TestTheImageIsCountedAsItIsPulled(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "dragoman")
	if err := os.WriteFile(program, make([]byte, 1<<20), 0o755); err != nil {
		t.Fatal(err)
	}
	if size, err := imageSize(program); err != nil || size <= 0 || size > 1<<20/100 {
		t.Errorf("1 MiB of zeros: %d, %v", size, err)
	}
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	if _, err := io.Copy(w, io.LimitReader(&counting{}, 1<<20)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, packed.Bytes(), 0o755); err != nil {
		t.Fatal(err)
	}
	if size, err := imageSize(program); err != nil || size < int64(packed.Len()) {
		t.Errorf("%d bytes that are packed already: %d, %v", packed.Len(), size, err)
	}
	if _, err := imageSize(filepath.Join(dir, "nobody")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no program: %v", err)
	}
}

// counting is numbers without an end.
type counting struct{ n uint32 }

func (c *counting) Read(b []byte) (int, error) {
	for i := range b {
		c.n = c.n*1664525 + 1013904223
		b[i] = byte(c.n >> 24)
	}
	return len(b), nil
}

func TestAPageCanDoWithoutAPlot(t *testing.T) {
	dir := t.TempDir()
	d := page()
	if err := write(dir, d); err != nil { // with a plot, of an earlier run
		t.Fatal(err)
	}
	d.Report = without(d.Report, func(m figures.Measurement) bool { return m.Workload == "prepared" })
	if err := write(dir, d); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, resultsFile))
	if err != nil || strings.Contains(string(text), plotFile) || !strings.Contains(string(text), "draw the plot: ") {
		t.Errorf("expected no plot and the reason (%v):\n%s", err, text)
	}
	if _, err := os.Stat(filepath.Join(dir, plotFile)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the plot of an earlier run is still there: %v", err)
	}
}

// published runs the program on a report of an earlier run.
func published(t *testing.T, r figures.Report, results string) (string, error) {
	t.Helper()
	dir := t.TempDir()
	environment, err := preflight.Environment("DRAGOMAN_BIN")
	if err != nil {
		t.Fatal(err)
	}
	var text, stdout bytes.Buffer
	if err := figures.JSON(&text, r); err != nil {
		t.Fatal(err)
	}
	report := filepath.Join(dir, "report.json")
	if err := errors.Join(
		os.WriteFile(report, text.Bytes(), 0o644),
		os.Symlink(environment["DRAGOMAN_BIN"], filepath.Join(dir, "dragoman")),
	); err != nil {
		t.Fatal(err)
	}
	err = run(t.Context(), []string{"--from", report, "--programs", dir, "--results", results}, &stdout, io.Discard)
	return stdout.String(), err
}

func TestResultsAreWrittenAnewFromAReport(t *testing.T) {
	results := t.TempDir()
	stdout, err := published(t, page().Report, results)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(results, resultsFile))
	if err != nil || !strings.Contains(string(text), stdout) || !strings.Contains(stdout, "| RSS idle ") {
		t.Errorf("expected the table of targets, and in the results too (%v):\n%s\n%s", err, stdout, text)
	}
}

func TestResultsWithGapsAreWrittenAndAnError(t *testing.T) {
	results := t.TempDir()
	r := without(page().Report, func(m figures.Measurement) bool { return m.Workload == "storm" })
	if _, err := published(t, r, results); !errors.Is(err, errIncomplete) {
		t.Errorf("the error is %v", err)
	}
	if _, err := os.Stat(filepath.Join(results, resultsFile)); err != nil {
		t.Error(err)
	}
}

func TestABenchThatCannotRunSaysSo(t *testing.T) {
	for name, c := range map[string]struct {
		args     []string
		expected string
	}{
		"no such report":       {[]string{"--from", "nowhere.json"}, "open the report: open nowhere.json"},
		"a word too many":      {[]string{"now"}, `"now" is one too many`},
		"a flag that is none":  {[]string{"--quickly"}, "-quickly"},
		"programs are missing": {[]string{"--programs", t.TempDir()}, "run dra-sanity load"},
	} {
		t.Run(name, func(t *testing.T) {
			err := run(t.Context(), c.args, io.Discard, io.Discard)
			if err == nil || !strings.Contains(err.Error(), c.expected) {
				t.Errorf("the error is %v, expected %q in it", err, c.expected)
			}
		})
	}
}
