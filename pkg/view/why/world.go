package why

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/types"

	"example.com/dragoman/pkg/view"
	"example.com/dragoman/pkg/view/allocate"
)

// world is a cluster with the indexes that explaining needs.
type world struct {
	*view.Cluster
	allocations *view.Allocations
	pools       []view.Pool
	devices     []*device
	byNode      map[string][]*device // whose slice names the node
	shared      []*device            // all others
	counters    map[poolID]counterSets
	claims      map[types.NamespacedName]*resourceapi.ResourceClaim
	nodes       []*corev1.Node
	// partial says that devices are taken from pools of which not all slices are there, as Kubernetes 1.34 does.
	partial bool
	// madeUp says that no node could be seen, and nodes are those of allocate.NodesOf.
	madeUp bool
}

type poolID struct{ driver, name string }

// device is one that a slice of the newest generation of its pool has.
type device struct {
	id     view.DeviceID
	pool   *view.Pool
	spec   *resourceapi.Device
	place  view.Place
	taints []view.Taint
	uses   []view.Use
}

func newWorld(c *view.Cluster) *world {
	w := &world{Cluster: c, allocations: view.NewAllocations(c), pools: c.Pools(), byNode: make(map[string][]*device)}
	for i := range w.pools {
		pool := &w.pools[i]
		for _, slice := range pool.Slices {
			for j := range slice.Spec.Devices {
				w.add(pool, slice, &slice.Spec.Devices[j])
			}
		}
	}
	w.partial = allocate.TakesFromPartsOfPools(c.Version)
	w.claims = make(map[types.NamespacedName]*resourceapi.ResourceClaim, len(c.Claims))
	for _, claim := range c.Claims {
		w.claims[types.NamespacedName{Namespace: claim.Namespace, Name: claim.Name}] = claim
	}
	w.counters = countersLeft(w)
	w.nodes, w.madeUp = slices.Clone(allocate.NodesOf(c)), len(c.Nodes) == 0
	if w.madeUp {
		return w
	}
	slices.SortFunc(w.nodes, func(a, b *corev1.Node) int { return strings.Compare(a.Name, b.Name) })
	return w
}

func (w *world) add(pool *view.Pool, slice *resourceapi.ResourceSlice, spec *resourceapi.Device) {
	id := view.DeviceID{Driver: pool.Driver, Pool: pool.Name, Device: spec.Name}
	d := &device{
		id: id, pool: pool, spec: spec, place: view.PlaceOf(slice, spec),
		taints: w.Taints(pool.Driver, pool.Name, spec), uses: w.allocations.Of(id),
	}
	w.devices = append(w.devices, d)
	if d.place.Node != "" {
		w.byNode[d.place.Node] = append(w.byNode[d.place.Node], d)
	} else {
		w.shared = append(w.shared, d)
	}
}

// on returns the devices that the node can use, in the order of pools.
func (w *world) on(node *corev1.Node) []*device {
	devices := slices.Clone(w.byNode[node.Name])
	for _, d := range w.shared {
		if has, err := d.place.Has(node); err == nil && has {
			devices = append(devices, d)
		}
	}
	return devices
}

func (w *world) pod(key types.NamespacedName) *corev1.Pod {
	return view.Find(w.Pods, key.Namespace, key.Name)
}

func (w *world) claim(namespace, name string) *resourceapi.ResourceClaim {
	return w.claims[types.NamespacedName{Namespace: namespace, Name: name}]
}

func (w *world) class(name string) *resourceapi.DeviceClass { return view.Find(w.Classes, "", name) }

// users are who holds a device as a whole or in shares, as `kubectl dra devices` names them: pods, or else the claim.
// The number of them is that of all.
func users(uses []view.Use) []string {
	var names []string
	for _, u := range uses {
		if u.AdminAccess {
			continue
		}
		for _, p := range u.Pods {
			names = append(names, p.String())
		}
		for _, o := range u.Others {
			names = append(names, o.Resource+" "+u.Claim.Namespace+"/"+o.Name)
		}
		if len(u.Pods)+len(u.Others) == 0 {
			names = append(names, "claim "+u.Claim.String()+" (no pod)")
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
