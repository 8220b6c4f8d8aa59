package collect

import (
	"context"
	"slices"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"

	"example.com/dragoman/pkg/view"
)

// wholePod looks at one pod by its name.
type wholePod types.NamespacedName

func (w wholePod) look(ctx context.Context, s *sight) {
	pod, err := s.collector.core.Pods(w.Namespace).Get(ctx, w.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		s.saw()
	case err != nil:
		s.missed(s.collector.unseen(ctx, core("pods"), "get", w.Namespace, err), err)
	default:
		plainMeta(&pod.ObjectMeta)
		s.saw()
		s.mu.Lock()
		defer s.mu.Unlock()
		s.whole = append(s.whole, pod)
	}
}

// namespaces looks at all namespaces, or else at those that the look is about.
type namespaces struct {
	plain[*corev1.NamespaceList, corev1.Namespace]
}

func (n namespaces) look(ctx context.Context, s *sight) {
	kept, _, err := n.all(ctx, "")
	if err == nil {
		s.cluster.Namespaces = kept
		s.saw()
		return
	}
	u := s.collector.unseen(ctx, n.resource, "list", "", err)
	for _, name := range s.want.namespaces() {
		namespace, again := s.collector.core.Namespaces().Get(ctx, name, metav1.GetOptions{})
		if again != nil {
			continue
		}
		plainMeta(&namespace.ObjectMeta)
		s.cluster.Namespaces = append(s.cluster.Namespaces, namespace)
		u.Only = name
		s.saw()
	}
	s.missed(u, err)
}

// namespaces returns the names that a look is about, each once.
func (w Want) namespaces() []string {
	names := []string{w.Namespace, w.Fallback}
	for _, pod := range w.Whole {
		names = append(names, pod.Namespace)
	}
	slices.Sort(names)
	return slices.DeleteFunc(slices.Compact(names), func(name string) bool { return name == "" })
}

// eventsFor looks at the events about one object, or about all of a kind.
type eventsFor struct {
	collector *Collector
	ref       Ref
}

func (e eventsFor) look(ctx context.Context, s *sight) {
	var found []*corev1.Event
	options := metav1.ListOptions{Limit: pageSize, FieldSelector: e.selector().String()}
	for {
		page, err := e.collector.core.Events(e.ref.Namespace).List(ctx, options)
		if apierrors.IsResourceExpired(err) && options.Continue != "" {
			found, options.Continue, options.Limit = nil, "", 0
			continue
		}
		if err != nil {
			s.missed(e.collector.unseen(ctx, core("events"), "list", e.ref.Namespace, err), err)
			return
		}
		for _, event := range page.Items {
			plainMeta(&event.ObjectMeta)
			found = append(found, &event)
		}
		if options.Continue = page.Continue; options.Continue == "" {
			break
		}
	}
	s.saw()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cluster.Events = append(s.cluster.Events, found...)
}

// eventsAtOnce is how many objects' events are asked for at once.
const eventsAtOnce = 16

// Events looks at the events about objects, as Look does, without looking at anything else: oldest first, and what
// could not be seen.
func (c *Collector) Events(ctx context.Context, about []Ref) ([]*corev1.Event, []view.Unseen) {
	s := &sight{collector: c}
	var group errgroup.Group
	group.SetLimit(eventsAtOnce)
	for _, ref := range about {
		group.Go(func() error {
			eventsFor{c, ref}.look(ctx, s)
			return nil
		})
	}
	_ = group.Wait() // they note themselves what they miss
	arrange(&s.cluster)
	return s.cluster.Events, s.cluster.Unseen
}

func (e eventsFor) selector() fields.Selector {
	of := fields.OneTermEqualSelector("involvedObject.kind", e.ref.Kind)
	if e.ref.Name != "" {
		of = fields.AndSelectors(of, fields.OneTermEqualSelector("involvedObject.name", e.ref.Name))
	}
	return of
}
