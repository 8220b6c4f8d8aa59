package suite_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.com/dragoman/pkg/sanity/suite"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// told is one result of each kind.
func told() []suite.Result {
	named := func(name string) suite.Case {
		return suite.Case{Name: name, Promise: "Something is promised.", Source: "who promises it"}
	}
	return []suite.Result{
		{Case: named("good"), Outcome: suite.Passed, Duration: 1234 * time.Millisecond},
		{Case: named("good-with-notes"), Outcome: suite.Passed, Notes: []string{"took 3 s", "twice"}},
		{
			Case: named("bad"), Outcome: suite.Failed, Duration: 200 * time.Millisecond, Notes: []string{"tried twice"},
			Messages: []string{"expected <one> & got none", "and another"}, Log: "first line\n\x1b[31mred\x1b[0m line\n",
		},
		{Case: named("unknown"), Outcome: suite.NotRun, Reason: "needs a spoon"},
	}
}

func report(t *testing.T, r suite.Reporter) {
	t.Helper()
	summary := suite.Summary{Passed: 2, Failed: 1, NotRun: 1, Results: told(), Duration: 1500 * time.Millisecond}
	r.Begin(nil)
	for _, result := range summary.Results {
		r.Started(result.Case)
		r.Ended(result)
	}
	if err := r.End(summary); err != nil {
		t.Error(err)
	}
}

func TestReports(t *testing.T) {
	for file, reporter := range map[string]func(*bytes.Buffer) suite.Reporter{
		"report.txt":   func(b *bytes.Buffer) suite.Reporter { return &suite.Text{Out: b} },
		"terminal.txt": func(b *bytes.Buffer) suite.Reporter { return &suite.Text{Out: b, Colour: true} },
		"report.json":  func(b *bytes.Buffer) suite.Reporter { return &suite.JSON{Out: b, Suite: "check"} },
		"report.xml":   func(b *bytes.Buffer) suite.Reporter { return &suite.JUnit{Out: b, Suite: "check"} },
	} {
		t.Run(file, func(t *testing.T) {
			var got bytes.Buffer
			report(t, reporter(&got))
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

// Whatever a driver says, machines can read the report.
func TestReportsAreWellFormed(t *testing.T) {
	var text bytes.Buffer
	report(t, &suite.JSON{Out: &text, Suite: "check"})
	var object map[string]any
	if err := json.Unmarshal(text.Bytes(), &object); err != nil {
		t.Errorf("%v:\n%s", err, text.String())
	}
	text.Reset()
	report(t, &suite.JUnit{Out: &text, Suite: "check"})
	var document struct {
		Cases []struct{} `xml:"testcase"`
	}
	if err := xml.Unmarshal(text.Bytes(), &document); err != nil || len(document.Cases) != len(told()) {
		t.Errorf("%v, %d cases:\n%s", err, len(document.Cases), text.String())
	}
}

// full is a disk without space.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left") }

func TestAReportThatCannotBeWrittenIsAnError(t *testing.T) {
	for name, r := range map[string]suite.Reporter{
		"text": &suite.Text{Out: full{}}, "json": &suite.JSON{Out: full{}}, "junit": &suite.JUnit{Out: full{}},
	} {
		t.Run(name, func(t *testing.T) {
			r.Started(told()[0].Case)
			r.Ended(told()[0])
			if err := r.End(suite.Summary{Results: told()}); err == nil || !strings.Contains(err.Error(), "no space left") {
				t.Errorf("the error is %v", err)
			}
		})
	}
}
