package cluster

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"sigs.k8s.io/e2e-framework/pkg/features"
	"sigs.k8s.io/e2e-framework/pkg/types"

	"example.com/dragoman/e2e/fakegpu"
)

// part is a MIG device: a GPU instance with one compute instance that has all of it.
type part struct {
	device  string // the end of its name
	profile string
	fakegpu.Instance
}

// parts are a half of an H100 and an eighth of it, with the numbers of the hardware.
func parts() (half, eighth part) {
	whole := func(compute, slices uint32) []fakegpu.Instance {
		return []fakegpu.Instance{{Profile: compute, Size: slices}}
	}
	half = part{"3g-40gb-4", "3g.40gb", fakegpu.Instance{ID: 2, Profile: 9, Start: 4, Size: 4, Instances: whole(2, 3)}}
	eighth = part{"1g-10gb-0", "1g.10gb", fakegpu.Instance{ID: 7, Profile: 19, Size: 1, Instances: whole(0, 1)}}
	return half, eighth
}

// name returns the name of the device that a part of a GPU is.
func (p part) name(n node, gpu int) string {
	first, _, _ := strings.Cut(strings.TrimPrefix(n.uuid(gpu), "GPU-"), "-")
	return "mig-" + first + "-" + p.device
}

// cut cuts a GPU into parts, as an administrator does, or makes it whole again.
func (n node) cut(ctx context.Context, gpu int, parts ...part) error {
	capabilities := filepath.Join(fakeRoot, "proc/driver/nvidia/capabilities", fmt.Sprintf("gpu%d/mig", gpu))
	script := fmt.Sprintf("rm -rf %[1]s && mkdir -p %[1]s\n", capabilities)
	state := fakegpu.State{}
	if len(parts) > 0 {
		*state.GPU(gpu) = fakegpu.GPU{MIG: true, PendingMIG: true}
	}
	for _, p := range parts {
		state.GPU(gpu).Instances = append(state.GPU(gpu).Instances, p.Instance)
		const add = "mkdir -p %[1]s && echo DeviceFileMinor: %[2]d >%[1]s/access\n"
		gi := filepath.Join(capabilities, fmt.Sprintf("gi%d", p.ID))
		script += fmt.Sprintf(add, gi, fakegpu.CapabilityMinor(gpu, p.ID))
		script += fmt.Sprintf(add, filepath.Join(gi, "ci0"), fakegpu.CapabilityMinor(gpu, p.ID, 0))
	}
	if _, err := n.run(ctx, "sh", "-ec", script); err != nil {
		return err
	}
	return n.write(ctx, "fake-gpu/state.json", state)
}

// expectPart checks that a container has this part of a GPU and nothing else.
func (s *scene) expectPart(t *testing.T, pod *corev1.Pod, container string, gpu, instance int) {
	t.Helper()
	s.expectNodes(t, pod, container, fmt.Sprintf("nvidia%d", gpu),
		fmt.Sprintf("nvidia-caps/nvidia-cap%d", fakegpu.CapabilityMinor(gpu, instance)),
		fmt.Sprintf("nvidia-caps/nvidia-cap%d", fakegpu.CapabilityMinor(gpu, instance, 0)))
}

// cutByHand is about parts of GPUs that somebody made.
func cutByHand() types.Feature {
	const gpu = 7
	s := newScene("dragoman-11", 1)
	half, eighth := parts()
	return features.New("11-part-of-a-gpu, cut by hand").Setup(s.applied("11-part-of-a-gpu")).
		Assess("parts are devices in place of their GPU", assess(func(t *testing.T) {
			if err := worker.cut(t.Context(), gpu, half, eighth); err != nil {
				t.Fatal(err)
			}
			devices := devicesBecome(t, worker, "two parts", func(devices map[string]resourceapi.Device) error {
				if len(devices) != devicesPerNode+1 {
					return fmt.Errorf("there are %d devices", len(devices))
				}
				return nil
			})
			for _, p := range []part{half, eighth} {
				expectPartDevice(t, devices, p, gpu)
			}
			if _, ok := devices[worker.gpuName(gpu)]; ok {
				t.Error("the GPU that is cut is still offered as a whole")
			}
		})).
		Assess("the pod gets one, with the rights to it and to nothing else", assess(func(t *testing.T) {
			pod := s.running(t, "pod0")
			device := allocated(t, s.onlyClaim(t, pod))[0].Device
			switch device {
			case half.name(worker, gpu):
				s.expectPart(t, pod, "ctr0", gpu, half.ID)
			case eighth.name(worker, gpu):
				s.expectPart(t, pod, "ctr0", gpu, eighth.ID)
			default:
				t.Errorf("the pod has device %s", device)
			}
		})).
		Assess("whoever made the parts keeps them", assess(func(t *testing.T) {
			s.deletePod(t, "pod0")
			s.noClaims(t)
			remembered, err := worker.remembers(t.Context(), gpu)
			if err != nil || len(remembered.Instances) != 2 {
				t.Errorf("the GPU is %+v (%v)", remembered, err)
			}
		})).
		Assess("and when they are gone the GPU is whole again", assess(func(t *testing.T) {
			if err := worker.cut(t.Context(), gpu); err != nil {
				t.Fatal(err)
			}
			settledGPUs(t)
		})).Feature()
}

func expectPartDevice(t *testing.T, devices map[string]resourceapi.Device, p part, gpu int) {
	t.Helper()
	device, ok := devices[p.name(worker, gpu)]
	if !ok {
		t.Errorf("there is no device %s", p.name(worker, gpu))
		return
	}
	for name, expected := range map[resourceapi.QualifiedName]string{
		"type": "mig", "profile": p.profile, "parentUUID": worker.uuid(gpu),
		"uuid": fakegpu.DGX(string(worker), gpuModel).MIGUUID(gpu, p.ID, 0),
	} {
		if value := device.Attributes[name].StringValue; value == nil || *value != expected {
			t.Errorf("device %s has no %s %q:\n%s", device.Name, name, expected, asYAML(device.Attributes))
		}
	}
}

// cutOnDemand is about GPUs that the driver cuts when a pod comes, where the API server knows shared counters.
func cutOnDemand() types.Feature {
	s := newScene("dragoman-11", 1)
	var gpu int
	return features.New("11-part-of-a-gpu, cut on demand").Setup(s.applied("11-part-of-a-gpu")).
		Assess("the pod gets a part that was not there before", assess(func(t *testing.T) {
			devices, err := devicesOf(t.Context(), worker)
			if err != nil || len(devices) <= devicesPerNode {
				t.Fatalf("there are %d devices (%v)", len(devices), err)
			}
			pod := s.running(t, "pod0")
			device := devices[allocated(t, s.onlyClaim(t, pod))[0].Device]
			parent := device.Attributes["parentUUID"].StringValue
			if parent == nil {
				t.Fatalf("the device is\n%s", asYAML(device))
			}
			gpu = worker.indexOf(t, strings.ToLower(*parent))
			remembered, err := worker.remembers(t.Context(), gpu)
			if err != nil || !remembered.MIG || len(remembered.Instances) != 1 {
				t.Fatalf("the GPU is %+v (%v)", remembered, err)
			}
			s.expectPart(t, pod, "ctr0", gpu, remembered.Instances[0].ID)
		})).
		Assess("which an update of the driver leaves alone", assess(func(t *testing.T) {
			replaceDriver(t, worker)
			remembered, err := worker.remembers(t.Context(), gpu)
			if err != nil || len(remembered.Instances) != 1 {
				t.Errorf("the GPU is %+v (%v)", remembered, err)
			}
			s.notRestarted(t, "pod0")
		})).
		Assess("and with the pod goes the part", assess(func(t *testing.T) {
			s.deletePod(t, "pod0")
			gpuBecomes(t, worker, gpu, "is whole", func(g *fakegpu.GPU) bool { return !g.MIG && len(g.Instances) == 0 })
			settledGPUs(t)
		})).Feature()
}

// notCutWithoutCounters is the same on a cluster that drops shared counters: there, parts could be given twice.
func notCutWithoutCounters() types.Feature {
	s := newScene("e2e-gpu-uncut", 1)
	return features.New("no parts where the API server drops shared counters").Setup(s.begin).
		Assess("GPUs are offered as a whole, and the driver says why", assess(func(t *testing.T) {
			for _, n := range []node{worker, controlPlane} {
				devices, err := devicesOf(t.Context(), n)
				if err != nil || len(devices) != devicesPerNode {
					t.Errorf("node %s has %d devices (%v)", n, len(devices), err)
				}
			}
			driver, err := driverOn(t.Context(), worker)
			if err != nil {
				t.Fatal(err)
			}
			s.start = driver.CreationTimestamp
			s.logs(t, driver.Namespace, driver.Name, "", "DRAPartitionableDevices")
			s.create(t, newTemplate("one", 1))
			s.createPod(t, newPod("pod", "one"))
			s.expectAllPods(t)
		})).Feature()
}
