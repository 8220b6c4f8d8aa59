package inventory

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/utils/ptr"
)

// maxFieldText is how much of a name that may be anything goes into a [LeftOut].
const maxFieldText = 100

// sanitiser collects what does not fit while a device is made to fit.
type sanitiser struct {
	device  *resourceapi.Device
	sets    map[string]resourceapi.CounterSet
	leftOut []LeftOut
}

// sanitise takes out of d what does not fit the API and says what that was. If one of the answers says Whole, d must
// not be published. Its name is taken to be good. The maps and lists of d may be shared: they are replaced rather than
// changed.
func sanitise(d *resourceapi.Device, sets map[string]resourceapi.CounterSet) []LeftOut {
	s := &sanitiser{device: d, sets: sets}
	s.plainFlags()
	s.capacities()
	s.attributes()
	s.taints()
	s.counters()
	s.bindingConditions()
	s.unsupported()
	return s.leftOut
}

// without notes that a field is left out.
func (s *sanitiser) without(field, format string, args ...any) {
	s.leftOut = append(s.leftOut, LeftOut{Device: s.device.Name, Field: field, Reason: fmt.Sprintf(format, args...)})
}

// unusable notes that the device cannot be published because of a field.
func (s *sanitiser) unusable(field, format string, args ...any) {
	s.without(field, format, args...)
	s.leftOut[len(s.leftOut)-1].Whole = true
}

// plainFlags removes what says the same as its absence, since a cluster without the feature would drop it, and that
// looks like a difference for ever.
func (s *sanitiser) plainFlags() {
	if !ptr.Deref(s.device.AllowMultipleAllocations, false) {
		s.device.AllowMultipleAllocations = nil
	}
	if !ptr.Deref(s.device.BindsToNode, false) {
		s.device.BindsToNode = nil
	}
}

// capacities runs before attributes: when there is not enough room for both, capacities stay.
func (s *sanitiser) capacities() {
	shared := s.device.AllowMultipleAllocations != nil
	note := s.without
	if shared {
		note = s.unusable
	}
	kept := 0
	for _, name := range slices.Sorted(maps.Keys(s.device.Capacity)) {
		field := "capacity[" + abridged(string(name)) + "]"
		capacity := s.device.Capacity[name]
		if reason := badQualifiedName(name); reason != "" {
			note(field, "%s", reason)
			s.device.Capacity = dropped(s.device.Capacity, name)
			continue
		}
		if kept == resourceapi.ResourceSliceMaxAttributesAndCapacitiesPerDevice {
			note(field, "is one too many: the API allows %d attributes and capacities together", kept)
			s.device.Capacity = dropped(s.device.Capacity, name)
			continue
		}
		kept++
		if capacity.RequestPolicy == nil {
			continue
		}
		if !shared {
			s.without(field+".requestPolicy", "needs a device that allows multiple allocations")
			capacity.RequestPolicy = nil
			s.device.Capacity = replaced(s.device.Capacity, name, capacity)
		} else if reason := badRequestPolicy(capacity.Value, *capacity.RequestPolicy); reason != "" {
			s.unusable(field+".requestPolicy", "%s", reason)
		}
	}
	if len(s.device.Capacity) == 0 {
		s.device.Capacity = nil
	}
}

func (s *sanitiser) attributes() {
	room := resourceapi.ResourceSliceMaxAttributesAndCapacitiesPerDevice - len(s.device.Capacity)
	values := resourceapi.ResourceSliceMaxAttributeValuesPerDevice
	for _, name := range slices.Sorted(maps.Keys(s.device.Attributes)) {
		attribute := s.device.Attributes[name]
		if hasEmptyList(attribute) {
			attribute = withoutEmptyLists(attribute)
			s.device.Attributes = replaced(s.device.Attributes, name, attribute)
		}
		reason := badQualifiedName(name)
		if reason == "" {
			reason = badAttribute(attribute)
		}
		n := numValues(attribute)
		switch {
		case reason != "":
		case room == 0:
			reason = fmt.Sprintf("is one too many: the API allows %d attributes and capacities together",
				resourceapi.ResourceSliceMaxAttributesAndCapacitiesPerDevice)
		case n > values:
			reason = fmt.Sprintf("has too many values: the API allows %d in all attributes together",
				resourceapi.ResourceSliceMaxAttributeValuesPerDevice)
		default:
			room--
			values -= n
			continue
		}
		s.without("attributes["+abridged(string(name))+"]", "%s", reason)
		s.device.Attributes = dropped(s.device.Attributes, name)
	}
	if len(s.device.Attributes) == 0 {
		s.device.Attributes = nil
	}
}

func (s *sanitiser) taints() {
	for i, taint := range s.device.Taints {
		field := fmt.Sprintf("taints[%d]", i)
		if len(validation.IsQualifiedName(taint.Key)) > 0 {
			s.unusable(field, "has the key %q, which is not a label name", abridged(taint.Key))
		}
		if len(validation.IsValidLabelValue(taint.Value)) > 0 {
			s.unusable(field, "has the value %q, which is not a label value", abridged(taint.Value))
		}
		switch taint.Effect {
		case resourceapi.DeviceTaintEffectNone, resourceapi.DeviceTaintEffectNoSchedule,
			resourceapi.DeviceTaintEffectNoExecute:
		default:
			s.unusable(field, "has the effect %q; the API knows None, NoSchedule and NoExecute",
				abridged(string(taint.Effect)))
		}
	}
	// Those without effect are for information only; the device is the same without them.
	for i := len(s.device.Taints) - 1; i >= 0 && len(s.device.Taints) > resourceapi.DeviceTaintsMaxLength; i-- {
		if s.device.Taints[i].Effect == resourceapi.DeviceTaintEffectNone {
			s.without(fmt.Sprintf("taints[%d]", i), "is one too many: the API allows %d",
				resourceapi.DeviceTaintsMaxLength)
			s.device.Taints = slices.Concat(s.device.Taints[:i], s.device.Taints[i+1:])
		}
	}
	if n := len(s.device.Taints); n > resourceapi.DeviceTaintsMaxLength {
		s.unusable("taints", "has %d entries with an effect, of which the API allows %d", n,
			resourceapi.DeviceTaintsMaxLength)
	}
	s.device.Taints = nilIfEmpty(s.device.Taints)
}

func (s *sanitiser) counters() {
	if n := len(s.device.ConsumesCounters); n > resourceapi.ResourceSliceMaxDeviceCounterConsumptionsPerDevice {
		s.unusable("consumesCounters", "has %d entries, of which the API allows %d", n,
			resourceapi.ResourceSliceMaxDeviceCounterConsumptionsPerDevice)
	}
	seen := make(map[string]bool)
	for i, consumption := range s.device.ConsumesCounters {
		field := fmt.Sprintf("consumesCounters[%d]", i)
		name := abridged(consumption.CounterSet)
		set, known := s.sets[consumption.CounterSet]
		switch {
		case !known:
			s.unusable(field, "refers to counter set %q, which does not exist or is left out", name)
		case seen[consumption.CounterSet]:
			s.unusable(field, "refers to counter set %q, as another entry does", name)
		}
		seen[consumption.CounterSet] = true
		if reason := badCounters(consumption.Counters); reason != "" {
			s.unusable(field, "%s", reason)
		}
		for _, counter := range slices.Sorted(maps.Keys(consumption.Counters)) {
			if _, ok := set.Counters[counter]; known && !ok {
				s.unusable(field, "refers to counter %q, which counter set %q does not have", abridged(counter), name)
			}
		}
		if reason := badGroups(consumption.CompatibilityGroups); reason != "" {
			s.unusable(field+".compatibilityGroups", "%s", reason)
		}
	}
	s.device.ConsumesCounters = nilIfEmpty(s.device.ConsumesCounters)
}

func (s *sanitiser) bindingConditions() {
	s.device.BindingConditions = nilIfEmpty(s.device.BindingConditions)
	s.device.BindingFailureConditions = nilIfEmpty(s.device.BindingFailureConditions)
	conditions, failures := s.device.BindingConditions, s.device.BindingFailureConditions
	if len(conditions) > resourceapi.BindingConditionsMaxSize ||
		len(failures) > resourceapi.BindingFailureConditionsMaxSize {
		s.unusable("bindingConditions", "has too many entries: the API allows %d, and %d for failures",
			resourceapi.BindingConditionsMaxSize, resourceapi.BindingFailureConditionsMaxSize)
	}
	if (len(conditions) == 0) != (len(failures) == 0) {
		s.unusable("bindingConditions", "needs bindingFailureConditions beside it, and the other way round")
	}
	seen := make(map[string]bool)
	for _, condition := range slices.Concat(conditions, failures) {
		if len(validation.IsQualifiedName(condition)) > 0 {
			s.unusable("bindingConditions", "has the entry %q, which is not a label name", abridged(condition))
		}
		if seen[condition] {
			s.unusable("bindingConditions", "has the entry %q twice, those for failures included", abridged(condition))
		}
		seen[condition] = true
	}
}

// unsupported are fields that belong to pools of another kind than the node's own.
func (s *sanitiser) unsupported() {
	if s.device.NodeName != nil || s.device.NodeSelector != nil || s.device.AllNodes != nil {
		s.unusable("nodeName, nodeSelector or allNodes", "is set, but all devices of this pool are on this node")
	}
	if len(s.device.NodeAllocatableResources) > 0 {
		s.unusable("nodeAllocatableResources", "is set, which this driver does not support")
	}
}

// semver is what the API server takes for a version: semver.org 2.0.0.
var semver = regexp.MustCompile(`^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)` +
	`(-(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(\.(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*)?` +
	`(\+[0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*)?$`)

func badAttribute(a resourceapi.DeviceAttribute) string {
	set := 0
	for _, is := range []bool{
		a.IntValue != nil, a.BoolValue != nil, a.StringValue != nil, a.VersionValue != nil,
		a.IntValues != nil, a.BoolValues != nil, a.StringValues != nil, a.VersionValues != nil,
	} {
		if is {
			set++
		}
	}
	switch {
	case set == 0:
		return "has no value"
	case set > 1:
		return "has values of several types, of which the API allows one"
	}
	for _, text := range append(slices.Clone(a.StringValues), ptr.Deref(a.StringValue, "")) {
		if reason := badText(text); reason != "" {
			return reason
		}
	}
	versions := slices.Clone(a.VersionValues)
	if a.VersionValue != nil {
		versions = append(versions, *a.VersionValue)
	}
	for _, version := range versions {
		if reason := badText(version); reason != "" {
			return reason
		}
		if !semver.MatchString(version) {
			return fmt.Sprintf("is %q, which is not a semantic version (1.2.3)", version)
		}
	}
	return ""
}

func badText(text string) string {
	if !utf8.ValidString(text) {
		return "is not valid UTF-8"
	}
	if len(text) > resourceapi.DeviceAttributeMaxValueLength {
		return fmt.Sprintf("has %d bytes, of which the API allows %d", len(text),
			resourceapi.DeviceAttributeMaxValueLength)
	}
	return ""
}

// withoutEmptyLists makes lists without items absent, as they are once they were written as JSON.
func withoutEmptyLists(a resourceapi.DeviceAttribute) resourceapi.DeviceAttribute {
	a.IntValues, a.BoolValues = nilIfEmpty(a.IntValues), nilIfEmpty(a.BoolValues)
	a.StringValues, a.VersionValues = nilIfEmpty(a.StringValues), nilIfEmpty(a.VersionValues)
	return a
}

func hasEmptyList(a resourceapi.DeviceAttribute) bool {
	return a.IntValues != nil && len(a.IntValues) == 0 || a.BoolValues != nil && len(a.BoolValues) == 0 ||
		a.StringValues != nil && len(a.StringValues) == 0 || a.VersionValues != nil && len(a.VersionValues) == 0
}

// dropped returns a map without name, and leaves fields as they are.
func dropped[T any](
	fields map[resourceapi.QualifiedName]T, name resourceapi.QualifiedName,
) map[resourceapi.QualifiedName]T {
	fields = maps.Clone(fields)
	delete(fields, name)
	return fields
}

// replaced returns a map in which name has another value, and leaves fields as they are.
func replaced[T any](
	fields map[resourceapi.QualifiedName]T, name resourceapi.QualifiedName, value T,
) map[resourceapi.QualifiedName]T {
	fields = maps.Clone(fields)
	fields[name] = value
	return fields
}

func nilIfEmpty[T any](items []T) []T {
	if len(items) == 0 {
		return nil
	}
	return items
}

// numValues counts list items one by one, anything else as one.
func numValues(a resourceapi.DeviceAttribute) int {
	return max(1, len(a.IntValues)+len(a.BoolValues)+len(a.StringValues)+len(a.VersionValues))
}

func badQualifiedName(name resourceapi.QualifiedName) string {
	domain, id, qualified := strings.Cut(string(name), "/")
	if !qualified {
		domain, id = "", string(name)
	}
	// The API server compares domains in lower case.
	if qualified && (len(domain) > resourceapi.DeviceMaxDomainLength ||
		len(validation.IsDNS1123Subdomain(strings.ToLower(domain))) > 0) {
		return fmt.Sprintf("has a domain that is not a DNS name of at most %d characters", resourceapi.DeviceMaxDomainLength)
	}
	if len(id) > resourceapi.DeviceMaxIDLength || len(validation.IsCIdentifier(id)) > 0 {
		return fmt.Sprintf("has a name that is not a C identifier of at most %d characters", resourceapi.DeviceMaxIDLength)
	}
	return ""
}

func badCounters(counters map[string]resourceapi.Counter) string {
	if n := len(counters); n == 0 || n > resourceapi.ResourceSliceMaxCountersPerCounterSet {
		return fmt.Sprintf("has %d counters; the API allows 1 to %d", n, resourceapi.ResourceSliceMaxCountersPerCounterSet)
	}
	for _, name := range slices.Sorted(maps.Keys(counters)) {
		if len(validation.IsDNS1123Label(name)) > 0 {
			return fmt.Sprintf("has the counter %q, which is not a DNS label", abridged(name))
		}
	}
	return ""
}

func badGroups(groups []string) string {
	if len(groups) > resourceapi.DeviceCompatibilityGroupsMaxSize {
		return fmt.Sprintf("has %d entries, of which the API allows %d", len(groups),
			resourceapi.DeviceCompatibilityGroupsMaxSize)
	}
	for i, group := range groups {
		if len(validation.IsDNS1123Label(group)) > 0 || slices.Contains(groups[:i], group) {
			return fmt.Sprintf("has the entry %q, which is not a DNS label or is there twice", abridged(group))
		}
	}
	return ""
}

// abridged cuts text that may be anything to what a message has room for.
func abridged(text string) string {
	text = strings.ToValidUTF8(text, "�")
	if len(text) <= maxFieldText {
		return text
	}
	cut := maxFieldText
	for !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + "…"
}
