package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// helpWidth is where the help of flags is wrapped: golden files are the same on each terminal.
const helpWidth = 110

const exitCodes = `Exit codes:
  0    yes: it is done, it fits, it is valid
  1    no: it waits, does not fit, is not valid
  2    could not tell: wrong usage, no cluster, not allowed
  130  interrupted with Ctrl-C; 143 with SIGTERM`

// printHelp prints what --help shows. It is Go and not a template: templates call methods by names that the linker
// cannot know, and it would keep every method of every type.
func printHelp(command *cobra.Command, _ []string) {
	text := strings.TrimSpace(orShort(command)) + "\n\n" + usageText(command)
	_, _ = fmt.Fprint(command.OutOrStdout(), text) // nobody is left to tell of an error
}

// printUsage prints how a command is called.
func printUsage(command *cobra.Command) error {
	_, err := fmt.Fprint(command.OutOrStderr(), usageText(command))
	return err
}

func orShort(command *cobra.Command) string {
	if command.Long != "" {
		return command.Long
	}
	return command.Short + "."
}

func usageText(command *cobra.Command) string {
	var sections []string
	add := func(title, text string) {
		if text = strings.Trim(text, "\n"); text != "" {
			sections = append(sections, title+"\n"+text)
		}
	}
	add("Usage:", "  "+usageLine(command))
	if command.Example != "" {
		add("Examples:", command.Example)
	}
	for _, group := range command.Groups() {
		add(group.Title, commandList(command, group.ID))
	}
	add("Flags:", flagList(command.LocalNonPersistentFlags()))
	if !command.HasParent() {
		sections = append(sections, rootEnvironment)
	}
	if !command.HasParent() || command.Annotations[answersAnnotation] != "" {
		sections = append(sections, exitCodes)
	}
	sections = append(sections, moreText(command))
	return strings.Join(sections, "\n\n") + "\n"
}

// answersAnnotation marks the commands whose exit code is an answer.
const answersAnnotation = "dragoman.example.com/answers"

// answers makes the help of a command explain the exit codes.
func answers(command *cobra.Command) *cobra.Command {
	if command.Annotations == nil {
		command.Annotations = map[string]string{}
	}
	command.Annotations[answersAnnotation] = "yes"
	return command
}

func usageLine(command *cobra.Command) string {
	if !command.HasParent() {
		return command.CommandPath() + " COMMAND"
	}
	return command.UseLine()
}

func commandList(command *cobra.Command, group string) string {
	var text strings.Builder
	for _, c := range command.Commands() {
		if c.GroupID == group && (c.IsAvailableCommand() || c.Name() == "help") {
			fmt.Fprintf(&text, "  %-11s %s\n", c.Name(), c.Short)
		}
	}
	return text.String()
}

// flagList is what pflag says of the flags, without --help, which who reads it has found.
func flagList(flags *pflag.FlagSet) string {
	shown := pflag.NewFlagSet("", pflag.ContinueOnError)
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Name == "help" {
			return
		}
		as := *f
		if as.DefValue == "[]" && as.Value.Type() == "stringToString" {
			as.DefValue = "" // which pflag leaves out; an empty list it leaves out itself
		}
		shown.AddFlag(&as)
	})
	return shown.FlagUsagesWrapped(helpWidth)
}

func moreText(command *cobra.Command) string {
	root := command.Root().CommandPath()
	text := fmt.Sprintf("\"%s options\" lists the flags of all commands: -n, --context and the others of kubectl.", root)
	if !command.HasParent() {
		text = fmt.Sprintf("\"%s COMMAND --help\" says more about one of them.\n", root) + text
	}
	return text
}

// newHelpCommand returns "help". Cobra's own finds nothing wrong with a command that does not exist.
func newHelpCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "help [COMMAND]",
		GroupID: groupSupport,
		Short:   "What a command does, as its --help does",
		Args:    cobra.ArbitraryArgs,
		ValidArgsFunction: func(command *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			var names []string
			for _, c := range command.Root().Commands() {
				if c.IsAvailableCommand() && len(args) == 0 {
					names = append(names, c.Name()+"\t"+c.Short)
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		DisableFlagsInUseLine: true,
		RunE: func(command *cobra.Command, args []string) error {
			about, rest, err := command.Root().Find(args)
			if err != nil {
				return err
			}
			if len(rest) > 0 {
				return usageErrorf("%s has no commands of its own, and there is %q", about.CommandPath(), rest[0])
			}
			about.InitDefaultHelpFlag() // as --help shows it
			return about.Help()
		},
	}
}

// newOptionsCommand returns "options", which lists the flags of all commands as kubectl's command of that name does.
func newOptionsCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "options",
		Short:             "The flags that all commands have, which are kubectl's",
		Args:              noArguments,
		ValidArgsFunction: cobra.NoFileCompletions,
		Example: `  # Look at another cluster, as another user
  kubectl dra devices --context staging --as jane`,
		DisableFlagsInUseLine: true,
		RunE: func(command *cobra.Command, _ []string) error {
			_, err := fmt.Fprintf(command.OutOrStdout(), "These flags can be given to any command:\n\n%s",
				flagList(command.InheritedFlags()))
			return err
		},
	}
}
