package collect_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/api/resource/v1alpha3"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"

	"example.com/dragoman/pkg/view/collect"
)

// server answers as an API server does, from what it is told to have. Paths that it does not have are not found.
type server struct {
	url string

	mu        sync.Mutex
	lists     map[string][]runtime.Object // by path: "/api/v1/pods"
	documents map[string]any
	refuses   map[string]error
	watchers  map[string][]chan map[string]any // by path
	expires   int                              // how often a page that continues another one is refused as too old
	asked     []string
}

func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{
		lists: map[string][]runtime.Object{
			path("resourceslices"): nil, path("deviceclasses"): nil, path("resourceclaims"): nil,
			path("resourceclaimtemplates"): nil, "/api/v1/pods": nil, "/api/v1/nodes": nil, "/api/v1/namespaces": nil,
			"/api/v1/events": nil,
		},
		documents: map[string]any{
			"/version":                   map[string]string{"gitVersion": "v1.36.1"},
			"/apis/resource.k8s.io":      metav1.APIGroup{Versions: []metav1.GroupVersionForDiscovery{{Version: "v1"}}},
			"/apis/resource.k8s.io/v1":   serving("resourceslices", "deviceclasses", "resourceclaims", "resourceclaimtemplates"),
			"/api/v1/namespaces/default": &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}},
		},
		refuses:  map[string]error{},
		watchers: map[string][]chan map[string]any{},
	}
	listener := httptest.NewServer(s)
	t.Cleanup(listener.Close)
	s.url = listener.URL
	return s
}

func path(resource string) string { return "/apis/resource.k8s.io/v1/" + resource }

func serving(resources ...string) metav1.APIResourceList {
	var list metav1.APIResourceList
	for _, r := range resources {
		list.APIResources = append(list.APIResources, metav1.APIResource{Name: r})
	}
	return list
}

func forbidden(resource string) error {
	return apierrors.NewForbidden(schema.GroupResource{Resource: resource}, "", errors.New("no role binds it"))
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.URL.Query().Get("watch") != "" && s.refuses["watch "+r.URL.Path] == nil {
		s.asked = append(s.asked, r.URL.RequestURI())
		s.stream(w, r)
		return
	}
	s.asked = append(s.asked, r.URL.RequestURI())
	w.Header().Set("Content-Type", "application/json")
	objects, listed := s.lists[r.URL.Path]
	document, there := s.documents[r.URL.Path]
	switch err := s.refuses[r.URL.Path]; {
	case err != nil:
		refuse(w, err)
	case r.URL.Query().Get("watch") != "":
		refuse(w, s.refuses["watch "+r.URL.Path])
	case listed && r.URL.Query().Get("continue") != "" && s.expires > 0:
		s.expires--
		refuse(w, apierrors.NewResourceExpired("the pages are too old"))
	case listed:
		answer(w, page(objects, r))
	case there:
		answer(w, document)
	default:
		refuse(w, apierrors.NewNotFound(schema.GroupResource{}, r.URL.Path))
	}
}

// stream answers a watch with what happens from now on, until the client or the server ends it. It is called with the
// lock, which it gives up meanwhile.
func (s *server) stream(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if r.URL.Query().Get("sendInitialEvents") != "" { // as servers do that do not know it
		refuse(w, apierrors.NewInvalid(schema.GroupKind{Kind: "ListOptions"}, "", nil))
		return
	}
	events := make(chan map[string]any, 100)
	s.watchers[r.URL.Path] = append(s.watchers[r.URL.Path], events)
	s.mu.Unlock()
	defer s.mu.Lock()
	flush := func() { _ = http.NewResponseController(w).Flush() }
	flush()
	for {
		select {
		case <-r.Context().Done():
			return
		case event, open := <-events:
			if !open {
				return
			}
			answer(w, event)
			flush()
		}
	}
}

// happens tells all who watch a path of something, and changes its list.
func (s *server) happens(t *testing.T, path, what string, o runtime.Object) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	version, kind := kindOf(path)
	o.GetObjectKind().SetGroupVersionKind(schema.FromAPIVersionAndKind(version, kind))
	name := func(o runtime.Object) string { return o.(metav1.Object).GetName() }
	s.lists[path] = slices.DeleteFunc(s.lists[path], func(old runtime.Object) bool { return name(old) == name(o) })
	if what != "DELETED" {
		s.lists[path] = append(s.lists[path], o)
	}
	for _, watcher := range s.watchers[path] {
		watcher <- map[string]any{"type": what, "object": o}
	}
}

// page cuts a list as the parameters say; the continue token is the index.
func page(objects []runtime.Object, r *http.Request) map[string]any {
	begin, _ := strconv.Atoi(r.URL.Query().Get("continue"))
	end := len(objects)
	meta := map[string]any{"resourceVersion": "1"}
	if limit, _ := strconv.Atoi(r.URL.Query().Get("limit")); limit > 0 && begin+limit < end {
		end = begin + limit
		meta["continue"] = strconv.Itoa(end)
	}
	version, kind := kindOf(r.URL.Path)
	return map[string]any{"kind": kind + "List", "apiVersion": version, "metadata": meta, "items": objects[begin:end]}
}

func kindOf(path string) (version, kind string) {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	version = parts[1]
	if parts[0] == "apis" {
		version += "/" + parts[2]
	}
	return version, map[string]string{
		"resourceslices": "ResourceSlice", "deviceclasses": "DeviceClass", "resourceclaims": "ResourceClaim",
		"resourceclaimtemplates": "ResourceClaimTemplate", "devicetaintrules": "DeviceTaintRule", "pods": "Pod",
		"nodes": "Node", "namespaces": "Namespace", "events": "Event",
	}[parts[len(parts)-1]]
}

func refuse(w http.ResponseWriter, err error) {
	status := err.(apierrors.APIStatus).Status()
	status.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}
	w.WriteHeader(int(status.Code))
	answer(w, &status)
}

func answer(w http.ResponseWriter, what any) { _ = json.NewEncoder(w).Encode(what) }

// times says how often something was asked for.
func (s *server) times(prefix string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(slices.DeleteFunc(slices.Clone(s.asked), func(uri string) bool { return !strings.HasPrefix(uri, prefix) }))
}

func (s *server) collector(t *testing.T) *collect.Collector {
	t.Helper()
	c, err := collect.New(&rest.Config{Host: s.url})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func meta(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: namespace, Name: name, ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "somebody"}},
		Annotations: map[string]string{"kubectl.kubernetes.io/last-applied-configuration": "{}", "mine": "yes"},
	}
}

func claim(namespace, name string) *resourceapi.ResourceClaim {
	return &resourceapi.ResourceClaim{ObjectMeta: meta(namespace, name)}
}

func slice(name string) *resourceapi.ResourceSlice {
	return &resourceapi.ResourceSlice{ObjectMeta: meta("", name)}
}

func rule(name string) *v1alpha3.DeviceTaintRule {
	return &v1alpha3.DeviceTaintRule{
		TypeMeta:   metav1.TypeMeta{APIVersion: "resource.k8s.io/v1alpha3", Kind: "DeviceTaintRule"},
		ObjectMeta: meta("", name),
	}
}

func unavailable() error { return apierrors.NewServiceUnavailable("the database is away") }

func deviceSelector(driver string) *v1alpha3.DeviceTaintSelector {
	return &v1alpha3.DeviceTaintSelector{Driver: &driver}
}

func object(fields map[string]any) runtime.Object { return &unstructured.Unstructured{Object: fields} }
