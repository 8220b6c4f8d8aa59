package main

import (
	"os"

	"golang.org/x/term"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// tone is what a word means to who reads it; on a terminal it has a colour.
type tone string

// The tones.
const (
	plain tone = ""
	good  tone = "32" // can be had, is correct
	busy  tone = "33" // in use, waiting
	bad   tone = "31" // broken, wrong, impossible
	faint tone = "2"  // less important than what is beside it
	loud  tone = "1"  // what to read first
)

// paint returns text in a tone, if stdout is a terminal. Alignment comes before paint: colours have no width.
func (s *screen) paint(t tone, text string) string {
	if !s.colours || t == plain || text == "" {
		return text
	}
	return "\x1b[" + string(t) + "m" + text + "\x1b[0m"
}

// wantsColours says whether somebody looks at stdout who sees colours, and has not asked for none
// (https://no-color.org).
func wantsColours(streams genericiooptions.IOStreams, getenv func(string) string) bool {
	file, isFile := streams.Out.(*os.File)
	return isFile && term.IsTerminal(int(file.Fd())) && getenv("NO_COLOR") == "" && getenv("TERM") != "dumb"
}
