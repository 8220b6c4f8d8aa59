package history

import (
	"math/rand/v2"
	"slices"
)

// Choice is an operation that a plan may have, and how often in comparison with the others.
type Choice struct {
	Kind   Kind
	Weight int
	Fault  Fault // of Begin
	Killed bool  // of Prepare, Unprepare and AtOnce
}

// Everything is a choice of all operations, calls first.
func Everything() []Choice {
	return []Choice{
		{Kind: Prepare, Weight: 30}, {Kind: Unprepare, Weight: 20}, {Kind: AtOnce, Weight: 10},
		{Kind: Prepare, Weight: 5, Killed: true}, {Kind: Unprepare, Weight: 5, Killed: true},
		{Kind: AtOnce, Weight: 3, Killed: true},
		{Kind: Restart, Weight: 2}, {Kind: Kill, Weight: 3}, {Kind: Update, Weight: 2}, {Kind: Reboot, Weight: 1},
		{Kind: Wipe, Weight: 3}, {Kind: Delete, Weight: 1},
		{Kind: Begin, Fault: NoAPIServer, Weight: 2}, {Kind: Begin, Fault: FullDisk, Weight: 2},
		{Kind: Begin, Fault: ReadOnly, Weight: 1},
	}
}

// Generate makes a plan of so many steps; the same seed, claims and choices give the same plan.
func Generate(seed uint64, steps int, claims []Claim, choices []Choice) []Operation {
	g := &generator{random: rand.New(rand.NewPCG(seed, 0)), claims: len(claims), deleted: map[int]bool{}}
	var total int
	for _, c := range choices {
		total += c.Weight
	}
	var plan []Operation
	for len(plan) < steps && total > 0 {
		at := g.random.IntN(total)
		i := slices.IndexFunc(choices, func(c Choice) bool {
			at -= c.Weight
			return at < 0
		})
		plan = append(plan, g.operations(choices[i])...)
	}
	return tidy(plan)
}

type generator struct {
	random  *rand.Rand
	claims  int
	deleted map[int]bool
}

func (g *generator) operations(c Choice) []Operation {
	o := Operation{Kind: c.Kind, Killed: c.Killed, Fault: c.Fault}
	switch c.Kind {
	case Prepare, Unprepare:
		o.Claim = g.random.IntN(g.claims)
	case AtOnce:
		one := g.random.IntN(g.claims)
		for range 2 + g.random.IntN(2) {
			call := Operation{Kind: Prepare, Claim: one}
			if g.random.IntN(3) == 0 {
				call.Kind = Unprepare
			}
			if g.random.IntN(3) == 0 {
				call.Claim = g.random.IntN(g.claims)
			}
			o.Calls = append(o.Calls, call)
		}
	case Delete:
		if o.Claim = g.random.IntN(g.claims); g.deleted[o.Claim] || 4*len(g.deleted) >= g.claims {
			return nil // without claims there is nothing to do
		}
		g.deleted[o.Claim] = true
	case Begin:
		operations := []Operation{o}
		for range 1 + g.random.IntN(4) {
			call := Choice{Kind: Prepare}
			if g.random.IntN(2) == 0 {
				call.Kind = Unprepare
			}
			operations = append(operations, g.operations(call)...)
		}
		return append(operations, Operation{Kind: End, Fault: c.Fault})
	default: // nothing more to choose
	}
	return []Operation{o}
}
