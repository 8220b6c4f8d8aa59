package inventory

import (
	"testing"
	"testing/synctest"

	"k8s.io/apimachinery/pkg/api/resource"
)

func TestTheCapacityIsThatOfTheLastLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &backend{}
		b.set(nil, "gpu-0")
		b.snapshot.Devices = append(b.snapshot.Devices, shareable("share-0"))
		i := New(Options{Backend: b, DriverName: "gpu.example.com", NodeName: "node-a"})
		if _, known := i.Capacity("share-0"); known {
			t.Error("a device is known before anybody looked")
		}
		runWith(t, i)
		synctest.Wait()
		capacity, known := i.Capacity("share-0")
		if memory := capacity["memory"]; !known || memory.Cmp(resource.MustParse("80Gi")) != 0 || len(capacity) != 1 {
			t.Errorf("known: %v, %v", known, capacity)
		}
		if capacity, known := i.Capacity("gpu-0"); !known || len(capacity) != 0 {
			t.Errorf("a device without capacity: known: %v, %v", known, capacity)
		}
		if _, known := i.Capacity("gpu-7"); known {
			t.Error("a device is known that is not there")
		}
	})
}
