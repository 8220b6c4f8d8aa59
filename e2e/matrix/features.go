package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Shown is what a test says, by its attributes, of a part of the DRA API on the cluster that it ran on.
type Shown struct {
	Feature    string `json:"feature"`           // its place in the table, and its name
	Example    string `json:"example,omitempty"` // the folder that is about it
	Kubernetes string `json:"kubernetes"`        // 1.34
	// Verdict is "works", with the gates after it that had to be turned on; "lacks", with the gates that are off; or
	// "not there".
	Verdict string `json:"verdict"`
}

// set takes an attribute of a test. Those of other meanings are ignored.
func (s *Shown) set(key, value string) {
	to := map[string]*string{
		"feature": &s.Feature, "example": &s.Example, "kubernetes": &s.Kubernetes, "verdict": &s.Verdict,
	}[key]
	if to != nil {
		*to = value
	}
}

// The lines of a file between which the table stands.
const (
	tableBegins = "<!-- The feature table: \"make features-table\" writes it from the results of the tests. -->\n"
	tableEnds   = "<!-- End of the feature table. -->\n"
)

// features checks that the table in a file says what the results say; with update it writes it.
func features(path string, results []string, update bool, out io.Writer) error {
	all, err := readAll(results)
	if err != nil {
		return err
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read the file with the feature table: %w", err)
	}
	table, problems := featureTable(all)
	for _, problem := range problems {
		fmt.Fprintln(out, problem)
	}
	if len(problems) > 0 {
		return errFailed
	}
	wanted, err := replaceTable(content, table)
	if err != nil {
		return fmt.Errorf("find the feature table of %s: %w", path, err)
	}
	if bytes.Equal(content, wanted) {
		fmt.Fprintf(out, "features: %s says what the tests have shown\n", path)
		return nil
	}
	if update {
		if err := os.WriteFile(path, wanted, 0o644); err != nil { //nolint:gosec // it is a README
			return fmt.Errorf("write the feature table: %w", err)
		}
		return nil
	}
	fmt.Fprintf(out, "features: %s does not say what the tests have shown. \"make features-table\" writes this:\n%s",
		path, table)
	return errFailed
}

// replaceTable puts the table between its two lines.
func replaceTable(content []byte, table string) ([]byte, error) {
	before, rest, begins := bytes.Cut(content, []byte(tableBegins))
	_, after, ends := bytes.Cut(rest, []byte(tableEnds))
	if !begins || !ends {
		return nil, fmt.Errorf("it must stand between the lines\n%s%s", tableBegins, tableEnds)
	}
	return slices.Concat(before, []byte(tableBegins), []byte(table), []byte(tableEnds), after), nil
}

// featureTable is the table of features and releases, and what keeps it from being one.
func featureTable(results []Result) (table string, problems []string) {
	shown := map[string]map[string][]string{} // feature -> release -> verdicts
	example := map[string]string{}
	var releases []string
	for _, r := range results {
		s := r.Shown
		if s == (Shown{}) {
			continue
		}
		if r.Outcome != Passed {
			problems = append(problems, fmt.Sprintf("%s on Kubernetes %s: %s %s", s.Feature, s.Kubernetes, r.Test, r.Outcome))
		}
		if shown[s.Feature] == nil {
			shown[s.Feature] = map[string][]string{}
		}
		shown[s.Feature][s.Kubernetes] = append(shown[s.Feature][s.Kubernetes], s.Verdict)
		example[s.Feature] = s.Example
		if !slices.Contains(releases, s.Kubernetes) {
			releases = append(releases, s.Kubernetes)
		}
	}
	if len(shown) == 0 {
		return "", append(problems, "the results say nothing of features")
	}
	slices.SortFunc(releases, func(a, b string) int { return minorOf(a) - minorOf(b) })
	var b strings.Builder
	line := strings.Repeat("|---", len(releases))
	fmt.Fprintf(&b, "| feature | Kubernetes %s |\n|---%s|\n", strings.Join(releases, " | "), line)
	for _, feature := range sortedKeys(shown) {
		_, name, _ := strings.Cut(feature, " ")
		if folder := example[feature]; folder != "" {
			name = fmt.Sprintf("[%s](deployments/examples/%s)", name, folder)
		}
		fmt.Fprintf(&b, "| %s |", name)
		for _, release := range releases {
			cell, err := cellOf(shown[feature][release])
			if err != nil {
				problems = append(problems, fmt.Sprintf("%s on Kubernetes %s: %v", feature, release, err))
			}
			fmt.Fprintf(&b, " %s |", cell)
		}
		b.WriteString("\n")
	}
	return b.String(), problems
}

func sortedKeys[V any](m map[string]V) (keys []string) {
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// minorOf is the 34 of 1.34.
func minorOf(release string) int {
	_, minor, _ := strings.Cut(release, ".")
	n, err := strconv.Atoi(minor)
	if err != nil {
		return 0
	}
	return n
}

// cellOf says in few words what several clusters of one release have shown: the one that was changed least counts.
func cellOf(verdicts []string) (string, error) {
	if len(verdicts) == 0 {
		return "", errors.New(`no cluster of this release was tested for it ("make e2e features" tests all)`)
	}
	var gates []string
	for _, verdict := range verdicts {
		what, which, _ := strings.Cut(verdict, " ")
		switch {
		case verdict == "works":
			return verdict, nil
		case what == "works":
			gates = strings.Fields(which)
		case what != "lacks" && verdict != "not there":
			return "", fmt.Errorf("a test said %q of it", verdict)
		}
	}
	switch len(gates) {
	case 0:
		return "not there", nil
	case 1:
		return "needs gate `" + gates[0] + "`", nil
	}
	return "needs gates `" + strings.Join(gates, "`, `") + "`", nil
}
