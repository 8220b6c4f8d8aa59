package view

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// BenchmarkDevices lists the devices of a thousand nodes: ten thousand devices, half of which a claim has.
func BenchmarkDevices(b *testing.B) {
	for name, makeCluster := range map[string]func() *Cluster{
		"10000 whole devices, 5000 claims": func() *Cluster { return large(1000, 10) },
		"10000 parts of GPUs, 5000 claims": func() *Cluster { return largeInParts(125, 4) },
	} {
		b.Run(name, func(b *testing.B) {
			c := makeCluster()
			b.ReportAllocs()
			for b.Loop() {
				l, err := Devices(c, DeviceOptions{})
				if err != nil || l.Summary.Devices != 10000 {
					b.Fatalf("%v, %s", err, l.Summary)
				}
			}
		})
	}
}

func large(nodes, each int) *Cluster {
	c := &Cluster{}
	for n := range nodes {
		node := fmt.Sprintf("node-%d", n)
		s := sliceOf(node, node+"-0", 1)
		for i := range each {
			s.Spec.Devices = append(s.Spec.Devices, largeDevice(fmt.Sprintf("gpu-%d", i), "H100-SXM5-80GB"))
			if i%2 == 0 {
				c.Claims = append(c.Claims, holding(node, fmt.Sprintf("gpu-%d", i)))
			}
		}
		c.Nodes = append(c.Nodes, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node}})
		c.Slices = append(c.Slices, s)
	}
	return c
}

// largeInParts has GPUs of twenty parts, ten of which are in use.
func largeInParts(nodes, gpus int) *Cluster {
	c := &Cluster{}
	for n := range nodes {
		node := fmt.Sprintf("node-%d", n)
		counters := sliceOf(node, node+"-0", 3)
		devices := []*resourceapi.ResourceSlice{sliceOf(node, node+"-1", 3), sliceOf(node, node+"-2", 3)}
		for g := range gpus {
			set := resourceapi.CounterSet{Name: fmt.Sprintf("gpu-%d", g), Counters: make(map[string]resourceapi.Counter)}
			for m := range 20 {
				counter := fmt.Sprintf("memory-slice-%d", m)
				one := map[string]resourceapi.Counter{counter: {Value: resource.MustParse("1")}}
				set.Counters[counter] = one[counter]
				d := largeDevice(fmt.Sprintf("gpu-%d-part-%d", g, m), "H100-SXM5-80GB")
				d.Attributes["profile"] = resourceapi.DeviceAttribute{StringValue: new(fmt.Sprintf("%dg", m%5))}
				d.ConsumesCounters = []resourceapi.DeviceCounterConsumption{{CounterSet: set.Name, Counters: one}}
				devices[g%2].Spec.Devices = append(devices[g%2].Spec.Devices, d)
				if m%2 == 0 {
					c.Claims = append(c.Claims, holding(node, d.Name))
				}
			}
			counters.Spec.SharedCounters = append(counters.Spec.SharedCounters, set)
		}
		c.Slices = append(c.Slices, counters, devices[0], devices[1])
	}
	return c
}

func sliceOf(node, name string, count int64) *resourceapi.ResourceSlice {
	return &resourceapi.ResourceSlice{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: resourceapi.ResourceSliceSpec{
		Driver: "gpu.example.com", NodeName: &node, Pool: resourceapi.ResourcePool{Name: node, ResourceSliceCount: count},
	}}
}

func largeDevice(name, model string) resourceapi.Device {
	d := resourceapi.Device{
		Name:     name,
		Capacity: map[resourceapi.QualifiedName]resourceapi.DeviceCapacity{"memory": {Value: resource.MustParse("80Gi")}},
		Attributes: map[resourceapi.QualifiedName]resourceapi.DeviceAttribute{
			"model": {StringValue: new(model)}, "uuid": {StringValue: new("GPU-" + name)},
		},
	}
	for i := range 10 {
		name := resourceapi.QualifiedName(fmt.Sprintf("attribute%d", i))
		d.Attributes[name] = resourceapi.DeviceAttribute{IntValue: new(int64(i))}
	}
	return d
}

func holding(node, device string) *resourceapi.ResourceClaim {
	name := node + "-" + device
	return &resourceapi.ResourceClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "team-a", Name: name, UID: types.UID(name)},
		Status: resourceapi.ResourceClaimStatus{
			Allocation: &resourceapi.AllocationResult{Devices: resourceapi.DeviceAllocationResult{
				Results: []resourceapi.DeviceRequestAllocationResult{
					{Request: "gpu", Driver: "gpu.example.com", Pool: node, Device: device},
				},
			}},
			ReservedFor: []resourceapi.ResourceClaimConsumerReference{{Resource: "pods", Name: "pod-" + name, UID: "u"}},
		},
	}
}
