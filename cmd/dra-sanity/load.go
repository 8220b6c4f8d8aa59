package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"example.com/dragoman/pkg/sanity/figures"
	"example.com/dragoman/pkg/sanity/load"
)

// loadRequest is what the command line of "dra-sanity load" asks for.
type loadRequest struct {
	driver, rival       load.Side
	server              serverChoice
	delay               time.Duration
	prepared, devices   counts
	rounds              int
	seed                uint64
	runExpression, skip string
	list, verbose       bool
	output, json, svg   string

	workloads []load.Workload
}

func newLoadRequest() *loadRequest {
	return &loadRequest{
		rival:    load.Side{Rival: true},
		prepared: counts{0, 10, 100, 1000, 10000}, devices: counts{8, 64, 1000, 10000},
	}
}

func (r *loadRequest) flags() *flag.FlagSet {
	flags := flagSet("load")
	flags.StringVar(&r.driver.Driver, "driver", "", "`NAME` of the driver, as in its ResourceSlices")
	flags.StringVar(&r.driver.Start, "start", "", "`COMMAND` for sh that is the driver, in the foreground. It publishes "+
		"DRA_SANITY_DEVICES devices, if it can")
	flags.StringVar(&r.driver.Change, "change", "", "`COMMAND` for sh that changes the devices of the driver that runs "+
		"as DRA_SANITY_CHANGE says: one, two,\nshuffle or back; without it, such changes are not measured")
	flags.StringVar(&r.rival.Start, "vs", "", "`COMMAND` for sh that is another driver, to compare with: the two are "+
		"measured in turns")
	flags.StringVar(&r.rival.Driver, "vs-driver", "", "`NAME` of that driver (default: rival.DRIVER)")
	flags.StringVar(&r.rival.Change, "vs-change", "", "`COMMAND` that changes the devices of that driver")
	r.server.flags(flags)
	flags.DurationVar(&r.delay, "delay", 2*time.Millisecond, "`TIME` that answers of the API server take longer, where a "+
		"workload has a delay (default 2ms)")
	flags.Var(&r.prepared, "prepared", "`NUMBERS` of claims that are prepared already (default "+r.prepared.String()+")")
	flags.Var(&r.devices, "devices", "`NUMBERS` of devices to publish (default "+r.devices.String()+")")
	flags.IntVar(&r.rounds, "rounds", 200, "`NUMBER` of times that a call is measured (default 200)")
	flags.Uint64Var(&r.seed, "seed", 1, "`NUMBER` from which the moments are drawn at which claims come in the open\n"+
		"loop (default 1)")
	flags.StringVar(&r.runExpression, "run", "", "`REGEXP` of the names of workloads to run")
	flags.StringVar(&r.skip, "skip", "", "`REGEXP` of the names of workloads not to run")
	flags.BoolVar(&r.list, "list", false, "print the workloads and run none")
	flags.StringVar(&r.output, "o", "text", "`FORMAT` of the report: text or json")
	flags.StringVar(&r.json, "json", "", "`FILE` for the report as JSON, besides")
	flags.StringVar(&r.svg, "svg", "", "`FILE` for a plot of latency against prepared claims, as SVG, besides")
	flags.BoolVar(&r.verbose, "v", false, "show what the drivers say, on standard error")
	return flags
}

// loadEnvironment is what commands of load find in their environment, besides what all commands find.
const loadEnvironment = " Under load also DEVICES, the number of devices to publish, and for --change\nCHANGE."

// measure does "dra-sanity load".
func measure(ctx context.Context, args []string, stdout, stderr io.Writer) (int, error) {
	r := newLoadRequest()
	flags := r.flags()
	switch err := r.parse(flags, args); {
	case errors.Is(err, flag.ErrHelp):
		return print(stdout, usage("load", loadEnvironment, flags))
	case err != nil:
		return 0, fmt.Errorf(`%w; "dra-sanity load --help" lists the flags`, err)
	case r.list:
		return 0, r.printWorkloads(stdout)
	}
	report, err := r.run(ctx, stderr)
	report.Program = "dra-sanity " + version()
	if len(report.Measurements) > 0 {
		if err := r.write(report, stdout); err != nil {
			return 0, err
		}
	}
	return outcomeOf(err, stderr)
}

// outcomeOf is 1 if nothing but drivers failed.
func outcomeOf(err error, stderr io.Writer) (int, error) {
	var others []error
	failures := 0
	for _, one := range split(err) {
		if f := (*load.Failure)(nil); errors.As(one, &f) {
			failures++
			_, _ = fmt.Fprintln(stderr, "dra-sanity: the driver failed under load:", f) // nobody is left to tell of an error
			continue
		}
		others = append(others, one)
	}
	if failures > 0 && len(others) == 0 {
		return exitFailed, nil
	}
	return exitPassed, errors.Join(others...)
}

// split takes joined errors apart.
func split(err error) []error {
	if err == nil {
		return nil
	}
	if all, joined := err.(interface{ Unwrap() []error }); joined { //nolint:errorlint // only the outermost is a list
		return all.Unwrap()
	}
	return []error{err}
}

func (r *loadRequest) parse(flags *flag.FlagSet, args []string) error {
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("%q is no flag", flags.Arg(0))
	}
	var err error
	if r.workloads, err = r.choose(); err != nil || r.list {
		return err
	}
	if err := r.server.complete(); err != nil {
		return err
	}
	return r.complete()
}

// choose returns the workloads that are asked for.
func (r *loadRequest) choose() ([]load.Workload, error) {
	run, err := regexp.Compile(r.runExpression)
	if err != nil {
		return nil, fmt.Errorf("read --run: %w", err)
	}
	skip, err := regexp.Compile(cmp.Or(r.skip, "^$"))
	if err != nil {
		return nil, fmt.Errorf("read --skip: %w", err)
	}
	chosen := slices.DeleteFunc(load.Workloads(), func(w load.Workload) bool {
		return !run.MatchString(w.Name) || skip.MatchString(w.Name)
	})
	if len(chosen) == 0 {
		return nil, fmt.Errorf("there is no workload for --run %q and --skip %q; --list prints them", r.runExpression, r.skip)
	}
	return chosen, nil
}

// maxDriverName is how long the API lets a driver's name be.
const maxDriverName = 63

// complete says what is missing to run, and names the rival.
func (r *loadRequest) complete() error {
	r.rival.Driver = cmp.Or(r.rival.Driver, "rival."+r.driver.Driver)
	rival := r.rival.Start != ""
	switch {
	case r.driver.Driver == "":
		return errors.New("--driver is missing: the driver's name")
	case r.driver.Start == "":
		return errors.New("--start is missing: drivers under load are started here, in the foreground")
	case !rival && r.rival.Change != "":
		return errors.New("--vs-change needs --vs: the driver to compare with")
	case rival && r.rival.Driver == r.driver.Driver:
		return errors.New("--vs-driver is the name of --driver: reports could not tell them apart")
	case rival && len(r.rival.Driver) > maxDriverName:
		return fmt.Errorf("%s has %d characters, and a driver's name at most %d: say another one with --vs-driver",
			r.rival.Driver, len(r.rival.Driver), maxDriverName)
	case r.rounds < 1:
		return fmt.Errorf("--rounds %d: at least one", r.rounds)
	case r.delay < 0:
		return fmt.Errorf("--delay %v: no time is less than none", r.delay)
	case r.output != "text" && r.output != "json":
		return fmt.Errorf("-o %q: there are text and json", r.output)
	}
	return nil
}

// run starts an API server if one is asked for, and measures. The report has what could be measured, whatever the error
// is.
func (r *loadRequest) run(ctx context.Context, stderr io.Writer) (report figures.Report, err error) {
	kubeconfig, server, err := r.server.open(ctx, stderr)
	if err != nil {
		return report, err
	}
	if server != nil {
		defer func() {
			if stopped := server.Stop(); stopped != nil {
				err = errors.Join(append(split(err), stopped)...)
			}
		}()
	}
	root, err := shortDir()
	if err != nil {
		return report, err
	}
	defer os.RemoveAll(root) //nolint:errcheck // what was in it is removed already
	volatile, err := volatileDir()
	if err != nil {
		return report, err
	}
	defer os.RemoveAll(volatile) //nolint:errcheck // what was in it is removed already
	options := load.Options{
		Volatile: volatile,
		Sides:    []load.Side{r.driver}, Kubeconfig: kubeconfig, Throwaway: server != nil, Root: root,
		Delay: r.delay, Prepared: r.prepared, Devices: r.devices, Rounds: r.rounds, Seed: r.seed,
		Say: func(line string) { _, _ = fmt.Fprintln(stderr, line) }, // it is only progress
	}
	if r.rival.Start != "" {
		options.Sides = append(options.Sides, r.rival)
	}
	if r.verbose {
		options.Output = stderr
	}
	if options.Strace, err = exec.LookPath("strace"); err != nil {
		options.Strace = "" // the report says what is not measured
	}
	return load.Run(ctx, options, r.workloads)
}

// volatileDir makes a directory in memory, as /run is on nodes; "" where there is none, or one that is too small: many
// containers have 64 MiB.
func volatileDir() (string, error) {
	const (
		memory = "/dev/shm"
		enough = 512 << 20 // bytes, for two drivers with 10,000 claims each
	)
	var on unix.Statfs_t
	_ = unix.Statfs(memory, &on) // of no type if it is not there

	if on.Type != unix.TMPFS_MAGIC || on.Bavail*uint64(on.Bsize) < enough { //nolint:gosec // no size is negative
		return "", nil
	}
	dir, err := os.MkdirTemp(memory, "d")
	if err != nil {
		return "", fmt.Errorf("make a directory: %w", err)
	}
	return dir, nil
}

// write writes the report wherever it is asked for.
func (r *loadRequest) write(report figures.Report, stdout io.Writer) error {
	for _, to := range []struct {
		path string
		as   func(io.Writer, figures.Report) error
	}{{r.json, figures.JSON}, {r.svg, figures.SVG}} {
		if to.path == "" {
			continue
		}
		var text strings.Builder
		if err := to.as(&text, report); err != nil {
			return fmt.Errorf("write %s: %w", to.path, err)
		}
		if err := os.WriteFile(to.path, []byte(text.String()), 0o644); err != nil { //nolint:gosec // it is for everybody
			return fmt.Errorf("write the report: %w", err)
		}
	}
	if r.output == "json" {
		return figures.JSON(stdout, report)
	}
	return figures.Text(stdout, report)
}

// printWorkloads prints a line for each workload: its name and what is measured.
func (r *loadRequest) printWorkloads(out io.Writer) error {
	for _, w := range r.workloads {
		if _, err := fmt.Fprintf(out, "%-25s %s\n", w.Name, w.About); err != nil {
			return fmt.Errorf("print the workloads: %w", err)
		}
	}
	return nil
}

// counts are numbers in a flag: "0,10,100".
type counts []int

// String is the flag's form of them.
func (c counts) String() string {
	var words []string
	for _, n := range c {
		words = append(words, strconv.Itoa(n))
	}
	return strings.Join(words, ",")
}

// Set reads the flag's form and sorts.
func (c *counts) Set(text string) error {
	var all []int
	for word := range strings.SplitSeq(text, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(word))
		if err != nil || n < 0 {
			return fmt.Errorf("%q is no number: say them with commas between, such as 0,10,100", word)
		}
		all = append(all, n)
	}
	slices.Sort(all)
	*c = slices.Compact(all)
	return nil
}
