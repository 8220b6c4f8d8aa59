package gather

import (
	"encoding/json"
	"maps"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"example.com/dragoman/pkg/view/mask"
)

// trimmer drops of objects what is not for strangers. It changes copies. What is left goes through a masker.
type trimmer struct {
	full bool
	// labels are those of nodes that something selects by.
	labels map[string]bool
	// drivers are the pods of drivers.
	drivers map[types.UID]bool
}

func newTrimmer(of *Report, full bool) trimmer {
	t := trimmer{full: full, labels: selectedLabels(of.Cluster), drivers: map[types.UID]bool{}}
	for _, p := range of.Drivers {
		t.drivers[p.UID] = true
	}
	return t
}

// meta drops annotations, where people and programs put anything, but for those of Kubernetes' own about claims.
func (t trimmer) meta(m *metav1.ObjectMeta) {
	m.ManagedFields = nil
	if !t.full {
		m.Annotations = only(m.Annotations, map[string]bool{
			resourceapi.PodResourceClaimAnnotation: true, resourceapi.ExtendedResourceClaimAnnotation: true,
		})
	}
}

func (t trimmer) node(n *corev1.Node) *corev1.Node {
	n = n.DeepCopy()
	t.meta(&n.ObjectMeta)
	n.Status.NodeInfo.MachineID, n.Status.NodeInfo.SystemUUID = "", ""
	if !t.full {
		n.Labels = only(n.Labels, t.labels)
		n.Status.Addresses = nil
		n.Spec.PodCIDR, n.Spec.PodCIDRs, n.Spec.ProviderID = "", nil, ""
	}
	return n
}

func only(labels map[string]string, names map[string]bool) map[string]string {
	labels = maps.Clone(labels)
	maps.DeleteFunc(labels, func(name, _ string) bool { return !names[name] })
	return labels
}

// namespace keeps the label that admin access needs.
func (t trimmer) namespace(n *corev1.Namespace) *corev1.Namespace {
	n = n.DeepCopy()
	t.meta(&n.ObjectMeta)
	if !t.full {
		n.Labels = only(n.Labels, map[string]bool{resourceapi.DRAAdminNamespaceLabelKey: true})
	}
	return n
}

func (t trimmer) slice(s *resourceapi.ResourceSlice) *resourceapi.ResourceSlice {
	kept := *s
	t.meta(&kept.ObjectMeta)
	return &kept
}

func (t trimmer) rule(r *resourceapi.DeviceTaintRule) *resourceapi.DeviceTaintRule {
	kept := *r
	t.meta(&kept.ObjectMeta)
	return &kept
}

func (t trimmer) class(c *resourceapi.DeviceClass) *resourceapi.DeviceClass {
	c = c.DeepCopy()
	t.meta(&c.ObjectMeta)
	for i := range c.Spec.Config {
		t.configuration(&c.Spec.Config[i].DeviceConfiguration)
	}
	return c
}

func (t trimmer) claim(c *resourceapi.ResourceClaim) *resourceapi.ResourceClaim {
	c = c.DeepCopy()
	t.meta(&c.ObjectMeta)
	t.claimSpec(&c.Spec)
	if c.Status.Allocation != nil {
		for i := range c.Status.Allocation.Devices.Config {
			t.configuration(&c.Status.Allocation.Devices.Config[i].DeviceConfiguration)
		}
	}
	for i := range c.Status.Devices {
		d := &c.Status.Devices[i]
		t.raw(d.Data)
		if !t.full {
			d.NetworkData = nil
		}
	}
	return c
}

func (t trimmer) claimSpec(s *resourceapi.ResourceClaimSpec) {
	for i := range s.Devices.Config {
		t.configuration(&s.Devices.Config[i].DeviceConfiguration)
	}
}

func (t trimmer) template(c *resourceapi.ResourceClaimTemplate) *resourceapi.ResourceClaimTemplate {
	c = c.DeepCopy()
	t.meta(&c.ObjectMeta)
	t.meta(&c.Spec.ObjectMeta)
	t.claimSpec(&c.Spec.Spec)
	return c
}

func (t trimmer) configuration(c *resourceapi.DeviceConfiguration) {
	if c.Opaque != nil {
		t.raw(&c.Opaque.Parameters)
	}
}

// raw leaves the shape of what a driver alone understands, and may be anything.
func (t trimmer) raw(r *runtime.RawExtension) {
	switch {
	case r == nil || r.Raw == nil || t.full && json.Valid(r.Raw):
	default:
		r.Raw = shape(r.Raw)
	}
}

func (t trimmer) pod(p *corev1.Pod) *corev1.Pod { return t.podOf(p, t.drivers[p.UID]) }

func (t trimmer) podOf(p *corev1.Pod, driver bool) *corev1.Pod {
	p = p.DeepCopy()
	t.meta(&p.ObjectMeta)
	if !t.full {
		p.Spec.ImagePullSecrets, p.Spec.HostAliases = nil, nil
		p.Status.PodIP, p.Status.PodIPs, p.Status.HostIP, p.Status.HostIPs = "", nil, "", nil
		if !driver {
			p.Spec.Volumes = nil
		}
	}
	for i := range p.Spec.InitContainers {
		t.container(&p.Spec.InitContainers[i], driver)
	}
	for i := range p.Spec.Containers {
		t.container(&p.Spec.Containers[i], driver)
	}
	p.Spec.EphemeralContainers, p.Status.EphemeralContainerStatuses = nil, nil
	return p
}

// daemonSet is trimmed as the pods are that it makes.
func (t trimmer) daemonSet(s *appsv1.DaemonSet) *appsv1.DaemonSet {
	s = s.DeepCopy()
	t.meta(&s.ObjectMeta)
	pod := &corev1.Pod{ObjectMeta: s.Spec.Template.ObjectMeta, Spec: s.Spec.Template.Spec}
	pod = t.podOf(pod, true)
	s.Spec.Template.ObjectMeta, s.Spec.Template.Spec = pod.ObjectMeta, pod.Spec
	return s
}

// container keeps the arguments of drivers, by which they are set up, and names of variables.
func (t trimmer) container(c *corev1.Container, driver bool) {
	if !t.full && !driver {
		*c = corev1.Container{Name: c.Name, Resources: c.Resources, RestartPolicy: c.RestartPolicy}
		return
	}
	for i := range c.Env {
		if e := &c.Env[i]; !t.full && e.Value != "" {
			e.Value = mask.Hidden
		}
	}
	c.Lifecycle = nil
	for _, p := range []*corev1.Probe{c.LivenessProbe, c.ReadinessProbe, c.StartupProbe} {
		if p != nil && p.HTTPGet != nil {
			p.HTTPGet.HTTPHeaders, p.HTTPGet.Host = nil, ""
		}
	}
}

func (t trimmer) event(e *corev1.Event) *corev1.Event {
	kept := *e
	t.meta(&kept.ObjectMeta)
	return &kept
}
