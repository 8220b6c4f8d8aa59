package view

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// OtherKindsError names the kinds of objects that say nothing of devices.
type OtherKindsError struct {
	// Kinds are sorted, each once, for example "apps/v1 Deployment".
	Kinds []string
}

func (e *OtherKindsError) Error() string {
	return fmt.Sprintf("read the objects of a cluster: %s: not one of the kinds that tell of devices, which are "+
		"ResourceSlice, DeviceClass, ResourceClaim, ResourceClaimTemplate, DeviceTaintRule, Node, Namespace, Pod and Event",
		strings.Join(e.Kinds, ", "))
}

// FromObjects returns the cluster that the objects make up: typed or unstructured, of any served version of
// resource.k8s.io, in lists or not. What the API server would set is set: the allocation mode and count of requests,
// and the namespace "default". The objects stay as they are.
//
// An OtherKindsError comes with the cluster that the remaining objects make up; any other error comes alone.
func FromObjects(objects []runtime.Object) (*Cluster, error) {
	c := &Cluster{}
	var others []string
	for _, object := range objects {
		single, err := flatten(object)
		if err != nil {
			return nil, err
		}
		for _, o := range single {
			known, err := Convert(o)
			if err != nil {
				return nil, err
			}
			if !c.take(known) {
				others = append(others, kindOf(known))
			}
		}
	}
	if len(others) > 0 {
		slices.Sort(others)
		return c, &OtherKindsError{Kinds: slices.Compact(others)}
	}
	return c, nil
}

// flatten takes lists apart, those in lists too.
func flatten(object runtime.Object) ([]runtime.Object, error) {
	if object == nil {
		return nil, nil
	}
	if u, ok := object.(*unstructured.Unstructured); ok && u.IsList() {
		list, err := u.ToList()
		if err != nil {
			return nil, fmt.Errorf("take a %s apart: %w", kindOf(object), err)
		}
		object = list
	}
	if !meta.IsListType(object) {
		return []runtime.Object{object}, nil
	}
	items, err := meta.ExtractList(object)
	if err != nil {
		return nil, fmt.Errorf("take a %s apart: %w", kindOf(object), err)
	}
	var all []runtime.Object
	for _, item := range items {
		single, err := flatten(item)
		if err != nil {
			return nil, err
		}
		all = append(all, single...)
	}
	return all, nil
}

func (c *Cluster) take(object runtime.Object) bool {
	switch o := object.(type) {
	case *corev1.Node:
		c.Nodes = append(c.Nodes, o)
	case *corev1.Namespace:
		c.Namespaces = append(c.Namespaces, o)
	case *corev1.Pod:
		c.Pods = append(c.Pods, inNamespace(o))
	case *corev1.Event:
		c.Events = append(c.Events, inNamespace(o))
	case *resourceapi.ResourceSlice:
		c.Slices = append(c.Slices, o)
	case *resourceapi.DeviceClass:
		c.Classes = append(c.Classes, o)
	case *resourceapi.DeviceTaintRule:
		c.TaintRules = append(c.TaintRules, o)
	case *resourceapi.ResourceClaim:
		o = inNamespace(o).DeepCopy()
		setDefaults(&o.Spec)
		c.Claims = append(c.Claims, o)
	case *resourceapi.ResourceClaimTemplate:
		o = inNamespace(o).DeepCopy()
		setDefaults(&o.Spec.Spec)
		c.Templates = append(c.Templates, o)
	default:
		return false
	}
	return true
}

// Find returns the object of the name, the zero object if there is none.
func Find[T metav1.Object](all []T, namespace, name string) T {
	for _, o := range all {
		if o.GetName() == name && o.GetNamespace() == namespace {
			return o
		}
	}
	var none T
	return none
}

// inNamespace returns the object itself if it has a namespace, and a copy in "default" otherwise.
func inNamespace[T interface {
	metav1.Object
	DeepCopyObject() runtime.Object
}](object T) T {
	if object.GetNamespace() != "" {
		return object
	}
	copied, ok := object.DeepCopyObject().(T)
	if !ok {
		return object
	}
	copied.SetNamespace(metav1.NamespaceDefault)
	return copied
}

// setDefaults does what the API server does with requests (pkg/apis/resource/v1/defaults.go of Kubernetes).
func setDefaults(spec *resourceapi.ResourceClaimSpec) {
	for i := range spec.Devices.Requests {
		r := &spec.Devices.Requests[i]
		if r.Exactly != nil {
			r.Exactly.AllocationMode, r.Exactly.Count = defaultMode(r.Exactly.AllocationMode, r.Exactly.Count)
		}
		for j := range r.FirstAvailable {
			sub := &r.FirstAvailable[j]
			sub.AllocationMode, sub.Count = defaultMode(sub.AllocationMode, sub.Count)
		}
	}
}

func defaultMode(mode resourceapi.DeviceAllocationMode, count int64) (resourceapi.DeviceAllocationMode, int64) {
	if mode == "" {
		mode = resourceapi.DeviceAllocationModeExactCount
	}
	if mode == resourceapi.DeviceAllocationModeExactCount && count == 0 {
		count = 1
	}
	return mode, count
}
