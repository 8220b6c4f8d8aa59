package v1alpha1

import (
	"strings"
	"testing"
)

func TestTemplatesAtTheirLimits(t *testing.T) {
	for name, raw := range map[string]string{
		"three taints": "taints: [{key: a, effect: None}, {key: a, effect: NoSchedule}, {key: a.b/c, value: d, effect: " +
			"None}]",
		"four conditions":   "binding: {conditions: [a, b, c, d], failureConditions: [e, f, g, h/i]}",
		"the longest delay": "binding: {conditions: [a], delay: 1h}",
		"always a failure":  "binding: {conditions: [a], failureConditions: [b], failurePercent: 100}",
		"16 addresses":      "network: {ips: [" + many(16, "10.0.0.%d/24") + "]}",
		"long names": "network: {interfaceName: " + strings.Repeat("n", 256) + ", hardwareAddress: " +
			strings.Repeat("h", 128) + "}",
		"addresses of many devices": "count: 256, network: {ips: ['10.0.0.{groupIndex}/24', 'fd00::1:{groupIndex:x}/64']}",
	} {
		t.Run(name, func(t *testing.T) { decodeProfile(t, "groups: [{name: a, "+raw+"}]") })
	}
}

func TestTemplatesAreRefused(t *testing.T) {
	for name, test := range map[string]struct {
		raw  string
		want []string
	}{
		"taints": {
			"taints: [{}, {key: -, value: '?', effect: Never}, {key: a, effect: NoSchedule}]", []string{
				`groups[0].taints[0].key: Invalid value: "": name part must be non-empty`,
				`groups[0].taints[0].key: Invalid value: "": name part must consist of`,
				`groups[0].taints[0].effect: Required value: one of [NoSchedule NoExecute None]`,
				`groups[0].taints[1].key: Invalid value: "-": name part must consist of`,
				`groups[0].taints[1].value: Invalid value: "?": a valid label must be`,
				`groups[0].taints[1].effect: Unsupported value: "Never": supported values: "NoSchedule", "NoExecute", "None"`,
			},
		},
		"a taint that is there twice": {
			"taints: [{key: a, value: b, effect: None}, {key: a, effect: NoExecute}, {key: a, value: c, " +
				"effect: None}]", []string{
				`groups[0].taints[2]: Duplicate value: "a:None"`,
			},
		},
		"four taints": {"taints: [" + many(4, "{key: a%d, effect: None}") + "]", []string{
			`groups[0].taints: Too many: 4: must have at most 3 items`,
		}},
		"no conditions": {"binding: {failureConditions: [a]}", []string{
			`groups[0].binding.conditions: Required value: say what the scheduler waits for`,
		}},
		"too many conditions": {"binding: {conditions: [a, b, c, d, e], failureConditions: [f, g, h, i, j]}", []string{
			`groups[0].binding.conditions: Too many: 5: must have at most 4 items`,
			`groups[0].binding.failureConditions: Too many: 5: must have at most 4 items`,
		}},
		"names of conditions": {"binding: {conditions: [a b, c, c], failureConditions: ['/', d, d, c]}", []string{
			`groups[0].binding.conditions[0]: Invalid value: "a b": name part must consist of`,
			`groups[0].binding.conditions[2]: Duplicate value: "c"`,
			`groups[0].binding.failureConditions[0]: Invalid value: "/": prefix part must be non-empty`,
			`groups[0].binding.failureConditions[0]: Invalid value: "/": name part must be non-empty`,
			`groups[0].binding.failureConditions[0]: Invalid value: "/": name part must consist of`,
			`groups[0].binding.failureConditions[2]: Duplicate value: "d"`,
			`groups[0].binding.failureConditions[3]: Invalid value: "c": is one of the conditions that say that it has`,
		}},
		"delays": {
			"binding: {conditions: [a], delay: 61m}, devices: [{groupIndex: 0, binding: {conditions: [a], delay: -1s}}]",
			[]string{
				`groups[0].binding.delay: Invalid value: "1h1m0s": must be between 0s and 1h`,
				`groups[0].devices[0].binding.delay: Invalid value: "-1s": must be between 0s and 1h`,
			},
		},
		"a delay that is none": {"binding: {conditions: [a], delay: 2}", []string{
			`groups[0].binding.delay: Invalid value: "2": must be a duration such as 2s or 1m30s`,
		}},
		"failures": {"binding: {conditions: [a], failureConditions: [b], failurePercent: 101}", []string{
			`groups[0].binding.failurePercent: Invalid value: 101: must be between 0 and 100`,
		}},
		"failures of which nobody hears": {"binding: {conditions: [a], failurePercent: 1}", []string{
			`groups[0].binding.failureConditions: Required value: say that attaching has failed`,
		}},
		"a network of nothing": {"network: {}", []string{
			`groups[0].network: Required value: one of interfaceName, ips and hardwareAddress`,
		}},
		"17 addresses": {"network: {ips: [" + many(17, "10.0.0.%d/24") + "]}", []string{
			`groups[0].network.ips: Too many: 17: must have at most 16 items`,
		}},
		"placeholders of networks": {
			"network: {interfaceName: '{a}', hardwareAddress: '{b}', ips: ['{c}']}", []string{
				`groups[0].network.interfaceName: Invalid value: "{a}": unknown placeholder`,
				`groups[0].network.hardwareAddress: Invalid value: "{b}": unknown placeholder`,
				`groups[0].network.ips[0]: Invalid value: "{c}": unknown placeholder`,
			},
		},
		"addresses": {
			"network: {ips: [10.0.0.1, 10.0.0.1/24, '10.0.0.1/{index}', 10.0.0.1/24, '::FFFF/64']}", []string{
				`groups[0].network.ips[0]: Invalid value: "10.0.0.1": must be a valid address in CIDR form`,
				`groups[0].network.ips[3]: Duplicate value: "10.0.0.1/24"`,
				`groups[0].network.ips[4]: Invalid value: "::FFFF/64": must be in canonical form ("::ffff/64")`,
			},
		},
		"addresses that run out": {"count: 257, network: {ips: ['10.0.0.{index}/24']}", []string{
			`groups[0].network.ips[0]: Invalid value: "10.0.0.256/24": must be a valid address in CIDR form`,
		}},
		"addresses that are none in the middle": {"count: 17, network: {ips: ['10.0.0.{index:x}/24']}", []string{
			`groups[0].network.ips[0]: Invalid value: "10.0.0.a/24": must be a valid address in CIDR form`,
		}},
		"names of interfaces that are too long": {
			"network: {interfaceName: '" + strings.Repeat("n", 221) + "{uuid}', hardwareAddress: " +
				strings.Repeat("h", 129) + "}",
			[]string{
				`groups[0].network.interfaceName: Too long: may not be more than 256 bytes`,
				`groups[0].network.hardwareAddress: Too long: may not be more than 128 bytes`,
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, errs := DecodeMachineProfile([]byte(profileHead + "groups: [{name: a, " + test.raw + "}]"))
			wantProblems(t, test.want, errs)
		})
	}
}
