package view

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/api/resource/v1alpha3"
	"k8s.io/api/resource/v1beta2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"
)

// described says in words what is in a cluster.
func described(c *Cluster) string {
	var all []string
	say := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	for _, o := range c.Nodes {
		say("node %s", o.Name)
	}
	for _, o := range c.Namespaces {
		say("namespace %s", o.Name)
	}
	for _, o := range c.Pods {
		say("pod %s/%s", o.Namespace, o.Name)
	}
	for _, o := range c.Events {
		say("event %s/%s", o.Namespace, o.Name)
	}
	for _, o := range c.Slices {
		say("slice %s of node %s with %d devices", o.Name, ptr.Deref(o.Spec.NodeName, "-"), len(o.Spec.Devices))
		for _, d := range o.Spec.Devices {
			say("device %s model %s", d.Name, ptr.Deref(d.Attributes["model"].StringValue, "-"))
		}
	}
	for _, o := range c.Classes {
		say("class %s", o.Name)
	}
	for _, o := range c.Claims {
		say("claim %s/%s: %s", o.Namespace, o.Name, requests(o.Spec))
	}
	for _, o := range c.Templates {
		say("template %s/%s: %s", o.Namespace, o.Name, requests(o.Spec.Spec))
	}
	for _, o := range c.TaintRules {
		say("rule %s: %s %s %s", o.Name, ptr.Deref(o.Spec.DeviceSelector.Pool, "-"), o.Spec.Taint.Key, o.Spec.Taint.Effect)
	}
	return strings.Join(all, "\n")
}

func requests(spec resourceapi.ResourceClaimSpec) string {
	var all []string
	for _, r := range spec.Devices.Requests {
		if e := r.Exactly; e != nil {
			all = append(all, fmt.Sprintf("%s %s %s %d", r.Name, e.DeviceClassName, e.AllocationMode, e.Count))
		}
		for _, s := range r.FirstAvailable {
			all = append(all, fmt.Sprintf("%s/%s %s %s %d", r.Name, s.Name, s.DeviceClassName, s.AllocationMode, s.Count))
		}
	}
	return strings.Join(all, ", ")
}

func TestObjectsMakeUpACluster(t *testing.T) {
	for name, test := range map[string]struct{ text, want string }{
		"nothing": {},
		"of each kind": {
			text: `{apiVersion: v1, kind: Node, metadata: {name: node-a}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: team-a}}
---
{apiVersion: v1, kind: Pod, metadata: {name: p, namespace: team-a}}
---
{apiVersion: v1, kind: Event, metadata: {name: e, namespace: team-a}}
---
{apiVersion: resource.k8s.io/v1, kind: DeviceClass, metadata: {name: gpu}}
---
{apiVersion: resource.k8s.io/v1, kind: DeviceTaintRule, metadata: {name: r},
 spec: {deviceSelector: {pool: p}, taint: {key: k, effect: None}}}`,
			want: "node node-a\nnamespace team-a\npod team-a/p\nevent team-a/e\nclass gpu\nrule r: p k None",
		},
		"in lists, as kubectl get -o yaml prints them": {
			text: `apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Node, metadata: {name: node-a}}
- apiVersion: v1
  kind: PodList
  items:
  - {apiVersion: v1, kind: Pod, metadata: {name: p}}`,
			want: "node node-a\npod default/p",
		},
		"with what the API server would set": {
			text: `apiVersion: resource.k8s.io/v1
kind: ResourceClaim
metadata: {name: c}
spec: {devices: {requests: [{name: a, exactly: {deviceClassName: gpu}}, {name: b, firstAvailable: [
  {name: one, deviceClassName: gpu}, {name: all, deviceClassName: gpu, allocationMode: All},
  {name: two, deviceClassName: gpu, count: 2}]}]}}
---
apiVersion: resource.k8s.io/v1
kind: ResourceClaimTemplate
metadata: {name: t}
spec: {spec: {devices: {requests: [{name: a, exactly: {deviceClassName: gpu}}]}}}`,
			want: "claim default/c: a gpu ExactCount 1, b/one gpu ExactCount 1, b/all gpu All 0, b/two gpu ExactCount 2\n" +
				"template default/t: a gpu ExactCount 1",
		},
		"of v1beta2": {
			text: `apiVersion: resource.k8s.io/v1beta2
kind: ResourceClaim
metadata: {name: c, namespace: team-a}
spec: {devices: {requests: [{name: a, exactly: {deviceClassName: gpu}}]}}
---
apiVersion: resource.k8s.io/v1beta2
kind: ResourceClaimTemplate
metadata: {name: t, namespace: team-a}
spec: {spec: {devices: {requests: [{name: a, exactly: {deviceClassName: gpu}}]}}}
---
apiVersion: resource.k8s.io/v1beta2
kind: ResourceSlice
metadata: {name: s}
spec: {driver: d, nodeName: node-a, pool: {name: p}, devices: [{name: gpu-0, attributes: {model: {string: M}}}]}
---
{apiVersion: resource.k8s.io/v1beta2, kind: DeviceClass, metadata: {name: gpu}}
---
{apiVersion: resource.k8s.io/v1beta2, kind: DeviceTaintRule, metadata: {name: r},
 spec: {deviceSelector: {pool: p}, taint: {key: k, effect: None}}}`,
			want: "slice s of node node-a with 1 devices\ndevice gpu-0 model M\nclass gpu\n" +
				"claim team-a/c: a gpu ExactCount 1\ntemplate team-a/t: a gpu ExactCount 1\nrule r: p k None",
		},
		"of v1beta1, whose requests and devices look different": {
			text: `apiVersion: resource.k8s.io/v1beta1
kind: ResourceClaim
metadata: {name: c, namespace: team-a}
spec: {devices: {requests: [{name: a, deviceClassName: gpu}]}}
---
apiVersion: resource.k8s.io/v1beta1
kind: ResourceClaimTemplate
metadata: {name: t, namespace: team-a}
spec: {spec: {devices: {requests: [{name: a, deviceClassName: gpu, count: 3}]}}}
---
apiVersion: resource.k8s.io/v1beta1
kind: ResourceSlice
metadata: {name: s}
spec: {driver: d, nodeName: node-a, pool: {name: p}, devices: [
  {name: gpu-0, basic: {attributes: {model: {string: M}}}}]}
---
{apiVersion: resource.k8s.io/v1beta1, kind: DeviceClass, metadata: {name: gpu}}`,
			want: "slice s of node node-a with 1 devices\ndevice gpu-0 model M\nclass gpu\n" +
				"claim team-a/c: a gpu ExactCount 1\ntemplate team-a/t: a gpu ExactCount 3",
		},
		"a rule of v1alpha3": {
			text: `apiVersion: resource.k8s.io/v1alpha3
kind: DeviceTaintRule
metadata: {name: r}
spec: {deviceSelector: {pool: p}, taint: {key: k, effect: NoExecute}}`,
			want: "rule r: p k NoExecute",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, described(cluster(t, test.text))); diff != "" {
				t.Errorf("(- want, + got)\n%s", diff)
			}
		})
	}
}

func TestTypedObjectsMakeUpAClusterAndStayAsTheyAre(t *testing.T) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}}
	meta := metav1.ObjectMeta{Name: "c", Namespace: "default"}
	claim := &resourceapi.ResourceClaim{ObjectMeta: meta, Spec: resourceapi.ResourceClaimSpec{
		Devices: resourceapi.DeviceClaim{Requests: []resourceapi.DeviceRequest{
			{Name: "a", Exactly: &resourceapi.ExactDeviceRequest{DeviceClassName: "gpu"}},
		}},
	}}
	objects := []runtime.Object{
		pod, claim, nil,
		&v1beta2.DeviceClassList{Items: []v1beta2.DeviceClass{{ObjectMeta: metav1.ObjectMeta{Name: "gpu"}}}},
		&v1alpha3.DeviceTaintRule{ObjectMeta: metav1.ObjectMeta{Name: "r"}, Spec: v1alpha3.DeviceTaintRuleSpec{
			DeviceSelector: &v1alpha3.DeviceTaintSelector{Pool: new("p")}, Taint: v1alpha3.DeviceTaint{Key: "k", Effect: "None"},
		}},
	}
	before := claim.DeepCopy()
	c, err := FromObjects(objects)
	if err != nil {
		t.Fatal(err)
	}
	want := "pod default/p\nclass gpu\nclaim default/c: a gpu ExactCount 1\nrule r: p k None"
	if diff := cmp.Diff(want, described(c)); diff != "" {
		t.Errorf("(- want, + got)\n%s", diff)
	}
	if diff := cmp.Diff(before, claim); diff != "" || pod.Namespace != "" {
		t.Errorf("the objects changed: pod in %q, claim (- before, + after)\n%s", pod.Namespace, diff)
	}
}

func TestOtherKindsAreNamedAndTheRestIsACluster(t *testing.T) {
	objects, err := parse([]byte(`{apiVersion: apps/v1, kind: Deployment, metadata: {name: d}}
---
{apiVersion: v1, kind: Node, metadata: {name: node-a}}
---
{apiVersion: apps/v1, kind: Deployment, metadata: {name: e}}
---
{apiVersion: resource.k8s.io/v1alpha2, kind: ResourceClaim, metadata: {name: c}}`))
	if err != nil {
		t.Fatal(err)
	}
	c, err := FromObjects(objects)
	var others *OtherKindsError
	if !errors.As(err, &others) {
		t.Fatalf("error %v", err)
	}
	want := "apps/v1 Deployment, resource.k8s.io/v1alpha2 ResourceClaim"
	if got := strings.Join(others.Kinds, ", "); got != want {
		t.Errorf("kinds %s, want %s", got, want)
	}
	if c == nil || described(c) != "node node-a" {
		t.Errorf("the rest is %v", c)
	}
}

func TestWhatCannotBeReadIsAnErrorThatNamesIt(t *testing.T) {
	for name, test := range map[string]struct{ text, want string }{
		"a field of the wrong type": {
			text: `{apiVersion: resource.k8s.io/v1, kind: ResourceSlice, metadata: {name: s}, spec: {nodeName: 7}}`,
			want: `read ResourceSlice "s": json: cannot unmarshal number into Go struct field ResourceSliceSpec.spec.nodeName`,
		},
		"a rule that selects by class, which only Kubernetes 1.34 could": {
			text: `{apiVersion: resource.k8s.io/v1alpha3, kind: DeviceTaintRule, metadata: {name: r},
 spec: {deviceSelector: {deviceClassName: gpu}}}`,
			want: `read DeviceTaintRule "r": ` + ErrOldTaintRule.Error(),
		},
		"a rule that selects by CEL expressions": {
			text: `{apiVersion: resource.k8s.io/v1alpha3, kind: DeviceTaintRule, metadata: {name: r},
 spec: {deviceSelector: {selectors: [{cel: {expression: x}}]}}}`,
			want: `read DeviceTaintRule "r": ` + ErrOldTaintRule.Error(),
		},
		"a rule whose selector is no object": {
			text: `{apiVersion: resource.k8s.io/v1alpha3, kind: DeviceTaintRule, metadata: {name: r},
 spec: {deviceSelector: all}}`,
			want: `read DeviceTaintRule "r": json: cannot unmarshal string`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			objects, err := parse([]byte(test.text))
			if err != nil {
				t.Fatal(err)
			}
			if c, err := FromObjects(objects); err == nil || c != nil || !strings.HasPrefix(err.Error(), test.want) {
				t.Errorf("cluster %v, error %v; want %s", c, err, test.want)
			}
		})
	}
}

func FuzzFromObjects(f *testing.F) {
	// Small ones: what is interesting gets minimized, byte by byte.
	for _, text := range []string{
		claims,
		`{apiVersion: v1, kind: List, items: [{apiVersion: v1, kind: List, items: [{}]}, null, 3]}`,
		slice("a", "node-a", 1, 2, `sharedCounters: [{name: gpu, counters: {memory: {value: "8"}}}]`) +
			slice("b", "node-a", 1, 2, `devices: [{name: a, taints: [{key: k, effect: NoSchedule}], `+
				`consumesCounters: [{counterSet: gpu, compatibilityGroups: [x], counters: {memory: {value: "8"}}}]}]`),
		slice("a", "", 1, 1, `devices: [{name: a, allowMultipleAllocations: true, `+
			`capacity: {memory: {value: 8Gi, requestPolicy: {validRange: {min: 1Gi}}}}}]`),
		`{apiVersion: resource.k8s.io/v1beta1, kind: ResourceClaim, spec: {devices: {requests: [{deviceClassName: c}]}}}`,
		`{apiVersion: resource.k8s.io/v1alpha3, kind: DeviceTaintRule, spec: {deviceSelector: {pool: p}}}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		objects, err := parse(text)
		if err != nil {
			return
		}
		c, err := FromObjects(objects)
		if c == nil {
			if err == nil {
				t.Fatal("neither a cluster nor an error")
			}
			return
		}
		checked(t, listing(t, c, DeviceOptions{}))
	})
}
