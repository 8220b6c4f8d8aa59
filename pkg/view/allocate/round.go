package allocate

import (
	"context"
	"errors"
	"runtime"
	"sync"

	corev1 "k8s.io/api/core/v1"
)

// Round is one time of asking nodes about the same thing. Nodes are asked side by side, as the scheduler does.
type Round struct {
	Nodes []*corev1.Node
	// InReach is how many of the nodes, from the first, the pod may run on. The scheduler asks the others as well where
	// it is only devices of the pod that are out of reach there, so an error there counts.
	InReach int
	// OneIsEnough ends the round when the first node that can is known.
	OneIsEnough bool
	// Ask asks the node of the index. An error that is neither an *AttemptError nor a *NodeError is a node not asked.
	Ask func(ctx context.Context, index int) (bool, error)
}

// Verdict is what the scheduler makes of the answers of nodes.
type Verdict struct {
	// Yes are the nodes that can, in their order; the first of them if one is enough.
	Yes []*corev1.Node
	// Failed is why the scheduler gives up on the pod, whatever other nodes say: the first *AttemptError in the order of
	// nodes, one that is no *TimeoutError if there is one.
	Failed *AttemptError
	// LeftOut is the first node that the scheduler leaves out because the search takes too long there, with a
	// *TimeoutError: Kubernetes 1.34 and 1.35 do that.
	LeftOut *NodeError
	// NotAsked is how many of the nodes in reach were not asked, because several were left out before: without a yes,
	// nobody knows then.
	NotAsked int
}

// Can says that the scheduler would find a node.
func (v Verdict) Can() bool { return v.Failed == nil && len(v.Yes) > 0 }

// mostLeftOut is after how many nodes on which the search takes too long no more are asked.
const mostLeftOut = 3

// Run asks. The error is only ctx's.
func (r Round) Run(ctx context.Context) (Verdict, error) {
	asking, stop := context.WithCancel(ctx)
	defer stop()
	a := &asked{Round: r, stop: stop, firstYes: len(r.Nodes), answers: make([]answer, len(r.Nodes))}
	var workers sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(r.Nodes)) {
		workers.Go(func() { a.work(asking) })
	}
	workers.Wait()
	if ctx.Err() != nil {
		return Verdict{}, context.Cause(ctx)
	}
	return a.verdict(), nil
}

// asked is a round while it runs.
type asked struct {
	Round
	stop context.CancelFunc

	mu       sync.Mutex
	next     int
	firstYes int
	leftOut  int
	answers  []answer
}

type answer struct {
	asked, yes bool
	err        error
}

func (a *asked) work(ctx context.Context) {
	for {
		a.mu.Lock()
		i := a.next
		a.next++
		done := i >= len(a.Nodes) || a.OneIsEnough && i > a.firstYes || ctx.Err() != nil
		a.mu.Unlock()
		if done {
			return
		}
		yes, err := a.Ask(ctx, i)
		a.mu.Lock()
		a.answers[i] = answer{asked: true, yes: yes, err: err}
		if yes && i < a.InReach {
			a.firstYes = min(a.firstYes, i)
		}
		if errors.As(err, new(*TimeoutError)) {
			a.leftOut++
			if a.leftOut == mostLeftOut || errors.As(err, new(*AttemptError)) {
				a.stop() // others would take as long
			}
		}
		a.mu.Unlock()
	}
}

func (a *asked) verdict() Verdict {
	var v Verdict
	var tooLong *AttemptError
	for i, one := range a.answers {
		failed, isFailed := errors.AsType[*AttemptError](one.err)
		node, isNode := errors.AsType[*NodeError](one.err)
		timeout := errors.As(one.err, new(*TimeoutError))
		switch {
		case !one.asked || one.err != nil && !isFailed && !isNode:
			if i < a.InReach && !a.OneIsEnough {
				v.NotAsked++
			}
		case isFailed && timeout:
			if tooLong == nil {
				tooLong = failed
			}
		case isFailed:
			if v.Failed == nil {
				v.Failed = failed
			}
		case isNode && timeout:
			if v.LeftOut == nil {
				v.LeftOut = node
			}
		case one.err == nil && one.yes && i < a.InReach && (!a.OneIsEnough || i == a.firstYes):
			v.Yes = append(v.Yes, a.Nodes[i])
		}
	}
	if v.Failed == nil {
		v.Failed = tooLong
	}
	return v
}
