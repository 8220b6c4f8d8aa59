package view

import (
	"slices"
	"strings"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/utils/ptr"
)

// Taint is a taint of a device, and who put it there.
type Taint struct {
	resourceapi.DeviceTaint `json:",inline"`
	// Rule is the name of the DeviceTaintRule that adds it, empty if the driver published it with the device.
	Rule string `json:"rule,omitempty"`
}

// Keeps says that the taint keeps the device from claims that do not tolerate it. Effects that nobody knows do not, as
// in the scheduler.
func (t Taint) Keeps() bool {
	return t.Effect == resourceapi.DeviceTaintEffectNoSchedule || t.Effect == resourceapi.DeviceTaintEffectNoExecute
}

// String returns key=value:effect, as kubectl writes the taints of nodes.
func (t Taint) String() string {
	text := t.Key
	if t.Value != "" {
		text += "=" + t.Value
	}
	return text + ":" + string(t.Effect)
}

// Taints returns the taints of a device: its own in the slice's order, then those that DeviceTaintRules add, by the
// name of the rule. A rule without a selector selects nothing, one with an empty selector everything (KEP-5055).
func (c *Cluster) Taints(driver, pool string, device *resourceapi.Device) []Taint {
	var taints []Taint
	for _, t := range device.Taints {
		taints = append(taints, Taint{DeviceTaint: t})
	}
	own := len(taints)
	for _, rule := range c.TaintRules {
		if selects(rule.Spec.DeviceSelector, driver, pool, device.Name) {
			taints = append(taints, Taint{DeviceTaint: rule.Spec.Taint, Rule: rule.Name})
		}
	}
	slices.SortStableFunc(taints[own:], func(a, b Taint) int { return strings.Compare(a.Rule, b.Rule) })
	return taints
}

func selects(s *resourceapi.DeviceTaintSelector, driver, pool, device string) bool {
	return s != nil && ptr.Deref(s.Driver, driver) == driver && ptr.Deref(s.Pool, pool) == pool &&
		ptr.Deref(s.Device, device) == device
}
