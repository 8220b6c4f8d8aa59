package why

import (
	"context"
	"errors"
	"fmt"
	"runtime"
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
func (v verdict) can() bool { return v.err == nil && len(v.yes) > 0 }

// ask has the allocator try each node, or, if one is enough, only until one can: that is the first that can.
func (s situation) ask(ctx context.Context, oneIsEnough bool) (verdict, error) {
	allocator, err := allocate.New(s.cluster, allocate.Options{})
	if err != nil {
		return verdict{}, fmt.Errorf("set up the allocator: %w", err)
	}
	r := &round{situation: s, oneIsEnough: oneIsEnough, firstYes: len(s.nodes), answers: make([]answer, len(s.nodes))}
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

// round is one time of asking about all nodes.
type round struct {
	situation
	oneIsEnough bool

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
	limited, cancel := context.WithTimeout(ctx, filterTimeout)
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
		case a.yes:
			r.firstYes = min(r.firstYes, i)
		case errors.Is(a.err, context.DeadlineExceeded):
			r.next = len(r.nodes) // others would take as long
		}
		r.mu.Unlock()
	}
}

func (r *round) verdict() verdict {
	var v verdict
	for i, a := range r.answers {
		switch {
		case errors.Is(a.err, context.DeadlineExceeded):
			if v.tooLong == "" {
				v.tooLong = r.nodes[i].Name
			}
		case a.err != nil:
			if v.err == nil {
				v.err, v.errNode = a.err, r.nodes[i].Name
			}
		case a.yes && (!r.oneIsEnough || i == r.firstYes):
			v.yes = append(v.yes, r.nodes[i].Name)
		}
	}
	return v
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
