package collect

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"example.com/dragoman/pkg/view"
)

// sight is one look in progress.
type sight struct {
	collector *Collector
	want      Want
	cluster   view.Cluster // each kind writes a list of its own; what several write needs the lock

	mu    sync.Mutex
	whole []*corev1.Pod
	seen  int
	errs  []error // why something is unseen
}

// saw notes that something could be looked at, even if nothing was there.
func (s *sight) saw() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen++
}

// missed notes what could not be seen, and why. That this release has no such kind keeps nobody from seeing anything.
func (s *sight) missed(u view.Unseen, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cluster.Unseen = append(s.cluster.Unseen, u)
	if !u.NotServed {
		s.errs = append(s.errs, err)
	}
}

// end returns what was seen, in order, or an error if that says nothing.
func (s *sight) end(ctx context.Context) (*view.Cluster, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	for _, u := range s.cluster.Unseen {
		if u.NotServed && u.Resource == slicesName {
			return nil, s.collector.tooOld(ctx, s.cluster.Version)
		}
	}
	if s.seen == 0 {
		return nil, nothingSeen(s.errs)
	}
	s.putWhole()
	arrange(&s.cluster)
	return &s.cluster, nil
}

// nothingSeen makes one error of those of all kinds. A server that cannot be reached says so for each of them.
func nothingSeen(errs []error) error {
	if len(errs) == 0 {
		return errors.New("nothing was asked for")
	}
	slices.SortFunc(errs, func(a, b error) int { return cmp.Compare(a.Error(), b.Error()) })
	for _, err := range errs {
		if !apierrors.IsForbidden(err) {
			return err
		}
	}
	return fmt.Errorf("this user may see nothing that is needed: %w", errors.Join(errs...))
}

// putWhole puts the pods that were asked for whole in the place of what their list has of them.
func (s *sight) putWhole() {
	for _, whole := range s.whole {
		s.cluster.Pods = slices.DeleteFunc(s.cluster.Pods, func(listed *corev1.Pod) bool {
			return listed.Namespace == whole.Namespace && listed.Name == whole.Name
		})
		s.cluster.Pods = append(s.cluster.Pods, whole)
	}
}

// arrange sorts what is in a cluster.
func arrange(c *view.Cluster) {
	byName(c.Nodes)
	byName(c.Namespaces)
	byName(c.Pods)
	byName(c.Slices)
	byName(c.Classes)
	byName(c.Claims)
	byName(c.Templates)
	byName(c.TaintRules)
	slices.SortFunc(c.Events, func(a, b *corev1.Event) int {
		return cmp.Or(happened(a).Compare(happened(b).Time), cmp.Compare(a.Namespace, b.Namespace),
			cmp.Compare(a.Name, b.Name))
	})
	slices.SortFunc(c.Unseen, func(a, b view.Unseen) int {
		return cmp.Or(cmp.Compare(a.Resource, b.Resource), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Why, b.Why))
	})
	c.Unseen = slices.Compact(c.Unseen)
}

func byName[T metav1.Object](objects []T) {
	slices.SortFunc(objects, func(a, b T) int {
		return cmp.Or(cmp.Compare(a.GetNamespace(), b.GetNamespace()), cmp.Compare(a.GetName(), b.GetName()))
	})
}

// happened is when an event happened last. Who writes events fills in one of several fields.
func happened(e *corev1.Event) metav1.Time {
	switch {
	case e.Series != nil && !e.Series.LastObservedTime.IsZero():
		return metav1.Time(e.Series.LastObservedTime)
	case !e.LastTimestamp.IsZero():
		return e.LastTimestamp
	case !e.EventTime.IsZero():
		return metav1.Time(e.EventTime)
	}
	return e.CreationTimestamp
}
