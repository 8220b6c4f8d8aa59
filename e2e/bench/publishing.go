package main

import (
	"fmt"
	"math"
	"strings"

	"example.com/dragoman/pkg/sanity/figures"
)

// wipedFirst is the usual order: a kubelet deletes the slices as it starts, and then finds the driver.
const wipedFirst = "wiped, then registered"

const (
	fewDevices  = 8      // of the node whose start is judged
	manyDevices = 10_000 // of the node whose publishing is judged
)

func publishTargets() []target {
	return []target{
		{"registration after exec", "≤ 0.1 s", 100 * ms, startMoment(fewDevices, "registered")},
		{"first slice after exec", "≤ 1.1 s", 1100 * ms, startMoment(fewDevices, "first slice")},
		{"slices back after a wipe at re-registration", "≤ 1 s", 1000 * ms, slicesBack(1, manyDevices-1)},
		{"the same with 10,000 devices", "≤ 1 s", 1000 * ms, slicesBack(manyDevices, manyDevices)},
		{"slice writes, 10,000 devices: restart, nothing changed", "0", 0, writes("restart-unchanged")},
		{"slice writes, 10,000 devices: one of them changed", "1", 1, writes("one")},
		{
			// The DRA library writes all 157.
			"slice writes, 10,000 devices: two in two slices changed", "any, best 2", math.Inf(1), writes("two"),
		},
		{"complete pool of 10,000 devices, after exec", "≤ 10 s", 10_000 * ms, startMoment(manyDevices, "complete")},
		{
			// With the limits that clients have by default, each request would wait 200 ms.
			"prepare p99 meanwhile: not throttled", "≤ 100 ms", 100 * ms, meanwhile,
		},
	}
}

func startMoment(devices int, moment string) func(view) (float64, string, error) {
	return func(v view) (float64, string, error) {
		m, err := v.one(question{workload: "start", operation: "start", at: withDevices(devices), has: hasMoment(moment)})
		return float64(m.Moments[moment]), m.Moments[moment].String(), err
	}
}

// slicesBack is the slowest with at least and at most so many devices.
func slicesBack(least, most int) func(view) (float64, string, error) {
	return func(v view) (float64, string, error) {
		q := question{workload: "slices-back", operation: wipedFirst, has: hasMoment("complete")}
		var slowest figures.Milliseconds
		var shown []string
		for _, m := range v.all(q) {
			if m.Situation.Devices < least || m.Situation.Devices > most {
				continue
			}
			slowest = max(slowest, m.Moments["complete"])
			shown = append(shown, fmt.Sprintf("%d devices %s", m.Situation.Devices, m.Moments["complete"]))
		}
		if shown == nil {
			return 0, "", v.missing(q)
		}
		return float64(slowest), strings.Join(shown, ", "), nil
	}
}

// writes are those that the API server has stored.
func writes(operation string) func(view) (float64, string, error) {
	return func(v view) (float64, string, error) {
		m, err := v.one(question{
			workload: "slice-writes", operation: operation, at: withDevices(manyDevices), has: hasRequests,
		})
		if err != nil {
			return 0, "", err
		}
		n := m.Requests["writes"]
		return n, fmt.Sprintf("%g", n), nil
	}
}

func meanwhile(v view) (float64, string, error) {
	at := withDevices(manyDevices)
	busy, err := v.one(question{
		workload: "prepare-while-publishing", operation: "prepare, while publishing", at: at, has: hasLatency,
	})
	if err != nil {
		return 0, "", err
	}
	quiet, err := v.one(question{
		workload: "prepare-while-publishing", operation: "prepare, all published", at: at, has: hasLatency,
	})
	if err != nil {
		return 0, "", err
	}
	return float64(busy.Latency.P99), fmt.Sprintf("%s (p50 %s; when all is published p99 %s, p50 %s)",
		busy.Latency.P99, busy.Latency.P50, quiet.Latency.P99, quiet.Latency.P50), nil
}
