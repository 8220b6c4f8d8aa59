package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"example.com/dragoman/pkg/view"
	"example.com/dragoman/pkg/view/why"
)

// print prints the answer and returns its verdict.
func (c *simulateCommand) print(a simulationAnswer) error {
	var err error
	if f := c.format.value; f == "json" || f == "yaml" {
		err = c.printObject(f, a)
	} else {
		page := c.newScreen()
		for i := range a.Objects {
			if i > 0 && a.Objects[i-1].Why != nil {
				page.line() // after a screen
			}
			c.writeObject(page, &a.Objects[i], a.Nodes)
		}
		err = page.printTo(c.streams.Out)
	}
	if err != nil {
		return err
	}
	return a.verdict()
}

func (c *simulateCommand) writeObject(page *screen, o *simulatedObject, nodes int) {
	page.line(append([]span{{text: fmt.Sprintf("%s %s/%s: ", o.Kind, o.Namespace, o.Name)}}, o.verdict(nodes)...)...)
	if o.ClaimsUnseen {
		page.linef("  unless a claim that was not seen has the devices")
	}
	if !o.explained() {
		for _, p := range o.Problems {
			page.linef("  %s", p)
		}
	}
	all := c.format.value == "wide"
	if o.Wanted == 1 && len(o.Placements) == 1 {
		writeClaims(page, o.Placements[0])
	} else {
		writePlacements(page, o.Placements, all)
	}
	if o.Why != nil {
		c.writeWhy(page, o.Why)
	}
	if o.Why == nil && all || o.Why != nil && len(o.Why.Unfit)+len(o.Why.Requests)+len(o.Why.Reasons) == 0 {
		writeRefused(page, o, all)
	}
}

// explained says that "why" says what the problems are.
func (o *simulatedObject) explained() bool {
	return o.Why != nil && len(o.Why.Reasons) > 0 && (o.failed == nil || slices.ContainsFunc(o.Why.Reasons, givesUp))
}

// givesUp says that a reason is one for which the scheduler gives up, whatever other nodes have.
func givesUp(r why.Reason) bool {
	return slices.Contains([]why.ReasonID{
		why.SelectorError, why.PoolIncomplete, why.PoolInvalid, why.FeatureOff, why.Constraint, why.TakesTooLong,
		why.TooManyDevices, why.AllocatorError,
	}, r.ID)
}

// verdict is the answer in a few words.
func (o *simulatedObject) verdict(nodes int) []span {
	yes, no := span{good, "yes"}, span{bad, "no"}
	many := o.Wanted != 1 || len(o.Placements) > 1
	switch {
	case o.Possible && many:
		return []span{{good, fmt.Sprintf("yes, %d on %s", len(o.Placements), view.Count(placedNodes(o), "node"))}}
	case o.Possible && nodes == 1:
		return []span{yes, {text: ", on " + o.Placements[0].Node}}
	case o.Possible:
		return []span{yes, {text: fmt.Sprintf(", on %s; %d of %s would do", o.Placements[0].Node, o.Suitable,
			view.Count(nodes, "node"))}}
	case o.CannotTell && len(o.Placements) > 0:
		return []span{{bad, fmt.Sprintf("cannot tell, at least %d of %d", len(o.Placements), o.Wanted)}}
	case o.CannotTell:
		return []span{{bad, "cannot tell"}}
	case len(o.Placements) > 0:
		return []span{{bad, fmt.Sprintf("no, only %d of %d", len(o.Placements), o.Wanted)}}
	case len(o.Problems) > 0:
		return []span{no}
	case nodes == 1:
		return []span{no, {text: ", not on the only node"}}
	}
	return []span{no, {text: ", on none of " + view.Count(nodes, "node")}}
}

func placedNodes(o *simulatedObject) int {
	nodes := make(map[string]bool)
	for _, p := range o.Placements {
		nodes[p.Node] = true
	}
	return len(nodes)
}

// writePlacements says what is on each node, a line for each; without all only of the first nodes.
func writePlacements(page *screen, placements []placement, all bool) {
	const most = 20
	var nodes []string
	on := make(map[string][]string)
	for _, p := range placements {
		if on[p.Node] == nil {
			nodes = append(nodes, p.Node)
		}
		var devices []string
		for _, claim := range p.Claims {
			devices = append(devices, deviceNames(claim.Devices)...)
		}
		on[p.Node] = append(on[p.Node], strings.Join(devices, ", "))
	}
	shown := len(nodes)
	if shown > most+1 && !all {
		shown = most
	}
	widest := 0
	for _, node := range nodes[:shown] {
		widest = max(widest, len(node))
	}
	for _, node := range nodes[:shown] {
		line := fmt.Sprintf("  %-*s  %d: %s", widest, node, len(on[node]), strings.Join(on[node], " | "))
		page.linef("%s", strings.TrimRight(line, " :|"))
	}
	if more := len(nodes) - shown; more > 0 {
		page.linef("  … and on %d nodes more, which -o wide shows", more)
	}
}

// writeClaims says what each claim has.
func writeClaims(page *screen, p placement) {
	for _, claim := range p.Claims {
		page.linef("  claim %s%s", claim.Name, claim.origin())
		for begin := 0; begin < len(claim.Devices); {
			end := begin + 1
			for end < len(claim.Devices) && claim.Devices[end].besides(claim.Devices[begin]) {
				end++
			}
			first := claim.Devices[begin]
			var names []string
			for _, d := range claim.Devices[begin:end] {
				names = append(names, d.Device)
			}
			page.linef("    request %s: %s of %s, pool %s%s", first.Request, strings.Join(names, ", "),
				first.Driver, first.Pool, first.notes())
			begin = end
		}
	}
}

// besides says that the device can be named in one line with another.
func (d simulatedDevice) besides(other simulatedDevice) bool {
	return d.Request == other.Request && d.Driver == other.Driver && d.Pool == other.Pool && d.notes() == other.notes()
}

func (c simulatedClaim) origin() string {
	var notes []string
	if c.Template != "" {
		notes = append(notes, "template "+c.Template)
	}
	if c.Held {
		notes = append(notes, "has its devices already")
	}
	if len(notes) == 0 {
		return ""
	}
	return " (" + strings.Join(notes, ", ") + ")"
}

func deviceNames(devices []simulatedDevice) []string {
	var names []string
	for _, d := range devices {
		names = append(names, d.Device+d.notes())
	}
	return names
}

// notes are what is special about having the device.
func (d simulatedDevice) notes() string {
	var notes []string
	if d.AdminAccess {
		notes = append(notes, "admin access")
	}
	if d.Shared {
		var takes []string
		for _, name := range slices.Sorted(maps.Keys(d.Consumes)) {
			takes = append(takes, name+" "+d.Consumes[name])
		}
		notes = append(notes, strings.TrimSuffix("a share with "+strings.Join(takes, ", "), " with "))
	}
	if len(d.WaitsFor) > 0 {
		notes = append(notes, "waits for "+strings.Join(d.WaitsFor, ", "))
	}
	if len(notes) == 0 {
		return ""
	}
	return " (" + strings.Join(notes, "; ") + ")"
}

// writeRefused says why nodes are out of the question, each reason once.
func writeRefused(page *screen, o *simulatedObject, all bool) {
	byReason := make(map[string][]string)
	for _, n := range o.Refused {
		byReason[n.Reason] = append(byReason[n.Reason], n.Node)
	}
	for _, reason := range slices.Sorted(maps.Keys(byReason)) {
		nodes := byReason[reason]
		if more := len(nodes) - 3; more > 0 && !all {
			nodes = append(slices.Clone(nodes[:3]), fmt.Sprintf("%d more", more))
		}
		page.linef("  %s: %s", strings.Join(nodes, ", "), reason)
	}
}
