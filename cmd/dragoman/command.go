package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"slices"
	"strings"

	componentversion "k8s.io/component-base/version"
	"k8s.io/klog/v2"
)

// Exit codes.
const (
	exitOK    = 0
	exitError = 1
	exitUsage = 2 // what was asked for cannot be understood; nothing was begun
)

// subcommand is something else to do than to serve.
type subcommand struct {
	name, summary string
	run           func(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) error
}

func subcommands() []subcommand {
	return []subcommand{
		{"devices", "print what the backend sees and the slices it would publish, without a cluster", printDevices},
		{"mock", "tell a made-up machine what goes wrong with it", tellMock},
		{"doctor", "look at this node and say what the driver lacks on it, and what to do about it", printFindings},
		{"controller", "serve a cluster: attach devices before pods are bound, check claims when made", runController},
	}
}

// command does what args ask for and returns the exit code.
func command(
	ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer,
) int {
	err := dispatch(ctx, args, getenv, stdout, stderr)
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, new(*loggedError)):
		return exitError
	}
	_, _ = fmt.Fprintln(stderr, "dragoman:", err) // nobody is left to tell of an error
	if errors.As(err, new(*usageError)) {
		return exitUsage
	}
	return exitError
}

func dispatch(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		for _, sub := range append(subcommands(), helperCommands()...) {
			if sub.name == args[0] {
				return sub.run(ctx, args[1:], getenv, stdout, stderr)
			}
		}
		return unknownSubcommand(args[0])
	}
	settings := newSettings("dragoman [flags]", subcommands())
	if done, err := settings.parse(args, stdout); done || err != nil {
		return err
	}
	config, err := settings.config(getenv)
	if err != nil {
		return err
	}
	if err := setUpLogging(config); err != nil {
		return err
	}
	defer klog.Flush()
	logger := klog.Background()
	logger.Info("Starting dragoman", "version", version(), "config", klog.Format(config))
	if limit := limitMemory(getenv); limit > 0 {
		logger.V(2).Info("Collecting garbage harder near the container's memory limit", "bytes", limit)
	}
	saveMemory(getenv)
	if err := run(klog.NewContext(ctx, logger), config); err != nil {
		if config.Logging.Format == "text" {
			return err // printed as a last line for people
		}
		logger.Error(err, "Stopped because of an error")
		return &loggedError{err}
	}
	logger.Info("Stopped")
	return nil
}

func unknownSubcommand(name string) error {
	var known []string
	for _, sub := range subcommands() {
		known = append(known, fmt.Sprintf("%q", sub.name))
	}
	return &usageError{fmt.Sprintf("unknown sub-command %q; there are: %s. Without a sub-command dragoman serves the "+
		"node; \"dragoman --help\" lists its flags", name, strings.Join(known, ", "))}
}

// usageError is about what was asked for, not about what came of it.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

// loggedError was told already, in a log that has to stay readable for machines.
type loggedError struct{ error }

func (e *loggedError) Unwrap() error { return e.error }

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

// revision is the commit that the program was built from, "" if that is not known.
func revision() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	at := slices.IndexFunc(info.Settings, func(s debug.BuildSetting) bool { return s.Key == "vcs.revision" })
	if at < 0 {
		return ""
	}
	return info.Settings[at].Value
}
