package publish

import (
	"context"
	"fmt"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// rehearse makes sure that the controller can write wanted as a whole, where half of it would do harm: if there are
// slices to lose and it takes more than one write. It returns after what time to try again if it cannot be, 0 if it
// can. An error means that ctx ended.
//
// The controller raises the pool's generation with the first of several writes. If a later one is refused, its next
// attempt takes all slices of the lower generation for obsolete and deletes them.
func (p *Publisher) rehearse(
	ctx context.Context, held []*resourceapi.ResourceSlice, wanted []resourceapi.ResourceSliceSpec, d difference,
) (time.Duration, error) {
	if wait := time.Until(p.rehearsal.notBefore); wait > 0 {
		return wait, nil
	}
	problem := p.refusal(ctx, held, wanted, d)
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	p.mu.Lock()
	p.refused = problem
	p.mu.Unlock()
	if problem == nil {
		return 0, nil
	}
	wait := p.rehearsal.pause
	p.rehearsal.pause = min(2*wait, maxRetry)
	p.rehearsal.notBefore = time.Now().Add(wait)
	return wait, nil
}

// refusal returns why wanted cannot be written, nil if nothing speaks against it.
func (p *Publisher) refusal(
	ctx context.Context, held []*resourceapi.ResourceSlice, wanted []resourceapi.ResourceSliceSpec, d difference,
) *Problem {
	if err := checkPool(wanted, p.options.NodeName); err != nil {
		problem := problemOf(err, wanted)
		p.options.Observe(Event{Type: Failed, Problem: problem})
		return problem
	}
	// Slices that the controller is to keep and that somebody deleted are still there to lose: it brings them back.
	nothingToLose := len(held) == 0 && !p.keeping
	oneWrite := d.comparable && len(d.changed) <= 1
	if (nothingToLose || oneWrite) && !p.rehearsal.always {
		return nil
	}
	var generation int64
	for _, slice := range held {
		generation = max(generation, slice.Spec.Pool.Generation)
	}
	for i, spec := range wanted {
		if i < len(held) && sameContent(held[i].Spec, spec) {
			continue // It was accepted before.
		}
		options := metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}
		slice := p.slice(i, spec, len(wanted), generation+1)
		if _, err := p.client().ResourceV1().ResourceSlices().Create(ctx, slice, options); err != nil {
			return problemOf(fmt.Errorf("slice #%d: %w", i, err), wanted)
		}
	}
	return nil
}
