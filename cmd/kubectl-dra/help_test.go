package main

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// commands are all that there are, as people call them.
func commands(t *testing.T) []*cobra.Command {
	t.Helper()
	root := newRootCommand(newSession(invocation{name: "kubectl-dra"}))
	all := []*cobra.Command{root}
	for _, c := range root.Commands() {
		if c.IsAvailableCommand() && c.Name() != "help" {
			all = append(all, c)
		}
	}
	if len(all) < 9 {
		t.Fatalf("%d commands, which is fewer than there are", len(all))
	}
	return all
}

func TestTheHelpOfEachCommand(t *testing.T) {
	for _, c := range commands(t) {
		t.Run(c.Name(), func(t *testing.T) {
			args := append(strings.Fields(c.CommandPath())[2:], "--help")
			out, said, code := called(t, args...)
			if code != exitYes || said != "" {
				t.Errorf("exit code %d, stderr %q", code, said)
			}
			golden(t, "help/"+c.Name()+".txt", out)
			asked, _, _ := called(t, append([]string{"help"}, args[:len(args)-1]...)...)
			if asked != out {
				t.Errorf("\"kubectl dra help %s\" says something else than --help:\n%s", c.Name(), asked)
			}
		})
	}
}

func TestTheHelpIsReadableInATerminal(t *testing.T) {
	for _, c := range commands(t) {
		t.Run(c.Name(), func(t *testing.T) {
			if c.Short == "" || strings.HasSuffix(c.Short, ".") {
				t.Errorf("the short description is %q: it is one phrase without a full stop", c.Short)
			}
			if c.HasParent() && len("  completion  "+c.Short) > 80 {
				t.Errorf("the short description is too long for the list of commands: %s", c.Short)
			}
			out, _, _ := called(t, append(strings.Fields(c.CommandPath())[2:], "--help")...)
			for line := range strings.Lines(out) {
				if len(strings.TrimRight(line, "\n")) > 120 || strings.ContainsRune(line, '\t') {
					t.Errorf("a line that is too long, or has a tab: %s", line)
				}
			}
		})
	}
}

// TestTheExamplesOfTheHelpAreCommandLines lets each of them be parsed.
func TestTheExamplesOfTheHelpAreCommandLines(t *testing.T) {
	for _, c := range commands(t) {
		t.Run(c.Name(), func(t *testing.T) {
			lines := examples(c)
			if len(lines) == 0 {
				t.Fatal("there is no example")
			}
			own := 0
			for _, line := range lines {
				root := newRootCommand(newSession(invocation{name: "kubectl-dra"}))
				words := strings.Fields(line)[2:]
				found, rest, err := root.Find(words)
				if err != nil {
					t.Errorf("%s: %v", line, err)
					continue
				}
				if found.Name() == c.Name() {
					own++
				}
				if err := found.ParseFlags(rest); err != nil {
					t.Errorf("%s: %v", line, err)
				} else if err := found.ValidateArgs(found.Flags().Args()); err != nil {
					t.Errorf("%s: %v", line, err)
				}
			}
			if c.HasParent() && own == 0 && c.Name() != "options" {
				t.Errorf("all of its examples are of other commands: %q", lines)
			}
		})
	}
}

// examples are the command lines of ours in the example of a command, without what other programs do with them.
func examples(c *cobra.Command) []string {
	var lines []string
	for line := range strings.Lines(c.Example) {
		line = strings.ReplaceAll(line, "kubectl-dra ", "kubectl dra ")
		_, line, found := strings.Cut(strings.TrimSpace(line), "kubectl dra ")
		if !found || strings.HasPrefix(strings.TrimSpace(line), "#") {
			continue
		}
		line, _, _ = strings.Cut(line, " | ")
		line, _, _ = strings.Cut(line, " > ")
		lines = append(lines, "kubectl dra "+strings.TrimSuffix(line, ")"))
	}
	return lines
}
