package why

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"

	"example.com/dragoman/pkg/view"
	"example.com/dragoman/pkg/view/allocate"
)

// situation is a question for the allocator.
type situation struct {
	cluster *view.Cluster
	pod     *corev1.Pod // nil for a claim alone
	// claims are those that need devices.
	claims []*resourceapi.ResourceClaim
	// nodes are those that come into question.
	nodes []*corev1.Node
	// beyond are those that fit the pod, but where devices are out of reach that it has already. The scheduler tries
	// them nevertheless, so what makes it give up there counts.
	beyond []*corev1.Node
	// like is an allocator for the cluster, or for one that differs little; nil if there is none yet.
	like *variant
	// limit is how long a node may take; 0: as long as in the scheduler.
	limit time.Duration
}

// variant is an allocator with the cluster that it is for.
type variant struct {
	of        *view.Cluster
	allocator *allocate.Allocator
}

// ask has the allocator try each node, or, if one is enough, only until one can: that is the first that can.
func (s situation) ask(ctx context.Context, oneIsEnough bool) (allocate.Verdict, error) {
	allocator, err := s.allocator()
	if err != nil {
		return allocate.Verdict{}, err
	}
	nodes := slices.Concat(s.nodes, s.beyond)
	round := allocate.Round{
		Nodes: nodes, InReach: len(s.nodes), OneIsEnough: oneIsEnough,
		Ask: func(ctx context.Context, i int) (bool, error) { return s.try(ctx, allocator, nodes[i]) },
	}
	return round.Run(ctx)
}

// allocator is the one for the cluster.
func (s situation) allocator() (*allocate.Allocator, error) {
	var allocator *allocate.Allocator
	if s.like != nil && s.like.of == s.cluster {
		allocator = s.like.allocator
	} else {
		var o allocate.Options
		if s.like != nil {
			o.Like = s.like.allocator
		}
		var err error
		if allocator, err = allocate.New(s.cluster, o); err != nil {
			return nil, fmt.Errorf("set up the allocator: %w", err)
		}
	}
	if s.limit > 0 {
		allocator = allocator.Within(s.limit)
	}
	return allocator, nil
}

func (s situation) try(ctx context.Context, allocator *allocate.Allocator, node *corev1.Node) (bool, error) {
	claims, err := s.claimsOn(node)
	if err != nil {
		return false, err
	}
	if asksForNothing(claims) {
		return true, nil
	}
	results, err := allocator.OnNode(ctx, node, claims)
	return err == nil && results != nil, err
}

// asksForNothing says that claims have no requests: any node will do, and the allocator answers with nothing.
func asksForNothing(claims []*resourceapi.ResourceClaim) bool {
	for _, c := range claims {
		if len(c.Spec.Devices.Requests) > 0 {
			return false
		}
	}
	return true
}
