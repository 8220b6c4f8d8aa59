package cluster

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/e2e-framework/klient/decoder"
	"sigs.k8s.io/e2e-framework/klient/k8s"
	"sigs.k8s.io/e2e-framework/klient/k8s/resources"
	"sigs.k8s.io/e2e-framework/pkg/envconf"
	"sigs.k8s.io/e2e-framework/pkg/features"
	"sigs.k8s.io/e2e-framework/pkg/types"
)

const examples = "../../deployments/examples"

// tested are the folders that a feature is for.
var tested []string

// example starts a feature that applies a folder of the examples and needs so many devices.
func example(folder string, devices int64, others ...string) (*scene, *features.FeatureBuilder) {
	tested = append(tested, folder)
	s := newScene("dragoman-"+folder[:2], devices)
	s.others = others
	return s, features.New(folder).Setup(func(ctx context.Context, t *testing.T, cfg *envconf.Config) context.Context {
		s.enter(t, cfg)
		if err := s.apply(ctx, folder); err != nil {
			t.Fatalf("apply %s: %v", folder, err)
		}
		return ctx
	})
}

// apply creates what is in the YAML files of a folder, as "kubectl apply -f" does. Fields that the API server does not
// know are errors.
func (s *scene) apply(ctx context.Context, folder string) error {
	return s.applyFiles(ctx, folder, "*.yaml")
}

// applyFiles is apply for those of the files whose names are like the pattern.
func (s *scene) applyFiles(ctx context.Context, folder, pattern string) error {
	strictly := func(o *metav1.CreateOptions) { o.FieldValidation = metav1.FieldValidationStrict }
	label := func(object k8s.Object) error {
		if ns, ok := object.(*corev1.Namespace); ok {
			metav1.SetMetaDataLabel(&ns.ObjectMeta, testLabel, "")
		}
		return nil
	}
	files, err := filepath.Glob(filepath.Join(examples, folder, pattern))
	if err != nil || len(files) == 0 {
		return fmt.Errorf("%d files in it (%w)", len(files), err)
	}
	return decoder.DecodeEachFile(ctx, os.DirFS(filepath.Join(examples, folder)), pattern,
		decoder.CreateHandler(s.resources, resources.CreateOption(strictly)), decoder.MutateOption(label))
}

// assess is a step of a feature that needs nothing but t.
func assess(check func(t *testing.T)) features.Func {
	return func(ctx context.Context, t *testing.T, _ *envconf.Config) context.Context {
		t.Helper()
		check(t)
		return ctx
	}
}

func everyExampleHasATest() types.Feature {
	return features.New("every example has a test").Assess("by its folder", assess(func(t *testing.T) {
		folders, err := filepath.Glob(filepath.Join(examples, "[0-9]*"))
		if err != nil {
			t.Fatal(err)
		}
		for i := range folders {
			folders[i] = filepath.Base(folders[i])
		}
		for _, r := range rows() {
			if r.example != "" {
				tested = append(tested, r.example)
			}
		}
		slices.Sort(tested)
		if tested = slices.Compact(tested); !slices.Equal(tested, folders) {
			t.Errorf("examples are %v, tested are %v", folders, tested)
		}
	})).Feature()
}

func exampleOneDevice() types.Feature {
	s, f := example("01-one-device", 1)
	var pod *corev1.Pod
	var claim *resourceapi.ResourceClaim
	return f.Assess("the container has exactly one device, the one of its claim", assess(func(t *testing.T) {
		pod = s.running(t, "pod0")
		var seen inside
		seen, claim = s.expectOnlyClaim(t, pod, "ctr0")
		if len(seen.devices()) != 1 {
			t.Errorf("it has devices %v", seen.devices())
		}
		s.expectLog(t, "pod0", "ctr0", seen)
	})).Assess("with the pod goes the claim, and all of it on the node", assess(func(t *testing.T) {
		s.deletePod(t, "pod0")
		s.noClaims(t)
		expectNoFiles(t, node(pod.Spec.NodeName), claim)
	})).Feature()
}

// expectLog waits until a container of an example has printed its variables and its devices, as the READMEs show.
func (s *scene) expectLog(t *testing.T, pod, container string, seen inside) {
	t.Helper()
	var lines []string
	for name, value := range seen.env {
		if strings.HasPrefix(name, "GPU_DEVICE") || strings.HasPrefix(name, "DRA_") {
			lines = append(lines, name+"="+value+"\n")
		}
	}
	s.logs(t, s.namespace, pod, container, lines...)
}

func (s *scene) noClaims(t *testing.T) {
	t.Helper()
	until(t, "no claim is left", func(ctx context.Context) error {
		list, err := client.ResourceV1().ResourceClaims(s.namespace).List(ctx, metav1.ListOptions{})
		if err == nil && len(list.Items) > 0 {
			err = fmt.Errorf("there are %d", len(list.Items))
		}
		return err
	})
}

func exampleTwoDevicesMatchAttribute() types.Feature {
	s, f := example("02-two-devices-match-attribute", 2)
	return f.Assess("the container has two devices of one model", assess(func(t *testing.T) {
		seen, _ := s.expectOnlyClaim(t, s.running(t, "pod0"), "ctr0")
		models := map[string]bool{}
		for _, d := range seen.files {
			if model := d.Attributes["model"].StringValue; model != nil {
				models[*model] = true
			}
		}
		if len(seen.devices()) != 2 || len(models) != 1 {
			t.Errorf("it has devices %v of models %v", seen.devices(), models)
		}
	})).Feature()
}

func exampleSelect() types.Feature {
	s, f := example("03-select-by-attribute-and-capacity", 1)
	return f.Assess("the device is as asked for, in the slice and in the container", assess(func(t *testing.T) {
		seen, claim := s.expectOnlyClaim(t, s.running(t, "pod0"), "ctr0")
		result := forRequest(t, claim, "gpu")
		described := seen.files[result.Device]
		device := published(t, node(result.Pool))[result.Device]
		inSlice := description{
			Attributes: map[string]resourceapi.DeviceAttribute{}, Capacity: map[string]resourceapi.DeviceCapacity{},
		}
		for name, value := range device.Attributes {
			inSlice.Attributes[string(name)] = value
		}
		for name, value := range device.Capacity {
			inSlice.Capacity[string(name)] = value
		}
		for where, d := range map[string]description{"slice": inSlice, "container": described} {
			index, model := d.Attributes["index"].IntValue, d.Attributes["model"].StringValue
			version := d.Attributes["driverVersion"].VersionValue
			if index == nil || *index < 4 || model == nil || *model != "LATEST-GPU-MODEL" ||
				version == nil || *version != "1.0.0" {
				t.Errorf("in the %s the device has attributes %s", where, asYAML(d.Attributes))
			}
			if memory := d.Capacity["memory"].Value; memory.Cmp(resource.MustParse("40Gi")) < 0 {
				t.Errorf("in the %s the device has %s memory", where, memory.String())
			}
		}
	})).Feature()
}

func exampleSharedByContainers() types.Feature {
	s, f := example("04-shared-by-containers", 1)
	return f.Assess("three containers have the device, one after another and at once", assess(func(t *testing.T) {
		pod := s.running(t, "pod0")
		first, _ := s.expectOnlyClaim(t, pod, "ctr0")
		s.expectOnlyClaim(t, pod, "ctr1")
		s.expectLog(t, "pod0", "init0", first)
	})).Assess("the one that does not name the claim has none", assess(func(t *testing.T) {
		seen := s.look(t, "pod0", "without")
		if len(seen.devices())+len(seen.nodes)+len(seen.files) > 0 || seen.env["DRA_RESOURCE_DRIVER_NAME"] != "" {
			t.Errorf("it has %+v", seen)
		}
		s.logs(t, s.namespace, "pod0", "without", "no device")
	})).Feature()
}

func exampleSharedByPods() types.Feature {
	s, f := example("05-shared-by-pods", 1)
	claim := func(t *testing.T) (*resourceapi.ResourceClaim, []string) {
		c, err := client.ResourceV1().ResourceClaims(s.namespace).Get(t.Context(), "shared-gpu", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var consumers []string
		for _, consumer := range c.Status.ReservedFor {
			consumers = append(consumers, consumer.Name)
		}
		slices.Sort(consumers)
		return c, consumers
	}
	var last *corev1.Pod
	return f.Assess("both pods have the same device", assess(func(t *testing.T) {
		s.expectOnlyClaim(t, s.running(t, "pod0"), "ctr0")
		last = s.running(t, "pod1")
		s.expectOnlyClaim(t, last, "ctr0")
		if _, consumers := claim(t); !slices.Equal(consumers, []string{"pod0", "pod1"}) {
			t.Errorf("the claim is reserved for %v", consumers)
		}
	})).Assess("one goes, the other keeps it", assess(func(t *testing.T) {
		s.deletePod(t, "pod0")
		until(t, "the claim is reserved for the other pod alone", func(context.Context) error {
			if _, consumers := claim(t); !slices.Equal(consumers, []string{"pod1"}) {
				return fmt.Errorf("it is for %v", consumers)
			}
			return nil
		})
		s.expectOnlyClaim(t, s.running(t, "pod1"), "ctr0")
		s.notRestarted(t, "pod1")
	})).Assess("the last one goes, the device is free and the claim stays", assess(func(t *testing.T) {
		s.deletePod(t, "pod1")
		until(t, "the claim is not allocated", func(context.Context) error {
			if c, consumers := claim(t); c.Status.Allocation != nil || len(consumers) > 0 {
				return fmt.Errorf("it is, and reserved for %v", consumers)
			}
			return nil
		})
		c, _ := claim(t)
		expectNoFiles(t, node(last.Spec.NodeName), c)
	})).Feature()
}

func (s *scene) notRestarted(t *testing.T, name string) {
	t.Helper()
	pod, err := client.CoreV1().Pods(s.namespace).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, container := range pod.Status.ContainerStatuses {
		if container.RestartCount > 0 || container.State.Running == nil {
			t.Errorf("container %s of pod %s was restarted: %s", container.Name, name, asYAML(container))
		}
	}
}

func exampleDeviceConfiguration() types.Feature {
	s, f := example("06-device-configuration", 4)
	containers := map[string]map[string]string{
		"turns": {"SHARING_STRATEGY": "TimeSlicing", "TIMESLICE_INTERVAL": "Long", "PARTITION_COUNT": ""},
		"parts": {"SHARING_STRATEGY": "SpacePartitioning", "TIMESLICE_INTERVAL": "", "PARTITION_COUNT": "10"},
		"plain": {"SHARING_STRATEGY": "TimeSlicing", "TIMESLICE_INTERVAL": "Default", "PARTITION_COUNT": ""},
	}
	return f.Assess("each container has the device of its request, configured so", assess(func(t *testing.T) {
		pod := s.running(t, "pod0")
		claim := s.onlyClaim(t, pod)
		allocated(t, claim)
		for name, expected := range containers {
			s.expectRequest(t, pod, claim, name, name, expected)
		}
	})).Assess("a misspelt one is an event that says where, and what would be right", assess(func(t *testing.T) {
		if err := s.apply(t.Context(), "06-device-configuration/refused"); err != nil {
			t.Fatal(err)
		}
		message := s.event(t, "misspelt", "FailedPrepareDynamicResources")
		path := "spec.devices.config[0].opaque.parameters.sharing.strategy"
		for _, part := range []string{path, `"TimeSlice"`, "TimeSlicing", "SpacePartitioning"} {
			if !strings.Contains(message, part) {
				t.Errorf("the event does not say %s: %s", part, message)
			}
		}
	})).Feature()
}

// expectRequest checks a container that names one request of its pod's claim: it has that request's device alone, with
// variables GPU_DEVICE_<ID>_… as expected.
func (s *scene) expectRequest(
	t *testing.T, pod *corev1.Pod, claim *resourceapi.ResourceClaim, request, container string,
	expected map[string]string,
) {
	t.Helper()
	result := forRequest(t, claim, request)
	seen := s.look(t, pod.Name, container)
	seen.expect(t, claim, result)
	for what, value := range expected {
		if got := seen.of(result.Device, what); got != value {
			t.Errorf("container %s of pod %s has %s=%q for %s, expected %q",
				container, pod.Name, what, got, result.Device, value)
		}
	}
}

func examplePrioritizedList() types.Feature {
	s, f := example("07-prioritized-list", 4)
	pods := map[string]struct {
		chosen     string
		configured map[string]string
	}{
		"preference": {"gpu/large", map[string]string{"SHARING_STRATEGY": "SpacePartitioning", "PARTITION_COUNT": "4"}},
		"fallback":   {"gpu/small", map[string]string{"PARTITION_COUNT": "", "TIMESLICE_INTERVAL": "Short"}},
	}
	for name, expected := range pods {
		f = f.Assess(name+" gets "+expected.chosen+" with its configuration", assess(func(t *testing.T) {
			pod := s.running(t, name)
			claim := s.onlyClaim(t, pod)
			if chosen := forRequest(t, claim, "gpu").Request; chosen != expected.chosen {
				t.Errorf("it got %s", chosen)
			}
			s.expectRequest(t, pod, claim, "gpu", "gpu", expected.configured)
			s.expectRequest(t, pod, claim, "extra", "extra",
				map[string]string{"SHARING_STRATEGY": "TimeSlicing", "TIMESLICE_INTERVAL": "Default"})
		}))
	}
	return f.Feature()
}

func exampleAdminAccess() types.Feature {
	s, f := example("08-admin-access", 2, "dragoman-08-admin")
	var used string
	return f.Assess("the workload has one device, without admin access", assess(func(t *testing.T) {
		seen, claim := s.expectOnlyClaim(t, s.running(t, "workload"), "ctr0")
		used = forRequest(t, claim, "gpu").Device
		if seen.env["DRA_ADMIN_ACCESS"] != "false" {
			t.Errorf("DRA_ADMIN_ACCESS=%q", seen.env["DRA_ADMIN_ACCESS"])
		}
	})).Assess("the monitor has all devices of that node beside it", assess(func(t *testing.T) {
		admin := s.in("dragoman-08-admin")
		pod := admin.running(t, "monitor")
		seen, _ := admin.expectOnlyClaim(t, pod, "ctr0")
		if len(seen.devices()) != devicesPerNode || !slices.Contains(seen.devices(), used) {
			t.Errorf("it has %v; the workload has %s", seen.devices(), used)
		}
		if seen.env["DRA_ADMIN_ACCESS"] != "true" {
			t.Errorf("DRA_ADMIN_ACCESS=%q", seen.env["DRA_ADMIN_ACCESS"])
		}
	})).Assess("others get the other devices, and the workload notices nothing", assess(func(t *testing.T) {
		s.createPod(t, newPod("another", "one-gpu"))
		_, claim := s.expectOnlyClaim(t, s.running(t, "another"), mainContainer)
		if got := forRequest(t, claim, "gpu").Device; got == used {
			t.Errorf("both pods have %s", got)
		}
		s.expectOnlyClaim(t, s.running(t, "workload"), "ctr0")
		s.notRestarted(t, "workload")
	})).Assess("the monitor goes, the workload notices nothing", assess(func(t *testing.T) {
		s.in("dragoman-08-admin").deletePod(t, "monitor")
		s.in("dragoman-08-admin").noClaims(t)
		s.expectOnlyClaim(t, s.running(t, "workload"), "ctr0")
		s.notRestarted(t, "workload")
	})).Assess("without the label the API server refuses it", assess(func(t *testing.T) {
		err := s.apply(t.Context(), "08-admin-access/refused")
		if !apierrors.IsForbidden(err) && !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "admin-access") {
			t.Errorf("it says: %v", err)
		}
	})).Feature()
}

func exampleMPS() types.Feature {
	s, f := example("10-sharing-with-mps", 1)
	return f.Assess("both containers have the same device, with the configuration", assess(func(t *testing.T) {
		pod := s.running(t, "pod0")
		claim := s.onlyClaim(t, pod)
		for _, container := range []string{"ctr0", "ctr1"} {
			seen := s.look(t, "pod0", container)
			seen.expect(t, claim, allocated(t, claim)...)
			for what, expected := range map[string]string{
				"SHARING_STRATEGY": "MPS", "ACTIVE_THREAD_PERCENTAGE": "50", "PINNED_MEMORY_LIMIT": "10Gi",
			} {
				if got := seen.of(seen.devices()[0], what); got != expected {
					t.Errorf("container %s: %s is %q, expected %q", container, what, got, expected)
				}
			}
		}
	})).Feature()
}

func exampleJobFailedReplacement() types.Feature {
	s, f := example("09-job-failed-replacement", 1)
	pods := func(ctx context.Context, t *testing.T) []corev1.Pod {
		ofJob := metav1.ListOptions{LabelSelector: "app=job-failed-replacement"}
		list, err := client.CoreV1().Pods(s.namespace).List(ctx, ofJob)
		if err != nil {
			t.Fatal(err)
		}
		return list.Items
	}
	var first *corev1.Pod
	return f.Assess("the pod of the Job has a device", assess(func(t *testing.T) {
		until(t, "the Job makes a pod", func(ctx context.Context) error {
			if got := len(pods(ctx, t)); got != 1 {
				return fmt.Errorf("there are %d", got)
			}
			return nil
		})
		first = s.running(t, pods(t.Context(), t)[0].Name)
		s.expectOnlyClaim(t, first, "ctr0")
	})).Assess("its replacement begins when it has ended, and has a device", assess(func(t *testing.T) {
		err := client.CoreV1().Pods(s.namespace).Delete(t.Context(), first.Name, metav1.DeleteOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var next string
		until(t, "the Job replaces the pod", func(ctx context.Context) error {
			var alive []string
			for _, pod := range pods(ctx, t) {
				if pod.Status.Phase != corev1.PodFailed && pod.Status.Phase != corev1.PodSucceeded {
					alive = append(alive, pod.Name)
				}
			}
			if len(alive) > 1 {
				t.Fatalf("pods %v hold the device at once", alive)
			}
			if len(alive) == 0 || alive[0] == first.Name {
				return fmt.Errorf("alive are %v", alive)
			}
			next = alive[0]
			return nil
		})
		// Between the two nobody uses the claim, so its device is given back: the next one may be another.
		s.expectOnlyClaim(t, s.running(t, next), "ctr0")
		var job *batchv1.Job
		until(t, "the Job counts one failure", func(ctx context.Context) (err error) {
			job, err = client.BatchV1().Jobs(s.namespace).Get(ctx, "training", metav1.GetOptions{})
			if err == nil && job.Status.Failed != 1 {
				err = fmt.Errorf("it counts %d", job.Status.Failed)
			}
			return err
		})
	})).Feature()
}
