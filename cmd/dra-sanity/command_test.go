package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"example.com/dragoman/pkg/sanity/conformance"
	"example.com/dragoman/pkg/sanity/fault"
	"example.com/dragoman/pkg/sanity/load"
	"example.com/dragoman/pkg/sanity/suite"
)

var update = flag.Bool("update", false, "rewrite the lists of cases in the README")

func allCases() map[string][]suite.Case {
	return map[string][]suite.Case{
		"check": conformance.Cases(nil, conformance.Options{}), "fault": fault.Cases(nil, fault.Options{}),
	}
}

func TestTheReadmeListsAllCases(t *testing.T) {
	for verb, cases := range allCases() {
		readme, err := os.ReadFile("README.md")
		if err != nil {
			t.Fatal(err)
		}
		var table strings.Builder
		table.WriteString("| case | promise |\n|---|---|\n")
		for _, c := range cases {
			fmt.Fprintf(&table, "| `%s` | %s |\n", c.Name, c.Promise)
		}
		keep(t, string(readme), verb, table.String())
	}
}

// People write names into their --skip, read promises in reports, and look up sources.
func TestEveryCaseSaysWhatItIs(t *testing.T) {
	seen := map[string]string{}
	for verb, cases := range allCases() {
		for _, c := range cases {
			if !regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`).MatchString(c.Name) {
				t.Errorf("the name %q is not in lower case with hyphens", c.Name)
			}
			if other, twice := seen[c.Name]; twice {
				t.Errorf("%s has a case %s and %s too", other, c.Name, verb)
			}
			seen[c.Name] = verb
			if !strings.HasSuffix(c.Promise, ".") || c.Source == "" || c.Run == nil {
				t.Errorf("the case %s lacks a sentence, a source or what to do: %+v", c.Name, c)
			}
		}
	}
}

func TestTheReadmeListsAllWorkloads(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	var table strings.Builder
	table.WriteString("| workload | what is measured |\n|---|---|\n")
	for _, w := range load.Workloads() {
		fmt.Fprintf(&table, "| `%s` | %s |\n", w.Name, w.About)
	}
	keep(t, string(readme), "load", table.String())
}

// keep keeps a list in the README true, or writes it if the tests run with -update.
func keep(t *testing.T, readme, verb, table string) {
	t.Helper()
	const file = "README.md"
	list := regexp.MustCompile(`(?s)(<!-- ` + verb + `: [^\n]*-->\n).*?(<!-- end -->)`)
	if !list.MatchString(readme) {
		t.Fatalf("%s has no place for the list of %s", file, verb)
	}
	now := list.ReplaceAllString(readme, "${1}"+strings.ReplaceAll(table, "$", "$$")+"${2}")
	if now == readme {
		return
	}
	if !*update {
		t.Fatalf("%s does not list what %s has; run the tests with -update", file, verb)
	}
	if err := os.WriteFile(file, []byte(now), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestWhatCannotBeUnderstoodEndsWithASentence(t *testing.T) {
	running := []string{"check", "--driver", "d.example.com", "--embedded"}
	loading := []string{"load", "--driver", "d.example.com", "--embedded", "--start", "x"}
	cases := map[string]struct {
		args []string
		says []string
	}{
		"nothing":         {nil, []string{"check", "fault", "--help"}},
		"another verb":    {[]string{"chekc"}, []string{`"chekc"`, "check", "--help"}},
		"an unknown flag": {[]string{"check", "--drivers", "x"}, []string{"-drivers", "dra-sanity check --help"}},
		"no flag":         {[]string{"check", "now"}, []string{`"now"`}},
		"a flag of fault": {[]string{"check", "--seed", "1"}, []string{"-seed"}},
		"no driver":       {[]string{"check", "--embedded"}, []string{"--driver"}},
		"no API server":   {[]string{"check", "--driver", "d"}, []string{"--kubeconfig", "--embedded"}},
		"two API servers": {append(running, "--kubeconfig", "x"), []string{"--kubeconfig", "--embedded"}},
		"gates of another API server": {
			[]string{"check", "--driver", "d", "--kubeconfig", "x", "--start", "x", "--feature-gates", "A=true"},
			[]string{"--feature-gates", "--embedded"}},
		"an unknown report":   {append(running, "-o", "yaml"), []string{`"yaml"`, "text", "json", "junit"}},
		"no such case":        {append(running, "--start", "x", "--run", "no-such-case"), []string{"no-such-case", "--list"}},
		"a broken expression": {append(running, "--start", "x", "--skip", "("), []string{"--skip"}},
		"where it runs":       {running, []string{"--start", "--node", "--kubelet-dir", "--cdi-dir"}},
		"how it starts again": {append(running, "--stop", "x"), []string{"--stop", "--start"}},
		"parameters without what they do": {append(running, "--start", "x", "--parameters", "{}"),
			[]string{"--parameters-env"}},
		"load without a driver":            {[]string{"load", "--embedded", "--start", "x"}, []string{"--driver"}},
		"load without an API server":       {[]string{"load", "--driver", "d"}, []string{"--kubeconfig", "--embedded"}},
		"load of a driver that runs":       {loading[:4], []string{"--start", "foreground"}},
		"load with a flag of check":        {append(loading, "--stop", "x"), []string{"-stop", "dra-sanity load --help"}},
		"load with words":                  {append(loading, "now"), []string{`"now"`}},
		"no such workload":                 {append(loading, "--run", "no-such-load"), []string{"no-such-load", "--list"}},
		"no workload left":                 {append(loading, "--skip", "."), []string{"--skip", "--list"}},
		"a broken expression of workloads": {append(loading, "--skip", "("), []string{"--skip"}},
		"a rival of the same name": {append(loading, "--vs", "y", "--vs-driver", "d.example.com"),
			[]string{"--vs-driver", "--driver"}},
		"a rival whose name is too long": {
			append(slices.Clone(loading), "--driver", strings.Repeat("d", 60), "--vs", "y"),
			[]string{"66", "63", "--vs-driver"},
		},
		"changes of a rival that is none": {append(loading, "--vs-change", "y"), []string{"--vs-change", "--vs"}},
		"a report that nobody writes":     {append(loading, "-o", "junit"), []string{`"junit"`, "text", "json"}},
		"numbers that are none":           {append(loading, "--prepared", "0,many"), []string{"-prepared", `"many"`, "0,10"}},
		"no round":                        {append(loading, "--rounds", "0"), []string{"--rounds"}},
		"a delay below none":              {append(loading, "--delay", "-1ms"), []string{"--delay"}},
		"load with a kubeconfig that is not there": {
			[]string{"load", "--driver", "d", "--start", "x", "--kubeconfig", "/nowhere/config"},
			[]string{"/nowhere/config", "no such file"},
		},
		"a kubeconfig that is not there": {
			[]string{"check", "--driver", "d", "--start", "x", "--kubeconfig", "/nowhere/config"},
			[]string{"/nowhere/config", "no such file"},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			if code := command(t.Context(), c.args, &stdout, &stderr); code != exitNotRun {
				t.Errorf("exit code %d, expected %d", code, exitNotRun)
			}
			for _, part := range c.says {
				if !strings.Contains(stderr.String(), part) {
					t.Errorf("it does not say %q: %s", part, stderr.String())
				}
			}
			if strings.Count(stderr.String(), "\n") != 1 || !strings.HasPrefix(stderr.String(), "dra-sanity: ") {
				t.Errorf("it is not one sentence: %s", stderr.String())
			}
			if stdout.Len() > 0 {
				t.Errorf("what is wrong is among the results: %s", stdout.String())
			}
		})
	}
}

func TestWhatNeedsNoDriver(t *testing.T) {
	cases := map[string]struct {
		args []string
		says []string
	}{
		"help":               {[]string{"--help"}, []string{"check", "fault", "load", "Examples", "Exit codes"}},
		"help of check":      {[]string{"check", "--help"}, []string{"--driver NAME", "-o FORMAT", "INSTANCE", "--run"}},
		"help of fault":      {[]string{"fault", "--help"}, []string{"--seed NUMBER", "--cycles NUMBER"}},
		"help of load":       {[]string{"load", "--help"}, []string{"--vs COMMAND", "--prepared NUMBERS", "DEVICES"}},
		"the list of load":   {[]string{"load", "--list"}, []string{"prepared ", "claims-per-call "}},
		"a part of load":     {[]string{"load", "--list", "--run", "^storm$"}, []string{"storm "}},
		"version":            {[]string{"version"}, []string{"\n"}},
		"the list of check":  {[]string{"check", "--list"}, []string{"prepare-again ", "nothing-left "}},
		"the list of fault":  {[]string{"fault", "--list"}, []string{"random-schedule "}},
		"a part of the list": {[]string{"check", "--list", "--run", "^slices-complete$"}, []string{"slices-complete "}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			if code := command(t.Context(), c.args, &stdout, &stderr); code != exitPassed || stderr.Len() > 0 {
				t.Errorf("exit code %d: %s", code, stderr.String())
			}
			for _, part := range c.says {
				if !strings.Contains(stdout.String(), part) {
					t.Errorf("it does not say %q:\n%s", part, stdout.String())
				}
			}
		})
	}
}
