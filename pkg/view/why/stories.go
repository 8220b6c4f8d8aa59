package why

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// At most so many details of a loss, and so many groups of nodes with the same story, are kept.
const (
	mostDetails = 3
	mostGroups  = 6
)

// tally counts what became of devices.
type tally struct {
	devices, left int
	// wanted are the devices that were lost though they could meet the need.
	wanted  int
	lost    map[lossKey]int
	details map[lossKey]map[string]int
}

// lossKey tells losses apart: of selectors, which one.
type lossKey struct {
	stage      Stage
	expression int
}

func newTally() *tally {
	return &tally{lost: make(map[lossKey]int), details: make(map[lossKey]map[string]int)}
}

func (t *tally) add(f fate) {
	t.devices++
	if f.stage == "" {
		t.left++
		return
	}
	if !f.never {
		t.wanted++
	}
	key := lossKey{stage: f.stage, expression: f.expression}
	t.lost[key]++
	for _, d := range f.details {
		t.detail(key, d, 1)
	}
}

func (t *tally) detail(key lossKey, text string, times int) {
	if t.details[key] == nil {
		t.details[key] = make(map[string]int)
	}
	t.details[key][text] += times
}

func (t *tally) merge(other *tally) {
	t.devices += other.devices
	t.left += other.left
	t.wanted += other.wanted
	for key, n := range other.lost {
		t.lost[key] += n
	}
	for key, details := range other.details {
		for text, n := range details {
			t.detail(key, text, n)
		}
	}
}

// same is a key that is the same for tallies with the same numbers, and, where there is room for it, the same details.
func (t *tally) same(withDetails bool) string {
	var b strings.Builder
	fmt.Fprint(&b, t.devices, t.left)
	for _, key := range t.keys() {
		fmt.Fprint(&b, " ", key.stage, key.expression, "=", t.lost[key])
		if withDetails {
			fmt.Fprint(&b, sortedKeys(t.details[key]))
		}
	}
	return b.String()
}

func (t *tally) keys() []lossKey {
	keys := make([]lossKey, 0, len(t.lost))
	for key := range t.lost {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b lossKey) int {
		return cmp.Or(cmp.Compare(order(a.stage), order(b.stage)), cmp.Compare(a.expression, b.expression))
	})
	return keys
}

func order(s Stage) int {
	return slices.Index([]Stage{
		StagePool, StageClass, StageSelector, StageError, StageInUse, StageCapacity, StageCounters, StageTaint,
	}, s)
}

// losses adds the selectors of a kind up: which of them is told apart with their expressions.
func (t *tally) losses() []Loss {
	var losses []Loss
	for _, key := range t.keys() {
		if n := len(losses); n > 0 && losses[n-1].Stage == key.stage {
			losses[n-1].Devices += t.lost[key]
			continue
		}
		l := Loss{Stage: key.stage, Devices: t.lost[key]}
		details := t.details[key]
		all := sortedKeys(details)
		slices.SortStableFunc(all, func(a, b string) int { return cmp.Compare(details[b], details[a]) })
		l.Details = all[:min(len(all), mostDetails)]
		l.More = len(all) - len(l.Details)
		losses = append(losses, l)
	}
	return losses
}

// group are nodes with the same numbers.
type group struct {
	nodes []string
	tally *tally
	// same: the numbers are those of each node. of: there are devices of the class.
	enough, same, of bool
}

// request tells the story of one need on the nodes.
func (j *judge) request(ctx context.Context, nodes []*corev1.Node, devices map[string][]*device) Request {
	n := j.need
	r := Request{
		Claim: n.claim.Namespace + "/" + n.claim.Name, Name: n.name, Class: n.class, Wants: n.wants(), Needed: n.needed(),
		AdminAccess: n.admin,
	}
	total := newTally()
	counted := make(map[*device]bool)
	groups := make(map[string]*group)
	for _, node := range nodes {
		here := newTally()
		for _, d := range devices[node.Name] {
			here.add(j.fates[d])
			if !counted[d] {
				counted[d] = true
				total.add(j.fates[d])
			}
		}
		g := j.group(here)
		j.enough[node.Name] = g.enough
		key := here.same(len(nodes) <= mostGroups)
		if !g.of {
			key = "none"
		}
		if known := groups[key]; known != nil {
			known.nodes = append(known.nodes, node.Name)
			known.tally.merge(here)
			continue
		}
		g.nodes = []string{node.Name}
		groups[key] = g
	}
	r.Devices, r.Left, r.Lost = total.devices, total.left, total.losses()
	for _, e := range j.expressions {
		r.Selectors = append(r.Selectors, e.story(ctx))
	}
	for _, g := range few(groups) {
		r.Nodes = append(r.Nodes, NodeStory{
			Nodes: g.nodes, Devices: g.tally.devices, Lost: g.tally.losses(), Left: g.tally.left, Same: g.same, Enough: g.enough,
		})
		r.Enough = r.Enough || g.enough
	}
	return r
}

// group judges what a node has left. For all devices that match, none of them may be lost.
func (j *judge) group(t *tally) *group {
	g := &group{tally: t, same: true, enough: int64(t.left) >= j.need.count && (t.wanted == 0 || !j.need.all)}
	ofClass := t.devices
	for key, n := range t.lost {
		if key.stage == StageClass {
			ofClass -= n
		}
	}
	g.of = ofClass > 0
	return g
}

// few returns the groups that say most first, and the rest of them as one.
func few(groups map[string]*group) []*group {
	all := make([]*group, 0, len(groups))
	for _, key := range sortedKeys(groups) {
		all = append(all, groups[key])
	}
	slices.SortStableFunc(all, func(a, b *group) int {
		return cmp.Or(boolFirst(a.of, b.of), boolFirst(a.enough, b.enough),
			cmp.Compare(b.tally.left*len(a.nodes), a.tally.left*len(b.nodes)), strings.Compare(a.nodes[0], b.nodes[0]))
	})
	if len(all) <= mostGroups {
		return all
	}
	rest := &group{tally: newTally()}
	for _, g := range all[mostGroups-1:] {
		rest.nodes = append(rest.nodes, g.nodes...)
		rest.tally.merge(g.tally)
	}
	slices.Sort(rest.nodes)
	return append(all[:mostGroups-1], rest)
}

func boolFirst(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}
