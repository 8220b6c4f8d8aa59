package cluster

import (
	"regexp"
	"testing"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/e2e-framework/pkg/features"
	"sigs.k8s.io/e2e-framework/pkg/types"
)

func partOfAGPU() types.Feature {
	s := newScene("dragoman-11", 1)
	return features.New("a part of a GPU").Setup(s.applied("11-part-of-a-gpu")).
		Assess("the container has exactly one part, of the size it asked for", assess(func(t *testing.T) {
			seen, claim := s.expectOnlyClaim(t, s.running(t, "pod0"), "ctr0")
			device := devicePublished(t, forRequest(t, claim, "part"))
			memory := device.Capacity["memory"].Value
			if text(device, "type") != "mig" || memory.Cmp(resource.MustParse("9Gi")) < 0 ||
				memory.Cmp(resource.MustParse("13Gi")) >= 0 {
				t.Errorf("it has %s", asYAML(device))
			}
			s.expectLog(t, "pod0", "ctr0", seen)
		})).Feature()
}

// noParts is what there is of both examples about parts where the API server drops counters.
func noParts() types.Feature {
	s := newScene("dragoman-11", 1)
	return features.New("no parts of GPUs").Setup(s.applied("11-part-of-a-gpu")).
		Assess("whole GPUs alone are published, and the driver says why, once", assess(func(t *testing.T) {
			expectNoType(t, "mig")
			expectOneWarning(t, "DRAPartitionableDevices")
		})).
		Assess("who wants a part waits, who wants a GPU has one", assess(func(t *testing.T) {
			s.expectPending(t, "pod0", "cannot allocate all claims")
			s.create(t, newTemplate("four", 4)) // those that could be cut are among them
			s.createPod(t, newPod("whole", "four"))
			s.expectOnlyClaim(t, s.running(t, "whole"), mainContainer)
		})).Feature()
}

func partsOfTheSameGPU() types.Feature {
	s := newScene("dragoman-12", 3)
	var parent string
	return features.New("parts of the same GPU").Setup(s.applied("12-parts-of-the-same-gpu")).
		Assess("each container has its own part, both are of one GPU and do not overlap", assess(func(t *testing.T) {
			pod := s.running(t, "pod0")
			claim := s.onlyClaim(t, pod)
			s.expectRequest(t, pod, claim, "small", "small", nil)
			s.expectRequest(t, pod, claim, "large", "large", nil)
			small := devicePublished(t, forRequest(t, claim, "small"))
			large := devicePublished(t, forRequest(t, claim, "large"))
			parent = text(small, "parentUUID")
			if parent == "" || text(large, "parentUUID") != parent {
				t.Errorf("they are of %q and %q", parent, text(large, "parentUUID"))
			}
			if text(small, "profile") != "1g.10gb" || text(large, "profile") != "3g.40gb" {
				t.Errorf("they are %s and %s", text(small, "profile"), text(large, "profile"))
			}
			expectApart(t, small, large)
			expectFiles(t, node(pod.Spec.NodeName), claim)
		})).
		Assess("a whole GPU beside them is another one", assess(func(t *testing.T) {
			_, claim := s.expectOnlyClaim(t, s.running(t, "whole"), "ctr0")
			device := devicePublished(t, forRequest(t, claim, "gpu"))
			if text(device, "type") != "gpu" || text(device, "uuid") == parent {
				t.Errorf("it is %s; the parts are of %s", asYAML(device), parent)
			}
		})).
		Assess("the GPU of the parts is given as a whole when they have gone", assess(func(t *testing.T) {
			s.create(t, ofClass("same", driverName, `device.attributes["`+driverName+`"].uuid == "`+parent+`"`))
			s.createPod(t, newPod("same", "same"))
			s.expectPending(t, "same", "cannot allocate all claims")
			s.deletePod(t, "pod0")
			_, claim := s.expectOnlyClaim(t, s.running(t, "same"), mainContainer)
			if device := devicePublished(t, forRequest(t, claim, "gpus")); text(device, "uuid") != parent {
				t.Errorf("it is %s", asYAML(device))
			}
		})).Feature()
}

// expectApart checks that two parts take different places of the same memory.
func expectApart(t *testing.T, a, b resourceapi.Device) {
	t.Helper()
	places, shared := placesOf(a), 0
	for place := range placesOf(b) {
		if places[place] {
			t.Errorf("%s and %s both take %s", a.Name, b.Name, place)
		}
		shared++
	}
	if len(places) == 0 || shared == 0 {
		t.Errorf("%s takes %d places, %s takes %d", a.Name, len(places), b.Name, shared)
	}
}

// isPlace matches the counters that stand for a place, which are numbered.
var isPlace = regexp.MustCompile(`-[0-9]+$`)

// placesOf returns the places in the memory of a GPU that a part takes.
func placesOf(device resourceapi.Device) map[string]bool {
	places := map[string]bool{}
	for _, consumption := range device.ConsumesCounters {
		for name, counter := range consumption.Counters {
			if isPlace.MatchString(name) && !counter.Value.IsZero() {
				places[consumption.CounterSet+"/"+name] = true
			}
		}
	}
	return places
}
