package main

import (
	"fmt"
	"math"
	"strings"

	"example.com/dragoman/pkg/sanity/figures"
)

// target is a promise, in figures. It is met if what was measured is not above the limit.
type target struct {
	metric, asked string
	limit         float64
	// measure returns the figure that is compared with the limit, and what people are to see of it; an error if it is
	// not there.
	measure func(view) (figure float64, shown string, err error)
}

// verdict is what became of a target.
type verdict string

const (
	met     verdict = "yes"
	missed  verdict = "no"
	unknown verdict = "not measured"
)

// row is a target in the results.
type row struct {
	Metric, Target, Measured string
	Met                      verdict
}

// judge holds a report against the targets.
func judge(r figures.Report, image int64) (rows []row) {
	targets := append(prepareTargets(), publishTargets()...)
	targets = append(targets, sizeTargets(image)...)
	for _, t := range targets {
		one := row{Metric: t.metric, Target: t.asked}
		figure, shown, err := t.measure(view{r})
		switch {
		case err != nil:
			one.Measured, one.Met = err.Error(), unknown
		case figure <= t.limit:
			one.Measured, one.Met = shown, met
		default:
			one.Measured, one.Met = shown, missed
		}
		rows = append(rows, one)
	}
	return rows
}

// tableOf is for people, on a terminal too: what is longer than most has no column of its own.
func tableOf(rows []row) string {
	const columns = "| %-60s | %-12s | %-11s | %s |\n"
	var b strings.Builder
	fmt.Fprintf(&b, columns, "metric", "met", "target", "measured")
	fmt.Fprintf(&b, columns, strings.Repeat("-", 60), strings.Repeat("-", 12), strings.Repeat("-", 11), "---")
	for _, r := range rows {
		fmt.Fprintf(&b, columns, r.Metric, r.Met, r.Target, strings.ReplaceAll(r.Measured, "|", `\|`))
	}
	return b.String()
}

const ms = 1 // the unit of times here

func prepareTargets() []target {
	return []target{
		{"prepare p50, 10,000 claims prepared already, over 10", "≤ 1.2 ×", 1.2, growth},
		{"prepare p50 beside 100 claims, over that of the no-op driver", "≤ 2 ×", 2, overNothing},
		{"processor time of prepare + unprepare beside 1,000 claims", "≤ 1 ms", 1 * ms, processorTime},
		{"8 claims in one call, API delay 2 ms: p50", "≤ 5 ms", 5 * ms, severalClaims},
		{"storm of 110 pods, API delay 2 ms: the last one", "≤ 0.5 s", 500 * ms, lastPod},
		{"fsyncs per prepare + unprepare", "0", 0, fsyncs},
	}
}

// latency is that of a prepare beside so many prepared claims.
func latency(v view, prepared int, rival bool) (figures.Latency, error) {
	m, err := v.one(question{
		workload: "prepared", operation: "prepare", rival: rival, at: withPrepared(prepared), has: hasLatency,
	})
	if err != nil {
		return figures.Latency{}, err
	}
	return *m.Latency, nil
}

// growth shows that of the rival too, if it is there: what both have in common is the API server's, or the machine's.
func growth(v view) (float64, string, error) {
	ours, shown, err := p50Growth(v, false)
	if err != nil {
		return 0, "", err
	}
	if _, its, err := p50Growth(v, true); err == nil {
		shown += "; the no-op driver " + its
	}
	return ours, shown, nil
}

func p50Growth(v view, rival bool) (float64, string, error) {
	many, err := latency(v, 10_000, rival)
	if err != nil {
		return 0, "", err
	}
	few, err := latency(v, 10, rival)
	if err != nil {
		return 0, "", err
	}
	return over(many.P50, few.P50)
}

func overNothing(v view) (float64, string, error) {
	ours, err := latency(v, 100, false)
	if err != nil {
		return 0, "", err
	}
	least, err := latency(v, 100, true)
	if err != nil {
		return 0, "", err
	}
	return over(ours.P50, least.P50)
}

func over(a, b figures.Milliseconds) (float64, string, error) {
	if b <= 0 {
		return 0, "", fmt.Errorf("%s can be compared with nothing: the other figure is %s", a, b)
	}
	ratio := float64(a / b)
	return ratio, fmt.Sprintf("%.2f × (%s over %s)", ratio, a, b), nil
}

func processorTime(v view) (float64, string, error) {
	m, err := v.one(question{workload: "prepared", operation: "cycle", at: withPrepared(1000), has: hasCPU})
	return float64(m.CPU), m.CPU.String(), err
}

func severalClaims(v view) (float64, string, error) {
	m, err := v.one(question{workload: "claims-per-call", operation: "prepare", at: eightClaims, has: hasLatency})
	if err != nil {
		return 0, "", err
	}
	return float64(m.Latency.P50), fmt.Sprintf("%s (p99 %s)", m.Latency.P50, m.Latency.P99), nil
}

func lastPod(v view) (float64, string, error) {
	m, err := v.one(question{workload: "storm", operation: "prepare", at: wholeNode, has: hasLatency})
	if err != nil {
		return 0, "", err
	}
	return float64(m.Latency.Max), fmt.Sprintf("%s (p50 %s)", m.Latency.Max, m.Latency.P50), nil
}

// fsyncs are the most beside any number of prepared claims.
func fsyncs(v view) (float64, string, error) {
	q := question{workload: "requests", operation: "cycle", has: hasSystemCalls}
	found := v.all(q)
	if len(found) == 0 {
		return 0, "", v.missing(q)
	}
	most := math.Inf(-1)
	for _, m := range found {
		n, _ := m.Flushes()
		most = max(most, n)
	}
	return most, fmt.Sprintf("%g, of %.0f system calls", most, found[0].SystemCalls["all"]), nil
}
