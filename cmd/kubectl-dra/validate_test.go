package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestValidateAnswersOnTheCommandLine(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		code int
	}{
		"good":            {[]string{"-f", "testdata/validate/good.yaml"}, 0},
		"bad":             {[]string{"-f", "testdata/validate/bad.yaml"}, 1},
		"bad-json":        {[]string{"-f", "testdata/validate/bad.yaml", "-o", "json"}, 1},
		"folder":          {[]string{"-f", "testdata/validate"}, 1},
		"old":             {[]string{"-f", "testdata/validate/good.yaml", "--kubernetes", "1.34"}, 0},
		"nothing":         {[]string{"-f", "testdata/validate/other.yaml"}, 2},
		"no-file":         {[]string{"-f", "testdata/validate/none.yaml"}, 2},
		"unknown-version": {[]string{"-f", "testdata/validate/good.yaml", "--kubernetes", "1.33"}, 2},
		"no-gate":         {[]string{"-f", "testdata/validate/good.yaml", "--feature-gates", "DRADeviceTaints=maybe"}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			out, errOut, code := called(t, append([]string{"validate"}, c.args...)...)
			if code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			golden(t, filepath.Join("validate", name+".golden"), out+"--- stderr\n"+errOut)
		})
	}
}

func TestTheExamplesAreValid(t *testing.T) {
	folders, err := filepath.Glob("../../deployments/examples/*")
	if err != nil || len(folders) < 10 {
		t.Fatalf("%d folders with examples: %v", len(folders), err)
	}
	for _, folder := range folders {
		if info, err := os.Stat(folder); err != nil || !info.IsDir() {
			continue
		}
		files, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			out, errOut, code := called(t, "validate", "-f", file)
			// What somebody else reads, such as the values of a chart, is not for us to judge.
			if code != 0 && !strings.Contains(errOut, "no object in it of which anything is known") &&
				!strings.Contains(out, "apiVersion: must say what the object is") {
				t.Errorf("%s: exit code %d\n%s%s", file, code, out, errOut)
			}
		}
	}
}
