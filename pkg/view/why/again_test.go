package why

import (
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"example.com/dragoman/pkg/view"
)

// has gives a claim devices of node-a.
func has(claim *resourceapi.ResourceClaim, request string, devices ...string) *resourceapi.ResourceClaim {
	claim.Status.Allocation = &resourceapi.AllocationResult{NodeSelector: &corev1.NodeSelector{
		NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchFields: []corev1.NodeSelectorRequirement{
			{Key: "metadata.name", Operator: corev1.NodeSelectorOpIn, Values: []string{"node-a"}},
		}}},
	}}
	for _, d := range devices {
		claim.Status.Allocation.Devices.Results = append(claim.Status.Allocation.Devices.Results,
			resourceapi.DeviceRequestAllocationResult{Request: request, Driver: driver, Pool: "node-a", Device: d})
	}
	return claim
}

func TestWhoHasDevicesIsToldWhyThese(t *testing.T) {
	for name, c := range map[string]struct {
		devices  int // of node-a
		got      []string
		others   []string // that others have
		tainted  int      // of the devices, so many from the first
		requests []resourceapi.DeviceRequest
		want     string
	}{
		"it is the first": {3, []string{"gpu-0"}, nil, 0, []resourceapi.DeviceRequest{asking("r", "gpu")},
			"1 device of class gpu: of 3 devices on node-a now, 3 left: the scheduler takes this one first"},
		"it is the only one left": {
			2, []string{"gpu-1"}, []string{"gpu-0"}, 0, []resourceapi.DeviceRequest{asking("r", "gpu")},
			"1 device of class gpu: of 2 devices on node-a now, 1 in use by claim default/other (no pod), 1 left: this one",
		},
		"another is free by now": {2, []string{"gpu-1"}, nil, 0, []resourceapi.DeviceRequest{asking("r", "gpu")},
			"1 device of class gpu: of 2 devices on node-a now, 2 left: asked again, the scheduler would take gpu-0"},
		"it is tainted by now": {1, []string{"gpu-0"}, nil, 1, []resourceapi.DeviceRequest{asking("r", "gpu")},
			"1 device of class gpu: of 1 device on node-a now, 1 tainted sick:NoSchedule, 0 left: it could not be had again"},
		"all of two": {2, []string{"gpu-0", "gpu-1"}, nil, 0, []resourceapi.DeviceRequest{
			asking("r", "gpu", func(e *resourceapi.ExactDeviceRequest) {
				e.AllocationMode, e.Count = resourceapi.DeviceAllocationModeAll, 0
			})}, "all devices of class gpu: of 2 devices on node-a now, 2 left: these"},
		"the devices are gone": {0, []string{"gpu-0"}, nil, 0, []resourceapi.DeviceRequest{asking("r", "gpu")},
			"1 device of class gpu: node-a has no devices now"},
		"the class is gone": {1, []string{"gpu-0"}, nil, 0, []resourceapi.DeviceRequest{asking("r", "old")},
			"class old does not exist any more"},
	} {
		t.Run(name, func(t *testing.T) {
			slice := labelled("node-a", "", "node-a")
			slice.Spec.Devices = nil
			for i := range c.devices {
				d := resourceapi.Device{Name: fmt.Sprintf("gpu-%d", i)}
				if i < c.tainted {
					d.Taints = []resourceapi.DeviceTaint{{Key: "sick", Effect: resourceapi.DeviceTaintEffectNoSchedule}}
				}
				slice.Spec.Devices = append(slice.Spec.Devices, d)
			}
			claim, other := &resourceapi.ResourceClaim{}, &resourceapi.ResourceClaim{}
			claim.Namespace, claim.Name, other.Namespace, other.Name = "default", "mine", "default", "other"
			claim.Spec.Devices.Requests = c.requests
			cluster := &view.Cluster{
				Nodes:   []*corev1.Node{{ObjectMeta: metav1.ObjectMeta{Name: "node-a"}}},
				Slices:  []*resourceapi.ResourceSlice{slice},
				Classes: []*resourceapi.DeviceClass{{ObjectMeta: metav1.ObjectMeta{Name: "gpu"}}},
				Claims:  []*resourceapi.ResourceClaim{has(claim, "r", c.got...), has(other, "r", c.others...)},
			}
			a, err := Claim(t.Context(), cluster, types.NamespacedName{Namespace: "default", Name: "mine"})
			if err != nil {
				t.Fatal(err)
			}
			if want := []Ground{{Request: "r", Why: c.want}}; len(a.Got) != 1 || !slices.Equal(a.Got[0].Why, want) {
				t.Errorf("%+v, want\n%q", a.Got, c.want)
			}
		})
	}
}
