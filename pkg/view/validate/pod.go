package validate

import (
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// podOf returns the pod that an object is or makes, where it is in the object, and the namespace.
func podOf(object runtime.Object) (*corev1.PodSpec, *field.Path, string) {
	of := func(m metav1.ObjectMeta, spec *corev1.PodSpec, path ...string) (*corev1.PodSpec, *field.Path, string) {
		return spec, field.NewPath("spec", path...), m.Namespace
	}
	switch o := object.(type) {
	case *corev1.Pod:
		return of(o.ObjectMeta, &o.Spec)
	case *corev1.PodTemplate:
		return &o.Template.Spec, field.NewPath("template", "spec"), o.Namespace
	case *corev1.ReplicationController:
		if o.Spec.Template != nil {
			return of(o.ObjectMeta, &o.Spec.Template.Spec, "template", "spec")
		}
	case *appsv1.Deployment:
		return of(o.ObjectMeta, &o.Spec.Template.Spec, "template", "spec")
	case *appsv1.StatefulSet:
		return of(o.ObjectMeta, &o.Spec.Template.Spec, "template", "spec")
	case *appsv1.DaemonSet:
		return of(o.ObjectMeta, &o.Spec.Template.Spec, "template", "spec")
	case *appsv1.ReplicaSet:
		return of(o.ObjectMeta, &o.Spec.Template.Spec, "template", "spec")
	case *batchv1.Job:
		return of(o.ObjectMeta, &o.Spec.Template.Spec, "template", "spec")
	case *batchv1.CronJob:
		return of(o.ObjectMeta, &o.Spec.JobTemplate.Spec.Template.Spec, "jobTemplate", "spec", "template", "spec")
	}
	return nil, nil, ""
}

// judgePods judges what a pod says of claims, and nothing else of it; it says whether the object has a pod
// (k8s.io/kubernetes/pkg/apis/core/validation: validatePodResourceClaims, validateContainerResourceClaims).
func judgePods(object runtime.Object, f *findings) bool {
	spec, at, _ := podOf(object)
	if spec == nil {
		return false
	}
	names, claims := map[string]bool{}, map[string]bool{}
	for i, c := range spec.ResourceClaims {
		at := at.Child("resourceClaims").Index(i)
		f.label(c.Name, at.Child("name"))
		if names[c.Name] {
			f.add(field.Duplicate(at.Child("name"), c.Name))
		}
		names[c.Name] = true
		switch {
		case c.ResourceClaimName == nil && c.ResourceClaimTemplateName == nil:
			f.add(field.Required(at, "one of resourceClaimName and resourceClaimTemplateName must say which claim"))
		case c.ResourceClaimName != nil && c.ResourceClaimTemplateName != nil:
			f.add(field.Forbidden(at, "resourceClaimName and resourceClaimTemplateName exclude each other"))
		case c.ResourceClaimName != nil:
			f.subdomain(*c.ResourceClaimName, at.Child("resourceClaimName"))
			if claims[*c.ResourceClaimName] {
				f.warn(at.Child("resourceClaimName"), "another entry names the same claim; the scheduler never binds such a pod")
			}
			claims[*c.ResourceClaimName] = true
		default:
			f.subdomain(*c.ResourceClaimTemplateName, at.Child("resourceClaimTemplateName"))
		}
	}
	for _, c := range claimUsers(spec, at) {
		f.containerClaims(c.claims, names, c.at)
	}
	return true
}

// claimUser is a container, or the pod as a whole, that uses claims of the pod.
type claimUser struct {
	claims []corev1.ResourceClaim
	at     *field.Path
}

func claimUsers(spec *corev1.PodSpec, at *field.Path) []claimUser {
	var all []claimUser
	for i, c := range spec.InitContainers {
		all = append(all, claimUser{c.Resources.Claims, at.Child("initContainers").Index(i).Child("resources", "claims")})
	}
	for i, c := range spec.Containers {
		all = append(all, claimUser{c.Resources.Claims, at.Child("containers").Index(i).Child("resources", "claims")})
	}
	return all
}

func (f *findings) containerClaims(claims []corev1.ResourceClaim, names map[string]bool, at *field.Path) {
	type use struct{ name, request string }
	seen := map[use]bool{}
	for i, c := range claims {
		at := at.Index(i)
		switch {
		case c.Name == "":
			f.add(field.Required(at.Child("name"), "the name of an entry of spec.resourceClaims"))
		case !names[c.Name]:
			f.add(field.NotSupported(at.Child("name"), c.Name, sortedKeys(names)))
		}
		if c.Request != "" {
			f.label(c.Request, at.Child("request"))
		}
		// All of a claim has its requests too.
		if seen[use{c.Name, c.Request}] || c.Request != "" && seen[use{name: c.Name}] ||
			c.Request == "" && usedInPart(claims[:i], c.Name) {
			f.add(field.Duplicate(at, joined(c.Name, c.Request)))
		}
		seen[use{c.Name, c.Request}] = true
	}
}

func usedInPart(claims []corev1.ResourceClaim, name string) bool {
	for _, c := range claims {
		if c.Name == name && c.Request != "" {
			return true
		}
	}
	return false
}
