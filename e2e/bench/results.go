package main

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"text/template"

	"example.com/dragoman/pkg/sanity/figures"
)

const (
	resultsFile = "RESULTS.md"
	plotFile    = "latency.svg"
	// What is between these lines is written by people, and stays.
	keptFrom = "<!-- written by hand, kept by make bench: from here -->\n"
	keptTo   = "<!-- to here -->\n"
	nothing  = "\nNothing is written here yet.\n\n"
)

//go:embed results.md.tmpl
var layout string

// document is what RESULTS.md says.
type document struct {
	Report   figures.Report
	Rows     []row
	Versions versions

	Kept   string // by hand
	Plot   string // the file; "" if there is none, because of NoPlot
	NoPlot string
}

// Date is when the figures were measured.
func (d document) Date() string { return d.Report.Began.Format("2006-01-02 15:04 UTC") }

// Targets is the table of targets.
func (d document) Targets() string { return tableOf(d.Rows) }

// Summary is what people ask first.
func (d document) Summary() string { return summary(d.Report) }

// Missed is how many of the targets are not met.
func (d document) Missed() (n int) {
	for _, r := range d.Rows {
		if r.Met != met {
			n++
		}
	}
	return n
}

// Figures are all of them.
func (d document) Figures() (string, error) {
	var b bytes.Buffer
	err := figures.Text(&b, d.Report)
	return b.String(), err
}

// The template asks for these.
func (document) KeptFrom() string { return keptFrom }
func (document) KeptTo() string   { return keptTo }

// write writes the document and its plot into a directory; what was written there by hand stays.
func write(dir string, d document) error {
	path := filepath.Join(dir, resultsFile)
	var err error
	if d.Kept, err = kept(path); err != nil {
		return err
	}
	if err := d.draw(filepath.Join(dir, plotFile)); err != nil {
		return err
	}
	page, err := template.New(resultsFile).Parse(layout)
	if err != nil {
		return fmt.Errorf("write the results: %w", err)
	}
	var text bytes.Buffer
	if err := page.Execute(&text, d); err != nil {
		return fmt.Errorf("write the results: %w", err)
	}
	if err := os.WriteFile(path, text.Bytes(), 0o644); err != nil {
		return fmt.Errorf("write the results: %w", err)
	}
	return nil
}

// draw writes the plot. If there is nothing to draw, the page says so, and that of an earlier run goes.
func (d *document) draw(path string) error {
	var plot bytes.Buffer
	if err := figures.SVG(&plot, d.Report); err != nil {
		d.NoPlot = err.Error()
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove the plot of an earlier run: %w", err)
		}
		return nil
	}
	if err := os.WriteFile(path, plot.Bytes(), 0o644); err != nil {
		return fmt.Errorf("write the plot: %w", err)
	}
	d.Plot = plotFile
	return nil
}

// kept is what somebody wrote into the results before. To lose it because a line was changed would be a pity, so
// results without the lines around it are an error.
func kept(path string) (string, error) {
	before, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nothing, nil
	} else if err != nil {
		return "", fmt.Errorf("read the last results: %w", err)
	}
	_, rest, begins := strings.Cut(string(before), keptFrom)
	text, _, ends := strings.Cut(rest, keptTo)
	if !begins || !ends {
		return "", fmt.Errorf("keep what was written by hand in %s: the lines %q and %q are not there; "+
			"put them back, or remove the file", path, strings.TrimSpace(keptFrom), strings.TrimSpace(keptTo))
	}
	return text, nil
}
