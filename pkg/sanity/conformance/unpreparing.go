package conformance

import (
	"k8s.io/apimachinery/pkg/util/uuid"

	"example.com/dragoman/pkg/sanity/kubelet"
	"example.com/dragoman/pkg/sanity/suite"
)

// notPrepared is what the helper says of calls for nothing.
const notPrepared = unprepare +
	`"it is not an error if this gets called for a ResourceClaim which is not currently prepared"`

func (s *subject) unpreparing() []suite.Case {
	return append(s.unpreparingNothing(), s.unpreparingTheGone()...)
}

func (s *subject) unpreparingNothing() []suite.Case {
	return []suite.Case{{
		Name:    "unprepare-again",
		Promise: "Unpreparing a claim that is unprepared already is no error.",
		Source:  notPrepared,
		Run: func(t *suite.T) {
			plugin, claim := s.plugin(t), s.Exclusive(t, "claim", 1)
			s.Prepare(t, plugin, claim)
			for range 3 {
				s.Unprepare(t, plugin, claim)
			}
		},
	}, {
		Name:    "unprepare-never-prepared",
		Promise: "Unpreparing a claim that was never prepared is no error.",
		Source:  notPrepared,
		Run: func(t *suite.T) {
			s.Unprepare(t, s.plugin(t), s.Exclusive(t, "claim", 1))
		},
	}, {
		Name:    "unprepare-unknown",
		Promise: "Unpreparing a claim of which nobody ever heard is no error.",
		Source:  notPrepared,
		Run: func(t *suite.T) {
			unknown := kubelet.Claim{Namespace: s.Cluster.Namespace, Name: "unknown", UID: uuid.NewUUID()}
			s.Unprepare(t, s.plugin(t), unknown)
		},
	}}
}

func (s *subject) unpreparingTheGone() []suite.Case {
	return []suite.Case{{
		Name:    "unprepare-deleted-claim",
		Promise: "A claim that is not in the API server any more can be unprepared.",
		Source:  unprepare + `"the original ResourceClaims may have been deleted already"`,
		Run: func(t *suite.T) {
			plugin, claim := s.plugin(t), s.Exclusive(t, "claim", 1)
			s.Prepare(t, plugin, claim)
			t.Must(s.Cluster.Delete(t.Context(), claim), "delete the claim")
			s.Unprepare(t, plugin, claim)
		},
	}, {
		Name:    "unprepare-deallocated-claim",
		Promise: "A claim whose allocation was taken back can be unprepared: the driver remembers what it prepared.",
		Source:  unprepare + `"the responsibility of the DRA driver to cache whatever additional information it might need"`,
		Run: func(t *suite.T) {
			plugin, claim := s.plugin(t), s.Exclusive(t, "claim", 1)
			s.Prepare(t, plugin, claim)
			t.Must(s.Cluster.Deallocate(t.Context(), claim), "deallocate the claim")
			s.Unprepare(t, plugin, claim)
		},
	}, {
		Name:    "unprepare-after-kubelet-restart",
		Promise: "A kubelet that was restarted can unprepare what the one before it had prepared.",
		Source:  e2eNode + `"must retry NodeUnprepareResources after Kubelet restart"`,
		Run: func(t *suite.T) {
			claim := s.Exclusive(t, "claim", 1)
			s.Prepare(t, s.plugin(t), claim)
			s.restartKubelet(t, kubelet.Options{})
			s.Unprepare(t, s.plugin(t), claim)
		},
	}, {
		Name:    "same-name-new-uid",
		Promise: "A claim that replaces one of the same name is another claim: what happens to one does not touch the other.",
		Source:  e2e + `"blocks new pod after force-delete"; claims are identified by their UID`,
		Run:     s.sameNameNewUID,
	}, {
		Name:    "prepare-replaced-claim-fails",
		Promise: "A claim is not prepared if the API server has another one of that name.",
		Source:  helper + `"claim %s/%s got replaced"`,
		Run: func(t *suite.T) {
			devices := s.Free(t, 1)
			old := s.Claim(t, "claim", s.Cluster.Allocate(devices...))
			t.Must(s.Cluster.Delete(t.Context(), old), "delete the claim")
			s.ClaimNamed(t, old.Name, s.Cluster.Allocate(devices...))
			s.fails(t, old, "was replaced by another one of the same name")
			s.NothingLeft(t, old.UID)
		},
	}}
}

func (s *subject) sameNameNewUID(t *suite.T) {
	plugin, a := s.plugin(t), s.Cluster.Allocate(s.Free(t, 1)...)
	old := s.Claim(t, "claim", a)
	s.Prepare(t, plugin, old)
	t.Must(s.Cluster.Delete(t.Context(), old), "delete the claim")
	replacing := s.ClaimNamed(t, old.Name, a)
	s.Unprepare(t, plugin, old)
	first := s.Prepare(t, plugin, replacing)
	// A kubelet that was restarted may ask for the old one again.
	s.Unprepare(t, plugin, old)
	s.Resolves(t, replacing, first)
	s.Same(t, "after the claim that it replaced was unprepared again", first, s.Prepare(t, plugin, replacing))
}
