package main

import (
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// table is the fault table with what the tests have shown of it.
type table struct {
	lines    []line
	problems []string // cases that did not pass, and rows that there are not
}

// line is one row.
type line struct {
	row
	cases, passed int
	at            map[level]int // cases that passed at each level
}

var rowOfTest = regexp.MustCompile(`Fault(\d\d)`)

// tabulate counts each case once for every row that its name holds.
func tabulate(results []Result) table {
	var t table
	for _, r := range rows() {
		t.lines = append(t.lines, line{row: r, at: map[level]int{}})
	}
	for _, r := range once(results) {
		for _, number := range numbersIn(r.Test) {
			if number < 1 || number > len(t.lines) {
				t.problems = append(t.problems, fmt.Sprintf("%s %s: there is no row %02d", r.Package, r.Test, number))
				continue
			}
			l := &t.lines[number-1]
			l.cases++
			if r.Outcome == Passed {
				l.passed++
				l.at[levelOf(r.Package)]++
				continue
			}
			t.problems = append(t.problems, fmt.Sprintf("%02d %s: %s %s", number, r.Outcome, r.Package, r.Test))
		}
	}
	return t
}

// once makes one case of a test that ran in several builds; it passed if it did in all of them.
func once(results []Result) (cases []Result) {
	index := map[string]int{}
	for _, r := range results {
		name := r.Package + " " + r.Test
		i, known := index[name]
		switch {
		case !known:
			index[name] = len(cases)
			cases = append(cases, r)
		case r.Outcome != Passed:
			cases[i] = r
		}
	}
	return cases
}

func numbersIn(test string) (numbers []int) {
	for _, match := range rowOfTest.FindAllStringSubmatch(test, -1) {
		number, err := strconv.Atoi(match[1])
		if err == nil && !slices.Contains(numbers, number) {
			numbers = append(numbers, number)
		}
	}
	return numbers
}

// missing returns the levels at which the row still has to be shown.
func (l line) missing() (levels []string) {
	for _, level := range l.levels {
		if l.at[level] == 0 {
			levels = append(levels, string(level))
		}
	}
	return levels
}

func (l line) shown() bool { return l.cases == l.passed && len(l.missing()) == 0 }

func (t table) shown() (n int) {
	for _, l := range t.lines {
		if l.shown() {
			n++
		}
	}
	return n
}

// sound says whether there is nothing to be done: of a part that all of its cases passed.
func (t table) sound(part bool) bool {
	return len(t.problems) == 0 && (part || t.shown() == len(t.lines))
}

func (t table) print(out io.Writer, part bool) {
	columns := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(columns, "row\tfault\tcases\tpassed\tshown at")
	touched := 0
	for i, l := range t.lines {
		if part && l.cases == 0 {
			continue
		}
		touched++
		fmt.Fprintf(columns, "%2d\t%s\t%d\t%d\t%s\n", i+1, l.fault, l.cases, l.passed, l.where(part))
	}
	_ = columns.Flush() // who does not want to read it may still want the verdict
	for _, problem := range t.problems {
		fmt.Fprintln(out, problem)
	}
	if part {
		fmt.Fprintf(out, "faults: cases for %d of %d rows in this part\n", touched, len(t.lines))
		return
	}
	fmt.Fprintf(out, "faults: %d/%d\n", t.shown(), len(t.lines))
}

// where names the levels with their cases, and those that lack one unless other parts may have it.
func (l line) where(part bool) string {
	var words []string
	for _, level := range []level{unit, process, kind} {
		if n := l.at[level]; n > 0 {
			words = append(words, fmt.Sprintf("%s %d", level, n))
		}
	}
	if missing := l.missing(); len(missing) > 0 && !part {
		words = append(words, "NOT SHOWN AT "+strings.Join(missing, ", "))
	}
	return strings.Join(words, ", ")
}
