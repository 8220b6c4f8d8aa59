package admission

import (
	"encoding/json"
	"errors"
	"flag"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admission/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	gpuv1alpha1 "example.com/dragoman/api/gpu/v1alpha1"
	"example.com/dragoman/pkg/claim"
)

var update = flag.Bool("update", false, "write the golden files instead of comparing with them")

const driver = "gpu.example.com"

func reviewer() Reviewer {
	return Reviewer{DriverName: driver, Decode: gpuv1alpha1.Decode,
		Default: func() runtime.Object { return gpuv1alpha1.Default() }}
}

const head = `{"apiVersion":"gpu.resource.example.com/v1alpha1","kind":"GpuConfig"`

// wrong are configurations that nobody can prepare, right those that somebody can.
func wrong() []string {
	return []string{
		`{}`, `[]`, `null`, `"GpuConfig"`, head + `,"sharing":{}}`, head + `,"sharing":{"strategy":"Sometimes"}}`,
		head + `,"sharing":{"strategy":"TimeSlicing","timeSlicingConfig":{"interval":"Never"}}}`,
		head + `,"sharing":{"strategy":"TimeSlicing","spacePartitioningConfig":{"partitionCount":2}}}`,
		head + `,"sharing":{"strategy":"SpacePartitioning","spacePartitioningConfig":{"partitionCount":-1}}}`,
		head + `,"sharing":{"Strategy":"x","strategy":"TimeSlicing","timeSlicingConfig":{"interval":"Never"}}}`,
		head + `,"sharing":{"strategy":"MPS","mpsConfig":{"defaultActiveThreadPercentage":101,` +
			`"defaultPerDevicePinnedMemoryLimit":{"all":"1Gi"}}}}`,
		`{"apiVersion":"gpu.resource.example.com/v1","kind":"GpuConfig"}`, head + `,"metadata":{"name":"x"}}`,
		head + `,"` + strings.Repeat("x", 5000) + `":1}`,
	}
}

func right() []string {
	return []string{
		head + `}`, head + `,"sharing":null}`, head + `,"sharing":{"strategy":"Exclusive"}}`,
		head + `,"sharing":{"strategy":"TimeSlicing","timeSlicingConfig":{}}}`,
		head + `,"sharing":{"strategy":"SpacePartitioning"}}`, head + `,"sharing":{"strategy":"MPS"}}`,
	}
}

func opaque(driver, parameters string) resourceapi.DeviceConfiguration {
	return resourceapi.DeviceConfiguration{Opaque: &resourceapi.OpaqueDeviceConfiguration{
		Driver: driver, Parameters: runtime.RawExtension{Raw: []byte(parameters)}}}
}

// config is a configuration of a claim for the requests, or for all.
func config(driver, parameters string, requests ...string) resourceapi.DeviceClaimConfiguration {
	return resourceapi.DeviceClaimConfiguration{Requests: requests, DeviceConfiguration: opaque(driver, parameters)}
}

func exactly(name string) resourceapi.DeviceRequest {
	return resourceapi.DeviceRequest{Name: name, Exactly: &resourceapi.ExactDeviceRequest{DeviceClassName: driver}}
}

func firstOf(name string, alternatives ...string) resourceapi.DeviceRequest {
	request := resourceapi.DeviceRequest{Name: name}
	for _, sub := range alternatives {
		request.FirstAvailable = append(request.FirstAvailable,
			resourceapi.DeviceSubRequest{Name: sub, DeviceClassName: driver})
	}
	return request
}

func devices(requests []resourceapi.DeviceRequest, configs ...resourceapi.DeviceClaimConfiguration,
) resourceapi.DeviceClaim {
	return resourceapi.DeviceClaim{Requests: requests, Config: configs}
}

func aClaim(spec resourceapi.DeviceClaim) *resourceapi.ResourceClaim {
	return &resourceapi.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Name: "claim", Namespace: "team-a"},
		Spec: resourceapi.ResourceClaimSpec{Devices: spec}}
}

func aTemplate(spec resourceapi.DeviceClaim) *resourceapi.ResourceClaimTemplate {
	return &resourceapi.ResourceClaimTemplate{ObjectMeta: metav1.ObjectMeta{Name: "template", Namespace: "team-a"},
		Spec: resourceapi.ResourceClaimTemplateSpec{Spec: resourceapi.ResourceClaimSpec{Devices: spec}}}
}

func aClass(configs ...resourceapi.DeviceConfiguration) *resourceapi.DeviceClass {
	class := &resourceapi.DeviceClass{ObjectMeta: metav1.ObjectMeta{Name: "class"}}
	for _, one := range configs {
		class.Spec.Config = append(class.Spec.Config, resourceapi.DeviceClassConfiguration{DeviceConfiguration: one})
	}
	return class
}

// ask makes the question about an object, which replaces old if that is not nil.
func ask(t testing.TB, object, old runtime.Object, change ...func(*admissionv1.AdmissionRequest)) []byte {
	t.Helper()
	request := &admissionv1.AdmissionRequest{UID: "uid-of-the-question", Operation: admissionv1.Create}
	switch object.(type) {
	case *resourceapi.ResourceClaim:
		request.Kind.Kind = "ResourceClaim"
	case *resourceapi.ResourceClaimTemplate:
		request.Kind.Kind = "ResourceClaimTemplate"
	case *resourceapi.DeviceClass:
		request.Kind.Kind = "DeviceClass"
	}
	request.Kind.Group, request.Kind.Version = "resource.k8s.io", "v1"
	request.Object.Raw = encoded(t, object)
	if old != nil {
		request.Operation, request.OldObject.Raw = admissionv1.Update, encoded(t, old)
	}
	for _, c := range change {
		c(request)
	}
	return encoded(t, admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"}, Request: request})
}

func encoded(t testing.TB, v any) []byte {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func one() []resourceapi.DeviceRequest { return []resourceapi.DeviceRequest{exactly("gpu")} }

func TestAnswers(t *testing.T) {
	sometimes, never := wrong()[5], wrong()[6]
	finalized := aClaim(devices(one(), config(driver, sometimes)))
	finalized.Finalizers = []string{"resource.kubernetes.io/delete-protection"}
	foreign := aClaim(devices(one(), config("other.example.com", sometimes)))
	questions := map[string][]byte{
		"a wrong configuration in a claim":    ask(t, aClaim(devices(one(), config(driver, sometimes))), nil),
		"a wrong configuration in a template": ask(t, aTemplate(devices(one(), config(driver, sometimes))), nil),
		"a wrong configuration in a class":    ask(t, aClass(opaque(driver, right()[0]), opaque(driver, sometimes)), nil),
		"several, all of them told": ask(t, aTemplate(devices(
			[]resourceapi.DeviceRequest{exactly("a"), firstOf("b", "x", "y")},
			config(driver, sometimes, "a"), config("other.example.com", "{}"), config(driver, never, "b/y"))), nil),
		"a right configuration":                     ask(t, aClaim(devices(one(), config(driver, right()[2]))), nil),
		"no configuration":                          ask(t, aClaim(devices(one())), nil),
		"the configuration of another driver":       ask(t, foreign, nil),
		"a class that is changed":                   ask(t, aClass(opaque(driver, never)), aClass(opaque(driver, sometimes))),
		"metadata of a claim that was wrong before": ask(t, finalized, aClaim(devices(one(), config(driver, sometimes)))),
		"the status of a claim": ask(t, aClaim(devices(one(), config(driver, sometimes))), nil,
			func(r *admissionv1.AdmissionRequest) { r.SubResource = "status" }),
		"an object that is removed": ask(t, aClaim(devices(one(), config(driver, sometimes))), nil,
			func(r *admissionv1.AdmissionRequest) { r.Operation = admissionv1.Delete }),
		"a kind that is none of our concern": ask(t, aClaim(devices(one(), config(driver, sometimes))), nil,
			func(r *admissionv1.AdmissionRequest) { r.Kind.Group = "example.com" }),
	}
	answers := map[string]json.RawMessage{}
	for name, question := range questions {
		answer, _, err := reviewer().answer(question)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		answers[name] = answer
	}
	got, err := json.MarshalIndent(answers, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	const golden = "testdata/answers.json"
	if *update {
		if err := os.WriteFile(golden, append(got, '\n'), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)+"\n"); diff != "" {
		t.Errorf("differs from %s (-want +got); go test -update writes it:\n%s", golden, diff)
	}
}

func TestQuestionsWithoutSense(t *testing.T) {
	good := string(ask(t, aClaim(devices(one())), nil))
	for name, test := range map[string]struct{ question, want string }{
		"nothing":            {"", "unexpected end of JSON input"},
		"not JSON":           {"apiVersion: admission.k8s.io/v1", "invalid character"},
		"another version":    {strings.Replace(good, "k8s.io/v1", "k8s.io/v2", 1), `it is apiVersion "admission.k8s.io/v2"`},
		"another kind":       {strings.Replace(good, `"AdmissionReview"`, `"Status"`, 1), `kind "Status"`},
		"no request":         {`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}`, "it has no request"},
		"a request for none": {strings.Replace(good, "uid-of-the-question", "", 1), "it has no request with a uid"},
		"no object": {string(ask(t, aClaim(devices(one())), nil,
			func(r *admissionv1.AdmissionRequest) { r.Object.Raw = nil })), "read the object"},
		"an object of another form": {string(ask(t, aClaim(devices(one())), nil,
			func(r *admissionv1.AdmissionRequest) { r.Object.Raw = []byte(`{"spec":{"devices":[]}}`) })), "read the object"},
		"an update of nothing": {string(ask(t, aClaim(devices(one())), nil,
			func(r *admissionv1.AdmissionRequest) { r.Operation = admissionv1.Update })), "read the old object"},
	} {
		t.Run(name, func(t *testing.T) {
			answer, _, err := reviewer().answer([]byte(test.question))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%s, %v; expected an error with %s", answer, err, test.want)
			}
		})
	}
}

// The webhook says what preparing says: the text of Decide for a claim that was allocated as the scheduler does it.
func TestTheWebhookAgreesWithPrepare(t *testing.T) {
	shapes := map[string]func(parameters string) resourceapi.DeviceClaim{
		"for all requests": func(p string) resourceapi.DeviceClaim { return devices(one(), config(driver, p)) },
		"for one of two requests": func(p string) resourceapi.DeviceClaim {
			return devices([]resourceapi.DeviceRequest{exactly("a"), exactly("b")}, config(driver, p, "b"))
		},
		"for a request with alternatives": func(p string) resourceapi.DeviceClaim {
			return devices([]resourceapi.DeviceRequest{firstOf("a", "x", "y")}, config(driver, p, "a"))
		},
		"for an alternative": func(p string) resourceapi.DeviceClaim {
			return devices([]resourceapi.DeviceRequest{firstOf("a", "x", "y")}, config(driver, p, "a/x"))
		},
		"besides others": func(p string) resourceapi.DeviceClaim {
			return devices([]resourceapi.DeviceRequest{exactly("a"), exactly("b")},
				config("other.example.com", "{}"), config(driver, right()[0], "a"), config(driver, p),
				config(driver, right()[2], "b"))
		},
		"twice": func(p string) resourceapi.DeviceClaim {
			return devices([]resourceapi.DeviceRequest{exactly("a"), exactly("b")},
				config(driver, p, "a"), config(driver, wrong()[5], "b"), config(driver, p, "b"))
		},
	}
	for _, shape := range slices.Sorted(maps.Keys(shapes)) {
		for _, parameters := range append(wrong(), right()...) {
			spec := shapes[shape](parameters)
			name := shape + " " + parameters[:min(len(parameters), 120)]
			_, err := claim.Decide(fetched(t, scheduled(spec)), claim.Options{DriverName: driver, PoolName: "node-a",
				Decode: gpuv1alpha1.Decode, Default: reviewer().Default})
			var prepare *claim.ConfigError
			if err != nil && !errors.As(err, &prepare) {
				t.Fatalf("%s: %v", name, err)
			}
			for kind, object := range map[string]runtime.Object{"claim": aClaim(spec), "template": aTemplate(spec)} {
				_, answer, err := reviewer().answer(ask(t, object, nil))
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				if answer.Allowed != (prepare == nil) {
					t.Errorf("%s of a %s: the webhook allows it: %v; prepare says: %v", name, kind, answer.Allowed, prepare)
				}
				if prepare == nil {
					continue
				}
				if kind == "claim" && answer.Result.Message != prepare.Error() {
					t.Errorf("%s:\nthe webhook says %s\nprepare says     %s", name, answer.Result.Message, prepare)
				}
				for i, p := range prepare.Problems {
					cause := answer.Result.Details.Causes[i]
					want := map[string]string{"claim": p.Detail.Field, "template": "spec." + p.Detail.Field}[kind]
					if cause.Field != want || cause.Message != p.Detail.ErrorBody() {
						t.Errorf("%s: cause %d is %s: %s\nexpected %s: %s",
							name, i, cause.Field, cause.Message, want, p.Detail.ErrorBody())
					}
				}
			}
		}
	}
}

func TestTheWebhookAgreesWithPrepareAboutClasses(t *testing.T) {
	for _, parameters := range append(wrong(), right()...) {
		class := aClass(opaque("other.example.com", "{}"), opaque(driver, right()[0]), opaque(driver, parameters))
		c := scheduled(devices([]resourceapi.DeviceRequest{
			{Name: "gpu", Exactly: &resourceapi.ExactDeviceRequest{DeviceClassName: "class"}}}))
		for _, one := range class.Spec.Config {
			c.Status.Allocation.Devices.Config = append(c.Status.Allocation.Devices.Config,
				resourceapi.DeviceAllocationConfiguration{Source: resourceapi.AllocationConfigSourceClass,
					Requests: []string{"gpu"}, DeviceConfiguration: one.DeviceConfiguration})
		}
		_, prepare := claim.Decide(fetched(t, c), claim.Options{DriverName: driver, PoolName: "node-a",
			Decode: gpuv1alpha1.Decode, Default: reviewer().Default})
		_, answer, err := reviewer().answer(ask(t, class, nil))
		if err != nil {
			t.Fatal(err)
		}
		if answer.Allowed != (prepare == nil) || prepare != nil && answer.Result.Message != prepare.Error() {
			t.Errorf("%.120s:\nthe webhook says %v\nprepare says     %v", parameters, answer.Result, prepare)
		}
	}
}

// A configuration for a device with admin access is right or wrong by what was allocated, which nobody knows yet.
func TestAdminAccessIsNotJudged(t *testing.T) {
	spec := devices(one(), config(driver, right()[2]))
	spec.Requests[0].Exactly.AdminAccess = new(true)
	if _, answer, err := reviewer().answer(ask(t, aClaim(spec), nil)); err != nil || !answer.Allowed {
		t.Errorf("%+v, %v", answer, err)
	}
}

// scheduled is a claim as the scheduler allocates it: the first alternatives, and what configurations apply to them.
func scheduled(spec resourceapi.DeviceClaim) *resourceapi.ResourceClaim {
	c := aClaim(spec)
	c.Status.Allocation = &resourceapi.AllocationResult{}
	given := map[string]bool{}
	for _, request := range spec.Requests {
		name := request.Name
		if len(request.FirstAvailable) > 0 {
			name += "/" + request.FirstAvailable[0].Name
		}
		given[name], given[request.Name] = true, true
		c.Status.Allocation.Devices.Results = append(c.Status.Allocation.Devices.Results,
			resourceapi.DeviceRequestAllocationResult{
				Request: name, Driver: driver, Pool: "node-a", Device: "gpu-" + request.Name})
	}
	for _, one := range spec.Config {
		if len(one.Requests) == 0 || slices.ContainsFunc(one.Requests, func(r string) bool { return given[r] }) {
			c.Status.Allocation.Devices.Config = append(c.Status.Allocation.Devices.Config,
				resourceapi.DeviceAllocationConfiguration{Source: resourceapi.AllocationConfigSourceClaim,
					Requests: one.Requests, DeviceConfiguration: one.DeviceConfiguration})
		}
	}
	return c
}

// fetched is a claim as it comes from the API server.
func fetched(t *testing.T, c *resourceapi.ResourceClaim) *resourceapi.ResourceClaim {
	t.Helper()
	var got resourceapi.ResourceClaim
	if err := json.Unmarshal(encoded(t, c), &got); err != nil {
		t.Fatal(err)
	}
	return &got
}

func FuzzAnswer(f *testing.F) {
	f.Add(ask(f, aClaim(devices(one(), config(driver, wrong()[5]))), nil))
	f.Add(ask(f, aTemplate(devices(one(), config(driver, right()[2]))), aTemplate(devices(one()))))
	f.Add(ask(f, aClass(opaque(driver, "{}")), aClass()))
	f.Add(ask(f, aClaim(resourceapi.DeviceClaim{Requests: []resourceapi.DeviceRequest{{}, firstOf("", "")},
		Config: []resourceapi.DeviceClaimConfiguration{{}, config(driver, "0")}}), nil))
	f.Fuzz(func(t *testing.T, question []byte) {
		answer, said, err := reviewer().answer(question)
		if err != nil {
			return
		}
		var review admissionv1.AdmissionReview
		if err := json.Unmarshal(answer, &review); err != nil || review.Response == nil || review.Response.UID == "" {
			t.Fatalf("the answer is %s (%v)", answer, err)
		}
		if !said.Allowed && said.Result.Message == "" {
			t.Fatalf("refused without a reason: %s", answer)
		}
	})
}
