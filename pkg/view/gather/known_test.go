package gather

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"example.com/dragoman/pkg/view"
)

func TestLogsDoNotRepeatWhatObjectsHide(t *testing.T) {
	attribute := "node-a-profile-7"
	c := &view.Cluster{
		Classes: []*resourceapi.DeviceClass{{Spec: resourceapi.DeviceClassSpec{
			Config: []resourceapi.DeviceClassConfiguration{{DeviceConfiguration: opaque(`{"apiVersion":"gpu/v1",
				"kind":"GpuConfig", "server":"license-4.corp.example", "strategy":"TimeSlicing", "size":"1g.10gb",
				"profile":"node-a-profile-7", "password":"hunter-two", "path":"say \"this-one\""}`)}},
		}}},
		Slices: []*resourceapi.ResourceSlice{{Spec: resourceapi.ResourceSliceSpec{Devices: []resourceapi.Device{{
			Name:       "gpu-0",
			Attributes: map[resourceapi.QualifiedName]resourceapi.DeviceAttribute{"profile": {StringValue: &attribute}},
		}}}}},
		Pods: []*corev1.Pod{{ObjectMeta: metav1.ObjectMeta{Name: "driver"}, Spec: corev1.PodSpec{
			Containers: []corev1.Container{{Env: []corev1.EnvVar{
				{Name: "API_TOKEN", Value: "tok-12345"}, {Name: "MODE", Value: "very-fast-mode"},
			}}},
		}}},
	}
	for name, test := range map[string]struct {
		text        string
		usual, full string
	}{
		"values of configurations":   {"at license-4.corp.example", "at [masked]", "at license-4.corp.example"},
		"in quotes":                  {`path=say \"this-one\"`, "path=[masked]", `path=say \"this-one\"`},
		"secrets of configurations":  {"got hunter-two", "got [masked]", "got [masked]"},
		"secrets of pods":            {"got tok-12345", "got [masked]", "got [masked]"},
		"but what is a choice":       {"TimeSlicing of 1g.10gb", "TimeSlicing of 1g.10gb", "TimeSlicing of 1g.10gb"},
		"but what slices show":       {"node-a-profile-7", "node-a-profile-7", "node-a-profile-7"},
		"but which kind it is":       {"GpuConfig of gpu/v1", "GpuConfig of gpu/v1", "GpuConfig of gpu/v1"},
		"but variables of no weight": {"very-fast-mode", "very-fast-mode", "very-fast-mode"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := newMasker(c, false).Text(test.text); got != test.usual {
				t.Errorf("%q becomes %q, and not %q", test.text, got, test.usual)
			}
			if got := newMasker(c, true).Text(test.text); got != test.full {
				t.Errorf("%q becomes %q in full, and not %q", test.text, got, test.full)
			}
		})
	}
	if text := strings.Repeat("at license-4.corp.example ", 2); strings.Contains(newMasker(c, false).Text(text), "corp") {
		t.Error("only the first one is masked")
	}
}
