package publish

import (
	"context"
	"fmt"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// writers is how many slices are written at the same time. Few, since other nodes may be starting too.
const writers = 2

// writeFirst writes the slices of a node that has none, as the controller would. The controller takes a second to start
// and then finds nothing to do. What cannot be written here is left to it, and so is telling why.
//
// Only where nothing is there: then nothing can be lost, and what the controller would compare is known.
func (p *Publisher) writeFirst(ctx context.Context, specs []resourceapi.ResourceSliceSpec) {
	if p.options.NodeUID == "" || len(p.witness.slices()) > 0 {
		return
	}
	var group errgroup.Group
	var failed atomic.Bool
	group.SetLimit(writers)
	for i, spec := range specs {
		group.Go(func() error {
			if failed.Load() {
				return nil
			}
			slice := p.slice(i, spec, len(specs), 1)
			_, err := p.client().ResourceV1().ResourceSlices().Create(ctx, slice, metav1.CreateOptions{})
			failed.CompareAndSwap(false, err != nil)
			return nil
		})
	}
	_ = group.Wait() // nothing returns an error
}

// slice returns a slice as the controller makes it, the index-th of count.
func (p *Publisher) slice(
	index int, spec resourceapi.ResourceSliceSpec, count int, generation int64,
) *resourceapi.ResourceSlice {
	spec = *spec.DeepCopy() // quantities note their text when they are encoded, and others read what was published
	spec.Pool.Generation, spec.Pool.ResourceSliceCount = generation, int64(count)
	slice := &resourceapi.ResourceSlice{
		ObjectMeta: metav1.ObjectMeta{
			GenerateName: fmt.Sprintf("%05x-%s-%s-", index, p.options.DriverName, p.options.NodeName),
		},
		Spec: spec,
	}
	if p.options.NodeUID != "" {
		slice.OwnerReferences = []metav1.OwnerReference{{
			APIVersion: "v1", Kind: "Node", Name: p.options.NodeName, UID: p.options.NodeUID, Controller: new(true),
		}}
	}
	return slice
}
