package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

// completionProgram is the name under which kubectl calls a plugin to complete a command line of it.
const completionProgram = "kubectl_complete-dra"

const completionLong = `Print a script that completes command lines of "kubectl-dra" in a shell, names of pods,
claims, nodes, drivers and classes included.

For "kubectl dra", kubectl completes, and asks a program for the words: kubectl_complete-dra on the PATH. That is this
program under another name; "make install" makes a link, and after another installation this does:

  ln -s "$(command -v kubectl-dra)" "$(dirname "$(command -v kubectl-dra)")/kubectl_complete-dra"`

// newCompletionCommand returns "completion".
func newCompletionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish|powershell",
		Short: "A script that completes command lines in a shell",
		Long:  completionLong,
		Example: `  # In ~/.bashrc
  source <(kubectl-dra completion bash)

  # In ~/.zshrc
  source <(kubectl-dra completion zsh)`,
		ValidArgs:             shells(),
		Args:                  oneShell,
		DisableFlagsInUseLine: true,
		RunE: func(command *cobra.Command, args []string) error {
			root, out := command.Root(), command.OutOrStdout()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(out, true)
			case "zsh":
				return root.GenZshCompletion(out)
			case "fish":
				return root.GenFishCompletion(out, true)
			default:
				return root.GenPowerShellCompletionWithDesc(out)
			}
		},
	}
}

func shells() []string { return []string{"bash", "zsh", "fish", "powershell"} }

func oneShell(command *cobra.Command, args []string) error {
	if err := cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs)(command, args); err != nil {
		return usageError{fmt.Errorf("say for which shell: bash, zsh, fish or powershell")}
	}
	return nil
}
