package inventory

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"example.com/dragoman/pkg/device"
)

// shareable is what several claims may have at once.
func shareable(name string) device.Device {
	size, part := resource.MustParse("80Gi"), resource.MustParse("10Gi")
	return device.Device{Device: resourceapi.Device{Name: name, AllowMultipleAllocations: new(true),
		Capacity: map[resourceapi.QualifiedName]resourceapi.DeviceCapacity{"memory": {Value: size,
			RequestPolicy: &resourceapi.CapacityRequestPolicy{Default: &part, ValidValues: []resource.Quantity{part, size}}}},
	}}
}

// attachable is prepared before a pod is bound to it.
func attachable(name string) device.Device {
	return device.Device{Device: resourceapi.Device{Name: name, BindsToNode: new(true),
		BindingConditions: []string{"attached"}, BindingFailureConditions: []string{"attach-failed"}}}
}

func TestWhatBecomesOfDevicesWithoutAFeature(t *testing.T) {
	snapshot := device.Snapshot{Devices: []device.Device{
		shareable("share-0"), shareable("share-1"), attachable("fabric-0"), attachable("fabric-1"),
		{Device: resourceapi.Device{Name: "plain", BindsToNode: new(true)}},
	}}
	for name, test := range map[string]struct {
		without func(*Offer)
		devices []string
		shared  bool
		leftOut []string
	}{
		"with all": {func(*Offer) {}, []string{"fabric-0", "fabric-1", "plain", "share-0", "share-1"}, true, nil},
		"shares": {
			func(o *Offer) { o.Shares = false }, []string{"fabric-0", "fabric-1", "plain", "share-0", "share-1"}, false,
			[]string{"sharing is left out: it needs the feature gate DRAConsumableCapacity, without which the API server " +
				"drops allowMultipleAllocations and request policies: devices for several claims are offered to one claim at " +
				"a time"},
		},
		"binding conditions": {func(o *Offer) { o.BindingConditions = false }, []string{"plain", "share-0", "share-1"}, true,
			[]string{"preparing before binding is left out: it needs the feature gate DRADeviceBindingConditions with " +
				"DRAResourceClaimDeviceStatus, without which the API server drops binding conditions: devices that have some are " +
				"not offered"}},
	} {
		t.Run(name, func(t *testing.T) {
			o := everything
			test.without(&o)
			specs, leftOut := Slices(snapshot, "gpu.example.com", "node-a", o)
			if diff := cmp.Diff(test.devices, deviceNames(specs[0])); diff != "" {
				t.Errorf("devices (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.leftOut, sentences(leftOut)); diff != "" {
				t.Errorf("left out (-want +got):\n%s", diff)
			}
			for _, d := range specs[0].Devices {
				memory, has := d.Capacity["memory"]
				if has && (test.shared != (d.AllowMultipleAllocations != nil) || test.shared != (memory.RequestPolicy != nil)) {
					t.Errorf("device %s can be shared: %v with %v", d.Name, d.AllowMultipleAllocations, memory.RequestPolicy)
				}
				if d.BindsToNode != nil && !o.BindingConditions {
					t.Errorf("device %s has a field that is dropped: bindsToNode", d.Name)
				}
			}
			if snapshot.Devices[0].Capacity["memory"].RequestPolicy == nil || snapshot.Devices[4].BindsToNode == nil {
				t.Error("the snapshot was changed")
			}
		})
	}
}
