package why

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"

	"example.com/dragoman/pkg/view"
	"example.com/dragoman/pkg/view/allocate"
)

// filterTimeout is how long the scheduler tries to find devices on one node (DRASchedulerFilterTimeout, on since 1.34).
const filterTimeout = 10 * time.Second

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

// verdict is what the allocator says.
type verdict struct {
	// yes are the nodes that can give all that is asked for, in the order of the situation.
	yes []string
	// err is why the scheduler gives up on the whole pod, and errNode the first node where.
	err     error
	errNode string
	// tooLong is the first node on which the search takes longer than the scheduler allows.
	tooLong string
}

// can says that the scheduler would find a node.
func (v verdict) can() bool { return v.err == nil && v.tooLong == "" && len(v.yes) > 0 }

// ask has the allocator try each node, or, if one is enough, only until one can: that is the first that can.
func (s situation) ask(ctx context.Context, oneIsEnough bool) (verdict, error) {
	allocator, err := s.allocator()
	if err != nil {
		return verdict{}, err
	}
	inReach := len(s.nodes)
	s.nodes = slices.Concat(s.nodes, s.beyond)
	r := &round{situation: s, oneIsEnough: oneIsEnough, inReach: inReach, firstYes: len(s.nodes),
		answers: make([]answer, len(s.nodes))}
	var workers sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(s.nodes)) {
		workers.Go(func() { r.work(ctx, allocator) })
	}
	workers.Wait()
	if err := ctx.Err(); err != nil {
		return verdict{}, err
	}
	return r.verdict(), nil
}

// allocator is the one for the cluster.
func (s situation) allocator() (*allocate.Allocator, error) {
	if s.like != nil && s.like.of == s.cluster {
		return s.like.allocator, nil
	}
	var o allocate.Options
	if s.like != nil {
		o.Like = s.like.allocator
	}
	allocator, err := allocate.New(s.cluster, o)
	if err != nil {
		return nil, fmt.Errorf("set up the allocator: %w", err)
	}
	return allocator, nil
}

// round is one time of asking about all nodes.
type round struct {
	situation
	oneIsEnough bool
	// inReach is how many of the nodes can be the pod's; the others come after them.
	inReach int

	mu       sync.Mutex
	next     int
	firstYes int
	answers  []answer
}

type answer struct {
	yes bool
	err error
}

func (r *round) try(ctx context.Context, allocator *allocate.Allocator, node *corev1.Node) answer {
	claims, err := r.claimsOn(node)
	if err != nil {
		return answer{}
	}
	if asksForNothing(claims) {
		return answer{yes: true}
	}
	limited, cancel := context.WithTimeout(ctx, cmp.Or(r.limit, filterTimeout))
	defer cancel()
	results, err := allocator.OnNode(limited, node, claims)
	if errors.As(err, new(*allocate.NodeError)) {
		return answer{}
	}
	return answer{yes: err == nil && results != nil, err: err}
}

func (r *round) work(ctx context.Context, allocator *allocate.Allocator) {
	for {
		r.mu.Lock()
		i := r.next
		r.next++
		done := i >= len(r.nodes) || r.oneIsEnough && i > r.firstYes || ctx.Err() != nil
		r.mu.Unlock()
		if done {
			return
		}
		a := r.try(ctx, allocator, r.nodes[i])
		r.mu.Lock()
		r.answers[i] = a
		switch {
		case a.yes && i < r.inReach:
			r.firstYes = min(r.firstYes, i)
		case isTooLong(a.err):
			r.next = len(r.nodes) // others would take as long
		}
		r.mu.Unlock()
	}
}

func (r *round) verdict() verdict {
	var v verdict
	for i, a := range r.answers {
		switch {
		case isTooLong(a.err):
			if v.tooLong == "" {
				v.tooLong = r.nodes[i].Name
			}
		case a.err != nil:
			if v.err == nil {
				v.err, v.errNode = a.err, r.nodes[i].Name
			}
		case a.yes && i < r.inReach && (!r.oneIsEnough || i == r.firstYes):
			v.yes = append(v.yes, r.nodes[i].Name)
		}
	}
	return v
}

func isTooLong(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, new(*allocate.TimeoutError))
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
