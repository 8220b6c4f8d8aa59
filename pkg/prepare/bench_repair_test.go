package prepare

import (
	"context"
	"fmt"
	"testing"

	"k8s.io/apimachinery/pkg/types"
)

// BenchmarkRepairFiles is one look for missing CDI files, where none is.
func BenchmarkRepairFiles(b *testing.B) {
	for _, n := range []int{10, 1000, 10000} {
		b.Run(fmt.Sprintf("n=%d", n), func(b *testing.B) {
			p := newNode(b).start(b)
			for i := range n {
				uid := types.UID(fmt.Sprintf("00000000-0000-4000-8000-%012d", i))
				if _, err := p.Prepare(context.Background(), planOf(uid, fmt.Sprint("gpu-", i))); err != nil {
					b.Fatal(err)
				}
			}
			for b.Loop() {
				if err := p.RepairFiles(context.Background()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
