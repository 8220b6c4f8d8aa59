package load

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	resourceclient "k8s.io/client-go/kubernetes/typed/resource/v1"
)

// watchRetry is how long it waits before it asks again for a watch that could not be had.
const watchRetry = 50 * time.Millisecond

// recorder follows a driver's slices of one node in the API server, by a watch of its own. It lists them once: a list
// of 10,000 devices would cost more than what is measured.
type recorder struct {
	client   resourceclient.ResourceSliceInterface
	selector string
	stop     context.CancelFunc
	running  sync.WaitGroup

	mutex   sync.Mutex
	ledger  *sliceLedger
	version string        // of the last event
	changed chan struct{} // closed and replaced upon every event
	problem error         // why there is no watch at the moment
}

// record begins to follow the slices; those that are there are known and no writes.
func record(ctx context.Context, client kubernetes.Interface, node, driver string) (*recorder, error) {
	r := &recorder{
		client: client.ResourceV1().ResourceSlices(), ledger: newSliceLedger(), changed: make(chan struct{}),
		selector: fields.Set{
			resourceapi.ResourceSliceSelectorNodeName: node, resourceapi.ResourceSliceSelectorDriver: driver,
		}.String(),
	}
	if err := r.list(ctx); err != nil {
		return nil, err
	}
	r.begin()
	following, stop := context.WithCancel(context.Background())
	r.stop = stop
	r.running.Go(func() { r.follow(following) })
	return r, nil
}

// close ends the watch.
func (r *recorder) close() {
	r.stop()
	r.running.Wait()
}

// begin begins a stretch, in which writes are counted from 0.
func (r *recorder) begin() {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.ledger.begin()
}

// now is what has been seen.
func (r *recorder) now() seen {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return r.ledger.seen
}

// until waits until what is seen is as wanted, and returns it; with an error, what was seen last.
func (r *recorder) until(ctx context.Context, wanted func(seen) bool) (seen, error) {
	for {
		now, changed, problem := r.look()
		if wanted(now) {
			return now, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return now, errors.Join(fmt.Errorf("wait for slices; there are %d with %d devices, complete: %t: %w",
				now.slices, now.devices, !now.complete.IsZero(), ctx.Err()), problem)
		}
	}
}

// quiet waits until so long nothing was written, from now on or from the last write in the stretch.
func (r *recorder) quiet(ctx context.Context, long time.Duration) (seen, error) {
	for {
		now, changed, problem := r.look()
		timer := time.NewTimer(long)
		select {
		case <-changed:
			timer.Stop()
		case <-timer.C:
			return now, problem
		case <-ctx.Done():
			timer.Stop()
			return now, fmt.Errorf("wait until no slice was written for %v; there were %d writes: %w", long,
				now.writes.total(), ctx.Err())
		}
	}
}

func (r *recorder) look() (seen, <-chan struct{}, error) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return r.ledger.seen, r.changed, r.problem
}

// note changes what is known, and tells those who wait.
func (r *recorder) note(version string, change func(*sliceLedger)) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.version = version
	change(r.ledger)
	close(r.changed)
	r.changed = make(chan struct{})
}

func (r *recorder) list(ctx context.Context) error {
	list, err := r.client.List(ctx, metav1.ListOptions{FieldSelector: r.selector})
	if err != nil {
		return fmt.Errorf("list slices: %w", err)
	}
	at := time.Now()
	r.note(list.ResourceVersion, func(l *sliceLedger) { l.list(list.Items, at) })
	return nil
}

// follow keeps the watch up: where it ends it goes on with the next event, or with a list if that one is lost.
func (r *recorder) follow(ctx context.Context) {
	for ctx.Err() == nil {
		err := r.watch(ctx)
		if apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
			err = r.list(ctx)
		}
		r.mutex.Lock()
		r.problem = err
		r.mutex.Unlock()
		if err == nil {
			continue
		}
		select {
		case <-time.After(watchRetry):
		case <-ctx.Done():
		}
	}
}

// watch follows until the watch ends; nil if it just ended.
func (r *recorder) watch(ctx context.Context) error {
	events, err := r.client.Watch(ctx, metav1.ListOptions{
		FieldSelector: r.selector, ResourceVersion: r.version, AllowWatchBookmarks: true,
	})
	if err != nil {
		return fmt.Errorf("watch slices: %w", err)
	}
	defer events.Stop()
	r.mutex.Lock()
	r.problem = nil
	r.mutex.Unlock()
	for {
		select {
		case event, more := <-events.ResultChan():
			if !more {
				return nil
			}
			if err := r.event(event, time.Now()); err != nil {
				return err
			}
		case <-ctx.Done():
			return nil
		}
	}
}

func (r *recorder) event(event watch.Event, at time.Time) error {
	switch slice, ok := event.Object.(*resourceapi.ResourceSlice); {
	case event.Type == watch.Error:
		return fmt.Errorf("watch slices: %w", apierrors.FromObject(event.Object))
	case !ok:
		return fmt.Errorf("watch slices: got a %T", event.Object)
	case event.Type == watch.Bookmark:
		r.mutex.Lock()
		defer r.mutex.Unlock()
		r.version = slice.ResourceVersion
	default:
		r.note(slice.ResourceVersion, func(l *sliceLedger) { l.event(event.Type, slice, at) })
	}
	return nil
}
