package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"example.com/dragoman/pkg/sanity/conformance"
	"example.com/dragoman/pkg/sanity/fault"
	"example.com/dragoman/pkg/sanity/suite"
)

var update = flag.Bool("update", false, "rewrite the lists of cases in the README")

func allCases() map[string][]suite.Case {
	return map[string][]suite.Case{
		"check": conformance.Cases(nil, conformance.Options{}), "fault": fault.Cases(nil, fault.Options{}),
	}
}

func TestTheReadmeListsAllCases(t *testing.T) {
	const file = "README.md"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	readme := string(text)
	for verb, cases := range allCases() {
		var table strings.Builder
		table.WriteString("| case | promise |\n|---|---|\n")
		for _, c := range cases {
			fmt.Fprintf(&table, "| `%s` | %s |\n", c.Name, c.Promise)
		}
		list := regexp.MustCompile(`(?s)(<!-- ` + verb + `: [^\n]*-->\n).*?(<!-- end -->)`)
		if !list.MatchString(readme) {
			t.Fatalf("%s has no place for the cases of %s", file, verb)
		}
		readme = list.ReplaceAllString(readme, "${1}"+strings.ReplaceAll(table.String(), "$", "$$")+"${2}")
	}
	if readme == string(text) {
		return
	}
	if !*update {
		t.Fatalf("%s does not list the cases as they are; run the tests with -update", file)
	}
	if err := os.WriteFile(file, []byte(readme), 0o644); err != nil {
		t.Fatal(err)
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

func TestWhatCannotBeUnderstoodEndsWithASentence(t *testing.T) {
	running := []string{"check", "--driver", "d.example.com", "--embedded"}
	cases := map[string]struct {
		args []string
		says []string
	}{
		"nothing":             {nil, []string{"check", "fault", "--help"}},
		"another verb":        {[]string{"chekc"}, []string{`"chekc"`, "check", "--help"}},
		"load":                {[]string{"load"}, []string{"comes later"}},
		"an unknown flag":     {[]string{"check", "--drivers", "x"}, []string{"-drivers", "dra-sanity check --help"}},
		"no flag":             {[]string{"check", "now"}, []string{`"now"`}},
		"a flag of fault":     {[]string{"check", "--seed", "1"}, []string{"-seed"}},
		"no driver":           {[]string{"check", "--embedded"}, []string{"--driver"}},
		"no API server":       {[]string{"check", "--driver", "d"}, []string{"--kubeconfig", "--embedded"}},
		"two API servers":     {append(running, "--kubeconfig", "x"), []string{"--kubeconfig", "--embedded"}},
		"an unknown report":   {append(running, "-o", "yaml"), []string{`"yaml"`, "text", "json", "junit"}},
		"no such case":        {append(running, "--start", "x", "--run", "no-such-case"), []string{"no-such-case", "--list"}},
		"a broken expression": {append(running, "--start", "x", "--skip", "("), []string{"--skip"}},
		"where it runs":       {running, []string{"--start", "--node", "--kubelet-dir", "--cdi-dir"}},
		"how it starts again": {append(running, "--stop", "x"), []string{"--stop", "--start"}},
		"parameters without what they do": {append(running, "--start", "x", "--parameters", "{}"),
			[]string{"--parameters-env"}},
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
