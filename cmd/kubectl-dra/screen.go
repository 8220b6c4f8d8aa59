package main

import (
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// screen is text for people while it grows, line by line; all answers for people are written with one.
//
// Much of it is what others wrote: names, attributes, messages. That can be read and do nothing else: see visible.
type screen struct {
	text    strings.Builder
	colours bool
}

// span is a part of a line.
type span struct {
	tone tone
	text string
}

// line adds a line of some parts. Breaks within a part are shown and break nothing.
func (s *screen) line(parts ...span) {
	for _, p := range parts {
		s.text.WriteString(s.paint(p.tone, visible(p.text)))
	}
	s.text.WriteByte('\n')
}

// linef adds a line without colours.
func (s *screen) linef(format string, args ...any) {
	s.line(span{text: fmt.Sprintf(format, args...)})
}

// verbatim adds what programs read, as it is.
func (s *screen) verbatim(text string) { s.text.WriteString(text) }

// printTo hands over what there is.
func (s *screen) printTo(out io.Writer) error {
	if _, err := io.WriteString(out, s.text.String()); err != nil {
		return fmt.Errorf("print the answer: %w", err)
	}
	return nil
}

// newScreen returns an empty one, with colours if stdout is a terminal.
func (s *session) newScreen() *screen { return &screen{colours: s.colours} }

// visible returns text in which all can be seen: what a terminal would obey is spelt as in Go's strings, an escape as
// \x1b and the end of a line as \n, and so is what is no UTF-8.
func visible(text string) string {
	if strings.IndexFunc(text, obeyed) < 0 && utf8.ValidString(text) {
		return text
	}
	var spelt strings.Builder
	for len(text) > 0 {
		r, size := utf8.DecodeRuneInString(text)
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&spelt, `\x%02x`, text[0])
		case obeyed(r):
			quoted := fmt.Sprintf("%+q", r)
			spelt.WriteString(quoted[1 : len(quoted)-1])
		default:
			spelt.WriteRune(r)
		}
		text = text[size:]
	}
	return spelt.String()
}

// obeyed says whether terminals do something else with a character than showing it: all controls, what turns the
// direction of writing, what breaks lines.
func obeyed(r rune) bool {
	return unicode.IsControl(r) || unicode.In(r, unicode.Bidi_Control, unicode.Zl, unicode.Zp)
}
