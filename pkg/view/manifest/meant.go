package manifest

import (
	"fmt"
	"strings"

	"example.com/dragoman/pkg/nearest"
)

// meant ends a message about a name that does not exist with the one that was probably meant, or with all of them if
// they are few.
func meant(name string, known []string) string {
	const few = 12
	if near := nearest.Of(name, known); near != "" {
		return fmt.Sprintf("; did you mean %q?", near)
	}
	if len(known) > 0 && len(known) <= few {
		return "; there are: " + strings.Join(known, ", ")
	}
	return ""
}
