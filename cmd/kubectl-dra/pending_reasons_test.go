package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// pendingScreens were written from kind clusters by the end-to-end tests, which see that they stay true.
const pendingScreens = "../../e2e/cluster/testdata/pending"

// pendingReasons is the page for users that is made from them, seen from testdata.
const pendingReasons = "../../../deployments/pending-reasons.md"

const pendingHead = `# Why is my pod pending?

What Kubernetes says when a pod does not get its devices, and what ` + "`kubectl dra why`" + ` says. Each row was
brought about in a kind cluster; its screen is below, with the change that was made then and that it
helped, if there is one.

`

// TestThePageOfPendingReasonsIsMadeOfTheScreens keeps deployments/pending-reasons.md.
func TestThePageOfPendingReasonsIsMadeOfTheScreens(t *testing.T) {
	screens := readPendingScreens(t)
	var page strings.Builder
	page.WriteString(pendingHead)
	page.WriteString("| reason | Kubernetes says | `kubectl dra why` says | what to do |\n|---|---|---|---|\n")
	for _, s := range screens {
		row := []string{
			fmt.Sprintf("[%s](#%s)", s.name, strings.ToLower(s.name)), orDash(s.kubernetes()), s.first(), orDash(s.next()),
		}
		for i := range row {
			row[i] = strings.NewReplacer("|", `\|`, "<", "&lt;").Replace(row[i])
		}
		fmt.Fprintf(&page, "| %s |\n", strings.Join(row, " | "))
	}
	for _, s := range screens {
		fmt.Fprintf(&page, "\n## %s\n\n%s.\n\n```console\n%s```\n", s.name, sentence(s.story), s.text)
	}
	golden(t, pendingReasons, page.String())
}

// pendingScreen is what somebody saw of one pod or claim.
type pendingScreen struct {
	name, story string
	// text is the whole, and answer what our program printed, line by line.
	text   string
	answer []string
}

func readPendingScreens(t *testing.T) []pendingScreen {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(pendingScreens, "*.txt"))
	if err != nil || len(files) < 20 {
		t.Fatalf("there are %d screens, error %v", len(files), err)
	}
	var screens []pendingScreen
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		s := pendingScreen{name: strings.TrimSuffix(filepath.Base(file), ".txt")}
		head, rest, _ := strings.Cut(string(text), "\n\n")
		_, answer, found := strings.Cut(rest, "\n$ kubectl dra why ")
		if s.story, s.text = strings.TrimPrefix(head, "# "), rest; !found {
			t.Fatalf("%s has no answer", file)
		}
		answer, _, _ = strings.Cut(answer, "\n[exit ")
		s.answer = strings.Split(answer, "\n")[1:]
		screens = append(screens, s)
	}
	return screens
}

// kubernetes is the message of the event, without what the scheduler says of preemption.
func (s pendingScreen) kubernetes() string {
	_, event, found := strings.Cut(s.text, "Events:\n")
	if !found {
		return ""
	}
	event, _, _ = strings.Cut(event, "\n")
	words := strings.SplitN(strings.TrimSpace(event), "  ", 4)
	message, _, _ := strings.Cut(words[len(words)-1], " preemption: ")
	for _, more := range []string{"still not schedulable,", "no new claims to deallocate,"} {
		message = strings.TrimSpace(strings.TrimSuffix(message, more))
	}
	return message
}

var quote = regexp.MustCompile(`^  [a-z./ -]+ \(\w+\)(, \d+ times)?: `)

// first is the first sentence of the answer, without the name of the pod or claim.
func (s pendingScreen) first() string {
	text := s.answer[0]
	for i, line := range s.answer[1:] {
		word, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		if word == "" || quote.MatchString(line) || len([]rune(s.answer[i]))+1+len([]rune(word)) <= whyWidth {
			break // the line before it has ended
		}
		text += " " + strings.TrimSpace(line)
	}
	words := strings.SplitN(text, " ", 3)
	return strings.TrimPrefix(words[len(words)-1], "waits: ")
}

// next is what the answer advises.
func (s pendingScreen) next() string {
	var advice []string
	for _, line := range s.answer {
		next, is := strings.CutPrefix(line, "Next: ")
		or, isOr := strings.CutPrefix(line, "  or: ")
		more, isMore := strings.CutPrefix(line, "      ")
		switch {
		case is:
			advice = []string{next}
		case isOr && len(advice) > 0:
			advice = append(advice, or)
		case isMore && len(advice) > 0:
			advice[len(advice)-1] += " " + more
		case len(advice) > 0:
			return strings.Join(advice, "; or: ")
		}
	}
	return strings.Join(advice, "; or: ")
}
