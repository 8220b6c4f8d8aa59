package history

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// World is what a plan is carried out in. An error of any method means that the test cannot go on, not that the driver
// did something wrong.
type World interface {
	// Do carries out one operation that is not AtOnce. Calls may come side by side.
	Do(ctx context.Context, o Operation) (Answer, error)
	// Together carries out the calls of an AtOnce that is Killed: all side by side, and the driver dies meanwhile and is
	// started again. The answers are in the order of the calls.
	Together(ctx context.Context, o Operation) ([]Answer, error)
	// Look looks at what is there, and whether these CDI device IDs resolve.
	Look(ctx context.Context, ids []string) (View, error)
}

// Event is an operation with what came of it: one answer, or one for each call of an AtOnce.
type Event struct {
	Operation
	Answers []Answer
}

// History is what happened, up to the violation if there is one.
type History struct {
	Claims    []Claim
	Events    []Event
	Violation *Violation
}

// Play carries out a plan. At the end it ends all faults, unprepares all claims and looks whether anything is left; it
// stops at the first violation.
func Play(ctx context.Context, world World, claims []Claim, plan []Operation) (History, error) {
	p := &player{world: world, history: History{Claims: claims}, models: []model{newModel(claims)}}
	for _, o := range append(slices.Clone(plan), toTheEnd(claims, plan)...) {
		if err := p.do(ctx, o); err != nil || p.history.Violation != nil {
			return p.history, err
		}
	}
	return p.history, nil
}

// toTheEnd ends what lasts and gives back what may be prepared.
func toTheEnd(claims []Claim, plan []Operation) []Operation {
	var end []Operation
	lasting := map[Fault]bool{}
	for _, o := range plan {
		if o.Kind == Begin || o.Kind == End {
			lasting[o.Fault] = o.Kind == Begin
		}
	}
	for _, fault := range []Fault{NoAPIServer, FullDisk, ReadOnly} {
		if lasting[fault] {
			end = append(end, Operation{Kind: End, Fault: fault})
		}
	}
	for claim := range claims {
		used := func(o Operation) bool {
			call := func(c Operation) bool { return c.Claim == claim && c.Kind == Prepare }
			return call(o) || slices.ContainsFunc(o.Calls, call)
		}
		if slices.ContainsFunc(plan, used) {
			end = append(end, Operation{Kind: Unprepare, Claim: claim})
		}
	}
	return end
}

// player keeps all models that the answers so far allow: calls at once may have taken effect in any order.
type player struct {
	world   World
	history History
	models  []model
}

func (p *player) do(ctx context.Context, o Operation) error {
	answers, err := p.carryOut(ctx, o)
	if err != nil {
		return fmt.Errorf("%s: %w", o.describe(p.history.Claims), err)
	}
	p.history.Events = append(p.history.Events, Event{o, answers})
	if p.models, p.history.Violation = follow(p.models, o, answers); p.history.Violation != nil {
		return nil
	}
	var ids []string
	for _, m := range p.models {
		ids = append(ids, m.ids()...)
	}
	slices.Sort(ids)
	view, err := p.world.Look(ctx, slices.Compact(ids))
	if err != nil {
		return fmt.Errorf("look at what is there after %q: %w", o.describe(p.history.Claims), err)
	}
	p.models, p.history.Violation = explain(p.models, view)
	return nil
}

func (p *player) carryOut(ctx context.Context, o Operation) ([]Answer, error) {
	switch {
	case o.Kind == AtOnce && o.Killed:
		return p.world.Together(ctx, o)
	case o.Kind != AtOnce:
		answer, err := p.world.Do(ctx, o)
		return []Answer{answer}, err
	}
	answers, errs := make([]Answer, len(o.Calls)), make([]error, len(o.Calls))
	var calls sync.WaitGroup
	for i, call := range o.Calls {
		calls.Go(func() { answers[i], errs[i] = p.world.Do(ctx, call) })
	}
	calls.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return answers, nil
}

// follow returns the models that are possible after the operation, or why none is.
func follow(models []model, o Operation, answers []Answer) ([]model, *Violation) {
	var next []model
	var first *Violation
	keep := func(m model, v *Violation) {
		if v == nil {
			next = append(next, m)
		} else if first == nil {
			first = v
		}
	}
	for _, m := range models {
		if o.Kind != AtOnce {
			keep(m.after(o, answers[0]))
			continue
		}
		for _, order := range orders(len(o.Calls)) {
			keep(inOrder(m, o, answers, order))
		}
	}
	if len(next) == 0 {
		if o.Kind == AtOnce {
			first = violated(first.Invariant, "no order of the calls explains their answers: %s", first.Message)
		}
		return nil, first
	}
	return distinct(next), nil
}

func inOrder(m model, o Operation, answers []Answer, order []int) (model, *Violation) {
	var v *Violation
	for _, i := range order {
		call := o.Calls[i]
		call.Killed = o.Killed
		if m, v = m.after(call, answers[i]); v != nil {
			return m, v
		}
	}
	return m, nil
}

// explain returns the models that what is seen does not contradict, or why all are contradicted.
func explain(models []model, v View) ([]model, *Violation) {
	var left []model
	var last *Violation
	for _, m := range models {
		if contradiction := m.contradicts(v); contradiction != nil {
			last = contradiction
		} else {
			left = append(left, m)
		}
	}
	if len(left) == 0 {
		return nil, last
	}
	return left, nil
}

func distinct(models []model) []model {
	seen := map[string]bool{}
	return slices.DeleteFunc(models, func(m model) bool {
		key := fmt.Sprint(m.standing, m.faults)
		known := seen[key]
		seen[key] = true
		return known
	})
}

// orders returns all orders of n things.
func orders(n int) [][]int {
	if n == 0 {
		return [][]int{nil}
	}
	var all [][]int
	for _, order := range orders(n - 1) {
		for at := range n {
			all = append(all, slices.Insert(slices.Clone(order), at, n-1))
		}
	}
	return all
}

// String tells the history as a numbered list, and at its end what is wrong.
func (h History) String() string {
	var text strings.Builder
	for _, claim := range h.Claims {
		how := "alone"
		if claim.Shares {
			how = "shared, or with admin access"
		}
		fmt.Fprintf(&text, "%s has %s, %s\n", claim.Name, list(claim.Devices), how)
	}
	for i, event := range h.Events {
		fmt.Fprintf(&text, "%3d. %s%s\n", i+1, event.describe(h.Claims), event.outcome())
	}
	if h.Violation != nil {
		fmt.Fprintf(&text, "  => %v\n", h.Violation)
	}
	return text.String()
}

func (e Event) outcome() string {
	var outcomes []string
	for i, a := range e.Answers {
		is := e.Operation
		if e.Kind == AtOnce {
			is = e.Calls[i]
		}
		switch {
		case a.Dead != "":
			outcomes = append(outcomes, "it does not come back: "+firstLine(a.Dead))
		case a.Err != "":
			outcomes = append(outcomes, "error: "+firstLine(a.Err))
		case is.Kind == Prepare:
			outcomes = append(outcomes, list(a.IDs))
		case is.Kind == Unprepare:
			outcomes = append(outcomes, "ok")
		}
	}
	if len(outcomes) == 0 {
		return ""
	}
	return " -> " + strings.Join(outcomes, "; ")
}

func firstLine(text string) string {
	const most = 300
	text, _, _ = strings.Cut(text, "\n")
	if len(text) > most {
		text = text[:most] + "…"
	}
	return text
}
