package mask

import (
	"regexp"
	"strings"
)

// startsField is what is before a name that is the first of a line, or one of JSON's.
var startsField = regexp.MustCompile(`^[\s-]*["']?$|[{,]\s*\\*["']$`)

// stamp returns how long the time is that a log has before each line, with the blank after it; 0 for none.
func stamp(line string) int {
	const like = "0000-00-00T00:00:00"
	if len(line) <= len(like) {
		return 0
	}
	for i := range len(like) {
		if digit := line[i] >= '0' && line[i] <= '9'; digit != (like[i] == '0') || !digit && line[i] != like[i] {
			return 0
		}
	}
	if end := strings.IndexByte(line, ' '); end >= 0 {
		return end + 1
	}
	return len(line)
}

func indentation(line string) int { return len(line) - len(strings.TrimLeft(line, " \t")) }

// hides says whether a line is part of a secret that began on one before.
func (n *namedValues) hides(line string) bool {
	if n.below < 0 {
		return false
	}
	indented, text, next := indentation(line), strings.TrimSpace(line), n.next
	n.next = false
	switch {
	case text == "" || indented > n.below || indented == n.below && strings.HasPrefix(text, "- "):
		return true
	case next && indented == n.below && !names(text):
		n.below = -1
		return true
	}
	n.below = -1
	return false
}

// names says whether a text begins with the name of something.
func names(text string) bool {
	m, is := nextName(text, 0)
	return is && strings.Trim(text[:m.start], `"'\{- `) == "" && strings.Contains(text[m.start:m.begin], ":")
}

// continues notes that the secret is on the next lines, if they are indented more than its name, or for a colon at the
// end of the line the next line alone. At the end of a sentence, a name has none.
func (n *namedValues) continues(m naming) {
	before := strings.TrimLeft(m.line, " \t-")
	if m.begin == len(m.line) && !startsField.MatchString(m.line[:m.start]) {
		return
	}
	n.below, n.told = len(m.line)-len(before), false
	n.next = m.begin == len(m.line) && strings.HasSuffix(strings.TrimRight(m.line, " \t"), ":")
}
