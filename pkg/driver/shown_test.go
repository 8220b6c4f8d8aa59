package driver_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	drapbv1 "k8s.io/kubelet/pkg/apis/dra/v1"

	"example.com/dragoman/pkg/device"
	"example.com/dragoman/pkg/inventory"
	"example.com/dragoman/pkg/prepare"
	"example.com/dragoman/pkg/status"
)

// bulletin is an API server of which the status of claims can be written: what is applied replaces what was. The real
// one is asked in the end-to-end tests.
type bulletin struct {
	client kubernetes.Interface

	mu      sync.Mutex
	claims  map[string]*resourceapi.ResourceClaim // by name
	written int
	answer  func() *statusError
}

func newBulletin(t *testing.T, claims ...*resourceapi.ResourceClaim) *bulletin {
	t.Helper()
	b := &bulletin{claims: map[string]*resourceapi.ResourceClaim{}}
	for _, c := range claims {
		b.claims[c.Name] = c.DeepCopy()
	}
	server := httptest.NewServer(b)
	t.Cleanup(server.Close)
	client, err := kubernetes.NewForConfig(&rest.Config{Host: server.URL, QPS: -1})
	if err != nil {
		t.Fatal(err)
	}
	b.client = client
	return b
}

func (b *bulletin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, name, _ := strings.Cut(r.URL.Path, "/resourceclaims/")
	name, _, isStatus := strings.Cut(name, "/")
	raw, err := io.ReadAll(r.Body)
	b.mu.Lock()
	custom := b.answer
	b.mu.Unlock()
	if custom != nil {
		if s := custom(); s != nil {
			answer(w, int(s.Status().Code), s.Status())
			return
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.claims[name]
	if c == nil || err != nil || (r.Method == http.MethodPatch) != isStatus {
		s := apierrors.NewNotFound(schema.GroupResource{Resource: "resourceclaims"}, name)
		answer(w, http.StatusNotFound, s.Status())
		return
	}
	var applied resourceapi.ResourceClaim
	if r.Method == http.MethodPatch && json.Unmarshal(raw, &applied) == nil {
		b.written++
		c.Status.Devices = applied.Status.Devices
	}
	answer(w, http.StatusOK, c)
}

// shows is the status of a claim in short: "device type=status …", sorted.
func (b *bulletin) shows(name string) (lines []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.claims[name].Status.Devices {
		line := e.Device
		for _, c := range e.Conditions {
			line += " " + c.Type + "=" + string(c.Status)
		}
		lines = append(lines, line)
	}
	slices.Sort(lines)
	return lines
}

func (b *bulletin) answers(with func() *statusError) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.answer = with
}

func (b *bulletin) becomes(t *testing.T, name string, want ...string) {
	t.Helper()
	eventually(t, "the status of "+name+" shows "+strings.Join(want, ", "), func() bool {
		return slices.Equal(b.shows(name), want)
	})
}

func gpus(unhealthy ...string) inventory.Update {
	u := inventory.Update{Seen: true}
	for _, name := range []string{"gpu-0", "gpu-1"} {
		d := device.Device{Device: resourceapi.Device{Name: name}}
		if slices.Contains(unhealthy, name) {
			d.Health = device.Health{Unhealthy: true, Reason: "fan broken"}
		}
		u.Devices = append(u.Devices, d)
	}
	return u
}

func newShownRig(t *testing.T, claims ...*resourceapi.ResourceClaim) (*rig, *bulletin, *stock) {
	t.Helper()
	r, b := newRig(t, claims...), newBulletin(t, claims...)
	devices := &stock{more: make(chan inventory.Update)}
	r.options.Status, r.options.Inventory, r.hardware.listed = b.client, devices, true
	return r, b, devices
}

func mustPrepare(t *testing.T, k *kubelet, names ...string) {
	t.Helper()
	got, err := k.plugin(drapbv1.DRAPluginService).NodePrepareResources(limit(t), requestFor(names...))
	if err != nil {
		t.Fatal(err)
	}
	for uid, c := range got.GetClaims() {
		if c.GetError() != "" {
			t.Fatalf("%s: %s", uid, c.GetError())
		}
	}
}

func mustUnprepare(t *testing.T, k *kubelet, names ...string) {
	t.Helper()
	got, err := k.plugin(drapbv1.DRAPluginService).NodeUnprepareResources(limit(t), unrequestFor(names...))
	if err != nil {
		t.Fatal(err)
	}
	for uid, c := range got.GetClaims() {
		if c.GetError() != "" {
			t.Fatalf("%s: %s", uid, c.GetError())
		}
	}
}

const (
	goodGPU0 = "gpu-0 Ready=True Healthy=True"
	goodGPU1 = "gpu-1 Ready=True Healthy=True"
)

func TestTheStatusOfAClaimFollowsItsDevices(t *testing.T) {
	looking := aClaim("looking", "gpu-0")
	looking.Status.Allocation.Devices.Results[0].AdminAccess = new(true)
	r, b, devices := newShownRig(t, aClaim("train", "gpu-1", "gpu-0"), looking)
	devices.updates = []inventory.Update{gpus()}
	r.start(t)
	k := meet(t, r.registrar())
	mustPrepare(t, k, "train", "looking")
	b.becomes(t, "train", goodGPU0, goodGPU1)
	b.becomes(t, "looking", goodGPU0)
	devices.more <- gpus("gpu-0")
	b.becomes(t, "train", "gpu-0 Ready=True Healthy=False", goodGPU1)
	b.becomes(t, "looking", "gpu-0 Ready=True Healthy=False")
	devices.more <- inventory.Update{Seen: true, Devices: gpus().Devices[1:]}
	b.becomes(t, "train", "gpu-0 Ready=True Healthy=Unknown", goodGPU1)
	devices.more <- inventory.Update{Seen: true} // without devices the list of them is nil
	b.becomes(t, "train", "gpu-0 Ready=True Healthy=Unknown", "gpu-1 Ready=True Healthy=Unknown")
	devices.more <- gpus()
	b.becomes(t, "train", goodGPU0, goodGPU1)
	mustUnprepare(t, k, "train")
	b.becomes(t, "train")
	b.becomes(t, "looking", goodGPU0)
}

func TestNoCallWaitsForTheStatus(t *testing.T) {
	r, b, devices := newShownRig(t, aClaim("train", "gpu-0"), aClaim("serve", "gpu-1"))
	devices.updates = []inventory.Update{gpus()}
	release, asked := make(chan struct{}), make(chan struct{}, 10)
	b.answers(func() *statusError {
		asked <- struct{}{}
		<-release
		return nil
	})
	_, stop := r.start(t)
	k := meet(t, r.registrar())
	mustPrepare(t, k, "train", "serve")
	<-asked // it hangs from here on
	mustUnprepare(t, k, "train")
	mustPrepare(t, k, "serve")
	devices.more <- gpus("gpu-1")
	close(release)
	b.becomes(t, "train")
	b.becomes(t, "serve", "gpu-1 Ready=True Healthy=False")
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// TestAStopDoesNotWaitForTheStatus either, and the next process catches up.
func TestAStopDoesNotWaitForTheStatus(t *testing.T) {
	r, b, devices := newShownRig(t, aClaim("train", "gpu-0"))
	devices.updates = []inventory.Update{gpus()}
	release, asked := make(chan struct{}), make(chan struct{}, 10)
	b.answers(func() *statusError {
		asked <- struct{}{}
		<-release
		return nil
	})
	_, stop := r.start(t)
	mustPrepare(t, meet(t, r.registrar()), "train")
	<-asked
	if err := stop(); err != nil {
		t.Error(err)
	}
	b.answers(nil)
	close(release)
	r.start(t)
	b.becomes(t, "train", goodGPU0)
}

func TestAClaimThatIsPreparedBeforeDevicesWereLookedAtIsShownThen(t *testing.T) {
	r, b, devices := newShownRig(t, aClaim("train", "gpu-0"))
	r.start(t)
	mustPrepare(t, meet(t, r.registrar()), "train")
	devices.more <- gpus()
	b.becomes(t, "train", goodGPU0)
}

func TestClaimsThatAnEarlierProcessPreparedAreShown(t *testing.T) {
	r, b, devices := newShownRig(t, aClaim("train", "gpu-0"), aClaim("half", "gpu-1"))
	devices.updates = []inventory.Update{gpus()}
	for name, state := range map[string]prepare.State{"train": prepare.Prepared, "half": prepare.Preparing} {
		c := aClaim(name, map[string]string{"train": "gpu-0", "half": "gpu-1"}[name])
		remembered := prepare.Remembered{Claim: device.Claim{Namespace: c.Namespace, Name: c.Name, UID: c.UID}, State: state}
		for _, result := range c.Status.Allocation.Devices.Results {
			remembered.Devices = append(remembered.Devices, prepare.Device{Pool: result.Pool, Device: result.Device})
		}
		r.hardware.record(remembered)
	}
	r.start(t)
	b.becomes(t, "train", goodGPU0)
	if got := b.shows("half"); len(got) > 0 {
		t.Errorf("a claim that is half prepared shows %q", got)
	}
}

func TestAMissingRightIsToldOnce(t *testing.T) {
	r, b, devices := newShownRig(t, aClaim("train", "gpu-0"), aClaim("serve", "gpu-1"))
	devices.updates = []inventory.Update{gpus()}
	var mu sync.Mutex
	results := map[status.Result]int{}
	r.options.Observe.StatusWritten = func(result status.Result) {
		mu.Lock()
		defer mu.Unlock()
		results[result]++
	}
	b.answers(func() *statusError {
		return apierrors.NewForbidden(schema.GroupResource{Group: "resource.k8s.io", Resource: "resourceclaims"}, "train",
			errors.New(`cannot patch resource "resourceclaims/status"`))
	})
	_, stop := r.start(t)
	k := meet(t, r.registrar())
	mustPrepare(t, k, "train")
	eventually(t, "it is told", func() bool { return strings.Contains(r.log.String(), "Warning: the status of claims") })
	mustPrepare(t, k, "train", "serve")
	mustUnprepare(t, k, "train")
	if err := stop(); err != nil {
		t.Error(err)
	}
	log := r.log.String()
	const right = `cannot patch resource \"resourceclaims/status\"`
	if n := strings.Count(log, "Warning:"); n != 1 || !strings.Contains(log, right) {
		t.Errorf("%d warnings, want one that names the right:\n%s", n, log)
	}
	if results[status.Forbidden] != 1 || len(results) != 1 {
		t.Errorf("attempts: %v, want one that is forbidden", results)
	}
}
