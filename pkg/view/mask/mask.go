package mask

import (
	"cmp"
	"slices"
	"strings"
)

// Options say what is masked beside secrets.
type Options struct {
	// Known are values that are secret, or not for everybody, and may be anywhere in text.
	Known []string
	// Addresses says that IP addresses in text are masked, too.
	Addresses bool
	// IsName says what is the name of something, although it looks like an address or a secret's name. Nil means nothing.
	IsName func(string) bool
}

// Masker masks secrets. It remembers names, so that one goroutine at a time may use it.
type Masker struct {
	known     *strings.Replacer
	addresses bool
	isName    func(string) bool
	names     secretNames
}

// New returns a masker.
func New(options Options) *Masker {
	m := &Masker{
		known: replacer(options.Known), addresses: options.Addresses, isName: options.IsName, names: secretNames{},
	}
	if m.isName == nil {
		m.isName = func(string) bool { return false }
	}
	return m
}

// replacer masks values in text, also where they are in a string of JSON.
func replacer(values []string) *strings.Replacer {
	values = slices.Clone(values)
	slices.SortFunc(values, func(a, b string) int {
		return cmp.Or(len(b)-len(a), strings.Compare(a, b)) // one may be in another
	})
	var pairs []string
	for _, value := range values {
		pairs = append(pairs, value, Hidden)
		if quoted, err := encoded(value); err == nil && string(quoted) != `"`+value+`"` {
			pairs = append(pairs, string(quoted[1:len(quoted)-1]), Hidden)
		}
	}
	return strings.NewReplacer(pairs...)
}

// Text returns what people and programs say (logs, messages, arguments) without what may be a secret. Masked once
// more, it stays as it is.
func (m *Masker) Text(text string) string {
	text = m.mask(m.known.Replace(text))
	if m.addresses {
		text = maskAddresses(text, m.isName)
	}
	return text
}

// mask returns text in which nothing looks like a secret: what follows "Bearer" or "password=", tokens, names and
// passwords in URLs, private keys. It errs on the side of masking.
func (m *Masker) mask(text string) string {
	if !strings.ContainsAny(text, ":={ ,\t\n-._") {
		return text // a word
	}
	text = maskKeys(text)
	var kept strings.Builder
	kept.Grow(len(text))
	named := namedValues{below: -1, names: m.names, isName: m.isName}
	for line := range strings.Lines(text) {
		body := strings.TrimRight(line, "\r\n")
		if left, is := named.mask(body); is {
			kept.WriteString(maskLooks(left) + line[len(body):])
		}
	}
	return kept.String()
}

// maskKeys takes out what is between the lines that begin and end a private key, also where the end is missing.
func maskKeys(text string) string {
	const begin, end = "-----BEGIN ", "-----END "
	if !strings.Contains(text, begin) {
		return text
	}
	var kept strings.Builder
	inside := false
	for line := range strings.Lines(text) {
		switch {
		case !inside && strings.Contains(line, begin) && strings.Contains(line, "PRIVATE KEY"):
			inside = !strings.Contains(line, end)
			before, _, _ := strings.Cut(line, begin)
			kept.WriteString(before + Hidden + "\n")
		case inside:
			inside = !strings.Contains(line, end)
		default:
			kept.WriteString(line)
		}
	}
	return kept.String()
}
