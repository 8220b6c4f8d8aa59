package why

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// sortedKeys returns the keys of m: output never has the order of a map.
func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// number writes n with separators between thousands.
func number(n int) string {
	digits := fmt.Sprint(n)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// count writes n with a noun: "1 device", "2,000 devices".
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return number(n) + " " + noun + "s"
}

// listed joins words as a sentence has them, the first few if there are many.
func listed(words []string, most int) string {
	more := 0
	if len(words) > most {
		more = len(words) - most
		words = words[:most]
	}
	switch {
	case more > 0:
		return fmt.Sprintf("%s and %s more", strings.Join(words, ", "), number(more))
	case len(words) < 2:
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " and " + words[len(words)-1]
}
