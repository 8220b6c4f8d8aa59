package mask

import "regexp"

// Hidden stands in the place of what may be a secret.
const Hidden = "[masked]"

// What names say that a value is secret: words that say so wherever they are in a name, and short ones that do where a
// name ends with them, but not within another word: "auth" and "dbAuth", and not "author".
var (
	longWords = regexp.MustCompile(`(?i)passw|passphrase|passcode|pwd|token|secret|credential|cookie|authorization|` +
		`signature|docker-?c(?:fg|onfig)|(?:api|access|account|client|encryption|hmac|license|licence|master|` +
		`private|session|shared|signing|ssh|storage|subscription|tls|webhook)[-_. ]?key|connection[-_. ]?string`)
	shortWords = regexp.MustCompile(`(?:^|[^A-Za-z])(?i:o?auths?|pass|pw|sig|pat|creds?|psk|otp(?:[-_]?code)?|` +
		`licen[cs]e|jwt|key[-_]?id)$|` +
		`[a-z](?:Auths?|Pass|Sig|Creds?|Jwt|JWT)$|(?i)(?:pg|db|user|my|root|admin)pass$`)
	// textWords are those of secrets that may have spaces in them.
	textWords = regexp.MustCompile(`(?i)passw|passphrase|pwd|secret|credential|cookie|authorization|pass$`)
	// aboutOne are names of what is about a secret and is none: where it is, how long it lasts; and of source files.
	aboutOne = regexp.MustCompile(`(?i)(?:file|path|dir|name|namespace|ttl|seconds|enabled|required)$|\.(?:go|cc?|rs|py)$`)
)

// counted are tokens that are none of a secret's: words of texts, and numbers of them.
var counted = regexp.MustCompile(`(?i)tokeni[sz](?:er|ation|ing|e)?s?|tokens?[-_]?(?:per|total|count|limit)[-_a-z]*|` +
	`(?:^|[^a-z])(?:num|max|min|total|input|output|prompt|generated)[-_]?tokens`)

// NamesASecret says whether a name says that its value is secret. It errs on the side of yes.
func NamesASecret(name string) bool {
	name = counted.ReplaceAllString(name, "")
	return (longWords.MatchString(name) || shortWords.MatchString(name)) && !aboutOne.MatchString(name)
}

// secretNames remembers what NamesASecret says: objects and logs have the same names again and again.
type secretNames map[string]bool

// mostNames is how many names are remembered; what looks like one in a log may be another on each line.
const mostNames = 10_000

// longestName is how much of a name is looked at, at its end: names are not longer, and what is takes long.
const longestName = 256

func (s secretNames) has(name string) bool {
	name = name[max(0, len(name)-longestName):]
	secret, known := s[name]
	if !known {
		secret = NamesASecret(name)
		if len(s) < mostNames {
			s[name] = secret
		}
	}
	return secret
}
