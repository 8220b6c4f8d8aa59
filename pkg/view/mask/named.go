package mask

import (
	"regexp"
	"strings"
)

var (
	// opening is what begins a value that says itself where it ends.
	opening = regexp.MustCompile(`^\\*["'` + "`" + `\[{(]`)
	// elsewhere is a value that is not on the line of its name, but on the next ones.
	elsewhere = regexp.MustCompile(`^(?:[|>][-+0-9]*\s*|[\[{(][^\])}]*)$`)
	header    = regexp.MustCompile(`(?i)authorization|cookie`)
	// noSecret is what is said of a secret instead of telling it.
	noSecret = regexp.MustCompile(`^(?:true|false|null|nil)(?:\W|$)`)
	// flagging is a flag with what is between it and its value.
	flagging = regexp.MustCompile(`^--?([A-Za-z0-9_.-]+)(\\*["']?[\s,]+\\*["']?)`)
)

// namedValues masks the values of what has a name that says that it is secret: name=value, "name": value, {NAME value},
// as Go prints a variable of an environment, and --name value. It goes through text line by line, and is what the lines
// before say of the next one.
type namedValues struct {
	// named says that a name was told that is a secret's, so that what is called "value" next is the secret.
	named bool
	// below is how far a name is indented whose secret is on further lines, which are indented more; or -1. Told says
	// that this has been said.
	below int
	told  bool
	names secretNames
}

// mask returns the next line without its values, and whether there is anything left of it.
func (n *namedValues) mask(line string) (string, bool) {
	switch {
	case !n.hides(line):
		return n.flags(n.line(line)), true
	case n.told:
		return "", false
	}
	n.told = true
	return line[:indentation(line)] + Hidden, true
}

// hides says whether a line is part of a secret that began on one before.
func (n *namedValues) hides(line string) bool {
	if n.below < 0 {
		return false
	}
	indented, text := indentation(line), strings.TrimSpace(line)
	if text == "" || indented > n.below || indented == n.below && strings.HasPrefix(text, "- ") {
		return true
	}
	n.below = -1
	return false
}

func indentation(line string) int { return len(line) - len(strings.TrimLeft(line, " \t")) }

// continues notes that the secret is on the next lines, if they are indented more than its name.
func (n *namedValues) continues(line string) {
	n.below, n.told = len(line)-len(strings.TrimLeft(line, " \t-")), false
}

func (n *namedValues) line(line string) string {
	var kept strings.Builder
	rest := 0
	for at := 0; ; {
		m, found := nextName(line, at)
		if !found {
			break
		}
		at = m.begin
		if !n.secret(m) {
			continue
		}
		begin, end := m.value()
		if noSecret.MatchString(line[begin:end]) {
			continue
		}
		if begin == len(line) || elsewhere.MatchString(line[begin:end]) {
			n.continues(line)
		}
		if begin < end && begin >= rest {
			kept.WriteString(line[rest:begin] + Hidden)
		}
		rest = max(rest, end) // what is masked may name a secret, too, which goes on after it
	}
	if rest == 0 {
		return line
	}
	kept.WriteString(line[rest:])
	return kept.String()
}

// secret says whether a value is to be masked: because of its own name, or of one that was told before.
func (n *namedValues) secret(m naming) bool {
	switch m.name {
	case "name", "key", "Name", "Key":
		begin, end := m.value()
		n.named = n.names.has(m.line[begin:end])
		return false
	case "value", "Value":
		was := n.named
		n.named = false
		return was
	}
	return n.names.has(m.name)
}

// flags masks what follows a flag that asks for a secret, unless that is another flag.
func (n *namedValues) flags(line string) string {
	var kept strings.Builder
	rest := 0
	for at := 0; at < len(line); at++ {
		next := strings.IndexByte(line[at:], '-')
		if next < 0 {
			break
		}
		at += next
		if at > 0 && strings.IndexByte(" \t\"'[,(", line[at-1]) < 0 {
			continue
		}
		found := flagging.FindStringSubmatchIndex(line[at:])
		if found == nil {
			continue
		}
		begin := at + found[1]
		if begin == len(line) || line[begin] == '-' || !n.names.has(line[at+found[2]:at+found[3]]) {
			continue
		}
		_, end := valueAt(line, begin)
		kept.WriteString(line[rest:begin] + Hidden)
		rest, at = end, end
	}
	if rest == 0 {
		return line
	}
	kept.WriteString(line[rest:])
	return kept.String()
}
