package agreement

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"

	"example.com/dragoman/pkg/view"
)

// checker judges what was handed out to the claims of a pod. It does not search, and shares no code with those that do:
// it only knows the rules. CEL expressions it has evaluated by the library.
type checker struct {
	cluster *view.Cluster // without the pod and its claims
	node    *corev1.Node
	old     bool // Kubernetes 1.34
}

// given is a device that was handed out, with the request that it is for and what the cluster says of it.
type given struct {
	claim  *resourceapi.ResourceClaim
	want   *wanted
	result *resourceapi.DeviceRequestAllocationResult
	device *published
}

// valid says what is wrong with what the claims got, allocation by allocation.
func (c *checker) valid(claims []*resourceapi.ResourceClaim, allocations []resourceapi.AllocationResult) error {
	if len(claims) != len(allocations) {
		return fmt.Errorf("%d claims got %d allocations", len(claims), len(allocations))
	}
	var all []given
	for i, claim := range claims {
		devices, err := c.validClaim(claim, &allocations[i])
		if err != nil {
			return fmt.Errorf("claim %s: %w", claim.Name, err)
		}
		all = append(all, devices...)
	}
	return errors.Join(c.validUse(all), c.validCounters(all))
}

// validClaim judges one claim by itself.
func (c *checker) validClaim(claim *resourceapi.ResourceClaim, allocation *resourceapi.AllocationResult) (
	all []given, err error,
) {
	if allocation.NodeSelector != nil {
		selector, err := nodeaffinity.NewNodeSelector(allocation.NodeSelector)
		if err != nil {
			return nil, fmt.Errorf("read its node selector: %w", err)
		}
		if !selector.Match(c.node) {
			return nil, fmt.Errorf("is not for node %s", c.node.Name)
		}
	}
	results := allocation.Devices.Results
	for i := range claim.Spec.Devices.Requests {
		request := &claim.Spec.Devices.Requests[i]
		want, own, err := ofRequest(request, results)
		if err != nil {
			return nil, err
		}
		devices, err := c.validRequest(want, own)
		if err != nil {
			return nil, fmt.Errorf("request %s: %w", want.name, err)
		}
		for _, device := range devices {
			device.claim = claim
			all = append(all, device)
		}
	}
	if len(all) != len(results) {
		return nil, fmt.Errorf("has %d devices, of which %d are for its requests", len(results), len(all))
	}
	for _, constraint := range claim.Spec.Devices.Constraints {
		if err := validConstraint(constraint, all); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// wanted is a request, or the alternative of one that was chosen.
type wanted struct {
	name, parent string // "request" or "request/alternative"; the request
	class        string
	selectors    []resourceapi.DeviceSelector
	all          bool
	count        int64
	admin        bool
	tolerations  []resourceapi.DeviceToleration
	capacity     *resourceapi.CapacityRequirements
}

// ofRequest returns what a request wants, with the alternative that the results name, and its results.
func ofRequest(request *resourceapi.DeviceRequest, results []resourceapi.DeviceRequestAllocationResult) (
	want *wanted, own []*resourceapi.DeviceRequestAllocationResult, err error,
) {
	for i := range results {
		if base, _, _ := strings.Cut(results[i].Request, "/"); base == request.Name {
			own = append(own, &results[i])
		}
	}
	if len(own) == 0 {
		return nil, nil, fmt.Errorf("request %s got no device", request.Name)
	}
	for _, result := range own {
		if result.Request != own[0].Request {
			return nil, nil, fmt.Errorf("got devices for %s and for %s", own[0].Request, result.Request)
		}
	}
	if r := request.Exactly; r != nil {
		return &wanted{
			name: request.Name, parent: request.Name, class: r.DeviceClassName, selectors: r.Selectors,
			all: r.AllocationMode == resourceapi.DeviceAllocationModeAll, count: r.Count,
			admin: r.AdminAccess != nil && *r.AdminAccess, tolerations: r.Tolerations, capacity: r.Capacity,
		}, own, nil
	}
	for _, r := range request.FirstAvailable {
		if name := request.Name + "/" + r.Name; name == own[0].Request {
			return &wanted{
				name: name, parent: request.Name, class: r.DeviceClassName, selectors: r.Selectors,
				all: r.AllocationMode == resourceapi.DeviceAllocationModeAll, count: r.Count,
				tolerations: r.Tolerations, capacity: r.Capacity,
			}, own, nil
		}
	}
	return nil, nil, fmt.Errorf("got a device for %s, which is not asked for", own[0].Request)
}

// validRequest judges the devices that one request got.
func (c *checker) validRequest(want *wanted, results []*resourceapi.DeviceRequestAllocationResult) (
	all []given, err error,
) {
	if results[0].Request != want.name {
		return nil, fmt.Errorf("got devices for %s", results[0].Request)
	}
	at := slices.IndexFunc(c.cluster.Classes, func(class *resourceapi.DeviceClass) bool {
		return class.Name == want.class
	})
	if at < 0 {
		return nil, fmt.Errorf("there is no class %s", want.class)
	}
	selectors := slices.Concat(c.cluster.Classes[at].Spec.Selectors, want.selectors)
	here := c.reachable()
	for _, result := range results {
		device := here[deviceOf(result)]
		if device == nil {
			return nil, fmt.Errorf("device %v is not to be had on node %s", deviceOf(result), c.node.Name)
		}
		if err := c.validDevice(want, selectors, result, device); err != nil {
			return nil, fmt.Errorf("device %v: %w", deviceOf(result), err)
		}
		all = append(all, given{want: want, result: result, device: device})
	}
	if !want.all {
		if int64(len(results)) != want.count {
			return nil, fmt.Errorf("got %d devices, not %d", len(results), want.count)
		}
		return all, nil
	}
	for id, device := range here {
		matches, err := matchesAll(context.Background(), selectors, device)
		if err != nil {
			return nil, err
		}
		if _, err := consumption(want.capacity, device.Capacity); err != nil || !matches {
			continue
		}
		if !slices.ContainsFunc(all, func(g given) bool { return g.device == device }) {
			return nil, fmt.Errorf("wants all, and has not got %v", id)
		}
	}
	return all, nil
}

// validDevice judges whether a request may have this device at all.
func (c *checker) validDevice(
	want *wanted, selectors []resourceapi.DeviceSelector, result *resourceapi.DeviceRequestAllocationResult,
	device *published,
) error {
	if admin := result.AdminAccess != nil && *result.AdminAccess; admin != want.admin {
		return fmt.Errorf("admin access is %v", admin)
	}
	matches, err := matchesAll(context.Background(), selectors, device)
	if err != nil {
		return err
	}
	if !matches {
		return errors.New("does not match the selectors")
	}
	for _, taint := range c.taintsOf(device) {
		if !tolerated(taint, want.tolerations) {
			return fmt.Errorf("has the taint %s=%s:%s", taint.Key, taint.Value, taint.Effect)
		}
	}
	takes, err := consumption(want.capacity, device.Capacity)
	if err != nil {
		return err
	}
	if device.AllowMultipleAllocations == nil || !*device.AllowMultipleAllocations {
		if result.ShareID != nil || len(result.ConsumedCapacity) > 0 {
			return errors.New("is shared, and is not for sharing")
		}
		return nil
	}
	if result.ShareID == nil {
		return errors.New("is a share without an ID")
	}
	for name, amount := range takes {
		if got, found := result.ConsumedCapacity[name]; !found || got.Cmp(amount) != 0 {
			return fmt.Errorf("has %s of %s, not %s", got.String(), name, amount.String())
		}
	}
	return nil
}
