package view

import (
	"fmt"
	"strings"
	"testing"

	resourceapi "k8s.io/api/resource/v1"
)

func TestADeviceHasItsOwnTaintsAndThoseOfRules(t *testing.T) {
	rule := func(name, selector string) string {
		return fmt.Sprintf(`---
apiVersion: resource.k8s.io/v1
kind: DeviceTaintRule
metadata: {name: %s}
spec: {%s, taint: {key: by-%s, effect: NoSchedule}}
`, name, selector, name)
	}
	for name, test := range map[string]struct {
		rules []string
		want  string
	}{
		"no rule": {want: "sick=very:NoExecute slow:None"},
		"a rule without a selector selects nothing": {
			rules: []string{rule("r", "deviceSelector: null")}, want: "sick=very:NoExecute slow:None",
		},
		"a rule with an empty selector selects everything": {
			rules: []string{rule("r", "deviceSelector: {}")}, want: "sick=very:NoExecute slow:None by-r:NoSchedule(r)",
		},
		"rules by name, whatever their order": {
			rules: []string{rule("b", "deviceSelector: {}"), rule("a", "deviceSelector: {}")},
			want:  "sick=very:NoExecute slow:None by-a:NoSchedule(a) by-b:NoSchedule(b)",
		},
		"rules for this device": {
			rules: []string{
				rule("driver", "deviceSelector: {driver: d}"), rule("pool", "deviceSelector: {pool: p}"),
				rule("device", "deviceSelector: {device: gpu-0}"),
				rule("all", "deviceSelector: {driver: d, pool: p, device: gpu-0}"),
			},
			want: "sick=very:NoExecute slow:None " +
				"by-all:NoSchedule(all) by-device:NoSchedule(device) by-driver:NoSchedule(driver) by-pool:NoSchedule(pool)",
		},
		"rules for others": {
			rules: []string{
				rule("driver", "deviceSelector: {driver: e}"), rule("pool", "deviceSelector: {driver: d, pool: q}"),
				rule("device", "deviceSelector: {driver: d, pool: p, device: gpu-1}"),
			},
			want: "sick=very:NoExecute slow:None",
		},
	} {
		t.Run(name, func(t *testing.T) {
			device := &resourceapi.Device{Name: "gpu-0", Taints: []resourceapi.DeviceTaint{
				{Key: "sick", Value: "very", Effect: resourceapi.DeviceTaintEffectNoExecute},
				{Key: "slow", Effect: resourceapi.DeviceTaintEffectNone},
			}}
			var got []string
			for _, taint := range cluster(t, strings.Join(test.rules, "")).Taints("d", "p", device) {
				text := taint.String()
				if taint.Rule != "" {
					text += "(" + taint.Rule + ")"
				}
				got = append(got, text)
			}
			if text := strings.Join(got, " "); text != test.want {
				t.Errorf("%s\nwant %s", text, test.want)
			}
		})
	}
}

func TestOnlyKnownEffectsKeepADevice(t *testing.T) {
	for effect, want := range map[resourceapi.DeviceTaintEffect]bool{
		resourceapi.DeviceTaintEffectNone: false, resourceapi.DeviceTaintEffectNoSchedule: true,
		resourceapi.DeviceTaintEffectNoExecute: true, "PreferNoSchedule": false,
	} {
		if got := (Taint{DeviceTaint: resourceapi.DeviceTaint{Effect: effect}}).Keeps(); got != want {
			t.Errorf("%s keeps: %t, want %t", effect, got, want)
		}
	}
}
