package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"runtime/debug"
	"strings"

	componentversion "k8s.io/component-base/version"

	"example.com/dragoman/pkg/sanity/fault"
)

// Exit codes.
const (
	exitPassed = 0 // all cases that ran have passed
	exitFailed = 1 // a case failed
	exitNotRun = 2 // the cases could not be run, or what was asked for cannot be understood
)

const overview = `dra-sanity stands where the kubelet stands and looks whether a DRA driver does what is expected of it.

Usage:
  dra-sanity check [flags]    conformance: what the kubelet, the API server and the container runtime rely on
  dra-sanity fault [flags]    faults: kills, pauses, lost files and sockets, full disks, a bad API server
  dra-sanity load [flags]     how long the driver's answers take, what they cost, and how both grow
  dra-sanity version

Examples:
  # A driver that dra-sanity starts, with directories and an API server made for it:
  dra-sanity check --driver gpu.example.com --embedded --start \
    'my-driver --node=$DRA_SANITY_NODE --kubeconfig=$DRA_SANITY_KUBECONFIG --cdi-root=$DRA_SANITY_CDI_DIR \
     --registry=$DRA_SANITY_REGISTRY_DIR --plugin-dir=$DRA_SANITY_PLUGIN_DIR'
  # Some of the cases, for a machine to read:
  dra-sanity check --driver gpu.example.com --kubeconfig ~/.kube/config --start ./run.sh --run '^slices-' -o junit
  # How fast it is, beside another driver in the same run:
  dra-sanity load --driver gpu.example.com --embedded --start ./run.sh --vs ./run-another.sh
  # What there is:
  dra-sanity check --list

"dra-sanity check --help" lists the flags. Exit codes: 0 all cases that ran have passed, 1 a case failed, or a driver
did under load, 2 cases could not be run.
`

// command does what args ask for and returns the exit code.
func command(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	code, err := dispatch(ctx, args, stdout, stderr)
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "dra-sanity:", err) // nobody is left to tell of an error
		return exitNotRun
	}
	return code
}

func dispatch(ctx context.Context, args []string, stdout, stderr io.Writer) (int, error) {
	if len(args) == 0 {
		return 0, errors.New(`say what to do: check, fault, load or version; "dra-sanity --help" explains them`)
	}
	switch verb, rest := args[0], args[1:]; verb {
	case "check", "fault":
		return run(ctx, verb, rest, stdout, stderr)
	case "load":
		return measure(ctx, rest, stdout, stderr)
	case "version", "--version", "-version":
		return print(stdout, version()+"\n")
	case "help", "--help", "-help", "-h":
		return print(stdout, overview)
	default:
		return 0, fmt.Errorf(`there is no %q; say check, fault, load or version; "dra-sanity --help" explains them`, verb)
	}
}

func print(out io.Writer, text string) (int, error) {
	_, err := io.WriteString(out, text)
	return exitPassed, err
}

// run does one of the verbs that run cases.
func run(ctx context.Context, verb string, args []string, stdout, stderr io.Writer) (int, error) {
	request := request{verb: verb}
	flags := request.flags()
	switch err := request.parse(flags, args); {
	case errors.Is(err, flag.ErrHelp):
		return print(stdout, usage(verb, "", flags))
	case err != nil:
		return 0, fmt.Errorf(`%w; "dra-sanity %s --help" lists the flags`, err, verb)
	case request.list:
		return 0, request.printCases(stdout)
	case verb == "fault":
		if err := fault.OwnMounts(); err != nil { // this process begins anew there
			return 0, err
		}
	}
	return request.run(ctx, stdout, stderr)
}

// usage lists flags; more is what else the driver's commands find in their environment.
func usage(verb, more string, flags *flag.FlagSet) string {
	var text strings.Builder
	fmt.Fprintf(&text, "Usage: dra-sanity %s [flags]\n\nThe driver's commands find in their environment, with the prefix "+
		"DRA_SANITY_: DRIVER, NODE, KUBECONFIG,\nKUBELET_DIR, REGISTRY_DIR, PLUGIN_DIR, CDI_DIR, STATE_DIR, and INSTANCE, "+
		"which differs for each instance, as\na pod's UID does.%s\n\nFlags:\n", verb, more)
	flags.VisitAll(func(f *flag.Flag) {
		value, about := flag.UnquoteUsage(f)
		dashes := "--"[:min(2, len(f.Name))]
		fmt.Fprintf(&text, "  %s%s %s\n        %s\n", dashes, f.Name, value, strings.ReplaceAll(about, "\n", "\n        "))
	})
	return text.String()
}

// flagSet is for the flags of a verb. Errors are returned; what is said is ours to say.
func flagSet(verb string) *flag.FlagSet {
	flags := flag.NewFlagSet("dra-sanity "+verb, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.Usage = func() {}
	return flags
}

// version is what the linker was told, as in all programs of Kubernetes, else what the Go toolchain recorded.
func version() string {
	if told := componentversion.Get().GitVersion; !strings.HasPrefix(told, "v0.0.0-master") {
		return told
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		return cmp.Or(strings.Trim(info.Main.Version, "()"), "devel")
	}
	return "devel"
}
