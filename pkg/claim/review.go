package claim

import (
	"errors"
	"fmt"
	"strings"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/dynamic-resource-allocation/resourceclaim"
)

// Review says what [Decide] would say of the configurations of an object before anybody has devices of it: a
// ResourceClaim, a ResourceClaimTemplate or a DeviceClass of resource.k8s.io/v1, whose requests are looked at as if all
// of them had got devices of the driver. It is nil if nothing is wrong, and for all other kinds. PoolName is not used.
//
// What only an allocation tells is not judged, such as whether a device with admin access is one of this driver's.
func Review(object runtime.Object, o Options) *ConfigError {
	switch object := object.(type) {
	case *resourceapi.ResourceClaim:
		return review(allocated(object.Spec.Devices, o.DriverName), o)
	case *resourceapi.ResourceClaimTemplate:
		return below("spec", review(allocated(object.Spec.Spec.Devices, o.DriverName), o))
	case *resourceapi.DeviceClass:
		return review(ofClass(object, o.DriverName), o)
	}
	return nil
}

func review(c *resourceapi.ResourceClaim, o Options) *ConfigError {
	o.PoolName = pool
	_, err := Decide(c, o)
	if problems, ok := errors.AsType[*ConfigError](err); ok {
		return problems
	}
	return nil // anything else is about an allocation that we made up
}

// pool is where all devices of made-up allocations are.
const pool = "pool"

// allocated is a claim as if each of its requests, and each alternative of those, had got a device of the driver.
func allocated(spec resourceapi.DeviceClaim, driverName string) *resourceapi.ResourceClaim {
	c := &resourceapi.ResourceClaim{Spec: resourceapi.ResourceClaimSpec{Devices: spec}}
	var names []string
	for _, request := range spec.Requests {
		if len(request.FirstAvailable) == 0 {
			names = append(names, request.Name)
		}
		for _, sub := range request.FirstAvailable {
			names = append(names, resourceclaim.CreateSubRequestRef(request.Name, sub.Name))
		}
	}
	c.Status.Allocation = on(driverName, names)
	for _, config := range spec.Config {
		c.Status.Allocation.Devices.Config = append(c.Status.Allocation.Devices.Config,
			resourceapi.DeviceAllocationConfiguration{Source: resourceapi.AllocationConfigSourceClaim,
				Requests: config.Requests, DeviceConfiguration: config.DeviceConfiguration})
	}
	return c
}

// ofClass is a claim as if it had got a device of the driver by this class.
func ofClass(class *resourceapi.DeviceClass, driverName string) *resourceapi.ResourceClaim {
	const request = "request"
	c := &resourceapi.ResourceClaim{}
	c.Spec.Devices.Requests = []resourceapi.DeviceRequest{{
		Name: request, Exactly: &resourceapi.ExactDeviceRequest{DeviceClassName: class.Name},
	}}
	c.Status.Allocation = on(driverName, []string{request})
	for _, config := range class.Spec.Config {
		c.Status.Allocation.Devices.Config = append(c.Status.Allocation.Devices.Config,
			resourceapi.DeviceAllocationConfiguration{Source: resourceapi.AllocationConfigSourceClass,
				Requests: []string{request}, DeviceConfiguration: config.DeviceConfiguration})
	}
	return c
}

// on gives each request a device. None is for admin access: whether it would be one of this driver's is not known here.
func on(driverName string, requests []string) *resourceapi.AllocationResult {
	allocation := &resourceapi.AllocationResult{}
	for i, request := range requests {
		allocation.Devices.Results = append(allocation.Devices.Results, resourceapi.DeviceRequestAllocationResult{
			Request: request, Driver: driverName, Pool: pool, Device: fmt.Sprintf("device-%d", i),
		})
	}
	return allocation
}

// below puts a parent before the paths of all problems.
func below(parent string, problems *ConfigError) *ConfigError {
	if problems == nil {
		return nil
	}
	moved := &ConfigError{Problems: append([]Problem(nil), problems.Problems...)}
	for i, p := range moved.Problems {
		detail := *p.Detail
		detail.Field = strings.Join([]string{parent, detail.Field}, ".")
		moved.Problems[i].Detail = &detail
	}
	return moved
}
