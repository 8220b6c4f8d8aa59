package conformance

import (
	"os"
	"reflect"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"

	"example.com/dragoman/pkg/sanity/kubelet"
	"example.com/dragoman/pkg/sanity/node"
	"example.com/dragoman/pkg/sanity/suite"
)

func (s *subject) cdi() []suite.Case {
	return []suite.Case{{
		Name:    "cdi-ids-resolve",
		Promise: "Every CDI ID of an answer is in a valid file of the CDI directory by then, and can be injected.",
		Source:  helper + `Device.CDIDeviceIDs; tags.cncf.io/container-device-interface/pkg/cdi`,
		Run:     s.idsResolve,
	}, {
		Name:    "cdi-ids-mean-one-thing",
		Promise: "A CDI ID that is used again for another claim means the same: container runtimes may remember it.",
		Source:  prepares + `"To avoid false cache hits, the unique name in the CDI device ID should not be reused"`,
		Run:     s.idsMeanOneThing,
	}, {
		Name:    "cdi-files-come-back",
		Promise: "Preparing a prepared claim again writes its CDI files again if they are gone.",
		Source:  "kubernetes #141433 and #141966: prepare is called again when a sandbox is made again, and has to converge",
		Run:     s.filesComeBack,
	}, {
		Name:    "cdi-directory-comes-back",
		Promise: "After a start without the CDI directory, as after a reboot, a prepared claim that is prepared again works.",
		Source:  "kubernetes #141433: /var/run/cdi is empty after a reboot and the driver's own state may not be",
		Needs:   []suite.Need{node.NeedsRestart},
		Run: func(t *suite.T) {
			claim := s.Exclusive(t, "claim", 1)
			s.Prepare(t, s.plugin(t), claim)
			t.Must(os.RemoveAll(s.Dirs.CDI), "remove the CDI directory")
			s.Prepare(t, s.RestartDriver(t), claim)
			s.Unprepare(t, s.plugin(t), claim)
		},
	}}
}

func (s *subject) idsResolve(t *suite.T) {
	prepared := s.Prepare(t, s.plugin(t), s.Exclusive(t, "claim", 1))
	if len(prepared.IDs()) == 0 {
		t.NotRun("the answer has no CDI IDs")
	}
	if _, err := s.Container(prepared); err != nil {
		t.Errorf("%v", err)
	}
	ids := prepared.IDs()
	slices.Sort(ids)
	if compact := slices.Compact(slices.Clone(ids)); len(compact) != len(ids) {
		t.Errorf("a CDI ID is in the answer more than once: %q", ids)
	}
}

func (s *subject) idsMeanOneThing(t *suite.T) {
	plugin, device := s.plugin(t), s.Free(t, 1)
	one := s.Claim(t, "one", s.Cluster.Allocate(device...))
	two := s.Claim(t, "two", s.Cluster.Allocate(device...))
	before := s.meanings(t, s.Prepare(t, plugin, one))
	s.Unprepare(t, plugin, one)
	for id, after := range s.meanings(t, s.Prepare(t, plugin, two)) {
		// One that every claim gets may well be used again.
		if first, again := before[id]; again && !reflect.DeepEqual(first, after) {
			t.Errorf("the CDI ID %s stands for other edits in the next claim; make the claim's UID part of its name", id)
		}
	}
}

// meanings is what each CDI ID of an answer makes of a container.
func (s *subject) meanings(t *suite.T, prepared kubelet.Prepared) map[string]specs.Spec {
	meanings := map[string]specs.Spec{}
	for _, id := range prepared.IDs() {
		container, err := s.Inject(id)
		t.Must(err, "make a container with %s", id)
		meanings[id] = container
	}
	return meanings
}

func (s *subject) filesComeBack(t *suite.T) {
	plugin, a := s.plugin(t), s.Cluster.Allocate(s.Free(t, 1)...)
	claim := s.Claim(t, "claim", a)
	before, err := s.CDIFiles()
	t.Must(err, "list the CDI directory")
	first := s.Prepare(t, plugin, claim)
	removed := s.removeNew(t, before)
	if len(removed) == 0 {
		t.NotRun("preparing writes no CDI file")
	}
	again, err := plugin.PrepareOne(t.Context(), claim)
	t.Must(err, "prepare the claim again after its CDI files were removed")
	s.Same(t, "after the CDI files were removed", first, again)
	if _, err := s.Container(again); err != nil {
		t.Errorf("%q were removed and preparing the claim again did not bring them back: %v; write CDI files at every call, "+
			"not only at the first", removed, err)
	}
}

// removeNew removes the CDI files that were not there before, or were another.
func (s *subject) removeNew(t *suite.T, before map[string]node.File) []string {
	now, err := s.CDIFiles()
	t.Must(err, "list the CDI directory")
	var removed []string
	for path, file := range now {
		if before[path] != file {
			t.Must(os.Remove(path), "remove a CDI file")
			removed = append(removed, path)
		}
	}
	slices.Sort(removed)
	return removed
}
