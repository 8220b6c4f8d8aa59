package figures_test

import (
	"testing"

	"example.com/dragoman/pkg/sanity/figures"
)

func TestTimesForPeople(t *testing.T) {
	for ms, expected := range map[figures.Milliseconds]string{
		0: "0 ms", 0.0041: "0.004 ms", 0.041: "0.041 ms", 0.414: "0.41 ms", 0.996: "1.00 ms",
		1.234: "1.23 ms", 42.94: "42.9 ms", 999.4: "999 ms", 999.6: "1.00 s", 1234: "1.23 s", 42_940: "42.9 s",
		125_400: "2 min 5 s", 3_725_000: "1 h 2 min 5 s",
		-0.5: "-0.50 ms",
	} {
		if got := ms.String(); got != expected {
			t.Errorf("%v ms is %q, expected %q", float64(ms), got, expected)
		}
	}
}

func TestSizesForPeople(t *testing.T) {
	for n, expected := range map[int64]string{
		0: "0 B", 999: "999 B", 1000: "1.00 kB", 999_499: "999 kB", 999_500: "1.00 MB",
		42_940_000: "42.9 MB", 1_234_000_000: "1.23 GB",
	} {
		if got := figures.Bytes(n); got != expected {
			t.Errorf("%d is %q, expected %q", n, got, expected)
		}
	}
}
