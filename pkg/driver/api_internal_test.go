package driver

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/klog/v2"

	"example.com/dragoman/pkg/claim"
	"example.com/dragoman/pkg/device"
	"example.com/dragoman/pkg/prepare"
)

// These tests need a virtual clock, so the API server is a fake in memory here.

var claimsResource = schema.GroupResource{Group: "resource.k8s.io", Resource: "resourceclaims"}

func quietly(ctx context.Context) context.Context { return klog.NewContext(ctx, klog.Logger{}) }

// scripted returns a client whose GETs are answered by the errors one after the other, the last of them again and
// again, and with object where the error is nil.
func scripted(object runtime.Object, errs ...error) (client *fake.Clientset, asked *int) {
	client, asked = fake.NewClientset(), new(int)
	client.PrependReactor("get", "*", func(clienttesting.Action) (bool, runtime.Object, error) {
		err := errs[min(*asked, len(errs)-1)]
		*asked++
		return true, object, err
	})
	return client, asked
}

func TestReadingAClaim(t *testing.T) {
	good := &resourceapi.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "team-a", Name: "train", UID: "1"},
		Status: resourceapi.ResourceClaimStatus{Allocation: &resourceapi.AllocationResult{}}}
	refused := &net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{Port: 43210}, Err: syscall.ECONNREFUSED}
	reset := &net.OpError{Op: "read", Net: "tcp", Addr: &net.TCPAddr{Port: 43211}, Err: syscall.ECONNRESET}
	expired := &url.Error{Op: "Get", URL: "https://10.0.0.1:6443", Err: &tls.CertificateVerificationError{
		Err: x509.CertificateInvalidError{Reason: x509.Expired, Detail: time.Now().String()}}}
	unknown := &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}
	busy := apierrors.NewTooManyRequests("slow down", 0)
	broken := apierrors.NewInternalError(errors.New("etcd: request timed out"))
	gone := apierrors.NewNotFound(claimsResource, "train")
	proxys := apierrors.NewGenericServerResponse(404, "get", claimsResource, "train", "404 page not found", 0, true)
	denied := apierrors.NewForbidden(claimsResource, "train", errors.New("no role"))

	const (
		wasGone  = "claim team-a/train does not exist any more"
		get      = "get claim team-a/train from the API server: "
		patience = get + "it was in trouble for as long as the kubelet waits: "
		hungUp   = "it closes connections without an answer"
		usual    = 45 * time.Second // the kubelet's deadline
		often    = 0
	)
	for name, tc := range map[string]struct {
		answers  []error
		deadline time.Duration
		asked    int
		want     string
	}{
		"an answer at once is taken":          {[]error{nil}, usual, 1, ""},
		"too many requests is asked again":    {[]error{busy, busy, nil}, usual, 3, ""},
		"an internal error is asked again":    {[]error{broken, broken, nil}, usual, 3, ""},
		"a refused connection is asked again": {[]error{refused, reset, nil}, usual, 3, ""},
		"a timeout of one attempt is no end":  {[]error{context.DeadlineExceeded, nil}, usual, 2, ""},
		"gone, says a proxy, is asked again":  {[]error{proxys, proxys, nil}, usual, 3, ""},
		"gone is an answer":                   {[]error{gone}, usual, 1, wasGone},
		"gone after trouble is an answer":     {[]error{busy, gone}, usual, 2, wasGone},
		"not allowed is an answer":            {[]error{denied}, usual, 1, get + denied.Error()},
		"trouble without end, status":         {[]error{busy}, usual, often, patience + "TooManyRequests (429)"},
		"trouble without end, refused":        {[]error{refused}, usual, often, patience + "connection refused"},
		"trouble without end, hung up":        {[]error{reset}, usual, often, patience + hungUp},
		"trouble without end, hung up in the answer": {[]error{fmt.Errorf("unexpected error when reading response body. "+
			"Please retry. Original error: %w", io.ErrUnexpectedEOF)}, usual, often, patience + hungUp},
		"trouble without end, hung up while asked": {[]error{&url.Error{Op: "Get", Err: io.EOF}}, usual, often,
			patience + hungUp},
		"trouble without end, no answer": {[]error{context.DeadlineExceeded}, usual, often,
			patience + "no answer in time"},
		"trouble without end, other": {[]error{errors.New("x509: expired")}, usual, often,
			patience + "x509: expired"},
		"trouble without end, expired certificate": {[]error{expired}, usual, often,
			patience + "its certificate has expired or is not valid yet; renew it, and look at this node's clock"},
		"trouble without end, unknown authority": {[]error{unknown}, usual, often,
			patience + "its certificate cannot be verified: x509: certificate signed by unknown authority"},
		"a short deadline is kept":             {[]error{broken}, usual / 5, often, patience + "InternalError (500)"},
		"without a deadline it ends some time": {[]error{broken}, 0, often, patience + "InternalError (500)"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, asked := scripted(good, tc.answers...)
				f := &fetcher{client: client, attempt: fetchAttempt}
				ctx, limit := quietly(t.Context()), fetchBudget
				if tc.deadline > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, tc.deadline)
					defer cancel()
					limit = min(limit, tc.deadline)
				}
				begin := time.Now()
				c, err := f.read(ctx, claimRef{types.NamespacedName{Namespace: "team-a", Name: "train"}, "1"})
				took := time.Since(begin)
				if err != nil && err.Error() != tc.want || err == nil && tc.want != "" {
					t.Errorf("got %v, want %q", err, tc.want)
				}
				if err == nil && c.Name != "train" {
					t.Errorf("got %v", c)
				}
				if tc.asked != often && *asked != tc.asked || tc.asked == often && *asked <= 5 {
					t.Errorf("asked %d times", *asked)
				}
				if latest := limit - limit/workShare; took > latest {
					t.Errorf("took %s of %s", took, limit)
				} else if tc.asked == often && took < latest-2*lastDelay {
					t.Errorf("gave up after %s of %s", took, limit)
				}
			})
		})
	}
}

// memory is a preparer that only remembers, and lists what it remembers.
type memory struct {
	mu       sync.Mutex
	recorded map[types.UID]bool
	refuse   map[types.UID]bool
	restored int
	restore  error
}

func (m *memory) Prepare(context.Context, claim.Plan) ([]prepare.Device, error) { return nil, nil }

func (m *memory) Unprepare(_ context.Context, uid types.UID) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.refuse[uid] {
		return errors.New("device is busy")
	}
	delete(m.recorded, uid)
	return nil
}

func (m *memory) Restore(context.Context) error { return m.restore }

func (m *memory) RepairFiles(context.Context) error { return nil }

func (m *memory) Recall(types.UID) (*prepare.Remembered, error) { return nil, nil }

func (m *memory) Repair(context.Context) error {
	m.restored++
	return errors.New("CDI directory is read-only")
}

func (m *memory) Remembered() ([]prepare.Remembered, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []prepare.Remembered
	for _, uid := range slices.Sorted(maps.Keys(m.recorded)) {
		name := strings.TrimPrefix(string(uid), "uid-of-")
		all = append(all, prepare.Remembered{
			Claim: device.Claim{Namespace: "team-a", Name: name, UID: uid}, State: prepare.Prepared})
	}
	return all, nil
}

func TestClaimsThatAreGoneAreTakenBackAfterAGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{recorded: make(map[types.UID]bool), refuse: map[types.UID]bool{"uid-of-stubborn": true}}
		for _, name := range []string{"alive", "gone", "replaced", "returns", "stubborn", "unprepared"} {
			m.recorded["uid-of-"+types.UID(name)] = true
		}
		exists := map[string]types.UID{"alive": "uid-of-alive", "replaced": "another"}
		var trouble error
		client := fake.NewClientset()
		client.PrependReactor("get", "resourceclaims", func(a clienttesting.Action) (bool, runtime.Object, error) {
			name := a.(clienttesting.GetAction).GetName()
			m.mu.Lock()
			defer m.mu.Unlock()
			if trouble != nil {
				return true, nil, trouble
			}
			if exists[name] == "" {
				return true, nil, apierrors.NewNotFound(claimsResource, name)
			}
			return true, &resourceapi.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Name: name, UID: exists[name]}}, nil
		})
		expect := func(when string, want ...string) {
			t.Helper()
			synctest.Wait()
			m.mu.Lock()
			defer m.mu.Unlock()
			var got []string
			for _, uid := range slices.Sorted(maps.Keys(m.recorded)) {
				got = append(got, strings.TrimPrefix(string(uid), "uid-of-"))
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("recorded %s (-want +got):\n%s", when, diff)
			}
		}
		change := func(to func()) {
			m.mu.Lock()
			defer m.mu.Unlock()
			to()
		}
		ctx, cancel := context.WithCancel(quietly(t.Context()))
		defer cancel()
		go New(Options{Client: client, Preparer: m, Records: m}).reconcile(ctx) //nolint:errcheck // always nil

		expect("at the start", "alive", "gone", "replaced", "returns", "stubborn", "unprepared")
		change(func() {
			exists["returns"] = "uid-of-returns" // it was an API server with an old view, say
			delete(m.recorded, "uid-of-unprepared")
		})
		time.Sleep(goneGrace - time.Second)
		expect("before the grace is over", "alive", "gone", "replaced", "returns", "stubborn")
		time.Sleep(2 * time.Second)
		expect("after it", "alive", "returns", "stubborn")
		change(func() { delete(m.refuse, "uid-of-stubborn") })
		time.Sleep(goneGrace)
		expect("after another attempt", "alive", "returns")

		change(func() { trouble = errors.New("connection refused"); delete(exists, "alive") })
		time.Sleep(time.Hour)
		expect("while the API server is away", "alive", "returns")
		change(func() { trouble = nil })
		time.Sleep(2 * lookInterval)
		expect("when it is back", "returns")
		if m.restored < 5 { // expect has synchronized
			t.Errorf("what is missing on the node was looked for %d times only", m.restored)
		}
	})
}

// TestManyClaimsAreAskedForSlowly: where there are more than pods on a node, finding out which are gone takes its time.
func TestManyClaimsAreAskedForSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const more = 2 * askedPerSecond
		m := &memory{recorded: make(map[types.UID]bool)}
		for i := range askedAtOnce + more {
			m.recorded[types.UID(fmt.Sprint("uid-of-", i))] = true
		}
		var asked atomic.Int64
		client := fake.NewClientset()
		client.PrependReactor("get", "resourceclaims", func(a clienttesting.Action) (bool, runtime.Object, error) {
			asked.Add(1)
			name := a.(clienttesting.GetAction).GetName()
			uid := types.UID("uid-of-" + name)
			return true, &resourceapi.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Name: name, UID: uid}}, nil
		})
		ctx, cancel := context.WithCancel(quietly(t.Context()))
		defer cancel()
		go New(Options{Client: client, Preparer: m, Records: m}).reconcile(ctx) //nolint:errcheck // always nil
		for _, when := range []struct {
			after time.Duration
			want  int64
		}{{0, askedAtOnce}, {time.Second, askedAtOnce + more/2}, {2 * time.Second, askedAtOnce + more}} {
			time.Sleep(when.after)
			synctest.Wait()
			if got := asked.Load(); got < when.want-1 || got > when.want+1 {
				t.Errorf("after %s more it was asked for %d claims, not %d", when.after, got, when.want)
			}
		}
	})
}

// TestWhatAStartLeftIsDoneAtOnce, while the kubelet is served.
func TestWhatAStartLeftIsDoneAtOnce(t *testing.T) {
	for name, tc := range map[string]struct {
		restore error
		repairs int
	}{
		"nothing":     {nil, 0},
		"some claims": {prepare.ErrUnfinished, 1},
		"an error":    {errors.New("CDI directory is read-only"), 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := &memory{recorded: make(map[types.UID]bool), restore: tc.restore}
				ctx, cancel := context.WithCancel(quietly(t.Context()))
				defer cancel()
				d := New(Options{Client: fake.NewClientset(), Preparer: m, Records: m})
				d.restore(ctx)
				go d.reconcile(ctx) //nolint:errcheck // always nil
				synctest.Wait()
				if m.restored != tc.repairs {
					t.Errorf("it was done %d times, not %d", m.restored, tc.repairs)
				}
			})
		})
	}
}

// frozen is a way to a server on which connections die silently when it freezes; later ones live.
type frozen struct {
	mu    sync.Mutex
	conns []*slowConn
}

type slowConn struct {
	net.Conn
	dead chan struct{}
}

func (c *slowConn) Write(p []byte) (int, error) {
	select {
	case <-c.dead:
		return len(p), nil // as the kernel does while it waits for an acknowledgement
	default:
		return c.Conn.Write(p)
	}
}

func (f *frozen) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	c := &slowConn{conn, make(chan struct{})}
	f.conns = append(f.conns, c)
	return c, nil
}

func (f *frozen) freeze() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.conns {
		close(c.dead)
	}
	f.conns = nil
}

func TestAConnectionThatDiedSilentlyIsGivenUp(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 {
			t.Errorf("the request came by %s", r.Proto)
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"apiVersion":"resource.k8s.io/v1","kind":"ResourceClaim",` +
			`"metadata":{"namespace":"team-a","name":"train","uid":"1"},"status":{"allocation":{}}}`))
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	way := &frozen{}
	client, err := kubernetes.NewForConfig(&rest.Config{Host: server.URL, QPS: -1, Dial: way.dial,
		TLSClientConfig: rest.TLSClientConfig{Insecure: true}})
	if err != nil {
		t.Fatal(err)
	}
	f := &fetcher{client: client, attempt: 300 * time.Millisecond}
	wanted := claimRef{types.NamespacedName{Namespace: "team-a", Name: "train"}, "1"}
	for _, when := range []string{"at first", "when the connection is dead"} {
		ctx, cancel := context.WithTimeout(quietly(t.Context()), 30*time.Second)
		if _, err := f.read(ctx, wanted); err != nil {
			t.Errorf("%s: %v", when, err)
		}
		cancel()
		way.freeze()
	}
}

func TestAnEarlyLookTakesNothingBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{recorded: map[types.UID]bool{"early": true, "late": true}}
		client, _ := scripted(nil, apierrors.NewNotFound(claimsResource, "any"))
		now := time.Now()
		d := New(Options{Client: client, Preparer: m, Records: m})
		d.unsettled.gone("early", now.Add(time.Second-goneGrace))
		d.unsettled.gone("late", now.Add(-goneGrace))
		waiting := d.compare(quietly(t.Context()))
		if !m.recorded["early"] || m.recorded["late"] || !waiting || !d.unsettled.isGone("early") {
			t.Errorf("recorded %v, waiting %v", m.recorded, waiting)
		}
	})
}

func TestNodeUID(t *testing.T) {
	token := func(payload string) []byte {
		return []byte("head." + base64.RawURLEncoding.EncodeToString([]byte(payload)) + ".signature\n")
	}
	ours := token(`{"kubernetes.io":{"node":{"name":"node-a","uid":"from-token"}}}`)
	others := token(`{"kubernetes.io":{"node":{"name":"node-b","uid":"x"}}}`)
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-a", UID: "from-api"}}
	notFound := apierrors.NewNotFound(schema.GroupResource{Resource: "nodes"}, "node-a")
	denied := apierrors.NewForbidden(schema.GroupResource{Resource: "nodes"}, "node-a", errors.New("no role"))
	away := apierrors.NewServiceUnavailable("starting")
	for name, tc := range map[string]struct {
		token   []byte
		answers []error
		uid     types.UID
		want    string
		asked   int
	}{
		"the token of the pod knows it": {ours, []error{denied}, "from-token", "", 0},
		"the token is another node's": {others, []error{nil}, "", `node "node-a" is not the one this pod runs on: ` +
			`its service account token is for node "node-b"; set --node-name`, 0},
		"a token without a node":    {token(`{"kubernetes.io":{"pod":{}}}`), []error{nil}, "from-api", "", 1},
		"a token that is no JSON":   {token(`{`), []error{nil}, "from-api", "", 1},
		"a token that is no token":  {[]byte("a.!.c"), []error{nil}, "from-api", "", 1},
		"no token":                  {nil, []error{nil}, "from-api", "", 1},
		"the API server comes late": {nil, []error{away, away, nil}, "from-api", "", 3},
		"the node is not there": {nil, []error{notFound}, "",
			`node "node-a" is not in the cluster; --node-name must be`, 1},
		"reading nodes is forbidden": {nil, []error{denied}, "", `get node "node-a": nodes "node-a" is forbidden`, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, asked := scripted(node, tc.answers...)
				waits := 0
				uid, err := NodeUID(t.Context(), client, "node-a", tc.token, func(error) { waits++ })
				text := ""
				if err != nil {
					text = err.Error()
				}
				if uid != tc.uid || (text == "") != (tc.want == "") || !strings.Contains(text, tc.want) {
					t.Errorf("got %q, %v; want %q, %q", uid, err, tc.uid, tc.want)
				}
				if *asked != tc.asked || waits != max(0, tc.asked-1) {
					t.Errorf("asked %d times and told of waiting %d times", *asked, waits)
				}
			})
		})
	}
}

func TestNodeUIDEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, _ := scripted(nil, errors.New("no route to host"))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := NodeUID(ctx, client, "node-a", nil, func(error) {}); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	})
}

// TestTheEndOfPatienceSaysTheSameEachTime: the last attempt is cut short by the end, or not, by chance.
func TestTheEndOfPatienceSaysTheSameEachTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, asked := fake.NewClientset(), 0
		ctx, cancel := context.WithCancel(quietly(t.Context()))
		defer cancel()
		client.PrependReactor("get", "*", func(clienttesting.Action) (bool, runtime.Object, error) {
			if asked++; asked < 3 {
				return true, nil, apierrors.NewInternalError(errors.New("etcd: request timed out"))
			}
			cancel()
			return true, nil, context.Canceled
		})
		f := &fetcher{client: client, attempt: fetchAttempt}
		_, err := f.read(ctx, claimRef{types.NamespacedName{Namespace: "team-a", Name: "train"}, "1"})
		if err == nil || !strings.HasSuffix(err.Error(), "InternalError (500)") {
			t.Errorf("got %v", err)
		}
	})
}
