package main

import (
	"testing"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/dynamic-resource-allocation/kubeletplugin"
)

func TestItAnswersWithWhatIsAllocated(t *testing.T) {
	share := types.UID("share")
	claim := &resourceapi.ResourceClaim{}
	claim.UID = "claim"
	claim.Status.Allocation = &resourceapi.AllocationResult{}
	claim.Status.Allocation.Devices.Results = []resourceapi.DeviceRequestAllocationResult{
		{Request: "one", Driver: "noop.example.com", Pool: "node", Device: "device-1"},
		{Request: "other", Driver: "other.example.com", Pool: "node", Device: "device-2"},
		{Request: "two/first", Driver: "noop.example.com", Pool: "node", Device: "device-3", ShareID: &share},
	}
	d := &driver{name: "noop.example.com"}
	answer, err := d.PrepareResourceClaims(t.Context(), []*resourceapi.ResourceClaim{claim})
	if err != nil || len(answer) != 1 || answer["claim"].Err != nil {
		t.Fatalf("prepare answers %v, %v", answer, err)
	}
	devices := answer["claim"].Devices
	if len(devices) != 2 || devices[0].DeviceName != "device-1" || devices[0].Requests[0] != "one" ||
		devices[1].DeviceName != "device-3" || devices[1].Requests[0] != "two/first" || devices[1].ShareID != &share {
		t.Errorf("prepared %+v", devices)
	}
	undone, err := d.UnprepareResourceClaims(t.Context(), []kubeletplugin.NamespacedObject{{UID: "claim"}})
	if problem, is := undone["claim"]; err != nil || !is || problem != nil {
		t.Errorf("unprepare answers %v, %v", undone, err)
	}
}

func TestDevices(t *testing.T) {
	for text, slices := range map[string][]int{"": {16}, "0": {}, "64": {64}, "65": {64, 1}, "1": {1}} {
		count, err := deviceCount(text)
		if err != nil {
			t.Fatal(err)
		}
		names := map[string]bool{}
		got := pool(count).Slices
		for i, slice := range got {
			for _, device := range slice.Devices {
				names[device.Name] = true
			}
			if i >= len(slices) || len(slice.Devices) != slices[i] {
				t.Errorf("%q devices: slice %d has %d", text, i, len(slice.Devices))
			}
		}
		if len(got) != len(slices) || len(names) != count {
			t.Errorf("%q devices: %d slices with %d names", text, len(got), len(names))
		}
	}
	for _, text := range []string{"many", "-1", "1.5"} {
		if count, err := deviceCount(text); err == nil {
			t.Errorf("%q is taken for %d", text, count)
		}
	}
}
