package gather

import (
	"bytes"
	"regexp"
	"strings"
)

// masked stands in the place of what may be a secret.
const masked = "[masked]"

// What looks like a secret, and which part of it is kept. They are tried in this order.
var (
	maskHeader = regexp.MustCompile(`(?i)(authorization["']?\s*[:=]\s*["']?)` +
		`(?:(?:basic|bearer|digest|negotiate)\s+)?[^\s"',;]+`)
	maskBearer = regexp.MustCompile(`(?i)\b(bearer\s+)[a-z0-9._~+/=-]{8,}`)
	maskURL    = regexp.MustCompile(`(\b[a-zA-Z][a-zA-Z0-9+.-]*://)[^/\s"'@]+@`)
	maskJWT    = regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)?`)
	maskValue  = regexp.MustCompile(`(?i)(` + secretWords + `[a-z0-9_.-]*\\?["']?\s*[:=]\s*)` +
		`(\\?"[^"]*"|'[^']*'|[^\s"',;&}\]]+)`)
	maskSwitch   = regexp.MustCompile(`(?i)(--?[a-z0-9_.-]*(?:` + secretWords + `)[a-z0-9_.-]*\s+)([^\s-]\S*)`)
	namesASecret = regexp.MustCompile(`(?i)` + secretWords)
)

const secretWords = `(?:password|passwd|passphrase|pwd|token|secret|credential|` +
	`api[-_]?key|access[-_]?key|private[-_]?key)`

// mask returns text in which nothing looks like a secret: what follows "Bearer" or "password=", tokens, names and
// passwords in URLs, private keys. It errs on the side of masking.
func mask(text []byte) []byte {
	text = maskKeys(text)
	text = maskHeader.ReplaceAll(text, []byte("${1}"+masked))
	text = maskBearer.ReplaceAll(text, []byte("${1}"+masked))
	text = maskURL.ReplaceAll(text, []byte("${1}"+masked+"@"))
	text = maskJWT.ReplaceAll(text, []byte(masked))
	text = maskValue.ReplaceAll(text, []byte("${1}"+masked))
	return maskSwitch.ReplaceAll(text, []byte("${1}"+masked))
}

func maskString(text string) string { return string(mask([]byte(text))) }

// maskKeys takes out what is between the lines that begin and end a private key, also where the end is missing.
func maskKeys(text []byte) []byte {
	const begin, end = "-----BEGIN ", "-----END "
	if !bytes.Contains(text, []byte(begin)) {
		return text
	}
	var kept strings.Builder
	inside := false
	for line := range strings.Lines(string(text)) {
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
	return []byte(kept.String())
}
