package validate

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// nodes says from where devices can be reached: one of the fields is set.
type nodes struct {
	name      *string
	selector  *corev1.NodeSelector
	all       *bool
	perDevice *bool
}

// nodes judges that of a slice, which may leave it to its devices, or that of a device.
func (f *findings) nodes(n nodes, slice bool, at *field.Path) {
	var set []string
	if n.name != nil {
		if *n.name == "" {
			f.add(field.Invalid(at.Child("nodeName"), "", "must not be empty"))
		} else {
			f.subdomain(*n.name, at.Child("nodeName"))
			set = append(set, "nodeName")
		}
	}
	if n.selector != nil {
		f.nodeSelector(n.selector, at.Child("nodeSelector"))
		set = append(set, "nodeSelector")
	}
	for _, flag := range []struct {
		name  string
		value *bool
	}{{"allNodes", n.all}, {"perDeviceNodeSelection", n.perDevice}} {
		if flag.value == nil {
			continue
		}
		if *flag.value {
			set = append(set, flag.name)
		} else {
			f.add(field.Invalid(at.Child(flag.name), false, "must be true or left out"))
		}
	}
	choices := "nodeName, nodeSelector and allNodes"
	if slice {
		choices = "nodeName, nodeSelector, allNodes and perDeviceNodeSelection"
	}
	switch len(set) {
	case 0:
		f.add(field.Required(at, "exactly one of "+choices+" must be set"))
	case 1:
	default:
		f.add(field.Invalid(at, strings.Join(set, ", "), "exactly one of "+choices+" must be set"))
	}
}

func (f *findings) nodeSelector(s *corev1.NodeSelector, at *field.Path) {
	at = at.Child("nodeSelectorTerms")
	if len(s.NodeSelectorTerms) == 0 {
		f.add(field.Required(at, "at least one term"))
	}
	for i, term := range s.NodeSelectorTerms {
		for k, r := range term.MatchExpressions {
			f.nodeLabels(r, at.Index(i).Child("matchExpressions").Index(k))
		}
		for k, r := range term.MatchFields {
			f.nodeFields(r, at.Index(i).Child("matchFields").Index(k))
		}
	}
}

func (f *findings) nodeLabels(r corev1.NodeSelectorRequirement, at *field.Path) {
	wrong := false
	switch r.Operator {
	case corev1.NodeSelectorOpIn, corev1.NodeSelectorOpNotIn:
		wrong = len(r.Values) == 0
	case corev1.NodeSelectorOpExists, corev1.NodeSelectorOpDoesNotExist:
		wrong = len(r.Values) > 0
	case corev1.NodeSelectorOpGt, corev1.NodeSelectorOpLt:
		wrong = len(r.Values) != 1
	default:
		f.add(field.NotSupported(at.Child("operator"), r.Operator, []corev1.NodeSelectorOperator{
			corev1.NodeSelectorOpDoesNotExist, corev1.NodeSelectorOpExists, corev1.NodeSelectorOpGt,
			corev1.NodeSelectorOpIn, corev1.NodeSelectorOpLt, corev1.NodeSelectorOpNotIn,
		}))
	}
	if wrong {
		f.add(field.Invalid(at.Child("values"), r.Values,
			"In and NotIn have values, Gt and Lt have one, Exists and DoesNotExist have none"))
	}
	f.labelKey(r.Key, at.Child("key"))
	for i, value := range r.Values {
		f.labelValue(value, at.Child("values").Index(i))
	}
}

func (f *findings) nodeFields(r corev1.NodeSelectorRequirement, at *field.Path) {
	if r.Operator != corev1.NodeSelectorOpIn && r.Operator != corev1.NodeSelectorOpNotIn {
		f.add(field.NotSupported(at.Child("operator"), r.Operator,
			[]corev1.NodeSelectorOperator{corev1.NodeSelectorOpIn, corev1.NodeSelectorOpNotIn}))
	} else if len(r.Values) != 1 {
		f.add(field.Required(at.Child("values"), "exactly one value"))
	}
	if r.Key != metav1.ObjectNameField {
		f.add(field.NotSupported(at.Child("key"), r.Key, []string{metav1.ObjectNameField}))
		return
	}
	for i, value := range r.Values {
		f.subdomain(value, at.Child("values").Index(i))
	}
}

// nodeAllocatable is about devices that stand for what a node has anyway (alpha in 1.36).
func (f *findings) nodeAllocatable(d *resourceapi.Device, at *field.Path) {
	for _, name := range sortedKeys(d.NodeAllocatableResources) {
		at, r := at.Key(string(name)), d.NodeAllocatableResources[name]
		if name != corev1.ResourceCPU && name != corev1.ResourceMemory &&
			!strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix) {
			f.add(field.NotSupported(at, name, []corev1.ResourceName{"cpu", "memory", "hugepages-…"}))
		}
		if r.Mapping == nil && r.Overhead == nil {
			f.add(field.Required(at, "mapping or overhead"))
		}
		if m := r.Mapping; m != nil {
			f.mapping(m, d.Capacity, at.Child("mapping"))
		}
		if o := r.Overhead; o != nil && (o.PerPod == nil && o.PerContainer == nil ||
			o.PerPod != nil && o.PerPod.Sign() < 0 || o.PerContainer != nil && o.PerContainer.Sign() < 0) {
			f.add(field.Invalid(at.Child("overhead"), field.OmitValueType{}, "needs perPod or perContainer, not negative"))
		}
	}
}

func (f *findings) mapping(
	m *resourceapi.NodeAllocatableMapping, capacity map[resourceapi.QualifiedName]resourceapi.DeviceCapacity,
	at *field.Path,
) {
	if m.CapacityKey != nil {
		if _, found := capacity[*m.CapacityKey]; !found {
			f.add(field.NotFound(at.Child("capacityKey"), *m.CapacityKey))
		}
	}
	if (m.CapacityKey == nil) != (m.CapacityMultiplier == nil) {
		f.add(field.Required(at, "capacityKey and capacityMultiplier need each other"))
	}
	if m.CapacityMultiplier != nil && m.CapacityMultiplier.Sign() <= 0 ||
		m.DeviceMultiplier != nil && m.DeviceMultiplier.Sign() <= 0 {
		f.add(field.Invalid(at, field.OmitValueType{}, "multipliers must be greater than zero"))
	}
}
