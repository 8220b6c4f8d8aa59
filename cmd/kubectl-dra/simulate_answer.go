package main

import (
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

// verdict is nil for yes, errNo if anything cannot be had, and otherwise errCannotTell.
func (a simulationAnswer) verdict() error {
	unseen := false
	for _, o := range a.Objects {
		if !o.Possible && !o.CannotTell {
			return errNo
		}
		unseen = unseen || o.CannotTell || o.ClaimsUnseen
	}
	if unseen {
		return errCannotTell
	}
	return nil
}
