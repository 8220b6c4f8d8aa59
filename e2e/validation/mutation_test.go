package validation

import (
	"encoding/json"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// mutated is a good object with one or two changes. The same seed makes the same.
func mutated(t *testing.T, seed uint64) (sample, []byte) {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 7)) //nolint:gosec // no secret
	kinds := sorted(bases())
	c := sample{kind: kinds[random.IntN(len(kinds))], name: "mutated"}
	var object map[string]any
	if err := json.Unmarshal(c.object(t), &object); err != nil {
		t.Fatal(err)
	}
	for range 1 + random.IntN(2) {
		mutate(random, object)
	}
	raw, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	return c, raw
}

// mutate goes down to somewhere and changes what is there. What the object is, it stays.
func mutate(random *rand.Rand, in any) {
	switch in := in.(type) {
	case map[string]any:
		keys := slices.DeleteFunc(sorted(in), func(k string) bool {
			return k == "apiVersion" || k == "kind" || k == "namespace"
		})
		if len(keys) == 0 {
			return
		}
		key := keys[random.IntN(len(keys))]
		if deeper(random, in[key]) {
			mutate(random, in[key])
			return
		}
		switch random.IntN(8) {
		case 0:
			delete(in, key)
		case 1:
			in[renamed(random, key)] = in[key]
			delete(in, key)
		default:
			in[key] = replaced(random, in[key])
		}
	case []any:
		if len(in) == 0 {
			return
		}
		i := random.IntN(len(in))
		if deeper(random, in[i]) {
			mutate(random, in[i])
			return
		}
		in[i] = replaced(random, in[i])
	}
}

func deeper(random *rand.Rand, value any) bool {
	switch value.(type) {
	case map[string]any, []any:
		return random.IntN(8) > 0
	}
	return false
}

func renamed(random *rand.Rand, key string) string {
	return []string{
		strings.ToUpper(key), key + "s", "x", key + "/" + key, "d.example.com/" + key, strings.ToLower(key), "a-b", "",
	}[random.IntN(8)]
}

func replaced(random *rand.Rand, value any) any {
	values := []any{
		nil, "", "a", "A", "a b", "a/b", "a.example.com/b", "/", "gpu", "net/slow", "true", true, false, 0, 1, -1, 2.5,
		"1Gi", "-1", "100m", 1 << 40, "NoSchedule", "None", "Exists", "All", "ExactCount", []any{}, map[string]any{},
		[]any{"gpu"}, []any{map[string]any{}}, map[string]any{"a": 1}, map[string]any{"a": "b"}, strings.Repeat("x", 70),
		"device.driver != ''", "device.", []any{1, 2}, "ü", "1.2.3",
	}
	if list, ok := value.([]any); ok && random.IntN(2) == 0 && len(list) > 0 {
		return append(slices.Clone(list), list[random.IntN(len(list))]) // something twice
	}
	return values[random.IntN(len(values))]
}
