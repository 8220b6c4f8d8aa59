package figures

import (
	"fmt"
	"strings"
	"time"
)

// none stands where there is no figure.
const none = "–"

// number has two or three digits that matter, as many as a measurement is good for: 0.41, 1.23, 42.9, 1234.
func number(v float64) string {
	switch {
	case v == 0:
		return "0"
	case v < 0:
		return "-" + number(-v)
	case v < 0.0095:
		return fmt.Sprintf("%.1g", v)
	case v < 0.0995:
		return fmt.Sprintf("%.3f", v)
	case v < 9.995:
		return fmt.Sprintf("%.2f", v)
	case v < 99.95:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}

// count is exact if it is a whole number.
func count(v float64) string {
	if v == float64(int64(v)) {
		return fmt.Sprintf("%d", int64(v))
	}
	return number(v)
}

// String is the time with its unit, for people: 0.41 ms, 1.23 s, 2 min 5 s.
func (m Milliseconds) String() string {
	switch {
	case m < 999.5:
		return number(float64(m)) + " ms"
	case m < 99_950:
		return number(float64(m)/1000) + " s"
	}
	return strings.NewReplacer("h", " h ", "m", " min ", "s", " s").Replace(
		(time.Duration(m) * time.Millisecond).Round(time.Second).String())
}

// Bytes is a size with its unit, for people: 42.9 MB, which are 42.9 times 10^6 bytes.
func Bytes(n int64) string {
	v := float64(n)
	switch {
	case v < 999.5:
		return fmt.Sprintf("%d B", n)
	case v < 999.5e3:
		return number(v/1e3) + " kB"
	case v < 999.5e6:
		return number(v/1e6) + " MB"
	}
	return number(v/1e9) + " GB"
}
