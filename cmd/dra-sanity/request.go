package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"regexp"
	"strings"
	"time"

	"example.com/dragoman/pkg/sanity/conformance"
	"example.com/dragoman/pkg/sanity/fault"
	"example.com/dragoman/pkg/sanity/node"
	"example.com/dragoman/pkg/sanity/subject"
	"example.com/dragoman/pkg/sanity/suite"
)

// request is what the command line asks for.
type request struct {
	verb string

	driver, node                 string
	dirs                         subject.Dirs
	start, stop, kill, restart   string
	server                       serverChoice
	runExpression, skip          string
	list, keep, verbose          bool
	output                       string
	timeout                      time.Duration
	parameters, parametersEffect string

	effect *regexp.Regexp
	faults fault.Options
}

func (r *request) flags() *flag.FlagSet {
	flags := flagSet(r.verb)
	r.driverFlags(flags)
	r.clusterFlags(flags)
	if r.verb == "fault" {
		r.faultFlags(flags)
	} else {
		r.checkFlags(flags)
	}
	r.runFlags(flags)
	return flags
}

func (r *request) driverFlags(flags *flag.FlagSet) {
	for _, f := range []struct {
		to          *string
		name, about string
	}{
		{&r.driver, "driver", "`NAME` of the driver, as in its ResourceSlices"},
		{&r.start, "start", "`COMMAND` for sh that is the driver, in the foreground; with --stop, one that starts it\n" +
			"and ends. Without it the driver runs already, and cases that restart it are not run"},
		{&r.stop, "stop", "`COMMAND` that stops a driver that runs elsewhere (default: SIGTERM)"},
		{&r.kill, "kill", "`COMMAND` that kills a driver that runs elsewhere (default: SIGKILL)"},
		{&r.restart, "restart", "`COMMAND` that restarts a driver that runs elsewhere (default: stop and start)"},
		{&r.dirs.Kubelet, "kubelet-dir", "`DIR` that is to be /var/lib/kubelet (default for this and the others: made for\n" +
			"the driver)"},
		{&r.dirs.Registry, "registry-dir", "`DIR` of registration sockets (default: plugins_registry in --kubelet-dir)"},
		{&r.dirs.Plugin, "plugin-dir", "`DIR` of the driver's own socket (default: plugins/DRIVER in --kubelet-dir)"},
		{&r.dirs.CDI, "cdi-dir", "`DIR` of CDI files"},
		{&r.dirs.State, "state-dir", "`DIR` in which the driver remembers what it prepared"},
	} {
		flags.StringVar(f.to, f.name, "", f.about)
	}
	flags.Func("leftovers", "`DIR` in which nothing of a claim may stay either; may be repeated", func(dir string) error {
		r.dirs.Leftovers = append(r.dirs.Leftovers, dir)
		return nil
	})
}

func (r *request) clusterFlags(flags *flag.FlagSet) {
	flags.StringVar(&r.node, "node", "",
		"`NAME` of the driver's node; an object is made if there is none (default: a new one)")
	r.server.flags(flags)
}

func (r *request) checkFlags(flags *flag.FlagSet) {
	flags.StringVar(&r.parameters, "parameters", "",
		"`JSON` that the driver accepts as opaque parameters in a claim, for cases about configuration")
	flags.StringVar(&r.parametersEffect, "parameters-env", "", "`REGEXP` that matches an environment variable, "+
		"NAME=value, of a container to whose\ndevice --parameters apply, and of no other; one variable for each device")
}

func (r *request) faultFlags(flags *flag.FlagSet) {
	flags.Uint64Var(&r.faults.Seed, "seed", rand.Uint64(), "`NUMBER` that random faults come from; the same one brings "+
		"the same again\n(default: another one each time, which is printed)")
	flags.IntVar(&r.faults.Steps, "steps", 60, "`NUMBER` of steps of the random schedule")
	flags.IntVar(&r.faults.Repeats, "repeats", 10, "`NUMBER` of kills at random moments")
	flags.IntVar(&r.faults.Cycles, "cycles", 500, "`NUMBER` of cycles of prepare and unprepare of the soak")
	flags.IntVar(&r.faults.Restarts, "restarts", 0, "`NUMBER` of restarts during the soak")
	flags.StringVar(&r.faults.Metrics, "metrics", "", "`URL` of the driver's metrics, to count its goroutines")
}

func (r *request) runFlags(flags *flag.FlagSet) {
	flags.StringVar(&r.runExpression, "run", "", "`REGEXP` of the names of cases to run")
	flags.StringVar(&r.skip, "skip", "", "`REGEXP` of the names of cases not to run")
	flags.BoolVar(&r.list, "list", false, "print the cases and run none")
	flags.StringVar(&r.output, "o", "text", "`FORMAT` of the report: text, json or junit")
	flags.DurationVar(&r.timeout, "timeout", time.Minute, "`TIME` that a case may take, unless it needs more by itself")
	flags.BoolVar(&r.verbose, "v", false, "show what the driver says, on standard error")
	flags.BoolVar(&r.keep, "keep", false, "leave directories that were made for the driver, and its log")
}

func (r *request) parse(flags *flag.FlagSet, args []string) error {
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("%q is no flag", flags.Arg(0))
	}
	if !strings.Contains(" text json junit ", " "+r.output+" ") {
		return fmt.Errorf("-o %q: there are text, json and junit", r.output)
	}
	var err error
	if r.parametersEffect != "" {
		if r.effect, err = regexp.Compile(r.parametersEffect); err != nil {
			return fmt.Errorf("read --parameters-env: %w", err)
		}
	}
	if _, err := r.cases(nil); err != nil || r.list {
		return err
	}
	if err := r.server.complete(); err != nil {
		return err
	}
	return r.complete()
}

// complete says what is missing to run.
func (r *request) complete() error {
	switch {
	case r.driver == "":
		return errors.New("--driver is missing: the driver's name")
	case r.stop != "" && r.start == "" && r.restart == "":
		return errors.New("--stop needs --start: a driver that cannot be started again is not stopped")
	case r.kill != "" && (r.start == "" || r.stop == ""):
		return errors.New("--kill needs --start and --stop; a driver in the foreground is killed by SIGKILL")
	case (r.parameters == "") != (r.effect == nil):
		return errors.New("--parameters and --parameters-env belong together")
	case r.start == "" && (r.dirs.Registry == "" && r.dirs.Kubelet == "" || r.dirs.CDI == "" || r.node == ""):
		return errors.New("without --start the driver runs already: say where with --node, --kubelet-dir and --cdi-dir")
	}
	return nil
}

// cases returns the cases that are asked for; the node may be nil where they are only listed.
func (r *request) cases(n *node.Node) ([]suite.Case, error) {
	return suite.Select(r.all(n), r.runExpression, r.skip)
}

// all returns all cases of the verb.
func (r *request) all(n *node.Node) []suite.Case {
	if r.verb == "fault" {
		return fault.Cases(n, r.faults)
	}
	return conformance.Cases(n, r.conformance())
}

func (r *request) conformance() conformance.Options {
	return conformance.Options{Parameters: r.parameters, Effect: r.effect}
}

func (r *request) unmet(n *node.Node) func(suite.Need) string {
	if r.verb == "fault" {
		return fault.Unmet(n, r.faults)
	}
	return func(need suite.Need) string {
		if reason := r.conformance().Unmet(need); reason != "" {
			return reason
		}
		return n.Unmet(need)
	}
}

// printCases prints a line for each case: its name and its promise.
func (r *request) printCases(out io.Writer) error {
	cases, err := r.cases(nil)
	if err != nil {
		return err
	}
	for _, c := range cases {
		if _, err := fmt.Fprintf(out, "%-40s %s\n", c.Name, c.Promise); err != nil {
			return fmt.Errorf("print the cases: %w", err)
		}
	}
	return nil
}
