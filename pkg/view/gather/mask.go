package gather

import (
	"regexp"
	"strings"

	"example.com/dragoman/pkg/view"
)

// What is a secret by its look. They are tried in this order.
var (
	bearer  = regexp.MustCompile(`(?i)\b(bearer\s+)[a-z0-9._~+/=-]{8,}`)
	userURL = regexp.MustCompile(`(\b[a-zA-Z][a-zA-Z0-9+.-]*://)[^/\s"']+@`)
	jwt     = regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)?`)
	issued  = regexp.MustCompile(`\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{20,}|\bgithub_pat_\w{20,}|` +
		`\bglpat-[\w-]{16,}|\bxox[abprs]-[\w-]{10,}|\bnvapi-[\w-]{20,}|\bhf_[A-Za-z0-9]{20,}|\bsk-[\w-]{20,}`)
)

// masker masks what the reader of a bundle has no business to know. The walk over objects and all text go through it.
type masker struct {
	known *strings.Replacer
	// addresses says that they are masked, too, but for those that are names.
	addresses bool
	isName    func(string) bool
}

func newMasker(c *view.Cluster, full bool) masker {
	names := shown(c)
	return masker{
		known: repeated(c, names, full), addresses: !full, isName: func(text string) bool { return names[text] },
	}
}

// text masks what people and programs say: logs, messages, arguments.
func (m masker) text(text string) string {
	text = maskString(m.known.Replace(text))
	if m.addresses {
		text = maskAddresses(text, m.isName)
	}
	return text
}

// maskString returns text in which nothing looks like a secret: what follows "Bearer" or "password=", tokens, names and
// passwords in URLs, private keys. It errs on the side of masking.
func maskString(text string) string {
	if !strings.ContainsAny(text, ":={ ,\t\n-._") {
		return text // a word
	}
	text = maskKeys(text)
	var kept strings.Builder
	kept.Grow(len(text))
	named := newNamedValues()
	for line := range strings.Lines(text) {
		body := strings.TrimRight(line, "\r\n")
		if left, is := named.mask(body); is {
			kept.WriteString(maskLooks(left) + line[len(body):])
		}
	}
	return kept.String()
}

// maskLooks masks in a line what is a secret by its look. Few lines have what is looked for first, which is cheaper.
func maskLooks(line string) string {
	if strings.Contains(line, "earer") || strings.Contains(line, "EARER") {
		line = bearer.ReplaceAllString(line, "${1}"+masked)
	}
	if strings.Contains(line, "://") && strings.Contains(line, "@") {
		line = userURL.ReplaceAllString(line, "${1}"+masked+"@")
	}
	if strings.Contains(line, "eyJ") {
		line = jwt.ReplaceAllString(line, masked)
	}
	for _, begins := range []string{"AKIA", "ASIA", "gh", "glpat-", "xox", "nvapi-", "hf_", "sk-"} {
		if strings.Contains(line, begins) {
			return issued.ReplaceAllString(line, masked)
		}
	}
	return line
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
			kept.WriteString(before + masked + "\n")
		case inside:
			inside = !strings.Contains(line, end)
		default:
			kept.WriteString(line)
		}
	}
	return kept.String()
}
