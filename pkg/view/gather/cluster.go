package gather

import (
	"bytes"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"example.com/dragoman/pkg/view"
)

// trimmed returns what may be sent of a cluster.
func trimmed(c *view.Cluster, full bool) *view.Cluster {
	t := trimmer{full: full, labels: selectedLabels(c)}
	return &view.Cluster{
		Version: c.Version, Unseen: c.Unseen,
		Nodes: each(c.Nodes, t.node), Namespaces: each(c.Namespaces, t.namespace), Pods: each(c.Pods, t.pod),
		Slices: each(c.Slices, t.slice), Classes: each(c.Classes, t.class), Claims: each(c.Claims, t.claim),
		Templates: each(c.Templates, t.template), TaintRules: each(c.TaintRules, t.rule), Events: each(c.Events, t.event),
	}
}

func each[T any](objects []*T, trim func(*T) *T) []*T {
	kept := make([]*T, len(objects))
	for i, o := range objects {
		kept[i] = trim(o)
	}
	return kept
}

// selectedLabels are the labels of nodes by which pods, slices and allocated claims select nodes: without them nobody
// could tell from the bundle where a pod may run.
func selectedLabels(c *view.Cluster) map[string]bool {
	labels := map[string]bool{corev1.LabelHostname: true}
	add := func(s *corev1.NodeSelector) {
		if s == nil {
			return
		}
		for _, term := range s.NodeSelectorTerms {
			addKeys(labels, term)
		}
	}
	for _, s := range c.Slices {
		add(s.Spec.NodeSelector)
		for i := range s.Spec.Devices {
			add(s.Spec.Devices[i].NodeSelector)
		}
	}
	for _, claim := range c.Claims {
		if claim.Status.Allocation != nil {
			add(claim.Status.Allocation.NodeSelector)
		}
	}
	for _, p := range c.Pods {
		for name := range p.Spec.NodeSelector {
			labels[name] = true
		}
		if p.Spec.Affinity == nil || p.Spec.Affinity.NodeAffinity == nil {
			continue
		}
		add(p.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution)
		for _, preferred := range p.Spec.Affinity.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution {
			addKeys(labels, preferred.Preference)
		}
	}
	return labels
}

func addKeys(labels map[string]bool, term corev1.NodeSelectorTerm) {
	for _, expression := range term.MatchExpressions {
		labels[expression.Key] = true
	}
}

// ofDriver returns what of a cluster has to do with one driver.
func ofDriver(c *view.Cluster, driver string) *view.Cluster {
	kept := *c
	kept.Slices, kept.Claims = nil, nil
	for _, s := range c.Slices {
		if s.Spec.Driver == driver {
			kept.Slices = append(kept.Slices, s)
		}
	}
	for _, claim := range c.Claims {
		if claim.Status.Allocation == nil || hasDriver(claim, driver) {
			kept.Claims = append(kept.Claims, claim)
		}
	}
	return &kept
}

func hasDriver(c *resourceapi.ResourceClaim, driver string) bool {
	for _, r := range c.Status.Allocation.Devices.Results {
		if r.Driver == driver {
			return true
		}
	}
	return false
}

// addCluster writes a cluster so that it can be read again: a file for each kind, and what is no object in look.json.
func (b *bundle) addCluster(c *view.Cluster) error {
	look, err := json.MarshalIndent(struct {
		Version string        `json:"version"`
		Unseen  []view.Unseen `json:"unseen"`
	}{c.Version, c.Unseen}, "", "  ")
	if err != nil {
		return fmt.Errorf("write what was not seen: %w", err)
	}
	if err := b.add("cluster/look.json", append(look, '\n')); err != nil {
		return err
	}
	core, dra := corev1.SchemeGroupVersion, resourceapi.SchemeGroupVersion
	for _, write := range []func() error{
		func() error { return addObjects(b, "nodes", core.WithKind("Node"), c.Nodes) },
		func() error { return addObjects(b, "namespaces", core.WithKind("Namespace"), c.Namespaces) },
		func() error { return addObjects(b, "pods", core.WithKind("Pod"), c.Pods) },
		func() error { return addObjects(b, "resourceslices", dra.WithKind("ResourceSlice"), c.Slices) },
		func() error { return addObjects(b, "deviceclasses", dra.WithKind("DeviceClass"), c.Classes) },
		func() error { return addObjects(b, "resourceclaims", dra.WithKind("ResourceClaim"), c.Claims) },
		func() error {
			return addObjects(b, "resourceclaimtemplates", dra.WithKind("ResourceClaimTemplate"), c.Templates)
		},
		func() error { return addObjects(b, "devicetaintrules", dra.WithKind("DeviceTaintRule"), c.TaintRules) },
		func() error { return addObjects(b, "events", core.WithKind("Event"), c.Events) },
	} {
		if err := write(); err != nil {
			return err
		}
	}
	return nil
}

// addObjects writes objects of one kind as documents of a YAML file; there is no file if there are none. The objects
// are copies of ours, which may be told their kind.
func addObjects[T any, O interface {
	*T
	runtime.Object
}](b *bundle, plural string, kind schema.GroupVersionKind, objects []O) error {
	if len(objects) == 0 {
		return nil
	}
	var text bytes.Buffer
	for _, o := range objects {
		o.GetObjectKind().SetGroupVersionKind(kind)
		document, err := yaml.Marshal(o)
		if err != nil {
			return fmt.Errorf("write %s: %w", plural, err)
		}
		text.WriteString("---\n")
		text.Write(document)
	}
	return b.add("cluster/"+plural+".yaml", text.Bytes())
}
