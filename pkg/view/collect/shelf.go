package collect

import (
	"context"
	"fmt"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"example.com/dragoman/pkg/view"
)

// shelf has what is kept of the objects of one kind, as the server has told of them.
type shelf[L list, I, T any] struct {
	kind      kind[L, I, T]
	following *following
	namespace string

	mu      sync.Mutex
	objects map[string]*T
	odd     map[string]error
	filled  bool
	unseen  *view.Unseen // why it may not be up to date
}

// source asks for the objects of a shelf, and notes there whether the server answers.
func (s *shelf[L, I, T]) source() cache.ListerWatcher {
	in := s.kind.in(s.namespace)
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			page, err := in.List(ctx, options)
			s.answered(ctx, "list", err)
			return page, err
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (apiwatch.Interface, error) {
			w, err := in.Watch(ctx, options)
			s.answered(ctx, "watch", err)
			return w, err
		},
	}
}

// answered notes whether the server answers a request. What the reflector does something about by itself is not told.
func (s *shelf[L, I, T]) answered(ctx context.Context, verb string, err error) {
	if ctx.Err() != nil || apierrors.IsResourceExpired(err) || apierrors.IsTooManyRequests(err) {
		return
	}
	var unseen *view.Unseen
	if err != nil {
		u := s.following.collector.unseen(ctx, s.kind.resource, verb, s.namespace, err)
		unseen = &u
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if unseen == nil && s.unseen == nil {
		return
	}
	s.unseen = unseen
	s.following.notify()
}

func (s *shelf[L, I, T]) put(c *view.Cluster) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	objects := make([]*T, 0, len(s.objects))
	for _, object := range s.objects {
		objects = append(objects, object)
	}
	*s.kind.into(c) = objects
	for _, err := range s.odd {
		c.Unseen = append(c.Unseen, view.Unseen{Resource: s.kind.resource.Resource, Why: err.Error()})
	}
	if s.unseen != nil {
		c.Unseen = append(c.Unseen, *s.unseen)
	}
	return s.filled
}

// Add is called by the reflector with an object that is new.
func (s *shelf[L, I, T]) Add(object any) error { return s.change(object, s.set) }

// Update is called by the reflector with an object that has changed.
func (s *shelf[L, I, T]) Update(object any) error { return s.change(object, s.set) }

// Delete is called by the reflector with an object that is gone.
func (s *shelf[L, I, T]) Delete(object any) error { return s.change(object, s.remove) }

// Replace is called by the reflector with all objects there are.
func (s *shelf[L, I, T]) Replace(all []any, _ string) error {
	fresh := &shelf[L, I, T]{kind: s.kind, following: s.following, objects: map[string]*T{}, odd: map[string]error{}}
	for _, object := range all {
		if err := fresh.change(object, fresh.set); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.objects, s.odd, s.filled = fresh.objects, fresh.odd, true
	s.following.notify()
	return nil
}

// Resync is called by the reflector to no end.
func (s *shelf[L, I, T]) Resync() error { return nil }

func (s *shelf[L, I, T]) change(object any, do func(key string, object *I)) error {
	item, right := object.(*I)
	if !right {
		return fmt.Errorf("watch %s: the server sent a %T", s.kind.resource.Resource, object)
	}
	key, err := cache.MetaNamespaceKeyFunc(object)
	if err != nil {
		return fmt.Errorf("watch %s: %w", s.kind.resource.Resource, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	do(key, item)
	return nil
}

// set puts what is kept of an object, if anything is, in the place of what was there.
func (s *shelf[L, I, T]) set(key string, object *I) {
	kept, err := s.kind.keep(object)
	_, was := s.objects[key]
	if kept == nil && !was && err == nil {
		return
	}
	s.remove(key, object)
	if kept != nil {
		s.objects[key] = kept
	}
	if err != nil {
		s.odd[key] = err
	}
	s.following.notify()
}

func (s *shelf[L, I, T]) remove(key string, _ *I) {
	delete(s.objects, key)
	delete(s.odd, key)
	s.following.notify()
}
