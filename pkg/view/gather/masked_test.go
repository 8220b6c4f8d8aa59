package gather

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"example.com/dragoman/pkg/view"
)

// leak is what no bundle may have.
const leak = "L3AK-me"

func opaque(parameters string) resourceapi.DeviceConfiguration {
	return resourceapi.DeviceConfiguration{Opaque: &resourceapi.OpaqueDeviceConfiguration{
		Driver: "gpu.example.com", Parameters: runtime.RawExtension{Raw: []byte(parameters)},
	}}
}

func TestNoObjectHasASecret(t *testing.T) {
	message := []metav1.Condition{{Type: "Ready", Message: "password=L3AK-me"}}
	pod := func(c corev1.Container) *corev1.Pod {
		return &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{UID: "driver"}, Spec: corev1.PodSpec{Containers: []corev1.Container{c}},
		}
	}
	arguments := func(args ...string) *corev1.Pod { return pod(corev1.Container{Name: "c", Args: args}) }
	claim := func(parameters string) *resourceapi.ResourceClaim {
		return &resourceapi.ResourceClaim{Spec: resourceapi.ResourceClaimSpec{Devices: resourceapi.DeviceClaim{
			Config: []resourceapi.DeviceClaimConfiguration{{DeviceConfiguration: opaque(parameters)}},
		}}}
	}
	named := func(name, text string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{name: text}}}
	}
	annotated := func(text string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{"spec": text}}}
	}
	for name, object := range map[string]runtime.Object{
		"in the condition of a pod": &corev1.Pod{Status: corev1.PodStatus{
			Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Message: "password=L3AK-me"}},
		}},
		"in the condition of a claim's device": &resourceapi.ResourceClaim{Status: resourceapi.ResourceClaimStatus{
			Devices: []resourceapi.AllocatedDeviceStatus{{Conditions: message}},
		}},
		"in what a container says at its end": &corev1.Pod{Status: corev1.PodStatus{
			ContainerStatuses: []corev1.ContainerStatus{{LastTerminationState: corev1.ContainerState{
				Terminated: &corev1.ContainerStateTerminated{Message: `{"token":"L3AK-me"}`},
			}}},
		}},
		"in an event":                    &corev1.Event{Message: "token: L3AK-me"},
		"in an argument after its flag":  arguments("--auth", "L3AK-me"),
		"in an argument of words":        arguments("--password=my long L3AK-me words", "--pass=L3AK-me"),
		"in an argument that is a key":   arguments("--license-key=L3AK-me", "--conn=x;AccountKey=L3AK-me"),
		"in an argument that is JSON":    arguments(`--dockercfg={"auth":"L3AK-me"}`, `{"token":"L3AK-me"}`),
		"in a variable":                  pod(corev1.Container{Env: []corev1.EnvVar{{Name: "PGPASS", Value: "L3AK-me"}}}),
		"in a map of a configuration":    claim(`{"token":{"value":"L3AK-me"},"tokens":["L3AK-me"]}`),
		"in a pair of a configuration":   claim(`{"env":[{"value":"L3AK-me","name":"API_TOKEN"}]}`),
		"in a string of a configuration": claim(`{"run":"app --password L3AK-me"}`),
		"in JSON of an annotation":       annotated(`{"spec":{"env":[{"value":"L3AK-me","name":"DB_PASSWORD"}]}}`),
		"in YAML of an annotation":       annotated("env:\n- name: DB_PASSWORD\n  value: L3AK-me\n"),
		"in JSON in a string of JSON":    annotated(`{"a":"{\"token\":\"L3AK-me\"}"}`),
		"in what has such a name":        named("example.com/auth-token", leak),
		"in what has a name like that":   named("password", leak),
	} {
		t.Run(name, func(t *testing.T) {
			for _, full := range []bool{false, true} {
				g := gatheringOf(&view.Cluster{}, full)
				text, err := g.document(g.trim(object.DeepCopyObject()))
				if err != nil {
					t.Fatal(err)
				}
				if strings.Contains(string(text), leak) {
					t.Errorf("with full=%t it is there:\n%s", full, text)
				}
			}
		})
	}
}

func TestWhatDevicesAreChosenByIsInTheBundle(t *testing.T) {
	version, text := "1.2.3", "abc"
	slice := &resourceapi.ResourceSlice{Spec: resourceapi.ResourceSliceSpec{Devices: []resourceapi.Device{{
		Name: "gpu-0",
		Attributes: map[resourceapi.QualifiedName]resourceapi.DeviceAttribute{
			"dbAuth": {VersionValue: &version}, "licenseKey": {StringValue: &text},
		},
		Taints: []resourceapi.DeviceTaint{{Key: "example.com/secret", Value: "v", Effect: resourceapi.DeviceTaintEffectNone}},
	}}}}
	g := gatheringOf(&view.Cluster{}, false)
	document, err := g.document(g.trimmer.slice(slice))
	if err != nil {
		t.Fatal(err)
	}
	var got resourceapi.ResourceSlice
	if err := yaml.Unmarshal(document, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(slice.Spec, got.Spec); diff != "" {
		t.Errorf("the bundle has another slice (-cluster +bundle):\n%s", diff)
	}
}

// gatheringOf is one that masks what a cluster has, with a driver's pod that has the UID "driver".
func gatheringOf(c *view.Cluster, full bool) *gathering {
	report := &Report{Cluster: c, Drivers: []*corev1.Pod{{ObjectMeta: metav1.ObjectMeta{UID: "driver"}}}}
	return &gathering{report: report, trimmer: newTrimmer(report, full), masker: newMasker(c, full)}
}

func (g *gathering) trim(o runtime.Object) runtime.Object {
	switch o := o.(type) {
	case *corev1.Pod:
		return g.trimmer.pod(o)
	case *resourceapi.ResourceClaim:
		return g.trimmer.claim(o)
	case *corev1.Event:
		return g.trimmer.event(o)
	}
	return o
}
