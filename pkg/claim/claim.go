package claim

import (
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"
)

// Options says whose results [Decide] looks for and what a configuration is.
type Options struct {
	// DriverName selects the results that are ours; PoolName is the pool that this node serves.
	DriverName, PoolName string
	// Decode turns the opaque parameters of one configuration into its defaulted and validated form, or says all
	// that is wrong with them, with paths below at.
	Decode func(raw []byte, at *field.Path) (runtime.Object, field.ErrorList)
	// Default returns the configuration of a result to which none applies.
	Default func() runtime.Object
}

// Plan is what one claim asks of this driver on this node.
type Plan struct {
	Namespace, Name string
	UID             types.UID
	// Devices are the results of the claim on this driver, in the order of the allocation.
	Devices []Device
}

// Device is one result of a claim, with the configuration that applies to it.
type Device struct {
	Result resourceapi.DeviceRequestAllocationResult
	// Config is never nil. To be read only, since devices with the same ConfigIndex share it.
	Config runtime.Object
	// ConfigIndex is the entry of status.allocation.devices.config where Config is from, -1 for the default.
	ConfigIndex int
}

// Group is the devices of a plan that share one configuration.
type Group struct {
	Config runtime.Object
	// Indexes are positions in Plan.Devices, rising.
	Indexes []int
}

// AdminAccess says whether any device of the plan is for admin access.
func (p Plan) AdminAccess() bool {
	for _, d := range p.Devices {
		if d.adminAccess() {
			return true
		}
	}
	return false
}

// Groups returns the devices by configuration, ordered by the first device of each group.
func (p Plan) Groups() []Group {
	var groups []Group
	byConfig := make(map[int]int)
	for i, d := range p.Devices {
		at, ok := byConfig[d.ConfigIndex]
		if !ok {
			at = len(groups)
			byConfig[d.ConfigIndex] = at
			groups = append(groups, Group{Config: d.Config})
		}
		groups[at].Indexes = append(groups[at].Indexes, i)
	}
	return groups
}

func (d Device) adminAccess() bool { return ptr.Deref(d.Result.AdminAccess, false) }
