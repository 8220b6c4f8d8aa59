package inventory

import (
	"fmt"
	"maps"
	"slices"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/utils/ptr"

	"example.com/dragoman/pkg/device"
)

// unhealthyTaint is the name of the taint of unhealthy devices, in the domain of the driver.
const unhealthyTaint = "unhealthy"

// maxTaintsBefore135 is how many taints of a device Kubernetes 1.34 takes (k8s.io/api v0.34, resource/v1/types.go).
const maxTaintsBefore135 = 4

// offered returns the devices as they may be offered, and what of them may not. They share their fields with all.
func (o Offer) offered(all []device.Device, driverName string) (devices []device.Device, leftOut []LeftOut) {
	lacking := make(map[lack]bool)
	for _, d := range all {
		if !o.withoutCounters(&d, lacking) || !o.withoutBinding(&d, lacking) {
			continue
		}
		o.withoutShares(&d, lacking)
		problem := o.withTaints(&d, driverName, lacking)
		if problem == nil {
			devices = append(devices, d)
			continue
		}
		problem.Device, problem.Whole = abridged(d.Name), true
		leftOut = append(leftOut, *problem)
	}
	for l := range lacking {
		leftOut = append(leftOut, l.leftOut())
	}
	return devices, leftOut
}

// lack is what devices would need of the cluster and it does not have. It is said once and in the same words, whichever
// devices and however many these are: that is one warning, for an administrator of the cluster.
type lack int

const (
	lacksCounters lack = iota
	lacksShares
	lacksBinding
	lacksTaints
	lacksTaintsAndOffers // what a taint would keep pods away from, all the same
	lacksNoneTaints
)

func (l lack) leftOut() LeftOut {
	const needs = "needs the feature gate %s, without which the API server drops %s: "
	switch l {
	case lacksCounters:
		return LeftOut{Field: "partitioning", Reason: fmt.Sprintf(needs+"whole devices are offered, and no parts of them",
			"DRAPartitionableDevices", "shared counters")}
	case lacksShares:
		return LeftOut{Field: "sharing", Reason: fmt.Sprintf(needs+"devices for several claims are offered to one claim at "+
			"a time", "DRAConsumableCapacity", "allowMultipleAllocations and request policies")}
	case lacksBinding:
		return LeftOut{Field: "preparing before binding", Reason: fmt.Sprintf(needs+"devices that have some are not offered",
			"DRADeviceBindingConditions with DRAResourceClaimDeviceStatus", "binding conditions")}
	case lacksTaints:
		return LeftOut{Field: "tainting", Reason: fmt.Sprintf(needs+"devices that a taint would keep pods away from are not "+
			"offered", "DRADeviceTaints", "taints")}
	case lacksTaintsAndOffers:
		return LeftOut{Field: "tainting", Reason: fmt.Sprintf(needs+"devices are offered that a taint would keep pods away "+
			"from", "DRADeviceTaints", "taints")}
	default:
		return LeftOut{Field: "tainting for information", Reason: "needs Kubernetes 1.35, before which the API server " +
			"refuses the effect None: devices are offered without such taints"}
	}
}

// withoutCounters says whether d is offered, and takes its counters away where the cluster would drop them.
func (o Offer) withoutCounters(d *device.Device, lacking map[lack]bool) bool {
	if o.Counters != NoCounters || len(d.ConsumesCounters) == 0 {
		return true
	}
	d.ConsumesCounters = nil
	if d.PartOf != "" {
		lacking[lacksCounters] = true
	}
	return d.PartOf == ""
}

// withoutBinding says whether d is offered: without conditions that hold binding up, pods would be bound to it and then
// wait for something that does not begin before.
func (o Offer) withoutBinding(d *device.Device, lacking map[lack]bool) bool {
	if o.BindingConditions {
		return true
	}
	if len(d.BindingConditions)+len(d.BindingFailureConditions) > 0 {
		lacking[lacksBinding] = true
		return false
	}
	d.BindsToNode = nil
	return true
}

// withoutShares takes away what lets several claims have d where the cluster would drop it.
func (o Offer) withoutShares(d *device.Device, lacking map[lack]bool) {
	if o.Shares || !ptr.Deref(d.AllowMultipleAllocations, false) {
		return
	}
	lacking[lacksShares] = true
	d.AllowMultipleAllocations = nil
	d.Capacity = maps.Clone(d.Capacity)
	for name, capacity := range d.Capacity {
		capacity.RequestPolicy = nil
		d.Capacity[name] = capacity
	}
}

// withTaints gives d the taint that its health asks for, and takes away what the cluster would drop or refuse. It
// returns why d cannot be offered, if that is so.
func (o Offer) withTaints(d *device.Device, driverName string, lacking map[lack]bool) *LeftOut {
	if !o.Taints {
		return o.withoutTaints(d, lacking)
	}
	isNone := func(t resourceapi.DeviceTaint) bool { return !keepsAway(t) }
	if !o.NoneTaints && slices.ContainsFunc(d.Taints, isNone) {
		lacking[lacksNoneTaints] = true
		d.Taints = slices.DeleteFunc(slices.Clone(d.Taints), isNone)
	}
	if d.Health.Unhealthy && o.TaintEffect != "" {
		d.Taints = slices.Concat(d.Taints, []resourceapi.DeviceTaint{{
			Key: driverName + "/" + unhealthyTaint, Value: "true", Effect: o.TaintEffect,
		}})
	}
	if n := len(d.Taints); !o.NoneTaints && n > maxTaintsBefore135 {
		return &LeftOut{Field: "taints", Reason: fmt.Sprintf("has %d entries, of which Kubernetes 1.34 allows %d", n,
			maxTaintsBefore135)}
	}
	return nil
}

// withoutTaints is for clusters that drop taints. Those for information are not missed.
func (o Offer) withoutTaints(d *device.Device, lacking map[lack]bool) *LeftOut {
	tainted := slices.ContainsFunc(d.Taints, keepsAway)
	d.Taints = nil
	switch {
	case o.LeaveOutUnhealthy && d.Health.Unhealthy:
		lacking[lacksTaints] = true
		return &LeftOut{Field: "health", Reason: "is bad, which no taint can say here: " + abridged(d.Health.Reason)}
	case o.LeaveOutUnhealthy && tainted:
		lacking[lacksTaints] = true
		return &LeftOut{Field: "taints", Reason: "would not keep pods away here"}
	case tainted || d.Health.Unhealthy && o.TaintEffect != "":
		lacking[lacksTaintsAndOffers] = true
	}
	return nil
}

func keepsAway(t resourceapi.DeviceTaint) bool { return t.Effect != resourceapi.DeviceTaintEffectNone }
