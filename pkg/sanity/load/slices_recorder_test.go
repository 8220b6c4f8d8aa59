package load

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
	k8stesting "k8s.io/client-go/testing"
)

// slice is one of so many slices of a pool, with 64 devices.
func slice(name string, version, generation, of int) *resourceapi.ResourceSlice {
	s := &resourceapi.ResourceSlice{ObjectMeta: metav1.ObjectMeta{
		Name: name, UID: types.UID("uid-" + name), ResourceVersion: fmt.Sprint(version),
	}}
	s.Spec.Pool = resourceapi.ResourcePool{Name: "pool", Generation: int64(generation), ResourceSliceCount: int64(of)}
	s.Spec.Devices = make([]resourceapi.Device, 64)
	return s
}

func TestAPoolIsCompleteWithTheEventThatCompletesIt(t *testing.T) {
	type event struct {
		kind  watch.EventType
		slice *resourceapi.ResourceSlice
	}
	both := []event{{watch.Added, slice("a", 1, 1, 2)}, {watch.Added, slice("b", 2, 1, 2)}}
	tests := map[string]struct {
		before, events []event
		complete       int // the number of the event, from 1; 0 is before the first, -1 never
		first          int
		writes         writes
		devices        int
	}{
		"one slice after the other": {nil, both, 2, 1, writes{created: 2}, 128},
		"only one of two":           {nil, both[:1], -1, 1, writes{created: 1}, 64},
		"a new generation, slice by slice": {
			both, []event{{watch.Modified, slice("a", 3, 2, 2)}, {watch.Modified, slice("b", 4, 2, 2)}},
			2, 1, writes{updated: 2}, 128,
		},
		"one device changed in a complete pool": {
			both, []event{{watch.Modified, slice("a", 3, 1, 2)}}, 0, 1, writes{updated: 1}, 128,
		},
		"deleted and made again": {
			both, []event{
				{watch.Deleted, slice("a", 3, 1, 2)}, {watch.Deleted, slice("b", 4, 1, 2)},
				{watch.Added, slice("c", 5, 1, 2)}, {watch.Added, slice("d", 6, 1, 2)},
			}, 4, 3, writes{created: 2, deleted: 2}, 128,
		},
		"deleted while the first is made again": {
			both, []event{
				{watch.Deleted, slice("a", 3, 1, 2)}, {watch.Added, slice("c", 4, 1, 2)},
				{watch.Deleted, slice("b", 5, 1, 2)}, {watch.Added, slice("d", 6, 1, 2)},
			}, 4, 2, writes{created: 2, deleted: 2}, 128,
		},
		"all deleted":     {both[:1], []event{{watch.Deleted, slice("a", 3, 1, 2)}}, -1, 0, writes{deleted: 1}, 0},
		"heard of before": {both, []event{{watch.Added, slice("a", 1, 1, 2)}}, 0, 0, writes{}, 128},
		"deleted what was not known": {
			both, []event{{watch.Deleted, slice("x", 9, 1, 2)}}, 0, 0, writes{}, 128,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			began := time.Unix(1000, 0)
			moment := func(n int) time.Time { return began.Add(time.Duration(n) * time.Second) }
			l := newSliceLedger()
			for _, e := range test.before {
				l.event(e.kind, e.slice, moment(0))
			}
			l.begin()
			for i, e := range test.events {
				l.event(e.kind, e.slice, moment(i+1))
			}
			wantComplete, wantFirst := moment(test.complete), moment(test.first)
			if test.complete < 0 {
				wantComplete = time.Time{}
			}
			if test.first == 0 {
				wantFirst = time.Time{}
			}
			if !l.complete.Equal(wantComplete) || !l.first.Equal(wantFirst) {
				t.Errorf("complete at %v, expected %v; first slice at %v, expected %v", l.complete, wantComplete, l.first,
					wantFirst)
			}
			if l.writes != test.writes || l.seen.devices != test.devices {
				t.Errorf("%+v with %d devices, expected %+v with %d", l.writes, l.seen.devices, test.writes, test.devices)
			}
		})
	}
}

func TestWhatWasWrittenWhileTheWatchWasAwayIsFoundByAList(t *testing.T) {
	l := newSliceLedger()
	for _, s := range []*resourceapi.ResourceSlice{slice("a", 1, 1, 3), slice("b", 2, 1, 3), slice("c", 3, 1, 3)} {
		l.event(watch.Added, s, time.Unix(1, 0))
	}
	l.begin()
	l.list([]resourceapi.ResourceSlice{*slice("a", 1, 1, 3), *slice("b", 5, 1, 3), *slice("d", 6, 1, 3)}, time.Unix(2, 0))
	if want := (writes{created: 1, updated: 1, deleted: 1}); l.writes != want || !l.gap {
		t.Errorf("%+v, gap %t; expected %+v and a gap", l.writes, l.gap, want)
	}
}

// watches hands a recorder one watch after the other, and says from which version each was asked for.
type watches struct {
	client *fake.Clientset
	given  chan *watch.FakeWatcher
	lists  atomic.Int32
	listed *resourceapi.ResourceSliceList
}

func newWatches() *watches {
	w := &watches{
		client: fake.NewClientset(), given: make(chan *watch.FakeWatcher), listed: &resourceapi.ResourceSliceList{},
	}
	w.client.PrependWatchReactor("resourceslices", func(k8stesting.Action) (bool, watch.Interface, error) {
		events := watch.NewFake()
		w.given <- events
		return true, events, nil
	})
	w.client.PrependReactor("list", "resourceslices", func(k8stesting.Action) (bool, runtime.Object, error) {
		w.lists.Add(1)
		return true, w.listed.DeepCopy(), nil
	})
	return w
}

func TestARecorderGoesOnWhenItsWatchEnds(t *testing.T) {
	w := newWatches()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	r, err := record(ctx, w.client, "node", "driver")
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	events := <-w.given
	events.Add(slice("a", 1, 1, 2))
	events.Stop()
	events = <-w.given
	events.Add(slice("b", 2, 1, 2))
	now, err := r.until(ctx, func(s seen) bool { return !s.complete.IsZero() })
	if err != nil || now.writes.created != 2 || now.gap {
		t.Errorf("after a watch that ended: %+v, %v; expected a complete pool, two slices created and no gap", now, err)
	}

	w.listed.Items = []resourceapi.ResourceSlice{*slice("a", 1, 1, 2), *slice("b", 7, 1, 2)}
	events.Error(&metav1.Status{Status: metav1.StatusFailure, Code: http.StatusGone, Reason: metav1.StatusReasonExpired})
	<-w.given
	if now := r.now(); w.lists.Load() != 2 || now.writes.updated != 1 || !now.gap {
		t.Errorf("after a watch whose events are lost: %d lists, %+v; expected a second list, an update and a gap",
			w.lists.Load(), now)
	}
}

func TestARecorderSaysWhatIsMissingWhenTimeIsOver(t *testing.T) {
	w := newWatches()
	w.listed.Items = []resourceapi.ResourceSlice{*slice("a", 1, 1, 2)}
	r, err := record(t.Context(), w.client, "node", "driver")
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	<-w.given
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.until(over, func(s seen) bool { return !s.complete.IsZero() }); err == nil {
		t.Error("no error though the pool is not complete")
	} else if !strings.HasPrefix(err.Error(), "wait for slices; there are 1 with 64 devices, complete: false") {
		t.Errorf("%q does not say what is there", err)
	}
	if now, err := r.quiet(t.Context(), time.Millisecond); err != nil || now.writes.total() != 0 {
		t.Errorf("quiet: %+v, %v; expected none of the slices that were there to be counted as written", now, err)
	}
}
