package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
)

// apiServer is as much of an API server as dragoman talks to: nodes, claims and slices.
type apiServer struct {
	server *httptest.Server

	mu       sync.Mutex
	version  int
	nodes    map[string]*corev1.Node
	claims   map[string]*resourceapi.ResourceClaim // by namespace/name
	slices   map[string]*resourceapi.ResourceSlice
	watchers map[chan metav1.WatchEvent]bool
	writes   []string
	dryRuns  int
	applied  int // to the status of claims
	// admit is called before a slice is stored; it may drop fields from it or refuse it.
	admit func(*resourceapi.ResourceSlice) *apierrors.StatusError
	// trouble answers a request in the place of the server if it returns a status.
	trouble func(r *http.Request) *apierrors.StatusError
}

func newAPIServer(t *testing.T) *apiServer {
	t.Helper()
	s := &apiServer{version: 1, nodes: make(map[string]*corev1.Node),
		claims: make(map[string]*resourceapi.ResourceClaim),
		slices: make(map[string]*resourceapi.ResourceSlice), watchers: make(map[chan metav1.WatchEvent]bool)}
	s.nodes["node-a"] = &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-a", UID: "uid-of-node-a"}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v1/nodes/{name}", s.getNode)
	mux.HandleFunc("GET /apis/resource.k8s.io/v1/namespaces/{namespace}/resourceclaims/{name}", s.getClaim)
	mux.HandleFunc("PATCH /apis/resource.k8s.io/v1/namespaces/{namespace}/resourceclaims/{name}/status", s.applyStatus)
	mux.HandleFunc("GET /apis/resource.k8s.io/v1/resourceslices", s.listOrWatch)
	mux.HandleFunc("POST /apis/resource.k8s.io/v1/resourceslices", s.create)
	mux.HandleFunc("PUT /apis/resource.k8s.io/v1/resourceslices/{name}", s.update)
	mux.HandleFunc("DELETE /apis/resource.k8s.io/v1/resourceslices/{name}", s.delete)
	s.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		trouble := s.trouble
		s.mu.Unlock()
		if trouble != nil {
			if status := trouble(r); status != nil {
				refuse(w, status)
				return
			}
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		s.server.CloseClientConnections()
		s.server.Close()
	})
	return s
}

// kubeconfig is the path of a file that leads to the server.
func (s *apiServer) kubeconfig(t *testing.T) string { return kubeconfigFor(t, s.server.URL) }

func kubeconfigFor(t *testing.T, url string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf(`{"apiVersion":"v1","kind":"Config","current-context":"c",
"clusters":[{"name":"c","cluster":{"server":%q}}],"contexts":[{"name":"c","context":{"cluster":"c","user":"u"}}],
"users":[{"name":"u","user":{}}]}`, url)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func (s *apiServer) setTrouble(trouble func(r *http.Request) *apierrors.StatusError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trouble = trouble
}

// allocate makes a claim that has the given devices of pool node-a.
func (s *apiServer) allocate(name string, devices ...string) *resourceapi.ResourceClaim {
	c := &resourceapi.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "team-a", Name: name,
		UID: types.UID("uid-of-" + name)}}
	c.Status.Allocation = &resourceapi.AllocationResult{}
	for i, d := range devices {
		request := fmt.Sprintf("request-%d", i)
		c.Spec.Devices.Requests = append(c.Spec.Devices.Requests, resourceapi.DeviceRequest{Name: request,
			Exactly: &resourceapi.ExactDeviceRequest{DeviceClassName: "gpu.example.com"}})
		c.Status.Allocation.Devices.Results = append(c.Status.Allocation.Devices.Results,
			resourceapi.DeviceRequestAllocationResult{
				Request: request, Driver: "gpu.example.com", Pool: "node-a", Device: d})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.claims["team-a/"+name] = c
	return c
}

// published returns the names of the devices in all slices.
func (s *apiServer) published() (devices []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(s.slices)) {
		for _, d := range s.slices[name].Spec.Devices {
			devices = append(devices, d.Name)
		}
	}
	return devices
}

// wipe deletes all slices, as the kubelet does when it starts.
func (s *apiServer) wipe() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, slice := range s.slices {
		delete(s.slices, name)
		s.tell("DELETED", slice)
	}
}

func (s *apiServer) getNode(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	reply(w, r, s.nodes[r.PathValue("name")])
}

func (s *apiServer) getClaim(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	reply(w, r, s.claims[r.PathValue("namespace")+"/"+r.PathValue("name")])
}

func (s *apiServer) listOrWatch(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Get("watch") == "" {
		s.mu.Lock()
		list := &resourceapi.ResourceSliceList{ListMeta: metav1.ListMeta{ResourceVersion: strconv.Itoa(s.version)}}
		for _, slice := range s.slices {
			list.Items = append(list.Items, *slice)
		}
		s.mu.Unlock()
		reply(w, r, list)
		return
	}
	events := make(chan metav1.WatchEvent, 1000)
	s.mu.Lock()
	s.watchers[events] = true
	if r.URL.Query().Get("sendInitialEvents") == "true" {
		for _, slice := range s.slices {
			events <- event("ADDED", slice)
		}
		end := &resourceapi.ResourceSlice{ObjectMeta: metav1.ObjectMeta{ResourceVersion: strconv.Itoa(s.version),
			Annotations: map[string]string{metav1.InitialEventsAnnotationKey: "true"}}}
		events <- event("BOOKMARK", end)
	}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.watchers, events)
	}()
	w.Header().Set("Content-Type", "application/json")
	for {
		w.(http.Flusher).Flush()
		select {
		case e := <-events:
			_ = json.NewEncoder(w).Encode(e)
		case <-r.Context().Done():
			return
		}
	}
}

func event(kind string, slice *resourceapi.ResourceSlice) metav1.WatchEvent {
	return metav1.WatchEvent{Type: kind, Object: runtime.RawExtension{Object: typed(slice.DeepCopy())}}
}

// tell must be called with the lock held.
func (s *apiServer) tell(kind string, slice *resourceapi.ResourceSlice) {
	s.version++
	slice.ResourceVersion = strconv.Itoa(s.version)
	for events := range s.watchers {
		events <- event(kind, slice)
	}
}

func (s *apiServer) create(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	slice := body(r)
	if s.admit != nil {
		if status := s.admit(slice); status != nil {
			refuse(w, status)
			return
		}
	}
	if r.URL.Query().Get("dryRun") != "" {
		s.dryRuns++
		reply(w, r, slice)
		return
	}
	s.writes = append(s.writes, "create")
	if slice.Name == "" {
		slice.Name = fmt.Sprintf("%s%d", slice.GenerateName, s.version)
	}
	slice.UID = types.UID(fmt.Sprintf("slice-%d", s.version))
	s.slices[slice.Name] = slice
	s.tell("ADDED", slice)
	reply(w, r, slice)
}

func (s *apiServer) update(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	slice := body(r)
	s.writes = append(s.writes, "update")
	if s.admit != nil {
		if status := s.admit(slice); status != nil {
			refuse(w, status)
			return
		}
	}
	if s.slices[slice.Name] != nil {
		s.slices[slice.Name] = slice
		s.tell("MODIFIED", slice)
	}
	reply(w, r, s.slices[slice.Name])
}

func (s *apiServer) delete(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	slice := s.slices[r.PathValue("name")]
	s.writes = append(s.writes, "delete")
	if delete(s.slices, r.PathValue("name")); slice != nil {
		s.tell("DELETED", slice)
	}
	reply(w, r, slice)
}

func body(r *http.Request) *resourceapi.ResourceSlice {
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		panic(err)
	}
	object, _, err := scheme.Codecs.UniversalDeserializer().Decode(raw, nil, nil)
	if err != nil {
		panic(err)
	}
	return object.(*resourceapi.ResourceSlice)
}

// typed says in the object what it is.
func typed(object runtime.Object) runtime.Object {
	kinds, _, err := scheme.Scheme.ObjectKinds(object)
	if err != nil {
		panic(err)
	}
	object.GetObjectKind().SetGroupVersionKind(kinds[0])
	return object
}

func reply[T any, P interface {
	*T
	runtime.Object
}](w http.ResponseWriter, r *http.Request, object P) {
	if object == nil {
		parts := strings.Split(r.URL.Path, "/")
		refuse(w, apierrors.NewNotFound(schema.GroupResource{Resource: parts[len(parts)-2]}, parts[len(parts)-1]))
		return
	}
	write(w, http.StatusOK, typed(object.DeepCopyObject()))
}

func refuse(w http.ResponseWriter, status *apierrors.StatusError) {
	answer := status.Status()
	answer.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}
	write(w, int(answer.Code), &answer)
}

func write(w http.ResponseWriter, code int, object runtime.Object) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(object)
}
