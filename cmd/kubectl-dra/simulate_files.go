package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/api/resource/v1beta1"
	"k8s.io/api/resource/v1beta2"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/json"

	"example.com/dragoman/pkg/view"
	"example.com/dragoman/pkg/view/manifest"
)

// simulatedFiles is what files have.
type simulatedFiles struct {
	cluster *view.Cluster
	// order is all of it that wants devices or makes what does: *corev1.Pod, *workload, *resourceapi.ResourceClaim and
	// *resourceapi.ResourceClaimTemplate.
	order []any
}

// workload is something that makes pods.
type workload struct {
	kind     string
	pod      *corev1.Pod
	replicas int
	// everyNode says that there is one on each node that takes it: a DaemonSet.
	everyNode bool
}

// readFiles reads files, folders, and stdin: what somebody would create, which an API server must take, or what there
// is.
func (c *simulateCommand) readFiles(paths []string, created bool) (*simulatedFiles, error) {
	documents, err := manifest.Read(paths, c.recursive, c.streams.In)
	if err != nil {
		return nil, err
	}
	if err := wellFormed(documents, created); err != nil {
		return nil, err
	}
	namespace, _, err := c.namespaceOfFiles()
	if err != nil {
		return nil, err
	}
	files := &simulatedFiles{cluster: &view.Cluster{}}
	var ignored []string
	for _, d := range c.once(documents, namespace) {
		w, err := workloadOf(d, namespace)
		if err != nil {
			return nil, err
		}
		if w != nil {
			files.order = append(files.order, w)
			continue
		}
		if d.Object == nil {
			ignored = append(ignored, d.Kind.GroupVersion().String()+" "+d.Kind.Kind)
			continue
		}
		one, err := view.FromObjects([]runtime.Object{inNamespace(d.Object, namespace)})
		if other := new(view.OtherKindsError); errors.As(err, &other) {
			ignored = append(ignored, other.Kinds...)
		} else if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", d.Source, d.Line, err)
		}
		if created {
			for _, pod := range one.Pods {
				anew(pod)
			}
		}
		files.take(one)
	}
	if len(ignored) > 0 {
		slices.Sort(ignored)
		c.say("Ignored, because it has nothing to do with devices: %s", strings.Join(slices.Compact(ignored), ", "))
	}
	return files, nil
}

// wellFormed says what is wrong with the form of documents, with the places.
func wellFormed(documents []manifest.Document, strict bool) error {
	var problems []string
	for _, d := range documents {
		for _, p := range d.Problems {
			if strict || d.Object == nil {
				problems = append(problems, strings.TrimSuffix(fmt.Sprintf("%s:%d: %s: %s", d.Source, p.Line,
					cmp.Or(p.Path, d.Kind.Kind), p.Message), "."))
			}
		}
	}
	const most = 10
	if more := len(problems) - most; more > 0 {
		problems = append(problems[:most], fmt.Sprintf("and %d more", more))
	}
	if len(problems) > 0 {
		return fmt.Errorf("the files are not what an API server would take:\n  %s", strings.Join(problems, "\n  "))
	}
	return nil
}

// inNamespace returns an object as if it had been read with "kubectl -n": what needs a namespace has one.
func inNamespace(o runtime.Object, namespace string) runtime.Object {
	switch o.(type) {
	case *corev1.Pod, *resourceapi.ResourceClaim, *resourceapi.ResourceClaimTemplate,
		*v1beta1.ResourceClaim, *v1beta1.ResourceClaimTemplate, *v1beta2.ResourceClaim, *v1beta2.ResourceClaimTemplate:
	default:
		return o
	}
	o = o.DeepCopyObject()
	if m, err := meta.Accessor(o); err == nil && m.GetNamespace() == "" {
		m.SetNamespace(namespace)
	}
	return o
}

// anew makes a pod, which may be from a cluster, one that somebody creates now: not on a node yet.
func anew(pod *corev1.Pod) {
	if pod.Status.Phase != "" {
		pod.Status, pod.Spec.NodeName, pod.UID = corev1.PodStatus{}, "", ""
	}
}

// namespaceOfFiles is the namespace of objects without one.
func (c *simulateCommand) namespaceOfFiles() (string, bool, error) {
	if !c.inFiles() {
		return c.namespace()
	}
	asked := withoutPrefix(*c.cluster.Namespace)
	return cmp.Or(asked, metav1.NamespaceDefault), asked != "", nil
}

func (f *simulatedFiles) take(one *view.Cluster) {
	f.cluster = merged(f.cluster, one)
	for _, o := range one.Pods {
		f.order = append(f.order, o)
	}
	for _, o := range one.Claims {
		f.order = append(f.order, o)
	}
	for _, o := range one.Templates {
		f.order = append(f.order, o)
	}
}

// classes are the names of those that the claims and pods of the files ask for.
func (f *simulatedFiles) classes() map[string]bool {
	asked := make(map[string]bool)
	specs := make([]*resourceapi.ResourceClaimSpec, 0, len(f.order))
	for _, o := range f.order {
		switch o := o.(type) {
		case *resourceapi.ResourceClaim:
			specs = append(specs, &o.Spec)
		case *resourceapi.ResourceClaimTemplate:
			specs = append(specs, &o.Spec.Spec)
		case *corev1.Pod:
			askedByLimits(o, asked)
		case *workload:
			askedByLimits(o.pod, asked)
		}
	}
	for _, spec := range specs {
		for _, r := range spec.Devices.Requests {
			if r.Exactly != nil {
				asked[r.Exactly.DeviceClassName] = true
			}
			for _, sub := range r.FirstAvailable {
				asked[sub.DeviceClassName] = true
			}
		}
	}
	return asked
}

func askedByLimits(pod *corev1.Pod, asked map[string]bool) {
	for _, container := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		for name := range container.Resources.Limits {
			if class, ok := strings.CutPrefix(string(name), resourceapi.ResourceDeviceClassPrefix); ok {
				asked[class] = true
			}
		}
	}
}

// merged is the objects of both. What is in the first only as an error to see, stays so.
func merged(a, b *view.Cluster) *view.Cluster {
	m := *a
	m.Nodes = slices.Concat(a.Nodes, b.Nodes)
	m.Namespaces = slices.Concat(a.Namespaces, b.Namespaces)
	m.Pods = slices.Concat(a.Pods, b.Pods)
	m.Slices = slices.Concat(a.Slices, b.Slices)
	m.Classes = slices.Concat(a.Classes, b.Classes)
	m.Claims = slices.Concat(a.Claims, b.Claims)
	m.Templates = slices.Concat(a.Templates, b.Templates)
	m.TaintRules = slices.Concat(a.TaintRules, b.TaintRules)
	return &m
}

// workloadOf returns what makes pods: whatever has a pod template in its spec, or one in a job template there.
func workloadOf(d manifest.Document, namespace string) (*workload, error) {
	if d.Kind.Group == resourceapi.GroupName || d.Kind.Group == "" && d.Kind.Kind != "ReplicationController" {
		return nil, nil
	}
	var content map[string]any
	if err := json.Unmarshal(d.Raw, &content); err != nil {
		return nil, nil //nolint:nilerr // nothing that makes pods; what is wrong with it was said before
	}
	spec, _, _ := unstructured.NestedMap(content, "spec")
	if nested, found, _ := unstructured.NestedMap(content, "spec", "jobTemplate", "spec"); found {
		spec = nested
	}
	template, _, _ := unstructured.NestedMap(spec, "template")
	if _, found, _ := unstructured.NestedSlice(template, "spec", "containers"); !found {
		return nil, nil
	}
	u := unstructured.Unstructured{Object: content}
	var pod corev1.PodTemplateSpec
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(template, &pod); err != nil {
		return nil, fmt.Errorf("%s:%d: read the pod template of %s %s: %w",
			d.Source, d.Line, u.GetKind(), u.GetName(), err)
	}
	w := &workload{kind: u.GetKind(), everyNode: u.GetKind() == "DaemonSet", replicas: 1}
	for _, field := range []string{"replicas", "parallelism"} {
		n, said := spec[field].(int64)
		switch {
		case said && (n < 0 || n > mostReplicas):
			return nil, fmt.Errorf("%s:%d: spec.%s of %s %s is %d: from 0 to %s pods can be simulated", d.Source, d.Line, field,
				u.GetKind(), u.GetName(), n, view.Number(mostReplicas))
		case said:
			w.replicas = int(n)
		}
	}
	w.pod = &corev1.Pod{ObjectMeta: pod.ObjectMeta, Spec: pod.Spec}
	w.pod.Name, w.pod.Namespace = u.GetName(), cmp.Or(u.GetNamespace(), namespace)
	return w, nil
}
