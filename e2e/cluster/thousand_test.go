package cluster

import (
	"fmt"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"sigs.k8s.io/e2e-framework/pkg/features"
	"sigs.k8s.io/e2e-framework/pkg/types"
)

// The machine of testdata/thousand.yaml.
const (
	thousand       = 1000
	wholeGPUs      = 40
	partsPerGPU    = thousand/wholeGPUs - 1
	thousandValues = "e2e/cluster/testdata/thousand.yaml"
	partClass      = "mig." + driverName
)

// TestThousandPartitionableDevices is about nodes with 1,000 devices, nearly all of them parts of others.
func TestThousandPartitionableDevices(t *testing.T) {
	start := time.Now()
	useMachine(t, "--values", thousandValues)
	if !gateOn("DRAPartitionableDevices") {
		testenv.Test(t, wholeOnesAlone())
		return
	}
	for _, n := range []node{controlPlane, worker} {
		devicesBecome(t, n, fmt.Sprint(thousand, " devices"), func(devices map[string]resourceapi.Device) error {
			if len(devices) != thousand {
				return fmt.Errorf("there are %d", len(devices))
			}
			return nil
		})
	}
	t.Logf("%d devices are published on both nodes %v after the installation began", thousand,
		time.Since(start).Round(100*time.Millisecond))
	testenv.Test(t, partsOfAThousand())
}

// wholeOnesAlone is what such a machine is where the API server drops counters.
func wholeOnesAlone() types.Feature {
	return features.New("whole devices alone where the API server drops counters").
		Assess("are published, and the driver says why", assess(func(t *testing.T) {
			for _, n := range []node{controlPlane, worker} {
				devicesBecome(t, n, "whole GPUs alone", func(devices map[string]resourceapi.Device) error {
					for name, device := range devices {
						if len(device.ConsumesCounters) > 0 || text(device, "type") != "gpu" {
							return fmt.Errorf("%s is of type %s and consumes %v", name, text(device, "type"),
								device.ConsumesCounters)
						}
					}
					if len(devices) != wholeGPUs {
						return fmt.Errorf("there are %d", len(devices))
					}
					return nil
				})
			}
			expectOneWarning(t, "DRAPartitionableDevices")
		})).Feature()
}

// text returns an attribute of a device that is a string.
func text(device resourceapi.Device, attribute resourceapi.QualifiedName) string {
	if value := device.Attributes[attribute].StringValue; value != nil {
		return *value
	}
	return ""
}

// ofClass is a claim template for one device of a class that is as the CEL expression says.
func ofClass(name, class, expression string) *resourceapi.ResourceClaimTemplate {
	template := newTemplate(name, 1)
	request := template.Spec.Spec.Devices.Requests[0].Exactly
	request.DeviceClassName = class
	if expression != "" {
		request.Selectors = []resourceapi.DeviceSelector{{CEL: &resourceapi.CELDeviceSelector{Expression: expression}}}
	}
	return template
}

// partsOfAThousand is about parts and whole ones that exclude each other.
func partsOfAThousand() types.Feature {
	const last = wholeGPUs - 1
	ofLast := fmt.Sprintf("device.attributes[%q].index == %d", driverName, last)
	s := newScene("e2e-thousand", 1)
	var pods []*corev1.Pod
	return features.New("parts of a thousand devices").Setup(s.begin).
		Assess("pods get parts of one GPU that do not overlap", assess(func(t *testing.T) {
			large := ofLast + fmt.Sprintf(" && device.attributes[%q].profile == 'large'", driverName)
			small := ofLast + fmt.Sprintf(" && device.attributes[%q].profile == 'small'", driverName)
			s.create(t, ofClass("large", partClass, large), ofClass("small", partClass, small),
				ofClass("whole", driverName, ofLast), ofClass("any", driverName, ""))
			for i, template := range []string{"large", "small", "large", "small"} {
				s.createPod(t, newPod(fmt.Sprintf("part%d", i), template))
			}
			taken := map[string]string{}
			for i := range 4 {
				pod := s.running(t, fmt.Sprintf("part%d", i))
				pods = append(pods, pod)
				for _, slot := range s.slots(t, pod) {
					if other := taken[slot]; other != "" {
						t.Errorf("pods %s and %s both have %s", other, pod.Name, slot)
					}
					taken[slot] = pod.Name
				}
			}
			if len(taken) != 2*2+2*1 {
				t.Errorf("the pods have the slots %v", taken)
			}
		})).
		Assess("the whole of it waits, another one does not", assess(func(t *testing.T) {
			s.createPod(t, newPod("whole", "whole"))
			s.expectPending(t, "whole", "cannot allocate all claims")
			s.createPod(t, newPod("another", "any"))
			device := forRequest(t, s.onlyClaim(t, s.running(t, "another")), "gpus").Device
			if published := s.device(t, worker, device); text(published, "type") != "gpu" || ofIndex(published, last) {
				t.Errorf("it has %s", asYAML(published))
			}
		})).
		Assess("when its parts are free, it is given as a whole", assess(func(t *testing.T) {
			for _, pod := range pods {
				s.deletePod(t, pod.Name)
			}
			device := forRequest(t, s.onlyClaim(t, s.running(t, "whole")), "gpus").Device
			if published := s.device(t, worker, device); text(published, "type") != "gpu" || !ofIndex(published, last) {
				t.Errorf("it has %s", asYAML(published))
			}
		})).Feature()
}

func ofIndex(device resourceapi.Device, index int64) bool {
	value := device.Attributes["index"].IntValue
	return value != nil && *value == index
}

// device returns a device of a node as it is published.
func (s *scene) device(t *testing.T, n node, name string) resourceapi.Device {
	t.Helper()
	devices, err := devicesOf(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	device, ok := devices[name]
	if !ok {
		t.Fatalf("node %s has no device %s", n, name)
	}
	return device
}

// slots checks that the container of a pod has the part of its claim, and returns which memory slices that has.
func (s *scene) slots(t *testing.T, pod *corev1.Pod) (slots []string) {
	t.Helper()
	claim := s.onlyClaim(t, pod)
	result := forRequest(t, claim, "gpus")
	if names := s.look(t, pod.Name, mainContainer).devices(); !slices.Equal(names, []string{result.Device}) {
		t.Errorf("container of pod %s has devices %v, its claim %s", pod.Name, names, result.Device)
	}
	for _, consumption := range s.device(t, node(result.Pool), result.Device).ConsumesCounters {
		for counter, amount := range consumption.Counters {
			if counter != "multiprocessors" && !amount.Value.IsZero() {
				slots = append(slots, consumption.CounterSet+"/"+counter)
			}
		}
	}
	return slots
}
