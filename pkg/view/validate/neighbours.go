package validate

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// neighbours are the objects that are judged together. That something is not among them is worth a warning only where
// there are others of its kind: it may be in the cluster.
type neighbours struct {
	claims, templates map[types.NamespacedName][]string // the names of their requests
	classes           map[string]bool
	// missing are the classes that were said to be missing, which is enough once.
	missing map[string]bool
	devices []published
	// labelled says of each namespace whether admin access is allowed there.
	labelled map[string]bool
}

func newNeighbours(objects []runtime.Object) neighbours {
	n := neighbours{
		claims: map[types.NamespacedName][]string{}, templates: map[types.NamespacedName][]string{},
		classes: map[string]bool{}, missing: map[string]bool{}, labelled: map[string]bool{},
	}
	for _, object := range objects {
		switch o := object.(type) {
		case *resourceapi.ResourceClaim:
			n.claims[named(o.Namespace, o.Name)] = topRequests(&o.Spec.Devices)
		case *resourceapi.ResourceClaimTemplate:
			n.templates[named(o.Namespace, o.Name)] = topRequests(&o.Spec.Spec.Devices)
		case *resourceapi.DeviceClass:
			n.classes[o.Name] = true
		case *resourceapi.ResourceSlice:
			for i := range o.Spec.Devices {
				n.devices = append(n.devices, published{o.Spec.Driver, &o.Spec.Devices[i]})
			}
		case *corev1.Namespace:
			n.labelled[o.Name] = o.Labels[resourceapi.DRAAdminNamespaceLabelKey] == "true"
		}
	}
	return n
}

func named(namespace, name string) types.NamespacedName {
	if namespace == "" {
		namespace = corev1.NamespaceDefault
	}
	return types.NamespacedName{Namespace: namespace, Name: name}
}

// topRequests are the names that a container can use, which cannot choose alternatives.
func topRequests(devices *resourceapi.DeviceClaim) []string {
	names := make([]string, 0, len(devices.Requests))
	for _, request := range devices.Requests {
		names = append(names, request.Name)
	}
	return names
}

// judge looks at what an object refers to.
func (n neighbours) judge(object runtime.Object, f *findings) {
	spec := field.NewPath("spec")
	switch o := object.(type) {
	case *resourceapi.ResourceClaim:
		n.requests(&o.Spec.Devices, o.Namespace, spec.Child("devices", "requests"), f)
	case *resourceapi.ResourceClaimTemplate:
		n.requests(&o.Spec.Spec.Devices, o.Namespace, spec.Child("spec", "devices", "requests"), f)
	case *resourceapi.DeviceClass:
		n.selectors(o.Spec.Selectors, spec.Child("selectors"), f)
	default:
		if pod, at, namespace := podOf(object); pod != nil {
			n.pod(pod, namespace, at, f)
		}
	}
}

func (n neighbours) requests(devices *resourceapi.DeviceClaim, namespace string, at *field.Path, f *findings) {
	for i, request := range devices.Requests {
		at := at.Index(i)
		if e := request.Exactly; e != nil {
			n.class(e.DeviceClassName, at.Child("exactly", "deviceClassName"), f)
			n.selectors(e.Selectors, at.Child("exactly", "selectors"), f)
			if e.AdminAccess != nil && *e.AdminAccess {
				n.adminAccess(namespace, at.Child("exactly", "adminAccess"), f)
			}
		}
		for k, sub := range request.FirstAvailable {
			at := at.Child("firstAvailable").Index(k)
			n.class(sub.DeviceClassName, at.Child("deviceClassName"), f)
			n.selectors(sub.Selectors, at.Child("selectors"), f)
		}
	}
}

// adminAccess is refused in namespaces that are not meant for it.
func (n neighbours) adminAccess(namespace string, at *field.Path, f *findings) {
	const needs = "admin access needs the label " + resourceapi.DRAAdminNamespaceLabelKey + `: "true" on the namespace`
	switch labelled, found := n.labelled[namespace]; {
	case !found:
		f.warn(at, needs)
	case !labelled:
		f.add(field.Forbidden(at, fmt.Sprintf("%s, and %q in these files has none", needs, namespace)))
	}
}

func (n neighbours) class(name string, at *field.Path, f *findings) {
	if name != "" && len(n.classes) > 0 && !n.classes[name] && !n.missing[name] {
		n.missing[name] = true
		f.warn(at, "DeviceClass %q is not in these files, which have %s", name, strings.Join(sortedKeys(n.classes), ", "))
	}
}

// pod looks for the claims and templates that a pod names, and for the requests in them that its containers name.
func (n neighbours) pod(spec *corev1.PodSpec, namespace string, at *field.Path, f *findings) {
	requests := map[string][]string{} // by the pod's own names for its claims
	for i, c := range spec.ResourceClaims {
		at := at.Child("resourceClaims").Index(i)
		switch {
		case c.ResourceClaimName != nil:
			requests[c.Name] = n.lookUp(n.claims, "ResourceClaim", named(namespace, *c.ResourceClaimName),
				at.Child("resourceClaimName"), f)
		case c.ResourceClaimTemplateName != nil:
			requests[c.Name] = n.lookUp(n.templates, "ResourceClaimTemplate",
				named(namespace, *c.ResourceClaimTemplateName), at.Child("resourceClaimTemplateName"), f)
		}
	}
	for _, user := range claimUsers(spec, at) {
		for i, c := range user.claims {
			known := requests[c.Name]
			if c.Request != "" && known != nil && !slices.Contains(known, c.Request) {
				f.add(field.NotSupported(user.at.Index(i).Child("request"), c.Request, known))
			}
		}
	}
}

func (n neighbours) lookUp(
	in map[types.NamespacedName][]string, kind string, key types.NamespacedName, at *field.Path, f *findings,
) []string {
	requests, found := in[key]
	if !found && len(n.claims)+len(n.templates) > 0 {
		f.warn(at, "%s %q is not in these files", kind, key)
	}
	return requests
}
