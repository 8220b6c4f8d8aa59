package main

import (
	"fmt"
	"slices"
	"strings"

	"example.com/dragoman/pkg/sanity/figures"
)

// view finds measurements in a report.
type view struct{ figures.Report }

// question is what one looks for: measurements of a workload, in which the driver has what is asked for.
type question struct {
	workload, operation string // any operation if it is empty
	rival               bool
	at                  func(figures.Situation) bool // nil for any
	has                 func(figures.Measurement) bool
}

func (v view) all(q question) (found []figures.Measurement) {
	for _, m := range v.Measurements {
		if m.Workload == q.workload && (q.operation == "" || m.Operation == q.operation) && v.isRival(m.Driver) == q.rival &&
			(q.at == nil || q.at(m.Situation)) && q.has(m) {
			found = append(found, m)
		}
	}
	return found
}

// one returns the first; the error says why there is none.
func (v view) one(q question) (figures.Measurement, error) {
	if found := v.all(q); len(found) > 0 {
		return found[0], nil
	}
	return figures.Measurement{}, v.missing(q)
}

// missing says why something is not there, as far as the report says it.
func (v view) missing(q question) error {
	what := strings.TrimSpace(q.workload + " " + q.operation)
	if q.rival {
		what += " of the rival"
	}
	var reasons []string
	for _, n := range v.NotRun {
		if n.Workload == q.workload && (n.Driver == "" || v.isRival(n.Driver) == q.rival) {
			reasons = append(reasons, strings.Join(strings.Fields(n.Reason), " "))
		}
	}
	if len(reasons) == 0 {
		return fmt.Errorf("the report has no such figure of %q", what)
	}
	return fmt.Errorf("%s: %s", what, strings.Join(reasons, "; "))
}

func (v view) isRival(name string) bool {
	return slices.ContainsFunc(v.Drivers, func(d figures.Driver) bool { return d.Name == name && d.Rival })
}

func withPrepared(n int) func(figures.Situation) bool {
	return func(s figures.Situation) bool { return s.Prepared == n }
}

func withDevices(n int) func(figures.Situation) bool {
	return func(s figures.Situation) bool { return s.Devices == n }
}

// An API server that takes 2 ms is in the same room, or a busy one.
func eightClaims(s figures.Situation) bool { return s.Claims == 8 && s.APIDelay == 2 }
func wholeNode(s figures.Situation) bool   { return s.Callers == 110 && s.APIDelay == 2 }

func hasLatency(m figures.Measurement) bool  { return m.Latency != nil }
func hasCPU(m figures.Measurement) bool      { return m.CPU > 0 }
func hasProcess(m figures.Measurement) bool  { return m.Process != nil }
func hasRequests(m figures.Measurement) bool { return m.Requests != nil }

func hasSystemCalls(m figures.Measurement) bool { return m.SystemCalls != nil }

func hasMoment(name string) func(figures.Measurement) bool {
	return func(m figures.Measurement) bool { _, has := m.Moments[name]; return has }
}
