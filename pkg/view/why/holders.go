package why

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/types"

	"example.com/dragoman/pkg/view"
)

// waits takes away what claims hold: each alone, and then all on the node that takes the fewest.
func (f *search) waits() []change {
	holders, all := f.holders()
	var changes []change
	for _, h := range holders {
		others := ""
		if all > 1 {
			others = fmt.Sprintf(", one of %s users of such devices", view.Number(all))
		}
		changes = append(changes, f.wait("wait until "+h.who+" "+h.verb()+others, h.nodes, h.claims...))
	}
	for _, group := range f.holdersByNode(holders) {
		var names []string
		var nodes []string
		var claims []*resourceapi.ResourceClaim
		for _, h := range group {
			names, claims, nodes = append(names, h.who), append(claims, h.claims...), append(nodes, h.nodes...)
			if len(names) > 1 {
				text := "wait until " + listed(names, 4) + " end"
				changes = append(changes, f.wait(text, slices.Clone(nodes), claims...))
			}
		}
	}
	return changes
}

// wait takes away what claims hold of devices on the nodes; no name is that of devices for several nodes.
func (f *search) wait(text string, nodes []string, claims ...*resourceapi.ResourceClaim) change {
	var where func(*corev1.Node) bool
	if !slices.Contains(nodes, "") {
		where = func(n *corev1.Node) bool { return slices.Contains(nodes, n.Name) }
	}
	return change{kind: WaitFor, text: text, where: where, apply: func(s situation) situation {
		s.cluster = withoutAllocation(s.cluster, claims...)
		return s
	}}
}

// holder has what a request wants: the pods that use a claim, or the claim if there is none.
type holder struct {
	who string
	// several says that who are several pods.
	several bool
	claims  []*resourceapi.ResourceClaim
	nodes   []string
	// left is how many devices are left where most are, on one of its nodes; devices how many it has at all.
	left, devices int
}

func (h *holder) verb() string {
	if h.several {
		return "end"
	}
	return "ends"
}

// mostHolders is how many of them are tried.
const mostHolders = 64

// holders returns those whose end is most likely to help, and how many there are. Who has several claims gives them all
// back.
func (f *search) holders() ([]holder, int) {
	left := f.left()
	byWho := make(map[string]*holder)
	for name, nodes := range f.holdingClaims() {
		claim := f.claim(name.Namespace, name.Name)
		if claim == nil {
			continue
		}
		pods := consumersOf(claim)
		if len(pods) == 0 {
			pods = []string{"claim " + key(claim)}
		}
		who := strings.Join(pods, ",")
		h := byWho[who]
		if h == nil {
			h = &holder{who: listed(pods, 2), several: len(pods) > 1}
			byWho[who] = h
		}
		h.claims, h.nodes = append(h.claims, claim), append(h.nodes, sortedKeys(nodes)...)
		h.devices += len(claim.Status.Allocation.Devices.Results)
		for n := range nodes {
			h.left = max(h.left, left[n])
		}
	}
	holders := make([]holder, 0, len(byWho))
	for _, h := range byWho {
		slices.Sort(h.nodes)
		h.nodes = slices.Compact(h.nodes)
		slices.SortFunc(h.claims, func(a, b *resourceapi.ResourceClaim) int { return strings.Compare(key(a), key(b)) })
		holders = append(holders, *h)
	}
	slices.SortFunc(holders, func(a, b holder) int {
		return cmp.Or(cmp.Compare(b.left, a.left), cmp.Compare(a.devices, b.devices),
			strings.Compare(key(a.claims[0]), key(b.claims[0])))
	})
	return holders[:min(len(holders), mostHolders)], len(holders)
}

// holdingClaims are those that keep devices from requests that are worth a change, with the nodes of these devices.
func (f *search) holdingClaims() map[types.NamespacedName]map[string]bool {
	claims := make(map[types.NamespacedName]map[string]bool)
	for _, j := range f.judges {
		if !f.worth(j) {
			continue
		}
		for d, fate := range j.fates {
			for _, u := range f.holding(d, fate) {
				if claims[u.Claim] == nil {
					claims[u.Claim] = make(map[string]bool)
				}
				claims[u.Claim][d.place.Node] = true
			}
		}
	}
	return claims
}

// left is how many devices of each node are left to some request.
func (f *search) left() map[string]int {
	left := make(map[string]int)
	for _, j := range f.judges {
		for d, fate := range j.fates {
			if fate.stage == "" {
				left[d.place.Node]++
			}
		}
	}
	return left
}

// holding are the uses that keep a device from a request.
func (f *search) holding(d *device, fate fate) []view.Use {
	devices := []*device{d}
	switch fate.stage {
	case StageInUse, StageCapacity:
	case StageCounters, "": // of what is left, one may leave too little for another
		for _, consumption := range d.spec.ConsumesCounters {
			devices = append(devices, f.consumers(d.pool, consumption.CounterSet)...)
		}
	default:
		return nil
	}
	var uses []view.Use
	for _, d := range devices {
		for _, u := range d.uses {
			if !u.AdminAccess {
				uses = append(uses, u)
			}
		}
	}
	return uses
}

// holdersByNode are those of each node together, the nodes with the fewest first; a few nodes.
func (f *search) holdersByNode(holders []holder) [][]holder {
	byNode := make(map[string][]holder)
	for _, h := range holders {
		for _, n := range h.nodes {
			byNode[n] = append(byNode[n], h)
		}
	}
	groups := make([][]holder, 0, len(byNode))
	for _, n := range sortedKeys(byNode) {
		groups = append(groups, byNode[n])
	}
	slices.SortStableFunc(groups, func(a, b []holder) int {
		return cmp.Or(cmp.Compare(b[0].left, a[0].left), cmp.Compare(len(a), len(b)))
	})
	return groups[:min(len(groups), mostDetails)]
}
