package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	resourceapi "k8s.io/api/resource/v1"

	"example.com/dragoman/pkg/view"
	"example.com/dragoman/pkg/view/allocate"
	"example.com/dragoman/pkg/view/why"
)

// simulationAnswer is what "simulate -o json" prints.
type simulationAnswer struct {
	// Possible says that everything gets its devices.
	Possible bool              `json:"possible"`
	Nodes    int               `json:"nodes"`
	Objects  []simulatedObject `json:"objects"`
}

// simulatedObject is the answer for a pod, a claim, or something that makes pods.
type simulatedObject struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Possible  bool   `json:"possible"`
	// CannotTell says that it may be possible: what could not be seen decides. Why says what.
	CannotTell bool `json:"cannotTell,omitempty"`
	// ClaimsUnseen says that it is possible unless claims which could not be seen have the devices.
	ClaimsUnseen bool `json:"claimsUnseen,omitempty"`
	// Wanted is how many there shall be, Placements where they are.
	Wanted     int         `json:"wanted"`
	Placements []placement `json:"placements,omitempty"`
	// Problems are why no node was tried, or why trying ended.
	Problems []string `json:"problems,omitempty"`
	// Suitable is how many nodes would do for the first one; Refused says of the others why not, if there is a reason
	// other than their devices.
	Suitable int           `json:"suitableNodes"`
	Refused  []refusedNode `json:"refused,omitempty"`
	// Why is what "why" says of the one that does not get its devices.
	Why *why.Answer `json:"why,omitempty"`

	// failed is why the scheduler would give up.
	failed error
}

type placement struct {
	Node   string           `json:"node"`
	Claims []simulatedClaim `json:"claims,omitempty"`
}

type simulatedClaim struct {
	Name string `json:"name"`
	// Entry is the name in the pod, Template what the claim is made from.
	Entry    string `json:"entry,omitempty"`
	Template string `json:"template,omitempty"`
	// Held says that the claim has its devices already.
	Held    bool              `json:"held,omitempty"`
	Devices []simulatedDevice `json:"devices"`
}

type simulatedDevice struct {
	Request     string            `json:"request"`
	Driver      string            `json:"driver"`
	Pool        string            `json:"pool"`
	Device      string            `json:"device"`
	AdminAccess bool              `json:"adminAccess,omitempty"`
	Shared      bool              `json:"shared,omitempty"`
	Consumes    map[string]string `json:"consumes,omitempty"`
	WaitsFor    []string          `json:"waitsFor,omitempty"`
}

type refusedNode struct {
	Node   string `json:"node"`
	Reason string `json:"reason"`
}

// read takes over what nodes say.
func (o *simulatedObject) read(s allocate.Simulation) {
	for _, p := range s.Problems {
		o.Problems = append(o.Problems, p.Error())
	}
	if s.Failed != nil {
		o.failed = s.Failed
		o.Problems = append(o.Problems, s.Failed.Error())
	}
	for _, n := range s.Nodes {
		switch {
		case n.Fits:
			o.Suitable++
		case n.Why != "":
			o.Refused = append(o.Refused, refusedNode{Node: n.Node, Reason: n.Why})
		}
	}
}

func (o *simulatedObject) place(n allocate.NodeAnswer) {
	p := placement{Node: n.Node}
	for _, g := range n.Claims {
		c := simulatedClaim{Name: g.Claim.Name, Entry: g.Entry, Template: g.Template, Held: g.Held}
		for i := range g.Allocation.Devices.Results {
			c.Devices = append(c.Devices, simulatedDeviceOf(&g.Allocation.Devices.Results[i]))
		}
		p.Claims = append(p.Claims, c)
	}
	o.Placements = append(o.Placements, p)
	o.Possible = len(o.Placements) >= o.Wanted
}

func simulatedDeviceOf(r *resourceapi.DeviceRequestAllocationResult) simulatedDevice {
	d := simulatedDevice{
		Request: r.Request, Driver: r.Driver, Pool: r.Pool, Device: r.Device,
		AdminAccess: r.AdminAccess != nil && *r.AdminAccess, Shared: r.ShareID != nil, WaitsFor: r.BindingConditions,
	}
	for name, q := range r.ConsumedCapacity {
		if d.Consumes == nil {
			d.Consumes = make(map[string]string)
		}
		d.Consumes[string(name)] = q.String()
	}
	return d
}

// print prints the answer and returns errNo if it is no.
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
	switch {
	case slices.ContainsFunc(a.Objects, func(o simulatedObject) bool { return o.ClaimsUnseen }) && a.Possible:
		return errCannotTell
	case a.Possible:
		return nil
	case slices.ContainsFunc(a.Objects, func(o simulatedObject) bool { return !o.Possible && !o.CannotTell }):
		return errNo
	}
	return errCannotTell
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
