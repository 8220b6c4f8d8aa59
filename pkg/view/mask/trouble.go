package mask

import "regexp"

var (
	// noSecret is what is said of a secret instead of telling it.
	noSecret = regexp.MustCompile(`^(?:true|false|null|nil)(?:[\s,;:.)}\]"'\\]|$)`)
	// few is a small number: how many of them there are.
	few = regexp.MustCompile(`^\d{1,5}[,;.)}\]\\]*$`)
	// guessed are names of secrets that may be such a number.
	guessed = regexp.MustCompile(`(?i)passw|passphrase|passcode|pwd|otp|pin$`)
	// trouble is what went wrong with a secret, behind its name and a colon.
	trouble = regexp.MustCompile(`^(?i:(?:(?:is |was |has )?(?:not (?:found|allowed|set|ready|valid|yet)|no such|` +
		`denied|forbidden|expired|invalid|missing|refused|rejected|unauthorized|unauthenticated|` +
		`unlicensed|unknown|unsupported|unexpected|failed|cannot|could not|permission denied|access denied|` +
		`rpc error|EOF|timed out|connection refused|` +
		`context (?:deadline exceeded|canceled))(?:[\s,;:.)}\]"'\\]|$))|` +
		`(?:dial|read|write) (?:tcp|udp|unix)|(?:open|stat) /|(?:Get|Head|Post|Put|Patch|Delete) \\*"|` +
		`[a-z.0-9]+ \\*"[^"]*" (?:is forbidden|is invalid|not found|already exists))`)
)

// tellsNone says whether what is behind a secret's name, from begin to end, is not the secret.
func (n naming) tellsNone(begin, end int) bool {
	text := n.line[begin:]
	return noSecret.MatchString(text) || few.MatchString(n.line[begin:end]) && !guessed.MatchString(n.name) ||
		n.header && trouble.MatchString(text)
}
