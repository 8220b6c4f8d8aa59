package gather

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"

	"example.com/dragoman/pkg/view"
)

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

// cluster adds what was seen, so that it can be read again: a file for each kind, and what is no object in look.json.
func (g *gathering) cluster(context.Context) error {
	c := g.report.Cluster
	unseen := slices.Clone(c.Unseen)
	for i := range unseen {
		unseen[i].Why = g.masker.Text(unseen[i].Why)
	}
	look, err := json.MarshalIndent(struct {
		Version string        `json:"version"`
		Unseen  []view.Unseen `json:"unseen"`
	}{c.Version, unseen}, "", "  ")
	if err != nil {
		return fmt.Errorf("write what was not seen: %w", err)
	}
	if err := g.bundle.add("cluster/look.json", append(look, '\n')); err != nil {
		return err
	}
	core, dra, t := corev1.SchemeGroupVersion, resourceapi.SchemeGroupVersion, g.trimmer
	for _, write := range []func() error{
		func() error { return addObjects(g, "cluster/nodes", core.WithKind("Node"), c.Nodes, t.node) },
		func() error {
			return addObjects(g, "cluster/namespaces", core.WithKind("Namespace"), c.Namespaces, t.namespace)
		},
		func() error { return addObjects(g, "cluster/pods", core.WithKind("Pod"), c.Pods, t.pod) },
		func() error {
			return addObjects(g, "cluster/resourceslices", dra.WithKind("ResourceSlice"), c.Slices, t.slice)
		},
		func() error {
			return addObjects(g, "cluster/deviceclasses", dra.WithKind("DeviceClass"), c.Classes, t.class)
		},
		func() error {
			return addObjects(g, "cluster/resourceclaims", dra.WithKind("ResourceClaim"), c.Claims, t.claim)
		},
		func() error {
			kind := dra.WithKind("ResourceClaimTemplate")
			return addObjects(g, "cluster/resourceclaimtemplates", kind, c.Templates, t.template)
		},
		func() error {
			return addObjects(g, "cluster/devicetaintrules", dra.WithKind("DeviceTaintRule"), c.TaintRules, t.rule)
		},
		func() error { return addObjects(g, "cluster/events", core.WithKind("Event"), c.Events, t.event) },
	} {
		if err := write(); err != nil {
			return err
		}
	}
	return nil
}
