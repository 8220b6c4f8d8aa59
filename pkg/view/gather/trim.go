package gather

import (
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"example.com/dragoman/pkg/view/collect"
)

// trimmer makes objects fit to be sent to strangers. It changes copies.
type trimmer struct {
	full bool
	// labels are those of nodes that something selects by.
	labels map[string]bool
}

// meta drops annotations, where people and programs put anything, but for those of Kubernetes' own about claims.
func (t trimmer) meta(m *metav1.ObjectMeta) {
	m.ManagedFields = nil
	if t.full {
		m.Annotations = masks(m.Annotations)
		return
	}
	m.Annotations = only(m.Annotations, map[string]bool{
		resourceapi.PodResourceClaimAnnotation: true, resourceapi.ExtendedResourceClaimAnnotation: true,
	})
}

// masks masks the values of a map, and those of names that say that they are secret.
func masks(values map[string]string) map[string]string {
	values = maps.Clone(values)
	for name, value := range values {
		if values[name] = maskString(value); namesASecret.MatchString(name) {
			values[name] = masked
		}
	}
	return values
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
	case r == nil || r.Raw == nil:
	case t.full:
		r.Raw = maskJSON(r.Raw)
	default:
		r.Raw = shape(r.Raw)
	}
}

func (t trimmer) pod(p *corev1.Pod) *corev1.Pod {
	p = p.DeepCopy()
	t.meta(&p.ObjectMeta)
	driver := collect.RegistersPlugins(p)
	if !t.full && !driver {
		p.Spec.Volumes, p.Spec.ImagePullSecrets, p.Spec.HostAliases = nil, nil, nil
	}
	for i := range p.Spec.InitContainers {
		t.container(&p.Spec.InitContainers[i], driver)
	}
	for i := range p.Spec.Containers {
		t.container(&p.Spec.Containers[i], driver)
	}
	p.Spec.EphemeralContainers, p.Status.EphemeralContainerStatuses = nil, nil
	for _, statuses := range [][]corev1.ContainerStatus{p.Status.InitContainerStatuses, p.Status.ContainerStatuses} {
		for i := range statuses {
			maskState(&statuses[i].State)
			maskState(&statuses[i].LastTerminationState)
		}
	}
	p.Status.Message = maskString(p.Status.Message)
	return p
}

// container keeps the arguments of drivers, by which they are set up, and names of variables.
func (t trimmer) container(c *corev1.Container, driver bool) {
	if !t.full && !driver {
		*c = corev1.Container{Name: c.Name, Resources: c.Resources, RestartPolicy: c.RestartPolicy}
		return
	}
	c.Args, c.Command = maskArguments(c.Args), maskArguments(c.Command)
	for i := range c.Env {
		e := &c.Env[i]
		if e.Value = maskString(e.Value); e.Value != "" && (!t.full || namesASecret.MatchString(e.Name)) {
			e.Value = masked
		}
	}
	c.Lifecycle = nil
	for _, p := range []*corev1.Probe{c.LivenessProbe, c.ReadinessProbe, c.StartupProbe} {
		if p == nil {
			continue
		}
		if p.HTTPGet != nil {
			p.HTTPGet.HTTPHeaders = nil
		}
		if p.Exec != nil {
			p.Exec.Command = maskArguments(p.Exec.Command)
		}
	}
}

// maskArguments masks what follows a flag that asks for a secret, in the same argument or the next one.
func maskArguments(arguments []string) []string {
	var kept []string
	next := false
	for _, a := range arguments {
		switch {
		case next:
			kept = append(kept, masked)
		default:
			kept = append(kept, maskString(a))
		}
		next = len(a) > 1 && a[0] == '-' && namesASecret.MatchString(a) && !strings.Contains(a, "=")
	}
	return kept
}

func maskState(s *corev1.ContainerState) {
	if s.Terminated != nil {
		s.Terminated.Message = maskString(s.Terminated.Message)
	}
	if s.Waiting != nil {
		s.Waiting.Message = maskString(s.Waiting.Message)
	}
}

func (t trimmer) event(e *corev1.Event) *corev1.Event {
	kept := *e
	t.meta(&kept.ObjectMeta)
	kept.Message = maskString(e.Message)
	return &kept
}
