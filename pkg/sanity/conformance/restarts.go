package conformance

import (
	"example.com/dragoman/pkg/sanity/kubelet"
	"example.com/dragoman/pkg/sanity/node"
	"example.com/dragoman/pkg/sanity/suite"
)

// otherProcess is what the helper says of restarts.
const otherProcess = unprepare +
	`"cannot assume that the matching PrepareResourceClaims call was handled by the same process"`

func (s *subject) restarts() []suite.Case {
	return []suite.Case{{
		Name:    "prepared-before-restart",
		Promise: "After a restart of the driver, prepared claims are still prepared, and preparing them again answers alike.",
		Source:  unprepare + `"The driver might have been restarted in the meantime"; ` + prepares + "idempotent",
		Needs:   []suite.Need{node.NeedsRestart},
		Run:     func(t *suite.T) { s.preparedBefore(t, "after a restart", s.RestartDriver) },
	}, {
		Name:    "prepared-before-kill",
		Promise: "After a death of the driver, prepared claims are still prepared, and preparing them again answers alike.",
		Source:  unprepare + `"The driver might have been restarted in the meantime"; ` + prepares + "idempotent",
		Needs:   []suite.Need{node.NeedsKill},
		Run:     func(t *suite.T) { s.preparedBefore(t, "after a kill -9", s.KillDriver) },
	}, {
		Name:    "unprepare-after-restart",
		Promise: "What was prepared before a restart of the driver is unprepared after it, and nothing is left.",
		Source:  otherProcess,
		Needs:   []suite.Need{node.NeedsRestart},
		Run:     func(t *suite.T) { s.unpreparedAfter(t, s.RestartDriver) },
	}, {
		Name:    "unprepare-after-kill",
		Promise: "What was prepared before a death of the driver is unprepared after it, and nothing is left.",
		Source:  otherProcess,
		Needs:   []suite.Need{node.NeedsKill},
		Run:     func(t *suite.T) { s.unpreparedAfter(t, s.KillDriver) },
	}, {
		Name:    "unprepare-deleted-claim-after-restart",
		Promise: "A claim that was deleted while the driver was restarted can be unprepared.",
		Source:  e2eNode + `"must call NodeUnprepareResources for deleted pod after Kubelet restart"`,
		Needs:   []suite.Need{node.NeedsRestart},
		Run: func(t *suite.T) {
			claim := s.Exclusive(t, "claim", 1)
			s.Prepare(t, s.plugin(t), claim)
			t.Must(s.Cluster.Delete(t.Context(), claim), "delete the claim")
			s.Unprepare(t, s.RestartDriver(t), claim)
		},
	}, {
		Name:    "device-has-one-owner-after-restart",
		Promise: "After a restart of the driver a device still belongs to the claim that it was prepared for.",
		Source:  prepares + `"the last line of defense against using the same device for two different unrelated workloads"`,
		Needs:   []suite.Need{node.NeedsRestart},
		Run: func(t *suite.T) {
			device := s.Free(t, 1)
			owner := s.Claim(t, "owner", s.Cluster.Allocate(device...))
			second := s.Claim(t, "second", s.Cluster.Allocate(device...))
			s.Prepare(t, s.plugin(t), owner)
			plugin := s.RestartDriver(t)
			s.refused(t, plugin, second, owner, device[0])
			s.Unprepare(t, plugin, second)
			s.Unprepare(t, plugin, owner)
			s.Prepare(t, plugin, second)
		},
	}}
}

func (s *subject) preparedBefore(t *suite.T, when string, restart func(*suite.T) *kubelet.Plugin) {
	claim := s.Exclusive(t, "claim", 1)
	first := s.Prepare(t, s.plugin(t), claim)
	plugin := restart(t)
	// Containers that restart meanwhile need the files; nobody asks the driver again for them.
	s.Resolves(t, claim, first)
	s.Same(t, when, first, s.Prepare(t, plugin, claim))
	s.Unprepare(t, plugin, claim)
}

func (s *subject) unpreparedAfter(t *suite.T, restart func(*suite.T) *kubelet.Plugin) {
	claim := s.Exclusive(t, "claim", 1)
	first := s.Prepare(t, s.plugin(t), claim)
	plugin := restart(t)
	s.Unprepare(t, plugin, claim)
	s.noLongerResolves(t, claim, first)
	// And the device is free.
	s.Prepare(t, plugin, claim)
}

// noLongerResolves checks that CDI IDs with the claim's UID in them, which are the claim's alone, are gone.
func (s *subject) noLongerResolves(t *suite.T, claim kubelet.Claim, prepared kubelet.Prepared) {
	own := kubelet.Prepared{}
	for _, device := range prepared.Devices {
		for _, id := range device.CDIDeviceIDs {
			if containsUID(id, claim.UID) {
				own.Devices = append(own.Devices, kubelet.Device{CDIDeviceIDs: []string{id}})
			}
		}
	}
	if len(own.Devices) == 0 {
		return
	}
	if _, err := s.Container(own); err == nil {
		t.Errorf("the claim %s is unprepared and its CDI IDs %q still resolve; remove its CDI files", claim.Name, own.IDs())
	}
}
