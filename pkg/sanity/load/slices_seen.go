package load

import (
	"time"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/watch"

	"example.com/dragoman/pkg/sanity/cluster"
)

// writes are the changes that the API server stored: what a driver asks for and changes nothing is none.
type writes struct{ created, updated, deleted int }

func (w writes) total() int { return w.created + w.updated + w.deleted }

// seen is what the API server has of a driver's slices, and since when.
type seen struct {
	slices, devices int
	// writes since the beginning of the stretch, and when it told of the first that was no deletion, of the last deletion
	// and of the last of all.
	writes               writes
	first, deleted, last time.Time
	// complete is since when a scheduler could use all pools, zero while it cannot. A stretch does not begin it anew.
	complete time.Time
	// gap says that the watch was away for so long that some writes of the stretch may not have been counted.
	gap bool
}

// sliceLedger keeps account of slices. It does not know where it hears of them.
type sliceLedger struct {
	seen
	known   map[string]resourceapi.ResourceSlice // by name, without devices
	devices map[string]int                       // by name of the slice
}

func newSliceLedger() *sliceLedger {
	return &sliceLedger{known: map[string]resourceapi.ResourceSlice{}, devices: map[string]int{}}
}

// begin begins a stretch: writes are counted from here on.
func (l *sliceLedger) begin() {
	l.writes, l.gap = writes{}, false
	l.first, l.deleted, l.last = time.Time{}, time.Time{}, time.Time{}
}

// event notes one event of a watch, heard of at a moment.
func (l *sliceLedger) event(kind watch.EventType, slice *resourceapi.ResourceSlice, at time.Time) {
	old, have := l.known[slice.Name]
	switch {
	case kind == watch.Deleted && have:
		l.writes.deleted++
		l.deleted = at
		delete(l.known, slice.Name)
		delete(l.devices, slice.Name)
	case kind == watch.Deleted, have && old.UID == slice.UID && old.ResourceVersion == slice.ResourceVersion:
		return // it is known
	default:
		if have {
			l.writes.updated++
		} else {
			l.writes.created++
		}
		if l.first.IsZero() {
			l.first = at
		}
		l.keep(slice)
	}
	l.last = at
	l.judge(at)
}

// list replaces what is known by what the API server has, after events were lost.
func (l *sliceLedger) list(all []resourceapi.ResourceSlice, at time.Time) {
	l.gap = true
	there := map[string]bool{}
	for i := range all {
		there[all[i].Name] = true
		l.event(watch.Modified, &all[i], at)
	}
	for name := range l.known {
		if !there[name] {
			slice := l.known[name]
			l.event(watch.Deleted, &slice, at)
		}
	}
}

// keep keeps what tells whether a pool is complete; the devices are most of a slice.
func (l *sliceLedger) keep(slice *resourceapi.ResourceSlice) {
	l.devices[slice.Name] = len(slice.Spec.Devices)
	small := resourceapi.ResourceSlice{ObjectMeta: slice.ObjectMeta}
	small.Spec.Pool = slice.Spec.Pool
	l.known[slice.Name] = small
}

func (l *sliceLedger) judge(at time.Time) {
	all := make([]resourceapi.ResourceSlice, 0, len(l.known))
	l.seen.slices, l.seen.devices = len(l.known), 0
	for name := range l.known {
		all = append(all, l.known[name])
		l.seen.devices += l.devices[name]
	}
	switch {
	case len(all) == 0 || cluster.Complete(all) != nil:
		l.complete = time.Time{}
	case l.complete.IsZero():
		l.complete = at
	}
}
