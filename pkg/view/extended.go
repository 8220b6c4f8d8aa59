package view

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

// IsExtendedResource says whether a DeviceClass may stand for the resource: none of Kubernetes' own, and with a domain.
// It follows IsExtendedResourceName of the API server (pkg/apis/core/v1/helper of Kubernetes).
func IsExtendedResource(name corev1.ResourceName) bool {
	text := string(name)
	own := !strings.Contains(text, "/") || strings.Contains(text, corev1.ResourceDefaultNamespacePrefix)
	return !own && !strings.HasPrefix(text, corev1.DefaultResourceRequestsPrefix) &&
		len(validation.IsQualifiedName(corev1.DefaultResourceRequestsPrefix+text)) == 0
}

// MayBeDevices says whether a container that asks for the resource may get devices for it: an extended resource, or
// the one that each DeviceClass has by its name. It follows IsDRAExtendedResourceName of the scheduler.
func MayBeDevices(name corev1.ResourceName) bool {
	return IsExtendedResource(name) || strings.HasPrefix(string(name), resourceapi.ResourceDeviceClassPrefix)
}
