package conformance

import (
	"maps"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"example.com/dragoman/pkg/sanity/kubelet"
	"example.com/dragoman/pkg/sanity/suite"
)

// dividing are the cases about devices of which a claim has a part: shares, and what is cut out of another device.
func (s *subject) dividing() []suite.Case {
	return []suite.Case{{
		Name:    "shares-in-one-container",
		Promise: "A container that gets two shares of one device gets all that each of them brings.",
		Source:  apiTypes + `DeviceRequestAllocationResult.shareID: "to differentiate concurrent shares of the same device"`,
		Run:     s.sharesInOneContainer,
	}, {
		Name:    "shares-within-capacity",
		Promise: "A share that takes more of a device than others leave is refused, until one of them is unprepared.",
		Source:  prepares + `"the last line of defense against using the same device for two different unrelated workloads"`,
		Run:     s.sharesWithinCapacity,
	}, {
		Name:    "parts-beside-each-other",
		Promise: "Two claims with a part each of one device have them at once, and the end of one leaves the other alone.",
		Source:  apiTypes + `Device.consumesCounters: devices of which the counters of one set have enough for both`,
		Run:     s.partsBesideEachOther,
	}}
}

func (s *subject) sharesInOneContainer(t *suite.T) {
	device := s.shareable(t)
	a, second := s.Cluster.Share(device), s.Cluster.Share(device)
	second.Results[0].Request = "r1"
	a.Results = append(a.Results, second.Results...)
	prepared := s.Prepare(t, s.plugin(t), s.Claim(t, "claim", a))
	both, err := s.Container(prepared)
	t.Must(err, "make a container with both shares")
	for _, d := range prepared.Devices {
		alone, err := s.Inject(d.CDIDeviceIDs...)
		t.Must(err, "make a container with %s", strings.Join(d.CDIDeviceIDs, ", "))
		there := brought(both)
		for what, as := range brought(alone) {
			if there[what] != as {
				t.Errorf("share %s brings %s as %q, and beside another share of the device it is %q; make the share's ID part of "+
					"the name", d.ShareID, what, as, there[what])
			}
		}
	}
}

// brought is what a container has of CDI devices, by what another CDI device could replace.
func brought(container specs.Spec) map[string]string {
	things := map[string]string{}
	if container.Process != nil {
		for _, variable := range container.Process.Env {
			name, value, _ := strings.Cut(variable, "=")
			things["the variable "+name] = value
		}
	}
	for _, mount := range container.Mounts {
		things["the mount "+mount.Destination] = mount.Source
	}
	if container.Linux != nil {
		for _, node := range container.Linux.Devices {
			things["the device node "+node.Path] = node.Type
		}
	}
	return things
}

func (s *subject) sharesWithinCapacity(t *suite.T) {
	device := s.shareable(t)
	plugin := s.plugin(t)
	takesAll, more := s.Cluster.Share(device), s.Cluster.Share(device)
	takesAll.Results[0].ConsumedCapacity = maps.Clone(takesAll.Results[0].ConsumedCapacity)
	for name, capacity := range device.Capacity {
		takesAll.Results[0].ConsumedCapacity[name] = capacity.Value
	}
	if len(takesAll.Results[0].ConsumedCapacity) == 0 {
		t.NotRun("the device %s, which can be shared, has no capacity that could be exceeded", device.Name)
	}
	owner, second := s.Claim(t, "owner", takesAll), s.Claim(t, "second", more)
	first := s.Prepare(t, plugin, owner)
	if _, err := plugin.PrepareOne(t.Context(), second); err == nil {
		t.Errorf("claim %s has all capacity of device %s, and a share of it was prepared for claim %s; add up what shares "+
			"consume, and refuse with an error that names who has it", owner.Name, device.Name, second.Name)
	}
	s.Unprepare(t, plugin, second)
	s.Same(t, "after another share was refused", first, s.Prepare(t, plugin, owner))
	s.Unprepare(t, plugin, owner)
	s.Prepare(t, plugin, second)
}

func (s *subject) partsBesideEachOther(t *suite.T) {
	parts, found, err := s.Cluster.Parts(t.Context())
	t.Must(err, "look for parts of a device")
	if !found {
		t.NotRun("the driver publishes no two devices that consume counters of one set and fit beside each other")
	}
	plugin := s.plugin(t)
	claims := []kubelet.Claim{
		s.Claim(t, "one", s.Cluster.Allocate(parts[0])), s.Claim(t, "two", s.Cluster.Allocate(parts[1])),
	}
	first, second := s.Prepare(t, plugin, claims[0]), s.Prepare(t, plugin, claims[1])
	if ids := second.IDs(); slices.ContainsFunc(first.IDs(), func(id string) bool { return slices.Contains(ids, id) }) &&
		!s.sameEdits(t, first, second) {
		t.Errorf("two parts of a device have a CDI ID together, with different edits: %q and %q", first.IDs(), ids)
	}
	s.Unprepare(t, plugin, claims[0])
	s.Resolves(t, claims[1], second)
	s.Same(t, "after the other part ended", second, s.Prepare(t, plugin, claims[1]))
}
