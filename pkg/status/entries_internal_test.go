package status

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"example.com/dragoman/pkg/device"
)

const (
	driverName = "gpu.example.com"
	nodeName   = "node-a"
)

var (
	longAgo = metav1.NewTime(time.Unix(1_600_000_000, 0))
	now     = metav1.NewTime(time.Unix(1_700_000_000, 0))
)

func set(name string) Device {
	return Device{Pool: nodeName, Device: name, CDIDeviceIDs: []string{"k8s.gpu.example.com/gpu=1-" + name},
		Health: &device.Health{}}
}

// with is a device that is set up, and changed.
func with(name string, change func(*Device)) Device {
	d := set(name)
	change(&d)
	return d
}

func result(name string) resourceapi.DeviceRequestAllocationResult {
	return resourceapi.DeviceRequestAllocationResult{Request: "gpu", Driver: driverName, Pool: nodeName, Device: name}
}

// showing is the status of a claim with gpu-0 and gpu-1, of which gpu-0 has these conditions.
func showing(conditions ...metav1.Condition) resourceapi.ResourceClaimStatus {
	s := resourceapi.ResourceClaimStatus{Allocation: &resourceapi.AllocationResult{}}
	s.Allocation.Devices.Results = []resourceapi.DeviceRequestAllocationResult{result("gpu-0"), result("gpu-1")}
	if len(conditions) > 0 {
		s.Devices = []resourceapi.AllocatedDeviceStatus{
			{Driver: driverName, Pool: nodeName, Device: "gpu-0", Conditions: conditions}}
	}
	return s
}

func others(n int) (conditions []metav1.Condition) {
	for i := range n {
		conditions = append(conditions, metav1.Condition{Type: fmt.Sprintf("gpu.example.com/c%d", i), Status: "True"})
	}
	return conditions
}

// inShort says what is shown in a line.
func inShort(entries []resourceapi.AllocatedDeviceStatus) (lines []string) {
	for _, e := range entries {
		line := e.Device
		if e.ShareID != nil {
			line += "/" + *e.ShareID
		}
		for _, c := range e.Conditions {
			since := "now"
			if c.LastTransitionTime.Equal(&longAgo) {
				since = "long ago"
			}
			line += fmt.Sprintf(" %s=%s %s %s", c.Type, c.Status, c.Reason, since)
		}
		lines = append(lines, line)
	}
	return lines
}

func TestEntriesOfAClaim(t *testing.T) {
	const good = "gpu-0 Ready=True Prepared now Healthy=True Healthy now"
	shared := showing()
	shared.Allocation.Devices.Results[0].ShareID = new(types.UID("share-1"))
	elsewhere := showing()
	elsewhere.Allocation.Devices.Results[1] = result("gpu-0")
	elsewhere.Allocation.Devices.Results[1].Pool = "node-b"
	for name, tc := range map[string]struct {
		devices []Device
		now     resourceapi.ResourceClaimStatus
		want    []string
	}{
		"a device that is set up and well": {[]Device{set("gpu-0")}, showing(), []string{good}},
		"a device that is ill is as ready as before": {
			[]Device{with("gpu-0", func(d *Device) { d.Health = &device.Health{Unhealthy: true, Reason: "fan broken"} })},
			showing(), []string{"gpu-0 Ready=True Prepared now Healthy=False Unhealthy now"}},
		"of a device that the node has not any more it is not known": {
			[]Device{with("gpu-0", func(d *Device) { d.Health = nil })},
			showing(), []string{"gpu-0 Ready=True Prepared now Healthy=Unknown Gone now"}},
		"what is the same as before has its time": {[]Device{set("gpu-0")},
			showing(metav1.Condition{Type: Ready, Status: "True", LastTransitionTime: longAgo},
				metav1.Condition{Type: Healthy, Status: "False", LastTransitionTime: longAgo}),
			[]string{"gpu-0 Ready=True Prepared long ago Healthy=True Healthy now"}},
		"others left room for one condition": {[]Device{set("gpu-0")}, showing(others(7)...),
			[]string{"gpu-0 Ready=True Prepared now"}},
		"others left no room": {[]Device{set("gpu-0")}, showing(others(8)...), []string{"gpu-0"}},
		"our own conditions take none of the room": {[]Device{set("gpu-0")},
			showing(append(others(6), metav1.Condition{Type: Ready}, metav1.Condition{Type: Healthy})...), []string{good}},
		"what is not allocated is left out": {[]Device{set("gpu-0"), set("gpu-7")}, showing(), []string{good}},
		"what is of another node is left out": {
			[]Device{set("gpu-0"), with("gpu-0", func(d *Device) { d.Pool = "node-b" })}, elsewhere, []string{good}},
		"a device is there once": {[]Device{set("gpu-0"), set("gpu-0")}, showing(), []string{good}},
		"a share is another device than the whole": {[]Device{set("gpu-0"),
			with("gpu-0", func(d *Device) { d.ShareID = new(types.UID("share-1")) })}, shared,
			[]string{"gpu-0/share-1 Ready=True Prepared now Healthy=True Healthy now"}},
		"a claim without devices has no entries": {[]Device{set("gpu-0")}, resourceapi.ResourceClaimStatus{}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			w := New(Options{DriverName: driverName, NodeName: nodeName})
			if got := inShort(w.entries(tc.devices, tc.now, now)); !slices.Equal(got, tc.want) {
				t.Errorf("got  %q\nwant %q", got, tc.want)
			}
		})
	}
}

func TestAReasonIsCutWithinACharacter(t *testing.T) {
	d := with("gpu-0", func(d *Device) {
		d.Health = &device.Health{Unhealthy: true, Reason: strings.Repeat("x", maxMessage-1) + "ü and more"}
	})
	if got := healthy(d).Message; len(got) > maxMessage || !utf8.ValidString(got) || !strings.HasPrefix(got, "xxx") {
		t.Errorf("%d bytes, valid %t", len(got), utf8.ValidString(got))
	}
}

func TestWhetherAllIsShownAlready(t *testing.T) {
	full := with("gpu-0", func(d *Device) {
		d.Data = json.RawMessage(`{"a": 1, "b": [2]}`)
		d.Network = &resourceapi.NetworkDeviceData{InterfaceName: "net0", IPs: []string{"10.1.0.1/24"}}
	})
	for name, tc := range map[string]struct {
		change func(*resourceapi.ResourceClaimStatus)
		want   bool
	}{
		"as it was written": {func(*resourceapi.ResourceClaimStatus) {}, true},
		"with what others say": {func(s *resourceapi.ResourceClaimStatus) {
			s.Devices[0].Conditions = append(s.Devices[0].Conditions, others(2)...)
			s.Devices = append(s.Devices, resourceapi.AllocatedDeviceStatus{Driver: "other.example.com", Device: "gpu-0"})
		}, true},
		"with the same data written otherwise": {func(s *resourceapi.ResourceClaimStatus) {
			s.Devices[0].Data = &runtime.RawExtension{Raw: []byte(`{"b":[2],"a":1}`)}
		}, true},
		"with other data": {func(s *resourceapi.ResourceClaimStatus) {
			s.Devices[0].Data = &runtime.RawExtension{Raw: []byte(`{"b":[2],"a":2}`)}
		}, false},
		"without data":         {func(s *resourceapi.ResourceClaimStatus) { s.Devices[0].Data = nil }, false},
		"without network data": {func(s *resourceapi.ResourceClaimStatus) { s.Devices[0].NetworkData = nil }, false},
		"without a condition": {func(s *resourceapi.ResourceClaimStatus) {
			s.Devices[0].Conditions = s.Devices[0].Conditions[:1]
		}, false},
		"with another reason": {func(s *resourceapi.ResourceClaimStatus) { s.Devices[0].Conditions[1].Reason = "X" }, false},
		"with another message": {func(s *resourceapi.ResourceClaimStatus) {
			s.Devices[0].Conditions[1].Message = "X"
		}, false},
		"with nothing": {func(s *resourceapi.ResourceClaimStatus) { s.Devices = nil }, false},
		"with what the driver says on another node": {func(s *resourceapi.ResourceClaimStatus) {
			more := *s.Devices[0].DeepCopy()
			more.Pool = "node-b"
			s.Devices = append(s.Devices, more)
		}, true},
		"with an entry too many": {func(s *resourceapi.ResourceClaimStatus) {
			more := *s.Devices[0].DeepCopy()
			more.Device = "gpu-1"
			s.Devices = append(s.Devices, more)
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := New(Options{DriverName: driverName, NodeName: nodeName})
			status := showing()
			entries := w.entries([]Device{full}, status, now)
			for _, e := range entries {
				status.Devices = append(status.Devices, *e.DeepCopy())
			}
			tc.change(&status)
			if got := w.areShown(entries, status); got != tc.want {
				t.Errorf("shown: %t, want %t", got, tc.want)
			}
		})
	}
}
