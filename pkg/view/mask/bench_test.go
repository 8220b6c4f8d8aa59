package mask

import (
	"strings"
	"testing"
)

// BenchmarkMaskLog masks a log as drivers write them. It says how fast: the logs of 40 drivers are up to 160 MiB.
func BenchmarkMaskLog(b *testing.B) {
	const lines = `2026-11-23T10:00:00.123456Z I1123 10:00:00.123456       1 prepare.go:45] "Prepared" claim="a/train-0"
2026-11-23T10:00:00.123456Z {"level":"info","ts":1.5,"msg":"published","pool":"node-a","address":"192.0.2.1:8080"}
`
	text := strings.Repeat(lines, 2000)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		New(Options{Addresses: true}).Text(text)
	}
}
