package figures

import (
	"slices"
	"time"
)

// Summarise says how long calls took. Percentiles are times that were seen, by nearest rank: as many percent of the
// calls took that long or less. Of no calls it is nil. The slice stays as it is.
func Summarise(times []time.Duration) *Latency {
	if len(times) == 0 {
		return nil
	}
	sorted := slices.Sorted(slices.Values(times))
	percentile := func(percent int) Milliseconds {
		rank := (percent*len(sorted) + 99) / 100
		return Of(sorted[rank-1])
	}
	return &Latency{
		Count: len(sorted), P50: percentile(50), P90: percentile(90), P99: percentile(99), Max: Of(sorted[len(sorted)-1]),
	}
}
