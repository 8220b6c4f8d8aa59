package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	resourceapi "k8s.io/api/resource/v1"

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
		var text strings.Builder
		for i := range a.Objects {
			if i > 0 && a.Objects[i-1].Why != nil {
				text.WriteString("\n") // after a screen
			}
			c.writeObject(&text, &a.Objects[i], a.Nodes)
		}
		_, err = io.WriteString(c.streams.Out, text.String())
	}
	if err != nil {
		return err
	}
	if !a.Possible {
		return errNo
	}
	return nil
}

func (c *simulateCommand) writeObject(text *strings.Builder, o *simulatedObject, nodes int) {
	fmt.Fprintf(text, "%s %s/%s: %s\n", o.Kind, o.Namespace, o.Name, c.verdict(o, nodes))
	if o.Why == nil || len(o.Why.Reasons) == 0 {
		for _, p := range o.Problems {
			fmt.Fprintf(text, "  %s\n", p)
		}
	}
	all := c.format.value == "wide"
	if o.Wanted == 1 && len(o.Placements) == 1 {
		writeClaims(text, o.Placements[0])
	} else {
		writePlacements(text, o.Placements, all)
	}
	if o.Why != nil {
		c.writeWhy(text, o.Why)
	}
	if o.Why == nil && all || o.Why != nil && len(o.Why.Unfit)+len(o.Why.Requests)+len(o.Why.Reasons) == 0 {
		writeRefused(text, o, all)
	}
}

func (c *simulateCommand) verdict(o *simulatedObject, nodes int) string {
	many := o.Wanted != 1 || len(o.Placements) > 1
	switch {
	case o.Possible && many:
		return c.paint(good, fmt.Sprintf("yes, %d on %s", len(o.Placements), count(placedNodes(o), "node")))
	case o.Possible && nodes == 1:
		return c.paint(good, "yes") + ", on " + o.Placements[0].Node
	case o.Possible:
		return c.paint(good, "yes") + fmt.Sprintf(", on %s; %d of %s would do",
			o.Placements[0].Node, o.Suitable, count(nodes, "node"))
	case len(o.Placements) > 0:
		return c.paint(bad, fmt.Sprintf("no, only %d of %d", len(o.Placements), o.Wanted))
	case len(o.Problems) > 0:
		return c.paint(bad, "no")
	case nodes == 1:
		return c.paint(bad, "no") + ", not on the only node"
	}
	return c.paint(bad, "no") + fmt.Sprintf(", on none of %s", count(nodes, "node"))
}

func placedNodes(o *simulatedObject) int {
	nodes := make(map[string]bool)
	for _, p := range o.Placements {
		nodes[p.Node] = true
	}
	return len(nodes)
}

// writePlacements says what is on each node, a line for each; without all only of the first nodes.
func writePlacements(text *strings.Builder, placements []placement, all bool) {
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
		text.WriteString(strings.TrimRight(line, " :|") + "\n")
	}
	if more := len(nodes) - shown; more > 0 {
		fmt.Fprintf(text, "  … and on %d nodes more, which -o wide shows\n", more)
	}
}

// writeClaims says what each claim has.
func writeClaims(text *strings.Builder, p placement) {
	for _, claim := range p.Claims {
		fmt.Fprintf(text, "  claim %s%s\n", claim.Name, claim.origin())
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
			fmt.Fprintf(text, "    request %s: %s of %s, pool %s%s\n", first.Request, strings.Join(names, ", "),
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
func writeRefused(text *strings.Builder, o *simulatedObject, all bool) {
	byReason := make(map[string][]string)
	for _, n := range o.Refused {
		byReason[n.Reason] = append(byReason[n.Reason], n.Node)
	}
	for _, reason := range slices.Sorted(maps.Keys(byReason)) {
		nodes := byReason[reason]
		if more := len(nodes) - 3; more > 0 && !all {
			nodes = append(slices.Clone(nodes[:3]), fmt.Sprintf("%d more", more))
		}
		fmt.Fprintf(text, "  %s: %s\n", strings.Join(nodes, ", "), reason)
	}
}
