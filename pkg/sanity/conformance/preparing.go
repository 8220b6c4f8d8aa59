package conformance

import (
	"slices"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"

	"example.com/dragoman/pkg/sanity/cluster"
	"example.com/dragoman/pkg/sanity/kubelet"
	"example.com/dragoman/pkg/sanity/suite"
)

func (s *subject) preparing() []suite.Case {
	return slices.Concat(s.answering(), s.repeating(), s.failing(), s.concurring())
}

func (s *subject) answering() []suite.Case {
	return []suite.Case{{
		Name:    "prepare-answers-with-allocated-devices",
		Promise: "The answer names devices that are allocated to the claim, for the requests that they are allocated to.",
		Source:  helper + "Device: pool and device names; the kubelet gives devices to containers by request",
		Run:     s.answersWithAllocatedDevices,
	}, {
		Name:    "one-answer-per-claim",
		Promise: "A call for several claims is answered with exactly one entry for each.",
		Source:  prepares + `"exactly one entry for each claim"; ` + manager + `"skipped %d ResourceClaims"`,
		Run:     s.oneAnswerPerClaim,
	}}
}

func (s *subject) repeating() []suite.Case {
	return []suite.Case{{
		Name:    "prepare-again",
		Promise: "Preparing a prepared claim again succeeds with the same devices and CDI IDs.",
		Source:  prepares + `"This call must be idempotent"`,
		Run: func(t *suite.T) {
			plugin, claim := s.plugin(t), s.Exclusive(t, "claim", 1)
			first := s.Prepare(t, plugin, claim)
			for range 3 {
				s.Same(t, "when asked again", first, s.Prepare(t, plugin, claim))
			}
		},
	}, {
		Name:    "prepare-again-after-kubelet-restart",
		Promise: "A kubelet that has forgotten what it asked for gets the same answer.",
		Source:  e2eNode + `"must retry NodePrepareResources after Kubelet restart"`,
		Run: func(t *suite.T) {
			claim := s.Exclusive(t, "claim", 1)
			first := s.Prepare(t, s.plugin(t), claim)
			s.restartKubelet(t, kubelet.Options{})
			s.Same(t, "after a restart of the kubelet", first, s.Prepare(t, s.plugin(t), claim))
		},
	}, {
		Name:    "prepare-again-after-unprepare",
		Promise: "A claim that was unprepared can be prepared again: the next pod uses it.",
		Source:  e2e + "supports reusing resources",
		Run: func(t *suite.T) {
			plugin, claim := s.plugin(t), s.Exclusive(t, "claim", 1)
			for range 3 {
				s.Prepare(t, plugin, claim)
				s.Unprepare(t, plugin, claim)
			}
		},
	}}
}

func (s *subject) failing() []suite.Case {
	return []suite.Case{{
		Name:    "prepare-missing-claim-fails",
		Promise: "A claim that is not in the API server is not prepared, and nothing is left of it.",
		Source:  prepares + `the ResourceClaim objects are retrieved first`,
		Run: func(t *suite.T) {
			missing := kubelet.Claim{Namespace: s.Cluster.Namespace, Name: "missing", UID: uuid.NewUUID()}
			s.fails(t, missing, "is not in the API server")
			s.NothingLeft(t, missing.UID)
		},
	}, {
		Name:    "prepare-unallocated-claim-fails",
		Promise: "A claim without allocation is not prepared.",
		Source:  prepares + `"verifies that all claims are really allocated"`,
		Run: func(t *suite.T) {
			claim := s.Exclusive(t, "claim", 1)
			t.Must(s.Cluster.Deallocate(t.Context(), claim), "deallocate the claim")
			s.fails(t, claim, "is not allocated")
			s.NothingLeft(t, claim.UID)
		},
	}}
}

func (s *subject) concurring() []suite.Case {
	return []suite.Case{{
		Name:    "prepare-concurrently-one-claim",
		Promise: "Two pods that share a claim and start at once get the same answer.",
		Source:  e2e + `"supports sharing a claim concurrently"`,
		Run:     s.preparesOneClaimConcurrently,
	}, {
		Name:    "prepare-concurrently-many-claims",
		Promise: "Pods that start at once get the devices of their own claims.",
		Source:  manager + "each pod's claims are prepared by its own worker",
		Run:     s.preparesManyClaimsConcurrently,
	}}
}

// fails checks that a claim is not prepared: whether the call fails or the claim's entry has an error is the driver's
// choice.
func (s *subject) fails(t *suite.T, claim kubelet.Claim, because string) {
	prepared, err := s.plugin(t).PrepareOne(t.Context(), claim)
	if err == nil {
		t.Errorf("the claim %s, which %s, was prepared: %+v; answer with an error for this claim", claim.Name, because,
			prepared.Devices)
	}
}

func (s *subject) answersWithAllocatedDevices(t *suite.T) {
	devices := s.Free(t, 1)
	if more, err := s.Cluster.Free(t.Context(), 2); err == nil {
		devices = more
	}
	a := s.Cluster.Allocate(devices...)
	prepared := s.Prepare(t, s.plugin(t), s.Claim(t, "claim", a))
	s.allocated(t, a, prepared)
}

// allocated checks an answer against the allocation.
func (s *subject) allocated(t *suite.T, a cluster.Allocation, prepared kubelet.Prepared) {
	for _, device := range prepared.Devices {
		requests := s.requestsOf(a, device)
		if len(requests) == 0 {
			t.Errorf("the answer has device %q of pool %q, which is not allocated to the claim from this driver",
				device.Device, device.Pool)
			continue
		}
		for _, named := range device.Requests {
			if !slices.Contains(requests, named) {
				t.Errorf("device %s is allocated for request %q and answered for %q: another container would get it",
					device.Device, requests, named)
			}
		}
		for _, id := range device.CDIDeviceIDs {
			if vendor, rest, ok := strings.Cut(id, "/"); !ok || vendor == "" || !strings.Contains(rest, "=") {
				t.Errorf("%q is no CDI ID; expected vendor/class=name", id)
			}
		}
	}
}

// requestsOf returns the requests for which a device is allocated, and those that they are part of.
func (s *subject) requestsOf(a cluster.Allocation, device kubelet.Device) []string {
	var requests []string
	for _, r := range a.Results {
		if r.Driver != s.Cluster.Driver || r.Pool != device.Pool || r.Device != device.Device {
			continue
		}
		// Two results may be shares of one device; v1beta1 does not tell which.
		if r.ShareID != nil && device.ShareID != "" && device.ShareID != string(*r.ShareID) {
			continue
		}
		parent, _, _ := strings.Cut(r.Request, "/")
		requests = append(requests, r.Request, parent)
	}
	return slices.Compact(requests)
}

func (s *subject) oneAnswerPerClaim(t *suite.T) {
	plugin := s.plugin(t)
	var claims []kubelet.Claim
	for _, device := range s.Free(t, 3) {
		claims = append(claims, s.Claim(t, "claim", s.Cluster.Allocate(device)))
	}
	prepared, err := plugin.Prepare(t.Context(), claims...)
	t.Must(err, "prepare three claims in one call: expected one entry for each UID")
	for _, claim := range claims {
		t.Must(prepared[claim.UID].Err, "prepare the claim %s, one of three in a call", claim.Name)
		s.Resolves(t, claim, prepared[claim.UID])
	}
	unprepared, err := plugin.Unprepare(t.Context(), claims...)
	t.Must(err, "unprepare three claims in one call: expected one entry for each UID, also where there is no error")
	for _, claim := range claims {
		t.Must(unprepared[claim.UID], "unprepare the claim %s, one of three in a call", claim.Name)
		s.NothingLeft(t, claim.UID)
	}
}

func (s *subject) preparesOneClaimConcurrently(t *suite.T) {
	plugin, claim := s.plugin(t), s.Exclusive(t, "claim", 1)
	answers := concurrently(8, func(int) (kubelet.Prepared, error) { return plugin.PrepareOne(t.Context(), claim) })
	for _, a := range answers {
		t.Must(a.err, "prepare one claim eight times at once")
		s.Resolves(t, claim, a.prepared)
		s.Same(t, "of eight calls at once", answers[0].prepared, a.prepared)
	}
}

func (s *subject) preparesManyClaimsConcurrently(t *suite.T) {
	plugin := s.plugin(t)
	var claims []kubelet.Claim
	devices := s.Free(t, 2)
	for n := 8; n > 2; n-- {
		if more, err := s.Cluster.Free(t.Context(), n); err == nil {
			devices = more
			break
		}
	}
	var allocations []cluster.Allocation
	for _, device := range devices {
		allocations = append(allocations, s.Cluster.Allocate(device))
		claims = append(claims, s.Claim(t, "claim", allocations[len(allocations)-1]))
	}
	answers := concurrently(len(claims), func(i int) (kubelet.Prepared, error) {
		return plugin.PrepareOne(t.Context(), claims[i])
	})
	ids := map[string]types.UID{}
	for i, a := range answers {
		t.Must(a.err, "prepare %d claims at once", len(claims))
		s.Resolves(t, claims[i], a.prepared)
		s.allocated(t, allocations[i], a.prepared)
		for _, id := range a.prepared.IDs() {
			ids[id] = claims[i].UID
		}
	}
}

type answer struct {
	prepared kubelet.Prepared
	err      error
}

func concurrently(n int, call func(i int) (kubelet.Prepared, error)) []answer {
	answers := make([]answer, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { answers[i].prepared, answers[i].err = call(i) })
	}
	all.Wait()
	return answers
}
