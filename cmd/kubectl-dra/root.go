package main

import (
	"github.com/spf13/cobra"
)

// The groups of commands in the help.
const (
	groupSee     = "see"
	groupTry     = "try"
	groupSupport = "support"
)

const rootLong = `Say who has which device of a cluster, and why a pod waits for one. Works with any DRA driver:
it reads what the scheduler reads (ResourceSlices, DeviceClasses, ResourceClaims, pods), and decides with the
scheduler's own code.

Nothing is written to the cluster. What you may not read is said on stderr, and what follows from it. Answers are on
stdout, with colours if that is a terminal.`

const rootExample = `  # Every device: where it is, whether it is free, who uses it
  kubectl dra devices

  # Why does this pod wait?
  kubectl dra why pod/train-0 -n team-a

  # Would this fit, and where? In the cluster, or on made-up machines
  kubectl dra simulate -f pod.yaml
  kubectl dra simulate -f pod.yaml --machines dgx-h100

  # Is this correct?
  kubectl dra validate -f claim.yaml

  # What a maintainer needs to know about a problem
  kubectl dra gather`

const rootEnvironment = `Environment:
  KUBECONFIG  the files that name clusters, as for kubectl; ~/.kube/config without it
  NO_COLOR    no colours, if it is set to anything
  TERM        no colours, if it is "dumb"`

// newRootCommand returns "kubectl dra" with all commands below it.
func newRootCommand(s *session) *cobra.Command {
	root := &cobra.Command{
		Use:     "kubectl-dra",
		Short:   "Who has which device, and why is it pending",
		Long:    rootLong,
		Example: rootExample,
		// Errors are ours to print, in one place.
		SilenceErrors: true,
		SilenceUsage:  true,
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: s.name},
		PersistentPreRun: func(*cobra.Command, []string) {
			s.startLogging()
		},
		RunE: func(command *cobra.Command, _ []string) error {
			return command.Help()
		},
	}
	root.SetIn(s.streams.In)
	root.SetOut(s.streams.Out)
	root.SetErr(s.streams.ErrOut)
	root.SetHelpFunc(printHelp)
	root.SetUsageFunc(printUsage)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	s.addFlags(root.PersistentFlags())
	_ = root.RegisterFlagCompletionFunc("namespace", s.completeNamespaces)
	_ = root.RegisterFlagCompletionFunc("context", s.completeContexts)
	root.AddGroup(
		&cobra.Group{ID: groupSee, Title: "See what there is:"},
		&cobra.Group{ID: groupTry, Title: "Before you apply:"},
		&cobra.Group{ID: groupSupport, Title: "When you need help, and the rest:"},
	)
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add(groupSee, newDevicesCommand(s), newWhyCommand(s))
	add(groupTry, newSimulateCommand(s), newValidateCommand(s))
	add(groupSupport, newGatherCommand(s), newVersionCommand(s), newOptionsCommand(), newCompletionCommand())
	root.CompletionOptions.DisableDefaultCmd = true // ours knows kubectl
	root.SetHelpCommand(newHelpCommand())
	return root
}
