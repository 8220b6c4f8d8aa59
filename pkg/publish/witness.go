package publish

import (
	"context"
	"maps"
	"slices"
	"sync"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	resourceclient "k8s.io/client-go/kubernetes/typed/resource/v1"
	"k8s.io/client-go/util/watchlist"

	"example.com/dragoman/pkg/equal"
)

// witness knows which slices the API server holds, since all that the controller lists and watches passes through it.
// It believes nothing else: not even that a write which was accepted is still there.
type witness struct {
	changed func()                     // called after what is held changed
	called  func(verb Verb, err error) // called after each request

	mu      sync.Mutex
	wanted  []resourceapi.ResourceSliceSpec // what was published last
	held    map[string]*resourceapi.ResourceSlice
	listing map[string]*resourceapi.ResourceSlice // what a list in progress has brought so far
	watch   int                                   // the current watch; what earlier ones still bring does not count
}

// slices returns what the API server holds, ordered by name.
func (w *witness) slices() []*resourceapi.ResourceSlice {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.SortedFunc(maps.Values(w.held), byName)
}

// expect says what was published last.
func (w *witness) expect(wanted []resourceapi.ResourceSliceSpec) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wanted = wanted
}

// share lets a slice that is as it was published have the devices that were published, rather than a copy of them. The
// controller keeps what passes through here: a large machine would be in memory twice.
func (w *witness) share(slice *resourceapi.ResourceSlice) {
	if index, ok := indexOf(slice.Name); ok && index < len(w.wanted) {
		shareDevices(slice, w.wanted[index].Devices)
	}
}

// shareDevices replaces the devices of a slice by the same ones, if they are.
func shareDevices(slice *resourceapi.ResourceSlice, devices []resourceapi.Device) {
	same := func(a, b []resourceapi.Device) bool { return equality.Semantic.DeepEqual(a, b) } // the times of taints too
	if equal.Devices(slice.Spec.Devices, devices, same) {
		slice.Spec.Devices = devices
	}
}

// listed takes one page of a list.
func (w *witness) listed(list *resourceapi.ResourceSliceList, first bool) {
	w.mu.Lock()
	if first || w.listing == nil {
		w.watch++
		w.listing = make(map[string]*resourceapi.ResourceSlice)
	}
	for i := range list.Items {
		w.share(&list.Items[i])
		w.listing[list.Items[i].Name] = &list.Items[i]
	}
	complete := list.Continue == ""
	if complete {
		w.held, w.listing = w.listing, nil
	}
	w.mu.Unlock()
	if complete {
		w.changed()
	}
}

// watching begins a watch; one that brings everything first, in place of a list, does so until its bookmark.
func (w *witness) watching(bringsAll bool) watch.FilterFunc {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.watch++
	current := w.watch
	if bringsAll {
		w.listing = make(map[string]*resourceapi.ResourceSlice)
	}
	return func(event watch.Event) (watch.Event, bool) {
		if w.saw(event, current, bringsAll) {
			w.changed()
		}
		return event, true
	}
}

// saw takes an event of a watch and says whether what is held changed.
func (w *witness) saw(event watch.Event, of int, bringsAll bool) bool {
	slice, ok := event.Object.(*resourceapi.ResourceSlice)
	w.mu.Lock()
	defer w.mu.Unlock()
	if !ok || of != w.watch {
		return false
	}
	into := w.held
	if bringsAll && w.listing != nil {
		into = w.listing
	}
	switch event.Type {
	case watch.Added, watch.Modified:
		w.share(slice)
		into[slice.Name] = slice
	case watch.Deleted:
		delete(into, slice.Name)
	case watch.Bookmark:
		if w.listing == nil || !bringsAll || slice.Annotations[metav1.InitialEventsAnnotationKey] != "true" {
			return false
		}
		w.held, w.listing = w.listing, nil
		return true
	default:
		return false
	}
	return w.listing == nil
}

// client is a client whose ResourceSlices pass through a witness.
type client struct {
	kubernetes.Interface
	witness *witness
}

func (c client) ResourceV1() resourceclient.ResourceV1Interface {
	return resourceV1{c.Interface.ResourceV1(), c.witness}
}

// IsWatchListSemanticsUnSupported passes on what informers ask fake clients.
func (c client) IsWatchListSemanticsUnSupported() bool {
	return watchlist.DoesClientNotSupportWatchListSemantics(c.Interface)
}

type resourceV1 struct {
	resourceclient.ResourceV1Interface
	witness *witness
}

func (r resourceV1) ResourceSlices() resourceclient.ResourceSliceInterface {
	return resourceSlices{r.ResourceV1Interface.ResourceSlices(), r.witness}
}

type resourceSlices struct {
	resourceclient.ResourceSliceInterface
	witness *witness
}

func (r resourceSlices) Create(
	ctx context.Context, slice *resourceapi.ResourceSlice, o metav1.CreateOptions,
) (*resourceapi.ResourceSlice, error) {
	stored, err := r.ResourceSliceInterface.Create(ctx, slice, o)
	if err == nil {
		shareDevices(stored, slice.Spec.Devices) // the controller compares them, and keeps what was stored for a while
	}
	if len(o.DryRun) > 0 {
		r.witness.called(Rehearse, err)
	} else {
		r.witness.called(Create, err)
	}
	return stored, err
}

func (r resourceSlices) Update(
	ctx context.Context, slice *resourceapi.ResourceSlice, o metav1.UpdateOptions,
) (*resourceapi.ResourceSlice, error) {
	stored, err := r.ResourceSliceInterface.Update(ctx, slice, o)
	r.witness.called(Update, err)
	return stored, err
}

func (r resourceSlices) Delete(ctx context.Context, name string, o metav1.DeleteOptions) error {
	err := r.ResourceSliceInterface.Delete(ctx, name, o)
	if !apierrors.IsNotFound(err) { // To be gone is what was wanted.
		r.witness.called(Delete, err)
	}
	return err
}

func (r resourceSlices) List(ctx context.Context, o metav1.ListOptions) (*resourceapi.ResourceSliceList, error) {
	list, err := r.ResourceSliceInterface.List(ctx, o)
	r.witness.called(List, err)
	if err == nil {
		r.witness.listed(list, o.Continue == "")
	}
	return list, err
}

func (r resourceSlices) Watch(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
	// Before the request, since events may come before it returns.
	filter := r.witness.watching(o.SendInitialEvents != nil && *o.SendInitialEvents)
	w, err := r.ResourceSliceInterface.Watch(ctx, o)
	r.witness.called(Watch, err)
	if err != nil {
		return nil, err
	}
	return watch.Filter(w, filter), nil
}
