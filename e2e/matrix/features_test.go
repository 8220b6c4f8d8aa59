package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestRecordNotesWhatATestSaysOfAFeature(t *testing.T) {
	t.Parallel()
	dir := module(t, map[string]string{"a": `func TestFeatures(t *testing.T) {
		t.Run("shares", func(t *testing.T) {
			t.Attr("feature", "06 shares")
			t.Attr("kubernetes", "1.37")
			t.Attr("verdict", "works")
			t.Attr("colour", "blue")
			t.Run("step", func(t *testing.T) {})
		})
	}`})
	events, _ := goTest(t, dir, "-json", "./...")
	results, passed, err := follow(strings.NewReader(events), &bytes.Buffer{})
	if err != nil || !passed {
		t.Fatalf("passed %v with %v", passed, err)
	}
	const pkg = "example.com/tested/a"
	expected := []Result{
		{
			Package: pkg, Test: "TestFeatures/shares", Outcome: Passed,
			Shown: Shown{Feature: "06 shares", Kubernetes: "1.37", Verdict: "works"},
		},
		{Package: pkg, Test: "TestFeatures/shares/step", Outcome: Passed},
	}
	if !slices.Equal(results, expected) {
		t.Errorf("results are %+v, expected %+v", results, expected)
	}
}

// saying is a result that says so of a feature on a release.
func saying(feature, release, verdict string) Result {
	return Result{
		Package: "e2e/cluster", Test: "TestFeatures/x", Outcome: Passed,
		Shown: Shown{Feature: feature, Kubernetes: release, Verdict: verdict},
	}
}

func TestCellsSayWhatTheLeastChangedClusterHasShown(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		verdicts []string
		cell     string
	}{
		"what works with default gates works":               {[]string{"works"}, "works"},
		"also where another cluster has it behind a gate":   {[]string{"works A", "works", "lacks A"}, "works"},
		"what works with a gate alone needs that gate":      {[]string{"lacks A", "works A"}, "needs gate `A`"},
		"what works with two gates needs both":              {[]string{"works A B", "lacks A B"}, "needs gates `A`, `B`"},
		"what no cluster has is not there":                  {[]string{"lacks A", "not there"}, "not there"},
		"what the release cannot have in any way is not":    {[]string{"not there"}, "not there"},
		"what nobody looked at is a problem and no verdict": {nil, ""},
		"what is no verdict is a problem":                   {[]string{"perhaps"}, ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cell, err := cellOf(c.verdicts)
			if cell != c.cell || (err != nil) != (c.cell == "") {
				t.Errorf("it is %q with %v, expected %q", cell, err, c.cell)
			}
		})
	}
}

func TestFeatureTable(t *testing.T) {
	t.Parallel()
	example := saying("01 a device", "1.34", "works")
	example.Shown.Example = "01-one-device"
	results := []Result{
		saying("10 groups", "1.37", "works G"), saying("10 groups", "1.100", "works"),
		saying("10 groups", "1.34", "lacks G"), example, saying("01 a device", "1.37", "works"),
		saying("01 a device", "1.100", "works"), {Package: "p", Test: "TestX", Outcome: Passed},
	}
	results[4].Shown.Example, results[5].Shown.Example = "01-one-device", "01-one-device"
	table, problems := featureTable(results)
	expected := "| feature | Kubernetes 1.34 | 1.37 | 1.100 |\n|---|---|---|---|\n" +
		"| [a device](deployments/examples/01-one-device) | works | works | works |\n" +
		"| groups | not there | needs gate `G` | works |\n"
	if table != expected || len(problems) > 0 {
		t.Errorf("the table is\n%s\nwith problems %q, expected\n%s", table, problems, expected)
	}
}

func TestATableIsNotMadeOfWhatFailedOrIsMissing(t *testing.T) {
	t.Parallel()
	failed := saying("02 b", "1.37", "works")
	failed.Outcome = Failed
	skipped := saying("02 b", "1.37", "works")
	skipped.Outcome = Skipped
	for name, results := range map[string][]Result{
		"a test failed":                          {saying("01 a", "1.37", "works"), failed},
		"a test was skipped":                     {saying("01 a", "1.37", "works"), skipped},
		"a release lacks a row that others have": {saying("01 a", "1.37", "works"), saying("02 b", "1.34", "works")},
		"nothing of features":                    {{Package: "p", Test: "TestX", Outcome: Passed}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, problems := featureTable(results); len(problems) == 0 {
				t.Error("it has no problems")
			}
		})
	}
}

func TestTheTableOfAFileIsCheckedAndWritten(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	readme, results := filepath.Join(dir, "README.md"), filepath.Join(dir, "results")
	if err := appendTo(results, []Result{saying("01 a", "1.37", "works")}); err != nil {
		t.Fatal(err)
	}
	write := func(content string) {
		if err := os.WriteFile(readme, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	write("# A file without a table\n")
	if err := run([]string{"features", readme, results}, nil, &out); err == nil || errors.Is(err, errFailed) {
		t.Errorf("a file without the place of the table: %v", err)
	}
	write("before\n" + tableBegins + "| old |\n" + tableEnds + "after\n")
	if err := run([]string{"features", readme, results}, nil, &out); !errors.Is(err, errFailed) {
		t.Errorf("an old table: %v", err)
	}
	if !strings.Contains(out.String(), "| a | works |") {
		t.Errorf("it does not say what would be right:\n%s", out.String())
	}
	if err := run([]string{"features", "-update", readme, results}, nil, &out); err != nil {
		t.Error(err)
	}
	if err := run([]string{"features", readme, results}, nil, &out); err != nil {
		t.Errorf("what it has written itself: %v", err)
	}
	content, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	const table = "| feature | Kubernetes 1.37 |\n|---|---|\n| a | works |\n"
	if expected := "before\n" + tableBegins + table + tableEnds + "after\n"; string(content) != expected {
		t.Errorf("the file is\n%s\nexpected\n%s", content, expected)
	}
}
