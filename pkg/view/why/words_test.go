package why

import "testing"

func TestNumbersAndListsReadLikeSentences(t *testing.T) {
	for got, want := range map[string]string{
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
