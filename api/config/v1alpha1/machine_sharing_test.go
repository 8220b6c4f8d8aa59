package v1alpha1

import (
	"testing"
)

// aCapacity is a group with one capacity c, as it is written.
func aCapacity(written string) string {
	return "groups: [{name: a, allowMultipleAllocations: true, capacity: {c: " + written + "}}]"
}

func TestRequestPolicies(t *testing.T) {
	for name, written := range map[string]string{
		"a default alone":               "{value: 8, requestPolicy: {default: 8}}",
		"ten values":                    "{value: 80, requestPolicy: {default: 1, validValues: [" + many(10, "%d") + "]}}",
		"a value in other words":        "{value: 8Gi, requestPolicy: {default: 1024Mi, validValues: [1Gi, 8589934592]}}",
		"a range with an open end":      "{value: 8, requestPolicy: {default: 8, validRange: {min: 1}}}",
		"a range of one amount":         "{value: 8, requestPolicy: {default: 8, validRange: {min: 8, max: 8}}}",
		"steps that end below the top":  "{value: 8, requestPolicy: {default: 4, validRange: {min: 1, step: 3}}}",
		"steps up to the top":           "{value: 9, requestPolicy: {default: 5, validRange: {min: 1, max: 9, step: 4}}}",
		"the largest numbers that work": "{value: 7E, requestPolicy: {default: 7E, validRange: {min: 0, max: 7E, step: 1E}}}",
	} {
		t.Run(name, func(t *testing.T) { decodeProfile(t, aCapacity(written)) })
	}
}

func TestRequestPoliciesAreRefused(t *testing.T) {
	const at = "groups[0].capacity[c].requestPolicy"
	for name, test := range map[string]struct {
		written string
		want    []string
	}{
		"no default": {"{value: 8, requestPolicy: {validRange: {min: 1}}}", []string{
			at + `.default: Required value: is what a claim gets that does not say how much`,
		}},
		"a default that is more than there is": {"{value: 8, requestPolicy: {default: 9}}", []string{
			at + `.default: Invalid value: "9": is more than the capacity of 8`,
		}},
		"values and a range": {"{value: 8, requestPolicy: {default: 1, validValues: [1], validRange: {min: 1}}}", []string{
			at + `.validRange: Forbidden: there are validValues already`,
		}},
		"eleven values": {
			"{value: 80, requestPolicy: {default: 1, validValues: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]}}",
			[]string{at + `.validValues: Too many: 11: must have at most 10 items`},
		},
		"values that are not sorted, or there twice, or too many": {
			"{value: 8, requestPolicy: {default: 2, validValues: [2, 1, 1, 9]}}", []string{
				at + `.validValues[1]: Invalid value: "1": must be more than the value before it`,
				at + `.validValues[2]: Duplicate value: "1"`,
				at + `.validValues[3]: Invalid value: "9": is more than the capacity of 8`,
			},
		},
		"a default that is none of the values": {"{value: 8, requestPolicy: {default: 3, validValues: [1, 2]}}", []string{
			at + `.validValues: Invalid value: "3": the default must be among the values`,
		}},
		"amounts that API servers round": {
			"{value: 8, requestPolicy: {default: 500m, validValues: [0.5], validRange: {min: 100m, max: 1.5, step: 1u}}}",
			[]string{
				at + `.default: Invalid value: "500m": must be a whole number: Kubernetes 1.36`,
				at + `.validValues[0]: Invalid value: "500m": must be a whole number`,
				at + `.validRange.min: Invalid value: "100m": must be a whole number`,
				at + `.validRange.max: Invalid value: "1500m": must be a whole number`,
				at + `.validRange.step: Invalid value: "1u": must be a whole number`,
			},
		},
		"amounts that are more than API servers can count": {
			"{value: 100E, requestPolicy: {default: 50E, validRange: {min: 0}}}", []string{
				at + `.default: Invalid value: "50E": must not be more than 9223372036854775807`,
			},
		},
		"a range without min": {"{value: 8, requestPolicy: {default: 1, validRange: {max: 2}}}", []string{
			at + `.validRange.min: Required value: is the smallest amount that a claim can have`,
		}},
		"min above the capacity": {"{value: 8, requestPolicy: {default: 8, validRange: {min: 9}}}", []string{
			at + `.validRange.min: Invalid value: "9": is more than the capacity of 8`,
		}},
		"min above max": {"{value: 8, requestPolicy: {default: 8, validRange: {min: 3, max: 2}}}", []string{
			at + `.validRange.min: Invalid value: "3": is more than max of 2`,
		}},
		"max above the capacity": {"{value: 8, requestPolicy: {default: 8, validRange: {min: 1, max: 9}}}", []string{
			at + `.validRange.max: Invalid value: "9": is more than the capacity of 8`,
		}},
		"a default below min": {"{value: 8, requestPolicy: {default: 1, validRange: {min: 2}}}", []string{
			at + `.validRange: Invalid value: "1": the default must be between min, 2, and the capacity, 8`,
		}},
		"a default above max": {"{value: 8, requestPolicy: {default: 4, validRange: {min: 2, max: 3}}}", []string{
			at + `.validRange: Invalid value: "4": the default must be between min, 2, and max, 3`,
		}},
		"a step of nothing": {"{value: 8, requestPolicy: {default: 4, validRange: {min: 2, step: 0}}}", []string{
			at + `.validRange.step: Invalid value: "0": must be more than 0`,
		}},
		"a step beyond the capacity": {"{value: 8, requestPolicy: {default: 2, validRange: {min: 2, step: 7}}}", []string{
			at + `.validRange.step: Invalid value: "7": min and one step are more than the capacity of 8`,
		}},
		"amounts between steps": {"{value: 8, requestPolicy: {default: 3, validRange: {min: 1, max: 6, step: 4}}}", []string{
			at + `.validRange.step: Invalid value: "4": the default, 3, must be a number of steps above min, 1`,
			at + `.validRange.step: Invalid value: "4": max, 6, must be a number of steps above min, 1`,
		}},
		"a policy for nothing": {"{requestPolicy: {default: 1}}", []string{
			`groups[0].capacity[c].value: Required value: must be a quantity such as 80Gi`,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			_, errs := DecodeMachineProfile([]byte(profileHead + aCapacity(test.written)))
			wantProblems(t, test.want, errs)
		})
	}
}

func TestOnlySharedDevicesHaveRequestPolicies(t *testing.T) {
	const policy = "{m: {value: 8, requestPolicy: {default: 1}}}"
	for name, test := range map[string]struct {
		group string
		want  []string
	}{
		"a device that is not shared": {"capacity: " + policy, []string{
			`groups[0].capacity[m].requestPolicy: Forbidden: only a device with allowMultipleAllocations has one`,
		}},
		"a device of a group that is not shared": {"count: 3, devices: [{groupIndex: 1, capacity: " + policy + "}]", []string{
			`groups[0].devices[0].capacity[m].requestPolicy: Forbidden: only a device with`,
		}},
		"a device that is not shared in a group that is": {
			"count: 3, allowMultipleAllocations: true, capacity: " + policy +
				", devices: [{groupIndex: 1, allowMultipleAllocations: false}]", []string{
				`groups[0].devices[0].capacity[m].requestPolicy: Forbidden: only a device with`,
			},
		},
		"a device that is shared in a group that is not": {
			"count: 3, devices: [{groupIndex: 1, allowMultipleAllocations: true, capacity: " + policy + "}]", nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, errs := DecodeMachineProfile([]byte(profileHead + "groups: [{name: a, " + test.group + "}]"))
			wantProblems(t, test.want, errs)
		})
	}
}

func TestVariationsReplaceWhatAGroupSays(t *testing.T) {
	devices := decodeProfile(t, `
groups:
- name: a
  count: 2
  allowMultipleAllocations: true
  taints: [{key: a, effect: NoSchedule}, {key: b, effect: NoExecute}]
  binding: {conditions: [a], failureConditions: [b], delay: 1s, failurePercent: 50}
  network: {interfaceName: "net{index}", ips: ["10.0.0.{index}/8"]}
  devices:
  - groupIndex: 1
    allowMultipleAllocations: false
    taints: []
    binding: {conditions: [c]}
    network: {hardwareAddress: "{index:02x}"}
`).Devices("node")
	group, single := devices[0], devices[1]
	if !group.AllowMultipleAllocations || len(group.Taints) != 2 || group.Binding.FailurePercent != 50 ||
		group.Network.InterfaceName != "net0" || group.Network.IPs[0] != "10.0.0.0/8" {
		t.Errorf("%+v", group)
	}
	if single.AllowMultipleAllocations || len(single.Taints) != 0 || single.Binding.FailurePercent != 0 ||
		single.Network.InterfaceName != "" || single.Network.HardwareAddress != "01" {
		t.Errorf("%+v", single)
	}
}
