package inventory

import (
	"fmt"
	"testing"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"example.com/dragoman/pkg/device"
)

// described returns n devices that say as much of themselves as a real GPU, 13 attributes and 2 capacities, in an order
// that is none.
func described(n int) device.Snapshot {
	var s device.Snapshot
	for i := range n {
		at := (i*7919 + 1) % n // 7919 is prime: each place once
		text := func(format string, args ...any) resourceapi.DeviceAttribute {
			return resourceapi.DeviceAttribute{StringValue: new(fmt.Sprintf(format, args...))}
		}
		version := resourceapi.DeviceAttribute{VersionValue: new("580.95.5")}
		s.Devices = append(s.Devices, device.Device{Device: resourceapi.Device{
			Name: fmt.Sprintf("gpu-%d", at),
			Attributes: map[resourceapi.QualifiedName]resourceapi.DeviceAttribute{
				"type": text("gpu"), "index": {IntValue: new(int64(at))}, "uuid": text("GPU-%08x", at), "model": text("H100"),
				"productName": text("NVIDIA H100 80GB HBM3"), "brand": text("Nvidia"), "architecture": text("Hopper"),
				"cudaComputeCapability": version, "driverVersion": version, "cudaDriverVersion": version,
				"resource.kubernetes.io/pciBusID": text("%04x:1b:00.0", at),
				"resource.kubernetes.io/pcieRoot": text("pci%04x:00", at),
				"resource.kubernetes.io/numaNode": {IntValue: new(int64(0))},
			},
			Capacity: map[resourceapi.QualifiedName]resourceapi.DeviceCapacity{
				"memory": {Value: resource.MustParse("81559Mi")}, "compute": {Value: resource.MustParse("100")},
			},
		}})
	}
	return s
}

func BenchmarkSlices(b *testing.B) {
	for name, snapshot := range map[string]device.Snapshot{
		"8 GPUs":                      described(8),
		"10000 GPUs":                  sorted(described(10_000)), // as the inventory has them
		"9999 parts of 3333 GPUs":     partitioned(3333),
		"10000 GPUs, that say little": gpus(10_000),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Slices(snapshot, "gpu.example.com", "node-a", everything)
			}
		})
	}
}

// BenchmarkLook is what a minute without any change costs.
func BenchmarkLook(b *testing.B) {
	i := New(Options{DriverName: "gpu.example.com", NodeName: "node-a"})
	i.Offer(everything)
	snapshot := described(10_000)
	i.report(i.seen(snapshot, nil), func(Update) {})
	b.ReportAllocs()
	for b.Loop() {
		i.report(i.seen(snapshot, nil), func(Update) { b.Fatal("nothing changed, and that was told") })
	}
}
