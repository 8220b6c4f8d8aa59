package view

import (
	"slices"

	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// addPool adds the chosen devices of a pool, and the counter sets that they consume from.
func (l *lister) addPool(p *Pool) {
	if l.options.Driver != "" && l.options.Driver != p.Driver {
		return
	}
	counters := NewCounters(p, l.allocations)
	members := make(map[string][]member)
	wanted := make(map[string]bool)
	first := len(l.rows)
	for _, slice := range p.Slices {
		for i := range slice.Spec.Devices {
			d := &slice.Spec.Devices[i]
			id := DeviceID{p.Driver, p.Name, d.Name}
			taints := l.cluster.Taints(p.Driver, p.Name, d)
			profile := profileOf(slice, d)
			for _, c := range d.ConsumesCounters {
				open := p.Usable() && !kept(taints) && !l.allocations.Held(id)
				members[c.CounterSet] = append(members[c.CounterSet], member{device: d, profile: profile, open: open})
			}
			place := PlaceOf(slice, d)
			where := l.where(place)
			if !l.chosen(p.Driver, where, func(node string) bool { return l.has(place, node) }) || !l.selected(id, d) {
				continue
			}
			for _, c := range d.ConsumesCounters {
				wanted[c.CounterSet] = true
			}
			row := l.row(p, d)
			row.Where, row.Taints, row.Profile = where, taints, profile
			l.decide(&row, p, d, counters)
			l.rows = append(l.rows, row)
		}
	}
	l.addCounterSets(p, counters, members, wanted, l.rows[first:])
}

// row has all of a device but its state.
func (l *lister) row(p *Pool, d *resourceapi.Device) Row {
	uses := l.allocations.Of(DeviceID{p.Driver, p.Name, d.Name})
	row := Row{
		Driver: p.Driver, Pool: p.Name, Device: d.Name, Attributes: d.Attributes, Capacity: d.Capacity,
		UsedBy: usersOf(uses), Unhealthy: unhealthy(uses),
	}
	for _, c := range d.ConsumesCounters {
		row.CounterSets = append(row.CounterSets, c.CounterSet)
	}
	if shares, ok := SharesOf(d, uses); ok {
		row.Left = shares.Left
		if shares.Percent >= 0 {
			row.SharedPercent = &shares.Percent
		}
	}
	return row
}

// decide sets the state; the order of its cases is that of the states.
func (l *lister) decide(row *Row, p *Pool, d *resourceapi.Device, counters *Counters) {
	uses := l.allocations.Of(row.ID())
	held := slices.ContainsFunc(uses, func(u Use) bool { return !u.AdminAccess })
	// A share of a device that is for one claim, since its driver changed its mind, is all of it.
	shared := ptr.Deref(d.AllowMultipleAllocations, false) &&
		!slices.ContainsFunc(uses, func(u Use) bool { return !u.AdminAccess && !u.Shared() })
	row.Reason = p.Problem
	switch {
	case held && shared:
		row.State = Shared
	case held:
		row.State = InUse
	case !p.Usable() && !p.Complete:
		row.State = PoolIncomplete
	case !p.Usable():
		row.State = PoolInvalid
	case kept(row.Taints):
		row.State = Tainted
	case !counters.Fits(d):
		row.State = Blocked
		for _, name := range counters.Blockers(d) {
			id := DeviceID{p.Driver, p.Name, name}
			row.BlockedBy = append(row.BlockedBy, Blocker{Device: name, UsedBy: usersOf(holders(l.allocations.Of(id)))})
		}
		if len(row.BlockedBy) == 0 {
			row.Reason = "the counter sets never had what the device consumes"
		}
	case l.cluster.Hides("resourceclaims"):
		row.State = MaybeFree
	default:
		row.State = Free
	}
}

// Hides says that not all objects of the resource could be seen.
func (c *Cluster) Hides(resource string) bool {
	return slices.ContainsFunc(c.Unseen, func(u Unseen) bool { return u.Resource == resource && !u.NotServed })
}

func holders(uses []Use) []Use {
	return slices.DeleteFunc(slices.Clone(uses), func(u Use) bool { return u.AdminAccess })
}

func usersOf(uses []Use) []User {
	var users []User
	for _, use := range uses {
		u := User{
			Namespace: use.Claim.Namespace, Claim: use.Claim.Name, ClaimUID: use.ClaimUID, Request: use.Request,
			AdminAccess: use.AdminAccess, Consumed: use.Consumed,
		}
		if use.ShareID != nil {
			u.ShareID = *use.ShareID
		}
		for _, pod := range use.Pods {
			u.Pods = append(u.Pods, pod.Name)
		}
		for _, other := range use.Others {
			resource := other.Resource
			if other.APIGroup != "" {
				resource += "." + other.APIGroup
			}
			u.Others = append(u.Others, resource+"/"+other.Name)
		}
		users = append(users, u)
	}
	return users
}

// unhealthy returns what drivers say of the device in the status of claims (KEP-4817), where it is not good. Only the
// conditions whose names say which way is good are read.
func unhealthy(uses []Use) []string {
	var all []string
	for _, use := range uses {
		if use.Status == nil {
			continue
		}
		for _, c := range use.Status.Conditions {
			if c.Type != "Ready" && c.Type != "Healthy" || c.Status == metav1.ConditionTrue {
				continue
			}
			text := c.Type + "=" + string(c.Status)
			if c.Message != "" {
				text += ": " + c.Message
			} else if c.Reason != "" {
				text += ": " + c.Reason
			}
			all = append(all, text)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// addCounterSets adds those of the wanted ones that the pool has, and tells whole devices what they can still give.
func (l *lister) addCounterSets(
	p *Pool, counters *Counters, members map[string][]member, wanted map[string]bool, rows []Row,
) {
	for _, slice := range p.Slices {
		for i := range slice.Spec.SharedCounters {
			name := slice.Spec.SharedCounters[i].Name
			set := counters.sets[name]
			if !wanted[name] || set.published != &slice.Spec.SharedCounters[i] {
				continue
			}
			shown := CounterSet{
				Where: l.where(PlaceOf(slice, &resourceapi.Device{})), Driver: p.Driver, Pool: p.Name, Name: name,
				Counters: set.counters(), Gives: counters.gives(members[name]),
			}
			for _, holder := range set.holders {
				uses := holders(l.allocations.Of(DeviceID{p.Driver, p.Name, holder.Name}))
				shown.Takers = append(shown.Takers, Blocker{Device: holder.Name, UsedBy: usersOf(uses)})
			}
			if i := slices.IndexFunc(members[name], func(m member) bool { return set.whole(m.device) }); i >= 0 {
				shown.Whole = members[name][i].device.Name
			}
			l.sets = append(l.sets, shown)
			at := slices.IndexFunc(rows, func(r Row) bool { return r.Device == shown.Whole })
			if at >= 0 && rows[at].State == Blocked {
				rows[at].Gives = shown.Gives
			}
		}
	}
}

// addNotPublished adds the devices that claims have and no slice of a newest generation has.
func (l *lister) addNotPublished(pools []Pool) {
	if l.class != nil || l.cluster.Hides("resourceslices") {
		return // nobody knows what they are
	}
	published, stale, known := publishedDevices(pools)
	for _, id := range l.allocations.Devices() {
		uses := l.allocations.Of(id)
		where := Where{Node: uses[0].Node}
		if published[id] || !l.chosen(id.Driver, where, func(string) bool { return false }) {
			continue
		}
		row := Row{
			Where: where, Driver: id.Driver, Pool: id.Pool, Device: id.Device, State: NotPublished, UsedBy: usersOf(uses),
			Unhealthy: unhealthy(uses),
		}
		switch {
		case stale[id]:
			row.Reason = "only slices of an older generation of the pool have it"
		case known[poolID{id.Driver, id.Pool}]:
			row.Reason = "the slices of the pool do not have it"
		default:
			row.Reason = "the pool has no slices: is the driver gone?"
		}
		l.rows = append(l.rows, row)
	}
}

func publishedDevices(pools []Pool) (published, stale map[DeviceID]bool, known map[poolID]bool) {
	published, stale, known = make(map[DeviceID]bool), make(map[DeviceID]bool), make(map[poolID]bool)
	add := func(to map[DeviceID]bool, p *Pool, all []*resourceapi.ResourceSlice) {
		for _, slice := range all {
			for i := range slice.Spec.Devices {
				to[DeviceID{p.Driver, p.Name, slice.Spec.Devices[i].Name}] = true
			}
		}
	}
	for i := range pools {
		p := &pools[i]
		known[poolID{p.Driver, p.Name}] = true
		add(published, p, p.Slices)
		add(stale, p, p.Stale)
	}
	return published, stale, known
}
