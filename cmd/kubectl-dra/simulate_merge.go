package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"example.com/dragoman/pkg/view"
	"example.com/dragoman/pkg/view/allocate"
	"example.com/dragoman/pkg/view/manifest"
)

// object is what a cluster can have only one of.
type object struct {
	kind            schema.GroupKind
	namespace, name string
}

func (o object) String() string {
	if o.namespace == "" {
		return o.kind.Kind + " " + o.name
	}
	return fmt.Sprintf("%s %s/%s", o.kind.Kind, o.namespace, o.name)
}

// objectOf says what a document has; it is none if it gets its name only when it is created.
func objectOf(d manifest.Document, namespace string) (o object, named bool) {
	m, err := meta.Accessor(d.Object)
	if d.Object == nil || err != nil || m.GetName() == "" {
		return object{}, false
	}
	o = object{kind: d.Kind.GroupKind(), name: m.GetName(), namespace: m.GetNamespace()}
	if placed := inNamespace(d.Object, namespace); o.namespace == "" && placed != d.Object {
		o.namespace = namespace
	}
	return o, true
}

// once leaves out what is there again further down: as with "kubectl apply", the last one counts.
func (c *simulateCommand) once(documents []manifest.Document, namespace string) []manifest.Document {
	last := make(map[object]int)
	for i, d := range documents {
		if o, named := objectOf(d, namespace); named {
			last[o] = i
		}
	}
	var kept []manifest.Document
	var again []string
	for i, d := range documents {
		if o, named := objectOf(d, namespace); named && last[o] != i {
			again = append(again, o.String())
			continue
		}
		kept = append(kept, d)
	}
	if len(again) > 0 {
		slices.Sort(again)
		c.say("Given more than once, the last one counts: %s", some(slices.Compact(again)))
	}
	return kept
}

// some names a few, and counts the others.
func some(names []string) string {
	const most = 5
	if more := len(names) - most; more > 1 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), more)
	}
	return strings.Join(names, ", ")
}

// with returns the cluster with what the files have. An object of the files replaces one of the same name; a claim that
// has devices keeps them, under a name that nobody asks for.
func (c *simulateCommand) with(cluster, files *view.Cluster) *view.Cluster {
	base := *cluster
	base.Nodes = without(base.Nodes, files.Nodes)
	base.Namespaces = without(base.Namespaces, files.Namespaces)
	base.Slices = without(base.Slices, files.Slices)
	base.Classes = without(base.Classes, files.Classes)
	base.Templates = without(base.Templates, files.Templates)
	base.TaintRules = without(base.TaintRules, files.TaintRules)
	base.Claims = otherClaims(base.Claims, files.Claims)
	base.Pods = without(base.Pods, files.Pods)
	there := slices.Concat(servedPods(cluster.Pods, files.Pods), servedClaims(cluster.Claims, files.Claims))
	if len(there) > 0 {
		c.say("There already, with devices that stay taken; this asks for others: %s", some(there))
	}
	all := merged(&base, files)
	if len(all.Nodes) == 0 && len(c.labels) > 0 {
		for _, n := range allocate.NodesOf(all) {
			n = n.DeepCopy() // it has the labels that slices ask for
			maps.Copy(n.Labels, c.labels)
			all.Nodes = append(all.Nodes, n)
		}
	}
	return all
}

// without returns those of all that have other names than the others.
func without[T metav1.Object](all, others []T) []T {
	other := byName(others)
	return slices.DeleteFunc(slices.Clone(all), func(o T) bool {
		_, same := other[nameOf(o)]
		return same
	})
}

func byName[T metav1.Object](objects []T) map[types.NamespacedName]T {
	named := make(map[types.NamespacedName]T, len(objects))
	for _, o := range objects {
		named[nameOf(o)] = o
	}
	return named
}

func nameOf(o metav1.Object) types.NamespacedName {
	return types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetName()}
}

// servedPods are those of a cluster that have claims of their own, and that the files have, too: who asks for them
// again asks for more.
func servedPods(all, files []*corev1.Pod) []string {
	again := byName(files)
	var served []string
	for _, pod := range all {
		_, same := again[nameOf(pod)]
		if same && len(pod.Status.ResourceClaimStatuses) > 0 && slices.ContainsFunc(pod.Spec.ResourceClaims,
			func(c corev1.PodResourceClaim) bool { return c.ResourceClaimTemplateName != nil }) {
			served = append(served, "Pod "+nameOf(pod).String())
		}
	}
	return served
}

// servedClaims are those of a cluster that have devices, and that the files have without any.
func servedClaims(all, files []*resourceapi.ResourceClaim) []string {
	asked := byName(files)
	var served []string
	for _, claim := range all {
		if again, same := asked[nameOf(claim)]; same && holds(claim) && !holds(again) {
			served = append(served, "ResourceClaim "+nameOf(claim).String())
		}
	}
	return served
}

func holds(claim *resourceapi.ResourceClaim) bool { return claim.Status.Allocation != nil }

// otherClaims are those of a cluster without those that the files have, too. One that has devices keeps them, under a
// name that nobody asks for, unless the files say that it has them.
func otherClaims(all, files []*resourceapi.ResourceClaim) []*resourceapi.ResourceClaim {
	asked := byName(files)
	var others []*resourceapi.ResourceClaim
	for _, claim := range all {
		again, same := asked[nameOf(claim)]
		switch {
		case !same:
			others = append(others, claim)
		case holds(claim) && !holds(again):
			held := claim.DeepCopy()
			held.Name += " (existing)"
			others = append(others, held)
		}
	}
	return others
}
