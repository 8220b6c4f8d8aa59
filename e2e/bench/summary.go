package main

import (
	"fmt"
	"strings"

	"example.com/dragoman/pkg/sanity/figures"
)

// summary is a table of what people ask first, of the driver and of the one that does nothing; the README has it too.
func summary(r figures.Report) string {
	v := view{r}
	var b strings.Builder
	b.WriteString("| | dragoman | a driver that does nothing |\n| --- | --- | --- |\n")
	for _, s := range summarised() {
		cells := map[bool][]string{}
		for _, q := range s.of {
			for _, rival := range []bool{false, true} {
				q.rival = rival
				text := "–"
				if m, err := v.one(q.question); err == nil {
					text = q.shown(m)
				}
				cells[rival] = append(cells[rival], text)
			}
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", s.name, strings.Join(cells[false], " / "), strings.Join(cells[true], " / "))
	}
	return b.String()
}

// line is one of the summary.
type line struct {
	name string
	of   []answer
}

// answer is what is shown of a measurement.
type answer struct {
	question
	shown func(figures.Measurement) string
}

func summarised() []line {
	return []line{
		{"prepare beside 10 / 10,000 prepared claims, p50", []answer{preparedP50(10), preparedP50(10_000)}},
		{"the same, p99", []answer{preparedP99(10), preparedP99(10_000)}},
		{"processor time of a prepare and unprepare beside 1,000 claims", []answer{{
			question{workload: "prepared", operation: "cycle", at: withPrepared(1000), has: hasCPU},
			func(m figures.Measurement) string { return m.CPU.String() },
		}}},
		{"8 claims in one call, API server 2 ms away, p50", []answer{{
			question{workload: "claims-per-call", operation: "prepare", at: eightClaims, has: hasLatency}, p50,
		}}},
		{"110 pods at once, API server 2 ms away, the last one", []answer{{
			question{workload: "storm", operation: "prepare", at: wholeNode, has: hasLatency}, slowest,
		}}},
		{"started: registered / first slice", []answer{
			started(fewDevices, "registered"), started(fewDevices, "first slice"),
		}},
		{"started: 10,000 devices published", []answer{started(manyDevices, "complete")}},
		{"10,000 devices published again after a kubelet's restart", []answer{{
			question{
				workload: "slices-back", operation: wipedFirst, at: withDevices(manyDevices), has: hasMoment("complete"),
			},
			func(m figures.Measurement) string { return m.Moments["complete"].String() },
		}}},
		{"writes of slices: restart / one of 10,000 devices changed", []answer{written("restart-unchanged"), written("one")}},
		{"fsyncs of a prepare and unprepare", []answer{{
			question{workload: "requests", operation: "cycle", has: hasSystemCalls},
			func(m figures.Measurement) string { n, _ := m.Flushes(); return fmt.Sprintf("%g", n) },
		}}},
		{"memory (RSS): idle / 1,000 claims prepared / 10,000 devices", []answer{
			{idle(), memory}, {thousandHeld(), memory}, {manyPublished(), memory},
		}},
	}
}

func preparedP50(n int) answer {
	return answer{question{workload: "prepared", operation: "prepare", at: withPrepared(n), has: hasLatency}, p50}
}

func preparedP99(n int) answer {
	a := preparedP50(n)
	a.shown = func(m figures.Measurement) string { return m.Latency.P99.String() }
	return a
}

func started(devices int, moment string) answer {
	return answer{
		question{workload: "start", operation: "start", at: withDevices(devices), has: hasMoment(moment)},
		func(m figures.Measurement) string { return m.Moments[moment].String() },
	}
}

func written(operation string) answer {
	return answer{
		question{workload: "slice-writes", operation: operation, at: withDevices(manyDevices), has: hasRequests},
		func(m figures.Measurement) string { return fmt.Sprintf("%g", m.Requests["writes"]) },
	}
}

func p50(m figures.Measurement) string     { return m.Latency.P50.String() }
func slowest(m figures.Measurement) string { return m.Latency.Max.String() }
func memory(m figures.Measurement) string  { return figures.Bytes(m.Process.RSS) }
