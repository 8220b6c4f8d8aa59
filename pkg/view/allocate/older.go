package allocate

import (
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"

	"example.com/dragoman/pkg/view"
)

// The allocator is that of the newest Kubernetes. Kubernetes 1.34 reads slices in another way, which is put right here
// (structured/internal/*/pools_*.go of k8s.io/dynamic-resource-allocation v0.34 and v0.35):
//   - counters and the devices that consume them are in the same slice, where they are now in slices of their own;
//   - devices are taken from a pool of which not all slices are there, unless a request wants all devices;
//   - a search that comes to an invalid pool ends the whole attempt, and not only that on the node.

// TakesFromPartsOfPools says whether the scheduler of a version takes devices from a pool of which not all slices are
// there.
func TakesFromPartsOfPools(version string) bool { return isOlder(version, 35) }

type poolID struct{ driver, name string }

func poolOf(s *resourceapi.ResourceSlice) poolID { return poolID{s.Spec.Driver, s.Spec.Pool.Name} }

// readAsIn134 returns slices that the allocator reads as Kubernetes 1.34 would have read the given ones.
func readAsIn134(given []*resourceapi.ResourceSlice) []*resourceapi.ResourceSlice {
	var read []*resourceapi.ResourceSlice
	for _, s := range given {
		s = s.DeepCopy()
		if len(s.Spec.SharedCounters) > 0 {
			read = append(read, takeCounters(s))
		}
		read = append(read, s)
	}
	type generation struct {
		poolID
		number int64
	}
	count := make(map[generation]int64)
	for _, s := range read {
		count[generation{poolOf(s), s.Spec.Pool.Generation}]++
	}
	for _, s := range read {
		s.Spec.Pool.ResourceSliceCount = count[generation{poolOf(s), s.Spec.Pool.Generation}]
	}
	return read
}

// takeCounters moves the counters of a slice into one of their own. Names of counter sets are the slice's: another
// slice of the pool may have the same.
func takeCounters(s *resourceapi.ResourceSlice) *resourceapi.ResourceSlice {
	counters := s.DeepCopy()
	counters.Name += "/counters"
	counters.Spec.Devices = nil
	own := func(set string) string { return s.Name + "/" + set }
	for i := range counters.Spec.SharedCounters {
		counters.Spec.SharedCounters[i].Name = own(counters.Spec.SharedCounters[i].Name)
	}
	s.Spec.SharedCounters = nil
	for i := range s.Spec.Devices {
		for j := range s.Spec.Devices[i].ConsumesCounters {
			consumed := &s.Spec.Devices[i].ConsumesCounters[j]
			consumed.CounterSet = own(consumed.CounterSet)
		}
	}
	return counters
}

// partOf134 is the error with which Kubernetes 1.34 gives up on a request for all devices: of some pool, the slices
// that the node can use are not as many as the pool has.
func partOf134(given []*resourceapi.ResourceSlice, node *corev1.Node, claims []*resourceapi.ResourceClaim) error {
	claim, request := wantsAll(claims)
	if claim == nil {
		return nil
	}
	usable := make(map[poolID][]*resourceapi.ResourceSlice)
	for _, s := range given {
		id := poolOf(s)
		if !usableOn(s, node) || len(usable[id]) > 0 && s.Spec.Pool.Generation < usable[id][0].Spec.Pool.Generation {
			continue
		}
		if len(usable[id]) > 0 && s.Spec.Pool.Generation > usable[id][0].Spec.Pool.Generation {
			usable[id] = nil
		}
		usable[id] = append(usable[id], s)
	}
	var partial []string
	for id, here := range usable {
		if here[0].Spec.Pool.ResourceSliceCount != int64(len(here)) {
			partial = append(partial, id.driver+"/"+id.name)
		}
	}
	if len(partial) == 0 {
		return nil
	}
	return fmt.Errorf("claim %s/%s, request %s: asks for all devices, but resource pool %s is currently being updated",
		claim.Namespace, claim.Name, request, slices.Min(partial))
}

// invalidOf134 is the error with which Kubernetes 1.34 gives up where the valid pools do not do. It says which pool it
// is; of several any may be met first.
func invalidOf134(c *view.Cluster, node *corev1.Node) error {
	for _, pool := range c.Pools() {
		usable := slices.ContainsFunc(pool.Slices, func(s *resourceapi.ResourceSlice) bool { return usableOn(s, node) })
		if pool.Problem != "" && usable {
			return fmt.Errorf("resource pool %s/%s is invalid: %s", pool.Driver, pool.Name, pool.Problem)
		}
	}
	return errors.New("a resource pool is invalid")
}

func usableOn(s *resourceapi.ResourceSlice, node *corev1.Node) bool {
	// Without devices the place is the slice's own, if it has one.
	devices := s.Spec.Devices
	if len(devices) == 0 {
		devices = []resourceapi.Device{{}}
	}
	for i := range devices {
		if has, err := view.PlaceOf(s, &devices[i]).Has(node); err == nil && has {
			return true
		}
	}
	return false
}

func wantsAll(claims []*resourceapi.ResourceClaim) (*resourceapi.ResourceClaim, string) {
	for _, claim := range claims {
		for i := range claim.Spec.Devices.Requests {
			r := &claim.Spec.Devices.Requests[i]
			if r.Exactly != nil && r.Exactly.AllocationMode == resourceapi.DeviceAllocationModeAll {
				return claim, r.Name
			}
			for _, sub := range r.FirstAvailable {
				if sub.AllocationMode == resourceapi.DeviceAllocationModeAll {
					return claim, sub.Name
				}
			}
		}
	}
	return nil, ""
}
