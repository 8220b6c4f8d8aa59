package main

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"example.com/dragoman/pkg/view"
)

// waiting are the pods that have claims and do not run yet, in the order of the cluster.
func waiting(c *view.Cluster) []types.NamespacedName {
	var pods []types.NamespacedName
	for _, p := range c.Pods {
		if p.Status.Phase == corev1.PodPending && p.DeletionTimestamp == nil && len(p.Spec.ResourceClaims) > 0 {
			pods = append(pods, types.NamespacedName{Namespace: p.Namespace, Name: p.Name})
		}
	}
	return pods
}
