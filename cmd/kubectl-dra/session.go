package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"example.com/dragoman/pkg/view"
	"example.com/dragoman/pkg/view/collect"
)

// session is what all commands of one invocation share: where to write, which cluster to look at, and as whom.
type session struct {
	// name is how the user calls the program: "kubectl dra".
	name string
	// streams: answers go to Out, talk to ErrOut.
	streams genericiooptions.IOStreams
	cluster clusterFlags
	// from are files to look at instead of a cluster, see addFrom.
	from    []string
	colours bool

	verbosity int
	logTo     func(level int)
}

func newSession(in invocation) *session {
	s := &session{name: "kubectl-dra", streams: in.streams, cluster: newClusterFlags()}
	if name := programName(in.name); strings.HasPrefix(name, "kubectl-") || name == completionProgram {
		s.name = "kubectl dra"
	}
	getenv := in.getenv
	if getenv == nil {
		getenv = func(string) string { return "" }
	}
	s.colours = wantsColours(in.streams, getenv)
	s.logTo = func(level int) {
		if in.logTo != nil {
			in.logTo(in.streams.ErrOut, level)
		}
	}
	return s
}

// addFlags gives a set the flags that all commands have.
func (s *session) addFlags(flags *pflag.FlagSet) {
	s.cluster.add(flags)
	flags.IntVarP(&s.verbosity, "v", "v", 0, "Log what the libraries do, for example requests at 6; 0 is nothing.")
}

func (s *session) startLogging() { s.logTo(s.verbosity) }

// say prints a line of talk to stderr.
func (s *session) say(format string, args ...any) {
	page := screen{} // stdout may be a terminal, and stderr not
	page.linef(format, args...)
	_ = page.printTo(s.streams.ErrOut) // nobody is left to tell of an error
}

// namespace is the one of -n, else of the kubeconfig's context, else "default"; asked says that it was said with -n.
// Where files are looked at, no kubeconfig is.
func (s *session) namespace() (name string, asked bool, err error) {
	if len(s.from) > 0 {
		if asked := withoutPrefix(*s.cluster.Namespace); asked != "" {
			return asked, true, nil
		}
		return "default", false, nil
	}
	return s.cluster.namespace()
}

// addFrom gives a command the flag --from, which makes look read files.
func (s *session) addFrom(command *cobra.Command) {
	command.Flags().StringArrayVar(&s.from, "from", nil, "Look at a `file` instead of a cluster: a bundle of \""+
		s.name+" gather\", or YAML or JSON of \"kubectl get -o yaml\"; folders and - for stdin, too. Can be repeated")
	_ = command.MarkFlagFilename("from", append(manifestFiles(), "tar.gz", "tgz")...)
}

// look returns what the wanted parts of the cluster are now: of the one the flags name, or of the files of --from.
// Call unseen with it before the answer is printed.
func (s *session) look(ctx context.Context, want collect.Want) (*view.Cluster, error) {
	if len(s.from) > 0 {
		return s.read()
	}
	collector, err := s.collector()
	if err != nil {
		return nil, err
	}
	return collector.Look(ctx, want)
}

// collector looks at the cluster that the flags name.
func (s *session) collector() (*collect.Collector, error) {
	config, err := s.cluster.config()
	if err != nil {
		return nil, err
	}
	return collect.New(config)
}
