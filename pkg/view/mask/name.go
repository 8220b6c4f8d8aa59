package mask

import "strings"

// naming is where a line names something and then says what it is.
type naming struct {
	line string
	// start is where the name begins, and begin where the value does.
	start, begin int
	name         string
	// variable says that it is {NAME value}, and header that it is followed by a colon and a blank.
	variable, header bool
}

// nextName returns the first naming in a line that ends behind a place.
func nextName(line string, from int) (naming, bool) {
	for at := from; at < len(line); at++ {
		next := strings.IndexAny(line[at:], ":={")
		if next < 0 {
			return naming{}, false
		}
		at += next
		if line[at] == '{' {
			if end := nameEnd(line, at+1); end > at+1 && end < len(line) && line[end] == ' ' {
				return naming{line: line, start: at + 1, begin: end + 1, name: line[at+1 : end], variable: true}, true
			}
			continue
		}
		if start, end := nameBefore(line, at); start < end {
			after := at + 1
			if pair := line[at:min(at+2, len(line))]; pair == ":=" || pair == "=>" {
				after++
			}
			begin := len(line) - len(strings.TrimLeft(line[after:], " \t"))
			return naming{
				line: line, start: start, begin: begin, name: line[start:end], header: line[at] == ':' && begin > at+1,
			}, true
		}
	}
	return naming{}, false
}

func nameEnd(line string, at int) int {
	for at < len(line) && isNaming(line[at]) {
		at++
	}
	return at
}

// nameBefore returns the name before a separator. It may be in quotes, and after it may be a bracket.
func nameBefore(line string, at int) (start, end int) {
	text := strings.TrimRight(line[:at], " \t")
	text = strings.TrimSuffix(text, "]")
	if text != "" && strings.IndexByte("\"'`", text[len(text)-1]) >= 0 {
		text = strings.TrimRight(text[:len(text)-1], `\`)
	}
	end = len(text)
	for start = end; start > 0 && isNaming(text[start-1]); start-- {
	}
	return start, end
}

func isNaming(b byte) bool { return isWord(b) || b == '-' || b == '.' }

// value returns where the value is, without the quotes around it.
func (n naming) value() (begin, end int) {
	switch {
	case n.variable:
		return n.begin, closing(n.line, n.begin, "}")
	case n.isText():
		return n.begin, quoteEnd(n.line, n.start, n.begin)
	}
	return valueAt(n.line, n.begin)
}

// isText says whether a value is the rest of the line, as in "password: my long one", and not a word or in quotes.
func (n naming) isText() bool {
	return (n.header || header.MatchString(n.name)) && textWords.MatchString(n.name) &&
		!opening.MatchString(n.line[n.begin:])
}
