package why

import (
	"fmt"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"
)

// lackingCapacity is a capacity of a device that does not do for a request.
type lackingCapacity struct {
	name resourceapi.QualifiedName
	// absent: the device has none of that name. refused: the device's rules do not allow such a request.
	absent, refused  bool
	need, left, size resource.Quantity
}

// never says that the device would not do without its other users either.
func (l lackingCapacity) never() bool { return l.absent || l.refused || l.size.Cmp(l.need) < 0 }

func (l lackingCapacity) String() string {
	switch {
	case l.absent:
		return fmt.Sprintf("no capacity %s", l.name)
	case l.refused:
		return fmt.Sprintf("%s %s is not what the device allows to ask for", l.name, l.need.String())
	case l.left.Cmp(l.size) == 0:
		return fmt.Sprintf("%s: needs %s, has %s", l.name, l.need.String(), l.size.String())
	}
	return fmt.Sprintf("%s: needs %s, %s of %s left", l.name, l.need.String(), l.left.String(), l.size.String())
}

// lackingCapacityOf returns the first capacity of the device, by name, that is not enough for what is asked for.
func lackingCapacityOf(d *device, asked *resourceapi.CapacityRequirements) (lackingCapacity, bool) {
	requests := map[resourceapi.QualifiedName]resource.Quantity{}
	if asked != nil {
		requests = asked.Requests
	}
	for _, name := range sortedKeys(requests) {
		if _, has := d.spec.Capacity[name]; !has {
			return lackingCapacity{name: name, absent: true}, true
		}
	}
	for _, name := range sortedKeys(d.spec.Capacity) {
		capacity := d.spec.Capacity[name]
		var request *resource.Quantity
		if q, found := requests[name]; found {
			request = &q
		}
		l := lackingCapacity{name: name, size: capacity.Value, left: capacity.Value.DeepCopy()}
		l.need = consumes(request, capacity)
		for _, u := range d.uses {
			if q, found := u.Consumed[name]; found && u.Shared() {
				l.left.Sub(q)
			}
		}
		if policy := capacity.RequestPolicy; policy != nil && policy.ValidRange != nil &&
			policy.ValidRange.Max != nil && l.need.Cmp(*policy.ValidRange.Max) > 0 {
			l.refused = true
			return l, true
		}
		if policy := capacity.RequestPolicy; policy != nil && len(policy.ValidValues) > 0 &&
			l.need.Cmp(policy.ValidValues[len(policy.ValidValues)-1]) > 0 {
			l.refused = true
			return l, true
		}
		if l.left.Cmp(l.need) < 0 {
			return l, true
		}
	}
	return lackingCapacity{}, false
}

// consumes is what a request takes of a capacity: the default if nothing is asked for, and otherwise the next amount
// that the device's policy allows (KEP-5075).
func consumes(request *resource.Quantity, capacity resourceapi.DeviceCapacity) resource.Quantity {
	policy := capacity.RequestPolicy
	switch {
	case request == nil && policy != nil && policy.Default != nil:
		return policy.Default.DeepCopy()
	case request == nil:
		return capacity.Value.DeepCopy()
	case policy == nil:
		return request.DeepCopy()
	case policy.ValidRange != nil && policy.ValidRange.Min != nil:
		return nextStep(*request, policy.ValidRange)
	}
	for _, v := range policy.ValidValues {
		if request.Cmp(v) <= 0 {
			return v.DeepCopy()
		}
	}
	return request.DeepCopy()
}

func nextStep(request resource.Quantity, r *resourceapi.CapacityRequestPolicyRange) resource.Quantity {
	if request.Cmp(*r.Min) < 0 {
		return r.Min.DeepCopy()
	}
	step := ptr.Deref(r.Step, resource.Quantity{})
	if step.Value() <= 0 {
		return request
	}
	steps := (request.Value() - r.Min.Value() + step.Value() - 1) / step.Value()
	return *resource.NewQuantity(r.Min.Value()+steps*step.Value(), step.Format)
}
