package validate

import (
	"slices"
	"strings"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"example.com/dragoman/pkg/view/selector"
)

// published is a device of a slice among the files.
type published struct {
	driver string
	device *resourceapi.Device
}

// selectors looks for attributes that no device in these files has, of drivers that have devices in them. The API
// server takes such an expression, and the scheduler fails on each device.
func (n neighbours) selectors(selectors []resourceapi.DeviceSelector, at *field.Path, f *findings) {
	if len(n.devices) == 0 {
		return
	}
	for i, s := range selectors {
		if s.CEL == nil {
			continue
		}
		compiled, err := selector.Compile(s.CEL.Expression)
		if err != nil {
			continue // said already
		}
		for _, r := range compiled.References() {
			if names, missing := n.lacks(r); missing {
				f.warn(at.Index(i).Child("cel", "expression"), "no device of %s in these files has %s; there are: %s",
					r.Domain, r, strings.Join(names, ", "))
			}
		}
	}
}

// lacks returns the names that devices of the driver have instead.
func (n neighbours) lacks(r selector.Reference) ([]string, bool) {
	var names []string
	ofDriver := false
	for _, p := range n.devices {
		if r.In(p.driver, p.device) {
			return nil, false
		}
		if p.driver != r.Domain {
			continue
		}
		ofDriver = true
		switch r.Kind {
		case selector.Attribute:
			for name := range p.device.Attributes {
				names = append(names, string(name))
			}
		case selector.Capacity:
			for name := range p.device.Capacity {
				names = append(names, string(name))
			}
		default:
			return nil, false
		}
	}
	slices.Sort(names)
	return slices.Compact(names), ofDriver
}
