package manifest

import (
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	resourcev1alpha3 "k8s.io/api/resource/v1alpha3"
	resourcev1beta1 "k8s.io/api/resource/v1beta1"
	resourcev1beta2 "k8s.io/api/resource/v1beta2"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// kinds returns the kinds that are read into types.
func kinds() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		resourceapi.AddToScheme, resourcev1beta2.AddToScheme, resourcev1beta1.AddToScheme, resourcev1alpha3.AddToScheme,
		corev1.AddToScheme, appsv1.AddToScheme, batchv1.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("list the kinds of Kubernetes: %w", err)
		}
	}
	return scheme, nil
}

// misspelt says what is wrong with a kind that is not in the scheme, "" if it may be one of somebody else's.
func misspelt(scheme *runtime.Scheme, kind schema.GroupVersionKind) string {
	var versions, names []string
	for known := range scheme.AllKnownTypes() {
		if known.Group != kind.Group || known.Version == runtime.APIVersionInternal {
			continue
		}
		versions = append(versions, known.GroupVersion().String())
		if known.Version == kind.Version {
			names = append(names, known.Kind)
		}
	}
	slices.Sort(versions)
	versions = slices.Compact(versions)
	slices.Sort(names)
	switch {
	case len(versions) == 0:
		return ""
	case len(names) == 0:
		return fmt.Sprintf("there is no apiVersion %q%s", kind.GroupVersion(), meant(kind.GroupVersion().String(), versions))
	default:
		return fmt.Sprintf("there is no kind %q in %s%s", kind.Kind, kind.GroupVersion(), meant(kind.Kind, names))
	}
}
