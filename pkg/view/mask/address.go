package mask

import (
	"net/netip"
	"strings"
)

// Address stands in the place of an IP address.
const Address = "[address]"

// maskAddresses masks IP addresses in text, but for those that mean the same on each machine, and those that are names.
func maskAddresses(text string, isName func(string) bool) string {
	const digits = "0123456789abcdefABCDEF:."
	var kept strings.Builder
	last := 0
	for at := 0; at < len(text); {
		begin := at + strings.IndexAny(text[at:], digits)
		if begin < at {
			break
		}
		end := begin
		for end < len(text) && strings.IndexByte(digits, text[end]) >= 0 {
			end++
		}
		at = end
		if begin > 0 && isWord(text[begin-1]) || end < len(text) && isWord(text[end]) {
			continue
		}
		if length := addressLength(text[begin:end]); length > 0 && !isName(text[begin:begin+length]) {
			kept.WriteString(text[last:begin] + Address)
			last = begin + length
		}
	}
	kept.WriteString(text[last:])
	return kept.String()
}

// addressLength says how much of what looks like an address is one: a port may follow, or the end of a sentence.
func addressLength(like string) int {
	if strings.Count(like, ".") < 3 && strings.Count(like, ":") < 2 {
		return 0
	}
	like = strings.TrimSuffix(strings.TrimRight(like, "."), ":")
	is, err := netip.ParseAddr(like)
	if err != nil {
		like, _, _ = strings.Cut(like, ":")
		is, err = netip.ParseAddr(like)
	}
	if err != nil || is.IsLoopback() || is.IsUnspecified() {
		return 0
	}
	return len(like)
}

// isWord says whether a byte is of a word or a number.
func isWord(b byte) bool {
	return b == '_' || b >= '0' && b <= '9' || b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z'
}
