package why

import "testing"

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
		"nothing near":                  {"model", []string{"uuid", "driverVersion"}, ""},
		"the very same is no other":     {"model", []string{"model"}, ""},
		"nothing known":                 {"model", nil, ""},
		"of several the first":          {"gpu-1", []string{"gpu-2", "gpu-3"}, "gpu-2"},
		"a short name has to be nearer": {"ab", []string{"cd", "xy"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := nearest(c.typed, c.known); got != c.want {
				t.Errorf("%q is nearest to %q, want %q", c.typed, got, c.want)
			}
		})
	}
}

func TestDistanceIsTheSameInBothDirections(t *testing.T) {
	words := []string{"", "a", "model", "Model", "modell", "memory", "gpu.example.com", "größe"}
	for _, a := range words {
		for _, b := range words {
			if distance(a, b) != distance(b, a) || (distance(a, b) == 0) != (a == b) {
				t.Errorf("distance of %q and %q: %d and %d", a, b, distance(a, b), distance(b, a))
			}
		}
	}
}

func TestNumbersAndListsReadLikeSentences(t *testing.T) {
	for got, want := range map[string]string{
		count(1, "node"):                        "1 node",
		count(1234567, "node"):                  "1,234,567 nodes",
		number(999):                             "999",
		listed(nil, 3):                          "",
		listed([]string{"a"}, 3):                "a",
		listed([]string{"a", "b", "c"}, 3):      "a, b and c",
		listed([]string{"a", "b", "c", "d"}, 2): "a, b and 2 more",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
