package validate_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"example.com/dragoman/pkg/view/manifest"
	"example.com/dragoman/pkg/view/validate"
)

const claim = `apiVersion: resource.k8s.io/v1
kind: ResourceClaim
metadata: {name: gpus}
spec:
  devices:
    requests:
    - name: gpu
      exactly:
        deviceClassName: gpu.example.com
    - name: part
      firstAvailable:
      - {name: large, deviceClassName: mig.example.com}
`

const pod = `
---
apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  resourceClaims:
  - name: gpus
    resourceClaimName: gpus
  containers:
  - name: c
    resources:
      claims:
      - name: gpus
        request: part
`

const config = `    config:
    - requests: [gpu]
      opaque:
        driver: other.example.com
        parameters:
          apiVersion: gpu.resource.example.com/v1alpha1
          kind: GpuConfig
`

// said is what a test compares: the verdict of each object and its problems.
func said(text string, o validate.Options) []string {
	var all []string
	for _, r := range validate.Documents(manifest.Parse("f", []byte(text)), o) {
		all = append(all, fmt.Sprintf("%d %s %s", r.Line, r, r.Verdict))
		for _, p := range r.Problems {
			all = append(all, fmt.Sprintf("%d %s %s: %s", p.Line, p.Severity, p.Path, p.Message))
			for line := range strings.Lines(p.Detail) {
				all = append(all, strings.TrimRight(line, "\n"))
			}
		}
	}
	return all
}

func TestObjectsAreJudged(t *testing.T) {
	const ok = `1 ResourceClaim "gpus" valid`
	const wrong = `1 ResourceClaim "gpus" invalid`
	replaced := func(text, old, by string) string { return strings.Replace(text, old, by, 1) }
	for name, c := range map[string]struct {
		text string
		o    validate.Options
		want []string
	}{
		"a good claim": {text: claim, want: []string{ok}},
		"what the text says wrongly comes first": {
			text: replaced(claim, "exactly:", "exactli:"),
			want: []string{
				wrong, "7 error spec.devices.requests[0]: Required value: " +
					"one of exactly and firstAvailable must say what is requested",
				`8 error spec.devices.requests[0].exactli: unknown field; did you mean "exactly"?`,
			},
		},
		"an expression that does not compile, with its place": {
			text: claim + "      - {name: small, deviceClassName: a, selectors: [{cel: {expression: device.drive == 'a'}}]}\n",
			want: []string{
				wrong, "13 error spec.devices.requests[1].firstAvailable[1].selectors[0].cel.expression: " +
					"the CEL expression does not compile: column 7: undefined field 'drive'",
				" | device.drive == 'a'", " | ......^",
			},
		},
		"a configuration of ours, whatever the driver is called": {
			text: claim + config + "          sharing: {strategy: TimeSlice}\n",
			want: []string{
				wrong, `20 error spec.devices.config[0].opaque.parameters.sharing.strategy: Unsupported value: "TimeSlice": ` +
					`supported values: "TimeSlicing", "SpacePartitioning", "MPS", "Exclusive"`,
			},
		},
		"a configuration of somebody else": {
			text: claim + strings.Replace(config, "gpu.resource.example.com", "other.example.com", 1), want: []string{ok},
		},
		"more devices than a claim can have": {
			text: replaced(claim, "gpu.example.com\n", "gpu.example.com\n        count: 32\n"),
			want: []string{
				ok, "6 warning spec.devices.requests: at least 33 devices are asked for, and a claim can have at most 32: no " +
					"scheduler allocates this; ask for fewer, or make several claims",
			},
		},
		"more devices than a claim can have, in one request": {
			text: replaced(replaced(claim, "gpu.example.com\n", "gpu.example.com\n        count: 9223372036854775807\n"),
				"    - name: part\n      firstAvailable:\n      - {name: large, deviceClassName: mig.example.com}\n", ""),
			want: []string{
				ok, "10 warning spec.devices.requests[0].exactly.count: at least 1000000 devices are asked for, and a claim can " +
					"have at most 32: no scheduler allocates this; ask for fewer, or make several claims",
			},
		},
		"as many devices as a claim can have, all of them and the smallest choice": {
			text: replaced(claim, "gpu.example.com\n", "gpu.example.com\n        allocationMode: All\n") +
				"      - {name: small, deviceClassName: a, count: 31}\n", want: []string{ok},
		},
		"a choice that is never taken": {
			text: claim + "      - {name: small, deviceClassName: a, count: 32}\n",
			want: []string{
				ok, "13 warning spec.devices.requests[1].firstAvailable[1].count: this choice is never taken: with it the claim " +
					"asks for at least 33 devices, and a claim can have at most 32",
			},
		},
		"two claims of one name": {
			text: claim + "---\n" + claim,
			want: []string{
				ok, `14 ResourceClaim "gpus" valid`, `16 warning metadata.name: ResourceClaim "gpus" is in f:1, too: "kubectl ` +
					`apply" replaces that one by this, "kubectl create" refuses this one`,
			},
		},
		"two claims of one name in two namespaces, and two that get names": {
			text: claim + "---\n" + replaced(claim, "name: gpus", "name: gpus, namespace: other") + "---\n" +
				replaced(claim, "name: gpus", "generateName: g") + "---\n" + replaced(claim, "name: gpus", "generateName: g"),
			want: []string{
				ok, `14 ResourceClaim "other/gpus" valid`, `27 ResourceClaim "g*" valid`, `40 ResourceClaim "g*" valid`,
			},
		},
		"names that are there twice are named once": {
			text: claim + "    - {name: gpu, exactly: {deviceClassName: a}}\n" +
				"    constraints: [{requests: [x], matchAttribute: a/b}]\n",
			want: []string{
				wrong, `13 error spec.devices.requests[2]: Duplicate value: {"name":"gpu","exactly":{"deviceClassName":"a",` +
					`"allocationMode":"ExactCount","count":1}}`,
				`14 error spec.devices.constraints[0].requests[0]: Unsupported value: "x": supported values: "gpu", "part", ` +
					`"part/large"`,
			},
		},
		"a feature that not all releases have": {
			text: claim + "    constraints: [{distinctAttribute: a.example.com/b}]\n",
			want: []string{
				ok, "13 warning spec.devices.constraints[0].distinctAttribute: needs the feature gate DRAConsumableCapacity, " +
					"which is off by default before Kubernetes 1.36; without it the field is dropped",
			},
		},
		"a feature that a release does not have": {
			text: claim + "    constraints: [{distinctAttribute: a.example.com/b}]\n", o: validate.Options{Minor: 35},
			want: []string{
				wrong, "13 warning spec.devices.constraints[0].distinctAttribute: needs the feature gate DRAConsumableCapacity, " +
					"which is off by default in Kubernetes 1.35; without it the field is dropped",
				"13 error spec.devices.constraints[0]: Required value: one of matchAttribute and distinctAttribute must say " +
					"what the devices have in common, or not",
			},
		},
		"a feature that was switched on": {
			text: claim + "    constraints: [{distinctAttribute: a.example.com/b}]\n",
			o:    validate.Options{Minor: 35, Gates: map[string]bool{"DRAConsumableCapacity": true}}, want: []string{ok},
		},
		"an older version of the API, with its own paths": {
			text: `apiVersion: resource.k8s.io/v1beta1
kind: ResourceClaim
metadata: {name: gpus}
spec:
  devices:
    requests:
    - name: gpu
      deviceClassName: gpu.example.com
      count: -1
`,
			want: []string{
				wrong, "1 warning apiVersion: resource.k8s.io/v1beta1 is served only where the API server is told to; " +
					"write resource.k8s.io/v1",
				"9 error spec.devices.requests[0].count: Invalid value: -1: must be greater than zero",
			},
		},
		"a pod with its claim": {text: claim + pod, want: []string{ok, `15 Pod "p" valid`}},
		"a pod that asks for a request that its claim does not have": {
			text: claim + replaced(pod, "request: part", "request: small"),
			want: []string{
				ok, `15 Pod "p" invalid`,
				`27 error spec.containers[0].resources.claims[0].request: Unsupported value: "small": ` +
					`supported values: "gpu", "part"`,
			},
		},
		"a pod with a claim that is not in the files": {
			text: claim + replaced(pod, "resourceClaimName: gpus", "resourceClaimName: gpu"),
			want: []string{
				ok, `15 Pod "p" valid`,
				`21 warning spec.resourceClaims[0].resourceClaimName: ResourceClaim "default/gpu" is not in these files`,
			},
		},
		"a container that uses what the pod does not have": {
			text: claim + replaced(pod, "      - name: gpus\n        request", "      - name: gpu\n        request"),
			want: []string{
				ok, `15 Pod "p" invalid`,
				`26 error spec.containers[0].resources.claims[0].name: Unsupported value: "gpu": supported values: "gpus"`,
			},
		},
		"a container that uses the same twice": {
			text: claim + pod + "      - name: gpus\n",
			want: []string{
				ok, `15 Pod "p" invalid`, `28 error spec.containers[0].resources.claims[1]: Duplicate value: "gpus"`,
			},
		},
		"a pod with a claim and a template": {
			text: claim + replaced(pod, "    resourceClaimName: gpus\n",
				"    resourceClaimName: gpus\n    resourceClaimTemplateName: a\n"),
			want: []string{
				ok, `15 Pod "p" invalid`,
				"20 error spec.resourceClaims[0]: Forbidden: resourceClaimName and resourceClaimTemplateName exclude each other",
			},
		},
		"a pod with the same claim twice": {
			text: claim + replaced(pod, "  containers:", "  - {name: again, resourceClaimName: gpus}\n  containers:"),
			want: []string{
				ok, `15 Pod "p" valid`, "22 warning spec.resourceClaims[1].resourceClaimName: " +
					"another entry names the same claim; the scheduler never binds such a pod",
			},
		},
		"an attribute that no device in the files has": {
			text: `apiVersion: resource.k8s.io/v1
kind: DeviceClass
metadata: {name: a}
spec:
  selectors:
  - cel: {expression: 'device.attributes["d"].modell == "x" && device.attributes["other"].y'}
---
apiVersion: resource.k8s.io/v1
kind: ResourceSlice
metadata: {name: s}
spec:
  driver: d
  pool: {name: p, generation: 1, resourceSliceCount: 1}
  allNodes: true
  devices: [{name: d, attributes: {model: {string: x}}}, {name: e, attributes: {size: {int: 1}}}]
`,
			want: []string{
				`1 DeviceClass "a" valid`, `6 warning spec.selectors[0].cel.expression: no device of d in these files has ` +
					`device.attributes["d"].modell; there are: model, size`, `8 ResourceSlice "s" valid`,
			},
		},
		"a Deployment is a pod too": {
			text: `apiVersion: apps/v1
kind: Deployment
metadata: {name: d, namespace: team}
spec:
  template:
    spec:
      resourceClaims: [{name: a}]
`,
			want: []string{
				`1 Deployment "team/d" invalid`, "7 error spec.template.spec.resourceClaims[0]: Required value: " +
					"one of resourceClaimName and resourceClaimTemplateName must say which claim",
			},
		},
		"a class that is not in the files, where others are, is said once": {
			text: "apiVersion: resource.k8s.io/v1\nkind: DeviceClass\nmetadata: {name: mig.example.com}\n---\n" +
				claim + "---\n" + replaced(claim, "gpus", "more"),
			want: []string{
				`1 DeviceClass "mig.example.com" valid`, `5 ResourceClaim "gpus" valid`,
				`13 warning spec.devices.requests[0].exactly.deviceClassName: DeviceClass "gpu.example.com" is not in ` +
					"these files, which have mig.example.com",
				`18 ResourceClaim "more" valid`,
			},
		},
		"admin access, without the namespace": {
			text: replaced(claim, "exactly:", "exactly:\n        adminAccess: true"),
			want: []string{
				ok, "9 warning spec.devices.requests[0].exactly.adminAccess: " +
					`admin access needs the label resource.kubernetes.io/admin-access: "true" on the namespace`,
			},
		},
		"admin access in a namespace without the label": {
			text: replaced(replaced(claim, "exactly:", "exactly:\n        adminAccess: true"),
				"name: gpus", "name: gpus, namespace: a") +
				"---\napiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n",
			want: []string{
				`1 ResourceClaim "a/gpus" invalid`, "9 error spec.devices.requests[0].exactly.adminAccess: Forbidden: " +
					`admin access needs the label resource.kubernetes.io/admin-access: "true" on the namespace, and "a" in ` +
					"these files has none", `15 Namespace "a" skipped`,
			},
		},
		"a made-up machine": {
			text: "apiVersion: dragoman.example.com/v1alpha1\nkind: MachineProfile\ngroups: [{count: many}]\n",
			want: []string{
				"1 MachineProfile invalid", `3 error groups[0].count: Invalid value: "many": must be a whole number`,
				"3 error groups[0].name: Required value",
			},
		},
		"what is of somebody else": {
			text: "apiVersion: a.example.com/v1\nkind: B\nmetadata: {name: b}\n", want: []string{`1 B "b" skipped`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, said(c.text, c.o)); diff != "" {
				t.Errorf("results (-want +got):\n%s", diff)
			}
		})
	}
}

func FuzzNothingMakesItPanic(f *testing.F) {
	f.Add(claim + config + pod)
	f.Add("apiVersion: resource.k8s.io/v1\nkind: ResourceSlice\n" +
		"spec: {devices: [{capacity: {a: {value: 1, requestPolicy: {default: 1, validRange: {min: 0, step: 1u}}}}, " +
		"allowMultipleAllocations: true}]}\n")
	f.Add("apiVersion: resource.k8s.io/v1beta1\nkind: ResourceSlice\nspec: {devices: [{}]}\n")
	f.Add("apiVersion: resource.k8s.io/v1alpha3\nkind: DeviceTaintRule\nspec: {}\n")
	// One set of features: the compiler of expressions is made anew for each.
	options := validate.Options{Gates: map[string]bool{"DRADerivedAttributes": true, "DRAFractionalCapacityRange": true}}
	f.Fuzz(func(t *testing.T, text string) {
		for _, r := range validate.Documents(manifest.Parse("f", []byte(text)), options) {
			for _, p := range r.Problems {
				if p.Line < 1 || p.Line > strings.Count(text, "\n")+1 || p.Message == "" {
					t.Errorf("a problem without a place or a sentence: %+v", p)
				}
			}
		}
	})
}
