package apiserver

import (
	"context"
	"errors"
	"os"
	"slices"
	"testing"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	applymetav1 "k8s.io/client-go/applyconfigurations/meta/v1"
	applyv1 "k8s.io/client-go/applyconfigurations/resource/v1"
	"k8s.io/client-go/kubernetes"

	"example.com/dragoman/pkg/binding"
	"example.com/dragoman/pkg/device"
	"example.com/dragoman/pkg/sanity/apiserver"
)

const (
	fabricDriver  = "gpu.example.com"
	isAttached    = "gpu.example.com/attached"
	attachFailed  = "gpu.example.com/attach-failed"
	newestVersion = "v1.37.2"
)

// versions are the API servers that have binding conditions, and how they get them.
func versions() map[string]string {
	return map[string]string{
		apiserver.DefaultVersion: "DRADeviceBindingConditions=true,DRAConsumableCapacity=true",
		newestVersion:            "",
	}
}

// startVersion starts an API server of a version, with feature gates and further flags.
func startVersion(t *testing.T, version, gates string, flags ...string) *apiserver.Server {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 20*time.Minute)
	defer stop()
	found, err := apiserver.Find(ctx, apiserver.Search{Version: version, Environment: os.Getenv,
		Say: func(line string) { t.Log(line) }})
	if err != nil {
		t.Fatal(err)
	}
	server, err := apiserver.Start(ctx, apiserver.Options{Programs: found, FeatureGates: gates, Flags: flags})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(server.Err(), server.Stop()); err != nil {
			t.Error(err)
		}
	})
	return server
}

// fabric attaches at once, except those devices for which it has an error or a channel to wait for.
type fabric struct {
	fails map[string]error
	waits map[string]chan struct{}
	asked chan string
	ended chan string
}

func newFabric() *fabric {
	return &fabric{fails: map[string]error{}, waits: map[string]chan struct{}{},
		asked: make(chan string, 100), ended: make(chan string, 100)}
}

func (f *fabric) Attach(ctx context.Context, _ device.Claim, r resourceapi.DeviceRequestAllocationResult) error {
	f.asked <- r.Device
	if wait := f.waits[r.Device]; wait != nil {
		select {
		case <-wait:
		case <-ctx.Done():
			f.ended <- r.Device
			return ctx.Err()
		}
	}
	return f.fails[r.Device]
}

// bind runs a controller until the returned function is called.
func bind(t *testing.T, client kubernetes.Interface, f device.Fabric) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	controller := binding.New(binding.Options{
		DriverName: fabricDriver, Fabric: f, Client: client, Events: client,
	})
	go func() { done <- controller.Run(ctx) }()
	stop = func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		done <- nil
	}
	t.Cleanup(stop)
	return stop
}

// onDevices is an allocation of these devices on one node.
func onDevices(names ...string) *resourceapi.AllocationResult {
	allocation := &resourceapi.AllocationResult{AllocationTimestamp: new(metav1.Now())}
	for _, name := range names {
		allocation.Devices.Results = append(allocation.Devices.Results, resourceapi.DeviceRequestAllocationResult{
			Request: "gpu", Driver: fabricDriver, Pool: "node-a", Device: name,
			BindingConditions: []string{isAttached}, BindingFailureConditions: []string{attachFailed},
		})
	}
	return allocation
}

func aClaim(t *testing.T, client kubernetes.Interface, name string, on *resourceapi.AllocationResult,
) *resourceapi.ResourceClaim {
	t.Helper()
	claim := &resourceapi.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Name: name}}
	claim.Spec.Devices.Requests = []resourceapi.DeviceRequest{{Name: "gpu", Exactly: &resourceapi.ExactDeviceRequest{
		DeviceClassName: "fabric", AllocationMode: resourceapi.DeviceAllocationModeExactCount, Count: 1}}}
	claim, err := claims(client).Create(t.Context(), claim, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return allocate(t, client, claim.Name, on)
}

// allocate does what the scheduler does; nil takes an allocation back.
func allocate(t *testing.T, client kubernetes.Interface, name string, on *resourceapi.AllocationResult,
) *resourceapi.ResourceClaim {
	t.Helper()
	for {
		claim, err := claims(client).Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		claim.Status.Allocation = on
		claim, err = claims(client).UpdateStatus(t.Context(), claim, metav1.UpdateOptions{})
		switch {
		case err == nil:
			return claim
		case !apierrors.IsConflict(err):
			t.Fatal(err)
		}
	}
}

func claims(client kubernetes.Interface) interface {
	Create(context.Context, *resourceapi.ResourceClaim, metav1.CreateOptions) (*resourceapi.ResourceClaim, error)
	Get(context.Context, string, metav1.GetOptions) (*resourceapi.ResourceClaim, error)
	UpdateStatus(context.Context, *resourceapi.ResourceClaim, metav1.UpdateOptions) (*resourceapi.ResourceClaim, error)
	ApplyStatus(context.Context, *applyv1.ResourceClaimApplyConfiguration, metav1.ApplyOptions,
	) (*resourceapi.ResourceClaim, error)
} {
	return client.ResourceV1().ResourceClaims(metav1.NamespaceDefault)
}

// condition waits for a condition of a device in the status of a claim.
func condition(t *testing.T, client kubernetes.Interface, claim, name, share, conditionType string) metav1.Condition {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	for {
		c, err := claims(client).Get(ctx, claim, metav1.GetOptions{})
		if err != nil {
			t.Fatalf("claim %s, device %s, condition %s: %v", claim, name, conditionType, err)
		}
		for _, d := range c.Status.Devices {
			is := ""
			if d.ShareID != nil {
				is = *d.ShareID
			}
			if found := meta.FindStatusCondition(d.Conditions, conditionType); d.Device == name && is == share && found != nil {
				return *found
			}
		}
		select {
		case <-ctx.Done():
			t.Fatalf("claim %s, device %s: no condition %s; status: %+v", claim, name, conditionType, c.Status.Devices)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func next(t *testing.T, what string, from <-chan string) string {
	t.Helper()
	select {
	case value := <-from:
		return value
	case <-time.After(time.Minute):
		t.Fatalf("waited in vain for %s", what)
		return ""
	}
}

func TestTheControllerSetsBindingConditions(t *testing.T) {
	for version, gates := range versions() {
		t.Run(version, func(t *testing.T) {
			client := clientOf(t, startVersion(t, version, gates).Kubeconfig)
			t.Run("of devices that were attached, besides what others wrote", func(t *testing.T) { besideOthers(t, client) })
			t.Run("of each share", func(t *testing.T) { eachShare(t, client) })
			t.Run("that say why a device was not attached", func(t *testing.T) { sayWhy(t, client) })
			t.Run("of the allocation that it attached for alone", func(t *testing.T) { ofItsAllocation(t, client) })
			t.Run("after a restart", func(t *testing.T) { afterARestart(t, client) })
		})
	}
}

func besideOthers(t *testing.T, client kubernetes.Interface) {
	f := newFabric()
	f.waits["slow"] = make(chan struct{})
	bind(t, client, f)
	aClaim(t, client, "two", onDevices("quick", "slow"))
	c := condition(t, client, "two", "quick", "", isAttached)
	if c.Status != metav1.ConditionTrue || c.Reason != "Attached" {
		t.Errorf("the condition is %+v", c)
	}
	// The agent of a node writes the same entry, with a field manager of its own.
	other := applyv1.ResourceClaim("two", metav1.NamespaceDefault).WithStatus(applyv1.ResourceClaimStatus().WithDevices(
		applyv1.AllocatedDeviceStatus().WithDriver(fabricDriver).WithPool("node-a").WithDevice("quick").WithConditions(
			applymetav1.Condition().WithType("Ready").WithStatus(metav1.ConditionTrue).WithReason("Prepared").
				WithMessage("").WithLastTransitionTime(metav1.Now()))))
	if _, err := claims(client).ApplyStatus(t.Context(), other, metav1.ApplyOptions{FieldManager: "agent"}); err != nil {
		t.Fatal(err)
	}
	close(f.waits["slow"])
	condition(t, client, "two", "slow", "", isAttached)
	condition(t, client, "two", "quick", "", isAttached)
	condition(t, client, "two", "quick", "", "Ready")
}

func eachShare(t *testing.T, client kubernetes.Interface) {
	bind(t, client, newFabric())
	shares := []types.UID{"11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"}
	on := onDevices("shared", "shared")
	for i := range shares {
		on.Devices.Results[i].ShareID = &shares[i]
	}
	aClaim(t, client, "shares", on)
	for _, share := range shares {
		condition(t, client, "shares", "shared", string(share), isAttached)
	}
}

func sayWhy(t *testing.T, client kubernetes.Interface) {
	f := newFabric()
	f.fails["broken"] = errors.New("the cable is not plugged in")
	f.waits["broken"], f.waits["slow"] = make(chan struct{}), make(chan struct{})
	bind(t, client, f)
	aClaim(t, client, "broken", onDevices("broken", "slow"))
	next(t, "the fabric to be asked", f.asked)
	next(t, "the fabric to be asked for the other device", f.asked)
	close(f.waits["broken"])
	c := condition(t, client, "broken", "broken", "", attachFailed)
	if c.Status != metav1.ConditionTrue || c.Message != "the cable is not plugged in" {
		t.Errorf("the condition is %+v", c)
	}
	next(t, "the end of attaching the other device", f.ended)
	const note = "device broken of pool node-a was not attached: the cable is not plugged in"
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	for {
		events, err := client.EventsV1().Events(metav1.NamespaceDefault).List(ctx, metav1.ListOptions{})
		if err != nil {
			t.Fatalf("wait for the event: %v", err)
		}
		for _, e := range events.Items {
			if e.Regarding.Name == "broken" && e.Note == note {
				return
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func ofItsAllocation(t *testing.T, client kubernetes.Interface) {
	f := newFabric()
	f.waits["far"] = make(chan struct{})
	bind(t, client, f)
	aClaim(t, client, "again", onDevices("far"))
	next(t, "the fabric to be asked", f.asked)
	allocate(t, client, "again", nil)
	next(t, "the end of attaching", f.ended)
	claim := allocate(t, client, "again", onDevices("far"))
	next(t, "the fabric to be asked again", f.asked)
	if len(claim.Status.Devices) > 0 {
		t.Errorf("the new allocation has the status %+v", claim.Status.Devices)
	}
	close(f.waits["far"])
	condition(t, client, "again", "far", "", isAttached)
}

func afterARestart(t *testing.T, client kubernetes.Interface) {
	first := newFabric()
	first.waits["open"] = make(chan struct{})
	stop := bind(t, client, first)
	aClaim(t, client, "restart", onDevices("done", "open"))
	condition(t, client, "restart", "done", "", isAttached)
	stop()
	next(t, "the end of attaching", first.ended)
	second := newFabric()
	bind(t, client, second)
	condition(t, client, "restart", "open", "", isAttached)
	condition(t, client, "restart", "done", "", isAttached)
	var asked []string
	for len(second.asked) > 0 {
		asked = append(asked, <-second.asked)
	}
	if slices.Contains(asked, "done") || !slices.Contains(asked, "open") {
		t.Errorf("after the restart the fabric was asked for %v, expected the device that was not attached", asked)
	}
}
