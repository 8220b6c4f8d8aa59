package collect

import (
	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"example.com/dragoman/pkg/view"
)

// slicesName is the kind without which there is no DRA.
const slicesName = "resourceslices"

// kinds returns what has to be asked for.
func (c *Collector) kinds(want Want) []looker {
	all := []looker{c.slices(), c.classes()}
	for _, k := range []struct {
		wanted bool
		looker looker
	}{
		{want.Claims, c.claims()},
		{want.Templates, c.templates()},
		{want.TaintRules, c.taintRules()},
		{want.Nodes, c.nodes()},
		{want.Namespaces, namespaces{c.namespaces()}},
		{want.Pods || want.DriverPods, c.pods(want)},
	} {
		if k.wanted {
			all = append(all, k.looker)
		}
	}
	for _, name := range want.Whole {
		all = append(all, wholePod(name))
	}
	for _, ref := range want.EventsFor {
		all = append(all, eventsFor{c, ref})
	}
	return all
}

func (c *Collector) slices() plain[*resourceapi.ResourceSliceList, resourceapi.ResourceSlice] {
	return plain[*resourceapi.ResourceSliceList, resourceapi.ResourceSlice]{
		resource: resourceapi.SchemeGroupVersion.WithResource(slicesName),
		in: func(string) lists[*resourceapi.ResourceSliceList] {
			return c.dra.ResourceSlices()
		},
		items: func(l *resourceapi.ResourceSliceList) []resourceapi.ResourceSlice { return l.Items },
		keep:  keepSlice,
		into:  func(c *view.Cluster) *[]*resourceapi.ResourceSlice { return &c.Slices },
	}
}

func (c *Collector) classes() plain[*resourceapi.DeviceClassList, resourceapi.DeviceClass] {
	return plain[*resourceapi.DeviceClassList, resourceapi.DeviceClass]{
		resource: resourceapi.SchemeGroupVersion.WithResource("deviceclasses"),
		in: func(string) lists[*resourceapi.DeviceClassList] {
			return c.dra.DeviceClasses()
		},
		items: func(l *resourceapi.DeviceClassList) []resourceapi.DeviceClass { return l.Items },
		keep:  keepClass,
		into:  func(c *view.Cluster) *[]*resourceapi.DeviceClass { return &c.Classes },
	}
}

func (c *Collector) claims() plain[*resourceapi.ResourceClaimList, resourceapi.ResourceClaim] {
	return plain[*resourceapi.ResourceClaimList, resourceapi.ResourceClaim]{
		resource:   resourceapi.SchemeGroupVersion.WithResource("resourceclaims"),
		namespaced: true,
		in: func(namespace string) lists[*resourceapi.ResourceClaimList] {
			return c.dra.ResourceClaims(namespace)
		},
		items: func(l *resourceapi.ResourceClaimList) []resourceapi.ResourceClaim { return l.Items },
		keep:  keepClaim,
		into:  func(c *view.Cluster) *[]*resourceapi.ResourceClaim { return &c.Claims },
	}
}

type template = resourceapi.ResourceClaimTemplate

func (c *Collector) templates() plain[*resourceapi.ResourceClaimTemplateList, template] {
	return plain[*resourceapi.ResourceClaimTemplateList, template]{
		resource:   resourceapi.SchemeGroupVersion.WithResource("resourceclaimtemplates"),
		namespaced: true,
		in: func(namespace string) lists[*resourceapi.ResourceClaimTemplateList] {
			return c.dra.ResourceClaimTemplates(namespace)
		},
		items: func(l *resourceapi.ResourceClaimTemplateList) []template { return l.Items },
		keep:  keepTemplate,
		into:  func(c *view.Cluster) *[]*template { return &c.Templates },
	}
}

func (c *Collector) nodes() plain[*corev1.NodeList, corev1.Node] {
	return plain[*corev1.NodeList, corev1.Node]{
		resource: core("nodes"),
		in:       func(string) lists[*corev1.NodeList] { return c.core.Nodes() },
		items:    func(l *corev1.NodeList) []corev1.Node { return l.Items },
		keep:     keepNode,
		into:     func(c *view.Cluster) *[]*corev1.Node { return &c.Nodes },
	}
}

func (c *Collector) namespaces() plain[*corev1.NamespaceList, corev1.Namespace] {
	return plain[*corev1.NamespaceList, corev1.Namespace]{
		resource: core("namespaces"),
		in:       func(string) lists[*corev1.NamespaceList] { return c.core.Namespaces() },
		items:    func(l *corev1.NamespaceList) []corev1.Namespace { return l.Items },
		keep:     keepNamespace,
		into:     func(c *view.Cluster) *[]*corev1.Namespace { return &c.Namespaces },
	}
}

func (c *Collector) pods(want Want) plain[*corev1.PodList, corev1.Pod] {
	return plain[*corev1.PodList, corev1.Pod]{
		resource:   core("pods"),
		namespaced: true,
		everywhere: want.DriverPods, // they are seldom where users' pods are
		in:         func(namespace string) lists[*corev1.PodList] { return c.core.Pods(namespace) },
		items:      func(l *corev1.PodList) []corev1.Pod { return l.Items },
		keep:       func(p *corev1.Pod) (*corev1.Pod, error) { return keepPod(p, want), nil },
		into:       func(c *view.Cluster) *[]*corev1.Pod { return &c.Pods },
	}
}

func core(resource string) schema.GroupVersionResource {
	return corev1.SchemeGroupVersion.WithResource(resource)
}
