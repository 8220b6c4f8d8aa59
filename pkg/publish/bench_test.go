package publish

import (
	"fmt"
	"testing"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// large returns n slices of 64 devices that say as much of themselves as a real GPU.
func large(n int) []resourceapi.ResourceSliceSpec {
	specs := make([]resourceapi.ResourceSliceSpec, n)
	for i := range specs {
		specs[i] = resourceapi.ResourceSliceSpec{
			Driver: driver, NodeName: new(node), Pool: resourceapi.ResourcePool{Name: node, ResourceSliceCount: int64(n)},
		}
		for d := range 64 {
			specs[i].Devices = append(specs[i].Devices, realistic(fmt.Sprintf("gpu-%d", 64*i+d)))
		}
	}
	return specs
}

func realistic(name string) resourceapi.Device {
	d := resourceapi.Device{
		Name:       name,
		Attributes: map[resourceapi.QualifiedName]resourceapi.DeviceAttribute{"index": {IntValue: new(int64(1))}},
		Capacity: map[resourceapi.QualifiedName]resourceapi.DeviceCapacity{
			"memory": {Value: resource.MustParse("81559Mi")}, "compute": {Value: resource.MustParse("100")},
		},
	}
	for a := range 12 {
		d.Attributes[resourceapi.QualifiedName(fmt.Sprintf("attribute%d", a))] = resourceapi.DeviceAttribute{
			StringValue: new(fmt.Sprintf("%s-%d", name, a)),
		}
	}
	return d
}

func stored(specs []resourceapi.ResourceSliceSpec) []*resourceapi.ResourceSlice {
	var held []*resourceapi.ResourceSlice
	for _, spec := range specs {
		held = append(held, &resourceapi.ResourceSlice{Spec: *spec.DeepCopy()})
	}
	return held
}

// BenchmarkCompare is what each event of the watch costs while the pool has as many slices as it shall have.
func BenchmarkCompare(b *testing.B) {
	for _, n := range []int{1, 157} {
		wanted := large(n)
		held := stored(wanted)
		b.Run(fmt.Sprintf("%d slices", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if !compare(held, wanted).none() {
					b.Fatal("there is no difference, and one was found")
				}
			}
		})
	}
}

// BenchmarkCheckPool is what each change costs before it is given to the controller.
func BenchmarkCheckPool(b *testing.B) {
	wanted := large(157)
	b.ReportAllocs()
	for b.Loop() {
		if err := checkPool(wanted, node); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPublish is what it costs to say again what was said last.
func BenchmarkPublish(b *testing.B) {
	p := New(Options{DriverName: driver, NodeName: node})
	wanted, again := large(157), large(157)
	p.Publish(wanted)
	b.ReportAllocs()
	for b.Loop() {
		p.Publish(again)
	}
}
