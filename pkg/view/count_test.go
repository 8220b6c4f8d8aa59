package view_test

import (
	"testing"

	"example.com/dragoman/pkg/view"
)

func TestNumbersReadLikeSentences(t *testing.T) {
	for got, want := range map[string]string{
		view.Count(1, "node"):       "1 node",
		view.Count(0, "node"):       "0 nodes",
		view.Count(1234567, "node"): "1,234,567 nodes",
		view.Number(999):            "999",
		view.Number(1000):           "1,000",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
