package conformance

import (
	"strings"

	"k8s.io/apimachinery/pkg/types"
	drav1 "k8s.io/kubelet/pkg/apis/dra/v1"

	"example.com/dragoman/pkg/sanity/node"
	"example.com/dragoman/pkg/sanity/suite"
)

// v1 is the version of the DRA service that knows share IDs.
const v1 = drav1.DRAPluginService

func containsUID(text string, uid types.UID) bool { return strings.Contains(text, string(uid)) }

const rolling = helper + "RollingUpdate: "

func (s *subject) instances() []suite.Case {
	needs := []suite.Need{node.NeedsProcesses}
	return []suite.Case{{
		Name:    "two-instances-share-claims",
		Promise: "During a rolling update either instance continues what the other one began.",
		Source:  rolling + `"entirely stateless across method calls"`,
		Needs:   needs,
		Run:     s.twoInstancesShareClaims,
	}, {
		Name:    "two-instances-one-owner",
		Promise: "During a rolling update a device that one instance prepared is refused to another claim by the other.",
		Source:  rolling + `"entirely stateless across method calls"; ` + prepares + `"the last line of defense"`,
		Needs:   needs,
		Run:     s.twoInstancesOneOwner,
	}, {
		Name:    "update-without-a-gap",
		Promise: "When the old instance of a rolling update ends, the new one stays registered and slices are not written.",
		Source:  rolling + "seamless upgrades; " + e2e + `"rolling update"`,
		Needs:   needs,
		Run:     s.updateWithoutAGap,
	}}
}

func (s *subject) twoInstancesShareClaims(t *suite.T) {
	older := s.plugin(t)
	claims := s.Exclusive(t, "claim", 1)
	first := s.Prepare(t, older, claims)
	instance, newer := s.SecondInstance(t)
	defer func() { t.Must(instance.End(t.Context()), "stop the second instance") }()
	s.Same(t, "from the second instance", first, s.Prepare(t, newer, claims))
	s.Unprepare(t, newer, claims)
	// And the other way round.
	second := s.Prepare(t, newer, claims)
	s.Same(t, "from the first instance", second, s.Prepare(t, older, claims))
	s.Unprepare(t, older, claims)
	s.Unprepare(t, newer, claims)
}

func (s *subject) twoInstancesOneOwner(t *suite.T) {
	older, device := s.plugin(t), s.Free(t, 1)
	owner := s.Claim(t, "owner", s.Cluster.Allocate(device...))
	second := s.Claim(t, "second", s.Cluster.Allocate(device...))
	instance, newer := s.SecondInstance(t)
	defer func() { t.Must(instance.End(t.Context()), "stop the second instance") }()
	s.Prepare(t, older, owner)
	s.refused(t, newer, second, owner, device[0])
	s.Unprepare(t, newer, owner)
	s.Prepare(t, newer, second)
	s.refused(t, older, owner, second, device[0])
}

func (s *subject) updateWithoutAGap(t *suite.T) {
	claim := s.Exclusive(t, "claim", 1)
	first := s.Prepare(t, s.plugin(t), claim)
	before := s.versions(t)
	old := s.Subject.Running()
	_, newer := s.SecondInstance(t)
	for _, instance := range old {
		t.Must(instance.End(t.Context()), "stop the old instance")
	}
	t.Until(node.Patience, "the old instance is gone from the registry", s.onlyInstance(newer))
	s.Same(t, "after the update", first, s.Prepare(t, newer, claim))
	s.Unprepare(t, newer, claim)
	s.unwritten(t, "a rolling update", before)
}
