package main

import (
	"slices"
	"strings"
	"testing"

	"example.com/dragoman/pkg/sanity/figures"
)

const rivalName = "rival.gpu.example.com"

// good is a report in which all targets are met, just so where that can be told.
func good() figures.Report {
	r := figures.Report{Drivers: []figures.Driver{
		{Name: driverName, Command: script}, {Name: rivalName, Command: "./bin/noopdriver", Rival: true},
	}}
	took := func(ms figures.Milliseconds) *figures.Latency {
		return &figures.Latency{Count: 200, P50: ms, P90: 2 * ms, P99: 3 * ms, Max: 4 * ms}
	}
	add := func(workload, operation string, at figures.Situation, m figures.Measurement) {
		m.Workload, m.Operation, m.Situation, m.Driver = workload, operation, at, driverName
		r.Measurements = append(r.Measurements, m)
	}
	for n, ms := range map[int]figures.Milliseconds{0: 0.4, 10: 0.5, 100: 0.5, 1000: 0.5, 10_000: 0.6} {
		add("prepared", "prepare", figures.Situation{Prepared: n}, figures.Measurement{Latency: took(ms)})
		add("prepared", "cycle", figures.Situation{Prepared: n}, figures.Measurement{CPU: 1})
	}
	add("prepared", "prepare", figures.Situation{Prepared: 100}, figures.Measurement{Latency: took(0.25)})
	r.Measurements[len(r.Measurements)-1].Driver = rivalName
	add("claims-per-call", "prepare", figures.Situation{Claims: 8, APIDelay: 2}, figures.Measurement{Latency: took(5)})
	add("storm", "prepare", figures.Situation{Callers: 110, APIDelay: 2}, figures.Measurement{Latency: took(125)})
	for _, n := range []int{10, 1000} {
		add("requests", "cycle", figures.Situation{Prepared: n}, figures.Measurement{
			PerClaim: true, SystemCalls: map[string]float64{"all": 90, "fsync": 0},
		})
	}
	for _, n := range []int{8, 10_000} {
		add("start", "start", figures.Situation{Devices: n}, figures.Measurement{Moments: map[string]figures.Milliseconds{
			"registered": 100, "first slice": 1100, "complete": 10_000,
		}})
		add("slices-back", "wiped, then registered", figures.Situation{Devices: n}, figures.Measurement{
			Moments: map[string]figures.Milliseconds{"complete": 1000},
		})
	}
	many := figures.Situation{Devices: 10_000}
	for operation, n := range map[string]float64{"restart-unchanged": 0, "one": 1, "two": 157} {
		add("slice-writes", operation, many, figures.Measurement{Requests: map[string]float64{"writes": n}})
	}
	many.Callers = 1
	add("prepare-while-publishing", "prepare, while publishing", many, figures.Measurement{Latency: took(100. / 3)})
	add("prepare-while-publishing", "prepare, all published", many, figures.Measurement{Latency: took(1)})
	has := func(bytes int64) figures.Measurement {
		return figures.Measurement{Process: &figures.Process{RSS: bytes}}
	}
	add("footprint", "idle", figures.Situation{}, has(40e6))
	add("footprint", "prepared", figures.Situation{Prepared: 1000}, has(45e6))
	add("start", "idle", figures.Situation{Devices: 10_000}, has(120e6))
	return r
}

const smallImage = 25e6

// each changes the measurements of a report.
func each(r figures.Report, change func(*figures.Measurement)) figures.Report {
	for i := range r.Measurements {
		change(&r.Measurements[i])
	}
	return r
}

// without leaves measurements out.
func without(r figures.Report, out func(figures.Measurement) bool) figures.Report {
	r.Measurements = slices.DeleteFunc(r.Measurements, out)
	return r
}

func TestATargetThatIsJustMetIsMet(t *testing.T) {
	rows := judge(good(), smallImage)
	if len(rows) != 19 {
		t.Errorf("%d rows, expected 19", len(rows))
	}
	for _, r := range rows {
		if r.Met != met {
			t.Errorf("%s, %s: %s: %q", r.Metric, r.Target, r.Measured, r.Met)
		}
	}
}

// Each target is missed by a little more alone.
func TestATargetIsMissedByALittleMore(t *testing.T) {
	type change = func(*figures.Measurement)
	slower := func(workload, operation string, add figures.Milliseconds, at func(figures.Situation) bool) change {
		return func(m *figures.Measurement) {
			if m.Workload == workload && m.Operation == operation && m.Driver == driverName && at(m.Situation) {
				l := *m.Latency
				l.P50, l.P99, l.Max = l.P50+add, l.P99+add, l.Max+add
				m.Latency = &l
			}
		}
	}
	later := func(workload, moment string, devices int) change {
		return func(m *figures.Measurement) {
			if m.Workload == workload && m.Situation.Devices == devices && m.Moments != nil {
				m.Moments[moment] += 10
			}
		}
	}
	anywhere := func(figures.Situation) bool { return true }
	more := func(operation string) change {
		return func(m *figures.Measurement) {
			if m.Workload == "slice-writes" && m.Operation == operation {
				m.Requests["writes"]++
			}
		}
	}
	bigger := func(workload string, at func(figures.Situation) bool) change {
		return func(m *figures.Measurement) {
			if m.Workload == workload && m.Process != nil && at(m.Situation) {
				m.Process.RSS++
			}
		}
	}
	for metric, worsen := range map[string]change{
		"prepare p50, 10,000 claims prepared already": slower("prepared", "prepare", 0.01, withPrepared(10_000)),
		"prepare p50 beside 100 claims":               slower("prepared", "prepare", 0.01, withPrepared(100)),
		"processor time": func(m *figures.Measurement) {
			if m.Situation.Prepared == 1000 && m.CPU > 0 {
				m.CPU += 0.01
			}
		},
		"8 claims in one call": slower("claims-per-call", "prepare", 0.1, anywhere),
		"storm of 110 pods":    slower("storm", "prepare", 1, anywhere),
		"fsyncs": func(m *figures.Measurement) {
			if m.SystemCalls != nil && m.Situation.Prepared == 1000 {
				m.SystemCalls["fdatasync"] = 0.02
			}
		},
		"registration after exec":               later("start", "registered", 8),
		"first slice after exec":                later("start", "first slice", 8),
		"slices back":                           later("slices-back", "complete", 8),
		"the same with 10,000":                  later("slices-back", "complete", 10_000),
		"slice writes, 10,000 devices: restart": more("restart-unchanged"),
		"slice writes, 10,000 devices: one":     more("one"),
		"complete pool of 10,000":               later("start", "complete", 10_000),
		"prepare p99 meanwhile":                 slower("prepare-while-publishing", "prepare, while publishing", 1, anywhere),
		"RSS idle":                              bigger("footprint", withPrepared(0)),
		"RSS with 1,000":                        bigger("footprint", withPrepared(1000)),
		"RSS with 10,000":                       bigger("start", anywhere),
	} {
		t.Run(metric, func(t *testing.T) {
			for _, row := range judge(each(good(), worsen), smallImage) {
				expected := met
				if strings.HasPrefix(row.Metric, metric) {
					expected = missed
				}
				if row.Met != expected {
					t.Errorf("%s, %s: %s: %q, expected %q", row.Metric, row.Target, row.Measured, row.Met, expected)
				}
			}
		})
	}
	t.Run("image", func(t *testing.T) {
		rows := judge(good(), smallImage+1)
		if last := rows[len(rows)-1]; last.Met != missed {
			t.Errorf("%+v", last)
		}
	})
}

func TestWhatWasNotMeasuredIsNotMetAndSaysWhy(t *testing.T) {
	t.Run("nothing at all", func(t *testing.T) {
		rows := judge(without(good(), func(figures.Measurement) bool { return true }), smallImage)
		for _, row := range rows[:len(rows)-1] {
			if row.Met != unknown || row.Measured == "" {
				t.Errorf("%s: %q: %q", row.Metric, row.Measured, row.Met)
			}
		}
	})
	t.Run("with a reason", func(t *testing.T) {
		r := without(good(), func(m figures.Measurement) bool { return m.SystemCalls != nil })
		r.NotRun = []figures.NotRun{
			{Workload: "requests", Driver: rivalName, Reason: "of the other"},
			{Workload: "requests", Reason: "that needs\nstrace"},
		}
		row := judge(r, smallImage)[5]
		if row.Met != unknown || row.Measured != "requests cycle: that needs strace" {
			t.Errorf("%+v", row)
		}
	})
	t.Run("slices back with few devices only", func(t *testing.T) {
		r := without(good(), func(m figures.Measurement) bool {
			return m.Workload == "slices-back" && m.Situation.Devices == manyDevices
		})
		if row := judge(r, smallImage)[9]; row.Met != unknown {
			t.Errorf("%+v", row)
		}
	})
	t.Run("a rival whose clock stood still", func(t *testing.T) {
		r := each(good(), func(m *figures.Measurement) {
			if m.Driver == rivalName {
				m.Latency.P50 = 0
			}
		})
		if row := judge(r, smallImage)[1]; row.Met != unknown {
			t.Errorf("%+v", row)
		}
	})
}
