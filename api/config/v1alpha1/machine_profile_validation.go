package v1alpha1

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

const (
	// maxDevices is how many devices a machine may have; twice of what anybody asked for.
	maxDevices = 20000
	// maxNodeVariations bounds the work of checking each of them.
	maxNodeVariations = 100
	maxReason         = 256

	// The limits of the resource API (k8s.io/api/resource/v1).
	maxAttributesAndCapacities = 32
	maxAttributeValue          = 64
	maxAttributeDomain         = 63
	maxAttributeID             = 32
)

var (
	pciBusIDPattern = regexp.MustCompile(`^[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$`)
	pcieRootPattern = regexp.MustCompile(`^pci[0-9a-f]{4}:[0-9a-f]{2}$`)
	// versionPattern is semantic versioning 2.0.0, as https://semver.org words it.
	versionPattern = regexp.MustCompile(`^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)` +
		`(?:-((?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(?:\.(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*))?` +
		`(?:\+([0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*))?$`)
)

// validate reports everything that is wrong after setDefaults, first what is written, then what comes of it.
func (p *MachineProfile) validate() field.ErrorList {
	errs := validateGroups(p.Groups, field.NewPath("groups"))
	if len(p.Nodes) > maxNodeVariations {
		return append(errs, field.TooMany(field.NewPath("nodes"), len(p.Nodes), maxNodeVariations))
	}
	patterns := map[string]bool{}
	for i, node := range p.Nodes {
		at := field.NewPath("nodes").Index(i)
		switch _, err := path.Match(node.Pattern, ""); {
		case node.Pattern == "":
			errs = append(errs, field.Required(at.Child("pattern"), "* is for all nodes that no entry before matches"))
		case err != nil:
			errs = append(errs, field.Invalid(at.Child("pattern"), node.Pattern,
				"must be a pattern such as *-worker[23]"))
		case patterns[node.Pattern]:
			errs = append(errs, field.Duplicate(at.Child("pattern"), node.Pattern))
		}
		patterns[node.Pattern] = true
		errs = append(errs, validateGroups(node.Groups, at.Child("groups"))...)
	}
	if len(errs) > 0 {
		return errs
	}
	return p.validateMachines()
}

// validateMachines looks at the devices of every machine that the profile can make.
func (p *MachineProfile) validateMachines() field.ErrorList {
	type problem struct {
		field, detail string
		kind          field.ErrorType
	}
	var errs field.ErrorList
	seen := map[problem]bool{} // a group that is part of many machines has its problem once, and so do many devices
	for variation := -1; variation < len(p.Nodes); variation++ {
		if variation >= 0 && len(p.Nodes[variation].Groups) == 0 {
			continue // it is the machine of every node
		}
		for _, err := range validateMachine(p.machine(variation)) {
			if this := (problem{err.Field, err.Detail, err.Type}); !seen[this] {
				seen[this] = true
				errs = append(errs, err)
			}
		}
	}
	return errs
}

func validateMachine(groups []placedGroup) field.ErrorList {
	var errs field.ErrorList
	devices := 0
	for _, group := range groups {
		devices += *group.Count * (1 + group.Partitioning.parts())
		if devices > maxDevices {
			return field.ErrorList{field.Invalid(group.at.Child("count"), *group.Count, fmt.Sprintf(
				"a machine may have %d devices, with this group it has %d", maxDevices, devices))}
		}
	}
	taken := map[string]bool{}
	for _, group := range groups {
		errs = append(errs, group.validateNames(taken)...)
		for _, i := range group.representatives() {
			errs = append(errs, group.validateDevice(i)...)
		}
	}
	return errs
}

// representatives are the devices of which at least one shows every problem: the placeholders are longest in the last
// one, and those with a description of their own are all looked at. Whether an address is one is not only a question of
// how long it is.
func (g placedGroup) representatives() []int {
	indexes := map[int]bool{}
	if g.Network != nil {
		for i := range *g.Count {
			indexes[i] = true
		}
	}
	if *g.Count > 0 {
		indexes[0], indexes[*g.Count-1] = true, true
	}
	for i := range g.variations {
		indexes[i] = true
	}
	return slices.Sorted(maps.Keys(indexes))
}

// validateNames finds the first device of the group without a name of its own.
func (g placedGroup) validateNames(taken map[string]bool) field.ErrorList {
	take := func(name, template string, at *field.Path) field.ErrorList {
		problems := validation.IsDNS1123Label(name)
		if taken[name] {
			problems = append(problems, "another device of the machine has this name; use {index}")
		}
		if len(problems) > 0 {
			return field.ErrorList{field.Invalid(at.Child("deviceName"), template,
				fmt.Sprintf("makes the device name %q: %s", name, strings.Join(problems, "; ")))}
		}
		taken[name] = true
		return nil
	}
	for i := range *g.Count {
		fill := g.filling(i, "")
		whole := fill.text(g.DeviceName)
		if errs := take(whole, g.DeviceName, g.at); len(errs) > 0 {
			return errs
		}
		for _, p := range g.placements {
			name := p.in(fill, whole).text(p.DeviceName)
			at := g.at.Child("partitioning", "partitions").Index(p.partition)
			if errs := take(name, p.DeviceName, at); len(errs) > 0 {
				return errs
			}
		}
	}
	return nil
}

// validateDevice checks what is only known when the placeholders are filled and the variations applied.
func (g placedGroup) validateDevice(i int) field.ErrorList {
	fill, device := g.filling(i, ""), g.device(i, "")
	errs := g.validateTexts(fill, g.at)
	at := g.at
	if d, ok := g.variations[i]; ok {
		at = g.at.Child("devices").Index(d)
		errs = append(errs, g.Devices[d].validateTexts(fill, at)...)
	}
	errs = append(errs, device.validateSize(g.at.Child("attributes"))...)
	for _, name := range slices.Sorted(maps.Keys(device.Capacity)) {
		if device.Capacity[name].RequestPolicy != nil && !device.AllowMultipleAllocations {
			errs = append(errs, field.Forbidden(at.Child("capacity").Key(name).Child("requestPolicy"),
				"only a device with allowMultipleAllocations has one"))
		}
	}
	return append(errs, g.validateParts(i, device)...)
}

// validateSize checks that there is not too much said of the device.
func (d MachineDevice) validateSize(at *field.Path) field.ErrorList {
	if n := len(d.Attributes) + len(d.Capacity); n > maxAttributesAndCapacities {
		return field.ErrorList{field.Invalid(at, n, fmt.Sprintf(
			"device %s may have %d attributes and capacities together, those of PCI and NUMA included",
			d.Name, maxAttributesAndCapacities))}
	}
	return nil
}

// validateTexts checks the texts of a template when they are filled in for one device.
func (t *DeviceTemplate) validateTexts(fill filling, at *field.Path) field.ErrorList {
	errs := validateFilled(t.Attributes, fill, at.Child("attributes"))
	if id := fill.text(t.PCIBusID); id != "" && !pciBusIDPattern.MatchString(id) {
		errs = append(errs, field.Invalid(at.Child("pciBusID"), id, "must be a PCI address such as 0000:1b:00.0"))
	}
	if root := fill.text(t.PCIeRoot); root != "" && !pcieRootPattern.MatchString(root) {
		errs = append(errs, field.Invalid(at.Child("pcieRoot"), root, "must be a PCIe root such as pci0000:15"))
	}
	return append(errs, t.Network.filled(fill).validateFilled(at.Child("network"))...)
}

// validateFilled checks the texts of attributes when they are filled in for one device.
func validateFilled(attributes map[string]Attribute, fill filling, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, name := range slices.Sorted(maps.Keys(attributes)) {
		if s := attributes[name].String; s != nil && len(fill.text(*s)) > maxAttributeValue {
			errs = append(errs, field.TooLong(at.Key(name).Child("string"), *s, maxAttributeValue))
		}
	}
	return errs
}

// validateGroups checks what is written, without filling anything in.
func validateGroups(groups []DeviceGroup, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	names := map[string]bool{}
	for i := range groups {
		group, at := &groups[i], at.Index(i)
		switch {
		case group.Name == "":
			errs = append(errs, field.Required(at.Child("name"), ""))
		case names[group.Name]:
			errs = append(errs, field.Duplicate(at.Child("name"), group.Name))
		default:
			for _, problem := range validation.IsDNS1123Label(group.Name) {
				errs = append(errs, field.Invalid(at.Child("name"), group.Name, problem))
			}
		}
		names[group.Name] = true
		if count := *group.Count; count < 0 || count > maxDevices {
			errs = append(errs, field.Invalid(at.Child("count"), count, validation.InclusiveRangeError(0, maxDevices)))
		}
		errs = append(errs, validatePlaceholders(group.DeviceName, at.Child("deviceName"))...)
		errs = append(errs, group.validate(at)...)
		errs = append(errs, group.Partitioning.validate(at.Child("partitioning"))...)
		errs = append(errs, group.validateVariations(at.Child("devices"))...)
	}
	return errs
}

func (g *DeviceGroup) validateVariations(at *field.Path) field.ErrorList {
	var errs field.ErrorList
	indexes := map[int]bool{}
	for i := range g.Devices {
		device, at := &g.Devices[i], at.Index(i)
		errs = append(errs, device.validate(at)...)
		at = at.Child("groupIndex")
		if device.GroupIndex == nil {
			errs = append(errs, field.Required(at, "says which device of the group is meant"))
			continue
		}
		switch index := *device.GroupIndex; {
		case index < 0 || index >= *g.Count:
			errs = append(errs, field.Invalid(at, index,
				fmt.Sprintf("the group has %d devices, the first is 0", *g.Count)))
		case indexes[index]:
			errs = append(errs, field.Duplicate(at, index))
		}
		indexes[*device.GroupIndex] = true
	}
	return errs
}

func (t *DeviceTemplate) validate(at *field.Path) field.ErrorList {
	errs := validateAttributes(t.Attributes, ofDevice, at.Child("attributes"))
	for _, name := range slices.Sorted(maps.Keys(t.Attributes)) {
		if own := t.fieldOf(name); own != "" {
			errs = append(errs, field.Forbidden(at.Child("attributes").Key(name),
				"comes from the field "+own+" and cannot be given twice"))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(t.Capacity)) {
		errs = append(errs, validateCapacity(name, t.Capacity[name], at.Child("capacity").Key(name))...)
	}
	errs = append(errs, validatePlaceholders(t.PCIBusID, at.Child("pciBusID"))...)
	errs = append(errs, validatePlaceholders(t.PCIeRoot, at.Child("pcieRoot"))...)
	if t.NUMANode != nil && *t.NUMANode < 0 {
		errs = append(errs, field.Invalid(at.Child("numaNode"), *t.NUMANode, "must not be negative"))
	}
	errs = append(errs, validateTaints(t.Taints, at.Child("taints"))...)
	errs = append(errs, t.Binding.validate(at.Child("binding"))...)
	errs = append(errs, t.Network.validate(at.Child("network"))...)
	return append(errs, t.Health.validate(at.Child("health").Child("reason"))...)
}

// fieldOf returns the field that makes the attribute on this device, if it is set.
func (t *DeviceTemplate) fieldOf(attribute string) string {
	switch {
	case attribute == pciBusIDAttribute && t.PCIBusID != "":
		return "pciBusID"
	case attribute == pcieRootAttribute && t.PCIeRoot != "":
		return "pcieRoot"
	case attribute == numaNodeAttribute && t.NUMANode != nil:
		return "numaNode"
	}
	return ""
}

func (h *Health) validate(reason *field.Path) field.ErrorList {
	switch {
	case h == nil || h.Reason == "":
		return nil
	case !h.Unhealthy:
		return field.ErrorList{field.Forbidden(reason, "only an unhealthy device has a reason")}
	case len(h.Reason) > maxReason:
		return field.ErrorList{field.TooLong(reason, h.Reason, maxReason)}
	}
	return nil
}

// validateName checks the name of an attribute or capacity: a C identifier, possibly behind a domain and a slash.
func validateName(name string, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	id := name
	if domain, rest, qualified := strings.Cut(name, "/"); qualified {
		id = rest
		for _, problem := range validation.IsDNS1123Subdomain(domain) {
			errs = append(errs, field.Invalid(at, name, "the domain before the slash: "+problem))
		}
		if len(domain) > maxAttributeDomain {
			errs = append(errs, field.TooLong(at, domain, maxAttributeDomain))
		}
	}
	for _, problem := range validation.IsCIdentifier(id) {
		errs = append(errs, field.Invalid(at, name, "the name: "+problem))
	}
	if len(id) > maxAttributeID {
		errs = append(errs, field.TooLong(at, id, maxAttributeID))
	}
	return errs
}

func validateCapacity(name string, c Capacity, at *field.Path) field.ErrorList {
	errs := validateName(name, at)
	if c.Value == nil {
		errs = append(errs, field.Required(at.Child("value"), "must be a quantity such as 80Gi"))
	}
	return append(errs, c.RequestPolicy.validate(c.Value, at.Child("requestPolicy"))...)
}

func validateAttributes(attributes map[string]Attribute, of context, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, name := range slices.Sorted(maps.Keys(attributes)) {
		errs = append(errs, validateName(name, at.Key(name))...)
		errs = append(errs, validateAttribute(attributes[name], of, at.Key(name))...)
	}
	return errs
}

func validateAttribute(a Attribute, of context, at *field.Path) field.ErrorList {
	var set []string
	for _, f := range []struct {
		name string
		set  bool
	}{{"string", a.String != nil}, {"int", a.Int != nil}, {"bool", a.Bool != nil}, {"version", a.Version != nil}} {
		if f.set {
			set = append(set, f.name)
		}
	}
	if len(set) == 0 {
		return field.ErrorList{field.Required(at, "one of string, int, bool and version")}
	}
	if len(set) > 1 {
		return field.ErrorList{field.Invalid(at, strings.Join(set, ", "), "an attribute has exactly one value")}
	}
	if a.String != nil {
		return of.validate(*a.String, at.Child("string"))
	}
	if a.Version == nil {
		return of.validateInteger(a.Int, at.Child("int"))
	}
	at = at.Child("version")
	if len(*a.Version) > maxAttributeValue {
		return field.ErrorList{field.TooLong(at, *a.Version, maxAttributeValue)}
	}
	if !versionPattern.MatchString(*a.Version) {
		return field.ErrorList{field.Invalid(at, *a.Version,
			"must be a semantic version such as 1.2.3, without zeros in front")}
	}
	return nil
}
