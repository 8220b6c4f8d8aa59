package figures

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// Text writes the report for people: one section for each workload, the rival's figures beside the driver's, and the
// ratio of the two. The tables are Markdown too. Latencies are of calls; p99 is the time within which 99 of 100 ended.
func Text(w io.Writer, r Report) error {
	var b strings.Builder
	r.head(&b)
	for _, workload := range r.workloads() {
		fmt.Fprintf(&b, "\n### %s\n", workload)
		rows := r.rows(workload)
		r.section(&b, "latency", rows, latencyFigures())
		r.section(&b, "time since the beginning", rows, momentFigures(rows))
		r.section(&b, "the driver's process", rows, processFigures())
		r.section(&b, "system calls per claim", rows, systemCallFigures())
		r.requests(&b, rows)
	}
	if len(r.NotRun) > 0 {
		b.WriteString("\n### Not measured\n\n")
	}
	for _, n := range r.NotRun {
		fmt.Fprintf(&b, "- %s%s: %s\n", n.Workload, r.whose(n.Driver), strings.Join(strings.Fields(n.Reason), " "))
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

func (r Report) head(b *strings.Builder) {
	m := r.Machine
	fmt.Fprintf(b, "%s, took %s. ", r.Began.Format("2006-01-02 15:04 UTC"), r.Took)
	fmt.Fprintf(b, "Machine: %s, %d cores, %d GiB, %s, Linux %s, the driver's directories on %s. ",
		m.CPU, m.Cores, m.Memory>>10, m.OS, m.Kernel, m.Disk)
	fmt.Fprintf(b, "Kubernetes %s, %s.\n\n", r.Kubernetes, r.Program)
	for _, d := range r.Drivers {
		role := "driver"
		if d.Rival {
			role = "rival"
		}
		fmt.Fprintf(b, "- %s `%s`: `%s`\n", role, d.Name, d.Command)
	}
	if r.rival() {
		b.WriteString("\nA ratio is the driver's figure over the rival's.\n")
	}
}

// workloads are those with a measurement, in the order in which they were measured.
func (r Report) workloads() (names []string) {
	for _, m := range r.Measurements {
		if !slices.Contains(names, m.Workload) {
			names = append(names, m.Workload)
		}
	}
	return names
}

func (r Report) whose(driver string) string {
	for _, d := range r.Drivers {
		if d.Name == driver && d.Rival {
			return ", rival"
		}
	}
	return ""
}

// rival says whether there is one.
func (r Report) rival() bool {
	return slices.ContainsFunc(r.Drivers, func(d Driver) bool { return d.Rival })
}

// section prints the figures that were measured at all, and the rows that have one of them.
func (r Report) section(b *strings.Builder, title string, rows []row, all []figure) {
	var figures []figure
	for _, f := range all {
		if slices.ContainsFunc(rows, f.measured) {
			figures = append(figures, f)
		}
	}
	rows = slices.DeleteFunc(slices.Clone(rows), func(r row) bool {
		return !slices.ContainsFunc(figures, func(f figure) bool { return f.measured(r) })
	})
	if len(rows) == 0 {
		return
	}
	t, caption := begin(title, rows)
	for _, f := range figures {
		t.header = append(t.header, f.name)
		if r.rival() && f.rival != alone {
			t.header = append(t.header, "rival")
		}
		if r.rival() && f.rival == ratio {
			t.header = append(t.header, "ratio")
		}
	}
	for i, row := range rows {
		for _, f := range figures {
			t.rows[i] = append(t.rows[i], f.text(row.driver))
			if r.rival() && f.rival != alone {
				t.rows[i] = append(t.rows[i], f.text(row.other))
			}
			if r.rival() && f.rival == ratio {
				t.rows[i] = append(t.rows[i], f.over(row))
			}
		}
	}
	fmt.Fprintf(b, "\n%s\n\n%s", caption, t)
}

// begin is a table with the columns that say which situation a row is of; the caption says what holds for all.
func begin(title string, rows []row) (t table, caption string) {
	differ, same := split(rows)
	for _, c := range differ {
		t.header = append(t.header, c.name)
	}
	t.header = append(t.header, "operation")
	t.left = len(t.header)
	for _, row := range rows {
		var cells []string
		for _, c := range differ {
			cells = append(cells, c.of(row.situation))
		}
		t.rows = append(t.rows, append(cells, row.operation))
	}
	caption = strings.ToUpper(title[:1]) + title[1:]
	for i, c := range same {
		separator := ", "
		if i == 0 {
			separator = "; "
		}
		caption += separator + c.name + " " + c.of(rows[0].situation)
	}
	return t, caption + ":"
}

// requests prints those to the API server, by name, for each claim or of all the operation.
func (r Report) requests(b *strings.Builder, rows []row) {
	for _, perClaim := range []bool{true, false} {
		asked := func(all []Measurement) string { return requests(all, perClaim) }
		some := slices.DeleteFunc(slices.Clone(rows), func(r row) bool {
			return asked(r.driver) == none && asked(r.other) == none
		})
		if len(some) == 0 {
			continue
		}
		title := "requests to the API server"
		if perClaim {
			title += " per claim"
		}
		t, caption := begin(title, some)
		t.header = append(t.header, "driver")
		if r.rival() {
			t.header = append(t.header, "rival")
		}
		t.left = len(t.header)
		for i, row := range some {
			t.rows[i] = append(t.rows[i], asked(row.driver))
			if r.rival() {
				t.rows[i] = append(t.rows[i], asked(row.other))
			}
		}
		fmt.Fprintf(b, "\n%s\n\n%s", caption, t)
	}
}

// requests says them in a line; if they were counted and there was none, it says so.
func requests(all []Measurement, perClaim bool) string {
	for _, m := range all {
		if m.Requests == nil || m.PerClaim != perClaim {
			continue
		}
		var parts []string
		for _, name := range slices.Sorted(maps.Keys(m.Requests)) {
			if m.Requests[name] != 0 {
				parts = append(parts, count(m.Requests[name])+" "+name)
			}
		}
		if len(parts) == 0 {
			return "no requests"
		}
		return strings.Join(parts, ", ")
	}
	return none
}
