package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// Exit codes. Scripts rely on them: "no" is an answer, and not being able to tell is none.
const (
	exitYes        = 0 // it fits, it is valid, it is done
	exitNo         = 1 // the answer is no: it does not fit, is not valid, waits
	exitCannotTell = 2 // there is no answer: wrong usage, no cluster, not allowed
)

// errNo is returned by a command whose answer, which it has printed, is no. Nothing more is said; the exit code is 1.
var errNo = errors.New("the answer is no")

// errCannotTell is returned by a command that has printed why there is no answer. Nothing more is said; the exit code
// is 2.
var errCannotTell = errors.New("the answer cannot be told")

// invocation is what a process is given.
type invocation struct {
	// name is the program's, as it was called.
	name string
	// args are the arguments after the name.
	args    []string
	streams genericiooptions.IOStreams
	getenv  func(string) string
	// logTo lets the libraries log at a level, see -v. Nil leaves their loggers, which belong to the process, alone.
	logTo func(out io.Writer, level int)
}

// run does what an invocation asks for and returns the exit code. All that it says goes to the streams.
func run(ctx context.Context, in invocation) int { return newSession(in).run(ctx, in) }

func (s *session) run(ctx context.Context, in invocation) int {
	root := newRootCommand(s)
	root.SetArgs(arguments(in))
	return s.finish(ctx, root)
}

// finish executes a command line and says what became of it, as an exit code and, where there is no answer, as talk.
func (s *session) finish(ctx context.Context, root *cobra.Command) int {
	command, err := root.ExecuteContextC(ctx)
	switch {
	case err == nil:
		return exitYes
	case errors.Is(err, errNo):
		return exitNo
	case errors.Is(err, errCannotTell):
		return exitCannotTell
	}
	for _, line := range s.explain(ctx, command, err) {
		s.say("%s", line)
	}
	return exitCannotTell
}

// arguments are those of the invocation, or what they stand for: kubectl looks for a program of this name when somebody
// presses TAB after "kubectl dra".
func arguments(in invocation) []string {
	if programName(in.name) == completionProgram {
		return append([]string{cobra.ShellCompRequestCmd}, in.args...)
	}
	return in.args
}

// programName is the last part of a program's path, without ".exe".
func programName(path string) string {
	return strings.TrimSuffix(filepath.Base(path), ".exe")
}

// usageError is about what was typed, not about what came of it.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// usageErrorf is for arguments and flags that cannot be understood. What is printed ends with where to read more.
func usageErrorf(format string, args ...any) error {
	return usageError{fmt.Errorf(format, args...)}
}

// noArguments is for commands that take none: flags only.
func noArguments(command *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageErrorf("%s takes no arguments, and there is %q", command.CommandPath(), args[0])
	}
	return nil
}
