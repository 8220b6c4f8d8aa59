package proxy

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// fakeServer is an API server that knows one pod and sends an event on each watch when it is told to.
type fakeServer struct {
	*httptest.Server
	events chan string
	got    atomic.Pointer[http.Request] // the last one
}

func newFakeServer(t *testing.T) *fakeServer {
	s := &fakeServer{events: make(chan string)}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(s.answer))
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func (s *fakeServer) answer(w http.ResponseWriter, r *http.Request) {
	s.got.Store(r)
	w.Header().Set("Content-Type", "application/json")
	if r.URL.Query().Get("watch") == "" {
		_, _ = w.Write([]byte(`{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a","namespace":"default"}}`))
		return
	}
	w.(http.Flusher).Flush()
	for {
		select {
		case name := <-s.events:
			pod := `{"kind":"Pod","apiVersion":"v1","metadata":{"name":"` + name + `"}}`
			_, _ = w.Write([]byte(`{"type":"ADDED","object":` + pod + `}`))
			w.(http.Flusher).Flush()
		case <-r.Context().Done():
			return
		}
	}
}

func start(t *testing.T) (*Proxy, *fakeServer, kubernetes.Interface) {
	t.Helper()
	server := newFakeServer(t)
	path := filepath.Join(t.TempDir(), "kubeconfig")
	p, err := Start(&rest.Config{
		Host: server.URL, BearerToken: "the caller's",
		TLSClientConfig: rest.TLSClientConfig{Insecure: true},
		Impersonate:     rest.ImpersonationConfig{UserName: "system:serviceaccount:a:b"},
	}, path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		t.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return p, server, client
}

func set(t *testing.T, p *Proxy, faults ...Fault) {
	t.Helper()
	if err := p.Set(faults...); err != nil {
		t.Fatal(err)
	}
}

func get(ctx context.Context, client kubernetes.Interface) error {
	_, err := client.CoreV1().Pods("default").Get(ctx, "a", metav1.GetOptions{})
	return err
}

func TestFaultsEndWhenTheyAreTakenBack(t *testing.T) {
	soon := func(t *testing.T) context.Context {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		t.Cleanup(cancel)
		return ctx
	}
	tests := map[string]struct {
		fault Fault
		ctx   func(*testing.T) context.Context
		is    func(error) bool
	}{
		"an answer of its own": {Answer(503), (*testing.T).Context, apierrors.IsServiceUnavailable},
		"too many requests":    {Answer(429).On("get", "pods"), (*testing.T).Context, apierrors.IsTooManyRequests},
		"a cut in the middle": {Reset(), (*testing.T).Context, func(err error) bool {
			return errors.Is(err, syscall.ECONNRESET) || strings.Contains(err.Error(), "EOF")
		}},
		"no answer":     {Hang(), soon, func(err error) bool { return errors.Is(err, context.DeadlineExceeded) }},
		"a late answer": {Delay(time.Hour), soon, func(err error) bool { return errors.Is(err, context.DeadlineExceeded) }},
		"nobody listens": {Refuse(), (*testing.T).Context, func(err error) bool {
			return errors.Is(err, syscall.ECONNREFUSED)
		}},
		"a certificate that expired": {Expire(), (*testing.T).Context, func(err error) bool {
			return strings.Contains(err.Error(), "certificate has expired")
		}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p, _, client := start(t)
			if err := get(t.Context(), client); err != nil {
				t.Fatal(err)
			}
			set(t, p, tt.fault)
			if err := get(tt.ctx(t), client); err == nil || !tt.is(err) {
				t.Errorf("while the fault lasts: %v", err)
			}
			set(t, p)
			if err := get(t.Context(), client); err != nil {
				t.Errorf("when it is over: %v", err)
			}
		})
	}
}

func TestAFaultMeetsOnlyTheRequestsItIsMeantFor(t *testing.T) {
	p, _, client := start(t)
	set(t, p, Answer(500).On("get", "resourceclaims"), Answer(500).On("create", ""), Hang().On("", "nodes"))
	if err := get(t.Context(), client); err != nil {
		t.Error(err)
	}
	pods := client.CoreV1().Pods("default")
	if _, err := pods.Create(t.Context(), &corev1.Pod{}, metav1.CreateOptions{}); !apierrors.IsInternalError(err) {
		t.Errorf("create: %v", err)
	}
	_, err := pods.Create(t.Context(), &corev1.Pod{}, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	if !apierrors.IsInternalError(err) {
		t.Errorf("create as a dry run: %v", err)
	}
	want := map[Request]int{
		{Verb: "get", Resource: "pods"}: 1, {Verb: "create", Resource: "pods"}: 1,
		{Verb: "create", Resource: "pods", DryRun: true}: 1,
	}
	if got := p.Requests(); !maps.Equal(got, want) {
		t.Errorf("counted %v, expected %v", got, want)
	}
}

func TestWhatHangsComesThroughAfterwards(t *testing.T) {
	p, server, client := start(t)
	watched, err := client.CoreV1().Pods("default").Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	server.events <- "before"
	if event := next(t, watched); event != "before" {
		t.Errorf("watch says %q", event)
	}
	set(t, p, Hang())
	server.events <- "during"
	answered := make(chan error)
	go func() { answered <- get(t.Context(), client) }()
	select {
	case event := <-watched.ResultChan():
		t.Errorf("the watch says %v", event)
	case err := <-answered:
		t.Errorf("the request is answered: %v", err)
	case <-time.After(100 * time.Millisecond): // nothing must come
	}
	set(t, p)
	if event := next(t, watched); event != "during" {
		t.Errorf("watch says %q", event)
	}
	if err := <-answered; err != nil {
		t.Error(err)
	}
}

func next(t *testing.T, watched watch.Interface) string {
	t.Helper()
	event := <-watched.ResultChan()
	pod, ok := event.Object.(*corev1.Pod)
	if !ok {
		t.Fatalf("watch says %v", event)
	}
	return pod.Name
}

func TestOpenWatchesAreCut(t *testing.T) {
	for name, fault := range map[string]Fault{"reset": Reset(), "refuse": Refuse(), "expire": Expire()} {
		t.Run(name, func(t *testing.T) {
			p, _, client := start(t)
			watched, err := client.CoreV1().Pods("default").Watch(t.Context(), metav1.ListOptions{})
			if err != nil {
				t.Fatal(err)
			}
			set(t, p, fault)
			for event := range watched.ResultChan() {
				if event.Type != watch.Error {
					t.Errorf("watch says %v", event)
				}
			}
		})
	}
}

func TestTheDriverHoldsNoneOfTheCallersRights(t *testing.T) {
	p, server, client := start(t)
	if err := get(t.Context(), client); err != nil {
		t.Fatal(err)
	}
	headers := server.got.Load().Header
	if got := headers.Get("Authorization"); got != "Bearer the caller's" {
		t.Errorf("the API server is shown %q", got)
	}
	if got := headers.Get("Impersonate-User"); got != "system:serviceaccount:a:b" {
		t.Errorf("the API server is asked to take the driver for %q", got)
	}
	stranger := &rest.Config{
		Host: "https://" + p.port.address, BearerToken: "a guess",
		TLSClientConfig: rest.TLSClientConfig{CAData: p.certificates.authority},
	}
	other, err := kubernetes.NewForConfig(stranger)
	if err != nil {
		t.Fatal(err)
	}
	if err := get(t.Context(), other); !apierrors.IsUnauthorized(err) {
		t.Errorf("somebody without the token gets: %v", err)
	}
}

func TestRequestsAreNamedAsRBACNamesThem(t *testing.T) {
	for url, want := range map[string]string{
		"GET /api/v1/nodes":                                                        "list nodes",
		"GET /api/v1/nodes/a":                                                      "get nodes",
		"GET /api/v1/namespaces/a":                                                 "get namespaces",
		"GET /api/v1/namespaces/a/pods?watch=true":                                 "watch pods",
		"PATCH /api/v1/namespaces/a/pods/b/status":                                 "patch pods/status",
		"GET /apis/resource.k8s.io/v1/namespaces/a/resourceclaims/b":               "get resourceclaims",
		"DELETE /apis/resource.k8s.io/v1/resourceslices?fieldSelector=spec.driver": "deletecollection resourceslices",
		"DELETE /apis/resource.k8s.io/v1/resourceslices/a":                         "delete resourceslices",
		"PUT /apis/resource.k8s.io/v1/resourceslices/a":                            "update resourceslices",
		"POST /apis/resource.k8s.io/v1/resourceslices":                             "create resourceslices",
		"GET /version":                 "get /version",
		"GET /apis/resource.k8s.io/v1": "get /apis/resource.k8s.io/v1",
		"POST /apis/resource.k8s.io/v1/resourceslices?dryRun=All":           "create resourceslices (dry run)",
		"PUT /apis/resource.k8s.io/v1/resourceslices/a?dryRun=All&force=no": "update resourceslices (dry run)",
		"GET /api/v1/nodes/a?dryRun=All":                                    "get nodes",
	} {
		method, target, _ := strings.Cut(url, " ")
		if got := requestOf(httptest.NewRequestWithContext(t.Context(), method, target, nil)); got.String() != want {
			t.Errorf("%s: %v, expected %s", url, got, want)
		}
	}
}
