package allocate

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"example.com/dragoman/pkg/view"
)

// anyNode is the node of which nothing is known, not even a label.
const anyNode = "any node"

// NodesOf returns the cluster's nodes. Where it has none, because they were not seen or are not in the files, they are
// made up, with nothing but what is known of them: those that slices, claims with devices and pods name, and for each
// node selector of a slice, a device or a claim one that it selects, which is named after its labels. If nobody names
// any, there is a single one.
//
// A yes for a node that is made up is one if there is such a node. For a no see WithAnyLabels.
func NodesOf(c *view.Cluster) []*corev1.Node {
	if len(c.Nodes) > 0 {
		return c.Nodes
	}
	known := make(knownNodes)
	for _, s := range c.Slices {
		for place := range placesOf(s) {
			if place.Node != "" {
				known.add(place.Node, nil)
			}
			known.addSelected(place.Selector)
		}
	}
	for _, claim := range c.Claims {
		if claim.Status.Allocation != nil {
			known.addSelected(claim.Status.Allocation.NodeSelector)
		}
	}
	for _, pod := range c.Pods {
		if pod.Spec.NodeName != "" {
			known.add(pod.Spec.NodeName, nil)
		}
	}
	if len(known) == 0 {
		known.add("", nil)
	}
	return slices.SortedFunc(maps.Values(known), func(a, b *corev1.Node) int {
		_, named := a.Labels[corev1.LabelHostname]
		if _, other := b.Labels[corev1.LabelHostname]; named != other {
			return map[bool]int{true: -1, false: 1}[named]
		}
		return strings.Compare(a.Name, b.Name)
	})
}

// placesOf yields where the devices of a slice can be used, the slice's own place once.
func placesOf(s *resourceapi.ResourceSlice) func(yield func(view.Place) bool) {
	return func(yield func(view.Place) bool) {
		if s.Spec.PerDeviceNodeSelection == nil || !*s.Spec.PerDeviceNodeSelection {
			yield(view.PlaceOf(s, &resourceapi.Device{}))
			return
		}
		for i := range s.Spec.Devices {
			if !yield(view.PlaceOf(s, &s.Spec.Devices[i])) {
				return
			}
		}
	}
}

// knownNodes are nodes of which somebody says something, by name.
type knownNodes map[string]*corev1.Node

// add adds a node by name, or, without one, by its labels.
func (k knownNodes) add(name string, labels map[string]string) {
	all := maps.Clone(labels)
	if all == nil {
		all = make(map[string]string)
	}
	switch {
	case name != "":
		all[corev1.LabelHostname] = name
	case len(labels) == 0:
		name = anyNode
	default:
		var pairs []string
		for _, key := range slices.Sorted(maps.Keys(labels)) {
			pairs = append(pairs, key+"="+labels[key])
		}
		name = "a node with " + strings.Join(pairs, ",")
	}
	if known := k[name]; known != nil {
		maps.Copy(known.Labels, all)
		return
	}
	k[name] = &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: all}}
}

// addSelected adds a node for each term of a selector, if there is one.
func (k knownNodes) addSelected(s *corev1.NodeSelector) {
	if s == nil {
		return
	}
	for i := range s.NodeSelectorTerms {
		name, labels := selectedBy(&s.NodeSelectorTerms[i])
		k.add(name, labels)
	}
}

// selectedBy returns the name, if it says one, and the labels that a term asks for.
func selectedBy(term *corev1.NodeSelectorTerm) (name string, labels map[string]string) {
	labels = make(map[string]string)
	for _, f := range term.MatchFields {
		if f.Key == metav1.ObjectNameField && f.Operator == corev1.NodeSelectorOpIn && len(f.Values) > 0 {
			name = f.Values[0]
		}
	}
	for _, x := range term.MatchExpressions {
		switch value := x.Values; {
		case x.Operator == corev1.NodeSelectorOpExists:
			labels[x.Key] = "any"
		case len(value) == 0 || x.Operator == corev1.NodeSelectorOpNotIn:
		case x.Operator == corev1.NodeSelectorOpIn:
			labels[x.Key] = value[0]
		case x.Operator == corev1.NodeSelectorOpGt:
			labels[x.Key] = beside(value[0], 1)
		case x.Operator == corev1.NodeSelectorOpLt:
			labels[x.Key] = beside(value[0], -1)
		}
	}
	if host, is := labels[corev1.LabelHostname]; is && name == "" {
		name = host
	}
	return name, labels
}

func beside(number string, by int) string {
	n, err := strconv.Atoi(number)
	if err != nil {
		return number
	}
	return strconv.Itoa(n + by)
}

// WithAnyLabels returns the cluster as if each node had all labels that slices, devices and claims ask nodes for, and
// whether somebody asks for any. Where nodes are made up, what no node can give then, no node can give; it is not
// quite so for who asks for all devices of a class.
func WithAnyLabels(c *view.Cluster) (*view.Cluster, bool) {
	changed := *c
	asks := false
	changed.Slices = slices.Clone(c.Slices)
	for i, s := range c.Slices {
		for place := range placesOf(s) {
			if AsksForLabels(place.Selector) {
				changed.Slices[i], asks = onAllNodes(s), true
				break
			}
		}
	}
	changed.Claims = slices.Clone(c.Claims)
	for i, claim := range c.Claims {
		if a := claim.Status.Allocation; a != nil && AsksForLabels(a.NodeSelector) {
			changed.Claims[i], asks = claim.DeepCopy(), true
			changed.Claims[i].Status.Allocation.NodeSelector = nil
		}
	}
	return &changed, asks
}

// onAllNodes is the slice with all nodes where it asks for labels.
func onAllNodes(s *resourceapi.ResourceSlice) *resourceapi.ResourceSlice {
	s = s.DeepCopy()
	if AsksForLabels(s.Spec.NodeSelector) {
		s.Spec.NodeSelector, s.Spec.AllNodes = nil, new(true)
	}
	for i := range s.Spec.Devices {
		if d := &s.Spec.Devices[i]; AsksForLabels(d.NodeSelector) {
			d.NodeSelector, d.AllNodes = nil, new(true)
		}
	}
	return s
}

// AsksForLabels says whether which nodes a selector selects depends on more than their names.
func AsksForLabels(s *corev1.NodeSelector) bool {
	return s != nil && slices.ContainsFunc(s.NodeSelectorTerms, func(term corev1.NodeSelectorTerm) bool {
		return slices.ContainsFunc(term.MatchExpressions, func(x corev1.NodeSelectorRequirement) bool {
			return x.Key != corev1.LabelHostname
		})
	})
}
