package collect

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"

	"example.com/dragoman/pkg/view"
)

// settle is how long what else changes is waited for before a change is told: a driver that publishes its slices anew
// writes many objects at once.
const settle = 200 * time.Millisecond

// pause is how long a server that does not answer, or has ended a watch, is left alone.
const pause = time.Second

// Watch calls changed with the cluster as it is, when everything wanted has been seen, and again whenever something of
// it has changed, until the context ends; then it returns nil. Changes that come together are told together.
//
// The calls come one after the other, with a cluster of its own each; the objects are shared. While the server does not
// answer for a kind, its objects stay as they were, and Unseen says so. Pods to have whole and events are not watched:
// the cluster has none of them. An error means that nothing can be watched, as with Look.
func (c *Collector) Watch(ctx context.Context, want Want, changed func(*view.Cluster)) error {
	want.Whole, want.EventsFor = nil, nil
	ctx, cancel := context.WithCancel(ctx)
	f := &following{sight: sight{collector: c, want: want}, changes: make(chan struct{}, 1)}
	defer f.watches.Wait()
	defer cancel()

	var group sync.WaitGroup
	group.Go(func() { f.cluster.Version = c.version(ctx) })
	for _, k := range c.kinds(want) {
		if k, can := k.(follower); can {
			group.Go(func() { k.follow(ctx, f) })
		}
	}
	group.Wait()
	if ctx.Err() != nil {
		return nil
	}
	if _, err := f.end(ctx); err != nil {
		return fmt.Errorf("watch the cluster: %w", err)
	}
	f.tell(ctx, changed)
	return nil
}

// following is a look that goes on. Its cluster has what does not change: the version, and what was unseen at first.
type following struct {
	sight
	changes chan struct{} // has something in it if there is something to tell
	watches sync.WaitGroup
	shelves []shelver // guarded by mu until all are there
}

// shelver has the objects of one kind.
type shelver interface {
	// put adds the objects to a cluster, and says whether they have been seen at all.
	put(*view.Cluster) bool
}

func (f *following) tell(ctx context.Context, changed func(*view.Cluster)) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.changes:
		}
		if f.now() == nil {
			continue // not everything has been seen yet
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(settle):
		}
		select {
		case <-f.changes: // told with what is told now
		default:
		}
		if cluster := f.now(); cluster != nil {
			changed(cluster)
		}
	}
}

// now returns the cluster as it is, or nil if part of it has not been seen yet.
func (f *following) now() *view.Cluster {
	cluster := f.cluster
	cluster.Unseen = slices.Clone(f.cluster.Unseen)
	for _, s := range f.shelves {
		if !s.put(&cluster) {
			return nil
		}
	}
	arrange(&cluster)
	return &cluster
}

// notify says that there is something to tell.
func (f *following) notify() {
	select {
	case f.changes <- struct{}{}:
	default:
	}
}

func (k kind[L, I, T]) follow(ctx context.Context, f *following) {
	k.somewhere(ctx, &f.sight, func(namespace string) error {
		err := k.probe(ctx, namespace)
		if err == nil {
			k.watch(ctx, f, namespace)
		}
		return err
	})
}

// probe asks for one object, to learn whether the user may.
func (k kind[L, I, T]) probe(ctx context.Context, namespace string) error {
	_, err := k.in(namespace).List(ctx, metav1.ListOptions{Limit: 1})
	return err
}

// watch keeps a shelf up to date until the context ends.
func (k kind[L, I, T]) watch(ctx context.Context, f *following, namespace string) {
	s := &shelf[L, I, T]{kind: k, following: f, namespace: namespace, objects: map[string]*T{}, odd: map[string]error{}}
	f.saw()
	f.mu.Lock()
	f.shelves = append(f.shelves, s)
	f.mu.Unlock()
	reflector := cache.NewReflectorWithOptions(s.source(), new(I), s, cache.ReflectorOptions{Name: "kubectl-dra"})
	f.watches.Go(func() {
		for ctx.Err() == nil {
			_ = reflector.ListAndWatchWithContext(ctx) // what goes wrong is noted where it is asked
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
		}
	})
}
