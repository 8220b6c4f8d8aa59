package conformance

import (
	"example.com/dragoman/pkg/sanity/kubelet"
	"example.com/dragoman/pkg/sanity/suite"
)

func (s *subject) parameters() []suite.Case {
	needs := []suite.Need{NeedsParameters}
	return []suite.Case{{
		Name:    "config-for-all-requests",
		Promise: "A configuration that names no request applies to all devices of the claim.",
		Source:  apiTypes + `DeviceAllocationConfiguration.requests: "If empty, its applies to all requests"`,
		Needs:   needs,
		Run:     func(t *suite.T) { s.applies(t, 2) },
	}, {
		Name:    "config-for-one-request",
		Promise: "A configuration that names a request applies to its devices alone.",
		Source:  e2e + `"must map configs and devices to the right containers"`,
		Needs:   needs,
		Run:     func(t *suite.T) { s.applies(t, 1, "more") },
	}, {
		Name:    "config-for-parent-of-sub-request",
		Promise: "A configuration that names a request applies to the devices of the sub-request that was chosen.",
		Source:  apiTypes + `DeviceAllocationConfiguration.requests: "the configuration applies to all subrequests"`,
		Needs:   needs,
		Run:     func(t *suite.T) { s.applies(t, 1, "gpu") },
	}, {
		Name:    "config-for-sub-request",
		Promise: "A configuration that names the chosen sub-request applies to its devices.",
		Source:  e2e + `"uses the config for the selected subrequest"`,
		Needs:   needs,
		Run:     func(t *suite.T) { s.applies(t, 1, "gpu/second") },
	}, {
		Name:    "config-for-sub-request-not-chosen",
		Promise: "A configuration that names a sub-request which was not chosen applies only to what else it names.",
		Source:  e2e + `"filters config correctly for multiple devices"`,
		Needs:   needs,
		Run:     func(t *suite.T) { s.applies(t, 1, "gpu/first", "more") },
	}}
}

// applies prepares a claim with two devices and counts those to which the parameters were applied.
func (s *subject) applies(t *suite.T, expected int, requests ...string) {
	a := s.subRequests(t).Configured(s.Cluster.Driver, s.options.Parameters, requests...)
	claim := s.Claim(t, "claim", a)
	prepared := s.Prepare(t, s.plugin(t), claim)
	if shown := s.shown(t, prepared); len(shown) != expected {
		t.Errorf("the configuration for the requests %q (none means all) shows %d times in the container's environment: %q; "+
			"expected %d: one device is allocated for gpu/second and one for more; ConfigForResult of "+
			"k8s.io/dynamic-resource-allocation/resourceclaim reads configurations so", requests, len(shown), shown, expected)
	}
}

// shown returns the variables of the container that show that the parameters apply.
func (s *subject) shown(t *suite.T, prepared kubelet.Prepared) []string {
	container, err := s.Container(prepared)
	t.Must(err, "make the container")
	var shown []string
	if container.Process != nil {
		for _, variable := range container.Process.Env {
			if s.options.Effect.MatchString(variable) {
				shown = append(shown, variable)
			}
		}
	}
	return shown
}
