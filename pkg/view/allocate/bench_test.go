package allocate_test

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"example.com/dragoman/pkg/view"
	"example.com/dragoman/pkg/view/allocate"
)

// largeCluster has nodes with 8 GPUs each, of which so many are taken.
func largeCluster(nodes, taken int) *view.Cluster {
	c := &view.Cluster{Classes: []*resourceapi.DeviceClass{gpuClass()}}
	for n := range nodes {
		name := fmt.Sprintf("node-%04d", n)
		c.Nodes = append(c.Nodes, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}})
		c.Slices = append(c.Slices, onNode(name, devices(8)...))
		for g := range taken {
			c.Claims = append(c.Claims, held(fmt.Sprintf("held-%d-%d", n, g), name, fmt.Sprintf("gpu-%d", g)))
		}
	}
	return c
}

// A pod is simulated on each of a thousand nodes with eight GPUs.
func BenchmarkSimulateOnAThousandNodes(b *testing.B) {
	for _, taken := range []int{0, 6} {
		b.Run(fmt.Sprintf("taken=%d", taken), func(b *testing.B) {
			c := largeCluster(1000, taken)
			q := allocate.Question{Claims: []*resourceapi.ResourceClaim{asking("two", exactly("gpu", 2))}}
			b.ReportAllocs()
			for b.Loop() {
				s, err := allocate.Simulate(b.Context(), c, allocate.Options{}, q)
				if err != nil || !s.Possible() {
					b.Fatalf("possible: %t, error: %v", s.Possible(), err)
				}
			}
		})
	}
}

// A thousand nodes with eight GPUs are filled with pods of two.
func BenchmarkFillAThousandNodes(b *testing.B) {
	q := allocate.Question{Claims: []*resourceapi.ResourceClaim{asking("two", exactly("gpu", 2))}}
	b.ReportAllocs()
	for b.Loop() {
		a, err := allocate.New(largeCluster(1000, 0), allocate.Options{})
		if err != nil {
			b.Fatal(err)
		}
		placed, err := a.Fill(b.Context(), q, 1<<30)
		if err != nil || len(placed) != 4000 {
			b.Fatalf("%d placed, error: %v", len(placed), err)
		}
	}
}
