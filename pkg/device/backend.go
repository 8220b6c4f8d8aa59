package device

import (
	"context"
	"encoding/json"
	"errors"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	cdispecs "tags.cncf.io/container-device-interface/specs-go"
)

// Backend is one kind of hardware on this node. All methods may be called concurrently; for one claim the caller
// makes one call at a time, across processes too.
type Backend interface {
	// Devices says which devices the node has now. An empty snapshot and nil means "none here"; being unable to look
	// is an error, upon which the caller keeps what it saw last. Names are stable: the same device has the same name
	// after a restart of this process and of the node.
	Devices(ctx context.Context) (Snapshot, error)

	// Prepare sets the devices of r up and returns one [Grant] for each, in the order of r.Devices. The same
	// question gets the same answer, and whatever of it is missing on the node is made again. For a result with
	// admin access it must not change the device in any way: somebody else may be using it.
	//
	// Before it changes anything that outlives the call it hands [Request.Remember] what undoing the change takes.
	// When it returns an error, the caller asks for Unprepare with what was remembered, now or after a restart. The error
	// wraps a *[RefusedError] if no device of this kind can ever be set up as r asks.
	Prepare(ctx context.Context, r Request) ([]Grant, error)

	// Unprepare takes back what Prepare did for one device. A grant that is unknown, was taken back before, or whose
	// device is gone is not an error. g.Edits and g.Common are nil here. It needs no free disk space.
	Unprepare(ctx context.Context, g Grant) error
}

// ErrNeedsRestart is what an error of Devices wraps if it lasts until another process looks, for example because a
// library was replaced that cannot be loaded again. The process then ends when no call is in progress any more.
var ErrNeedsRestart = errors.New("only a new process can go on")

// RefusedError is the refusal of a request for what it asks. The same request gets it again, so users are told of it in
// an event of the claim.
type RefusedError struct{ Reason error }

func (e *RefusedError) Error() string { return e.Reason.Error() }

// Unwrap returns the reason.
func (e *RefusedError) Unwrap() error { return e.Reason }

// Watcher is implemented by a backend that can tell when its devices changed (hot-plug, health).
type Watcher interface {
	// Watch calls changed whenever Devices may answer differently than before, until ctx ends; then it returns nil.
	// An error means that watching is not possible; the caller then looks now and then instead.
	Watch(ctx context.Context, changed func()) error
}

// Sweeper is implemented by a backend that may find leftovers of its own on the node that no record knows of.
type Sweeper interface {
	// Sweep removes what was made for any claim for which known answers false.
	Sweep(ctx context.Context, known func(claim types.UID) bool) error
}

// Fabric attaches devices to nodes before pods are bound to them: those with binding conditions (KEP-5007). It is asked
// by a controller, for the devices of any node, and not by the agent of the node.
type Fabric interface {
	// Attach makes the device of an allocation result usable on the node that it was allocated for, and returns when it
	// is. The same question may come again, and then finds the device attached or goes on with it. An error means that it
	// could not be done, in a sentence for people; the scheduler then looks for another device. When ctx ends, it
	// returns at once with the error of ctx: the allocation is gone, or the controller stops.
	//
	// It is called concurrently, by one controller at a time. But no lease can stop a process that stood still, with its
	// machine perhaps, and does not know yet that another one has taken over: for a moment, two processes may ask for
	// the same device, for the same allocation or for one and the next one. Whoever attaches has to bear that, for
	// example with the claim's UID as the key of what it asks the fabric's manager for.
	Attach(ctx context.Context, c Claim, r resourceapi.DeviceRequestAllocationResult) error
}

// Examiner is implemented by a backend that can say whether a node has what it needs.
type Examiner interface {
	// Examine looks at the node without changing it and returns what it found, in the order in which a person would
	// look. It works also where Devices cannot.
	Examine(ctx context.Context) []Finding
}

// Finding is what came of looking at one thing that a backend needs.
type Finding struct {
	// Subject is what was looked at: "NVML library".
	Subject string
	// Verdict says whether it is as it must be.
	Verdict Verdict
	// Detail is what was seen, a sentence without a full stop.
	Detail string
	// Mend says what to do; empty if nothing is wrong.
	Mend string
}

// Verdict is the result of an examination.
type Verdict string

const (
	// Good means that it is as it must be.
	Good Verdict = "ok"
	// Doubtful means that something else might not work because of it, or that it could not be looked at.
	Doubtful Verdict = "warning"
	// Bad means that the backend cannot work.
	Bad Verdict = "bad"
)

// Snapshot is what a backend sees at one moment. Devices and the counter sets that they consume come in one answer,
// since one device that refers to a counter set that is not there costs the whole pool
// (k8s.io/dynamic-resource-allocation/resourceslice, validation.go).
//
// It is passed on without being copied: once it was answered, nobody changes what it holds, the backend included. A
// backend whose devices change answers with other ones.
type Snapshot struct {
	// Devices in any order, with names that are DNS labels and differ from each other.
	Devices []Device
	// SharedCounters are the counter sets which Devices consume, in any order.
	SharedCounters []resourceapi.CounterSet
}

// Device is one allocatable device: what the scheduler chooses by, and its health.
type Device struct {
	resourceapi.Device
	Health Health
	// PartOf is the name of the device that this one is cut from when somebody gets it; empty for a whole device. It
	// need not be the name of a device of the snapshot. Where a cluster drops shared counters (KEP-4815), parts that
	// consume counters are not offered, and whole devices are offered without their consumption.
	PartOf string
}

// Health says whether a device can be used. The zero value means healthy.
type Health struct {
	Unhealthy bool
	// Reason is a sentence for people; empty when healthy, never when not.
	Reason string
}

// Claim names the ResourceClaim for which something is done. The UID alone identifies it; a name may come again.
type Claim struct {
	Namespace, Name string
	UID             types.UID
}

// Request asks a backend to set up devices of one claim that share one configuration.
type Request struct {
	Claim Claim
	// Config is the decoded, defaulted and validated configuration of the group, for example *v1alpha1.GpuConfig.
	// Never nil.
	Config runtime.Object
	// Devices are the allocation results of the group: which device of which pool, for which request, with which
	// share of it, and whether for admin access.
	Devices []resourceapi.DeviceRequestAllocationResult
	// All holds all results of the claim on this driver, those of Devices included, in the order of the allocation.
	All []resourceapi.DeviceRequestAllocationResult
	// Remember keeps what undoing takes for the device Devices[i] and returns when a crash can no longer lose it. A
	// later call for the same device replaces what an earlier one gave. Never nil.
	Remember func(i int, undo json.RawMessage) error
}

// Grant is what one device of a request got.
type Grant struct {
	Claim Claim
	// Result is the allocation result that is granted.
	Result resourceapi.DeviceRequestAllocationResult
	// Edits are what the container runtime changes in a container that gets the device; never empty after Prepare
	// (CDI cannot resolve a device without edits).
	Edits *cdispecs.ContainerEdits
	// Common are edits that a container gets once, however many devices of the claim it uses: the libraries of a
	// driver, and hooks. Grants with equal ones share them. May be nil.
	Common *cdispecs.ContainerEdits
	// Undo is what Remember was given last for this device; nil if it never was called.
	Undo json.RawMessage
	// Network is what is known of a network device for the status of the claim; nil for other kinds.
	Network *resourceapi.NetworkDeviceData
	// Data is a JSON object of at most 10 KiB for the status of the claim, for people and controllers; nil for none.
	Data json.RawMessage
}
