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
	// next says that the secret may also be the next line, if that names nothing.
	next  bool
	names secretNames
	// isName says what is a name of something known, and thus no secret's.
	isName func(string) bool
}

// mask returns the next line without its values, and whether there is anything left of it. The time that a log has
// before it stays.
func (n *namedValues) mask(line string) (string, bool) {
	at := stamp(line)
	time, line := line[:at], line[at:]
	switch {
	case !n.hides(line):
		return time + n.flags(n.line(line)), true
	case n.told:
		return "", false
	}
	n.told = true
	return time + line[:indentation(line)] + Hidden, true
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
		if m.tellsNone(begin, end) {
			continue
		}
		if begin == len(line) || elsewhere.MatchString(line[begin:end]) {
			n.continues(m)
		}
		if begin == end {
			continue
		}
		if begin >= rest {
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

// secret says whether a value is to be masked: because of its own name, or of one that is told before it or behind.
func (n *namedValues) secret(m naming) bool {
	switch m.name {
	case "name", "key", "Name", "Key":
		n.named = n.tells(m)
		return false
	case "value", "Value", "val", "Val":
		was := n.named
		n.named = false
		return was || n.toldBehind(m)
	}
	if m.header && strings.Contains(m.name, "-") && n.isName(m.name) {
		return false // "claim a/secret-scanner: ..."
	}
	return n.names.has(m.name)
}

// tells says whether what a line names is the name of a secret.
func (n *namedValues) tells(m naming) bool {
	begin, end := m.value()
	return n.names.has(m.line[begin:end])
}

// toldBehind says whether the name of a value follows it: {"value":"x","name":"DB_PASSWORD"}.
func (n *namedValues) toldBehind(m naming) bool {
	_, end := m.value()
	next, found := nextName(m.line, end)
	if !found || strings.Trim(m.line[end:max(end, next.start)], `"', \`) != "" {
		return false
	}
	return (strings.EqualFold(next.name, "name") || strings.EqualFold(next.name, "key")) && n.tells(next)
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
