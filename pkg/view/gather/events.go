package gather

import (
	"context"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"example.com/dragoman/pkg/view/collect"
)

// manyPods is how many pods of a namespace are asked about one by one. An API server looks at all events of a namespace
// each time, so that of more all are asked for at once.
const manyPods = 20

// about adds the events: those of claims and nodes, of pods that wait or fail, and of drivers.
func (g *gathering) about(ctx context.Context) {
	c := g.report.Cluster
	namespace := g.options.Namespace
	for _, u := range c.Unseen {
		if u.Resource == "resourceclaims" && u.Only != "" {
			namespace = u.Only
		}
	}
	about := []collect.Ref{{Kind: "ResourceClaim", Namespace: namespace}, {Kind: "Node"}}
	for _, s := range g.daemonSets {
		about = append(about, collect.Ref{Kind: "DaemonSet", Namespace: s.Namespace, Name: s.Name})
	}
	pods := g.podsInTrouble()
	for _, in := range slices.Sorted(maps.Keys(pods)) {
		if len(pods[in]) > manyPods {
			about = append(about, collect.Ref{Kind: "Pod", Namespace: in})
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(pods[in])) {
			about = append(about, collect.Ref{Kind: "Pod", Namespace: in, Name: name})
		}
	}
	events, unseen := g.source.Events(ctx, about)
	c.Events = slices.DeleteFunc(events, func(e *corev1.Event) bool {
		of := e.InvolvedObject
		return of.Kind == "Pod" && !pods[of.Namespace][of.Name]
	})
	c.Unseen = append(c.Unseen, unseen...)
}

// podsInTrouble are the names, by namespace, of drivers' pods, and of users' pods that do not run.
func (g *gathering) podsInTrouble() map[string]map[string]bool {
	pods := map[string]map[string]bool{}
	add := func(p types.NamespacedName) {
		if pods[p.Namespace] == nil {
			pods[p.Namespace] = map[string]bool{}
		}
		pods[p.Namespace][p.Name] = true
	}
	for _, p := range g.report.Drivers {
		add(types.NamespacedName{Namespace: p.Namespace, Name: p.Name})
	}
	for _, p := range g.report.Cluster.Pods {
		if p.Status.Phase != corev1.PodRunning && p.Status.Phase != corev1.PodSucceeded {
			add(types.NamespacedName{Namespace: p.Namespace, Name: p.Name})
		}
	}
	return pods
}
