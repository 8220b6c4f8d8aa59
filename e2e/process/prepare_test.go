package process

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/types"
	drav1beta1 "k8s.io/kubelet/pkg/apis/dra/v1beta1"
	"tags.cncf.io/container-device-interface/pkg/cdi"

	"example.com/dragoman/pkg/sanity/kubelet"
)

func prepare(t *testing.T, d *driver, claim kubelet.Claim) kubelet.Prepared {
	t.Helper()
	prepared, err := d.plugin.PrepareOne(t.Context(), claim)
	if err != nil {
		t.Fatalf("prepare %s: %v", claim.Name, err)
	}
	return prepared
}

func unprepare(t *testing.T, d *driver, claim kubelet.Claim) {
	t.Helper()
	if err := d.plugin.UnprepareOne(t.Context(), claim); err != nil {
		t.Fatalf("unprepare %s: %v", claim.Name, err)
	}
}

// refused prepares a claim, expects an error and returns its text.
func refused(t *testing.T, d *driver, claim kubelet.Claim) string {
	t.Helper()
	answer, err := d.plugin.Prepare(t.Context(), claim)
	if err != nil {
		t.Fatal(err)
	}
	if answer[claim.UID].Err == nil {
		t.Fatalf("%s was prepared: %v", claim.Name, answer[claim.UID].Devices)
	}
	return answer[claim.UID].Err.Error()
}

// container is what a container runtime makes of the CDI ids in the answer.
func (r *rig) container(prepared kubelet.Prepared) (specs.Spec, error) {
	cache, err := cdi.NewCache(cdi.WithSpecDirs(r.cdi()), cdi.WithAutoRefresh(false))
	if err != nil {
		return specs.Spec{}, err
	}
	if problems := cache.GetErrors(); len(problems) > 0 {
		return specs.Spec{}, fmt.Errorf("CDI files have problems: %v", problems)
	}
	if len(prepared.IDs()) == 0 {
		return specs.Spec{}, errors.New("the answer has no CDI ids")
	}
	var container specs.Spec
	unresolved, err := cache.InjectDevices(&container, prepared.IDs()...)
	if len(unresolved) > 0 {
		return specs.Spec{}, fmt.Errorf("CDI ids do not resolve: %v", unresolved)
	}
	return container, err
}

func (r *rig) mustResolve(prepared kubelet.Prepared) specs.Spec {
	r.t.Helper()
	container, err := r.container(prepared)
	if err != nil {
		r.t.Fatal(err)
	}
	return container
}

func variables(container specs.Spec) map[string]string {
	env := map[string]string{}
	if container.Process != nil {
		for _, variable := range container.Process.Env {
			name, value, _ := strings.Cut(variable, "=")
			env[name] = value
		}
	}
	return env
}

// nothingLeft checks that no file of the claim is on the node.
func (r *rig) nothingLeft(uid types.UID) {
	r.t.Helper()
	for _, dir := range []string{r.cdi(), r.path("state")} {
		err := fs.WalkDir(os.DirFS(dir), ".", func(path string, entry fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case strings.Contains(path, string(uid)):
				r.t.Errorf("%s/%s is left of a claim that was unprepared", dir, path)
			}
			return nil
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			r.t.Error(err)
		}
	}
}

func TestPreparesAndTakesBack(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	d := r.startReady()
	claim := r.claim("pair", r.devices("gpu-5", "gpu-2"))

	first := prepare(t, d, claim)
	if len(first.Devices) != 2 || first.Devices[0].Device != "gpu-5" || first.Devices[1].Device != "gpu-2" ||
		!slices.Equal(first.Devices[0].Requests, []string{"r0"}) || first.Devices[0].Pool != r.node.Name {
		t.Errorf("the answer is not what was allocated, in its order: %+v", first.Devices)
	}
	env := variables(r.mustResolve(first))
	for name, value := range map[string]string{
		"GPU_DEVICE_2": "gpu-2", "GPU_DEVICE_5": "gpu-5", "DRA_ADMIN_ACCESS": "false",
		"KUBERNETES_NODE_NAME": r.node.Name, "DRA_RESOURCE_DRIVER_NAME": driverName,
		"GPU_DEVICE_GPU_5_RESOURCE_CLAIM": string(claim.UID), "GPU_DEVICE_2_TIMESLICE_INTERVAL": "Default",
	} {
		if env[name] != value {
			t.Errorf("the container gets %s=%q, expected %q", name, env[name], value)
		}
	}

	if again := prepare(t, d, claim); !slices.Equal(first.IDs(), again.IDs()) {
		t.Errorf("asked again the driver answers %v, and %v before", again.IDs(), first.IDs())
	}
	older := *d.plugin
	older.Service = drav1beta1.DRAPluginService
	viaOlder, err := older.PrepareOne(t.Context(), claim)
	if err != nil || !slices.Equal(first.IDs(), viaOlder.IDs()) {
		t.Errorf("over %s the driver answers %v (%v), and %v before", older.Service, viaOlder.IDs(), err, first.IDs())
	}

	if err := older.UnprepareOne(t.Context(), claim); err != nil {
		t.Errorf("unprepare over %s: %v", older.Service, err)
	}
	r.nothingLeft(claim.UID)
	unprepare(t, d, claim) // twice is no error
}

func TestManyClaimsInOneCall(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	d := r.startReady()
	good := []kubelet.Claim{r.claim("a", r.devices("gpu-0")), r.claim("b", r.devices("gpu-1"))}
	unknown := kubelet.Claim{Namespace: r.server.namespace, Name: "not-there", UID: "3d0b2b3c-0000-4000-8000-000000000001"}
	replaced := r.claim("replaced", r.devices("gpu-2"))
	replaced.UID = "3d0b2b3c-0000-4000-8000-000000000002"

	answer, err := d.plugin.Prepare(t.Context(), good[0], unknown, replaced, good[1])
	if err != nil {
		t.Fatalf("what is wrong with one claim fails the whole call: %v", err)
	}
	for _, claim := range []kubelet.Claim{unknown, replaced} {
		if err := answer[claim.UID].Err; err == nil || !strings.Contains(err.Error(), claim.Name) {
			t.Errorf("the answer for claim %s, which is not there, is %v", claim.Name, err)
		}
	}
	for _, claim := range good {
		if answer[claim.UID].Err != nil {
			t.Errorf("prepare %s: %v", claim.Name, answer[claim.UID].Err)
			continue
		}
		r.mustResolve(answer[claim.UID])
	}
}

func TestFault13ExclusiveDeviceHasOneOwner(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	d := r.startReady()
	owner := r.claim("owner", r.devices("gpu-3"))
	second := r.claim("second", r.devices("gpu-4", "gpu-3"))
	admin := r.claim("admin", r.admin("gpu-3"))
	early := r.claim("early-admin", r.admin("gpu-3"))

	prepare(t, d, early)
	first := prepare(t, d, owner)
	text := refused(t, d, second)
	for _, part := range []string{"gpu-3", owner.Namespace + "/" + owner.Name, string(owner.UID)} {
		if !strings.Contains(text, part) {
			t.Errorf("the refusal does not name %q: %s", part, text)
		}
	}
	if again := refused(t, d, second); again != text {
		t.Errorf("the refusal changes, so that events would not be counted as one:\n%s\n%s", text, again)
	}
	env := variables(r.mustResolve(prepare(t, d, admin)))
	if env["DRA_ADMIN_ACCESS"] != "true" || env["GPU_DEVICE_3_ADMIN_ACCESS"] != "true" {
		t.Errorf("the admin's container does not learn what it is there for: %v", env)
	}

	// Nobody's end disturbs the owner, and the refused claim holds nothing.
	unprepare(t, d, admin)
	unprepare(t, d, early)
	unprepare(t, d, second)
	r.mustResolve(first)
	prepare(t, d, r.claim("third", r.devices("gpu-4")))
	if text := refused(t, d, second); !strings.Contains(text, "held by") {
		t.Errorf("after the third claim took gpu-4: %s", text)
	}
	unprepare(t, d, owner)
	prepare(t, d, r.claim("next", r.devices("gpu-3")))
}

func TestConfigurationFindsItsRequests(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	d := r.startReady()
	sub := func(name string) resourceapi.DeviceSubRequest {
		return resourceapi.DeviceSubRequest{Name: name, DeviceClassName: driverName}
	}
	listed := []resourceapi.DeviceRequest{
		{Name: "gpu", FirstAvailable: []resourceapi.DeviceSubRequest{sub("newer-gpu"), sub("older-gpu")}},
		{Name: "other", Exactly: &resourceapi.ExactDeviceRequest{DeviceClassName: driverName}},
	}
	results := []resourceapi.DeviceRequestAllocationResult{
		r.result("gpu/older-gpu", "gpu-0"), r.result("other", "gpu-1"),
	}
	cases := map[string]struct {
		configs  []resourceapi.DeviceAllocationConfiguration
		expected [2]string // intervals of gpu/older-gpu and of other
	}{
		"one for the parent applies to the chosen subrequest": {
			configs:  []resourceapi.DeviceAllocationConfiguration{fromClaim(fmt.Sprintf(timeSlicing, "Long"), "gpu")},
			expected: [2]string{"Long", "Default"},
		},
		"one for the subrequest applies to it alone": {
			configs: []resourceapi.DeviceAllocationConfiguration{
				fromClaim(fmt.Sprintf(timeSlicing, "Short"), "gpu/newer-gpu"),
				fromClaim(fmt.Sprintf(timeSlicing, "Medium"), "gpu/older-gpu"),
			},
			expected: [2]string{"Medium", "Default"},
		},
		"the later of two wins": {
			configs: []resourceapi.DeviceAllocationConfiguration{
				fromClaim(fmt.Sprintf(timeSlicing, "Long")),
				fromClaim(fmt.Sprintf(timeSlicing, "Short"), "other"),
			},
			expected: [2]string{"Long", "Short"},
		},
		"one of another driver is not ours to read": {
			configs: []resourceapi.DeviceAllocationConfiguration{
				func() resourceapi.DeviceAllocationConfiguration {
					c := fromClaim(`{"anything":"goes"}`)
					c.Opaque.Driver = "other.example.com"
					return c
				}(),
			},
			expected: [2]string{"Default", "Default"},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			claim := r.claim("configured", allocation{results: results, configs: c.configs, requests: listed})
			prepared := prepare(t, d, claim)
			env := variables(r.mustResolve(prepared))
			got := [2]string{env["GPU_DEVICE_0_TIMESLICE_INTERVAL"], env["GPU_DEVICE_1_TIMESLICE_INTERVAL"]}
			if got != c.expected {
				t.Errorf("intervals are %v, expected %v", got, c.expected)
			}
			if len(prepared.Devices) != 2 || !slices.Equal(prepared.Devices[0].Requests, []string{"gpu/older-gpu"}) &&
				!slices.Equal(prepared.Devices[0].Requests, []string{"gpu"}) {
				t.Errorf("the kubelet could not tell whose devices these are: %+v", prepared.Devices)
			}
			unprepare(t, d, claim)
		})
	}
}

func TestFault23BadConfigurationIsAnErrorWithItsPath(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	d := r.startReady()
	const head = `{"apiVersion":"gpu.resource.example.com/v1alpha1","kind":"GpuConfig"`
	cases := map[string]struct {
		parameters string
		says       []string
	}{
		"a strategy that does not exist": {
			head + `,"sharing":{"strategy":"Fast"}}`,
			[]string{
				"spec.devices.config[0].opaque.parameters.sharing.strategy", `"Fast"`,
				"TimeSlicing", "SpacePartitioning",
			},
		},
		"an unknown field": {
			head + `,"sharing":{"strategy":"TimeSlicing","timeSlicingConfig":{"intervall":"Long"}}}`,
			[]string{"spec.devices.config[0].opaque.parameters.sharing.timeSlicingConfig", "intervall"},
		},
		"another kind": {
			`{"apiVersion":"gpu.resource.example.com/v1alpha1","kind":"GpuConfiguration"}`,
			[]string{"spec.devices.config[0].opaque.parameters", "GpuConfiguration", "GpuConfig"},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			a := r.devices("gpu-0")
			a.configs = []resourceapi.DeviceAllocationConfiguration{fromClaim(c.parameters)}
			claim := r.claim("bad", a)
			text := refused(t, d, claim)
			for _, part := range c.says {
				if !strings.Contains(text, part) {
					t.Errorf("the error does not say %q: %s", part, text)
				}
			}
			r.nothingLeft(claim.UID)
			unprepare(t, d, claim)
		})
	}
}

func TestResultsOfOtherDriversAreNotOurs(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	d := r.startReady()
	others := r.result("r1", "nic-0")
	others.Driver = "net.example.com"

	mixed := r.devices("gpu-6")
	mixed.results = append(mixed.results, others)
	claim := r.claim("mixed", mixed)
	if prepared := prepare(t, d, claim); len(prepared.Devices) != 1 || prepared.Devices[0].Device != "gpu-6" {
		t.Errorf("devices are %+v, expected gpu-6 alone", prepared.Devices)
	}
	foreign := r.claim("foreign", allocation{results: []resourceapi.DeviceRequestAllocationResult{others}})
	if prepared := prepare(t, d, foreign); len(prepared.Devices) != 0 {
		t.Errorf("devices are %+v, expected none", prepared.Devices)
	}
	unprepare(t, d, foreign)
	unprepare(t, d, claim)
	r.nothingLeft(foreign.UID)
}
