package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// TestTheReadmeShowsWhatIsPrinted runs the commands of the README's section and compares. Those that would look at a
// cluster look at a recorded one. With -update the README is written.
func TestTheReadmeShowsWhatIsPrinted(t *testing.T) {
	recorded, err := filepath.Abs("testdata/recorded/team/cluster.yaml")
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir("../..")
	written, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	before, section, found := strings.Cut(string(written), "\n## kubectl dra\n")
	section, after, ends := strings.Cut(section, "\n## ")
	if !found || !ends {
		t.Fatal("the README has no section \"kubectl dra\"")
	}
	now, commands := shown(t, section, recorded)
	if commands < 5 {
		t.Errorf("the section shows %d commands, and there are 5 that are worth it", commands)
	}
	if !*update {
		if diff := cmp.Diff(section, now); diff != "" {
			t.Errorf("the README differs from what is printed (- README, + now); \"make generate\" writes it:\n%s", diff)
		}
		return
	}
	text := before + "\n## kubectl dra\n" + now + "\n## " + after
	if err := os.WriteFile("README.md", []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// shown is the section with what its commands print now. A block of the README that begins with "$ kubectl dra" ends
// with the next line that is not indented.
func shown(t *testing.T, section, recorded string) (text string, commands int) {
	t.Helper()
	var now strings.Builder
	within := false
	for line := range strings.Lines(section) {
		command, isCommand := strings.CutPrefix(line, "    $ kubectl dra ")
		within = isCommand || within && (strings.HasPrefix(line, "    ") || strings.TrimSpace(line) == "")
		switch {
		case isCommand:
			if commands > 0 && !strings.HasSuffix(now.String(), "\n\n") {
				now.WriteString("\n")
			}
			commands++
			now.WriteString(line)
			for printed := range strings.Lines(terminal(t, shellWords(command), recorded)) {
				now.WriteString(strings.TrimRight("    "+printed, " \n") + "\n")
			}
		case !within:
			if strings.TrimSpace(line) != "" && commands > 0 && afterBlock(now.String()) {
				now.WriteString("\n")
			}
			now.WriteString(line)
		}
	}
	return now.String(), commands
}

// afterBlock says whether the text ends in a line of a block.
func afterBlock(text string) bool {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	return strings.HasPrefix(lines[len(lines)-1], "    ")
}

// terminal is what a terminal shows of a command: talk and answer as they come.
func terminal(t *testing.T, args []string, recorded string) string {
	t.Helper()
	if args[0] == "devices" || args[0] == "why" {
		args = append(args, "--from", recorded)
	}
	var screen bytes.Buffer
	streams := genericiooptions.IOStreams{In: strings.NewReader(""), Out: &screen, ErrOut: &screen}
	if code := run(t.Context(), invocation{name: "kubectl-dra", args: args, streams: streams}); code == exitCannotTell {
		t.Errorf("kubectl dra %s: %s", strings.Join(args, " "), &screen)
	}
	return screen.String()
}
