package cluster

import (
	"testing"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/e2e-framework/pkg/features"
	"sigs.k8s.io/e2e-framework/pkg/types"
)

const sharedClass = "shared-gpu.example.com"

// shares is about claims that know nothing of each other and have a device together.
func shares() types.Feature {
	const folder = "13-share-of-a-device"
	s := newScene("dragoman-13", 2)
	return features.New(folder).Setup(s.appliedWithClasses(folder, sharedClass)).
		Assess("two pods have a share each, of one device", assess(func(t *testing.T) {
			var first result
			for i, name := range []string{"pod0", "pod1"} {
				seen, claim := s.expectOnlyClaim(t, s.running(t, name), "ctr0")
				share := forRequest(t, claim, "share")
				expectShare(t, seen, share, "12Gi", "15")
				if plain := seen.of(share.Device, "MEMORY"); plain != "12Gi" {
					t.Errorf("the plain name of the only share says %q of memory", plain)
				}
				s.expectLog(t, name, "ctr0", seen)
				if i == 0 {
					first = share
					continue
				}
				if share.Device != first.Device || *share.ShareID == *first.ShareID {
					t.Errorf("pod0 has share %s of %s, pod1 has %s of %s", *first.ShareID, first.Device, *share.ShareID, share.Device)
				}
			}
		})).
		Assess("two shares of one device in a container do not overwrite each other", assess(func(t *testing.T) {
			pod := s.running(t, "both")
			seen, claim := s.expectOnlyClaim(t, pod, "ctr0")
			weights, cache := forRequest(t, claim, "weights"), forRequest(t, claim, "cache")
			if weights.Device != cache.Device {
				t.Errorf("they are of %s and %s", weights.Device, cache.Device)
			}
			expectShare(t, seen, weights, "15Gi", "10")
			expectShare(t, seen, cache, "10Gi", "10") // what it has by default
			if plain, ok := seen.env[plainVariable(weights.Device)]; ok {
				t.Errorf("the plain name, which would be that of one of them, says %s", plain)
			}
			s.expectLog(t, "both", "ctr0", seen)
			one := s.look(t, "both", "ctr1") // names one request
			one.expect(t, claim, cache)
			expectShare(t, one, cache, "10Gi", "10")
		})).
		Assess("no device has more shares than fit, and who does not fit waits", assess(func(t *testing.T) {
			s.create(t, shareOf("most", "70Gi"))
			s.createPod(t, newPod("fits", "most"))
			s.expectOnlyClaim(t, s.running(t, "fits"), mainContainer)
			s.createPod(t, newPod("waits", "most"))
			s.expectPending(t, "waits", "cannot allocate all claims")
			s.expectSums(t)
		})).
		Assess("until there is room", assess(func(t *testing.T) {
			s.deletePod(t, "fits")
			s.expectOnlyClaim(t, s.running(t, "waits"), mainContainer)
			s.expectSums(t)
			for _, name := range []string{"pod0", "pod1", "both"} {
				s.notRestarted(t, name)
			}
		})).
		Assess("a share goes with its pod, the others stay", assess(func(t *testing.T) {
			pod := s.running(t, "pod0")
			claim := s.onlyClaim(t, pod)
			s.deletePod(t, "pod0")
			expectNoFiles(t, node(pod.Spec.NodeName), claim)
			s.expectOnlyClaim(t, s.running(t, "pod1"), "ctr0")
		})).Feature()
}

// expectShare checks that a result is a share, and that it and the container say how much it is of the device.
func expectShare(t *testing.T, seen inside, share result, memory, compute string) {
	t.Helper()
	if share.ShareID == nil {
		t.Fatalf("request %s has all of %s", share.Request, share.Device)
	}
	for what, expected := range map[string]string{"memory": memory, "compute": compute} {
		consumed := share.ConsumedCapacity[resourceapi.QualifiedName(what)]
		if consumed.Cmp(resource.MustParse(expected)) != 0 {
			t.Errorf("request %s has %s of %s, expected %s", share.Request, consumed.String(), what, expected)
		}
		if says := seen.ofResult(share, variableName(what)); says != expected {
			t.Errorf("the variable of request %s says %q of %s, expected %s", share.Request, says, what, expected)
		}
	}
}

// shareOf is a claim template for so much memory of a shared device.
func shareOf(name, memory string) *resourceapi.ResourceClaimTemplate {
	template := ofClass(name, sharedClass, "")
	template.Spec.Spec.Devices.Requests[0].Exactly.Capacity = &resourceapi.CapacityRequirements{
		Requests: map[resourceapi.QualifiedName]resource.Quantity{"memory": resource.MustParse(memory)},
	}
	return template
}

// expectSums checks that the claims of the namespace have no more of any device than it has.
func (s *scene) expectSums(t *testing.T) {
	t.Helper()
	claims, err := client.ResourceV1().ResourceClaims(s.namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	sums := map[string]*resource.Quantity{}
	for _, claim := range claims.Items {
		if claim.Status.Allocation == nil {
			continue
		}
		for _, share := range claim.Status.Allocation.Devices.Results {
			if sums[share.Device] == nil {
				sums[share.Device] = &resource.Quantity{}
			}
			sums[share.Device].Add(share.ConsumedCapacity["memory"])
		}
	}
	for device, sum := range sums {
		if sum.Cmp(resource.MustParse("80Gi")) > 0 {
			t.Errorf("of the 80Gi of %s there is %s in use", device, sum)
		}
	}
}

// sharesLacking is about such devices where the API server drops what makes them so: each is for one claim at a time.
func sharesLacking() types.Feature {
	const folder = "13-share-of-a-device"
	s := newScene("dragoman-13", 2)
	return features.New("no shares").Setup(s.appliedWithClasses(folder, sharedClass)).
		Assess("the devices are published as any other, and the driver says why, once", assess(func(t *testing.T) {
			devices := devicesBecome(t, worker, "devices", func(map[string]resourceapi.Device) error { return nil })
			var shared int
			for name, device := range devices {
				if text(device, "type") != "shared-gpu" {
					continue
				}
				shared++
				if device.AllowMultipleAllocations != nil || device.Capacity["memory"].RequestPolicy != nil {
					t.Errorf("%s is %s", name, asYAML(device))
				}
			}
			if shared != 2 {
				t.Errorf("there are %d of them", shared)
			}
			expectOneWarning(t, "DRAConsumableCapacity")
		})).
		Assess("one claim has it, the next one waits until it is free", assess(func(t *testing.T) {
			_, claim := s.expectOnlyClaim(t, s.running(t, "pod0"), "ctr0")
			if share := forRequest(t, claim, "share"); share.ShareID != nil || len(share.ConsumedCapacity) > 0 {
				t.Errorf("it has %s", asYAML(share))
			}
			for _, name := range []string{"pod1", "both"} {
				s.expectPending(t, name, "cannot allocate all claims")
			}
			s.deletePod(t, "pod0")
			s.expectOnlyClaim(t, s.running(t, "pod1"), "ctr0")
		})).Feature()
}
