package why

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"example.com/dragoman/pkg/view"
)

// sortedKeys returns the keys of m: output never has the order of a map.
func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// listed joins words as a sentence has them, the first few if there are many.
func listed(words []string, most int) string {
	more := 0
	if len(words) > most {
		more = len(words) - most
		words = words[:most]
	}
	switch {
	case more > 0:
		return fmt.Sprintf("%s and %s more", strings.Join(words, ", "), view.Number(more))
	case len(words) < 2:
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " and " + words[len(words)-1]
}
