package why

import (
	"errors"
	"regexp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"

	"example.com/dragoman/pkg/nearest"
	"example.com/dragoman/pkg/view/allocate"
)

// isExtended says whether the scheduler makes the claim, for containers with limits like "example.com/gpu: 1".
func isExtended(claim *resourceapi.ResourceClaim) bool {
	return claim.Annotations[resourceapi.ExtendedResourceClaimAnnotation] == "true"
}

// claimsOn are the claims as the node would have to meet them: it may have a device plugin for extended resources, and
// then no devices are needed. The error says that it offers them in neither way.
func (s situation) claimsOn(node *corev1.Node) ([]*resourceapi.ResourceClaim, error) {
	i := slices.IndexFunc(s.claims, func(c *resourceapi.ResourceClaim) bool {
		return isExtended(c) && c.Status.Allocation == nil
	})
	if i < 0 || s.pod == nil {
		return s.claims, nil
	}
	of, err := allocate.ExtendedClaim(s.cluster, s.pod, node)
	switch {
	case err != nil:
		return nil, err
	case of == nil:
		return slices.Delete(slices.Clone(s.claims), i, i+1), nil
	case len(of.Spec.Devices.Requests) == len(s.claims[i].Spec.Devices.Requests):
		return s.claims, nil // which may have been changed, to see whether that helps
	}
	claims := slices.Clone(s.claims)
	claims[i] = of
	return claims, nil
}

var resourceName = regexp.MustCompile(`[^ ,]+/[^ ,]+`)

// offered says when no node offers what containers ask for in the old style, in whatever way.
func (e *examination) offered(nodes []*corev1.Node) {
	if e.pod == nil || len(nodes) == 0 || e.blind("deviceclasses") {
		return
	}
	var why *allocate.NodeError
	for _, n := range nodes {
		if _, err := allocate.ExtendedClaim(e.Cluster, e.pod, n); !errors.As(err, &why) {
			return
		}
	}
	var known []string
	for _, c := range e.Classes {
		if c.Spec.ExtendedResourceName != nil {
			known = append(known, *c.Spec.ExtendedResourceName)
		}
	}
	name := resourceName.FindString(why.Why)
	e.stop(ExtendedResourceUnknown, "", "no node has %s, and no DeviceClass stands for it%s", name,
		didYouMeanName(name, known))
	if near := nearest.Of(name, known); near != "" {
		e.advise("ask for %s", near)
	} else {
		e.advise("see whether the driver or the device plugin that offers %s is installed and its pods run", name)
	}
}
