package driver_test

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	"k8s.io/klog/v2/textlogger"
	drapbv1 "k8s.io/kubelet/pkg/apis/dra/v1"
	drapbv1beta1 "k8s.io/kubelet/pkg/apis/dra/v1beta1"
	registerapi "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
	"sigs.k8s.io/yaml"

	"example.com/dragoman/pkg/claim"
	"example.com/dragoman/pkg/device"
	"example.com/dragoman/pkg/driver"
	"example.com/dragoman/pkg/inventory"
	"example.com/dragoman/pkg/prepare"
)

const (
	driverName = "gpu.example.com"
	nodeName   = "node-a"
)

// patience is the limit of all waits; it is only used up when a test fails.
const patience = 20 * time.Second

// kubelet does what the kubelet's plugin manager and DRA manager do, for one plugin.
type kubelet struct {
	t            *testing.T
	registration registerapi.RegistrationClient
	endpoint     string
	versions     []string
}

// meet looks at a registration socket as the kubelet does when it finds one.
func meet(t *testing.T, socket string) *kubelet {
	t.Helper()
	eventually(t, "there is a socket "+socket, func() bool { // the kubelet too does not dial before
		_, err := os.Stat(socket)
		return err == nil
	})
	k := &kubelet{t: t, registration: registerapi.NewRegistrationClient(connect(t, socket))}
	info, err := k.registration.GetInfo(limit(t), &registerapi.InfoRequest{}, grpc.WaitForReady(true))
	if err != nil {
		t.Fatalf("GetInfo on %s: %v", socket, err)
	}
	if info.GetType() != registerapi.DRAPlugin || info.GetName() != driverName {
		t.Fatalf("GetInfo answers %v", info)
	}
	k.endpoint, k.versions = info.GetEndpoint(), info.GetSupportedVersions()
	return k
}

func (k *kubelet) notify(status *registerapi.RegistrationStatus) error {
	_, err := k.registration.NotifyRegistrationStatus(limit(k.t), status)
	return err
}

// plugin returns a client of the plugin's service which speaks the given version of the API.
func (k *kubelet) plugin(version string) drapbv1.DRAPluginClient {
	conn := connect(k.t, k.endpoint)
	switch version {
	case drapbv1.DRAPluginService:
		return drapbv1.NewDRAPluginClient(conn)
	case drapbv1beta1.DRAPluginService:
		return drapbv1beta1.V1Beta1ClientWrapper{DRAPluginClient: drapbv1beta1.NewDRAPluginClient(conn)}
	}
	k.t.Fatalf("no such API: %s", version)
	return nil
}

func connect(t *testing.T, socket string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func limit(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// eventually waits until ok, looking again and again since nothing tells of the change.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}

// apiServer answers GETs of claims.
type apiServer struct {
	client kubernetes.Interface

	mu     sync.Mutex
	claims map[string]*resourceapi.ResourceClaim // by namespace/name
	asked  map[string]int                        // by path
	// before is called before a GET is answered; a status that it returns is the answer.
	before func(name string) *statusError
}

func newAPIServer(t *testing.T, claims ...*resourceapi.ResourceClaim) *apiServer {
	t.Helper()
	s := &apiServer{claims: make(map[string]*resourceapi.ResourceClaim), asked: make(map[string]int)}
	for _, c := range claims {
		s.claims[c.Namespace+"/"+c.Name] = c
	}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	client, err := kubernetes.NewForConfig(&rest.Config{Host: server.URL, QPS: -1})
	if err != nil {
		t.Fatal(err)
	}
	s.client = client
	return s
}

func (s *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.asked[r.URL.Path]++
	before := s.before
	s.mu.Unlock()
	path, ours := strings.CutPrefix(r.URL.Path, "/apis/resource.k8s.io/v1/namespaces/")
	namespace, name, ok := strings.Cut(path, "/resourceclaims/")
	if before != nil {
		if status := before(name); status != nil {
			answer(w, int(status.Status().Code), status.Status())
			return
		}
	}
	s.mu.Lock()
	c := s.claims[namespace+"/"+name]
	s.mu.Unlock()
	if !ours || !ok || c == nil {
		status := apierrors.NewNotFound(schema.GroupResource{Resource: "resourceclaims"}, name)
		answer(w, http.StatusNotFound, status.Status())
		return
	}
	answer(w, http.StatusOK, c)
}

func answer(w http.ResponseWriter, code int, body any) {
	switch b := body.(type) {
	case metav1.Status:
		b.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}
		body = b
	case *resourceapi.ResourceClaim:
		b = b.DeepCopy()
		b.TypeMeta = metav1.TypeMeta{APIVersion: "resource.k8s.io/v1", Kind: "ResourceClaim"}
		body = b
	}
	text, err := yaml.Marshal(body)
	if err == nil {
		text, err = yaml.YAMLToJSON(text)
	}
	if err != nil {
		panic(err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(text)
}

func (s *apiServer) timesAsked() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, times := range s.asked {
		n += times
	}
	return n
}

// aClaim has the given devices of our pool allocated, one request for each.
func aClaim(name string, devices ...string) *resourceapi.ResourceClaim {
	c := &resourceapi.ResourceClaim{}
	c.Namespace, c.Name, c.UID = "team-a", name, types.UID("uid-of-"+name)
	c.Status.Allocation = &resourceapi.AllocationResult{}
	for i, d := range devices {
		c.Status.Allocation.Devices.Results = append(c.Status.Allocation.Devices.Results,
			resourceapi.DeviceRequestAllocationResult{
				Request: fmt.Sprintf("request-%d/sub", i), Driver: driverName, Pool: nodeName, Device: d,
			})
	}
	return c
}

// hardware is a preparer that only remembers.
type hardware struct {
	mu       sync.Mutex
	prepared map[types.UID]int
	records  map[types.UID]prepare.Remembered
	listed   bool // Remembered lists the records
	network  *resourceapi.NetworkDeviceData
	// during is called within Prepare and Unprepare; an error that it returns is theirs.
	during  func(ctx context.Context, uid types.UID) error
	restore error
}

func (h *hardware) Prepare(ctx context.Context, plan claim.Plan) ([]prepare.Device, error) {
	if h.during != nil {
		if err := h.during(ctx, plan.UID); err != nil {
			return nil, err
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.prepared[plan.UID]++
	var devices []prepare.Device
	for _, d := range plan.Devices {
		devices = append(devices, prepare.Device{
			Request: d.Result.Request, Pool: d.Result.Pool, Device: d.Result.Device, ShareID: d.Result.ShareID,
			CDIDeviceIDs: []string{"k8s.gpu.example.com/gpu=" + string(plan.UID) + "-" + d.Result.Device}, Network: h.network})
	}
	h.record(prepare.Remembered{Claim: device.Claim{Namespace: plan.Namespace, Name: plan.Name, UID: plan.UID},
		State: prepare.Prepared, Devices: devices})
	return devices, nil
}

func (h *hardware) Unprepare(ctx context.Context, uid types.UID) error {
	if h.during != nil {
		if err := h.during(ctx, uid); err != nil {
			return err
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.prepared, uid)
	delete(h.records, uid)
	return nil
}

// record is called with the lock held, or before anybody else knows of h.
func (h *hardware) record(c prepare.Remembered) {
	if h.records == nil {
		h.records = make(map[types.UID]prepare.Remembered)
	}
	h.records[c.Claim.UID] = c
}

func (h *hardware) Remembered() ([]prepare.Remembered, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.listed {
		return nil, nil
	}
	return slices.Collect(maps.Values(h.records)), nil
}

func (h *hardware) Repair(context.Context) error { return nil }

func (h *hardware) RepairFiles(context.Context) error { return nil }

func (h *hardware) Recall(uid types.UID) (*prepare.Remembered, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c, known := h.records[uid]
	if !known {
		return nil, nil
	}
	return &c, nil
}

func (h *hardware) Restore(context.Context) error { return h.restore }

// newspaper is a publisher that only remembers.
type newspaper struct {
	mu        sync.Mutex
	published [][]resourceapi.ResourceSliceSpec
	resyncs   int
}

func (n *newspaper) Publish(slices []resourceapi.ResourceSliceSpec) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.published = append(n.published, slices)
}

func (n *newspaper) Resync() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.resyncs++
}

func (n *newspaper) timesResynced() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.resyncs
}

// stock is an inventory that tells of the given updates, and of those that are put into more.
type stock struct {
	updates []inventory.Update
	more    chan inventory.Update

	mu       sync.Mutex
	outdated error
}

func (s *stock) Run(ctx context.Context, changed func(inventory.Update)) error {
	for _, u := range s.updates {
		changed(u)
	}
	for {
		select {
		case u := <-s.more:
			changed(u)
		case <-ctx.Done():
			return nil
		}
	}
}

func (s *stock) Current() (time.Time, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return seenAt, s.outdated
}

func (s *stock) setOutdated(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.outdated = err
}

// seenAt is when all devices were seen.
var seenAt = time.Unix(1_700_000_000, 0)

// decide takes all results of a claim as ours.
func decide(c *resourceapi.ResourceClaim) (claim.Plan, error) {
	plan := claim.Plan{Namespace: c.Namespace, Name: c.Name, UID: c.UID}
	for _, result := range c.Status.Allocation.Devices.Results {
		plan.Devices = append(plan.Devices, claim.Device{Result: result, ConfigIndex: -1})
	}
	return plan, nil
}

// rig is a driver with everything around it.
type rig struct {
	options   driver.Options
	api       *apiServer
	hardware  *hardware
	newspaper *newspaper
	log       *lockedBuilder
}

func newRig(t *testing.T, claims ...*resourceapi.ResourceClaim) *rig {
	t.Helper()
	dir, err := os.MkdirTemp("", "k") //nolint:usetesting // t.TempDir holds the name of the test: too long
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	r := &rig{api: newAPIServer(t, claims...), hardware: &hardware{prepared: make(map[types.UID]int)},
		newspaper: &newspaper{}, log: &lockedBuilder{}}
	r.options = driver.Options{
		DriverName: driverName, NodeName: nodeName, KubeletDir: dir,
		Client: r.api.client, Preparer: r.hardware, Publisher: r.newspaper, Inventory: &stock{}, Decide: decide,
		Records: r.hardware,
	}
	return r
}

func (r *rig) context(ctx context.Context) context.Context {
	config := textlogger.NewConfig(textlogger.Output(r.log), textlogger.Verbosity(4))
	return klog.NewContext(ctx, textlogger.NewLogger(config))
}

// start runs a driver until stop is called, which returns what Run returned.
func (r *rig) start(t *testing.T) (d *driver.Driver, stop func() error) {
	t.Helper()
	d = driver.New(r.options)
	ctx, cancel := context.WithCancel(r.context(context.Background()))
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		err = d.Run(ctx)
	}()
	stop = func() error {
		cancel()
		<-done
		return err
	}
	t.Cleanup(func() { _ = stop() })
	return d, stop
}

func (r *rig) registrar() string {
	return filepath.Join(r.options.KubeletDir, "plugins_registry", driverName+"-reg.sock")
}

// lockedBuilder is a log that may be read while it is written.
type lockedBuilder struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedBuilder) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuilder) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

type statusError = apierrors.StatusError
