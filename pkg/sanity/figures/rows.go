package figures

import (
	"cmp"
	"fmt"
	"slices"
)

// row is what was measured in one situation, of the driver and of its rival.
type row struct {
	situation     Situation
	operation     string
	driver, other []Measurement
}

// rows are those of a workload, in the order in which they were measured first.
func (r Report) rows(workload string) (rows []row) {
	rivals := map[string]bool{}
	for _, d := range r.Drivers {
		rivals[d.Name] = d.Rival
	}
	for _, m := range r.Measurements {
		if m.Workload != workload {
			continue
		}
		i := slices.IndexFunc(rows, func(r row) bool { return r.situation == m.Situation && r.operation == m.Operation })
		if i < 0 {
			i, rows = len(rows), append(rows, row{situation: m.Situation, operation: m.Operation})
		}
		if rivals[m.Driver] {
			rows[i].other = append(rows[i].other, m)
		} else {
			rows[i].driver = append(rows[i].driver, m)
		}
	}
	return rows
}

// condition is one thing that a situation says.
type condition struct {
	name string // of its column
	of   func(Situation) string
}

func conditions() []condition {
	whole := func(n int) string { return fmt.Sprint(n) }
	return []condition{
		{"prepared", func(s Situation) string { return whole(s.Prepared) }},
		{"devices", func(s Situation) string { return whole(s.Devices) }},
		{"claims per call", func(s Situation) string { return whole(s.Claims) }},
		{"callers", func(s Situation) string { return whole(s.Callers) }},
		{"claims/s asked", func(s Situation) string { return number(s.Rate) }},
		{"API delay", func(s Situation) string { return count(float64(s.APIDelay)) + " ms" }},
	}
}

// split divides what situations say into what differs between them, and what holds for all and is worth saying.
func split(rows []row) (differ, same []condition) {
	var nothing Situation
	for _, c := range conditions() {
		first := c.of(rows[0].situation)
		switch {
		case slices.ContainsFunc(rows, func(r row) bool { return c.of(r.situation) != first }):
			differ = append(differ, c)
		case first != c.of(nothing):
			same = append(same, c)
		}
	}
	return differ, same
}

// figure is a number of a measurement: a column.
type figure struct {
	name    string
	of      func(Measurement) (float64, bool) // false if it was not measured
	written func(float64) string
	rival   comparison
}

// comparison is what stands beside a driver's figure.
type comparison int

const (
	alone  comparison = iota // nothing: it is the same for both
	beside                   // the rival's
	ratio                    // the rival's, and the driver's over the rival's
)

// in finds the figure among measurements of one situation.
func (f figure) in(all []Measurement) (float64, bool) {
	for _, m := range all {
		if v, measured := f.of(m); measured {
			return v, true
		}
	}
	return 0, false
}

func (f figure) text(all []Measurement) string {
	v, measured := f.in(all)
	if !measured {
		return none
	}
	return f.written(v)
}

// measured says whether the figure is there of the driver or of its rival.
func (f figure) measured(r row) bool {
	_, ofDriver := f.in(r.driver)
	_, ofOther := f.in(r.other)
	return ofDriver || ofOther
}

// over is the driver's figure by the rival's.
func (f figure) over(r row) string {
	a, measured := f.in(r.driver)
	b, compared := f.in(r.other)
	if !measured || !compared || b == 0 {
		return none
	}
	return number(a / b)
}

func latencyFigures() []figure {
	duration := func(name string, rival comparison, of func(Latency) Milliseconds) figure {
		return figure{name, func(m Measurement) (float64, bool) {
			if m.Latency == nil {
				return 0, false
			}
			return float64(of(*m.Latency)), true
		}, milliseconds, rival}
	}
	return []figure{
		{"calls", func(m Measurement) (float64, bool) {
			if m.Latency == nil {
				return 0, false
			}
			return float64(m.Latency.Count), true
		}, count, alone},
		duration("p50", ratio, func(l Latency) Milliseconds { return l.P50 }),
		duration("p90", beside, func(l Latency) Milliseconds { return l.P90 }),
		duration("p99", ratio, func(l Latency) Milliseconds { return l.P99 }),
		duration("max", beside, func(l Latency) Milliseconds { return l.Max }),
		{"claims/s", func(m Measurement) (float64, bool) { return m.Throughput, m.Throughput != 0 }, number, ratio},
	}
}

func processFigures() []figure {
	process := func(name string, of func(Process) float64, written func(float64) string) figure {
		return figure{name, func(m Measurement) (float64, bool) {
			if m.Process == nil {
				return 0, false
			}
			return of(*m.Process), true
		}, written, beside}
	}
	size := func(v float64) string { return Bytes(int64(v)) }
	return []figure{
		{"CPU per claim", func(m Measurement) (float64, bool) { return float64(m.CPU), m.CPU != 0 }, milliseconds, ratio},
		process("RSS", func(p Process) float64 { return float64(p.RSS) }, size),
		process("peak RSS", func(p Process) float64 { return float64(p.PeakRSS) }, size),
		process("anonymous", func(p Process) float64 { return float64(p.Anonymous) }, size),
		process("open files", func(p Process) float64 { return float64(p.OpenFiles) }, count),
		process("threads", func(p Process) float64 { return float64(p.Threads) }, count),
	}
}

// momentFigures are the moments of a workload, the earliest first.
func momentFigures(rows []row) (all []figure) {
	latest := map[string]Milliseconds{}
	var names []string
	for _, r := range rows {
		for _, m := range append(slices.Clone(r.driver), r.other...) {
			for name, moment := range m.Moments {
				if _, known := latest[name]; !known {
					names = append(names, name)
				}
				latest[name] = max(latest[name], moment)
			}
		}
	}
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(latest[a], latest[b]), cmp.Compare(a, b))
	})
	for _, name := range names {
		all = append(all, figure{name, func(m Measurement) (float64, bool) {
			moment, measured := m.Moments[name]
			return float64(moment), measured
		}, milliseconds, ratio})
	}
	return all
}

// systemCallFigures are two: each name of its own is in the JSON.
func systemCallFigures() []figure {
	return []figure{
		{"system calls", func(m Measurement) (float64, bool) {
			v, measured := m.SystemCalls["all"]
			return v, measured
		}, count, ratio},
		{"flushes to disk", func(m Measurement) (float64, bool) { return m.Flushes() }, count, beside},
	}
}

func milliseconds(v float64) string { return Milliseconds(v).String() }
