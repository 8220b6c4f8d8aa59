package conformance

import (
	"slices"

	"example.com/dragoman/pkg/sanity/cluster"
	"example.com/dragoman/pkg/sanity/kubelet"
	"example.com/dragoman/pkg/sanity/suite"
)

func (s *subject) sharing() []suite.Case {
	return []suite.Case{{
		Name:    "device-has-one-owner",
		Promise: "A device that a claim has is refused to another claim, until the first one is unprepared.",
		Source:  prepares + `"the last line of defense against using the same device for two different unrelated workloads"`,
		Run:     s.deviceHasOneOwner,
	}, {
		Name:    "admin-access-beside-owner",
		Promise: "Admin access to a device that a claim has is granted, and its end does not disturb the owner.",
		Source:  apiTypes + `DeviceRequest.adminAccess: "They ignore all ordinary claims to the device"`,
		Run:     s.adminBesideOwner,
	}, {
		Name:    "owner-beside-admin-access",
		Promise: "A device that somebody looks at with admin access is given to a claim that wants it for itself.",
		Source:  apiTypes + `DeviceRequest.adminAccess: "They ignore all ordinary claims to the device"`,
		Run: func(t *suite.T) {
			plugin, device := s.plugin(t), s.Free(t, 1)
			admin := s.Claim(t, "admin", s.Cluster.Admin(device...))
			owner := s.Claim(t, "owner", s.Cluster.Allocate(device...))
			s.Prepare(t, plugin, admin)
			first := s.Prepare(t, plugin, owner)
			s.Unprepare(t, plugin, admin)
			s.Resolves(t, owner, first)
		},
	}, {
		Name:    "admin-access-changes-nothing",
		Promise: "A configuration in a claim with admin access does not change the device for its owner.",
		Source:  apiTypes + `DeviceRequest.adminAccess: "monitoring or other management services for a device"`,
		Needs:   []suite.Need{NeedsParameters},
		Run:     s.adminChangesNothing,
	}, {
		Name:    "shares-beside-each-other",
		Promise: "Two claims with a share each of one device have it at once, with CDI IDs of their own.",
		Source:  apiTypes + `DeviceRequestAllocationResult.shareID; ` + helper + "Device.ShareID",
		Run:     s.sharesBesideEachOther,
	}, {
		Name:    "shares-in-one-claim",
		Promise: "A claim with two shares of one device gets both, and can tell them apart.",
		Source:  apiTypes + `DeviceRequestAllocationResult.shareID: "to differentiate concurrent shares of the same device"`,
		Run:     s.sharesInOneClaim,
	}}
}

func (s *subject) deviceHasOneOwner(t *suite.T) {
	plugin, device := s.plugin(t), s.Free(t, 1)
	owner := s.Claim(t, "owner", s.Cluster.Allocate(device...))
	second := s.Claim(t, "second", s.Cluster.Allocate(device...))
	first := s.Prepare(t, plugin, owner)
	s.refused(t, plugin, second, owner, device[0])
	// The kubelet unprepares what it could not prepare; that is not the owner's end.
	s.Unprepare(t, plugin, second)
	s.Same(t, "after another claim was refused", first, s.Prepare(t, plugin, owner))
	s.refused(t, plugin, second, owner, device[0])
	s.Unprepare(t, plugin, owner)
	s.Prepare(t, plugin, second)
}

func (s *subject) refused(t *suite.T, plugin *kubelet.Plugin, claim, owner kubelet.Claim, device cluster.Device) {
	if _, err := plugin.PrepareOne(t.Context(), claim); err == nil {
		t.Errorf("device %s was prepared for the claim %s while the claim %s has it; refuse the second one with an error "+
			"that names the first, until that is unprepared", device.Name, claim.Name, owner.Name)
	}
}

func (s *subject) adminBesideOwner(t *suite.T) {
	plugin, device := s.plugin(t), s.Free(t, 1)
	owner := s.Claim(t, "owner", s.Cluster.Allocate(device...))
	admin := s.Claim(t, "admin", s.Cluster.Admin(device...))
	another := s.Claim(t, "another-admin", s.Cluster.Admin(device...))
	first := s.Prepare(t, plugin, owner)
	s.Prepare(t, plugin, admin)
	s.Prepare(t, plugin, another)
	s.Unprepare(t, plugin, admin)
	s.Resolves(t, owner, first)
	s.Same(t, "after an admin claim ended", first, s.Prepare(t, plugin, owner))
	// The owner's end does not end the admin's look.
	s.Unprepare(t, plugin, owner)
	s.Prepare(t, plugin, another)
}

func (s *subject) adminChangesNothing(t *suite.T) {
	plugin, device := s.plugin(t), s.Free(t, 1)
	owner := s.Claim(t, "owner", s.Cluster.Allocate(device...))
	admin := s.Claim(t, "admin",
		s.Cluster.Admin(device...).Configured(s.Cluster.Driver, s.options.Parameters))
	first := s.Prepare(t, plugin, owner)
	before := s.environment(t, first)
	// To refuse the configuration, or to ignore it: both are right.
	if _, err := plugin.PrepareOne(t.Context(), admin); err != nil {
		t.Notef("it refuses: %v", err)
	}
	s.Same(t, "after an admin claim with a configuration", first, s.Prepare(t, plugin, owner))
	if after := s.environment(t, first); !slices.Equal(before, after) {
		t.Errorf("a claim with admin access changed what the owner's container gets:\nbefore %q\nafter  %q", before, after)
	}
}

func (s *subject) environment(t *suite.T, prepared kubelet.Prepared) []string {
	container, err := s.Container(prepared)
	t.Must(err, "make the container")
	if container.Process == nil {
		return nil
	}
	return container.Process.Env
}

func (s *subject) shareable(t *suite.T) cluster.Device {
	device, found, err := s.Cluster.Shareable(t.Context())
	t.Must(err, "look for a device that can be shared")
	if !found {
		t.NotRun("the driver publishes no device with allowMultipleAllocations and room for two shares")
	}
	return device
}

func (s *subject) sharesInOneClaim(t *suite.T) {
	device := s.shareable(t)
	a, second := s.Cluster.Share(device), s.Cluster.Share(device)
	second.Results[0].Request = "r1"
	a.Results = append(a.Results, second.Results...)
	plugin, claim := s.plugin(t), s.Claim(t, "claim", a)
	prepared := s.Prepare(t, plugin, claim)
	s.allocated(t, a, prepared)
	if len(prepared.Devices) == 1 {
		t.Errorf("two shares are allocated and one device is answered: %+v; answer once for each result", prepared.Devices)
	}
	s.Same(t, "when asked again", prepared, s.Prepare(t, plugin, claim))
	s.Unprepare(t, plugin, claim)
}

func (s *subject) sharesBesideEachOther(t *suite.T) {
	device := s.shareable(t)
	plugin := s.plugin(t)
	allocations := []cluster.Allocation{s.Cluster.Share(device), s.Cluster.Share(device)}
	one, two := s.Claim(t, "one", allocations[0]), s.Claim(t, "two", allocations[1])
	first, second := s.Prepare(t, plugin, one), s.Prepare(t, plugin, two)
	for _, id := range first.IDs() {
		if slices.Contains(second.IDs(), id) && !s.sameEdits(t, first, second) {
			t.Errorf("both shares have the CDI ID %s, with different edits; the share's ID has to be part of the name", id)
		}
	}
	for i, prepared := range []kubelet.Prepared{first, second} {
		s.allocated(t, allocations[i], prepared)
		for _, d := range prepared.Devices {
			if want := string(*allocations[i].Results[0].ShareID); plugin.Service == v1 && d.ShareID != want {
				t.Errorf("the answer has the share ID %q, the allocation %q; repeat it: the kubelet tells shares apart by it",
					d.ShareID, want)
			}
		}
	}
	s.Unprepare(t, plugin, one)
	s.Resolves(t, two, second)
	s.Same(t, "after the other share ended", second, s.Prepare(t, plugin, two))
}

func (s *subject) sameEdits(t *suite.T, one, two kubelet.Prepared) bool {
	return slices.Equal(s.environment(t, one), s.environment(t, two))
}
