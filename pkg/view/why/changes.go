package why

import (
	"fmt"
	"slices"
	"strings"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"example.com/dragoman/pkg/view"
)

// edit changes the request, or the choice, of a need in a situation.
func (n *need) edit(
	s situation, exact func(*resourceapi.ExactDeviceRequest), sub func(*resourceapi.DeviceSubRequest),
) situation {
	return s.edited(n.claim, func(spec *resourceapi.ResourceClaimSpec) {
		r := &spec.Devices.Requests[n.request]
		if n.choice >= 0 {
			sub(&r.FirstAvailable[n.choice])
		} else {
			exact(r.Exactly)
		}
	})
}

// in says which request is meant, where there are several.
func (f *search) in(n *need) string {
	if len(f.judges) == 1 {
		return ""
	}
	return fmt.Sprintf(" in request %q", n.name)
}

// fewer asks for as many devices as are left where most are.
func (f *search) fewer() []change {
	var changes []change
	for _, j := range f.judges {
		n := j.need
		most := 0
		for _, node := range f.base.nodes {
			left := 0
			for _, d := range f.on(node) {
				if j.fates[d].stage == "" {
					left++
				}
			}
			most = max(most, left)
		}
		if !n.all {
			most = min(most, int(n.count)-1)
		}
		for k := min(most, resourceapi.AllocationResultsMaxSize); k > 0 && f.worth(j); k-- {
			changes = append(changes, change{
				kind: AskForFewer, text: f.fewerText(n, k), where: f.withOthers(n),
				apply: func(s situation) situation { return n.withCount(s, int64(k)) },
			})
		}
	}
	return changes
}

func (f *search) fewerText(n *need, k int) string {
	if isExtended(n.claim) {
		return fmt.Sprintf("ask for %d of the extended resource instead of %d", k, n.count)
	}
	if n.all {
		return fmt.Sprintf("ask for allocationMode: ExactCount, count: %d%s", k, f.in(n))
	}
	return fmt.Sprintf("ask for count: %d%s", k, f.in(n))
}

func (n *need) withCount(s situation, k int64) situation {
	return n.edit(s, func(r *resourceapi.ExactDeviceRequest) {
		r.AllocationMode, r.Count = resourceapi.DeviceAllocationModeExactCount, k
	}, func(r *resourceapi.DeviceSubRequest) {
		r.AllocationMode, r.Count = resourceapi.DeviceAllocationModeExactCount, k
	})
}

// less asks for as much of a capacity as the device has left that has most.
func (f *search) less() []change {
	var changes []change
	for _, j := range f.judges {
		n := j.need
		if n.capacity == nil {
			continue
		}
		for _, name := range sortedKeys(n.capacity.Requests) {
			var most resource.Quantity
			for d, fate := range j.fates {
				if fate.stage != StageCapacity {
					continue
				}
				if l, lacks := lackingCapacityOf(d, n.capacity); lacks && l.name == name && l.left.Cmp(most) > 0 {
					most = l.left
				}
			}
			if most.Sign() > 0 && most.Cmp(n.capacity.Requests[name]) < 0 {
				changes = append(changes, change{
					kind: AskForLess, text: fmt.Sprintf("ask for %s: %s%s", name, most.String(), f.in(n)),
					where: f.withOthers(n),
					apply: func(s situation) situation { return n.withCapacity(s, name, most) },
				})
			}
		}
	}
	return changes
}

func (n *need) withCapacity(s situation, name resourceapi.QualifiedName, q resource.Quantity) situation {
	return n.edit(s, func(r *resourceapi.ExactDeviceRequest) {
		r.Capacity.Requests[name] = q
	}, func(r *resourceapi.DeviceSubRequest) {
		r.Capacity.Requests[name] = q
	})
}

// tolerations tolerates each taint that costs devices.
func (f *search) tolerations() []change {
	var changes []change
	for _, j := range f.judges {
		n := j.need
		seen := make(map[string]view.Taint)
		for d, fate := range j.fates {
			if fate.stage != StageTaint {
				continue
			}
			for _, t := range d.taints {
				if t.Keeps() && !tolerated(n.tolerations, t) {
					seen[t.String()] = t
				}
			}
		}
		for _, text := range sortedKeys(seen) {
			t := seen[text]
			add := resourceapi.DeviceToleration{Key: t.Key, Operator: resourceapi.DeviceTolerationOpExists, Effect: t.Effect}
			changes = append(changes, change{
				kind: Tolerate, text: fmt.Sprintf("tolerate %s, if the device will do in spite of it%s", text, f.in(n)),
				where: f.withOthers(n),
				apply: func(s situation) situation {
					return n.edit(s, func(r *resourceapi.ExactDeviceRequest) { r.Tolerations = append(r.Tolerations, add) },
						func(r *resourceapi.DeviceSubRequest) { r.Tolerations = append(r.Tolerations, add) })
				},
			})
		}
	}
	return changes
}

// otherNodes lets the pod run where it does not fit.
func (f *search) otherNodes() []change {
	var changes []change
	for _, g := range f.answer.Unfit {
		changes = append(changes, change{
			kind: AllowNodes, text: "let the pod run on %s (" + strings.ReplaceAll(g.Text, "%", "%%") + ")", on: true,
			apply: func(s situation) situation {
				s.nodes, s.beyond = nil, nil
				for _, n := range f.nodes {
					if slices.Contains(g.Nodes, n.Name) {
						s.nodes = append(s.nodes, n)
					}
				}
				return s
			},
		})
	}
	return changes
}

// withoutConstraints leaves each constraint out.
func (f *search) withoutConstraints() []change {
	var changes []change
	for _, claim := range f.base.claims {
		for i, c := range claim.Spec.Devices.Constraints {
			changes = append(changes, change{
				kind: DropConstraint, text: fmt.Sprintf("leave %s out", constraintText(c)),
				apply: func(s situation) situation {
					return s.edited(claim, func(spec *resourceapi.ResourceClaimSpec) {
						spec.Devices.Constraints = slices.Delete(spec.Devices.Constraints, i, i+1)
					})
				},
			})
		}
	}
	return changes
}

// withoutSelectors leaves each selector of a request out that costs devices.
func (f *search) withoutSelectors() []change {
	var changes []change
	for _, j := range f.judges {
		n := j.need
		for _, x := range j.expressions {
			if x.from != "request" || len(x.untrue)+len(x.errors) == 0 || !f.worth(j) {
				continue
			}
			changes = append(changes, change{
				kind: DropSelector, text: fmt.Sprintf("leave %s out%s", n.selectorText(x), f.in(n)),
				where: f.withOthers(n),
				apply: func(s situation) situation {
					return n.edit(s, func(r *resourceapi.ExactDeviceRequest) {
						r.Selectors = slices.Delete(r.Selectors, x.index, x.index+1)
					}, func(r *resourceapi.DeviceSubRequest) {
						r.Selectors = slices.Delete(r.Selectors, x.index, x.index+1)
					})
				},
			})
		}
	}
	return changes
}

// selectorText says which selector of a request is meant.
func (n *need) selectorText(x *expression) string {
	if len(n.selectors) == 1 {
		return "the selector"
	}
	const most = 60
	text := []rune(oneLine(x.text))
	if len(text) > most {
		text = append(text[:most], '…')
	}
	return "selector " + string(text)
}

// otherClasses asks for each other class, where the class has nothing.
func (f *search) otherClasses() []change {
	var changes []change
	names := make([]string, 0, len(f.Classes))
	for _, c := range f.Classes {
		names = append(names, c.Name)
	}
	slices.Sort(names)
	for _, j := range f.judges {
		n := j.need
		if !f.worth(j) {
			continue
		}
		for _, name := range names {
			if name == n.class {
				continue
			}
			changes = append(changes, change{
				kind: OtherClass, text: fmt.Sprintf("ask for class %s%s, if its devices will do", name, f.in(n)),
				where: f.withOthers(n),
				apply: func(s situation) situation {
					return n.edit(s, func(r *resourceapi.ExactDeviceRequest) { r.DeviceClassName = name },
						func(r *resourceapi.DeviceSubRequest) { r.DeviceClassName = name })
				},
			})
		}
	}
	return changes
}
