package mask

import "strings"

// valueAt returns where the value is that begins in a line: what is between quotes, which may be escaped themselves, or
// a word, in which brackets hold what is between them together.
func valueAt(line string, from int) (begin, end int) {
	slashes, quote := quoteAt(line, from)
	if quote != 0 {
		begin = from + slashes + 1
		return begin, stringEnd(line, begin, slashes, quote)
	}
	for i := from; i < len(line); {
		switch c := line[i]; {
		case strings.IndexByte(" \t\"'`&<>", c) >= 0:
			return from, i - trailing(line[from:i])
		case strings.IndexByte("[{(", c) >= 0:
			i = closing(line, i+1, string("]})"[strings.IndexByte("[{(", c)]))
			if i < len(line) {
				i++
			}
		default:
			i++
		}
	}
	return from, len(line)
}

// quoteAt returns the quote that a string at a place begins with, and how many backslashes are before it; 0 for none.
func quoteAt(line string, at int) (slashes int, quote byte) {
	for at+slashes < len(line) && line[at+slashes] == '\\' {
		slashes++
	}
	if at+slashes < len(line) {
		if c := line[at+slashes]; c == '"' || slashes == 0 && (c == '\'' || c == '`') {
			return slashes, c
		}
	}
	return 0, 0
}

// stringEnd returns where a string ends: before the next quote that is escaped as often as the one it began with, or
// less often, which ends the string that this one is in. A string that does not end ends with the line.
func stringEnd(line string, from, slashes int, quote byte) int {
	run := 0
	for i := from; i < len(line); i++ {
		switch line[i] {
		case '\\':
			run++
			continue
		case quote:
			if quote != '"' || run < slashes || run%(2*(slashes+1)) == slashes {
				return i - min(run, slashes)
			}
		}
		run = 0
	}
	return len(line)
}

// closing returns where the bracket is that closes one before from, or the end of the line. Brackets in strings do not
// count.
func closing(line string, from int, bracket string) int {
	open := []byte(bracket)
	for i := from; i < len(line); i++ {
		c := line[i]
		if slashes, quote := quoteAt(line, i); quote == '"' {
			i = stringEnd(line, i+slashes+1, slashes, quote) + slashes
			continue
		}
		switch {
		case c == open[len(open)-1]:
			if open = open[:len(open)-1]; len(open) == 0 {
				return i
			}
		case strings.IndexByte("[{(", c) >= 0:
			open = append(open, "]})"[strings.IndexByte("[{(", c)])
		}
	}
	return len(line)
}

// quoteEnd returns where text ends that begins in a line: with the line, or with the string that the line has it in.
func quoteEnd(line string, name, from int) int {
	quotes, run, last := 0, 0, 0
	for i := range name {
		switch line[i] {
		case '\\':
			run++
			continue
		case '"':
			quotes++
			last = run
		}
		run = 0
	}
	if quotes%2 == 0 {
		return len(line)
	}
	return stringEnd(line, from, last, '"')
}

// trailing is how many backslashes a text ends with: those of the quote after it.
func trailing(text string) int { return len(text) - len(strings.TrimRight(text, `\`)) }
