package figures_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"example.com/dragoman/pkg/sanity/figures"
)

func prepared(driver string, n int, p50, p99 figures.Milliseconds) figures.Measurement {
	return figures.Measurement{
		Workload: "prepared", Driver: driver, Operation: "prepare", Situation: figures.Situation{Prepared: n},
		Latency: &figures.Latency{Count: 1, P50: p50, P99: p99, Max: p99},
	}
}

// Whatever was measured, the picture is well-formed XML and its curves are in the field.
func TestThePlotHoldsEveryPoint(t *testing.T) {
	for name, c := range map[string]struct {
		measured []figures.Measurement
		points   int
	}{
		"five decades of two drivers":   {example().Measurements, 20},
		"one number of claims, alone":   {[]figures.Measurement{prepared(mine, 100, 0.4, 0.9)}, 2},
		"nothing prepared, alone":       {[]figures.Measurement{prepared(mine, 0, 0.4, 0.4)}, 2},
		"numbers that are no decades":   {[]figures.Measurement{prepared(mine, 3, 0.4, 1), prepared(mine, 70, 0.5, 1)}, 4},
		"latencies that grow a lot":     {[]figures.Measurement{prepared(mine, 1, 0.004, 1), prepared(mine, 9, 900, 1e5)}, 4},
		"a clock that saw no time pass": {[]figures.Measurement{prepared(mine, 1, 0, 1), prepared(mine, 10, 1, 2)}, 2},
		"a time that is a tick":         {[]figures.Measurement{prepared(mine, 1, 1, 10), prepared(mine, 10, 1, 10)}, 4},
	} {
		t.Run(name, func(t *testing.T) {
			r := example()
			r.Measurements = c.measured
			var text bytes.Buffer
			if err := figures.SVG(&text, r); err != nil {
				t.Fatal(err)
			}
			wellFormed(t, text.String())
			points := regexp.MustCompile(`<circle cx="([^"]*)" cy="([^"]*)"`).FindAllStringSubmatch(text.String(), -1)
			if len(points) != c.points {
				t.Errorf("%d points, expected %d:\n%s", len(points), c.points, text.String())
			}
			for _, p := range points {
				x, err1 := strconv.ParseFloat(p[1], 64)
				y, err2 := strconv.ParseFloat(p[2], 64)
				if err1 != nil || err2 != nil || !(x >= 76 && x <= 776 && y >= 104 && y <= 420) {
					t.Errorf("a point is at %s, %s, outside of the field", p[1], p[2])
				}
			}
		})
	}
}

func wellFormed(t *testing.T, text string) {
	t.Helper()
	for d := xml.NewDecoder(strings.NewReader(text)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatalf("%v:\n%s", err, text)
		}
	}
}

// More prepared claims are further to the right, longer times further up.
func TestThePlotHasItsAxesTheUsualWay(t *testing.T) {
	r := example()
	r.Measurements = []figures.Measurement{prepared(mine, 10, 2, 2), prepared(mine, 0, 1, 1)}
	var text bytes.Buffer
	if err := figures.SVG(&text, r); err != nil {
		t.Fatal(err)
	}
	at := regexp.MustCompile(`points="([\d.]+),([\d.]+) ([\d.]+),([\d.]+)"`).FindStringSubmatch(text.String())
	if at == nil {
		t.Fatal(text.String())
	}
	var v [5]float64
	for i := 1; i < len(at); i++ {
		v[i], _ = strconv.ParseFloat(at[i], 64)
	}
	if v[1] >= v[3] || v[2] <= v[4] {
		t.Errorf("from 0 claims, 1 ms to 10 claims, 2 ms the line goes from %v,%v to %v,%v", v[1], v[2], v[3], v[4])
	}
}

func TestAReportWithoutSuchLatenciesHasNoPlot(t *testing.T) {
	r := example()
	r.Measurements = starts()
	if err := figures.SVG(io.Discard, r); err == nil || !strings.Contains(err.Error(), `no latency of "prepare"`) {
		t.Errorf("the error is %v", err)
	}
}
