package gather

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"example.com/dragoman/pkg/view"
	"example.com/dragoman/pkg/view/collect"
)

// driverPods returns the pods of DRA drivers, by namespace and name. Which pod has written a slice is nowhere said: a
// driver's pod is one that registers plugins with the kubelet and names a driver that has slices. One that names none
// is returned too, since a driver that does not work has no slices, unless it plainly serves volumes, or a driver that
// was asked for was found.
func driverPods(c *view.Cluster, only string) []*corev1.Pod {
	names := driverNames(c, only)
	var found, perhaps []*corev1.Pod
	for _, p := range c.Pods {
		switch named, maybe := isDriver(p, names); {
		case named:
			found = append(found, p)
		case maybe:
			perhaps = append(perhaps, p)
		}
	}
	if only != "" && len(found) > 0 {
		return inOrder(found)
	}
	return inOrder(append(found, perhaps...))
}

// isDriver says whether a pod is that of a driver, by the name of one, or may be.
func isDriver(p *corev1.Pod, names []string) (named, perhaps bool) {
	if !collect.RegistersPlugins(p) {
		return false, false
	}
	text := said(p)
	named = slices.ContainsFunc(names, func(name string) bool { return strings.Contains(text, name) })
	return named, !named && !strings.Contains(text, "csi")
}

func inOrder(pods []*corev1.Pod) []*corev1.Pod {
	slices.SortFunc(pods, func(a, b *corev1.Pod) int {
		return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name)
	})
	return pods
}

func driverNames(c *view.Cluster, only string) []string {
	if only != "" {
		return []string{only}
	}
	var names []string
	for _, s := range c.Slices {
		names = append(names, s.Spec.Driver)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// said is what a pod says about itself where drivers are named: paths on the node, images, arguments and environment.
func said(p *corev1.Pod) string {
	words := []string{p.Name}
	for _, v := range p.Spec.Volumes {
		if v.HostPath != nil {
			words = append(words, v.HostPath.Path)
		}
	}
	for _, c := range slices.Concat(p.Spec.InitContainers, p.Spec.Containers) {
		words = append(words, c.Name, c.Image)
		words = append(append(words, c.Command...), c.Args...)
		for _, e := range c.Env {
			words = append(words, e.Value)
		}
	}
	return strings.Join(words, " ")
}

func contains(pods []*corev1.Pod, p *corev1.Pod) bool {
	return slices.ContainsFunc(pods, func(other *corev1.Pod) bool { return other.UID == p.UID })
}

// withoutPlugins drops pods of plugins that are not of the drivers and use no devices.
func withoutPlugins(pods, drivers []*corev1.Pod) []*corev1.Pod {
	of := map[types.UID]bool{}
	for _, d := range drivers {
		of[d.UID] = true
	}
	return slices.DeleteFunc(slices.Clone(pods), func(p *corev1.Pod) bool {
		return collect.RegistersPlugins(p) && !of[p.UID] && len(p.Spec.ResourceClaims) == 0
	})
}
