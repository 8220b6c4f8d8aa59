// Command matrix says what the tests have shown: of the fault table, and of the feature table. A test belongs to a row
// of the fault table by its full name, which holds Fault and two digits; what has no subtests of its own is a case. It
// belongs to a row of the feature table by its attributes (Shown).
//
//	go test -json ./... | matrix record FILE     what "go test ./..." prints, and its verdict; appends to FILE
//	matrix print [-part] FILE…                   the faults; fails unless each row was shown at the levels it asks for
//	matrix features [-update] README FILE…       fails unless the feature table of README says what was shown
//
// The room has more than 500 lines because half of it prints what "go test" would have printed, word for word.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
)

const usage = `the arguments must be one of these:
  go test -json PACKAGES | matrix record FILE   print what go test would print, append the results to FILE
  matrix print [-part] FILE...                  print the fault table; -part: only rows with cases
  matrix features [-update] README FILE...      check the feature table in a file; -update: write it`

// errFailed means that all that is to be said was said already.
var errFailed = errors.New("failed")

func main() {
	err := run(os.Args[1:], os.Stdin, os.Stdout)
	switch {
	case errors.Is(err, errFailed):
		os.Exit(1)
	case err != nil:
		fmt.Fprintln(os.Stderr, "matrix:", err)
		os.Exit(2)
	}
}

func run(args []string, in io.Reader, out io.Writer) error {
	switch {
	case len(args) == 2 && args[0] == "record":
		return record(args[1], in, out)
	case len(args) > 2 && args[0] == "print" && args[1] == "-part":
		return show(args[2:], true, out)
	case len(args) > 1 && args[0] == "print" && args[1] != "-part":
		return show(args[1:], false, out)
	case len(args) > 3 && args[0] == "features" && args[1] == "-update":
		return features(args[2], args[3:], true, out)
	case len(args) > 2 && args[0] == "features" && args[1] != "-update":
		return features(args[1], args[2:], false, out)
	}
	return errors.New(usage)
}

func record(path string, in io.Reader, out io.Writer) error {
	results, passed, err := follow(in, out)
	if err != nil {
		return err
	}
	if err := appendTo(path, results); err != nil {
		return err
	}
	if !passed {
		return errFailed
	}
	return nil
}

func show(paths []string, part bool, out io.Writer) error {
	results, err := readAll(paths)
	if err != nil {
		return err
	}
	t := tabulate(results)
	t.print(out, part)
	if !t.sound(part) {
		return errFailed
	}
	return nil
}
