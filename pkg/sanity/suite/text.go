package suite

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// Text reports for people: a line for each case as it ends, and of one that failed what there is to know.
type Text struct {
	// Out gets the lines.
	Out io.Writer
	// Colour says whether it may be coloured, and whether a line may show what runs now.
	Colour bool

	problem error
}

// Begin says nothing: what is about to run is said by who runs it.
func (t *Text) Begin([]Case) {}

// Started shows what runs now, on a terminal.
func (t *Text) Started(c Case) {
	if t.Colour {
		t.print("      …  %s", c.Name)
	}
}

// Ended prints the case's line.
func (t *Text) Ended(r Result) {
	if t.Colour {
		t.print("\r\x1b[K")
	}
	switch r.Outcome {
	case Passed:
		t.print("%s %s  %s%s\n", t.paint("pass   ", "32"), seconds(r.Duration), r.Case.Name, notes(r))
	case Failed:
		t.print("%s %s  %s\n%s", t.paint("FAIL   ", "31"), seconds(r.Duration), r.Case.Name, indent(r.explanation()))
	default:
		t.print("%s         %s: %s\n", t.paint("not run", "33"), r.Case.Name, r.Reason)
	}
}

// End prints the counts.
func (t *Text) End(s Summary) error {
	t.print("%s\n", s)
	return t.problem
}

// String says the counts in a line.
func (s Summary) String() string {
	return fmt.Sprintf("%d passed, %d failed, %d not run, in %.1f s", s.Passed, s.Failed, s.NotRun, s.Duration.Seconds())
}

func (t *Text) print(format string, arguments ...any) {
	if _, err := fmt.Fprintf(t.Out, format, arguments...); err != nil && t.problem == nil {
		t.problem = fmt.Errorf("write the report: %w", err)
	}
}

func (t *Text) paint(text, colour string) string {
	if !t.Colour {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

func seconds(d time.Duration) string { return fmt.Sprintf("%5.1f s", d.Seconds()) }

func notes(r Result) string {
	if len(r.Notes) == 0 {
		return ""
	}
	return " (" + strings.Join(r.Notes, "; ") + ")"
}

// explanation is all that is known of a case that failed.
func (r Result) explanation() string {
	var text strings.Builder
	fmt.Fprintf(&text, "promise: %s\n", r.Case.Promise)
	for _, message := range r.Messages {
		fmt.Fprintf(&text, "seen:    %s\n", message)
	}
	fmt.Fprintf(&text, "source:  %s\n", r.Case.Source)
	for _, note := range r.Notes {
		fmt.Fprintf(&text, "note:    %s\n", note)
	}
	if r.Log != "" {
		fmt.Fprintf(&text, "the end of the driver's log:\n%s\n", indent(strings.TrimRight(r.Log, "\n")))
	}
	return strings.TrimRight(text.String(), "\n")
}

func indent(text string) string {
	return "    " + strings.ReplaceAll(text, "\n", "\n    ") + "\n"
}
