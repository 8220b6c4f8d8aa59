package why

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	resourceapi "k8s.io/api/resource/v1"

	"example.com/dragoman/pkg/view/allocate"
)

// gaveUp is for errors for which the scheduler gives up on the pod, whatever the other nodes have.
func (e *examination) gaveUp(failed *allocate.AttemptError, judges []*judge) {
	text := failed.Err.Error()
	switch {
	case errors.As(failed, new(*allocate.TimeoutError)):
		e.tooLong(failed.Node, failed, "the scheduler then gives up on the pod, whatever other nodes have")
	case strings.Contains(text, "CEL runtime error") || strings.Contains(text, "CEL compile error"):
		r := e.stop(SelectorError, "", "a selector cannot be evaluated, and the scheduler then gives up on the pod, %s",
			"whatever other devices there are")
		r.Quotes = []Quote{{From: "allocator", Text: text}}
		for _, j := range judges {
			for _, x := range j.expressions {
				if len(x.errors) > 0 && x.broken == nil {
					r.Quotes = nil // the story of the selector has it
				}
			}
		}
	case strings.Contains(text, "invalid") && strings.Contains(text, "resource pool"):
		e.stop(PoolInvalid, "Node "+failed.Node, "%s, and the scheduler then gives up on the pod", text)
		e.advise("look at the driver's pod on node %s: it publishes the pool", failed.Node)
	case strings.Contains(text, "resource pool"):
		e.stop(PoolIncomplete, "Node "+failed.Node, "%s", text)
		e.advise("if this lasts, look at the driver's pod on node %s: it has not published all slices of the pool",
			failed.Node)
	case strings.Contains(text, "exceeds the claim limit"):
		e.tooMany(text, judges)
	case strings.Contains(text, "feature is disabled"):
		e.stop(FeatureOff, "", "%s", text)
	case strings.Contains(text, "constraint would not be satisfied"):
		e.stop(Constraint, "Node "+failed.Node, "%s", text)
	default:
		e.stop(AllocatorError, "Node "+failed.Node, "%s", text)
	}
}

// tooLong is for a search that takes longer than the scheduler allows.
func (e *examination) tooLong(node string, err error, then string) {
	var after time.Duration
	if timeout, is := errors.AsType[*allocate.TimeoutError](err); is {
		after = timeout.After
	}
	e.stop(TakesTooLong, "Node "+node, "there are so many ways to choose devices on node %s that trying them takes more "+
		"than %s: %s", node, after, then)
}

// adviseElse proposes what cannot be tried; most of it only if no change was found that helps.
func (e *examination) adviseElse(judges []*judge) {
	if slices.ContainsFunc(e.answer.Reasons, func(r Reason) bool { return r.ID == TooManyDevices }) {
		e.advise("ask for at most %d devices in all in a claim; a pod can have several", resourceapi.AllocationResultsMaxSize)
	}
	if len(e.answer.Next) > 0 {
		return
	}
	if slices.ContainsFunc(e.answer.Reasons, func(r Reason) bool {
		return r.ID == TakesTooLong || r.ID == CannotTell && strings.HasPrefix(r.Object, "Node ")
	}) {
		e.advise("ask for fewer devices at once, or with fewer constraints: there are fewer ways to choose them then")
	}
	pools := make(map[string]bool)
	for _, j := range judges {
		for d, f := range j.fates {
			if f.stage == StagePool {
				pools[fmt.Sprintf("pool %s of driver %s (%s)", d.pool.Name, d.pool.Driver, d.pool.Problem)] = true
			}
		}
	}
	for _, pool := range sortedKeys(pools)[:min(len(pools), 1)] {
		e.advise("see why the driver's pod publishes %s", pool)
	}
}

// tooMany says which claim asks for more devices than a claim can have. said is what the allocator says.
func (e *examination) tooMany(said string, judges []*judge) {
	claim := ""
	asked := int64(0)
	all := false
	for i := 0; i < len(judges); {
		last := lastChoice(judges, i)
		n := judges[i].need
		if strings.HasPrefix(said, "claim "+key(n.claim)+",") {
			claim = key(n.claim)
			least := n.count
			for _, j := range judges[i:last] {
				least, all = min(least, j.need.count), all || j.need.all
			}
			asked += least
		}
		i = last
	}
	const most = resourceapi.AllocationResultsMaxSize
	if claim == "" {
		e.stop(TooManyDevices, "", "%s", said)
	} else {
		devices := fmt.Sprintf("%d devices", asked)
		if all {
			devices = "all devices of a class, which are more than that"
		}
		e.stop(TooManyDevices, "ResourceClaim "+claim, "a claim can have at most %d devices, and claim %s asks for %s", most,
			claim, devices)
	}
}
