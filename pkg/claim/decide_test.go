package claim

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

const (
	ours   = "gpu.example.com"
	theirs = "nic.example.org"
	node   = "node-a"
)

// mode is a configuration with one setting.
type mode struct {
	metav1.TypeMeta
	Mode string
}

func (m *mode) DeepCopyObject() runtime.Object { c := *m; return &c }

func options() Options {
	return Options{
		DriverName: ours,
		PoolName:   node,
		Decode: func(raw []byte, at *field.Path) (runtime.Object, field.ErrorList) {
			m := &mode{TypeMeta: metav1.TypeMeta{Kind: "Mode"}}
			if err := json.Unmarshal(raw, m); err != nil {
				return nil, field.ErrorList{field.Invalid(at, string(raw), "is not JSON")}
			}
			if m.Mode == "bad" {
				return nil, field.ErrorList{
					field.NotSupported(at.Child("mode"), m.Mode, []string{"default", "fast", "slow"}),
					field.Required(at.Child("reason"), ""),
				}
			}
			return m, nil
		},
		Default: func() runtime.Object { return &mode{Mode: "default"} },
	}
}

// build puts a claim together; allocate derives what the scheduler would say.
type build struct{ c resourceapi.ResourceClaim }

func newClaim() *build {
	b := &build{}
	b.c.Namespace, b.c.Name, b.c.UID = "team-a", "train", "1-2-3"
	b.c.Status.Allocation = &resourceapi.AllocationResult{}
	return b
}

func (b *build) request(name, class string) *build {
	b.c.Spec.Devices.Requests = append(b.c.Spec.Devices.Requests, resourceapi.DeviceRequest{
		Name: name, Exactly: &resourceapi.ExactDeviceRequest{DeviceClassName: class},
	})
	return b
}

// list adds a prioritized list; each alternative is name=class.
func (b *build) list(name string, alternatives ...string) *build {
	r := resourceapi.DeviceRequest{Name: name}
	for _, a := range alternatives {
		sub, class, _ := strings.Cut(a, "=")
		r.FirstAvailable = append(r.FirstAvailable, resourceapi.DeviceSubRequest{Name: sub, DeviceClassName: class})
	}
	b.c.Spec.Devices.Requests = append(b.c.Spec.Devices.Requests, r)
	return b
}

func opaque(driver, mode string) resourceapi.DeviceConfiguration {
	raw := fmt.Appendf(nil, `{"Mode":%q}`, mode)
	return resourceapi.DeviceConfiguration{Opaque: &resourceapi.OpaqueDeviceConfiguration{
		Driver: driver, Parameters: runtime.RawExtension{Raw: raw},
	}}
}

// class adds a configuration from a DeviceClass to the allocation.
func (b *build) class(driver, mode string, requests ...string) *build {
	b.c.Status.Allocation.Devices.Config = append(b.c.Status.Allocation.Devices.Config,
		resourceapi.DeviceAllocationConfiguration{
			Source: resourceapi.AllocationConfigSourceClass, Requests: requests,
			DeviceConfiguration: opaque(driver, mode),
		})
	return b
}

// config adds a configuration to the claim's spec only.
func (b *build) config(driver, mode string, requests ...string) *build {
	b.c.Spec.Devices.Config = append(b.c.Spec.Devices.Config,
		resourceapi.DeviceClaimConfiguration{Requests: requests, DeviceConfiguration: opaque(driver, mode)})
	return b
}

// copied adds it to the allocation only.
func (b *build) copied(driver, mode string, requests ...string) *build {
	b.c.Status.Allocation.Devices.Config = append(b.c.Status.Allocation.Devices.Config,
		resourceapi.DeviceAllocationConfiguration{
			Source: resourceapi.AllocationConfigSourceClaim, Requests: requests,
			DeviceConfiguration: opaque(driver, mode),
		})
	return b
}

// both adds it to the spec and to the allocation.
func (b *build) both(driver, mode string, requests ...string) *build {
	return b.config(driver, mode, requests...).copied(driver, mode, requests...)
}

func (b *build) result(
	request, driver, pool, device string, edit ...func(*resourceapi.DeviceRequestAllocationResult),
) *build {
	r := resourceapi.DeviceRequestAllocationResult{Request: request, Driver: driver, Pool: pool, Device: device}
	for _, e := range edit {
		e(&r)
	}
	b.c.Status.Allocation.Devices.Results = append(b.c.Status.Allocation.Devices.Results, r)
	return b
}

func admin(r *resourceapi.DeviceRequestAllocationResult) { r.AdminAccess = new(true) }

func share(id types.UID) func(*resourceapi.DeviceRequestAllocationResult) {
	return func(r *resourceapi.DeviceRequestAllocationResult) { r.ShareID = &id }
}

// describe returns one line for each device of the plan: request device[/share] mode config-index.
func describe(p Plan) []string {
	var lines []string
	for _, d := range p.Devices {
		id := d.Result.Device
		if d.Result.ShareID != nil {
			id += "/" + string(*d.Result.ShareID)
		}
		lines = append(lines, fmt.Sprintf("%s %s %s %d", d.Result.Request, id, d.Config.(*mode).Mode, d.ConfigIndex))
	}
	return lines
}

func TestDecide(t *testing.T) {
	long := strings.Repeat("ä", 2000)
	tests := map[string]struct {
		claim *build
		want  []string
		err   string
	}{
		"a claim without configuration gets the default": {
			claim: newClaim().request("gpu", "c").result("gpu", ours, node, "gpu-0"),
			want:  []string{"gpu gpu-0 default -1"},
		},
		"a claim without a device of ours gives an empty plan": {
			claim: newClaim().request("nic", "n").result("nic", theirs, "elsewhere", "nic-0").copied(ours, "bad"),
		},
		"devices come in the order of the allocation, those of other drivers left out": {
			claim: newClaim().
				result("b", ours, node, "gpu-1").result("n", theirs, node, "gpu-7").result("a", ours, node, "gpu-0"),
			want: []string{"b gpu-1 default -1", "a gpu-0 default -1"},
		},
		"a configuration without requests applies to all": {
			claim: newClaim().both(ours, "fast").result("a", ours, node, "gpu-0").result("b", ours, node, "gpu-1"),
			want:  []string{"a gpu-0 fast 0", "b gpu-1 fast 0"},
		},
		"a configuration for one request applies to that only": {
			claim: newClaim().both(ours, "fast", "b").result("a", ours, node, "gpu-0").result("b", ours, node, "gpu-1"),
			want:  []string{"a gpu-0 default -1", "b gpu-1 fast 0"},
		},
		"the configuration of another driver is skipped": {
			claim: newClaim().both(theirs, "bad").both(ours, "fast").both(theirs, "bad").
				result("a", ours, node, "gpu-0"),
			want: []string{"a gpu-0 fast 1"},
		},
		"the claim overrides the class": {
			claim: newClaim().request("a", "c").class(ours, "slow").both(ours, "fast").result("a", ours, node, "gpu-0"),
			want:  []string{"a gpu-0 fast 1"},
		},
		"the claim overrides the class even where the allocation has them the other way round": {
			claim: newClaim().request("a", "c").both(ours, "fast").class(ours, "slow").result("a", ours, node, "gpu-0"),
			want:  []string{"a gpu-0 fast 0"},
		},
		"of several in the claim the last one wins, named or not": {
			claim: newClaim().both(ours, "slow", "a").both(ours, "fast").both(ours, "slow", "b").
				result("a", ours, node, "gpu-0").result("b", ours, node, "gpu-1"),
			want: []string{"a gpu-0 fast 1", "b gpu-1 slow 2"},
		},
		"a configuration for the parent applies to the alternative that was chosen": {
			claim: newClaim().list("gpu", "new=c", "old=c").request("x", "c").both(ours, "fast", "gpu").
				result("gpu/old", ours, node, "gpu-0").result("x", ours, node, "gpu-1"),
			want: []string{"gpu/old gpu-0 fast 0", "x gpu-1 default -1"},
		},
		"a configuration for an alternative applies to that one": {
			claim: newClaim().list("gpu", "new=c", "old=c").
				both(ours, "fast", "gpu").config(ours, "bad", "gpu/new").both(ours, "slow", "gpu/old").
				result("gpu/old", ours, node, "gpu-0"),
			want: []string{"gpu/old gpu-0 slow 1"},
		},
		"a configuration for an alternative that was not chosen is not even read": {
			claim: newClaim().list("gpu", "new=c", "old=c").both(ours, "bad", "gpu/new").
				result("gpu/old", ours, node, "gpu-0"),
			want: []string{"gpu/old gpu-0 default -1"},
		},
		"alternatives of several drivers": {
			claim: newClaim().list("acc", "gpu=c", "npu=d").list("second", "npu=d", "gpu=c").
				both(ours, "fast", "acc", "second").
				result("acc/gpu", ours, node, "gpu-0").result("second/npu", theirs, "p", "npu-0"),
			want: []string{"acc/gpu gpu-0 fast 0"},
		},
		"two shares of one device": {
			claim: newClaim().both(ours, "fast", "b").
				result("a", ours, node, "gpu-0", share("s-1")).result("b", ours, node, "gpu-0", share("s-2")),
			want: []string{"a gpu-0/s-1 default -1", "b gpu-0/s-2 fast 0"},
		},
		"a configuration of a class is not for admin access": {
			claim: newClaim().request("a", "c").request("b", "c").class(ours, "slow").
				result("a", ours, node, "gpu-0").result("b", ours, node, "gpu-1", admin),
			want: []string{"a gpu-0 slow 0", "b gpu-1 default -1"},
		},
		"a configuration of the claim may say for admin access what applies anyway": {
			claim: newClaim().both(ours, "default").result("b", ours, node, "gpu-1", admin),
			want:  []string{"b gpu-1 default 0"},
		},
		"a configuration beside admin access is fine if it names the others": {
			claim: newClaim().both(ours, "fast", "a").
				result("a", ours, node, "gpu-0").result("b", ours, node, "gpu-1", admin),
			want: []string{"a gpu-0 fast 0", "b gpu-1 default -1"},
		},
		"an entry without opaque is skipped": {
			claim: func() *build {
				b := newClaim().result("a", ours, node, "gpu-0")
				b.c.Status.Allocation.Devices.Config = make([]resourceapi.DeviceAllocationConfiguration, 2)
				return b
			}(),
			want: []string{"a gpu-0 default -1"},
		},

		"a configuration that would change a device of admin access is refused": {
			claim: newClaim().config(theirs, "x", "z").both(ours, "fast").
				result("a", ours, node, "gpu-0").result("m", ours, node, "gpu-1", admin).
				result("m", ours, node, "gpu-2", admin).result("n", ours, node, "gpu-3", admin),
			err: `spec.devices.config[1].requests: Forbidden: applies to requests "m", "n" with admin access, which ` +
				`never ` +
				`changes a device because somebody else may be using it; name only requests without admin access here`,
		},
		"a claim that is not allocated": {
			claim: func() *build { b := newClaim(); b.c.Status.Allocation = nil; return b }(),
			err:   `claim team-a/train is not allocated`,
		},
		"a device of another node": {
			claim: newClaim().result("a", ours, "node-b", "gpu-0"),
			err: `device "gpu-0" of pool "node-b", allocated for request "a", is not on this node, which has pool ` +
				`"node-a" ` +
				`only; ` +
				`delete the pod so that it is scheduled again`,
		},
		"a device with a name that is a path": {
			claim: newClaim().result("a", ours, node, "../../etc"),
			err: `device "../../etc" of pool "node-a", allocated for request "a", cannot exist: its name is not a ` +
				`DNS label`,
		},
		"a share ID that is a path": {
			claim: newClaim().result("a", ours, node, "gpu-0", share("../x")),
			err: `device "gpu-0" of pool "node-a", allocated for request "a", has the share ID "../x", which is ` +
				`not a UUID`,
		},
		"one device twice": {
			claim: newClaim().result("a", ours, node, "gpu-0").result("b", ours, node, "gpu-0"),
			err:   `device "gpu-0" of pool "node-a", allocated for request "b", is in the claim twice`,
		},
		"one device as a whole and in shares": {
			claim: newClaim().result("a", ours, node, "gpu-0", share("s-1")).result("b", ours, node, "gpu-0"),
			err: `device "gpu-0" of pool "node-a", allocated for request "b", is in the claim as a whole and in ` +
				`shares`,
		},
		"a look at a device of which the claim has a share": {
			claim: newClaim().result("a", ours, node, "gpu-0", share("s-1")).result("b", ours, node, "gpu-0", admin),
			want:  []string{"a gpu-0/s-1 default -1", "b gpu-0 default -1"},
		},
		"all problems of all configurations at once, with paths in the spec": {
			claim: newClaim().request("a", "c").request("b", "d").
				class(theirs, "x", "a").class(ours, "bad", "a").class(ours, "fast", "b").
				both(ours, "bad", "b").config(ours, "bad", "q").both(ours, "bad", "a", "b").
				result("a", ours, node, "gpu-0").result("b", ours, node, "gpu-1"),
			err: `DeviceClass "c": spec.config[1].opaque.parameters.mode: Unsupported value: "bad": supported ` +
				`values: ` +
				`"default", "fast", "slow"; ` +
				`DeviceClass "c": spec.config[1].opaque.parameters.reason: Required value; ` +
				`spec.devices.config[0].opaque.parameters.mode: Unsupported value: "bad": supported values: ` +
				`"default", "fast", ` +
				`"slow"; ` +
				`spec.devices.config[0].opaque.parameters.reason: Required value; ` +
				`spec.devices.config[2].opaque.parameters.mode: Unsupported value: "bad": supported values: ` +
				`"default", "fast", ` +
				`"slow"; ` +
				`spec.devices.config[2].opaque.parameters.reason: Required value`,
		},
		"a typo is reported even where a later configuration overrides it": {
			claim: newClaim().both(ours, "bad").both(ours, "fast").result("a", ours, node, "gpu-0"),
			err: `spec.devices.config[0].opaque.parameters.mode: Unsupported value: "bad": supported values: ` +
				`"default", ` +
				`"fast", "slow"; ` +
				`spec.devices.config[0].opaque.parameters.reason: Required value`,
		},
		"the scheduler cleared the requests, since they were all": {
			claim: newClaim().config(ours, "fast", "z").config(ours, "bad", "a").copied(ours, "bad").
				result("a", ours, node, "gpu-0"),
			err: `spec.devices.config[1].opaque.parameters.mode: Unsupported value: "bad": supported values: ` +
				`"default", ` +
				`"fast", "slow"; ` +
				`spec.devices.config[1].opaque.parameters.reason: Required value`,
		},
		"an old scheduler repeated the configuration for each request": {
			claim: newClaim().config(ours, "slow", "a", "b").copied(ours, "slow", "a", "b").copied(ours, "slow", "a", "b").
				both(ours, "bad", "b").result("a", ours, node, "gpu-0").result("b", ours, node, "gpu-1"),
			err: `spec.devices.config[1].opaque.parameters.mode: Unsupported value: "bad": supported values: ` +
				`"default", ` +
				`"fast", "slow"; ` +
				`spec.devices.config[1].opaque.parameters.reason: Required value`,
		},
		"the class of the chosen alternative is named": {
			claim: newClaim().list("gpu", "new=c-new", "old=c-old").class(ours, "bad").
				result("gpu/old", ours, node, "gpu-0"),
			err: `DeviceClass "c-old": spec.config[0].opaque.parameters.mode: Unsupported value: "bad": supported ` +
				`values: ` +
				`"default", "fast", "slow"; ` +
				`DeviceClass "c-old": spec.config[0].opaque.parameters.reason: Required value`,
		},
		"a configuration from nowhere is named by its place in the status": {
			claim: newClaim().copied(ours, "bad").class(ours, "bad").result("a", ours, node, "gpu-0"),
			err: `status.allocation.devices.config[0].opaque.parameters.mode: Unsupported value: "bad": supported ` +
				`values: ` +
				`"default", "fast", "slow"; ` +
				`status.allocation.devices.config[0].opaque.parameters.reason: Required value; ` +
				`status.allocation.devices.config[1].opaque.parameters.mode: Unsupported value: "bad": supported ` +
				`values: ` +
				`"default", "fast", "slow"; ` +
				`status.allocation.devices.config[1].opaque.parameters.reason: Required value`,
		},
		"a text that is too long for an event is cut": {
			claim: func() *build {
				b := newClaim().both(ours, "bad").both(ours, "fast").result("a", ours, node, "gpu-0")
				b.c.Status.Allocation.Devices.Config[0].Opaque.Parameters.Raw = []byte(long)
				b.c.Status.Allocation.Devices.Config[1].Opaque.Parameters.Raw = []byte(long)
				return b
			}(),
			err: `status.allocation.devices.config[0].opaque.parameters: Invalid value: ` +
				`"` + strings.Repeat("ä", 363) + `…; and 1 more`,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			before := tt.claim.c.DeepCopy()
			plan, err := Decide(&tt.claim.c, options())
			if diff := cmp.Diff(before, &tt.claim.c); diff != "" {
				t.Errorf("the claim was changed: %s", diff)
			}
			if got := fmt.Sprint(err); tt.err != "" || err != nil {
				if diff := cmp.Diff(tt.err, got); diff != "" {
					t.Fatalf("error (-want +got):\n%s", diff)
				}
				return
			}
			if diff := cmp.Diff(tt.want, describe(plan)); diff != "" {
				t.Errorf("plan (-want +got):\n%s", diff)
			}
			if plan.Namespace != "team-a" || plan.Name != "train" || plan.UID != "1-2-3" {
				t.Errorf("plan is for %s/%s %s", plan.Namespace, plan.Name, plan.UID)
			}
		})
	}
}

func TestErrorsHaveTypes(t *testing.T) {
	var configError *ConfigError
	var fieldError *field.Error
	_, err := Decide(&newClaim().both(ours, "bad").result("a", ours, node, "gpu-0").c, options())
	if !errors.As(err, &configError) || !errors.As(err, &fieldError) || len(configError.Problems) != 2 {
		t.Errorf("a bad configuration is a %T: %v", err, err)
	}
	var resultError *ResultError
	if _, err := Decide(&newClaim().result("a", ours, "other", "gpu-0").c, options()); !errors.As(err, &resultError) {
		t.Errorf("a device of another node is a %T: %v", err, err)
	}
	if _, err := Decide(nil, options()); !errors.Is(err, ErrNotAllocated) {
		t.Errorf("no claim is a %T: %v", err, err)
	}
}

func TestGroups(t *testing.T) {
	b := newClaim().both(ours, "fast", "a", "c").both(ours, "fast", "b").
		result("x", ours, node, "gpu-0").result("a", ours, node, "gpu-1").result("b", ours, node, "gpu-2").
		result("c", ours, node, "gpu-3").result("y", ours, node, "gpu-4", admin)
	plan, err := Decide(&b.c, options())
	if err != nil {
		t.Fatal(err)
	}
	var got [][]int
	for _, g := range plan.Groups() {
		got = append(got, g.Indexes)
		for _, i := range g.Indexes {
			if g.Config != plan.Devices[i].Config {
				t.Errorf("device %d has another configuration than its group", i)
			}
		}
	}
	if diff := cmp.Diff([][]int{{0, 4}, {1, 3}, {2}}, got); diff != "" {
		t.Errorf("groups (-want +got):\n%s", diff)
	}
	if !plan.AdminAccess() || (Plan{}).AdminAccess() {
		t.Error("AdminAccess is wrong")
	}
}

// FuzzDecide feeds claims as a hostile API server might send them: no panic, the same answer twice, and a plan that
// keeps its promises.
func FuzzDecide(f *testing.F) {
	seed := func(b *build) {
		raw, err := json.Marshal(b.c)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	seed(newClaim().list("gpu", "new=c", "old=d").request("x", "c").class(ours, "bad").both(ours, "fast", "gpu").
		result("gpu/old", ours, node, "gpu-0", admin).result("x", ours, node, "gpu-0", share("s")))
	seed(newClaim().both(ours, "bad").result("a/b/c", ours, node, "../x"))
	f.Add([]byte(`{"status":{"allocation":{"devices":{"results":[{}],"config":[{},{"opaque":{}},{"opaque":null}]}}}}`))
	f.Add([]byte(`{"spec":{"devices":{"requests":[{},{"firstAvailable":[{}]}],"config":[{}]}}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var c resourceapi.ResourceClaim
		if json.Unmarshal(raw, &c) != nil {
			t.Skip()
		}
		plan, err := Decide(&c, options())
		again, errAgain := Decide(&c, options())
		if fmt.Sprint(err) != fmt.Sprint(errAgain) || !cmp.Equal(plan, again) {
			t.Fatalf("two answers: %v, %v", err, errAgain)
		}
		if err != nil {
			if text := err.Error(); text == "" || len(text) > 2*maxErrorLength {
				t.Errorf("error text of %d bytes", len(text))
			}
			return
		}
		for i, d := range plan.Devices {
			if d.Config == nil || d.Result.Driver != ours || d.Result.Pool != node {
				t.Errorf("device %d: %+v", i, d)
			}
		}
	})
}
