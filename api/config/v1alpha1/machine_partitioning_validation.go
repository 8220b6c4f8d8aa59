package v1alpha1

import (
	"fmt"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// maxCounters is how many counters a set may have, and a device may consume (ResourceSliceMaxCountersPerCounterSet; in
// Kubernetes 1.34 ResourceSliceMaxCountersPerDevice).
const maxCounters = 32

// validate checks what is written. What comes of it for single devices is checked with these.
func (p *Partitioning) validate(at *field.Path) field.ErrorList {
	if p == nil {
		return nil
	}
	errs := validateCounters(p.Counters, at.Child("counters"))
	errs = append(errs, p.Slots.validate(p.Counters, at.Child("slots"))...)
	if len(errs) > 0 {
		return errs
	}
	if n := len(p.whole().Counters); n > maxCounters {
		return field.ErrorList{field.TooMany(at, n, maxCounters)}
	}
	if len(p.Partitions) == 0 {
		return field.ErrorList{field.Required(at.Child("partitions"), "say into which parts the device can be cut")}
	}
	names := map[string]bool{}
	for i := range p.Partitions {
		partition, at := &p.Partitions[i], at.Child("partitions").Index(i)
		switch {
		case partition.Name == "":
			errs = append(errs, field.Required(at.Child("name"), ""))
		case names[partition.Name]:
			errs = append(errs, field.Duplicate(at.Child("name"), partition.Name))
		default:
			for _, problem := range validation.IsDNS1123Label(partition.Name) {
				errs = append(errs, field.Invalid(at.Child("name"), partition.Name, problem))
			}
		}
		names[partition.Name] = true
		errs = append(errs, p.validatePlaces(partition, at)...)
		errs = append(errs, p.validateConsumption(partition, at)...)
		errs = append(errs, partition.validate(at)...)
	}
	return errs
}

func validateCounters(counters map[string]Quantity, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, name := range slices.Sorted(maps.Keys(counters)) {
		for _, problem := range validation.IsDNS1123Label(name) {
			errs = append(errs, field.Invalid(at.Key(name), name, problem))
		}
	}
	return errs
}

func (s *Slots) validate(counters map[string]Quantity, at *field.Path) field.ErrorList {
	if s == nil {
		return nil
	}
	if s.Count < 1 || s.Count > maxCounters {
		return field.ErrorList{field.Invalid(at.Child("count"), s.Count, validation.InclusiveRangeError(1, maxCounters))}
	}
	if s.Counter == "" {
		return field.ErrorList{field.Required(at.Child("counter"), "is how the counters of the slots are called")}
	}
	for _, problem := range validation.IsDNS1123Label(s.counter(s.Count - 1)) {
		return field.ErrorList{field.Invalid(at.Child("counter"), s.Counter,
			fmt.Sprintf("makes the counter %q: %s", s.counter(s.Count-1), problem))}
	}
	for slot := range s.Count {
		if _, ok := counters[s.counter(slot)]; ok {
			return field.ErrorList{field.Duplicate(at.Child("counter"), s.counter(slot))}
		}
	}
	return nil
}

// validatePlaces checks at which places there is such a part, or how often.
func (p *Partitioning) validatePlaces(partition *Partition, at *field.Path) field.ErrorList {
	if partition.Size == 0 {
		if len(partition.Starts) > 0 {
			return field.ErrorList{field.Required(at.Child("size"), "say how many slots a part has that starts at one")}
		}
		if n := *partition.Copies; n < 1 || n > maxDevices {
			return field.ErrorList{field.Invalid(at.Child("copies"), n, validation.InclusiveRangeError(1, maxDevices))}
		}
		return nil
	}
	switch {
	case p.Slots == nil:
		return field.ErrorList{field.Forbidden(at.Child("size"), "the device has no slots")}
	case partition.Size < 0 || partition.Size > p.Slots.Count:
		return field.ErrorList{field.Invalid(at.Child("size"), partition.Size,
			validation.InclusiveRangeError(0, p.Slots.Count))}
	case partition.Copies != nil:
		return field.ErrorList{field.Forbidden(at.Child("copies"), "a part with slots has starts instead")}
	case len(partition.Starts) == 0:
		return field.ErrorList{field.Required(at.Child("starts"), "say at which slots such a part can start")}
	}
	var errs field.ErrorList
	for i, start := range partition.Starts {
		switch at := at.Child("starts").Index(i); {
		case start < 0 || start+partition.Size > p.Slots.Count:
			errs = append(errs, field.Invalid(at, start, fmt.Sprintf(
				"a part of %d slots that starts here is not within slots 0 to %d", partition.Size, p.Slots.Count-1)))
		case slices.Contains(partition.Starts[:i], start):
			errs = append(errs, field.Duplicate(at, start))
		}
	}
	return errs
}

// validateConsumption checks that the part consumes something, and of nothing more than there is: then nobody can have
// it together with the whole device.
func (p *Partitioning) validateConsumption(partition *Partition, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	at = at.Child("counters")
	consumes := partition.Size > 0
	for _, name := range slices.Sorted(maps.Keys(partition.Counters)) {
		amount := partition.Counters[name]
		consumes = consumes || amount.Sign() > 0
		all, ok := p.Counters[name]
		switch {
		case !ok:
			errs = append(errs, field.NotSupported(at, name, slices.Sorted(maps.Keys(p.Counters))))
		case amount.Cmp(all.Quantity) > 0:
			errs = append(errs, field.Invalid(at.Key(name), amount.String(), "the whole device has "+all.String()))
		}
	}
	if !consumes {
		errs = append(errs, field.Required(at, "a part consumes something of its device, a counter or slots"))
	}
	return errs
}

// validate checks the texts and values of the part.
func (p *Partition) validate(at *field.Path) field.ErrorList {
	of := ofCopy
	if p.Size != 0 {
		of = ofStart
	}
	errs := of.validate(p.DeviceName, at.Child("deviceName"))
	errs = append(errs, validateAttributes(p.Attributes, of, at.Child("attributes"))...)
	for _, name := range slices.Sorted(maps.Keys(p.Capacity)) {
		at := at.Child("capacity").Key(name)
		errs = append(errs, validateCapacity(name, p.Capacity[name], at)...)
		if p.Capacity[name].RequestPolicy != nil {
			errs = append(errs, field.Forbidden(at.Child("requestPolicy"), "a part is for one claim at a time"))
		}
	}
	return errs
}

// validateParts checks the parts of the device i of the group, which is the given one.
func (g placedGroup) validateParts(i int, whole MachineDevice) field.ErrorList {
	var errs field.ErrorList
	fill := g.filling(i, "")
	for n, p := range g.placements {
		last := n == len(g.placements)-1 || g.placements[n+1].partition != p.partition
		if p.place > 0 && !last {
			continue // the numbers are longest in the last one
		}
		at := g.at.Child("partitioning", "partitions").Index(p.partition)
		errs = append(errs, validateFilled(p.Attributes, p.in(fill, whole.Name), at.Child("attributes"))...)
		part := p.cut(whole, fill)
		if p.place == 0 {
			errs = append(errs, part.validateSize(at.Child("attributes"))...)
		}
	}
	return errs
}
