package publish

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// apiServer is as much of an API server as ResourceSlices need: resource versions, generated names, watches that begin
// at a version or with everything, dry runs, preconditions. A fake clientset has none of that.
type apiServer struct {
	*httptest.Server

	mu       sync.Mutex
	version  int
	names    int
	slices   map[string]*resourceapi.ResourceSlice
	history  []change
	news     chan struct{} // closed at the next change
	requests map[string]int
	// admit is called before a slice is stored; it may drop fields from it or refuse it.
	admit func(*resourceapi.ResourceSlice) *apierrors.StatusError
	// cacheIsOld says that there is nothing to whoever would take an old answer.
	cacheIsOld bool
	// down answers all requests with 503 and ends all watches.
	down bool
}

type change struct {
	version int
	kind    string
	slice   *resourceapi.ResourceSlice
}

func newAPIServer(t *testing.T) *apiServer {
	s := &apiServer{
		slices: make(map[string]*resourceapi.ResourceSlice), news: make(chan struct{}), requests: make(map[string]int),
	}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s
}

func (s *apiServer) client(t *testing.T) kubernetes.Interface {
	t.Helper()
	c, err := kubernetes.NewForConfig(&rest.Config{
		Host: s.URL, QPS: -1,
		ContentConfig: rest.ContentConfig{ContentType: "application/json", AcceptContentTypes: "application/json"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// with runs f while nothing else happens.
func (s *apiServer) with(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// setDown ends or begins an outage.
func (s *apiServer) setDown(down bool) {
	s.with(func() {
		s.down = down
		s.announce()
	})
}

// put stores a slice as somebody else would.
func (s *apiServer) put(slice *resourceapi.ResourceSlice) {
	s.version++
	slice.ResourceVersion = strconv.Itoa(s.version)
	kind := "MODIFIED"
	if s.slices[slice.Name] == nil {
		kind = "ADDED"
	}
	s.slices[slice.Name] = slice
	s.history = append(s.history, change{s.version, kind, slice.DeepCopy()})
	s.announce()
}

func (s *apiServer) remove(name string) {
	s.version++
	gone := s.slices[name].DeepCopy()
	gone.ResourceVersion = strconv.Itoa(s.version)
	delete(s.slices, name)
	s.history = append(s.history, change{s.version, "DELETED", gone})
	s.announce()
}

func (s *apiServer) announce() {
	close(s.news)
	s.news = make(chan struct{})
}

// wipe deletes all slices, as the kubelet does when it starts.
func (s *apiServer) wipe() {
	s.with(func() {
		for _, name := range slices.Sorted(maps.Keys(s.slices)) {
			s.remove(name)
		}
	})
}

// stored returns all slices, by name.
func (s *apiServer) stored() []*resourceapi.ResourceSlice {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []*resourceapi.ResourceSlice
	for _, slice := range s.slices {
		all = append(all, slice.DeepCopy())
	}
	slices.SortFunc(all, byName)
	return all
}

// count returns how many requests of these kinds there were; failed ones count too.
func (s *apiServer) count(kinds ...string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, kind := range kinds {
		n += s.requests[kind]
	}
	return n
}

func (s *apiServer) writes() int { return s.count("create", "update", "delete") }

func (s *apiServer) serve(w http.ResponseWriter, r *http.Request) {
	const path = "/apis/resource.k8s.io/v1/resourceslices"
	name := strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, path), "/")
	if r.Method == http.MethodGet && strings.HasPrefix(r.URL.Path, path) && r.URL.Query().Get("watch") != "" {
		s.watch(w, r)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.down:
		reply(w, apierrors.NewServiceUnavailable("the API server is down"))
	case strings.HasPrefix(r.URL.Path, "/api/v1/nodes/"):
		s.requests["get node"]++
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"apiVersion":"v1","kind":"Node","metadata":{"name":%q,"uid":"node-uid"}}`, node)
	case !strings.HasPrefix(r.URL.Path, path):
		reply(w, apierrors.NewNotFound(schema.GroupResource{}, r.URL.Path))
	case r.Method == http.MethodGet:
		s.requests["list"]++
		list := resourceapi.ResourceSliceList{ListMeta: metav1.ListMeta{ResourceVersion: strconv.Itoa(s.version)}}
		for _, key := range slices.Sorted(maps.Keys(s.slices)) {
			old := s.cacheIsOld && r.URL.Query().Get("resourceVersion") == "0"
			if !old && selected(r, s.slices[key]) {
				list.Items = append(list.Items, *s.slices[key])
			}
		}
		reply(w, &list)
	case r.Method == http.MethodPost:
		s.create(w, r)
	case r.Method == http.MethodPut:
		s.update(w, r)
	case r.Method == http.MethodDelete:
		s.requests["delete"]++
		if s.slices[name] == nil {
			reply(w, apierrors.NewNotFound(resourceapi.Resource("resourceslices"), name))
			return
		}
		s.remove(name)
		reply(w, &metav1.Status{Status: metav1.StatusSuccess})
	}
}

func (s *apiServer) create(w http.ResponseWriter, r *http.Request) {
	var slice resourceapi.ResourceSlice
	if err := json.NewDecoder(r.Body).Decode(&slice); err != nil {
		reply(w, apierrors.NewBadRequest(err.Error()))
		return
	}
	dryRun := r.URL.Query().Get("dryRun") != ""
	if dryRun {
		s.requests["rehearse"]++
	} else {
		s.requests["create"]++
	}
	s.names++
	slice.Name = fmt.Sprintf("%s%05d", slice.GenerateName, s.names)
	slice.UID = types.UID(slice.Name)
	if s.admit != nil {
		if err := s.admit(&slice); err != nil {
			reply(w, err)
			return
		}
	}
	if !dryRun {
		s.put(&slice)
	}
	reply(w, &slice)
}

func (s *apiServer) update(w http.ResponseWriter, r *http.Request) {
	s.requests["update"]++
	var slice resourceapi.ResourceSlice
	if err := json.NewDecoder(r.Body).Decode(&slice); err != nil {
		reply(w, apierrors.NewBadRequest(err.Error()))
		return
	}
	old := s.slices[slice.Name]
	if old == nil {
		reply(w, apierrors.NewNotFound(resourceapi.Resource("resourceslices"), slice.Name))
		return
	}
	if old.ResourceVersion != slice.ResourceVersion {
		reply(w, apierrors.NewConflict(resourceapi.Resource("resourceslices"), slice.Name, fmt.Errorf("it was modified")))
		return
	}
	if s.admit != nil {
		if err := s.admit(&slice); err != nil {
			reply(w, err)
			return
		}
	}
	if before, _ := json.Marshal(old.Spec); string(before) != string(must(json.Marshal(slice.Spec))) {
		s.put(&slice)
	}
	reply(w, &slice)
}

func (s *apiServer) watch(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.requests["watch"]++
	if s.down {
		s.mu.Unlock()
		reply(w, apierrors.NewServiceUnavailable("the API server is down"))
		return
	}
	from, _ := strconv.Atoi(r.URL.Query().Get("resourceVersion"))
	var first []change
	if r.URL.Query().Get("sendInitialEvents") == "true" {
		for _, key := range slices.Sorted(maps.Keys(s.slices)) {
			first = append(first, change{s.version, "ADDED", s.slices[key].DeepCopy()})
		}
		end := &resourceapi.ResourceSlice{}
		end.ResourceVersion = strconv.Itoa(s.version)
		end.Annotations = map[string]string{metav1.InitialEventsAnnotationKey: "true"}
		first = append(first, change{s.version, "BOOKMARK", end})
		from = s.version
	}
	s.mu.Unlock()

	w.Header().Set("Content-Type", "application/json")
	for {
		for _, c := range first {
			if c.kind == "BOOKMARK" || selected(r, c.slice) {
				c.slice.APIVersion, c.slice.Kind = "resource.k8s.io/v1", "ResourceSlice"
				fmt.Fprintf(w, `{"type":%q,"object":%s}`+"\n", c.kind, must(json.Marshal(c.slice)))
			}
			from = max(from, c.version)
		}
		w.(http.Flusher).Flush()
		s.mu.Lock()
		first = nil
		for _, c := range s.history {
			if c.version > from {
				first = append(first, change{c.version, c.kind, c.slice.DeepCopy()})
			}
		}
		news, down := s.news, s.down
		s.mu.Unlock()
		if down {
			return
		}
		if len(first) > 0 {
			continue
		}
		select {
		case <-news:
		case <-r.Context().Done():
			return
		}
	}
}

// selected evaluates the field selector of a request.
func selected(r *http.Request, slice *resourceapi.ResourceSlice) bool {
	for term := range strings.SplitSeq(r.URL.Query().Get("fieldSelector"), ",") {
		key, value, _ := strings.Cut(term, "=")
		if key == "spec.driver" && slice.Spec.Driver != value ||
			key == "spec.nodeName" && (slice.Spec.NodeName == nil || *slice.Spec.NodeName != value) {
			return false
		}
	}
	return true
}

func reply(w http.ResponseWriter, answer any) {
	w.Header().Set("Content-Type", "application/json")
	if err, ok := answer.(*apierrors.StatusError); ok {
		w.WriteHeader(int(err.ErrStatus.Code))
		err.ErrStatus.APIVersion, err.ErrStatus.Kind = "v1", "Status"
		answer = err.ErrStatus
	}
	if err := json.NewEncoder(w).Encode(answer); err != nil {
		panic(http.ErrAbortHandler)
	}
}

func must(raw []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return raw
}
