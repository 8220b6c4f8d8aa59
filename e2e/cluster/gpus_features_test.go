package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/e2e-framework/pkg/envconf"
	"sigs.k8s.io/e2e-framework/pkg/features"
	"sigs.k8s.io/e2e-framework/pkg/types"

	"example.com/dragoman/e2e/fakegpu"
)

func slicesOfGPUs() types.Feature {
	f := features.New("slices of both nodes")
	for _, n := range []node{controlPlane, worker} {
		f = f.Assess(string(n), assess(func(t *testing.T) {
			devices, err := devicesOf(t.Context(), n)
			if err != nil {
				t.Fatal(err)
			}
			if len(devices) != devicesPerNode {
				t.Errorf("there are %d devices", len(devices))
			}
			buses := []string{"1b", "43", "52", "61", "9d", "c3", "d1", "df"}
			for index, bus := range buses {
				expectGPU(t, devices[n.gpuName(index)], n.uuid(index), index, "0000:"+bus+":00.0")
			}
		}))
	}
	return f.Feature()
}

func expectGPU(t *testing.T, device resourceapi.Device, uuid string, index int, bus string) {
	t.Helper()
	text := func(name resourceapi.QualifiedName) string {
		attribute := device.Attributes[name]
		switch {
		case attribute.StringValue != nil:
			return *attribute.StringValue
		case attribute.VersionValue != nil:
			return "version " + *attribute.VersionValue
		case attribute.IntValue != nil:
			return fmt.Sprint("number ", *attribute.IntValue)
		}
		return "nothing"
	}
	for name, expected := range map[resourceapi.QualifiedName]string{
		"type": "gpu", "uuid": uuid, "index": fmt.Sprint("number ", index), "brand": "Nvidia", "architecture": "Hopper",
		"productName": "NVIDIA H100 80GB HBM3", "model": "NVIDIA H100 80GB HBM3", "driverVersion": "version 580.95.5",
		"cudaComputeCapability": "version 9.0.0", "cudaDriverVersion": "version 13.0.0",
		"resource.kubernetes.io/pciBusID": bus,
	} {
		if got := text(name); got != expected {
			t.Errorf("device %s has %s %q, expected %q", device.Name, name, got, expected)
		}
	}
	if memory := device.Capacity["memory"].Value; memory.Cmp(resource.MustParse("80Gi")) != 0 {
		t.Errorf("device %s has %s memory", device.Name, memory.String())
	}
}

// gpuExample is a feature that an example, unchanged, is for: its pods run, and each container has its GPUs.
func gpuExample(folder string, devices int64, others ...string) types.Feature {
	s := newScene("dragoman-"+folder[:2], devices)
	s.others = others
	return features.New(folder).Setup(s.applied(folder)).
		Assess("each container has the GPUs of its claims", assess(func(t *testing.T) {
			for _, namespace := range append([]string{s.namespace}, others...) {
				s.in(namespace).expectAllPods(t)
			}
		})).Feature()
}

// applied is the set-up of a feature about an example.
func (s *scene) applied(folder string) features.Func {
	return func(ctx context.Context, t *testing.T, cfg *envconf.Config) context.Context {
		s.enter(t, cfg)
		if err := s.apply(ctx, folder); err != nil {
			t.Fatalf("apply %s: %v", folder, err)
		}
		return ctx
	}
}

// spacePartitioningIsRefused is about the example whose configuration only made-up GPUs know.
func spacePartitioningIsRefused() types.Feature {
	s := newScene("dragoman-06", 3)
	return features.New("06-device-configuration").Setup(s.applied("06-device-configuration")).
		Assess("is refused with what to do instead", assess(func(t *testing.T) {
			message := s.event(t, "pod0", "FailedPrepareDynamicResources")
			for _, part := range []string{"SpacePartitioning", "MPS", "MIG"} {
				if !strings.Contains(message, part) {
					t.Errorf("the event does not say %s: %s", part, message)
				}
			}
		})).
		Assess("and leaves no setting behind", assess(func(t *testing.T) {
			s.deletePod(t, "pod0")
			for index := range devicesPerNode {
				gpuBecomes(t, worker, index, "has its settings back", untouched)
			}
		})).Feature()
}

// untouched says whether a GPU has no setting that is not the default.
func untouched(gpu *fakegpu.GPU) bool { return gpu.ComputeMode == 0 && gpu.TimeSlice == 0 }

// withSharing is a claim template for one GPU with a configuration.
func withSharing(name, sharing string) *resourceapi.ResourceClaimTemplate {
	template := newTemplate(name, 1)
	template.Spec.Spec.Devices.Config = []resourceapi.DeviceClaimConfiguration{{
		DeviceConfiguration: resourceapi.DeviceConfiguration{Opaque: &resourceapi.OpaqueDeviceConfiguration{
			Driver: driverName, Parameters: gpuConfig(sharing),
		}},
	}}
	return template
}

// settings are about what a claim changes of its GPU, and that it is changed back.
func settings() types.Feature {
	cases := []struct {
		name, sharing string
		changed       func(*fakegpu.GPU) bool
	}{
		{
			"time slices", `{"strategy":"TimeSlicing","timeSlicingConfig":{"interval":"Long"}}`,
			func(gpu *fakegpu.GPU) bool { return gpu.TimeSlice == 3 && gpu.ComputeMode == 0 },
		},
		{
			"exclusive use", `{"strategy":"Exclusive"}`,
			func(gpu *fakegpu.GPU) bool { return gpu.TimeSlice == 0 && gpu.ComputeMode == 3 },
		},
	}
	s := newScene("e2e-gpu-settings", 1)
	f := features.New("settings of a GPU").Setup(s.begin)
	for i, c := range cases {
		f = f.Assess(c.name, assess(func(t *testing.T) {
			name := fmt.Sprint("pod-", i)
			s.create(t, withSharing(name, c.sharing))
			s.createPod(t, newPod(name, name))
			pod := s.running(t, name)
			index := s.gpusOf(t, pod, pod.Spec.Containers[0])[0]
			s.expectGPUs(t, pod, mainContainer, index)
			gpuBecomes(t, worker, index, "has the settings of the claim", c.changed)
			s.deletePod(t, name)
			gpuBecomes(t, worker, index, "has its settings back", untouched)
		}))
	}
	return f.Feature()
}

// findDaemons is a shell command that prints the process numbers of the MPS daemons of a node.
const findDaemons = `for p in /proc/[0-9]*; do
  case "$(readlink $p/exe)" in */nvidia-cuda-mps-control*) echo "${p#/proc/}";; esac
done`

// sharedByMPS is the example of MPS, and what becomes of its daemon.
func sharedByMPS() types.Feature {
	s := newScene("dragoman-10", 1)
	var index int
	const ask = `echo fake_settings | /usr/bin/nvidia-cuda-mps-control`
	var answer string
	daemons := func(ctx context.Context) (string, error) { return worker.run(ctx, "sh", "-c", findDaemons) }
	return features.New("10-sharing-with-mps").Setup(s.applied("10-sharing-with-mps")).
		Assess("both containers reach the daemon, which has their limits", assess(func(t *testing.T) {
			s.expectAllPods(t)
			pod := s.running(t, "pod0")
			index = s.gpusOf(t, pod, pod.Spec.Containers[0])[0]
			answer = s.exec(t, "pod0", "ctr0", ask)
			for _, part := range []string{"percentage=50.0", "10240M"} {
				if !strings.Contains(answer, part) {
					t.Errorf("the daemon does not say %s: %s", part, answer)
				}
			}
			if other := s.exec(t, "pod0", "ctr1", ask); other != answer {
				t.Errorf("the other container's daemon says %s", other)
			}
			gpuBecomes(t, worker, index, "is for one process, the daemon", func(gpu *fakegpu.GPU) bool {
				return gpu.ComputeMode == 3
			})
		})).
		Assess("an update of the driver does not disturb it", assess(func(t *testing.T) {
			before, err := daemons(t.Context())
			if err != nil || strings.TrimSpace(before) == "" {
				t.Fatalf("the daemons of the node are %q (%v)", before, err)
			}
			replaceDriver(t, worker)
			s.answers(t, "pod0", "ctr0", ask, answer)
			if after, err := daemons(t.Context()); err != nil || after != before {
				t.Errorf("the daemons were %q and are %q (%v)", before, after, err)
			}
		})).
		Assess("a daemon that died comes again", assess(func(t *testing.T) {
			worker.mustRun(t, "sh", "-c", "kill -9 $("+findDaemons+")")
			s.answers(t, "pod0", "ctr0", ask, answer)
		})).
		Assess("with the pod goes all of it", assess(func(t *testing.T) {
			s.deletePod(t, "pod0")
			gpuBecomes(t, worker, index, "has its settings back", untouched)
			until(t, "no daemon is left", func(ctx context.Context) error {
				left, err := daemons(ctx)
				if err == nil && strings.TrimSpace(left) != "" {
					err = fmt.Errorf("there are %q", left)
				}
				return err
			})
		})).Feature()
}

// answers waits until a command in a container answers.
func (s *scene) answers(t *testing.T, pod, container, command, expected string) {
	t.Helper()
	until(t, command+" answers as before", func(context.Context) error {
		if got := s.exec(t, pod, container, command+" || true"); got != expected {
			return fmt.Errorf("it says %q", got)
		}
		return nil
	})
}

// replaceDriver deletes the driver's pod on a node and waits for the next one.
func replaceDriver(t *testing.T, n node) {
	t.Helper()
	old := deleteDriver(t, n)
	until(t, "another pod of the driver is ready", func(ctx context.Context) error {
		pod, err := driverOn(ctx, n)
		if err == nil && pod.Name == old {
			err = errors.New("the old one is still there")
		}
		return err
	})
}

// deleteDriver deletes the driver's pod on a node, waits until it is gone, and returns its name.
func deleteDriver(t *testing.T, n node) string {
	t.Helper()
	old, err := driverOn(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	if err := client.CoreV1().Pods(old.Namespace).Delete(t.Context(), old.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	until(t, "the driver's pod is gone", func(ctx context.Context) error {
		_, err := client.CoreV1().Pods(old.Namespace).Get(ctx, old.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return errors.Join(errors.New("it is still there"), err)
	})
	return old.Name
}

// unhealthy returns how many devices the driver on a node says are unhealthy.
func unhealthy(ctx context.Context, n node) (string, error) {
	pod, err := driverOn(ctx, n)
	if err != nil {
		return "", err
	}
	metrics, err := client.CoreV1().Pods(pod.Namespace).ProxyGet("http", pod.Name, "8080", "/metrics", nil).DoRaw(ctx)
	if err != nil {
		return "", fmt.Errorf("ask the driver for its metrics: %w", err)
	}
	for line := range strings.Lines(string(metrics)) {
		if count, ok := strings.CutPrefix(line, `dragoman_devices{state="unhealthy"} `); ok {
			return strings.TrimSpace(count), nil
		}
	}
	return "", errors.New("the driver has no metric of unhealthy devices")
}

func unhealthyBecome(t *testing.T, n node, expected string) {
	t.Helper()
	until(t, expected+" devices of "+string(n)+" are unhealthy", func(ctx context.Context) error {
		got, err := unhealthy(ctx, n)
		if err == nil && got != expected {
			err = fmt.Errorf("there are %s", got)
		}
		return err
	})
}

// sickGPU is about an error that the library reports while a pod has the GPU.
func sickGPU() types.Feature {
	s := newScene("e2e-gpu-sick", 1)
	var index int
	return features.New("a GPU with an error").Setup(s.begin).
		Assess("a program's own error says nothing against it", assess(func(t *testing.T) {
			s.create(t, newTemplate("one", 1))
			s.createPod(t, newPod("pod", "one"))
			pod := s.running(t, "pod")
			index = s.gpusOf(t, pod, pod.Spec.Containers[0])[0]
			worker.happens(t, fakegpu.Control{Events: []fakegpu.Event{{ID: "program", GPU: index, XID: 31}}})
			t.Cleanup(func() { worker.calm(t) })
			healthyFor(t, worker, 2*time.Second)
		})).
		Assess("a fatal error makes it unhealthy, with the reason", assess(func(t *testing.T) {
			t.Cleanup(func() { worker.calm(t) })
			worker.happens(t, fakegpu.Control{
				Events:          []fakegpu.Event{{ID: "fatal", GPU: index, XID: 119}, {ID: "small", GPU: index, XID: 45}},
				RecoveryActions: map[int]uint32{index: 1},
			})
			unhealthyBecome(t, worker, "1")
			expectTaint(t, worker, index, true)
			driver, err := driverOn(t.Context(), worker)
			if err != nil {
				t.Fatal(err)
			}
			s.logs(t, driver.Namespace, driver.Name, "", worker.gpuName(index), "XID 119")
			s.podSays(t, "pod", corev1.ResourceHealthStatusUnhealthy)
		})).
		Assess("when it needs nothing more it is healthy again", assess(func(t *testing.T) {
			worker.calm(t)
			unhealthyBecome(t, worker, "0")
			expectTaint(t, worker, index, false)
			s.podSays(t, "pod", corev1.ResourceHealthStatusHealthy)
		})).
		Assess("one that is lost is unhealthy, the others are not", assess(func(t *testing.T) {
			t.Cleanup(func() { worker.calm(t) })
			worker.happens(t, fakegpu.Control{Lost: []int{index}})
			unhealthyBecome(t, worker, "1")
			expectTaint(t, worker, index, true)
			s.deletePod(t, "pod") // which must end all the same
			worker.calm(t)
			unhealthyBecome(t, worker, "0")
			expectTaint(t, worker, index, false)
		})).Feature()
}

// podSays waits until the status of a pod, which goes on, says how its GPU is. Only some clusters have this field.
func (s *scene) podSays(t *testing.T, name string, health corev1.ResourceHealthStatus) {
	t.Helper()
	pod := s.running(t, name)
	if !gateOn("ResourceHealthStatus") {
		return
	}
	until(t, "the status of pod "+name+" says "+string(health), func(ctx context.Context) (err error) {
		if pod, err = client.CoreV1().Pods(s.namespace).Get(ctx, name, metav1.GetOptions{}); err != nil {
			return err
		}
		for _, status := range pod.Status.ContainerStatuses[0].AllocatedResourcesStatus {
			for _, resource := range status.Resources {
				if resource.Health == health {
					return nil
				}
			}
		}
		return fmt.Errorf("it says %+v", pod.Status.ContainerStatuses[0].AllocatedResourcesStatus)
	})
}

// healthyFor checks that for some time no device of the node becomes unhealthy.
func healthyFor(t *testing.T, n node, long time.Duration) {
	t.Helper()
	end := time.Now().Add(long)
	until(t, "all devices stay healthy", func(ctx context.Context) error {
		got, err := unhealthy(ctx, n)
		switch {
		case err != nil:
			return err
		case got != "0":
			t.Fatalf("%s devices of %s are unhealthy", got, n)
		case time.Now().Before(end):
			return errors.New("it is early")
		}
		return nil
	})
}

// expectTaint waits until a GPU has the taint of unhealthy devices, or has it no more. Where the API server drops
// taints, the GPU is left out instead.
func expectTaint(t *testing.T, n node, index int, tainted bool) {
	t.Helper()
	wanted, published := 0, devicesPerNode
	switch {
	case tainted && gateOn("DRADeviceTaints"):
		wanted = 1
	case tainted:
		published--
	}
	devicesBecome(t, n, fmt.Sprint(wanted, " tainted GPUs"), func(devices map[string]resourceapi.Device) error {
		if _, offered := devices[n.gpuName(index)]; len(devices) != published || !offered && published == devicesPerNode {
			return fmt.Errorf("there are %d devices, the one in question among them: %t", len(devices), offered)
		}
		for name, device := range devices {
			expected := 0
			if name == n.gpuName(index) {
				expected = wanted
			}
			if len(device.Taints) != expected {
				return fmt.Errorf("device %s has taints %+v", name, device.Taints)
			}
			for _, taint := range device.Taints {
				if taint.Key != driverName+"/unhealthy" || taint.Effect != resourceapi.DeviceTaintEffectNoSchedule {
					return fmt.Errorf("device %s has the taint %+v", name, taint)
				}
			}
		}
		return nil
	})
}

// driverComesLater is about a node whose library is not there when our program starts.
func driverComesLater() types.Feature {
	const library = fakeRoot + "/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.580.95.05"
	s := newScene("e2e-gpu-later", 1)
	return features.New("NVIDIA's driver comes later").Setup(s.begin).
		Assess("without its library there are no GPUs", assess(func(t *testing.T) {
			worker.mustRun(t, "mv", library, library+".away")
			t.Cleanup(func() {
				back := "[ -e " + library + " ] || mv " + library + ".away " + library
				_, _ = worker.run(context.WithoutCancel(t.Context()), "sh", "-c", back)
			})
			deleteDriver(t, worker)
			devicesBecome(t, worker, "no GPUs", func(devices map[string]resourceapi.Device) error {
				if len(devices) > 0 {
					return fmt.Errorf("there are %d devices", len(devices))
				}
				return nil
			})
			worker.mustRun(t, "mv", library+".away", library)
			settledGPUs(t)
		})).
		Assess("and a pod gets one without a restart of our program", assess(func(t *testing.T) {
			driver, err := driverOn(t.Context(), worker)
			if err != nil {
				t.Fatal(err)
			}
			for _, status := range driver.Status.ContainerStatuses {
				if status.RestartCount > 0 {
					t.Errorf("our program was restarted %d times", status.RestartCount)
				}
			}
			s.create(t, newTemplate("one", 1))
			s.createPod(t, newPod("pod", "one"))
			s.running(t, "pod")
			s.expectAllPods(t)
		})).Feature()
}

// cannotLook is about a node whose GPUs are there but cannot be looked at.
func cannotLook() types.Feature {
	return features.New("GPUs that cannot be looked at").
		Assess("stay as they were, and the driver is not ready", assess(func(t *testing.T) {
			t.Cleanup(func() { worker.calm(t) })
			before := versions(t, worker)
			// Not DRIVER_NOT_LOADED: without NVIDIA hardware on the bus, as here, that means that there are no GPUs.
			worker.happens(t, fakegpu.Control{Calls: map[string]fakegpu.Fault{"nvmlInit_v2": {Return: "UNKNOWN"}}})
			old := deleteDriver(t, worker)
			s := scene{start: metav1.Now()}
			until(t, "the driver says that it cannot look, and is not ready", func(ctx context.Context) error {
				pod, err := driverOn(ctx, worker)
				switch {
				case pod == nil || pod.Name == old:
					return errors.Join(errors.New("it is not there"), err)
				case err == nil:
					return errors.New("it is ready")
				}
				s.start = pod.CreationTimestamp
				if log := s.logOf(ctx, pod.Namespace, pod.Name, ""); !strings.Contains(log, "NVML cannot be initialised") {
					return fmt.Errorf("it says: %s", log)
				}
				return nil
			})
			if after := versions(t, worker); fmt.Sprint(after) != fmt.Sprint(before) {
				t.Errorf("slices were %v and are %v", before, after)
			}
			worker.calm(t)
			settledGPUs(t)
		})).Feature()
}

// fallbackOfAList is the half of an example that does not ask for SpacePartitioning in the end.
func fallbackOfAList() types.Feature {
	s := newScene("dragoman-07", 4)
	return features.New("07-prioritized-list").Setup(s.applied("07-prioritized-list")).
		Assess("the fallback has its GPUs, with the configuration for it", assess(func(t *testing.T) {
			pod := s.running(t, "fallback")
			for _, container := range pod.Spec.Containers {
				s.expectGPUs(t, pod, container.Name, s.gpusOf(t, pod, container)...)
			}
			gpu, extra := s.gpusOf(t, pod, pod.Spec.Containers[0])[0], s.gpusOf(t, pod, pod.Spec.Containers[1])[0]
			gpuBecomes(t, worker, gpu, "has short time slices", func(g *fakegpu.GPU) bool { return g.TimeSlice == 1 })
			gpuBecomes(t, worker, extra, "has its settings", untouched)
		})).
		Assess("the first choice is refused, as its configuration is", assess(func(t *testing.T) {
			message := s.event(t, "preference", "FailedPrepareDynamicResources")
			if !strings.Contains(message, "SpacePartitioning") {
				t.Errorf("the event does not say why: %s", message)
			}
		})).Feature()
}
