// Command matrix says which rows of the fault table the tests have shown. A test belongs to a row by its full name,
// which holds Fault and two digits. What has no subtests of its own is a case.
//
//	go test -json ./... | matrix record FILE     what "go test ./..." prints, and its verdict; appends to FILE
//	matrix print [-part] FILE…                   the table; fails unless each row was shown at the levels it asks for
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
  matrix print [-part] FILE...                  print the fault table; -part: only rows with cases`

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
