package view

import (
	"fmt"
	"strings"
	"testing"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
)

func TestSharesAddUpToWhatIsLeft(t *testing.T) {
	ranged := func(least string) *resourceapi.CapacityRequestPolicy {
		q := resource.MustParse(least)
		return &resourceapi.CapacityRequestPolicy{ValidRange: &resourceapi.CapacityRequestPolicyRange{Min: &q}}
	}
	values := &resourceapi.CapacityRequestPolicy{
		ValidValues: []resource.Quantity{resource.MustParse("20Gi"), resource.MustParse("40Gi")},
	}
	for name, test := range map[string]struct {
		capacity map[resourceapi.QualifiedName]resourceapi.DeviceCapacity
		taken    []string // capacity=amount, one share each
		want     string
	}{
		"nothing taken": {capacity: memory("80Gi", nil), want: "0 %: memory 80Gi"},
		"a half":        {capacity: memory("80Gi", nil), taken: []string{"memory=40Gi"}, want: "50 %: memory 40Gi"},
		"shares add up": {
			capacity: memory("80Gi", nil), taken: []string{"memory=40Gi", "memory=20Gi"}, want: "75 %: memory 20Gi",
		},
		"all": {capacity: memory("80Gi", nil), taken: []string{"memory=80Gi"}, want: "100 %: memory 0"},
		"more than there is": {
			capacity: memory("80Gi", nil), taken: []string{"memory=60Gi", "memory=60Gi"}, want: "100 %: memory 0",
		},
		"nearly nothing is not nothing": {
			capacity: memory("80Gi", nil), taken: []string{"memory=1Mi"}, want: "1 %: memory 81919Mi",
		},
		"nearly all is not all": {
			capacity: memory("80Gi", nil), taken: []string{"memory=81919Mi"}, want: "99 %: memory 1Mi",
		},
		"less left than the least that a claim may ask for is all": {
			capacity: memory("80Gi", ranged("10Gi")), taken: []string{"memory=75Gi"}, want: "100 %: memory 5Gi",
		},
		"as much left as the least is not all": {
			capacity: memory("80Gi", ranged("10Gi")), taken: []string{"memory=70Gi"}, want: "88 %: memory 10Gi",
		},
		"where a claim may ask for nothing there always is enough": {
			capacity: memory("80Gi", ranged("0")), taken: []string{"memory=80Gi"}, want: "99 %: memory 0",
		},
		"the least of the valid values counts": {
			capacity: memory("80Gi", values), taken: []string{"memory=70Gi"}, want: "100 %: memory 10Gi",
		},
		"the scarcest capacity counts": {
			capacity: map[resourceapi.QualifiedName]resourceapi.DeviceCapacity{
				"memory": {Value: resource.MustParse("80Gi")}, "compute": {Value: resource.MustParse("100")},
			},
			taken: []string{"memory=8Gi", "compute=30"}, want: "30 %: compute 70, memory 72Gi",
		},
		"without capacities there is no end": {taken: []string{"memory=8Gi"}, want: "-1 %: "},
		"a share of another capacity": {
			capacity: memory("80Gi", nil), taken: []string{"x=8Gi"}, want: "0 %: memory 80Gi",
		},
	} {
		t.Run(name, func(t *testing.T) {
			device := &resourceapi.Device{AllowMultipleAllocations: new(true), Capacity: test.capacity}
			uses := []Use{
				// Admin access takes nothing, whatever it says.
				{AdminAccess: true, ShareID: new(types.UID("s")), Consumed: amounts("memory=80Gi")},
			}
			for _, taken := range test.taken {
				uses = append(uses, Use{ShareID: new(types.UID("s")), Consumed: amounts(taken)})
			}
			shares, ok := SharesOf(device, uses)
			if !ok {
				t.Fatal("the device is for several claims")
			}
			var left []string
			for _, name := range sortedKeys(shares.Left) {
				amount := shares.Left[name]
				left = append(left, string(name)+" "+amount.String())
			}
			if got := fmt.Sprintf("%d %%: %s", shares.Percent, strings.Join(left, ", ")); got != test.want {
				t.Errorf("%s, want %s", got, test.want)
			}
			if shares.Full() != (shares.Percent == 100) {
				t.Errorf("full: %t", shares.Full())
			}
		})
	}
	if _, ok := SharesOf(&resourceapi.Device{Capacity: memory("80Gi", nil)}, nil); ok {
		t.Error("a device for one claim has shares")
	}
}

func memory(
	value string, policy *resourceapi.CapacityRequestPolicy,
) map[resourceapi.QualifiedName]resourceapi.DeviceCapacity {
	return map[resourceapi.QualifiedName]resourceapi.DeviceCapacity{
		"memory": {Value: resource.MustParse(value), RequestPolicy: policy},
	}
}

func amounts(text string) map[resourceapi.QualifiedName]resource.Quantity {
	name, value, _ := strings.Cut(text, "=")
	return map[resourceapi.QualifiedName]resource.Quantity{resourceapi.QualifiedName(name): resource.MustParse(value)}
}
