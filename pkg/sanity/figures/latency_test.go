package figures_test

import (
	"slices"
	"testing"
	"time"

	"example.com/dragoman/pkg/sanity/figures"
)

func TestSummarise(t *testing.T) {
	hundred := make([]time.Duration, 100)
	for i := range hundred {
		hundred[99-i] = time.Duration(i+1) * time.Millisecond
	}
	for name, c := range map[string]struct {
		times    []time.Duration
		expected *figures.Latency
	}{
		"of no calls there is nothing to say": {nil, nil},
		"one call is every percentile": {
			[]time.Duration{1500 * time.Microsecond}, &figures.Latency{Count: 1, P50: 1.5, P90: 1.5, P99: 1.5, Max: 1.5},
		},
		"of two, the lower is the median": {
			[]time.Duration{3 * time.Millisecond, time.Millisecond}, &figures.Latency{Count: 2, P50: 1, P90: 3, P99: 3, Max: 3},
		},
		"of a hundred, the percentile is the rank": {
			hundred, &figures.Latency{Count: 100, P50: 50, P90: 90, P99: 99, Max: 100},
		},
		"with one more, it is the next": {
			append(slices.Clone(hundred), 101*time.Millisecond),
			&figures.Latency{Count: 101, P50: 51, P90: 91, P99: 100, Max: 101},
		},
	} {
		t.Run(name, func(t *testing.T) {
			before := slices.Clone(c.times)
			got := figures.Summarise(c.times)
			if (got == nil) != (c.expected == nil) || got != nil && *got != *c.expected {
				t.Errorf("%+v, expected %+v", got, c.expected)
			}
			if !slices.Equal(before, c.times) {
				t.Error("the times were changed")
			}
		})
	}
}
