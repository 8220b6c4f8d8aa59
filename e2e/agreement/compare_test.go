package agreement

import (
	"context"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"example.com/dragoman/pkg/view"
	"example.com/dragoman/pkg/view/allocate"
	"example.com/dragoman/pkg/view/why"
)

// answers are what both say to a pod.
type answers struct {
	*question
	pod *corev1.Pod
	// cluster is what kubectl-dra has seen, before the pod was made.
	cluster *view.Cluster
	ours    allocate.Simulation
	reasons why.Answer
	theirs  verdict
}

// answer asks kubectl-dra.
func answer(ctx context.Context, cluster *view.Cluster, pod *corev1.Pod) (allocate.Simulation, error) {
	return allocate.Simulate(ctx, cluster, allocate.Options{}, allocate.Question{Pod: pod})
}

// compare says in what the answers differ, or what is wrong with them.
func (a *answers) compare(old bool) error {
	if a.ours.Possible() != a.theirs.fits {
		return fmt.Errorf("kubectl-dra says %s\nkube-scheduler says %v", said(&a.ours, a.question), a.theirs)
	}
	if err := a.explained(); err != nil {
		return err
	}
	if !a.theirs.fits {
		return nil
	}
	own := part(a.cluster, a.name)
	var errs []error
	for _, n := range a.ours.Nodes {
		if !n.Fits {
			if n.Node == a.theirs.node {
				errs = append(errs, fmt.Errorf("kubectl-dra says that node %s does not do: %s", n.Node, n.Why))
			}
			continue
		}
		claims, allocations := granted(n.Claims)
		if err := (&checker{own, nodeOf(own, n.Node), old}).valid(claims, allocations); err != nil {
			errs = append(errs, fmt.Errorf("kubectl-dra hands out on node %s what is not to be had: %w", n.Node, err))
		}
	}
	claims, allocations := a.received()
	if err := (&checker{own, nodeOf(own, a.theirs.node), old}).valid(claims, allocations); err != nil {
		errs = append(errs, fmt.Errorf("kube-scheduler hands out on node %s what is not to be had: %w", a.theirs.node, err))
	}
	return errors.Join(errs...)
}

// said is our answer in words, with what it says of the question's nodes.
func said(s *allocate.Simulation, q *question) string {
	if first := s.First(); first != nil {
		return "it fits on " + first.Node
	}
	text := "it does not fit"
	for _, problem := range s.Problems {
		text += fmt.Sprintf("; %v", problem)
	}
	if s.Failed != nil {
		text += fmt.Sprintf("; %v", s.Failed)
	}
	for _, n := range s.Nodes {
		if nodeOf(&view.Cluster{Nodes: q.nodes}, n.Node).Name != "" {
			text += fmt.Sprintf("; %s: %s", n.Node, n.Why)
		}
	}
	return text
}

// granted are the claims that get something now, with what they get.
func granted(grants []allocate.Grant) (claims []*resourceapi.ResourceClaim, got []resourceapi.AllocationResult) {
	for _, g := range grants {
		if !g.Held {
			claims, got = append(claims, g.Claim), append(got, *g.Allocation)
		}
	}
	return claims, got
}

// received is what the scheduler handed out: that of claims which had nothing before.
func (a *answers) received() (claims []*resourceapi.ResourceClaim, got []resourceapi.AllocationResult) {
	for _, claim := range a.theirs.claims {
		held := slices.ContainsFunc(a.cluster.Claims, func(before *resourceapi.ResourceClaim) bool {
			return before.UID == claim.UID && before.Status.Allocation != nil
		})
		if held {
			continue
		}
		allocation := resourceapi.AllocationResult{}
		if claim.Status.Allocation != nil {
			allocation = *claim.Status.Allocation
		}
		claims, got = append(claims, claim), append(got, allocation)
	}
	return claims, got
}

// same says whether both chose the same devices on the scheduler's node.
func (a *answers) same() bool {
	at := slices.IndexFunc(a.ours.Nodes, func(n allocate.NodeAnswer) bool { return n.Node == a.theirs.node })
	if at < 0 || !a.ours.Nodes[at].Fits {
		return false
	}
	_, ours := granted(a.ours.Nodes[at].Claims)
	_, theirs := a.received()
	return slices.EqualFunc(ours, theirs, func(a, b resourceapi.AllocationResult) bool {
		return slices.EqualFunc(a.Devices.Results, b.Devices.Results,
			func(a, b resourceapi.DeviceRequestAllocationResult) bool { return deviceOf(&a) == deviceOf(&b) })
	})
}

// part returns what of a cluster belongs to a question.
func part(c *view.Cluster, name string) *view.Cluster {
	return &view.Cluster{
		Version: c.Version, Nodes: labelled(c.Nodes, name), Slices: labelled(c.Slices, name),
		Classes: labelled(c.Classes, name), Claims: labelled(c.Claims, name), Templates: labelled(c.Templates, name),
		TaintRules: labelled(c.TaintRules, name),
	}
}

func labelled[T metav1.Object](all []T, name string) (own []T) {
	for _, o := range all {
		if o.GetLabels()[questionLabel] == name {
			own = append(own, o)
		}
	}
	return own
}

func nodeOf(c *view.Cluster, name string) *corev1.Node {
	at := slices.IndexFunc(c.Nodes, func(n *corev1.Node) bool { return n.Name == name })
	if at < 0 {
		return &corev1.Node{}
	}
	return c.Nodes[at]
}
