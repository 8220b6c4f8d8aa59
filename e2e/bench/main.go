// Command bench measures dragoman with "dra-sanity load", beside a driver that does nothing (e2e/noopdriver), and
// writes RESULTS.md: the machine, each target with what was measured, and all figures. "make bench" runs it.
//
// A target that is missed is a result, and ends with 0: the tables say so. What could not be measured ends with 2.
//
// The room is larger than others because it is a list too: a function for each target, a judgement for each count.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"example.com/dragoman/pkg/sanity/figures"
)

// errIncomplete means that the results are written, and that some of them are missing.
var errIncomplete = errors.New("not all could be measured; the table of targets says what, and why")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	programs := flags.String("programs", "bin", "`directory` of dragoman, dra-sanity and noopdriver, and for the report")
	results := flags.String("results", "e2e/bench", "`directory` for RESULTS.md and latency.svg")
	from := flags.String("from", "", "measure nothing, but write the results anew from this report (a `file`)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("there are no arguments besides flags: %q is one too many; see --help", flags.Arg(0))
	}
	report := *from
	var failed error
	if report == "" {
		report = filepath.Join(*programs, "bench.json")
		if failed = measure(ctx, *programs, report, stderr); ctx.Err() != nil {
			return failed
		}
	}
	measured, err := read(report)
	if err != nil {
		return errors.Join(failed, err)
	}
	return errors.Join(failed, publish(measured, *programs, *results, stdout))
}

func read(path string) (figures.Report, error) {
	file, err := os.Open(path)
	if err != nil {
		return figures.Report{}, fmt.Errorf("open the report: %w", err)
	}
	defer file.Close()
	return figures.Read(file)
}

// publish writes the results, and prints what came out of the targets.
func publish(r figures.Report, programs, results string, stdout io.Writer) error {
	driver := filepath.Join(programs, "dragoman")
	size, err := imageSize(driver)
	if err != nil {
		return err
	}
	about, err := versionsOf(driver)
	if err != nil {
		return err
	}
	rows := judge(r, size)
	if err := write(results, document{Report: r, Rows: rows, Versions: about}); err != nil {
		return err
	}
	fmt.Fprint(stdout, tableOf(rows))
	for _, row := range rows {
		if row.Met == unknown {
			return errIncomplete
		}
	}
	return nil
}
