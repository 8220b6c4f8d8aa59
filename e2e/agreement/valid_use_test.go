package agreement

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// amounts are quantities by the name of a capacity or a counter.
type amounts map[resourceapi.QualifiedName]resource.Quantity

func (a amounts) add(name resourceapi.QualifiedName, amount resource.Quantity) {
	sum := a[name].DeepCopy()
	sum.Add(amount)
	a[name] = sum
}

// consumption is what a request takes of a device's capacities. The error says that the device does not have it.
func consumption(
	asked *resourceapi.CapacityRequirements, capacity map[resourceapi.QualifiedName]resourceapi.DeviceCapacity,
) (amounts, error) {
	takes := amounts{}
	for name, c := range capacity {
		amount := c.Value
		if c.RequestPolicy != nil && c.RequestPolicy.Default != nil {
			amount = *c.RequestPolicy.Default
		}
		if asked != nil {
			if wanted, found := asked.Requests[name]; found {
				var err error
				if amount, err = rounded(wanted, c.RequestPolicy); err != nil {
					return nil, fmt.Errorf("capacity %s: %w", name, err)
				}
			}
		}
		if amount.Cmp(c.Value) > 0 {
			return nil, fmt.Errorf("capacity %s is %s, wanted are %s", name, c.Value.String(), amount.String())
		}
		takes[name] = amount
	}
	if asked != nil {
		for name := range asked.Requests {
			if _, found := capacity[name]; !found {
				return nil, fmt.Errorf("there is no capacity %s", name)
			}
		}
	}
	return takes, nil
}

// rounded is the least amount that the policy gives away and that is enough.
func rounded(wanted resource.Quantity, policy *resourceapi.CapacityRequestPolicy) (resource.Quantity, error) {
	switch {
	case policy == nil:
		return wanted, nil
	case len(policy.ValidValues) > 0:
		for _, value := range policy.ValidValues {
			if value.Cmp(wanted) >= 0 {
				return value, nil
			}
		}
		return wanted, fmt.Errorf("%s is more than any valid value", wanted.String())
	case policy.ValidRange == nil:
		return wanted, nil
	}
	valid := policy.ValidRange
	amount := valid.Min.DeepCopy()
	for amount.Cmp(wanted) < 0 {
		if valid.Step == nil {
			amount = wanted
			break
		}
		amount.Add(*valid.Step)
	}
	if valid.Max != nil && amount.Cmp(*valid.Max) > 0 {
		return wanted, fmt.Errorf("%s is more than the most that anybody gets", amount.String())
	}
	return amount, nil
}

// others are what claims of others have, without those that only look.
func (c *checker) others() (results []*resourceapi.DeviceRequestAllocationResult) {
	for _, claim := range c.cluster.Claims {
		if claim.Status.Allocation == nil {
			continue
		}
		for i := range claim.Status.Allocation.Devices.Results {
			result := &claim.Status.Allocation.Devices.Results[i]
			if result.AdminAccess == nil || !*result.AdminAccess {
				results = append(results, result)
			}
		}
	}
	return results
}

// validUse finds devices that two have who must not, and capacities of which more was given than there is.
func (c *checker) validUse(all []given) error {
	var errs []error
	owners := map[id]int{}
	consumed := map[id]amounts{}
	count := func(result *resourceapi.DeviceRequestAllocationResult) {
		device := deviceOf(result)
		if result.ShareID == nil {
			owners[device]++
			return
		}
		if consumed[device] == nil {
			consumed[device] = amounts{}
		}
		for name, amount := range result.ConsumedCapacity {
			consumed[device].add(name, amount)
		}
	}
	for _, result := range c.others() {
		count(result)
	}
	type look struct {
		claim  string
		device id
	}
	looks := map[look]bool{}
	for _, g := range all {
		if !g.want.admin {
			count(g.result)
			continue
		}
		l := look{g.claim.Name, g.device.id}
		if looks[l] && g.result.ShareID == nil {
			errs = append(errs, fmt.Errorf("claim %s looks twice at %v", l.claim, l.device))
		}
		looks[l] = true
	}
	for _, g := range all {
		if g.want.admin {
			continue
		}
		if shares := len(consumed[g.device.id]) > 0; owners[g.device.id] > 1 || owners[g.device.id] == 1 && shares {
			errs = append(errs, fmt.Errorf("device %v has several owners", g.device.id))
		}
		for name, sum := range consumed[g.device.id] {
			if has := g.device.Capacity[name].Value; sum.Cmp(has) > 0 {
				errs = append(errs, fmt.Errorf("of the %s %s of device %v, %s were given", has.String(), name, g.device.id,
					sum.String()))
			}
		}
	}
	return errors.Join(errs...)
}

// validCounters finds counters of which devices in use consume more than there is.
func (c *checker) validCounters(all []given) error {
	type counter struct{ driver, pool, slice, set, name string }
	used := map[id]bool{}
	for _, result := range c.others() {
		used[deviceOf(result)] = true
	}
	touched := map[id]bool{}
	for _, g := range all {
		if !g.want.admin {
			used[g.device.id] = true
			touched[id{driver: g.device.driver, pool: g.device.pool}] = true
		}
	}
	left := map[counter]resource.Quantity{}
	// On 1.34 a counter set belongs to its slice.
	key := func(slice *resourceapi.ResourceSlice, set, name string) counter {
		k := counter{driver: slice.Spec.Driver, pool: slice.Spec.Pool.Name, set: set, name: name}
		if c.old {
			k.slice = slice.Name
		}
		return k
	}
	newest := c.newest()
	for _, slice := range newest {
		for _, set := range slice.Spec.SharedCounters {
			for name, has := range set.Counters {
				left[key(slice, set.Name, name)] = has.Value.DeepCopy()
			}
		}
	}
	for _, slice := range newest {
		for _, device := range slice.Spec.Devices {
			if !used[id{slice.Spec.Driver, slice.Spec.Pool.Name, device.Name}] {
				continue
			}
			for _, consumes := range device.ConsumesCounters {
				for name, amount := range consumes.Counters {
					rest := left[key(slice, consumes.CounterSet, name)]
					rest.Sub(amount.Value)
					left[key(slice, consumes.CounterSet, name)] = rest
				}
			}
		}
	}
	for k, rest := range left {
		if rest.Sign() < 0 && touched[id{driver: k.driver, pool: k.pool}] {
			return fmt.Errorf("counter %s of %s in pool %s/%s is at %s", k.name, k.set, k.driver, k.pool, rest.String())
		}
	}
	return nil
}

// validConstraint judges what the devices of a claim must have in common, or must not.
func validConstraint(constraint resourceapi.DeviceConstraint, all []given) error {
	attribute := constraint.MatchAttribute
	if attribute == nil {
		attribute = constraint.DistinctAttribute
	}
	var values []string
	for _, g := range all {
		named := slices.Contains(constraint.Requests, g.want.name) || slices.Contains(constraint.Requests, g.want.parent)
		if len(constraint.Requests) > 0 && !named {
			continue
		}
		value, err := g.device.attribute(*attribute)
		if err != nil {
			return err
		}
		values = append(values, value)
	}
	different := len(slices.Compact(slices.Sorted(slices.Values(values))))
	switch {
	case constraint.MatchAttribute != nil && different > 1:
		return fmt.Errorf("devices do not match in %s: %s", *attribute, strings.Join(values, ", "))
	case constraint.DistinctAttribute != nil && different < len(values):
		return fmt.Errorf("devices are not distinct in %s: %s", *attribute, strings.Join(values, ", "))
	}
	return nil
}

// attribute is the value of an attribute with its type.
func (p *published) attribute(name resourceapi.FullyQualifiedName) (string, error) {
	value, found := p.Attributes[resourceapi.QualifiedName(name)]
	if domain, short, _ := strings.Cut(string(name), "/"); !found && domain == p.driver {
		value, found = p.Attributes[resourceapi.QualifiedName(short)]
	}
	switch {
	case !found:
		return "", fmt.Errorf("device %v has no attribute %s", p.id, name)
	case value.StringValue != nil:
		return fmt.Sprintf("string %q", *value.StringValue), nil
	case value.IntValue != nil:
		return fmt.Sprintf("int %d", *value.IntValue), nil
	case value.BoolValue != nil:
		return fmt.Sprintf("bool %v", *value.BoolValue), nil
	case value.VersionValue != nil:
		return fmt.Sprintf("version %q", *value.VersionValue), nil
	}
	return "", fmt.Errorf("attribute %s of device %v has no value that is known here", name, p.id)
}
