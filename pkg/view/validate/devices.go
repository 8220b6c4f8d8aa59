package validate

import (
	"context"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/operation"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// judgeDevices judges the kinds of resource.k8s.io, and says whether the object is one of them.
func (j judge) judgeDevices(object runtime.Object, written schema.GroupVersionKind, f *findings) bool {
	spec := field.NewPath("spec")
	j.drop(object, f)
	ctx, create := context.Background(), j.creating()
	switch o := object.(type) {
	case *resourceapi.ResourceClaim:
		setDefaults(&o.Spec)
		f.metadata(&o.ObjectMeta, true)
		j.fromTypes(resourceapi.Validate_ResourceClaimSpec(ctx, create, spec, &o.Spec, nil), f)
		j.claim(&o.Spec.Devices, spec.Child("devices"), f)
	case *resourceapi.ResourceClaimTemplate:
		setDefaults(&o.Spec.Spec)
		f.metadata(&o.ObjectMeta, true)
		f.templateMetadata(&o.Spec.ObjectMeta, spec.Child("metadata"))
		j.fromTypes(resourceapi.Validate_ResourceClaimTemplateSpec(ctx, create, spec, &o.Spec, nil), f)
		j.claim(&o.Spec.Spec.Devices, spec.Child("spec", "devices"), f)
	case *resourceapi.DeviceClass:
		f.metadata(&o.ObjectMeta, false)
		j.fromTypes(resourceapi.Validate_DeviceClassSpec(ctx, create, spec, &o.Spec, nil), f)
		j.class(&o.Spec, spec, f)
	case *resourceapi.ResourceSlice:
		f.metadata(&o.ObjectMeta, false)
		j.fromTypes(resourceapi.Validate_ResourceSliceSpec(ctx, create, spec, &o.Spec, nil), f)
		j.slice(&o.Spec, spec, f)
	case *resourceapi.DeviceTaintRule:
		f.metadata(&o.ObjectMeta, false)
		j.fromTypes(resourceapi.Validate_DeviceTaintRuleSpec(ctx, create, spec, &o.Spec, nil), f)
		j.taintRule(&o.Spec, spec, f)
	default:
		return false
	}
	j.version(written, f)
	f.opaque(object)
	return true
}

// fromTypes takes over what the rules in the API's types say. Before Kubernetes 1.35 the domain of an attribute in a
// constraint could have upper case.
func (j judge) fromTypes(errs field.ErrorList, f *findings) {
	for _, err := range errs {
		if j.minor > Oldest || err.Origin != "format=k8s-resource-fully-qualified-name" {
			f.add(err)
		}
	}
}

// creating is what the rules in the API's types ask about.
func (j judge) creating() operation.Operation {
	return operation.Operation{Type: operation.Create, Options: map[string]bool{partitionTypes: j.has(partitionTypes)}}
}

// version is about versions of the API that a release does not serve by default.
func (j judge) version(written schema.GroupVersionKind, f *findings) {
	const taintRules = 37
	at := field.NewPath("apiVersion")
	switch {
	case written.Version != resourceapi.SchemeGroupVersion.Version:
		f.warn(at, "%s is served only where the API server is told to; write %s", written.GroupVersion(),
			resourceapi.SchemeGroupVersion)
	case written.Kind == "DeviceTaintRule" && j.minor < taintRules:
		f.add(field.NotSupported(at, written.GroupVersion().String(), []string{"resource.k8s.io/v1alpha3"}))
	case written.Kind == "DeviceTaintRule" && j.any:
		f.warn(at, "there are no DeviceTaintRules in %s before Kubernetes 1.%d", written.GroupVersion(), taintRules)
	}
}

func (f *findings) metadata(m *metav1.ObjectMeta, namespaced bool) {
	f.add(apivalidation.ValidateObjectMeta(metadata(m, namespaced), namespaced, apivalidation.NameIsDNSSubdomain,
		field.NewPath("metadata"))...)
	for i, name := range m.Finalizers {
		standard := []string{
			string(corev1.FinalizerKubernetes), metav1.FinalizerOrphanDependents, metav1.FinalizerDeleteDependents,
		}
		if !strings.Contains(name, "/") && !slices.Contains(standard, name) {
			f.add(field.Invalid(field.NewPath("metadata", "finalizers").Index(i), name,
				"must have a domain and a slash in front, such as example.com/cleanup"))
		}
	}
}

// templateMetadata is what claims get from their template: labels and annotations, and nothing else.
func (f *findings) templateMetadata(m *metav1.ObjectMeta, at *field.Path) {
	f.add(apivalidation.ValidateAnnotations(m.Annotations, at.Child("annotations"))...)
	f.add(metavalidation.ValidateLabels(m.Labels, at.Child("labels"))...)
	for _, other := range []struct {
		name string
		set  bool
	}{
		{"name", m.Name != ""}, {"generateName", m.GenerateName != ""}, {"namespace", m.Namespace != ""},
		{"selfLink", m.SelfLink != ""}, //nolint:staticcheck // somebody may still write it
		{"uid", m.UID != ""}, {"resourceVersion", m.ResourceVersion != ""},
		{"generation", m.Generation != 0}, {"creationTimestamp", !m.CreationTimestamp.IsZero()},
		{"deletionTimestamp", m.DeletionTimestamp != nil},
		{"deletionGracePeriodSeconds", m.DeletionGracePeriodSeconds != nil},
		{"ownerReferences", m.OwnerReferences != nil}, {"finalizers", m.Finalizers != nil},
		{"managedFields", m.ManagedFields != nil},
	} {
		if other.set {
			f.add(field.Forbidden(at.Child(other.name), "cannot be set in the template of a claim"))
		}
	}
}

// setDefaults sets what an API server sets (k8s.io/kubernetes/pkg/apis/resource/v1/defaults.go).
func setDefaults(spec *resourceapi.ResourceClaimSpec) {
	set := func(mode *resourceapi.DeviceAllocationMode, count *int64) {
		if *mode == "" {
			*mode = resourceapi.DeviceAllocationModeExactCount
		}
		if *mode == resourceapi.DeviceAllocationModeExactCount && *count == 0 {
			*count = 1
		}
	}
	for i := range spec.Devices.Requests {
		request := &spec.Devices.Requests[i]
		if request.Exactly != nil {
			set(&request.Exactly.AllocationMode, &request.Exactly.Count)
			setOperators(request.Exactly.Tolerations)
		}
		for k := range request.FirstAvailable {
			set(&request.FirstAvailable[k].AllocationMode, &request.FirstAvailable[k].Count)
			setOperators(request.FirstAvailable[k].Tolerations)
		}
	}
}

func setOperators(tolerations []resourceapi.DeviceToleration) {
	for i := range tolerations {
		if tolerations[i].Operator == "" {
			tolerations[i].Operator = resourceapi.DeviceTolerationOpEqual
		}
	}
}
