package prepare

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"k8s.io/apimachinery/pkg/types"
)

// nodeOf has n claims prepared.
func nodeOf(b *testing.B, n int) *process {
	b.Helper()
	p := newNode(b).start(b)
	for i := range n {
		uid := types.UID(fmt.Sprintf("00000000-0000-4000-8000-%012d", i))
		if _, err := p.Prepare(context.Background(), planOf(uid, fmt.Sprint("gpu-", i))); err != nil {
			b.Fatal(err)
		}
	}
	return p
}

// BenchmarkRepairFiles is one look for missing CDI files, where none is.
func BenchmarkRepairFiles(b *testing.B) {
	for _, n := range []int{10, 1000, 10000} {
		b.Run(fmt.Sprintf("n=%d", n), func(b *testing.B) {
			p := nodeOf(b, n)
			b.ReportAllocs()
			for b.Loop() {
				if err := p.RepairFiles(context.Background()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkRepair is one comparison of all records with the node, where nothing is missing.
func BenchmarkRepair(b *testing.B) {
	for _, n := range []int{10, 1000, 10000} {
		b.Run(fmt.Sprintf("n=%d", n), func(b *testing.B) {
			p := nodeOf(b, n)
			b.ReportAllocs()
			for b.Loop() {
				if err := p.Repair(context.Background()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkStart is what the kubelet waits for when a process starts on a node where n claims are prepared.
func BenchmarkStart(b *testing.B) {
	for _, n := range []int{10, 10000} {
		b.Run(fmt.Sprintf("n=%d", n), func(b *testing.B) {
			p := nodeOf(b, n)
			b.ReportAllocs()
			for b.Loop() {
				if err := p.start(b).Restore(context.Background()); err != nil && !errors.Is(err, ErrUnfinished) {
					b.Fatal(err)
				}
			}
		})
	}
}
