package collect

import (
	"cmp"
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"

	"example.com/dragoman/pkg/view"
)

// pageSize is how many objects are asked for at once, as kubectl does.
const pageSize = 500

// looker looks at something of the cluster and notes in s what it saw, or why it did not.
type looker interface {
	look(ctx context.Context, s *sight)
}

// follower is a looker that can go on looking.
type follower interface {
	follow(ctx context.Context, f *following)
}

// list is what a page of any kind is.
type list interface {
	runtime.Object
	metav1.ListInterface
}

// lists asks the server for the objects of one kind in one namespace, or in all.
type lists[L list] interface {
	List(ctx context.Context, options metav1.ListOptions) (L, error)
	Watch(ctx context.Context, options metav1.ListOptions) (watch.Interface, error)
}

// kind is one kind of objects: pages L of objects I become objects T of a cluster.
type kind[L list, I, T any] struct {
	resource   schema.GroupVersionResource
	namespaced bool
	// everywhere says that all namespaces are looked at even where one is wanted, which is fallen back to.
	everywhere bool
	in         func(namespace string) lists[L]
	items      func(L) []I
	// keep makes of an item what is kept of it, or nil if nothing is. The item's memory is that of its page: what is
	// kept must not lie in it. An error is about this object only, and is told as something unseen.
	keep func(*I) (*T, error)
	into func(*view.Cluster) *[]*T
}

// plain is a kind whose objects are in a cluster as the server has them.
type plain[L list, T any] = kind[L, T, T]

func (k kind[L, I, T]) look(ctx context.Context, s *sight) {
	k.somewhere(ctx, s, func(namespace string) error {
		kept, odd, err := k.all(ctx, namespace)
		if err == nil {
			k.store(s, kept, odd)
		}
		return err
	})
}

// somewhere tries something where it is wanted, and where the user may not do that, in the namespace to fall back to.
// What is not seen by that is noted.
func (k kind[L, I, T]) somewhere(ctx context.Context, s *sight, try func(namespace string) error) {
	namespace, fallback := "", ""
	switch {
	case k.everywhere:
		fallback = cmp.Or(s.want.Namespace, s.want.Fallback)
	case k.namespaced:
		namespace, fallback = s.want.Namespace, s.want.Fallback
	}
	err := try(namespace)
	if err == nil {
		return
	}
	u := s.collector.unseen(ctx, k.resource, "list", namespace, err)
	if u.Forbidden && namespace == "" && fallback != "" && try(fallback) == nil {
		u.Only = fallback
	}
	s.missed(u, err)
}

func (k kind[L, I, T]) store(s *sight, kept []*T, odd []error) {
	for _, err := range odd {
		s.missed(view.Unseen{Resource: k.resource.Resource, Why: err.Error()}, err)
	}
	*k.into(&s.cluster) = kept
	s.saw()
}

// all returns what is kept of all objects, and what is wrong with single ones.
func (k kind[L, I, T]) all(ctx context.Context, namespace string) (kept []*T, odd []error, err error) {
	options := metav1.ListOptions{Limit: pageSize}
	for {
		page, err := k.in(namespace).List(ctx, options)
		if apierrors.IsResourceExpired(err) && options.Continue != "" {
			// The server has forgotten the state that the pages are of: everything anew, at once.
			kept, odd, options = nil, nil, metav1.ListOptions{}
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		items := k.items(page)
		for i := range items {
			object, err := k.keep(&items[i])
			if err != nil {
				odd = append(odd, err)
			}
			if object != nil {
				kept = append(kept, object)
			}
		}
		if options.Continue = page.GetContinue(); options.Continue == "" {
			return kept, odd, nil
		}
	}
}

// unseen says why something could not be asked for.
func (c *Collector) unseen(
	ctx context.Context, what schema.GroupVersionResource, verb, namespace string, err error,
) view.Unseen {
	u := view.Unseen{Resource: what.Resource, Namespace: namespace, Why: err.Error()}
	switch {
	case apierrors.IsNotFound(err), apierrors.IsForbidden(err) && !c.serves(ctx, what):
		u.NotServed = true
		u.Why = fmt.Sprintf("this API server does not serve %s of %s", what.Resource, what.GroupVersion())
	case apierrors.IsForbidden(err):
		u.Forbidden = true
		u.Right = verb + " " + what.GroupResource().String()
	}
	return u
}
