package allocate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"

	"example.com/dragoman/pkg/view"
)

// Question is what somebody wants of a cluster: a pod with its claims, or claims alone, which must be on one node
// together.
type Question struct {
	Pod *corev1.Pod
	// Claims are looked at if there is no pod.
	Claims []*resourceapi.ResourceClaim
}

// Simulation is what the scheduler would answer.
type Simulation struct {
	// Problems are what keeps it from trying any node: *ClaimError, *MissingClassError.
	Problems []error
	// Failed is Verdict's: an *AttemptError. The scheduler then gives up, even if other nodes would do.
	Failed error
	// Nodes are the answers of all nodes, in their order. There are none if there are problems.
	Nodes []NodeAnswer
}

// NodeAnswer is what would be on one node.
type NodeAnswer struct {
	Node string
	Fits bool
	// Why says why the node does not do. Empty if it is only that its devices do not.
	Why string
	// Claims are what the claims would get, in the order of the pod. Only if the node does.
	Claims []Grant
}

// Grant is what one claim would get, or has already.
type Grant struct {
	PodClaim
	Allocation *resourceapi.AllocationResult
	// Held says that the claim has it already.
	Held bool
}

// Possible says whether the scheduler would find a node.
func (s *Simulation) Possible() bool { return s.First() != nil }

// First returns the answer of the first node that does; nil if none does, or if the scheduler gives up.
func (s *Simulation) First() *NodeAnswer {
	if s.Failed != nil {
		return nil
	}
	if i := slices.IndexFunc(s.Nodes, func(n NodeAnswer) bool { return n.Fits }); i >= 0 {
		return &s.Nodes[i]
	}
	return nil
}

// MissingClassError says that a request names a DeviceClass that does not exist.
type MissingClassError struct {
	Namespace, Claim string
	// Request is the name of the request; of an alternative, request/subrequest.
	Request, Class string
}

func (e *MissingClassError) Error() string {
	return fmt.Sprintf("claim %s/%s, request %q: DeviceClass %q does not exist", e.Namespace, e.Claim, e.Request, e.Class)
}

// Simulate answers a question for the cluster as it is, on all of its nodes.
func Simulate(ctx context.Context, c *view.Cluster, o Options, q Question) (Simulation, error) {
	a, err := New(c, o)
	if err != nil {
		return Simulation{}, err
	}
	return a.Simulate(ctx, q)
}

// Simulate answers a question on all nodes. The error is only ctx's: what is wrong with the question is in the answer.
// After a *TimeoutError the remaining nodes may be left out.
func (a *Allocator) Simulate(ctx context.Context, q Question) (Simulation, error) {
	t, problems := a.attempt(q)
	if len(problems) > 0 {
		return Simulation{Problems: problems}, nil
	}
	nodes := a.nodes()
	s := Simulation{Nodes: make([]NodeAnswer, len(nodes))}
	round := Round{Nodes: nodes, InReach: len(nodes), Ask: func(ctx context.Context, i int) (bool, error) {
		var err error
		s.Nodes[i], err = t.on(ctx, nodes[i])
		return s.Nodes[i].Fits, err
	}}
	v, err := round.Run(ctx)
	if err != nil {
		return Simulation{}, err
	}
	if v.Failed != nil {
		s.Failed = v.Failed
	}
	s.Nodes = slices.DeleteFunc(s.Nodes, func(n NodeAnswer) bool { return n.Node == "" }) // not tried
	return s, nil
}

// Fill says where pods like this one would run if there were many of them, each with claims of its own where it has
// templates: the grants of the pods that fit, at most n, first come first served, on the first node that has room.
//
// What they get is taken, see Take. The question must have a pod or claims without an allocation.
func (a *Allocator) Fill(ctx context.Context, q Question, n int) ([]NodeAnswer, error) {
	var placed []NodeAnswer
	nodes := a.nodes()
	for at := 0; at < len(nodes) && len(placed) < n; {
		t, problems := a.attempt(q)
		if len(problems) > 0 {
			return placed, errors.Join(problems...)
		}
		answer, err := t.on(ctx, nodes[at])
		switch {
		case err != nil && !errors.As(err, new(*NodeError)):
			return placed, err
		case !answer.Fits:
			at++ // devices only become fewer: neither will the next one fit
			continue
		}
		if err := a.Commit(answer, q.Pod); err != nil {
			return placed, err
		}
		placed = append(placed, answer)
	}
	return placed, nil
}

// Commit counts as made what a node's answer has, and remembers it in Cluster. Like Take, it may not run beside others.
// pod is who uses the claims from now on, nil for nobody.
func (a *Allocator) Commit(answer NodeAnswer, pod *corev1.Pod) error {
	var made []resourceapi.AllocationResult
	for _, g := range answer.Claims {
		if g.Held {
			continue
		}
		made = append(made, *g.Allocation)
		allocated := g.Claim.DeepCopy()
		allocated.Status.Allocation = g.Allocation.DeepCopy()
		allocated.Status.Allocation.AllocationTimestamp = &metav1.Time{}
		if pod != nil {
			allocated.Status.ReservedFor = []resourceapi.ResourceClaimConsumerReference{
				{Resource: "pods", Name: pod.Name, UID: pod.UID},
			}
		}
		if i := slices.Index(a.cluster.Claims, g.Claim); i >= 0 && !g.Made {
			a.cluster.Claims[i] = allocated // other pods can use it, where it is now
			continue
		}
		// The next one that is made from the template is another one.
		allocated.Name += fmt.Sprintf("-%d", len(a.cluster.Claims)+1)
		a.cluster.Claims = append(a.cluster.Claims, allocated)
	}
	return a.Take(made...)
}

// Cluster returns the cluster with what Commit has made. It changes with the next Commit.
func (a *Allocator) Cluster() *view.Cluster {
	c := a.cluster
	return &c
}

func (a *Allocator) nodes() []*corev1.Node { return NodesOf(&a.cluster) }

// attempt is a question with its claims found.
type attempt struct {
	*Allocator
	pod    *corev1.Pod
	claims []PodClaim
	// extended says that the pod asks for extended resources, for which each node needs a claim of its own.
	extended bool
}

func (a *Allocator) attempt(q Question) (*attempt, []error) {
	t := &attempt{Allocator: a, pod: q.Pod}
	var problems []error
	if q.Pod != nil {
		t.claims, problems = podClaims(&a.cluster, q.Pod, a.features)
		t.extended = len(extendedResources(q.Pod)) > 0 && existingExtendedClaim(&a.cluster, q.Pod) == nil
	} else {
		for _, claim := range q.Claims {
			t.claims = append(t.claims, PodClaim{Claim: claim})
		}
	}
	for _, c := range t.claims {
		if c.Claim.Status.Allocation == nil {
			problems = append(problems, missingClasses(a.classes, c.Claim)...)
		}
	}
	return t, problems
}

func missingClasses(known classes, claim *resourceapi.ResourceClaim) []error {
	var problems []error
	check := func(request, class string) {
		if _, found := known[class]; !found {
			problems = append(problems, &MissingClassError{
				Namespace: claim.Namespace, Claim: claim.Name, Request: request, Class: class,
			})
		}
	}
	for _, r := range claim.Spec.Devices.Requests {
		if r.Exactly != nil {
			check(r.Name, r.Exactly.DeviceClassName)
		}
		for _, sub := range r.FirstAvailable {
			check(r.Name+"/"+sub.Name, sub.DeviceClassName)
		}
	}
	return problems
}

// on answers for one node. The error is an *AttemptError or a *NodeError, which the answer has too, or that of ctx.
func (t *attempt) on(ctx context.Context, node *corev1.Node) (NodeAnswer, error) {
	grants, err := t.grants(ctx, node)
	var no *NodeError
	switch {
	case ctx.Err() != nil && err != nil:
		return NodeAnswer{}, err
	case errors.As(err, &no):
		return NodeAnswer{Node: node.Name, Why: no.Why}, err
	case err != nil:
		return NodeAnswer{Node: node.Name, Why: strings.TrimPrefix(err.Error(), "node "+node.Name+": ")}, err
	}
	return NodeAnswer{Node: node.Name, Fits: grants != nil, Claims: grants}, nil
}

// grants returns what the claims would get on a node, nil if its devices do not do.
func (t *attempt) grants(ctx context.Context, node *corev1.Node) ([]Grant, error) {
	if err := t.fits(node); err != nil {
		return nil, err
	}
	claims, err := t.claimsOn(node)
	if err != nil {
		return nil, err
	}
	grants := make([]Grant, 0, len(claims))
	var missing []*resourceapi.ResourceClaim
	var outOfReach error
	for _, c := range claims {
		held := c.Claim.Status.Allocation
		grants = append(grants, Grant{PodClaim: c, Allocation: held, Held: held != nil})
		if held == nil {
			missing = append(missing, c.Claim)
		} else if err := availableOn(node, c.Claim); err != nil && outOfReach == nil {
			outOfReach = err
		}
	}
	// The scheduler allocates also where another claim of the pod is out of reach. An error there ends the attempt.
	made, err := t.OnNode(ctx, node, missing)
	switch {
	case errors.As(err, new(*AttemptError)):
		return nil, err
	case outOfReach != nil:
		return nil, outOfReach
	case err != nil || len(made) != len(missing):
		return nil, err
	}
	for i := range grants {
		if !grants[i].Held {
			grants[i].Allocation, made = &made[0], made[1:]
		}
	}
	return grants, nil
}

// fits says whether the pod may run on the node, see Fits and MayFit.
func (t *attempt) fits(node *corev1.Node) error {
	switch {
	case t.pod == nil:
		return nil
	case len(t.cluster.Nodes) == 0:
		return MayFit(node, t.pod)
	}
	return Fits(node, t.pod)
}

// claimsOn returns the pod's claims, with that of extended resources as the node needs it: not for what its device
// plugins have.
func (t *attempt) claimsOn(node *corev1.Node) ([]PodClaim, error) {
	if !t.extended {
		return t.claims, nil
	}
	known := &t.cluster
	if !t.features.ExtendedResources {
		known = &view.Cluster{} // no class stands for anything
	}
	extended, err := ExtendedClaim(known, t.pod, node)
	if err != nil {
		return nil, err
	}
	claims := slices.DeleteFunc(slices.Clone(t.claims), PodClaim.ofLimits)
	if extended != nil {
		claims = append(claims, PodClaim{Claim: extended, Made: true})
	}
	return claims, nil
}

// availableOn says whether a claim's devices can be used on the node: nil if so, a *NodeError if not.
func availableOn(node *corev1.Node, claim *resourceapi.ResourceClaim) error {
	if claim.Status.Allocation.NodeSelector == nil {
		return nil
	}
	selector, err := nodeaffinity.NewNodeSelector(claim.Status.Allocation.NodeSelector)
	if err != nil {
		return &NodeError{Node: node.Name, Why: fmt.Sprintf(
			"read where the devices of claim %s/%s are: %v", claim.Namespace, claim.Name, err)}
	}
	if !selector.Match(node) {
		return &NodeError{Node: node.Name, Why: fmt.Sprintf(
			"claim %s/%s has devices already, which cannot be used here", claim.Namespace, claim.Name)}
	}
	return nil
}
