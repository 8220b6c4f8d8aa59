package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	apitypes "k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/e2e-framework/pkg/features"
	"sigs.k8s.io/e2e-framework/pkg/types"
)

func slicesOfBothNodes() types.Feature {
	f := features.New("slices of both nodes")
	uuids := map[string]string{}
	for _, n := range []node{controlPlane, worker} {
		f = f.Assess(string(n), assess(func(t *testing.T) {
			published(t, n)
			complete, err := pool(t.Context(), n)
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, slice := range complete {
				owned := slices.ContainsFunc(slice.OwnerReferences, func(o metav1.OwnerReference) bool {
					return o.Kind == "Node" && o.Name == string(n)
				})
				if pool := slice.Spec.Pool.Name; pool != string(n) || !owned {
					t.Errorf("slice %s is of pool %s and owned by %v", slice.Name, pool, slice.OwnerReferences)
				}
				for _, device := range slice.Spec.Devices {
					names = append(names, device.Name)
					expectDevice(t, device)
					uuid := *device.Attributes["uuid"].StringValue
					if other := uuids[uuid]; other != "" {
						t.Errorf("%s and %s/%s have the same uuid %s", other, n, device.Name, uuid)
					}
					uuids[uuid] = string(n) + "/" + device.Name
				}
			}
			expected := []string{"gpu-0", "gpu-1", "gpu-2", "gpu-3", "gpu-4", "gpu-5", "gpu-6", "gpu-7"}
			if !slices.Equal(names, expected) {
				t.Errorf("devices are %v", names)
			}
		}))
	}
	return f.Feature()
}

func expectDevice(t *testing.T, device resourceapi.Device) {
	t.Helper()
	index, model := device.Attributes["index"].IntValue, device.Attributes["model"].StringValue
	version, uuid := device.Attributes["driverVersion"].VersionValue, device.Attributes["uuid"].StringValue
	if index == nil || device.Name != fmt.Sprintf("gpu-%d", *index) || model == nil || *model != "LATEST-GPU-MODEL" ||
		version == nil || *version != "1.0.0" || uuid == nil || !strings.HasPrefix(*uuid, "gpu-") {
		t.Fatalf("device %s has attributes\n%s", device.Name, asYAML(device.Attributes))
	}
	memory, compute := device.Capacity["memory"].Value, device.Capacity["compute"].Value
	if memory.Cmp(resource.MustParse("80Gi")) != 0 || compute.Cmp(resource.MustParse("100")) != 0 {
		t.Errorf("device %s has %s memory and %s compute", device.Name, memory.String(), compute.String())
	}
}

func nothingIsLeftOfAPod() types.Feature {
	s := newScene("e2e-nothing-left", 1)
	var pod *corev1.Pod
	var claim *resourceapi.ResourceClaim
	return features.New("nothing is left of a pod").Setup(s.begin).
		Assess("while it runs there are a CDI file and a record", assess(func(t *testing.T) {
			s.create(t, newTemplate("one", 1))
			s.createPod(t, newPod("pod", "one"))
			pod = s.running(t, "pod")
			_, claim = s.expectOnlyClaim(t, pod, mainContainer)
		})).
		Assess("when it is gone they are gone", assess(func(t *testing.T) {
			s.deletePod(t, "pod")
			expectNoFiles(t, worker, claim)
			s.noClaims(t)
			left := worker.mustRun(t, "sh", "-c", "grep -rls "+string(claim.UID)+" /run/dragoman /run/cdi || true")
			if left != "" {
				t.Errorf("files still speak of the claim: %s", left)
			}
		})).Feature()
}

func podResources() types.Feature {
	s := newScene("e2e-podresources", 2)
	return features.New("the kubelet's PodResources API").Setup(s.begin).
		Assess("lists the devices of a pod as they were allocated", assess(func(t *testing.T) {
			s.create(t, newTemplate("two", 2))
			s.createPod(t, newPod("pod", "two"))
			pod := s.running(t, "pod")
			claim := s.onlyClaim(t, pod)
			listed, expected := listedDevices(t, node(pod.Spec.NodeName), pod), []string{}
			for _, result := range allocated(t, claim) {
				name := fmt.Sprintf("%s %s/%s/%s", claim.Name, result.Driver, result.Pool, result.Device)
				expected = append(expected, name)
				// A kubelet may list with a device the ids of the devices before it, too.
				id := fmt.Sprintf("k8s.%s/gpu=%s-%s", driverName, claim.UID, result.Device)
				if !slices.Contains(listed[name], id) {
					t.Errorf("with %s it lists the CDI ids %v, not %s", name, listed[name], id)
				}
			}
			slices.Sort(expected)
			if got := slices.Sorted(maps.Keys(listed)); !slices.Equal(got, expected) {
				t.Errorf("it lists %v, allocated are %v", got, expected)
			}
		})).Feature()
}

// listedDevices asks the kubelet for the devices of a pod's only container: claim and device -> CDI ids.
func listedDevices(t *testing.T, n node, pod *corev1.Pod) map[string][]string {
	t.Helper()
	devices := map[string][]string{}
	program := filepath.Join(t.TempDir(), "podresources")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, "../podresources")
	build.Env = append(build.Environ(), "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the client: %v: %s", err, output)
	}
	const there = "/usr/local/bin/dragoman-e2e-podresources"
	if _, err := docker(t.Context(), "cp", program, string(n)+":"+there); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = n.run(context.WithoutCancel(t.Context()), "rm", "-f", there) })
	var list struct {
		PodResources []struct {
			Name, Namespace string
			Containers      []struct {
				Name             string
				DynamicResources []struct {
					ClaimName, ClaimNamespace string
					ClaimResources            []struct {
						CdiDevices                       []struct{ Name string }
						DriverName, PoolName, DeviceName string
					}
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(n.mustRun(t, there)), &list); err != nil {
		t.Fatal(err)
	}
	for _, p := range list.PodResources {
		if p.Name != pod.Name || p.Namespace != pod.Namespace {
			continue
		}
		for _, c := range p.Containers {
			for _, d := range c.DynamicResources {
				for _, r := range d.ClaimResources {
					name := fmt.Sprintf("%s %s/%s/%s", d.ClaimName, r.DriverName, r.PoolName, r.DeviceName)
					devices[name] = nil
					for _, cdi := range r.CdiDevices {
						devices[name] = append(devices[name], cdi.Name)
					}
				}
			}
		}
	}
	return devices
}

func badConfiguration() types.Feature {
	s := newScene("e2e-bad-configuration", 1)
	return features.New("a bad configuration").Setup(s.begin).
		Assess("is an event of the pod with our message and the path", assess(func(t *testing.T) {
			template := newTemplate("bad", 1)
			template.Spec.Spec.Devices.Config = []resourceapi.DeviceClaimConfiguration{{
				DeviceConfiguration: resourceapi.DeviceConfiguration{Opaque: &resourceapi.OpaqueDeviceConfiguration{
					Driver:     driverName,
					Parameters: gpuConfig(`{"strategy":"TimeSlicing","timeSlicingConfig":{"interval":"Forever"}}`),
				}},
			}}
			s.create(t, template)
			s.createPod(t, newPod("pod", "bad"))
			message := s.event(t, "pod", "FailedPrepareDynamicResources")
			for _, part := range []string{
				"spec.devices.config[0].opaque.parameters.sharing.timeSlicingConfig.interval", `"Forever"`,
				"Default", "Short", "Medium", "Long",
			} {
				if !strings.Contains(message, part) {
					t.Errorf("the event does not say %s: %s", part, message)
				}
			}
		})).
		Assess("is one event of the claim with the same sentence", assess(func(t *testing.T) {
			pod, err := client.CoreV1().Pods(s.namespace).Get(t.Context(), "pod", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			s.expectOneEvent(t, s.onlyClaim(t, pod), s.event(t, "pod", "FailedPrepareDynamicResources"))
		})).
		Assess("leaves nothing behind, and the pod can be deleted", assess(func(t *testing.T) {
			pod, err := client.CoreV1().Pods(s.namespace).Get(t.Context(), "pod", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			claim := s.onlyClaim(t, pod)
			expectNoFiles(t, node(pod.Spec.NodeName), claim)
			s.deletePod(t, "pod")
			s.noClaims(t)
		})).Feature()
}

// expectOneEvent waits for the driver's event of a claim, which needs a right of its own.
func (s *scene) expectOneEvent(t *testing.T, claim *resourceapi.ResourceClaim, ofPod string) {
	t.Helper()
	about := metav1.ListOptions{FieldSelector: "involvedObject.uid=" + string(claim.UID) + ",reason=InvalidClaim"}
	until(t, "the driver made an event of the claim", func(ctx context.Context) error {
		events, err := client.CoreV1().Events(s.namespace).List(ctx, about)
		switch {
		case err != nil:
			return err
		case len(events.Items) != 1:
			return fmt.Errorf("there are %d", len(events.Items))
		}
		event := events.Items[0]
		if event.ReportingController != driverName || event.Count > 1 || !strings.Contains(ofPod, event.Message) {
			t.Errorf("the pod's event says\n%s\nthe claim's\n%s", ofPod, asYAML(event))
		}
		return nil
	})
}

func gpuConfig(sharing string) runtime.RawExtension {
	const head = `{"apiVersion":"gpu.resource.example.com/v1alpha1","kind":"GpuConfig","sharing":`
	return runtime.RawExtension{Raw: []byte(head + sharing + "}")}
}

func allDevicesTaken() types.Feature {
	s := newControlPlaneScene("e2e-all-taken", devicesPerNode)
	return features.New("all devices taken").Setup(s.begin).
		Assess("the next pod waits", assess(func(t *testing.T) {
			s.create(t, newTemplate("all", devicesPerNode), newTemplate("one", 1))
			s.createPod(t, onControlPlane(newPod("first", "all")))
			seen, _ := s.expectOnlyClaim(t, s.running(t, "first"), mainContainer)
			if len(seen.devices()) != devicesPerNode {
				t.Errorf("the first pod has %v", seen.devices())
			}
			s.createPod(t, onControlPlane(newPod("next", "one")))
			message := s.event(t, "next", "FailedScheduling")
			if !strings.Contains(message, "cannot allocate all claims") {
				t.Errorf("the scheduler says: %s", message)
			}
		})).
		Assess("until they are freed", assess(func(t *testing.T) {
			s.deletePod(t, "first")
			s.expectOnlyClaim(t, s.running(t, "next"), mainContainer)
		})).Feature()
}

func adminAccessNeedsTheLabel() types.Feature {
	s := newScene("e2e-admin-label", 1)
	admin := func() *resourceapi.ResourceClaim {
		template := newTemplate("", 1).Spec.Spec
		template.Devices.Requests[0].Exactly.AdminAccess = new(true)
		return &resourceapi.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Name: "admin"}, Spec: template}
	}
	return features.New("admin access needs the label of the namespace").Setup(s.begin).
		Assess("without it a claim is refused", assess(func(t *testing.T) {
			claims := client.ResourceV1().ResourceClaims(s.namespace)
			_, err := claims.Create(t.Context(), admin(), metav1.CreateOptions{})
			if err == nil || !strings.Contains(err.Error(), "admin-access") {
				t.Errorf("the API server says: %v", err)
			}
		})).
		Assess("with it the claim is made; what would change the device is refused", assess(func(t *testing.T) {
			ctx := t.Context()
			label := []byte(`{"metadata":{"labels":{"resource.kubernetes.io/admin-access":"true"}}}`)
			namespaces := client.CoreV1().Namespaces()
			_, err := namespaces.Patch(ctx, s.namespace, apitypes.MergePatchType, label, metav1.PatchOptions{})
			if err != nil {
				t.Fatal(err)
			}
			claim := admin()
			claim.Spec.Devices.Config = []resourceapi.DeviceClaimConfiguration{{
				DeviceConfiguration: resourceapi.DeviceConfiguration{Opaque: &resourceapi.OpaqueDeviceConfiguration{
					Driver:     driverName,
					Parameters: gpuConfig(`{"strategy":"SpacePartitioning"}`),
				}},
			}}
			until(t, "the API server knows the label", func(ctx context.Context) error {
				_, err := client.ResourceV1().ResourceClaims(s.namespace).Create(ctx, claim, metav1.CreateOptions{})
				return err
			})
			pod := newPod("pod", "")
			name := "admin"
			pod.Spec.ResourceClaims = []corev1.PodResourceClaim{{Name: "gpus", ResourceClaimName: &name}}
			s.createPod(t, pod)
			message := s.event(t, "pod", "FailedPrepareDynamicResources")
			for _, part := range []string{"admin access", "gpus"} {
				if !strings.Contains(message, part) {
					t.Errorf("the event does not say %q: %s", part, message)
				}
			}
			s.deletePod(t, "pod")
		})).Feature()
}

// isForbidden says whether the API server refused for the reason of our policy.
func isForbidden(err error) bool {
	return apierrors.IsForbidden(err) || apierrors.IsInvalid(err)
}
