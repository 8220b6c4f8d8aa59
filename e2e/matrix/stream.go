package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
)

// event is one line of "go test -json"; see "go doc test2json".
type event struct {
	Action, Package, ImportPath, Test, Output string
	Key, Value                                string // of an attribute
	Elapsed                                   float64
}

// stream turns the events of "go test -json" back into what "go test" prints without it, and collects the results.
type stream struct {
	out      io.Writer
	packages map[string]*progress
	ended    int  // packages
	failed   bool // any of them, or a build
}

// progress is what is known of a package whose tests run.
type progress struct {
	tests  map[string]*test
	order  []string // in which they began
	output []string // of no test: ends with the package's closing line
}

type test struct {
	output []string
	result Outcome // empty while it runs
	shown  Shown   // of a feature, if it is about one
}

// follow reads until the end. It says whether all passed: an input without the end of any package did not.
func follow(in io.Reader, out io.Writer) (results []Result, passed bool, err error) {
	s := &stream{out: out, packages: map[string]*progress{}}
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			results = append(results, s.line(line)...)
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, false, fmt.Errorf("read the events of go test: %w", err)
		}
	}
	for name, p := range s.packages { // those of which the end never came
		results = append(results, s.end(name, p, Failed)...)
	}
	return results, s.ended > 0 && !s.failed, nil
}

// line takes one line, and returns the results of a package that ended with it.
func (s *stream) line(line []byte) []Result {
	var e event
	if !bytes.HasPrefix(line, []byte("{")) || json.Unmarshal(line, &e) != nil {
		s.print(string(line)) // the go command itself said something
		return nil
	}
	switch {
	case e.Action == "build-output":
		s.print(e.Output)
		return nil
	case e.Action == "build-fail":
		s.failed = true
		return nil
	case e.Package == "":
		return nil
	}
	p := s.packages[e.Package]
	if p == nil {
		p = &progress{tests: map[string]*test{}}
		s.packages[e.Package] = p
	}
	if e.Test != "" {
		p.note(e)
		return nil
	}
	switch e.Action {
	case "output":
		p.output = append(p.output, e.Output)
	case "pass", "skip", "fail":
		return s.end(e.Package, p, outcomeOf(e.Action))
	}
	return nil
}

// note takes what happens in a test.
func (p *progress) note(e event) {
	t := p.tests[e.Test]
	if t == nil {
		t = &test{}
		p.tests[e.Test] = t
		p.order = append(p.order, e.Test)
	}
	switch e.Action {
	case "output":
		if !strings.HasPrefix(e.Output, "=== ") {
			t.output = append(t.output, e.Output)
		}
	case "attr":
		t.shown.set(e.Key, e.Value)
	case "pass", "skip", "fail":
		t.result = outcomeOf(e.Action)
	}
}

// end prints what is to be said of a package, its closing line last, and returns its results.
func (s *stream) end(name string, p *progress, outcome Outcome) (results []Result) {
	delete(s.packages, name)
	s.ended++
	s.failed = s.failed || outcome == Failed
	for _, test := range p.order {
		t := p.tests[test]
		if t.result == "" { // it ran when the process died
			t.result = Failed
		}
		// A skipped test looks like one that passed; here it does not.
		if t.result != Passed {
			s.print(verdictFirst(t.output)...)
		}
		if p.isLeaf(test) || t.shown != (Shown{}) {
			results = append(results, Result{Package: name, Test: test, Outcome: t.result, Shown: t.shown})
		}
	}
	closing := len(p.output)
	for closing > 0 && !isClosing(p.output[closing-1]) {
		closing--
	}
	for i, line := range p.output {
		if outcome == Failed || i == closing-1 || outcome == Skipped {
			s.print(line)
		}
	}
	return results
}

// verdictFirst puts the line with the test's name before what the test said, as go test does.
func verdictFirst(output []string) []string {
	isVerdict := func(line string) bool { return strings.HasPrefix(strings.TrimLeft(line, " "), "--- ") }
	i := slices.IndexFunc(output, isVerdict)
	if i < 0 {
		return output
	}
	return slices.Concat(output[i:i+1], output[:i], output[i+1:])
}

// isLeaf says whether a test has no subtests. Its subtests begin after it.
func (p *progress) isLeaf(name string) bool {
	for _, other := range p.order {
		if strings.HasPrefix(other, name+"/") {
			return false
		}
	}
	return true
}

func isClosing(line string) bool {
	return strings.HasPrefix(line, "ok  \t") || strings.HasPrefix(line, "FAIL\t") || strings.HasPrefix(line, "?   \t")
}

func (s *stream) print(lines ...string) {
	for _, line := range lines {
		_, _ = io.WriteString(s.out, line) // who does not want to read it may still want the verdict
	}
}
