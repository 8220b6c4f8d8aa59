package inventory

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"example.com/dragoman/pkg/device"
)

type (
	attributes = map[resourceapi.QualifiedName]resourceapi.DeviceAttribute
	capacities = map[resourceapi.QualifiedName]resourceapi.DeviceCapacity
	counters   = map[string]resourceapi.Counter
)

func text(s string) resourceapi.DeviceAttribute { return resourceapi.DeviceAttribute{StringValue: &s} }
func version(s string) resourceapi.DeviceAttribute {
	return resourceapi.DeviceAttribute{VersionValue: &s}
}
func quantity(s string) *resource.Quantity { return new(resource.MustParse(s)) }

func many(n int) attributes {
	m := make(attributes)
	for i := range n {
		m[resourceapi.QualifiedName(fmt.Sprintf("a%02d", i))] = text("x")
	}
	return m
}

func shared(value string, p *resourceapi.CapacityRequestPolicy) resourceapi.Device {
	return resourceapi.Device{
		AllowMultipleAllocations: new(true),
		Capacity:                 capacities{"memory": {Value: *quantity(value), RequestPolicy: p}},
	}
}

func within(value, byDefault, low, high, step string) resourceapi.Device {
	p := &resourceapi.CapacityRequestPolicy{ValidRange: &resourceapi.CapacityRequestPolicyRange{}}
	for text, to := range map[string]**resource.Quantity{
		"d" + byDefault: &p.Default, "l" + low: &p.ValidRange.Min,
		"h" + high: &p.ValidRange.Max, "s" + step: &p.ValidRange.Step,
	} {
		if len(text) > 1 {
			*to = quantity(text[1:])
		}
	}
	return shared(value, p)
}

func among(value, byDefault string, values ...string) resourceapi.Device {
	p := &resourceapi.CapacityRequestPolicy{}
	if byDefault != "" {
		p.Default = quantity(byDefault)
	}
	for _, v := range values {
		p.ValidValues = append(p.ValidValues, *quantity(v))
	}
	return shared(value, p)
}

func taints(n int, t resourceapi.DeviceTaint) (all []resourceapi.DeviceTaint) {
	for range n {
		all = append(all, t)
	}
	return all
}

func consumes(set string, names ...string) resourceapi.Device {
	c := make(counters)
	for _, name := range names {
		c[name] = resourceapi.Counter{}
	}
	return resourceapi.Device{ConsumesCounters: []resourceapi.DeviceCounterConsumption{{CounterSet: set, Counters: c}}}
}

// TestWhatIsLeftOut has one line for each limit of the API. Each device is called gpu-0 unless it says otherwise, and
// there is a counter set "set" with the counter "memory".
func TestWhatIsLeftOut(t *testing.T) {
	ok := resourceapi.DeviceTaint{Key: "gpu.example.com/unhealthy", Effect: resourceapi.DeviceTaintEffectNoSchedule}
	tests := map[string]struct {
		device resourceapi.Device
		want   []string // what LeftOut says; a device is gone if one of these says so
	}{
		"nothing": {device: resourceapi.Device{}},
		"all kinds of values": {device: resourceapi.Device{Attributes: attributes{
			"s": text(strings.Repeat("x", 64)), "v": version("1.2.3-rc.1+b"), "i": {IntValue: new(int64(0))},
			"b": {BoolValue: new(false)}, "resource.kubernetes.io/pcieRoot": text("pci0000:01"), "empty": text(""),
			"l": {StringValues: []string{"a", "b"}},
		}}},
		"a string of 65 bytes": {
			device: resourceapi.Device{Attributes: attributes{"s": text(strings.Repeat("x", 65)), "good": text("x")}},
			want:   []string{"attributes[s] of device gpu-0 is left out: it has 65 bytes, of which the API allows 64"},
		},
		"bytes count, not characters": {
			device: resourceapi.Device{Attributes: attributes{"s": text(strings.Repeat("ä", 33))}},
			want:   []string{"attributes[s] of device gpu-0 is left out: it has 66 bytes, of which the API allows 64"},
		},
		"a string that is not UTF-8": {
			device: resourceapi.Device{Attributes: attributes{"s": text("\xff")}},
			want:   []string{"attributes[s] of device gpu-0 is left out: it is not valid UTF-8"},
		},
		"a driver version with a leading zero": {
			device: resourceapi.Device{Attributes: attributes{"driverVersion": version("535.104.05")}},
			want: []string{`attributes[driverVersion] of device gpu-0 is left out: it is "535.104.05", which is not ` +
				`a ` +
				`semantic ` +
				`version (1.2.3)`},
		},
		"no value": {
			device: resourceapi.Device{Attributes: attributes{"a": {}, "b": {StringValues: []string{}}}},
			want: []string{
				"attributes[a] of device gpu-0 is left out: it has no value",
				"attributes[b] of device gpu-0 is left out: it has no value",
			},
		},
		"two values": {
			device: resourceapi.Device{Attributes: attributes{"a": {BoolValue: new(true), IntValue: new(int64(1))}}},
			want: []string{"attributes[a] of device gpu-0 is left out: it has values of several types, of which the " +
				"API " +
				"allows one"},
		},
		"bad names of attributes": {
			device: resourceapi.Device{Attributes: attributes{
				"a-b": text("x"), "a/b/c": text("x"), "under_score/x": text("x"), "/x": text("x"),
				resourceapi.QualifiedName(strings.Repeat("x", 33)): text("x"),
			}},
			want: []string{
				"attributes[/x] of device gpu-0 is left out: it has a domain that is not a DNS name of at most 63 " +
					"characters",
				"attributes[a-b] of device gpu-0 is left out: it has a name that is not a C identifier of at most " +
					"32 characters",
				"attributes[a/b/c] of device gpu-0 is left out: it has a name that is not a C identifier of at most " +
					"32 characters",
				"attributes[under_score/x] of device gpu-0 is left out: it has a domain that is not a DNS name of " +
					"at most 63 " +
					"characters",
				"attributes[" + strings.Repeat("x", 33) + "] of device gpu-0 is left out: it has a name that is not " +
					"a C " +
					"identifier of " +
					"at most 32 characters",
			},
		},
		"32 attributes and capacities": {
			device: resourceapi.Device{Attributes: many(31), Capacity: capacities{"memory": {}}},
		},
		"33 attributes and capacities: capacities stay": {
			device: resourceapi.Device{Attributes: many(32), Capacity: capacities{"memory": {}}},
			want: []string{"attributes[a31] of device gpu-0 is left out: it is one too many: the API allows 32 " +
				"attributes " +
				"and capacities together"},
		},
		"49 values in lists": {
			device: resourceapi.Device{Attributes: attributes{
				"a": {IntValues: make([]int64, 40)}, "b": {IntValues: make([]int64, 9)}, "c": text("x"),
			}},
			want: []string{"attributes[b] of device gpu-0 is left out: it has too many values: the API allows 48 in " +
				"all " +
				"attributes together"},
		},
		"a bad name of a capacity": {
			device: resourceapi.Device{Capacity: capacities{"a-b": {}}},
			want: []string{"capacity[a-b] of device gpu-0 is left out: it has a name that is not a C identifier of " +
				"at " +
				"most 32 characters"},
		},
		"a bad name of a capacity of a shared device": {
			device: resourceapi.Device{Capacity: capacities{"a-b": {}}, AllowMultipleAllocations: new(true)},
			want: []string{"device gpu-0 is left out: capacity[a-b] has a name that is not a C identifier of at " +
				"most 32 " +
				"characters"},
		},
		"a request policy without sharing": {
			device: resourceapi.Device{Capacity: capacities{"memory": {RequestPolicy: &resourceapi.CapacityRequestPolicy{}}}},
			want: []string{"capacity[memory].requestPolicy of device gpu-0 is left out: it needs a device that " +
				"allows " +
				"multiple allocations"},
		},
		"a good range":                {device: within("80Gi", "80Gi", "1Gi", "80Gi", "1Gi")},
		"a good range without max":    {device: within("80", "10", "0", "", "5")},
		"a good range in thousandths": {device: within("1", "500m", "100m", "1", "100m")},
		"a good range without step":   {device: within("1", "1", "1m", "", "")},
		"a policy with only a default": {
			device: shared("1", &resourceapi.CapacityRequestPolicy{Default: quantity("1")}),
		},
		"good values": {device: among("10", "2", "1", "2", "10")},
		"a range without default": {
			device: within("8", "", "1", "8", ""),
			want:   policy("has no default, which it needs beside validValues or validRange"),
		},
		"a range without min": {
			device: within("8", "8", "", "8", ""),
			want:   policy("has a validRange without min"),
		},
		"a default above the capacity": {device: within("8", "9", "1", "", ""), want: nil}, // It can be asked for less.
		"a max above the capacity": {
			device: within("8", "8", "1", "9", ""),
			want:   policy("has the max 9, which is not between the default 8 and the capacity 8"),
		},
		"a min above the default": {
			device: within("8", "1", "2", "", ""),
			want:   policy("has the min 2, more than the default 1 or the capacity 8"),
		},
		"a step of nothing": {device: within("8", "8", "1", "8", "0"), want: policy("has the step 0")},
		"a default between steps": {
			device: within("8", "4", "1", "7", "2"),
			want:   policy("has the default 4, which is not min 1 plus steps of 2"),
		},
		"a max between steps": {
			device: within("8", "3", "1", "8", "2"),
			want:   policy("has the max 8, which is not min 1 plus steps of 2"),
		},
		"a step beyond the capacity": {
			device: within("8", "4", "4", "8", "5"),
			want:   policy("has the step 5, which does not fit between min 4 and the capacity 8"),
		},
		"a negative min": {
			device: within("8", "1", "-1", "8", ""),
			want:   policy("has the number -1, which is negative, too large, or not in thousandths"),
		},
		"a step that reads back as zero": {
			device: within("1e30", "0", "0", "", "18446744073709551616"),
			want:   policy("has the number 18446744073709551616, which is negative, too large, or not in thousandths"),
		},
		"finer than thousandths": {
			device: within("8", "1", "1n", "8", ""),
			want:   policy("has the number 1n, which is negative, too large, or not in thousandths"),
		},
		"values without default": {
			device: among("8", "", "1"),
			want:   policy("has no default, which it needs beside validValues or validRange"),
		},
		"a default that is not a value": {
			device: among("8", "2", "1"),
			want:   policy("has the default 2, which is not one of its validValues"),
		},
		"values in the wrong order": {
			device: among("8", "2", "2", "1"),
			want:   policy("has validValues that do not rise"),
		},
		"a value twice": {
			device: among("8", "2", "2", "2"),
			want:   policy("has validValues that do not rise"),
		},
		"values equal to older clusters": {
			device: among("8", "2", "1500m", "2"),
			want:   policy("has the valid values 1500m and 2, which are the same as integers"),
		},
		"a value above the capacity": {
			device: among("8", "2", "2", "9"),
			want:   policy("has the valid value 9, more than the capacity 8"),
		},
		"11 values": {
			device: among("80", "1", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11"),
			want:   policy("has 11 validValues, of which the API allows 10"),
		},
		"16 taints": {device: resourceapi.Device{Taints: taints(16, ok)}},
		"17 taints": {
			device: resourceapi.Device{Taints: taints(17, ok)},
			want: []string{"device gpu-0 is left out: taints has 17 entries with an effect, of which the API " +
				"allows 16"},
		},
		"good counters": {device: consumes("set", "memory")},
		"an unknown counter set": {
			device: consumes("other", "memory"),
			want: []string{`device gpu-0 is left out: consumesCounters[0] refers to counter set "other", which does ` +
				`not ` +
				`exist or is left out`},
		},
		"an unknown counter": {
			device: consumes("set", "x"),
			want: []string{`device gpu-0 is left out: consumesCounters[0] refers to counter "x", which counter set ` +
				`"set" ` +
				`does not have`},
		},
		"no counters": {
			device: consumes("set"),
			want:   []string{"device gpu-0 is left out: consumesCounters[0] has 0 counters; the API allows 1 to 32"},
		},
		"binding conditions": {
			device: resourceapi.Device{BindingConditions: []string{"a"}, BindingFailureConditions: []string{"b"}},
		},
		"binding conditions alone": {
			device: resourceapi.Device{BindingConditions: []string{"a"}},
			want: []string{"device gpu-0 is left out: bindingConditions needs bindingFailureConditions beside it, " +
				"and the " +
				"other way round"},
		},
		"a condition for both": {
			device: resourceapi.Device{BindingConditions: []string{"a"}, BindingFailureConditions: []string{"a"}},
			want: []string{`device gpu-0 is left out: bindingConditions has the entry "a" twice, those for ` +
				`failures included`},
		},
		"a node": {
			device: resourceapi.Device{NodeName: new("x")},
			want: []string{"device gpu-0 is left out: nodeName, nodeSelector or allNodes is set, but all devices of " +
				"this " +
				"pool are on this node"},
		},
		"a name that is not a DNS label": {
			device: resourceapi.Device{Name: "GPU_0"},
			want: []string{"device GPU_0 is left out: name is not a DNS label (lower case letters, digits and '-', " +
				"at most 63)"},
		},
		"flags that say the same as " +
			"unset": {device: resourceapi.Device{AllowMultipleAllocations: new(false), BindsToNode: new(false)}},
		"the least important of too many taints": {
			device: resourceapi.Device{Taints: append(taints(16, ok),
				resourceapi.DeviceTaint{Key: "x", Effect: resourceapi.DeviceTaintEffectNone})},
			want: []string{"taints[16] of device gpu-0 is left out: it is one too many: the API allows 16"},
		},
		"bad taints": {
			device: resourceapi.Device{Taints: []resourceapi.DeviceTaint{{Key: "a b", Value: "c d", Effect: "e"}}},
			want: []string{
				`device gpu-0 is left out: taints[0] has the effect "e"; the API knows None, NoSchedule and NoExecute`,
				`device gpu-0 is left out: taints[0] has the key "a b", which is not a label name`,
				`device gpu-0 is left out: taints[0] has the value "c d", which is not a label value`,
			},
		},
		"too many counter sets, one of them twice": {
			device: resourceapi.Device{ConsumesCounters: slices.Repeat(consumes("set", "memory").ConsumesCounters, 3)},
			want: []string{
				"device gpu-0 is left out: consumesCounters has 3 entries, of which the API allows 2",
				`device gpu-0 is left out: consumesCounters[1] refers to counter set "set", as another entry does`,
				`device gpu-0 is left out: consumesCounters[2] refers to counter set "set", as another entry does`,
			},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if tt.device.Name == "" {
				tt.device.Name = "gpu-0"
			}
			snapshot := device.Snapshot{
				Devices:        []device.Device{{Device: tt.device}, {Device: resourceapi.Device{Name: "neighbour"}}},
				SharedCounters: []resourceapi.CounterSet{{Name: "set", Counters: counters{"memory": {}}}},
			}
			specs, leftOut := Slices(snapshot, "gpu.example.com", "node-a", everything)
			var got []string
			whole := false
			for _, l := range leftOut {
				got = append(got, l.String())
				whole = whole || l.Whole
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("left out (-want +got):\n%s", diff)
			}
			want := []string{tt.device.Name, "neighbour"}
			if whole {
				want = want[1:]
			}
			var names []string
			for _, d := range published(specs) {
				names = append(names, d.Name)
				if d.AllowMultipleAllocations != nil && !*d.AllowMultipleAllocations {
					t.Error("a flag is published that a cluster without the feature would drop")
				}
			}
			if diff := cmp.Diff(want, names); diff != "" {
				t.Errorf("published (-want +got):\n%s", diff)
			}
		})
	}
}

func policy(reason string) []string {
	return []string{"device gpu-0 is left out: capacity[memory].requestPolicy " + reason}
}

func TestWhatIsLeftOutOfThePool(t *testing.T) {
	named := func(name, model string) device.Device {
		return device.Device{Device: resourceapi.Device{Name: name, Attributes: attributes{"model": text(model)}}}
	}
	tooMany := make(counters)
	for i := range 33 {
		tooMany[fmt.Sprintf("c%d", i)] = resourceapi.Counter{}
	}
	snapshot := device.Snapshot{
		Devices: []device.Device{
			named("same", "x"), named("differs", "x"), named("same", "x"), named("differs", "y"),
			{Device: resourceapi.Device{Name: "partition", ConsumesCounters: consumes("too-many", "c0").ConsumesCounters}},
		},
		SharedCounters: []resourceapi.CounterSet{
			{Name: "too-many", Counters: tooMany}, {Name: "Upper", Counters: counters{"a": {}}}, {Name: "empty"},
			{Name: "twice", Counters: counters{"a": {}}}, {Name: "twice", Counters: counters{"b": {}}},
			{Name: "odd", Counters: counters{"A": {}}},
		},
	}
	specs, leftOut := Slices(snapshot, "gpu.example.com", "node-a", everything)
	var got []string
	for _, l := range leftOut {
		got = append(got, l.String())
	}
	want := []string{
		"sharedCounters[Upper] is left out: it is not a DNS label (lower case letters, digits and '-', at most 63)",
		"sharedCounters[empty] is left out: it has 0 counters; the API allows 1 to 32",
		`sharedCounters[odd] is left out: it has the counter "A", which is not a DNS label`,
		"sharedCounters[too-many] is left out: it has 33 counters; the API allows 1 to 32",
		"sharedCounters[twice] is left out: it is there several times with different content",
		"device differs is left out: name is there several times with different content",
		`device partition is left out: consumesCounters[0] refers to counter set "too-many", which does not exist ` +
			`or is ` +
			`left out`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("left out (-want +got):\n%s", diff)
	}
	if len(specs) != 1 || len(specs[0].Devices) != 1 || specs[0].Devices[0].Name != "same" {
		t.Errorf("published: %v", specs)
	}
}
