package allocate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/dynamic-resource-allocation/structured"

	"example.com/dragoman/pkg/view"
	"example.com/dragoman/pkg/view/selector"
)

// Options say how to allocate.
type Options struct {
	// Features are those of the scheduler. Nil: see FeaturesOf.
	Features *Features
	// Timeout is how long one node may take. 0: 10 seconds, as in the scheduler (gate DRASchedulerFilterTimeout).
	Timeout time.Duration
	// Like is an allocator for nearly the same cluster, whose features and compiled selectors are taken: that is much
	// quicker, if many variants of a cluster are looked at.
	Like *Allocator
}

// schedulerTimeout is DynamicResourcesFilterTimeoutDefault of the scheduler's configuration.
const schedulerTimeout = 10 * time.Second

// Allocator allocates devices of a cluster to claims. It counts what the cluster's claims have, and what Take was told.
type Allocator struct {
	cluster  view.Cluster // a copy: Commit replaces claims
	features Features
	older    bool // Kubernetes 1.34, see older.go
	given    []*resourceapi.ResourceSlice
	slices   []*resourceapi.ResourceSlice
	classes  classes
	state    structured.AllocatedState
	timeout  time.Duration
	counters bool // some device consumes counters
	library  structured.Allocator
	compiled *selector.Compiled
	make     func() (structured.Allocator, error)
}

// New returns an allocator for the cluster as it is.
func New(c *view.Cluster, o Options) (*Allocator, error) {
	a := &Allocator{
		cluster: *c,
		timeout: cmp.Or(o.Timeout, schedulerTimeout),
		older:   TakesFromPartsOfPools(c.Version),
		given:   tainted(c),
		classes: make(classes, len(c.Classes)),
		state:   newState(),
	}
	a.cluster.Claims = slices.Clone(c.Claims)
	switch {
	case o.Features != nil:
		a.features = *o.Features
	case o.Like != nil:
		a.features = o.Like.features
	default:
		a.features = FeaturesOf(c)
	}
	if o.Like != nil {
		a.compiled = o.Like.compiled
	} else {
		a.compiled = selector.ForAllocator()
	}
	a.slices = a.given
	if a.older {
		a.slices = readAsIn134(a.given)
	}
	a.counters = slices.ContainsFunc(a.slices, func(s *resourceapi.ResourceSlice) bool {
		return len(s.Spec.SharedCounters) > 0
	})
	for _, class := range c.Classes {
		a.classes[class.Name] = class
	}
	for _, claim := range c.Claims {
		if claim.Status.Allocation != nil {
			count(a.state, claim.Status.Allocation, a.features)
		}
	}
	a.make = func() (structured.Allocator, error) {
		return structured.NewAllocator(context.Background(), a.features.Features, a.state, a.classes, a.slices,
			a.compiled)
	}
	return a, a.renew()
}

// renew makes the library look at the state again. It has the sets, and remembers which counters were left.
func (a *Allocator) renew() error {
	library, err := a.make()
	if err != nil {
		return fmt.Errorf("make an allocator: %w", err)
	}
	a.library = library
	return nil
}

// Features returns those with which it allocates.
func (a *Allocator) Features() Features { return a.features }

// OnNode returns what the claims would get on the node, an allocation for each claim in their order, or nil if they
// cannot all get what they want there. Claims that have an allocation already do not belong here.
//
// A *NodeError says why this node was not even tried, or was given up; an *AttemptError that the scheduler would give
// up on the pod on all nodes. It may be called from several goroutines, but not while Take runs.
func (a *Allocator) OnNode(
	ctx context.Context, node *corev1.Node, claims []*resourceapi.ResourceClaim,
) (allocations []resourceapi.AllocationResult, err error) {
	if len(claims) == 0 {
		return nil, nil
	}
	// The library expects what an API server has checked. What comes from files is not.
	defer func() {
		if panicked := recover(); panicked != nil {
			allocations, err = nil, &AttemptError{Node: node.Name, Err: fmt.Errorf(
				"the allocator cannot read these objects, which no API server would take (%v): see \"validate\"", panicked)}
		}
	}()
	if a.older {
		if err := partOf134(a.given, node, claims); err != nil {
			return nil, &AttemptError{Node: node.Name, Err: err}
		}
	}
	limited, stop := context.WithTimeout(ctx, a.timeout)
	defer stop()
	allocations, err = a.library.Allocate(limited, node, claims)
	switch {
	case errors.Is(err, structured.ErrFailedAllocationOnNode) && a.older:
		return nil, &AttemptError{Node: node.Name, Err: invalidOf134(&a.cluster, node)}
	case errors.Is(err, structured.ErrFailedAllocationOnNode):
		return nil, &NodeError{Node: node.Name, Why: strings.TrimSpace(err.Error())}
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case errors.Is(err, context.DeadlineExceeded):
		return nil, a.tooLong(node)
	case err != nil:
		return nil, &AttemptError{Node: node.Name, Err: err}
	case len(allocations) != len(claims):
		return nil, nil
	}
	return allocations, nil
}

// tooLong is what the scheduler makes of a search that takes too long: Kubernetes 1.34 and 1.35 go on with the other
// nodes, from 1.36 on they give up on the pod and try again later (Filter of
// pkg/scheduler/framework/plugins/dynamicresources).
func (a *Allocator) tooLong(node *corev1.Node) error {
	timeout := &TimeoutError{After: a.timeout}
	if isOlder(a.cluster.Version, 36) {
		return &NodeError{Node: node.Name, Why: timeout.Error(), Err: timeout}
	}
	return &AttemptError{Node: node.Name, Err: timeout}
}

// Within returns an allocator for the same cluster that takes at most so long for a node.
func (a *Allocator) Within(timeout time.Duration) *Allocator {
	other := *a
	other.timeout = min(a.timeout, timeout)
	return &other
}

// Take counts allocations as made: nobody else gets these devices.
func (a *Allocator) Take(allocations ...resourceapi.AllocationResult) error {
	for i := range allocations {
		count(a.state, &allocations[i], a.features)
	}
	if !a.counters {
		return nil
	}
	return a.renew()
}

// AttemptError is an error for which the scheduler gives up on a pod, whatever the other nodes say: a CEL expression
// that fails on a device, a pool that is being updated while all its devices are wanted, a class that is not there.
type AttemptError struct {
	// Node is where it was met.
	Node string
	Err  error
}

func (e *AttemptError) Error() string { return fmt.Sprintf("node %s: %v", e.Node, e.Err) }

// Unwrap returns what the allocator said.
func (e *AttemptError) Unwrap() error { return e.Err }

// TimeoutError says that there are so many ways to choose devices that trying them all takes too long.
type TimeoutError struct{ After time.Duration }

func (e *TimeoutError) Error() string {
	return fmt.Sprintf("trying all combinations of devices took longer than the %s that the scheduler takes for a node: "+
		"ask for fewer devices at once, or with fewer constraints", e.After)
}

// NodeError says why a node is out of the question.
type NodeError struct {
	Node, Why string
	// Err is a *TimeoutError, or nil.
	Err error
}

func (e *NodeError) Error() string { return fmt.Sprintf("node %s: %s", e.Node, e.Why) }

// Unwrap returns Err.
func (e *NodeError) Unwrap() error { return e.Err }

// classes are the cluster's by name.
type classes map[string]*resourceapi.DeviceClass

// Get returns the class of the name, or the error of a lister.
func (c classes) Get(name string) (*resourceapi.DeviceClass, error) {
	if class, found := c[name]; found {
		return class, nil
	}
	return nil, apierrors.NewNotFound(resourceapi.Resource("deviceclasses"), name)
}

// List returns all of them, in no order. The allocator does not ask for it.
func (c classes) List() ([]*resourceapi.DeviceClass, error) {
	all := make([]*resourceapi.DeviceClass, 0, len(c))
	for _, class := range c {
		all = append(all, class)
	}
	return all, nil
}
