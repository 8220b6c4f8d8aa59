package main

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"example.com/dragoman/pkg/sanity/figures"
)

// sound is a short run in which all is as it must be, just so.
func sound() figures.Report {
	r := figures.Report{Drivers: []figures.Driver{{Name: driverName, Command: script}}}
	add := func(workload, operation string, at figures.Situation, m figures.Measurement) {
		m.Workload, m.Operation, m.Situation, m.Driver = workload, operation, at, driverName
		m.PerClaim = workload == "requests"
		r.Measurements = append(r.Measurements, m)
	}
	for _, n := range []int{few, many} {
		at := figures.Situation{Prepared: n}
		for _, operation := range []string{"prepare", "prepare-again"} {
			add("requests", operation, at, figures.Measurement{
				Requests: map[string]float64{"get resourceclaims": 1, "patch resourceclaims/status": 0.7}})
		}
		add("requests", "unprepare", at, figures.Measurement{Requests: map[string]float64{"patch resourceclaims/status": 2}})
	}
	add("requests", "cycle", figures.Situation{Prepared: few}, figures.Measurement{
		SystemCalls: map[string]float64{"all": 90, "openat": 20, "futex": 3, "fsync": 0},
	})
	add("requests", "cycle", figures.Situation{Prepared: many}, figures.Measurement{
		SystemCalls: map[string]float64{"all": 99, "openat": 20.5, "futex": 11, "fsync": 0, "pread64": 0.1, "newfstatat": 40},
	})
	add("prepared", "cycle", figures.Situation{Prepared: few}, figures.Measurement{CPU: 0.6})
	add("prepared", "cycle", figures.Situation{Prepared: many}, figures.Measurement{CPU: 0.89})
	add("start", "start", figures.Situation{Devices: 200}, figures.Measurement{Requests: map[string]float64{
		"get nodes": 1, "list resourceslices": 1, "watch resourceslices": 1, "create resourceslices (dry run)": 2,
		"create resourceslices": 4,
	}})
	tried := map[string]float64{"get nodes": 1, "create resourceslices (dry run)": 2}
	for operation, written := range map[string]map[string]float64{
		"restart-unchanged": tried,
		"one":               {"writes": 1, "update resourceslices": 1},
		"two":               {"writes": 2, "update resourceslices": 2},
		"shuffle":           {},
		"back-from-shuffle": {},
	} {
		add("slice-writes", operation, figures.Situation{Devices: 200}, figures.Measurement{Requests: written})
	}
	return r
}

func TestASoundRunHasNothingBroken(t *testing.T) {
	for _, problem := range append(broken(sound()), grown(sound())...) {
		t.Error(problem)
	}
}

func TestEachBrokenCountIsFound(t *testing.T) {
	of := func(workload, operation string, prepared int, change func(*figures.Measurement)) func(*figures.Measurement) {
		return func(m *figures.Measurement) {
			if m.Workload == workload && m.Operation == operation && m.Situation.Prepared == prepared {
				m.Requests, m.SystemCalls = maps.Clone(m.Requests), maps.Clone(m.SystemCalls)
				change(m)
			}
		}
	}
	request := func(name string, n float64) func(*figures.Measurement) {
		return func(m *figures.Measurement) { m.Requests[name] = n }
	}
	call := func(name string, n float64) func(*figures.Measurement) {
		return func(m *figures.Measurement) { m.SystemCalls[name] = n }
	}
	for name, c := range map[string]struct {
		change   func(*figures.Measurement)
		expected string
	}{
		"a second GET": {
			of("requests", "prepare", many, request("get resourceclaims", 2)), "prepare beside 1000 claims makes the requests",
		},
		"the status written again and again": {
			of("requests", "unprepare", many, request("patch resourceclaims/status", 2.1)),
			"unprepare beside 1000 claims makes the requests",
		},
		"another request beside": {
			of("requests", "unprepare", many, request("update resourceclaims/status", 0.1)),
			"unprepare beside 1000 claims makes the requests",
		},
		"no GET, from a cache that may be wrong": {
			of("requests", "prepare-again", few, func(m *figures.Measurement) { clear(m.Requests) }), "prepare-again beside 10",
		},
		"an event for some claims": {
			of("requests", "prepare", few, request("create events", 0.1)), "create events:0.1",
		},
		"unprepare asks the API server": {
			of("requests", "unprepare", few, request("get resourceclaims", 1)), "unprepare beside 10",
		},
		"an fsync": {of("requests", "cycle", few, call("fdatasync", 1)), "wait 1 times for a disk"},
		"files that are opened for each other claim": {
			of("requests", "cycle", many, call("openat", 1010)), "1010 calls of openat",
		},
		"a new kind of file call": {of("requests", "cycle", many, call("renameat", 1)), "1 calls of renameat"},
		"time that grows with claims": {
			of("prepared", "cycle", many, func(m *figures.Measurement) { m.CPU = 1.21 }), "at most 2 times",
		},
		"a list of pods at the start": {
			of("start", "start", 0, request("list pods", 1)), `requests "list pods"; expected at most 0`,
		},
		"a second list at the start": {
			of("start", "start", 0, request("list resourceslices", 2)), "expected at most 1",
		},
		"slices written twice": {
			of("start", "start", 0, request("create resourceslices", 5)), "expected at most 4",
		},
		"a write without a change": {
			of("slice-writes", "restart-unchanged", 0, request("writes", 1)), "restart-unchanged comes to 1",
		},
		"a try that stores nothing": {
			of("slice-writes", "shuffle", 0, request("update resourceslices", 1)), "1 were asked for",
		},
		"a change that nobody hears": {
			of("slice-writes", "one", 0, func(m *figures.Measurement) { clear(m.Requests) }), "one comes to 0",
		},
		"all slices for two of them": {of("slice-writes", "two", 0, request("writes", 4)), "two comes to 4"},
		"writes as the order changes": {
			of("slice-writes", "back-from-shuffle", 0, request("writes", 4)), "back-from-shuffle comes",
		},
		"slices are deleted, not kept": {
			of("slice-writes", "one", 0, request("delete resourceslices", 1)), "2 were asked for",
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := each(sound(), c.change)
			problems := append(broken(r), grown(r)...)
			if len(problems) != 1 || !strings.Contains(problems[0], c.expected) {
				t.Errorf("expected one problem with %q, got %q", c.expected, problems)
			}
		})
	}
}

func TestWhatWasNotCountedIsBroken(t *testing.T) {
	for _, m := range sound().Measurements {
		t.Run(m.Workload+" "+m.Operation, func(t *testing.T) {
			r := without(sound(), func(other figures.Measurement) bool {
				return other.Workload == m.Workload && other.Operation == m.Operation && other.Situation == m.Situation
			})
			r.NotRun = []figures.NotRun{{Workload: m.Workload, Driver: driverName, Reason: "of a reason"}}
			// One of the counts is needed twice.
			problems := slices.Compact(append(broken(r), grown(r)...))
			if len(problems) != 1 || !strings.Contains(problems[0], "of a reason") {
				t.Errorf("expected one problem, with the reason, got %q", problems)
			}
		})
	}
}
