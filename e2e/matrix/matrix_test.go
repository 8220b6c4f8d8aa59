package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// module writes packages with one test file each, and returns their directory.
func module(t *testing.T, packages map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	files := map[string]string{"go.mod": "module example.com/tested\n\ngo 1.26\n"}
	for name, tests := range packages {
		files[name+"/"+name+".go"] = "package " + name + "\n"
		if tests != "" {
			files[name+"/"+name+"_test.go"] = "package " + name + "\n\nimport \"testing\"\n\n" + tests
		}
	}
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// goTest returns what go test says, and whether it was content.
func goTest(t *testing.T, dir string, arguments ...string) (string, bool) {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go", append([]string{"test", "-count=1"}, arguments...)...)
	command.Dir = dir
	var output bytes.Buffer
	command.Stdout, command.Stderr = &output, &output
	err := command.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return output.String(), err == nil
}

var seconds = regexp.MustCompile(`\d+\.\d+s`)

// lines returns the lines of an output in an order of their own, without times and indentation, and without the FAIL
// alone that says what the exit code says.
func lines(output string) []string {
	var all []string
	for line := range strings.Lines(seconds.ReplaceAllString(output, "0s")) {
		if line = strings.TrimSpace(line); line != "FAIL" {
			all = append(all, line)
		}
	}
	slices.Sort(all)
	return all
}

func TestRecordPrintsWhatGoTestPrintsAndTakesItsVerdict(t *testing.T) {
	t.Parallel()
	const passing = `func TestFault03(t *testing.T) { t.Run("a case", func(t *testing.T) { t.Log("not to be seen") }) }`
	cases := map[string]struct {
		packages map[string]string
		passed   bool
	}{
		"all pass": {map[string]string{"a": passing, "b": passing, "none": ""}, true},
		"one subtest fails": {map[string]string{"a": passing, "b": `func TestX(t *testing.T) {
			t.Run("good", func(t *testing.T) { t.Log("not to be seen") })
			t.Run("bad", func(t *testing.T) { t.Error("this is why") })
		}`}, false},
		"one package does not build": {map[string]string{"a": passing, "b": "func TestX(t *testing.T) { x }"}, false},
		"the process ends before its tests": {map[string]string{"a": passing, "b": `import "os"
			func TestMain(m *testing.M) { println("no cluster"); os.Exit(1) }`}, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := module(t, c.packages)
			plain, passed := goTest(t, dir, "./...")
			if passed != c.passed {
				t.Fatalf("go test itself ended with %v:\n%s", passed, plain)
			}
			events, _ := goTest(t, dir, "-json", "./...")
			var out bytes.Buffer
			_, passed, err := follow(strings.NewReader(events), &out)
			if err != nil {
				t.Fatal(err)
			}
			if passed != c.passed {
				t.Errorf("the verdict is %v, expected %v", passed, c.passed)
			}
			if got, want := lines(out.String()), lines(plain); !slices.Equal(got, want) {
				t.Errorf("printed:\n%s\ngo test prints:\n%s", out.String(), plain)
			}
		})
	}
}

func TestRecordNotesCasesAlone(t *testing.T) {
	t.Parallel()
	dir := module(t, map[string]string{"a": `func TestFault03(t *testing.T) {
		t.Run("passes", func(t *testing.T) {})
		t.Run("fails", func(t *testing.T) { t.Error("wrong") })
		t.Run("is skipped", func(t *testing.T) { t.Skip("no root") })
	}
	func TestFault04Panics(t *testing.T) { panic("at the disco") }
	func TestFault05NeverBegan(t *testing.T) {}`})
	events, _ := goTest(t, dir, "-json", "./...")
	var out bytes.Buffer
	results, _, err := follow(strings.NewReader(events), &out)
	if err != nil {
		t.Fatal(err)
	}
	const pkg = "example.com/tested/a"
	expected := []Result{
		{Package: pkg, Test: "TestFault03/passes", Outcome: Passed},
		{Package: pkg, Test: "TestFault03/fails", Outcome: Failed},
		{Package: pkg, Test: "TestFault03/is_skipped", Outcome: Skipped},
		{Package: pkg, Test: "TestFault04Panics", Outcome: Failed},
	}
	if !slices.Equal(results, expected) {
		t.Errorf("results are %v, expected %v", results, expected)
	}
	for _, part := range []string{"no root", "at the disco", "wrong"} {
		if !strings.Contains(out.String(), part) {
			t.Errorf("nobody is told %q:\n%s", part, out.String())
		}
	}
}

func TestAnInputThatIsCutOffIsNotPassed(t *testing.T) {
	t.Parallel()
	const begun = `{"Action":"run","Package":"p","Test":"TestFault01"}` + "\n"
	for name, input := range map[string]string{"nothing at all": "", "no end of the package": begun} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			results, passed, err := follow(strings.NewReader(input), &bytes.Buffer{})
			if err != nil || passed {
				t.Errorf("passed %v with %v", passed, err)
			}
			if input != "" && !slices.Equal(results, []Result{{Package: "p", Test: "TestFault01", Outcome: Failed}}) {
				t.Errorf("results are %v", results)
			}
		})
	}
}

// everything is a passed case for each row at each of its levels.
func everything() (results []Result) {
	packages := map[level]string{
		unit: "example.com/dragoman/pkg/x", process: "example.com/dragoman/e2e/process",
		kind: "example.com/dragoman/e2e/cluster",
	}
	for i, r := range rows() {
		for _, level := range r.levels {
			test := fmt.Sprintf("TestFault%02dX/case", i+1)
			results = append(results, Result{Package: packages[level], Test: test, Outcome: Passed})
		}
	}
	return results
}

func TestTable(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		change      func(all []Result) []Result
		sound, part bool
		says        []string
	}{
		"each row at its levels is 28 of 28": {
			change: func(all []Result) []Result { return all }, sound: true, part: true, says: []string{"faults: 28/28"},
		},
		"a row without a case is not shown": {
			change: func(all []Result) []Result { return all[1:] }, part: true,
			says: []string{"NOT SHOWN AT process", "faults: 27/28"},
		},
		"a row without a case at one of its levels is not shown": {
			change: func(all []Result) []Result {
				return slices.DeleteFunc(all, func(r Result) bool { return levelOf(r.Package) == kind })
			},
			part: true, says: []string{"NOT SHOWN AT kind", "faults: 26/28"},
		},
		"a failed case takes its row": {
			change: func(all []Result) []Result {
				return append(all, Result{Package: "pkg", Test: "TestFault02/bad", Outcome: Failed})
			},
			says: []string{"02 failed: pkg TestFault02/bad", "faults: 27/28"},
		},
		"a skipped case does too": {
			change: func(all []Result) []Result {
				return append(all, Result{Package: "pkg", Test: "TestFault02/lazy", Outcome: Skipped})
			},
			says: []string{"02 skipped: pkg TestFault02/lazy", "faults: 27/28"},
		},
		"a row that there is not is a mistake": {
			change: func(all []Result) []Result {
				return append(all, Result{Package: "pkg", Test: "TestFault29", Outcome: Passed})
			},
			says: []string{"there is no row 29", "faults: 28/28"},
		},
		"a case that ran in two builds has to pass in both": {
			change: func(all []Result) []Result {
				failed := all[1]
				failed.Outcome = Failed
				return append(all, all[0], failed, all[1])
			},
			says: []string{"faults: 27/28", "killed between any two system calls     1      1"},
		},
		"other tests are not counted": {
			change: func(all []Result) []Result {
				return append(all, Result{Package: "pkg", Test: "TestX", Outcome: Failed})
			},
			sound: true, part: true, says: []string{"faults: 28/28"},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			table := tabulate(c.change(everything()))
			if table.sound(false) != c.sound || table.sound(true) != c.part {
				t.Errorf("sound %v, as a part %v", table.sound(false), table.sound(true))
			}
			var out bytes.Buffer
			table.print(&out, false)
			for _, part := range c.says {
				if !strings.Contains(out.String(), part) {
					t.Errorf("the table does not say %q:\n%s", part, out.String())
				}
			}
		})
	}
}

func TestFilesOfSeveralRunsMakeOneTable(t *testing.T) {
	t.Parallel()
	all, dir := everything(), t.TempDir()
	first, second := filepath.Join(dir, "new", "unit"), filepath.Join(dir, "e2e")
	for path, part := range map[string][]Result{first: all[:9], second: all[9:20]} {
		if err := appendTo(path, part); err != nil {
			t.Fatal(err)
		}
	}
	if err := appendTo(second, all[20:]); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := run([]string{"print", first, second}, nil, &out); err != nil {
		t.Errorf("%v:\n%s", err, out.String())
	}
	out.Reset()
	if err := run([]string{"print", first}, nil, &out); !errors.Is(err, errFailed) {
		t.Errorf("one part is taken for all of it (%v):\n%s", err, out.String())
	}
	out.Reset()
	if err := run([]string{"print", "-part", first}, nil, &out); err != nil || strings.Contains(out.String(), "NOT") {
		t.Errorf("one part is not good as a part (%v):\n%s", err, out.String())
	}
	err := run([]string{"print", filepath.Join(dir, "nowhere")}, nil, &out)
	if err == nil || !strings.Contains(err.Error(), "make e2e") {
		t.Errorf("a file that is not there: %v", err)
	}
}
