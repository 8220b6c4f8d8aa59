package view

import (
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
)

// Listing is what there is of devices, and who has them. Its JSON is meant for programs: fields are added, and never
// renamed or given another meaning.
type Listing struct {
	// Devices are sorted by node, driver and pool, those of several nodes last; in a pool they have the order in which the
	// scheduler tries them. What no slice has any more comes after the others of its pool.
	Devices []Row `json:"devices"`
	// CounterSets are what parts of devices are made of, by node, driver, pool and name.
	CounterSets []CounterSet `json:"counterSets,omitempty"`
	Summary     Summary      `json:"summary"`
	// Problems are what kept this from being complete, one sentence each, sorted. What could not be seen of the cluster
	// is not among them: the Cluster says that.
	Problems []string `json:"problems,omitempty"`
}

// Where says which nodes can use a device.
type Where struct {
	// Node is the one node that can; empty if several can, or none.
	Node string `json:"node,omitempty"`
	// AllNodes says that all can.
	AllNodes bool `json:"allNodes,omitempty"`
	// NodeCount is how many can; absent for one node by name, and if no nodes could be seen.
	NodeCount *int `json:"nodeCount,omitempty"`
}

// Row is one device.
type Row struct {
	Where
	Driver string `json:"driver"`
	Pool   string `json:"pool"`
	Device string `json:"device"`

	State State `json:"state"`
	// Reason is a sentence where the state alone does not say why.
	Reason string `json:"reason,omitempty"`
	// SharedPercent is how much claims have taken of the capacity that is scarcest, of a device that several may have.
	SharedPercent *int `json:"sharedPercent,omitempty"`

	Attributes Attributes `json:"attributes,omitempty"`
	Capacity   Capacities `json:"capacity,omitempty"`
	// Left is what claims may still have of each capacity of a device that several may have.
	Left map[resourceapi.QualifiedName]resource.Quantity `json:"left,omitempty"`

	Taints []Taint `json:"taints,omitempty"`
	// Unhealthy are the conditions that the driver's status in claims has as false or unknown, as sentences.
	Unhealthy []string `json:"unhealthy,omitempty"`
	UsedBy    []User   `json:"usedBy,omitempty"`
	// BlockedBy are the devices in use that leave too little of a counter set for this one.
	BlockedBy []Blocker `json:"blockedBy,omitempty"`
	// CounterSets are the names of those that the device consumes from.
	CounterSets []string `json:"counterSets,omitempty"`
	// Gives is what a device that is whole can still give in parts, where some of its parts are in use.
	Gives []Parts `json:"gives,omitempty"`
	// Profile is the kind of part that the device is; empty if it is none, or its driver does not say.
	Profile string `json:"profile,omitempty"`
}

// ID returns the name of the row's device.
func (r *Row) ID() DeviceID { return DeviceID{r.Driver, r.Pool, r.Device} }

// User is a claim that has a device, and who uses it through the claim.
type User struct {
	Namespace string    `json:"namespace"`
	Claim     string    `json:"claim"`
	ClaimUID  types.UID `json:"claimUID"`
	Request   string    `json:"request"`
	// Pods are the names of those that the claim is reserved for. None: the claim keeps the device, for nobody.
	Pods []string `json:"pods,omitempty"`
	// Others are what else the claim is reserved for, as resource.group/name.
	Others []string `json:"others,omitempty"`
	// AdminAccess marks who only looks, and does not count.
	AdminAccess bool                                            `json:"adminAccess,omitempty"`
	ShareID     types.UID                                       `json:"shareID,omitempty"`
	Consumed    map[resourceapi.QualifiedName]resource.Quantity `json:"consumed,omitempty"`
}

// Blocker is a device in use that keeps another from being had.
type Blocker struct {
	Device string `json:"device"`
	UsedBy []User `json:"usedBy"`
}

// CounterSet is what the parts of a device are made of (KEP-4815), with what is left.
type CounterSet struct {
	Where
	Driver string `json:"driver"`
	Pool   string `json:"pool"`
	Name   string `json:"name"`
	// Whole is the first device that consumes all of the set; empty if none does.
	Whole    string    `json:"whole,omitempty"`
	Counters []Counter `json:"counters"`
	// Takers are the devices in use that consume from the set, in the order of the slices.
	Takers []Blocker `json:"takers,omitempty"`
	// Gives are the parts that can still be had, the largest first: of one kind or of another, not of all at once.
	Gives []Parts `json:"gives,omitempty"`
}

// Counter is one of a counter set. Left can be negative: a driver may change what there is.
type Counter struct {
	Name  string            `json:"name"`
	Total resource.Quantity `json:"total"`
	Left  resource.Quantity `json:"left"`
}

// Parts is how many devices of one kind a counter set can still give, if no others are taken from it.
type Parts struct {
	Profile string `json:"profile"`
	Count   int    `json:"count"`
}

// Summary counts the devices in each state. Every device is counted once.
type Summary struct {
	Devices int `json:"devices"`
	// Nodes is the number of nodes that have devices of their own.
	Nodes int `json:"nodes"`
	// SeveralNodes is the number of devices that several nodes can use.
	SeveralNodes int `json:"severalNodes,omitempty"`
	InUse        int `json:"inUse"`
	Shared       int `json:"shared"`
	Free         int `json:"free"`
	MaybeFree    int `json:"maybeFree,omitempty"`
	Blocked      int `json:"blocked,omitempty"`
	// Unusable devices are tainted, or in a pool from which the scheduler takes nothing, and nobody has them.
	Unusable     int `json:"unusable"`
	NotPublished int `json:"notPublished,omitempty"`
}
