package inventory

import (
	"slices"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"example.com/dragoman/pkg/device"
)

// Capacity returns how much of what a device has, as it was seen last, and whether it was seen. It may be called
// concurrently with everything else.
func (i *Inventory) Capacity(name string) (capacity map[resourceapi.QualifiedName]resource.Quantity, known bool) {
	i.mu.Lock()
	devices := i.devices
	i.mu.Unlock()
	at := slices.IndexFunc(devices, func(d device.Device) bool { return d.Name == name })
	if at < 0 {
		return nil, false
	}
	capacity = make(map[resourceapi.QualifiedName]resource.Quantity, len(devices[at].Capacity))
	for of, has := range devices[at].Capacity {
		capacity[of] = has.Value
	}
	return capacity, true
}

// know lets others than Run's goroutine see devices, which nobody changes any more.
func (i *Inventory) know(devices []device.Device) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.devices = devices
}
