package conformance

import (
	"slices"

	resourceapi "k8s.io/api/resource/v1"

	"example.com/dragoman/pkg/sanity/cluster"
	"example.com/dragoman/pkg/sanity/kubelet"
	"example.com/dragoman/pkg/sanity/suite"
)

// other is a driver that does not exist.
const other = "other.example.com"

func (s *subject) claims() []suite.Case {
	return []suite.Case{{
		Name:    "results-of-other-drivers",
		Promise: "Of a claim with devices of several drivers the driver prepares its own, and answers for no others.",
		Source:  apiTypes + "DeviceRequestAllocationResult.driver",
		Run:     s.resultsOfOtherDrivers,
	}, {
		Name:    "configs-of-other-drivers",
		Promise: "A configuration for another driver is not the driver's to read.",
		Source:  apiTypes + `OpaqueDeviceConfiguration.driver: "which kubelet plugin needs to be passed these"`,
		Run: func(t *suite.T) {
			plugin := s.plugin(t)
			a := s.Cluster.Allocate(s.Free(t, 1)...).
				Configured(other, `{"apiVersion":"other.example.com/v1","kind":"Other","anything":["goes",{"here":null}]}`)
			claim := s.Claim(t, "claim", a)
			s.allocated(t, a, s.Prepare(t, plugin, claim))
			s.Unprepare(t, plugin, claim)
		},
	}, {
		Name:    "sub-requests",
		Promise: "Devices that were allocated for a sub-request are answered for it, or for the request that it is part of.",
		Source:  e2e + `"prioritized list"; ` + helper + `Device.Requests: "names of requests or subrequests"`,
		Run: func(t *suite.T) {
			plugin, a := s.plugin(t), s.subRequests(t)
			claim := s.Claim(t, "claim", a)
			prepared := s.Prepare(t, plugin, claim)
			s.allocated(t, a, prepared)
			s.Same(t, "when asked again", prepared, s.Prepare(t, plugin, claim))
		},
	}}
}

func (s *subject) resultsOfOtherDrivers(t *suite.T) {
	plugin := s.plugin(t)
	a := s.Cluster.Allocate(s.Free(t, 1)...)
	a.Results = append([]resourceapi.DeviceRequestAllocationResult{{
		Request: "foreign", Driver: other, Pool: a.Results[0].Pool, Device: "foreign-0",
	}}, a.Results...)
	claim := s.Claim(t, "claim", a)
	prepared := s.Prepare(t, plugin, claim)
	s.allocated(t, a, prepared)
	if slices.ContainsFunc(prepared.Devices, func(d kubelet.Device) bool { return d.Device == "foreign-0" }) {
		t.Errorf("the answer has the device of %s; look at each result's driver", other)
	}
	s.Unprepare(t, plugin, claim)
}

// subRequests allocates two devices: one for the second choice of the request "gpu", one for the request "more".
func (s *subject) subRequests(t *suite.T) cluster.Allocation {
	devices, class := s.Free(t, 2), s.Cluster.Driver
	return cluster.Allocation{
		Results: []resourceapi.DeviceRequestAllocationResult{
			s.Cluster.Result("gpu/second", devices[0]), s.Cluster.Result("more", devices[1]),
		},
		Requests: []resourceapi.DeviceRequest{{
			Name: "gpu", FirstAvailable: []resourceapi.DeviceSubRequest{
				{Name: "first", DeviceClassName: class}, {Name: "second", DeviceClassName: class},
			},
		}, {
			Name: "more", Exactly: &resourceapi.ExactDeviceRequest{DeviceClassName: class},
		}},
	}
}
