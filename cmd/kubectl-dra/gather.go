package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"example.com/dragoman/pkg/view"
	"example.com/dragoman/pkg/view/gather"
)

const gatherLong = `Write a support bundle: one file with what somebody who mends a DRA driver needs to know.

It has the nodes, slices, classes, claims, templates, taint rules and the pods that use devices; events about them;
versions and feature gates; webhooks and policies that see these objects; DaemonSets, logs and metrics of drivers and of
what was installed with them; and what "devices" and "why" say now. "devices", "why" and "simulate" can look at a bundle
instead of a cluster, with --from. With -n, claims, templates and users' pods are those of one namespace; drivers are
looked for in all.

It can be sent to strangers: Secrets are never read. Of users' pods there is no environment, no arguments and no
annotations, and of configurations for drivers there are names of fields but no values. What looks like a password, a
token or an IP address is masked, in logs too. The README.txt of the bundle says what is in it, what was left out, and
what you had no right to see. Names of namespaces, pods, claims and nodes are in it, and drivers may write anything into
their logs: look at it, or leave these out with --no-logs.`

const gatherExample = `  # Everything, into dra-bundle-<time>.tar.gz
  kubectl dra gather

  # What has to do with one driver, without its logs, into a file of that name
  kubectl dra gather --driver gpu.example.com --no-logs -o bundle.tar.gz

  # See what would be sent
  kubectl dra gather -o - | tar tzvf -

  # Look at a bundle that somebody has sent
  kubectl dra devices --from bundle.tar.gz
  kubectl dra why pod/train-1 -n team-a --from bundle.tar.gz`

// gatherCommand is what the flags of "gather" say.
type gatherCommand struct {
	*session

	output  string
	options gather.Options
	all     bool
}

// newGatherCommand returns "gather".
func newGatherCommand(s *session) *cobra.Command {
	g := &gatherCommand{session: s}
	command := &cobra.Command{
		Use:               "gather",
		Short:             "Write a support bundle, without secrets",
		Long:              gatherLong,
		Example:           gatherExample,
		Args:              noArguments,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(command *cobra.Command, _ []string) error { return g.run(command.Context()) },
	}
	flags := command.Flags()
	flags.StringVarP(&g.output, "output", "o", "", "Write the bundle to this `file`, or to stdout if it is -")
	flags.StringVar(&g.options.Driver, "driver", "", "Leave out what has to do with other drivers than this `driver`")
	flags.BoolVar(&g.options.Full, "full", false, "Keep what may hold secrets: environment and arguments of pods, "+
		"annotations, labels, addresses, values of configurations. What looks like a secret is masked still")
	flags.BoolVar(&g.options.WithoutLogs, "no-logs", false, "Leave out the logs of drivers")
	flags.BoolVarP(&g.all, "all-namespaces", "A", false, "Claims and pods of all namespaces; this is how it is without -n")
	_ = command.RegisterFlagCompletionFunc("driver", s.completeDrivers)
	_ = command.MarkFlagFilename("output", "tar.gz", "tgz")
	return command
}

func (g *gatherCommand) run(ctx context.Context) error {
	own, asked, err := g.namespace()
	if err != nil {
		return err
	}
	if g.options.Fallback = own; asked && !g.all {
		g.options.Namespace = own
	}
	collector, err := g.collector()
	if err != nil {
		return err
	}
	g.options.Time = time.Now()
	g.options.Program = "kubectl dra " + version()
	g.options.Answers = g.answers
	if g.output == "" {
		g.output = "dra-bundle-" + g.options.Time.UTC().Format("20060102T150405Z") + ".tar.gz"
	}
	var report *gather.Report
	err = g.write(func(to io.Writer) error {
		report, err = gather.Write(ctx, to, collector, g.options)
		return err
	})
	if err != nil {
		return err
	}
	g.unseen(report.Cluster)
	for _, sentence := range report.Missing {
		g.say("Not read: %s", sentence)
	}
	if g.output == "-" {
		return nil
	}
	g.say("It holds what README.txt in it says; read that before you send it.")
	_, err = fmt.Fprintln(g.streams.Out, g.output)
	return err
}

// write hands out where to write to. A file is there as a whole or not at all, and only for its owner to read.
func (g *gatherCommand) write(do func(io.Writer) error) error {
	if g.output == "-" {
		return do(g.streams.Out)
	}
	file, err := os.CreateTemp(filepath.Dir(g.output), ".dra-bundle-*")
	if err != nil {
		return fmt.Errorf("make a file for the bundle: %w", err)
	}
	defer func() { _ = os.Remove(file.Name()) }() // it has another name if all went well
	err = do(file)
	if closed := file.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	if err := os.Rename(file.Name(), g.output); err != nil {
		return fmt.Errorf("write the bundle: %w", err)
	}
	return nil
}

// mostAnswers is how many pods that wait are explained in a bundle, and mostLooks how many nodes are looked at for
// that, so that it takes a few seconds on any cluster. Why others wait can be asked of the bundle.
const (
	mostAnswers = 20
	mostLooks   = 3000
)

// answers are what "devices" and "why" print.
func (g *gatherCommand) answers(ctx context.Context, cluster *view.Cluster) []gather.Answer {
	answers := []gather.Answer{g.answer("devices.txt", func(inner *session) error {
		d := &devicesCommand{session: inner, format: newOutputFormat("table")}
		d.options.Driver = g.options.Driver
		d.options.Selects = d.selects(ctx)
		listing, err := view.Devices(cluster, d.options)
		if err != nil {
			return err
		}
		d.tell(listing, cluster)
		return d.print(listing)
	})}
	pods := waiting(cluster)
	for _, pod := range pods[:min(len(pods), mostAnswers, max(1, mostLooks/max(1, len(cluster.Nodes))))] {
		answers = append(answers, g.answer(path.Join("why", pod.Namespace, pod.Name+".txt"), func(inner *session) error {
			answer, err := whyAnswer(ctx, cluster, "pod", pod)
			if err != nil {
				return err
			}
			return inner.printWhy(answer)
		}))
	}
	return answers
}

// answer is what a command says, both answer and talk, as it would to a file.
func (g *gatherCommand) answer(name string, do func(*session) error) gather.Answer {
	var said bytes.Buffer
	inner := *g.session
	inner.streams.Out, inner.streams.ErrOut, inner.colours = &said, &said, false
	if err := do(&inner); err != nil {
		inner.say("error: %v", err)
	}
	return gather.Answer{Name: name, Text: said.String()}
}
