package main

import (
	"context"
	"fmt"
	"math"
	"slices"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"

	"example.com/dragoman/pkg/view/allocate"
)

// wanted is one of the objects that want devices.
type wanted struct {
	kind, namespace, name string
	question              allocate.Question
	replicas              int // math.MaxInt: as many as fit
	everyNode             bool
}

// wanted returns what wants devices, in the order of the files. Claims and templates that a pod of the files uses come
// with it, and not by themselves. most is what --replicas says.
func (f *simulatedFiles) wanted(most int) []wanted {
	used := f.used()
	var all []wanted
	for _, o := range f.order {
		var w wanted
		switch o := o.(type) {
		case *corev1.Pod:
			w = wanted{kind: "Pod", namespace: o.Namespace, name: o.Name, question: allocate.Question{Pod: o}, replicas: 1}
		case *workload:
			w = wanted{
				kind: o.kind, namespace: o.pod.Namespace, name: o.pod.Name,
				question: allocate.Question{Pod: o.pod}, replicas: o.replicas, everyNode: o.everyNode,
			}
		case *resourceapi.ResourceClaim:
			if used["claim/"+o.Namespace+"/"+o.Name] {
				continue
			}
			w = wanted{
				kind: "ResourceClaim", namespace: o.Namespace, name: o.Name, replicas: 1,
				question: allocate.Question{Claims: []*resourceapi.ResourceClaim{o}},
			}
		case *resourceapi.ResourceClaimTemplate:
			if used["template/"+o.Namespace+"/"+o.Name] {
				continue
			}
			claim := &resourceapi.ResourceClaim{ObjectMeta: *o.Spec.ObjectMeta.DeepCopy(), Spec: o.Spec.Spec}
			claim.Name, claim.Namespace = o.Name, o.Namespace
			w = wanted{
				kind: "ResourceClaimTemplate", namespace: o.Namespace, name: o.Name, replicas: 1,
				question: allocate.Question{Claims: []*resourceapi.ResourceClaim{claim}},
			}
		}
		switch {
		case w.everyNode || w.kind == "ResourceClaim":
		case most == maxReplicas:
			w.replicas = math.MaxInt
		case most > 0:
			w.replicas = most
		}
		all = append(all, w)
	}
	return all
}

// used are the claims and templates that pods of the files name.
func (f *simulatedFiles) used() map[string]bool {
	used := make(map[string]bool)
	for _, o := range f.order {
		pod, ok := o.(*corev1.Pod)
		if w, of := o.(*workload); of {
			pod, ok = w.pod, true
		}
		if !ok {
			continue
		}
		for _, c := range pod.Spec.ResourceClaims {
			if c.ResourceClaimName != nil {
				used["claim/"+pod.Namespace+"/"+*c.ResourceClaimName] = true
			}
			if c.ResourceClaimTemplateName != nil {
				used["template/"+pod.Namespace+"/"+*c.ResourceClaimTemplateName] = true
			}
		}
	}
	return used
}

// simulate gives the object its devices, if it can have them.
func (w *wanted) simulate(ctx context.Context, a *allocate.Allocator) (simulatedObject, error) {
	o := simulatedObject{Kind: w.kind, Namespace: w.namespace, Name: w.name, Wanted: w.replicas}
	if w.replicas == 0 {
		o.Possible = true
		return o, nil
	}
	s, err := a.Simulate(ctx, w.question)
	if err != nil {
		return o, err
	}
	o.read(s)
	if !s.Possible() {
		return o, w.explain(ctx, a.Cluster(), &o)
	}
	switch {
	case w.everyNode:
		err = w.onEach(a, s, &o)
	case w.replicas == 1:
		first := s.First()
		err = a.Commit(*first, w.question.Pod)
		o.place(*first)
	default:
		err = w.fill(ctx, a, s, &o)
	}
	if err == nil && !o.Possible {
		err = w.explain(ctx, a.Cluster(), &o)
	}
	return o, err
}

// onEach places a pod on each node that takes it.
func (w *wanted) onEach(a *allocate.Allocator, s allocate.Simulation, o *simulatedObject) error {
	o.Wanted = 0
	for _, n := range s.Nodes {
		if n.Why == "" {
			o.Wanted++
		}
		if n.Fits {
			if err := a.Commit(n, w.question.Pod); err != nil {
				return err
			}
			o.place(n)
		}
	}
	return nil
}

func (w *wanted) fill(ctx context.Context, a *allocate.Allocator, s allocate.Simulation, o *simulatedObject) error {
	if w.replicas == math.MaxInt && !slices.ContainsFunc(s.First().Claims, w.takesMore) {
		return fmt.Errorf("%s %s/%s: --replicas max: what its pods have, others can have as well, so there is no end",
			w.kind, w.namespace, w.name)
	}
	placed, err := a.Fill(ctx, w.question, w.replicas)
	for _, n := range placed {
		o.place(n)
	}
	if w.replicas == math.MaxInt {
		o.Wanted, o.Possible = len(placed), len(placed) > 0
	}
	return err
}

// takesMore says that each further one takes more devices for this claim: it is made anew, and not only to look.
func (w *wanted) takesMore(g allocate.Grant) bool {
	return (g.Made || w.question.Pod == nil) && slices.ContainsFunc(g.Allocation.Devices.Results,
		func(r resourceapi.DeviceRequestAllocationResult) bool { return r.AdminAccess == nil || !*r.AdminAccess })
}
