package nearest_test

import (
	"strings"
	"testing"

	"example.com/dragoman/pkg/nearest"
)

func TestTheNearestNameIsTheOneThatWasMeant(t *testing.T) {
	for name, c := range map[string]struct {
		typed string
		known []string
		want  string
	}{
		"two letters swapped":           {"coutn", []string{"index", "cout", "count"}, "count"},
		"a letter left out":             {"modl", []string{"model", "memory"}, "model"},
		"a letter too many":             {"modell", []string{"model"}, "model"},
		"other case, before another":    {"h100", []string{"A100", "H100"}, "H100"},
		"all in other letters":          {"ALLOCATIONMODE", []string{"name", "allocationMode"}, "allocationMode"},
		"a very long one":               {strings.Repeat("x", 1<<20), []string{"model"}, ""},
		"nothing near":                  {"model", []string{"uuid", "driverVersion"}, ""},
		"the very same is no other":     {"model", []string{"model"}, ""},
		"nothing known":                 {"model", nil, ""},
		"of several the first":          {"gpu-1", []string{"gpu-2", "gpu-3"}, "gpu-2"},
		"a short name has to be nearer": {"ab", []string{"cd", "xy"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := nearest.Of(c.typed, c.known); got != c.want {
				t.Errorf("%q is nearest to %q, want %q", c.typed, got, c.want)
			}
		})
	}
}

func TestDistanceIsTheSameInBothDirections(t *testing.T) {
	words := []string{"", "a", "model", "Model", "modell", "memory", "gpu.example.com", "größe"}
	for _, a := range words {
		for _, b := range words {
			if nearest.Distance(a, b) != nearest.Distance(b, a) || (nearest.Distance(a, b) == 0) != (a == b) {
				t.Errorf("distance of %q and %q: %d and %d", a, b, nearest.Distance(a, b), nearest.Distance(b, a))
			}
		}
	}
}
