package figures_test

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.com/dragoman/pkg/sanity/figures"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestWritten(t *testing.T) {
	alone := example()
	alone.Drivers, alone.NotRun = alone.Drivers[:1], nil
	var kept []figures.Measurement
	for _, m := range alone.Measurements {
		if m.Driver == mine {
			kept = append(kept, m)
		}
	}
	alone.Measurements = kept
	for file, c := range map[string]struct {
		write  func(io.Writer, figures.Report) error
		report figures.Report
	}{
		"report.txt":  {figures.Text, example()},
		"alone.txt":   {figures.Text, alone},
		"report.json": {figures.JSON, example()},
		"plot.svg":    {figures.SVG, example()},
	} {
		t.Run(file, func(t *testing.T) {
			var got bytes.Buffer
			if err := c.write(&got, c.report); err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", file)
			if *update {
				if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			expected, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got.Bytes(), expected) {
				t.Errorf("this is not %s; if the change is meant, run the tests with -update:\n%s", golden, got.String())
			}
		})
	}
}

// full is a disk without space.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left") }

func TestAReportThatCannotBeWrittenIsAnError(t *testing.T) {
	for name, write := range map[string]func(io.Writer, figures.Report) error{
		"text": figures.Text, "json": figures.JSON, "plot": figures.SVG,
	} {
		t.Run(name, func(t *testing.T) {
			if err := write(full{}, example()); err == nil || !strings.Contains(err.Error(), "no space left") {
				t.Errorf("the error is %v", err)
			}
		})
	}
}
