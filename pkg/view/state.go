package view

import "slices"

// State is what can be done with a device. The values are those of JSON.
type State string

// The states. A device that a claim has is in use or shared whatever else is true of it; of the others the first that
// applies counts, in the order below.
const (
	// NotPublished: a claim has it, and no current slice does. Its driver is gone, or has taken it back.
	NotPublished State = "notPublished"
	// InUse: a claim has it, not counting admin access.
	InUse State = "inUse"
	// Shared: claims have shares of it; there may be more to have.
	Shared State = "shared"
	// PoolIncomplete: the scheduler takes nothing from its pool until all its slices are there.
	PoolIncomplete State = "poolIncomplete"
	// PoolInvalid: the scheduler takes nothing from its pool, because the slices contradict each other.
	PoolInvalid State = "poolInvalid"
	// Tainted: a taint keeps it from claims that do not tolerate it.
	Tainted State = "tainted"
	// Blocked: devices in use leave too little of a counter set.
	Blocked State = "blocked"
	// MaybeFree: no claim that could be seen has it, and not all claims could be seen.
	MaybeFree State = "maybeFree"
	// Free: a claim can have it.
	Free State = "free"
	// Gone is the last that a watch says of a device: no slice and no claim has it any more.
	Gone State = "gone"
)

// Available says that a claim may get the device, or a share of it.
func (r *Row) Available() bool {
	if r.State == Shared {
		full := r.SharedPercent != nil && *r.SharedPercent >= 100
		return !full && !kept(r.Taints) && r.Reason == ""
	}
	return r.State == Free || r.State == MaybeFree
}

// kept says that one of the taints keeps the device from claims that do not tolerate it.
func kept(taints []Taint) bool { return slices.ContainsFunc(taints, Taint.Keeps) }
