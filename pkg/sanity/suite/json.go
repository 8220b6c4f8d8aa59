package suite

import (
	"encoding/json"
	"fmt"
	"io"
)

// JSON reports one object when all cases have ended.
type JSON struct {
	Out io.Writer
	// Suite names what was run: "check".
	Suite string
}

// report is what JSON writes. Fields are added, never changed.
type report struct {
	Suite   string       `json:"suite"`
	Passed  int          `json:"passed"`
	Failed  int          `json:"failed"`
	NotRun  int          `json:"notRun"`
	Seconds float64      `json:"seconds"`
	Cases   []caseReport `json:"cases"`
}

type caseReport struct {
	Name     string   `json:"name"`
	Promise  string   `json:"promise"`
	Source   string   `json:"source"`
	Outcome  Outcome  `json:"outcome"`
	Seconds  float64  `json:"seconds"`
	Messages []string `json:"messages,omitempty"`
	Reason   string   `json:"reason,omitempty"`
	Notes    []string `json:"notes,omitempty"`
	Log      string   `json:"log,omitempty"`
}

// Begin says nothing.
func (j *JSON) Begin([]Case) {}

// Started says nothing.
func (j *JSON) Started(Case) {}

// Ended says nothing.
func (j *JSON) Ended(Result) {}

// End writes the object.
func (j *JSON) End(s Summary) error {
	out := report{
		Suite: j.Suite, Passed: s.Passed, Failed: s.Failed, NotRun: s.NotRun, Seconds: s.Duration.Seconds(),
		Cases: []caseReport{},
	}
	for _, r := range s.Results {
		out.Cases = append(out.Cases, caseReport{
			Name: r.Case.Name, Promise: r.Case.Promise, Source: r.Case.Source, Outcome: r.Outcome,
			Seconds: r.Duration.Seconds(), Messages: r.Messages, Reason: r.Reason, Notes: r.Notes, Log: r.Log,
		})
	}
	encoder := json.NewEncoder(j.Out)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(out); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}
