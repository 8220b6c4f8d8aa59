package driver_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/dynamic-resource-allocation/kubeletplugin"
	drahealthv1 "k8s.io/kubelet/pkg/apis/dra-health/v1"
	drahealthv1alpha1 "k8s.io/kubelet/pkg/apis/dra-health/v1alpha1"
	drapbv1 "k8s.io/kubelet/pkg/apis/dra/v1"
	drapbv1beta1 "k8s.io/kubelet/pkg/apis/dra/v1beta1"
	registerapi "k8s.io/kubelet/pkg/apis/pluginregistration/v1"

	"example.com/dragoman/pkg/claim"
	"example.com/dragoman/pkg/device"
	"example.com/dragoman/pkg/driver"
	"example.com/dragoman/pkg/inventory"
)

var registered = &registerapi.RegistrationStatus{PluginRegistered: true}

func requestFor(names ...string) *drapbv1.NodePrepareResourcesRequest {
	req := &drapbv1.NodePrepareResourcesRequest{}
	for _, name := range names {
		req.Claims = append(req.Claims, &drapbv1.Claim{Namespace: "team-a", Name: name, Uid: "uid-of-" + name})
	}
	return req
}

func unrequestFor(names ...string) *drapbv1.NodeUnprepareResourcesRequest {
	return &drapbv1.NodeUnprepareResourcesRequest{Claims: requestFor(names...).Claims}
}

func TestAKubeletRegistersPreparesAndUnprepares(t *testing.T) {
	for _, api := range []string{drapbv1.DRAPluginService, drapbv1beta1.DRAPluginService} {
		t.Run(api, func(t *testing.T) {
			shared := aClaim("shared", "gpu-7")
			shared.Status.Allocation.Devices.Results[0].ShareID = new(types.UID("share-1"))
			r := newRig(t, aClaim("two", "gpu-3", "gpu-0"), shared)
			d, stop := r.start(t)
			k := meet(t, r.registrar())
			for _, service := range []string{
				api, drahealthv1.DRAResourceHealthService, drahealthv1alpha1.DRAResourceHealthService,
			} {
				if !slices.Contains(k.versions, service) {
					t.Errorf("offers %v, without %s", k.versions, service)
				}
			}
			if err := k.notify(registered); err != nil {
				t.Fatal(err)
			}
			if err := d.Registered(); err != nil {
				t.Error(err)
			}
			if n := r.newspaper.timesResynced(); n != 1 {
				t.Errorf("resynced %d times upon registration, want once", n)
			}
			got, err := k.plugin(api).NodePrepareResources(limit(t), requestFor("two", "shared"))
			if err != nil {
				t.Fatal(err)
			}
			id := func(s string) []string { return []string{"k8s.gpu.example.com/gpu=uid-of-" + s} }
			want := &drapbv1.NodePrepareResourcesResponse{Claims: map[string]*drapbv1.NodePrepareResourceResponse{
				"uid-of-two": {Devices: []*drapbv1.Device{ // in the order of the allocation
					{RequestNames: []string{"request-0"}, PoolName: nodeName, DeviceName: "gpu-3",
						CdiDeviceIds: id("two-gpu-3")},
					{RequestNames: []string{"request-1"}, PoolName: nodeName, DeviceName: "gpu-0",
						CdiDeviceIds: id("two-gpu-0")},
				}},
				"uid-of-shared": {Devices: []*drapbv1.Device{{RequestNames: []string{"request-0"}, PoolName: nodeName,
					DeviceName: "gpu-7", CdiDeviceIds: id("shared-gpu-7"), ShareId: new("share-1")}}},
			}}
			if api == drapbv1beta1.DRAPluginService {
				want.Claims["uid-of-shared"].Devices[0].ShareId = nil // that version has no such field
			}
			if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
				t.Errorf("answer to prepare (-want +got):\n%s", diff)
			}
			gone, err := k.plugin(api).NodeUnprepareResources(limit(t), unrequestFor("two", "never-seen"))
			if err != nil {
				t.Fatal(err)
			}
			wantGone := map[string]*drapbv1.NodeUnprepareResourceResponse{"uid-of-two": {}, "uid-of-never-seen": {}}
			if diff := cmp.Diff(wantGone, gone.GetClaims(), protocmp.Transform()); diff != "" {
				t.Errorf("answer to unprepare (-want +got):\n%s", diff)
			}
			if err := stop(); err != nil {
				t.Errorf("stop: %v", err)
			}
			for _, socket := range []string{r.registrar(), k.endpoint} {
				if _, err := os.Stat(socket); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("socket %s is left after stop: %v", socket, err)
				}
			}
		})
	}
}

func TestRegisteredSaysWhyNot(t *testing.T) {
	r := newRig(t)
	d, _ := r.start(t)
	if err := d.Registered(); err == nil || !strings.Contains(err.Error(), r.options.KubeletDir+"/plugins_registry") {
		t.Errorf("before the kubelet came: %v, want the directory that it looks into", err)
	}
	k := meet(t, r.registrar())
	if err := k.notify(&registerapi.RegistrationStatus{Error: "a newer instance is registered"}); err == nil {
		t.Error("a rejection is taken for success")
	}
	if err := d.Registered(); err == nil || !strings.Contains(err.Error(), `"a newer instance is registered"`) {
		t.Errorf("after a rejection: %v, want the kubelet's reason", err)
	}
	if n := r.newspaper.timesResynced(); n != 0 {
		t.Errorf("resynced %d times upon a rejection", n)
	}
	if err := k.notify(registered); err != nil {
		t.Fatal(err)
	}
	if err := d.Registered(); err != nil {
		t.Errorf("after the kubelet came to another mind: %v", err)
	}
}

func TestAllClaimsOfACallAreReadAtOnce(t *testing.T) {
	for _, api := range []string{drapbv1.DRAPluginService, drapbv1beta1.DRAPluginService} {
		t.Run(api, func(t *testing.T) {
			const n = 20
			var names []string
			var claims []*resourceapi.ResourceClaim
			for i := range n {
				names = append(names, fmt.Sprintf("claim-%d", i))
				claims = append(claims, aClaim(names[i], "gpu-0"))
			}
			r := newRig(t, claims...)
			// No GET is answered before all have come.
			var all sync.WaitGroup
			all.Add(n)
			r.api.before = func(string) *statusError {
				all.Done()
				all.Wait()
				return nil
			}
			r.start(t)
			answer, err := meet(t, r.registrar()).plugin(api).NodePrepareResources(limit(t), requestFor(names...))
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range names {
				if a := answer.GetClaims()["uid-of-"+name]; a == nil || a.GetError() != "" {
					t.Errorf("claim %s: %v", name, a)
				}
			}
			if asked := r.api.timesAsked(); asked != n {
				t.Errorf("%d requests to the API server for %d claims", asked, n)
			}
		})
	}
}

func TestAnAPIServerInTroubleIsAskedAgain(t *testing.T) {
	for _, api := range []string{drapbv1.DRAPluginService, drapbv1beta1.DRAPluginService} {
		t.Run(api, func(t *testing.T) {
			r := newRig(t, aClaim("train", "gpu-0"))
			troubles := make(chan *statusError, 2)
			troubles <- apierrors.NewTooManyRequests("slow down", 0)
			troubles <- apierrors.NewInternalError(errors.New("etcd: leader changed"))
			r.api.before = func(string) *statusError {
				select {
				case trouble := <-troubles:
					return trouble
				default:
					return nil
				}
			}
			var took time.Duration
			r.options.Observe.Prepared = func(d time.Duration, _ error) { took = d }
			r.start(t)
			answer, err := meet(t, r.registrar()).plugin(api).NodePrepareResources(limit(t), requestFor("train"))
			if err != nil || answer.GetClaims()["uid-of-train"].GetError() != "" {
				t.Fatalf("%v, %v", answer, err)
			}
			if asked := r.api.timesAsked(); asked != 3 {
				t.Errorf("asked %d times", asked)
			}
			if took < firstPauses {
				t.Errorf("the time for asking again is missing in %s", took)
			}
		})
	}
}

// firstPauses is the least that two attempts at asking again take.
const firstPauses = (25 + 50) * time.Millisecond

func TestTroubleWithOneClaimIsThatClaimsAnswer(t *testing.T) {
	replaced := aClaim("replaced", "gpu-1")
	replaced.UID = "another"
	pending := aClaim("pending")
	pending.Status.Allocation = nil
	r := newRig(t, aClaim("good", "gpu-0"), aClaim("panics", "gpu-2"), aClaim("refused", "gpu-3"),
		aClaim("not-understood", "gpu-4"), aClaim("others"), replaced, pending)
	r.options.Decide = func(c *resourceapi.ResourceClaim) (claim.Plan, error) {
		if c.Name == "not-understood" {
			return claim.Plan{}, errors.New("spec.devices.config[0]: cannot be understood")
		}
		return decide(c)
	}
	r.hardware.during = func(_ context.Context, uid types.UID) error {
		switch uid {
		case "uid-of-panics":
			panic("index out of range")
		case "uid-of-refused":
			return errors.New("device gpu-3 is held by claim team-b/other")
		}
		return nil
	}
	r.start(t)
	k := meet(t, r.registrar()).plugin(drapbv1.DRAPluginService)
	req := requestFor("good", "panics", "refused", "not-understood", "others", "replaced", "pending", "gone")
	answer, err := k.NodePrepareResources(limit(t), req)
	if err != nil {
		t.Fatalf("the whole call is refused: %v", err)
	}
	for uid, want := range map[string]string{
		"uid-of-good":   "",
		"uid-of-others": "",
		"uid-of-panics": "internal error: index out of range; the driver's log on this node says where, " +
			"please report it",
		"uid-of-refused":        "device gpu-3 is held by claim team-b/other",
		"uid-of-not-understood": "spec.devices.config[0]: cannot be understood",
		"uid-of-replaced": "claim team-a/replaced was replaced: the pod's claim has UID uid-of-replaced, " +
			"the claim of that name has now another",
		"uid-of-pending": "claim team-a/pending is not allocated",
		"uid-of-gone":    "claim team-a/gone does not exist any more",
	} {
		if a, ok := answer.GetClaims()[uid]; !ok || a.GetError() != want {
			t.Errorf("%s: %q, want %q", uid, a.GetError(), want)
		}
	}
	if len(answer.GetClaims()) != len(req.GetClaims()) {
		t.Errorf("%d answers for %d claims", len(answer.GetClaims()), len(req.GetClaims()))
	}
	if log := r.log.String(); !strings.Contains(log, "hardware).Prepare") {
		t.Errorf("the log does not say where the panic was:\n%s", log)
	}

	undo, err := k.NodeUnprepareResources(limit(t), unrequestFor("good", "panics", "refused"))
	if err != nil {
		t.Fatal(err)
	}
	for uid, want := range map[string]string{
		"uid-of-good": "", "uid-of-panics": "internal error", "uid-of-refused": "held",
	} {
		a, ok := undo.GetClaims()[uid]
		if !ok || !strings.Contains(a.GetError(), want) || (want == "") != (a.GetError() == "") {
			t.Errorf("unprepare %s: %q, want %q", uid, a.GetError(), want)
		}
	}
}

func TestACallInProgressIsFinishedBeforeStopping(t *testing.T) {
	r := newRig(t, aClaim("slow", "gpu-0"))
	begun, finish := make(chan struct{}), make(chan struct{})
	r.hardware.during = func(ctx context.Context, _ types.UID) error {
		close(begun)
		select {
		case <-finish:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	_, stop := r.start(t)
	k := meet(t, r.registrar()).plugin(drapbv1.DRAPluginService)
	type result struct {
		answer *drapbv1.NodePrepareResourcesResponse
		err    error
	}
	results := make(chan result, 1)
	go func() {
		answer, err := k.NodePrepareResources(limit(t), requestFor("slow"))
		results <- result{answer, err}
	}()
	<-begun
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	select {
	case err := <-stopped:
		t.Fatalf("stopped while a call was in progress: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	close(finish)
	if got := <-results; got.err != nil || got.answer.GetClaims()["uid-of-slow"].GetError() != "" {
		t.Errorf("the call got %v, %v", got.answer, got.err)
	}
	if err := <-stopped; err != nil {
		t.Errorf("stop: %v", err)
	}
}

func TestADriverDoesNotTakeTheSocketsOfAnother(t *testing.T) {
	r := newRig(t)
	first, _ := r.start(t)
	meet(t, r.registrar())
	err := driver.New(r.options).Run(limit(t))
	want := fmt.Sprintf("socket %s is served by another process: driver %q already runs on this node",
		r.registrar(), driverName)
	if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "--driver-name") {
		t.Errorf("second driver: %v\nwant %q and what to do", err, want)
	}
	if err := first.Alive(limit(t)); err != nil {
		t.Errorf("the first driver suffered: %v", err)
	}
}

func TestInstancesWithPodUIDsServeSideBySide(t *testing.T) {
	r := newRig(t)
	for _, uid := range []types.UID{"11111111-2222-3333-4444-555555555555", "66666666-7777-8888-9999-000000000000"} {
		r.options.PodUID = uid
		d, _ := r.start(t)
		registry := filepath.Join(r.options.KubeletDir, "plugins_registry")
		meet(t, filepath.Join(registry, kubeletplugin.RollingUpdateRegistrarSocketFile(registry, driverName, uid)))
		if err := d.Alive(limit(t)); err != nil {
			t.Error(err)
		}
	}
}

// listen makes a socket on which somebody listens, or nobody any more.
func listen(t *testing.T, path string, dead bool) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		t.Fatal(err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	if l.SetUnlinkOnClose(false); dead {
		_ = l.Close()
		return
	}
	t.Cleanup(func() { _ = l.Close() })
}

func TestSocketsOfDeadInstancesAreRemovedAndOthersKept(t *testing.T) {
	const dead, alive = "11111111-2222-3333-4444-555555555555", "66666666-7777-8888-9999-000000000000"
	const removed, kept = true, false
	r := newRig(t)
	r.options.PodUID = "99999999-9999-9999-9999-999999999999"
	data, registry := "plugins/"+driverName+"/", "plugins_registry/"
	for _, s := range []struct {
		path       string
		dead, want bool
	}{
		{data + "dra.sock", true, removed},
		{data + "dra-" + dead + ".sock", true, removed},
		{data + "dra-" + alive + ".sock", false, kept},
		{data + "other.sock", true, kept},
		{registry + driverName + "-reg.sock", true, removed},
		{registry + driverName + "-" + dead + "-reg.sock", true, removed},
		{registry + driverName + "-" + alive + "-reg.sock", false, kept},
		{registry + driverName + "-AbCdEfGhIjKl-reg.sock", true, kept},
		{registry + driverName + "-AbCdEfGhIj_-reg.sock", true, removed},
		{registry + driverName + "-two-reg.sock", true, kept}, // driver gpu.example.com-two
		{registry + "nic.example.com-reg.sock", true, kept},
	} {
		path := filepath.Join(r.options.KubeletDir, s.path)
		listen(t, path, s.dead)
		defer func() {
			if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) != s.want {
				t.Errorf("%s: removed = %v, want %v", s.path, !s.want, s.want)
			}
		}()
	}
	_, stop := r.start(t)
	eventually(t, "the driver listens", func() bool {
		_, err := os.Stat(filepath.Join(r.options.KubeletDir, data, "dra-"+string(r.options.PodUID)+".sock"))
		return err == nil
	})
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func TestADriverStartsOverItsOwnDeadSockets(t *testing.T) {
	r := newRig(t)
	listen(t, r.registrar(), true)
	listen(t, filepath.Join(r.options.KubeletDir, "plugins", driverName, "dra.sock"), true)
	d, _ := r.start(t)
	eventually(t, "it answers", func() bool { return d.Alive(limit(t)) == nil })
}

func TestDirectoriesThatCannotBeUsed(t *testing.T) {
	file := func(t *testing.T, r *rig) string {
		path := filepath.Join(r.options.KubeletDir, "file")
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, tc := range map[string]struct {
		kubeletDir func(t *testing.T, r *rig) string
		want       []string
	}{
		"the kubelet's directory is a file": {file,
			[]string{"directory ", "/file/plugins_registry", "not a directory", "--kubelet-dir"}},
		"the path of the socket is too long": {
			func(_ *testing.T, r *rig) string { return filepath.Join(r.options.KubeletDir, strings.Repeat("x", 80)) },
			[]string{"has 107 bytes to spend and is using 1", "--kubelet-dir or --driver-name"}},
		"there is a file in the place of the socket": {
			func(t *testing.T, r *rig) string {
				if err := os.MkdirAll(r.registrar(), 0o750); err != nil {
					t.Fatal(err)
				}
				return r.options.KubeletDir
			}, []string{"there is something else of that name", "remove it"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.options.KubeletDir = tc.kubeletDir(t, r)
			err := driver.New(r.options).Run(limit(t))
			for _, want := range tc.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%v\nwant %q", err, want)
				}
			}
		})
	}
}

func TestAliveNoticesThatTheSocketsAreGone(t *testing.T) {
	r := newRig(t)
	d, stop := r.start(t)
	eventually(t, "it answers", func() bool { return d.Alive(limit(t)) == nil })
	if err := stop(); err != nil { // or they would be made again
		t.Fatal(err)
	}
	if err := d.Alive(limit(t)); err == nil || !strings.Contains(err.Error(), r.registrar()) {
		t.Errorf("%v, want the socket that is gone", err)
	}
}

func TestAFatalErrorEndsTheDriverAndARecoverableOneDoesNot(t *testing.T) {
	r := newRig(t)
	d := driver.New(r.options)
	ended := make(chan error, 1)
	go func() { ended <- d.Run(r.context(t.Context())) }()
	eventually(t, "it answers", func() bool { return d.Alive(limit(t)) == nil })
	d.HandleError(r.context(t.Context()), fmt.Errorf("slow: %w", kubeletplugin.ErrRecoverable), "report health")
	if err := d.Alive(limit(t)); err != nil {
		t.Errorf("after a recoverable error: %v", err)
	}
	d.HandleError(t.Context(), errors.New("accept: too many open files"), "DRA gRPC server failed")
	d.HandleError(t.Context(), errors.New("another one"), "registrar gRPC server failed")
	if err := <-ended; err == nil || err.Error() != "DRA gRPC server failed: accept: too many open files" {
		t.Errorf("Run returned %v", err)
	}
}

func TestWhatTheInventorySeesIsPublished(t *testing.T) {
	left := inventory.LeftOut{Device: "gpu-1", Field: "attributes[version]", Reason: "not a semantic version"}
	more := inventory.LeftOut{Device: "gpu-2", Field: "attributes[name]", Reason: "too long"}
	some := []resourceapi.ResourceSliceSpec{{Driver: driverName}}
	r := newRig(t)
	seen := make(chan int, 10)
	r.options.Observe.Devices = func(all []device.Device) { seen <- len(all) }
	blind := errors.New("no driver loaded")
	r.options.Inventory = &stock{outdated: blind, updates: []inventory.Update{
		{Err: blind}, // nothing is known yet: nothing is published
		{Seen: true, Devices: make([]device.Device, 1)}, // nor is it known what the cluster can hold
		{Seen: true, Slices: some, Devices: make([]device.Device, 2), LeftOut: []inventory.LeftOut{left}},
		{Seen: true, Slices: some, Devices: make([]device.Device, 2), LeftOut: []inventory.LeftOut{left, more}, Err: blind},
	}}
	d := driver.New(r.options)
	_, stop := func() (*driver.Driver, func() error) {
		ctx, cancel := context.WithCancel(r.context(t.Context()))
		done := make(chan error, 1)
		go func() { done <- d.Run(ctx) }()
		return d, func() error { cancel(); return <-done }
	}()
	for _, want := range []int{1, 2, 2} {
		if n := <-seen; n != want {
			t.Errorf("%d devices, want %d", n, want)
		}
	}
	eventually(t, "it answers", func() bool { return d.Alive(limit(t)) == nil })
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([][]resourceapi.ResourceSliceSpec{some, some}, r.newspaper.published); diff != "" {
		t.Errorf("published (-want +got):\n%s", diff)
	}
	if err := d.Looked(); !errors.Is(err, blind) {
		t.Errorf("looked: %v", err)
	}
	for _, device := range []string{"gpu-1", "gpu-2"} {
		if n := strings.Count(r.log.String(), `device="`+device); n != 1 {
			t.Errorf("%d warnings for %s, want one:\n%s", n, device, r.log)
		}
	}
}
