package v1alpha1

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// cuttable is a group of two devices that can be cut, and another device.
const cuttable = `
groups:
- name: first
- name: cut
  count: 2
  attributes: {type: {string: gpu}, index: {int: "{index}"}, uuid: {string: "{uuid}"}}
  capacity: {memory: {value: 80Gi}, compute: {value: 100}}
  numaNode: 1
  taints: [{key: example.com/a, effect: None}]
  binding: {conditions: [example.com/attached]}
  network: {interfaceName: "net{index}"}
  partitioning:
    counters: {multiprocessors: 132, copy-engines: 7}
    slots: {counter: slice, count: 4}
    partitions:
    - name: half
      size: 2
      starts: [0, 2]
      counters: {multiprocessors: 60}
      attributes:
        type: {string: part}
        place: {string: "{device}/{name}/{start:02d}/{groupIndex}"}
        start: {int: "{start}"}
        whole: {string: "{uuid}"}
        own: {string: "{partUUID}"}
      capacity: {memory: {value: 40Gi}}
    - name: engine
      deviceName: "{device}-e{copy:02d}"
      copies: 3
      counters: {copy-engines: 2}
  devices:
  - groupIndex: 1
    attributes: {index: {int: 77}}
    health: {unhealthy: true, reason: It is hot.}
`

// partsOf returns the devices that are cut from another.
func partsOf(devices []MachineDevice, name string) []MachineDevice {
	return slices.DeleteFunc(slices.Clone(devices), func(d MachineDevice) bool { return d.PartOf != name })
}

func namesOf(devices []MachineDevice) string {
	var names []string
	for _, d := range devices {
		names = append(names, d.Name)
	}
	return strings.Join(names, " ")
}

func TestPartsFollowTheirDevice(t *testing.T) {
	for name, test := range map[string]struct{ raw, want string }{
		"by slots and by copies": {cuttable, "gpu-0 " +
			"gpu-1 gpu-1-half-0 gpu-1-half-2 gpu-1-e00 gpu-1-e01 gpu-1-e02 " +
			"gpu-2 gpu-2-half-0 gpu-2-half-2 gpu-2-e00 gpu-2-e01 gpu-2-e02"},
		"one copy, unless it is said": {
			"groups: [{name: a, partitioning: {counters: {c: 1}, partitions: [{name: p, counters: {c: 1}}]}}]",
			"gpu-0 gpu-0-p-0",
		},
		"in the order in which they are written": {
			"groups: [{name: a, partitioning: {slots: {counter: s, count: 3}, partitions: [{name: z, size: 1, starts: [2, " +
				"0]}, {name: a, size: 1, starts: [1]}]}}]",
			"gpu-0 gpu-0-z-2 gpu-0-z-0 gpu-0-a-1",
		},
		"on the nodes of a variation alone": {
			"groups: [{name: a}]\nnodes: [{pattern: node, groups: [{name: a, partitioning: {counters: {c: 1}, partitions: " +
				"[{name: p, counters: {c: 1}}]}}]}]",
			"gpu-0 gpu-0-p-0",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, namesOf(decodeProfile(t, test.raw).Devices("node"))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func consumed(d MachineDevice) map[string]string {
	amounts := map[string]string{}
	if d.Consumes != nil {
		for name, amount := range d.Consumes.Counters {
			amounts[name] = amount.String()
		}
	}
	return amounts
}

func TestPartsConsumeWhatTheWholeHas(t *testing.T) {
	devices := decodeProfile(t, cuttable).Devices("node")
	want := map[string]map[string]string{
		"gpu-0": {},
		"gpu-1": {
			"multiprocessors": "132", "copy-engines": "7", "slice-0": "1", "slice-1": "1", "slice-2": "1", "slice-3": "1",
		},
		"gpu-1-half-0": {"multiprocessors": "60", "slice-0": "1", "slice-1": "1"},
		"gpu-1-half-2": {"multiprocessors": "60", "slice-2": "1", "slice-3": "1"},
		"gpu-1-e02":    {"copy-engines": "2"},
	}
	of := map[string]MachineDevice{}
	for _, d := range devices {
		of[d.Name] = d
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if diff := cmp.Diff(want[name], consumed(of[name])); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if of["gpu-1-half-0"].Consumes != of["gpu-2-half-0"].Consumes || of["gpu-1-e00"].Consumes != of["gpu-2-e01"].Consumes {
		t.Error("what equal parts consume is in memory more than once")
	}
}

func TestAPartIsLikeItsDevice(t *testing.T) {
	devices := decodeProfile(t, cuttable).Devices("node")
	part := partsOf(devices, "gpu-2")[1]
	attributes := map[string]string{}
	for name, a := range part.Attributes {
		switch {
		case a.String != nil:
			attributes[name] = *a.String
		case a.Int != nil:
			raw, err := a.Int.MarshalJSON()
			if err != nil {
				t.Fatal(err)
			}
			attributes[name] = string(raw)
		}
	}
	own := filling{index: 2, nodeName: "node", part: &partFilling{seed: "half\x002"}}.partUUID()
	want := map[string]string{
		"type": "part", "index": "77", "uuid": uuid("node", 2), "whole": uuid("node", 2), "own": own,
		"place": "gpu-2/half/02/1", "start": "2", numaNodeAttribute: "1",
	}
	if diff := cmp.Diff(want, attributes); diff != "" {
		t.Error(diff)
	}
	if len(part.Capacity) != 1 || part.Capacity["memory"].Value.String() != "40Gi" {
		t.Errorf("capacity %v", part.Capacity)
	}
	if part.Health.Reason != "It is hot." || len(part.Taints) != 1 || part.Binding == nil {
		t.Errorf("it has not the health, taints and binding of its device: %+v", part)
	}
	if part.Network != nil || part.AllowMultipleAllocations {
		t.Errorf("it has the network of its device or is shared: %+v", part)
	}
}

func TestUUIDsOfPartsDiffer(t *testing.T) {
	profile := decodeProfile(t, cuttable)
	seen := map[string]bool{}
	for _, node := range []string{"a", "b"} {
		for _, d := range profile.Devices(node) {
			for _, name := range []string{"uuid", "own"} {
				if s := d.Attributes[name].String; s != nil && (name == "own" || d.PartOf == "") {
					if seen[*s] {
						t.Errorf("device %s of node %s has the UUID of another: %s", d.Name, node, *s)
					}
					seen[*s] = true
				}
			}
		}
	}
	if len(seen) != 2*(2+4) {
		t.Errorf("%d UUIDs", len(seen))
	}
	if got, want := *profile.Devices("a")[2].Attributes["own"].String, "df0c6835-"; !strings.HasPrefix(got, want) {
		t.Errorf("the UUID of a part has changed to %s", got)
	}
}

const aPart = "partitions: [{name: p, counters: {c: 1}}]"

func TestPartitioningAtItsLimits(t *testing.T) {
	for name, raw := range map[string]string{
		"32 counters": "{counters: {" + many(32, "c%d: 1") + "}, partitions: [{name: p, counters: {c31: 1}}]}",
		"32 counters with slots": "{counters: {" + many(24, "c%d: 1") + "}, slots: {counter: s, count: 8}, partitions: [" +
			"{name: p, size: 8, starts: [0]}]}",
		"no counters but slots":       "{slots: {counter: s, count: 32}, partitions: [{name: p, size: 32, starts: [0]}]}",
		"19999 parts":                 "{counters: {c: 1}, partitions: [{name: p, copies: 19999, counters: {c: 1}}]}",
		"a part that is all there is": "{counters: {c: 0.5}, partitions: [{name: p, counters: {c: 500m}}]}",
		"placeholders with a format": "{counters: {c: 1}, partitions: [{name: p, deviceName: " +
			"'{device}-{copy:04x}-{index:02d}', counters: {c: 1}, attributes: {a: {int: '{copy}'}}}]}",
	} {
		t.Run(name, func(t *testing.T) { decodeProfile(t, "groups: [{name: a, partitioning: "+raw+"}]") })
	}
}

func TestPartitioningIsRefused(t *testing.T) {
	const at = "groups[0].partitioning"
	slots := func(partition string) string {
		return "{counters: {c: 2}, slots: {counter: s, count: 4}, partitions: [" + partition + "]}"
	}
	for name, test := range map[string]struct {
		raw  string
		want []string
	}{
		"without parts": {"{counters: {c: 1}}", []string{
			at + `.partitions: Required value: say into which parts the device can be cut`,
		}},
		"names of counters": {"{counters: {A_b: 1, '': 1}, " + aPart + "}", []string{
			at + `.counters[]: Invalid value: "": a lowercase RFC 1123 label`,
			at + `.counters[A_b]: Invalid value: "A_b": a lowercase RFC 1123 label`,
		}},
		"negative counters": {"{counters: {c: 1, d: -1}, " + aPart + "}", []string{
			at + `.counters[d]: Invalid value: "-1": must be a quantity that is not negative`,
		}},
		"33 counters with slots": {"{counters: {" + many(25, "c%d: 1") + "}, slots: {counter: s, count: 8}, " + aPart + "}",
			[]string{at + `: Too many: 33: must have at most 32 items`}},
		"slots without a number": {"{slots: {counter: s}, " + aPart + "}", []string{
			at + `.slots.count: Invalid value: 0: must be between 1 and 32, inclusive`,
		}},
		"too many slots": {"{slots: {counter: s, count: 33}, " + aPart + "}", []string{
			at + `.slots.count: Invalid value: 33: must be between 1 and 32`,
		}},
		"slots without a name": {"{slots: {count: 3}, " + aPart + "}", []string{
			at + `.slots.counter: Required value: is how the counters of the slots are called`,
		}},
		"slots whose counters are too long": {"{slots: {counter: " + strings.Repeat("s", 61) + ", count: 11}, " + aPart + "}",
			[]string{at + `.slots.counter: Invalid value: "` + strings.Repeat("s", 61) + `": makes the counter`}},
		"slots that are counters already": {"{counters: {s-1: 1}, slots: {counter: s, count: 2}, " + aPart + "}", []string{
			at + `.slots.counter: Duplicate value: "s-1"`,
		}},
		"names of partitions": {
			"{counters: {c: 1}, partitions: [{counters: {c: 1}}, {name: p, counters: {c: 1}}, {name: p, counters: {c: 1}}, " +
				"{name: A, counters: {c: 1}}]}", []string{
				at + `.partitions[0].name: Required value`,
				at + `.partitions[2].name: Duplicate value: "p"`,
				at + `.partitions[3].name: Invalid value: "A": a lowercase RFC 1123 label`,
			},
		},
		"a part that consumes nothing": {"{counters: {c: 1}, partitions: [{name: p}, {name: q, counters: {c: 0}}]}", []string{
			at + `.partitions[0].counters: Required value: a part consumes something of its device`,
			at + `.partitions[1].counters: Required value: a part consumes something of its device`,
		}},
		"a part of what is not there": {"{counters: {c: 1}, partitions: [{name: p, counters: {d: 1}}]}", []string{
			at + `.partitions[0].counters: Unsupported value: "d": supported values: "c"`,
		}},
		"a part that is more than the whole": {"{counters: {c: 2}, partitions: [{name: p, counters: {c: 2001m}}]}", []string{
			at + `.partitions[0].counters[c]: Invalid value: "2001m": the whole device has 2`,
		}},
		"a slot as a counter": {slots("{name: p, counters: {s-0: 1}}"), []string{
			at + `.partitions[0].counters: Unsupported value: "s-0"`,
		}},
		"a size without slots": {"{counters: {c: 1}, partitions: [{name: p, size: 1, starts: [0]}]}", []string{
			at + `.partitions[0].size: Forbidden: the device has no slots`,
		}},
		"a size that is too large": {slots("{name: p, size: 5, starts: [0]}"), []string{
			at + `.partitions[0].size: Invalid value: 5: must be between 0 and 4`,
		}},
		"a negative size": {slots("{name: p, size: -1, starts: [0], counters: {c: 1}}"), []string{
			at + `.partitions[0].size: Invalid value: -1: must be between 0 and 4`,
		}},
		"starts without a size": {slots("{name: p, starts: [0], counters: {c: 1}}"), []string{
			at + `.partitions[0].size: Required value: say how many slots`,
		}},
		"a size without starts": {slots("{name: p, size: 1}"), []string{
			at + `.partitions[0].starts: Required value: say at which slots`,
		}},
		"a size and copies": {slots("{name: p, size: 1, starts: [0], copies: 2}"), []string{
			at + `.partitions[0].copies: Forbidden: a part with slots has starts instead`,
		}},
		"starts outside, and twice": {slots("{name: p, size: 2, starts: [-1, 3, 2, 2]}"), []string{
			at + `.partitions[0].starts[0]: Invalid value: -1: a part of 2 slots that starts here is not within slots 0 to 3`,
			at + `.partitions[0].starts[1]: Invalid value: 3: a part of 2 slots`,
			at + `.partitions[0].starts[3]: Duplicate value: 2`,
		}},
		"no copies": {"{counters: {c: 1}, partitions: [{name: p, copies: 0, counters: {c: 1}}]}", []string{
			at + `.partitions[0].copies: Invalid value: 0: must be between 1 and 20000`,
		}},
		"more parts than a machine may have devices": {
			"{counters: {c: 1}, partitions: [{name: p, copies: 20000, counters: {c: 1}}]}", []string{
				`groups[0].count: Invalid value: 1: a machine may have 20000 devices, with this group it has 20001`,
			},
		},
		"parts with the same name": {"{counters: {c: 1}, partitions: [{name: p, deviceName: '{device}', counters: {c: 1}}]}",
			[]string{at + `.partitions[0].deviceName: Invalid value: "{device}": makes the device name "gpu-0": another`}},
		"a name that is too long in the last part": {
			"{slots: {counter: s, count: 11}, partitions: [{name: p, deviceName: '" + strings.Repeat("n", 62) +
				"{start}', size: 1, starts: [0, 10]}]}", []string{
				at + `.partitions[0].deviceName: Invalid value: "` + strings.Repeat("n", 62) + `{start}": makes the device name`,
			},
		},
		"placeholders of other parts": {
			"{counters: {c: 1}, slots: {counter: s, count: 2}, partitions: [" +
				"{name: p, deviceName: '{start}', counters: {c: 1}}, {name: q, size: 1, starts: [0], attributes: " +
				"{a: {int: '{copy}'}, b: {string: '{node}'}}}]}", []string{
				at + `.partitions[0].deviceName: Invalid value: "{start}": unknown placeholder; there are {index}, ` +
					`{groupIndex}, {copy}, {uuid}, {partUUID}, {device}, {name}`,
				at + `.partitions[1].attributes[a].int: Invalid value: "{copy}": unknown placeholder; there are {index}, ` +
					`{groupIndex}, {start}`,
				at + `.partitions[1].attributes[b].string: Invalid value: "{node}": unknown placeholder`,
			},
		},
		"values of a part": {
			"{counters: {c: 1}, partitions: [{name: p, counters: {c: 1}, attributes: {a-b: {int: 1}, c: {}}, " +
				"capacity: {m: {}, n: {value: 1, requestPolicy: {default: 1}}}}]}", []string{
				at + `.partitions[0].attributes[a-b]: Invalid value: "a-b": the name`,
				at + `.partitions[0].attributes[c]: Required value: one of string, int, bool and version`,
				at + `.partitions[0].capacity[m].value: Required value`,
				at + `.partitions[0].capacity[n].requestPolicy: Forbidden: a part is for one claim at a time`,
			},
		},
		"an attribute that is too long in the last part": {
			"{slots: {counter: s, count: 11}, partitions: [{name: p, size: 1, starts: [0, 1, 10], attributes: {a: {string: '" +
				strings.Repeat("x", 63) + "{start}'}}}]}", []string{
				at + `.partitions[0].attributes[a].string: Too long: may not be more than 64 bytes`,
			},
		},
		"more attributes than a part may have": {
			"{counters: {c: 1}, partitions: [{name: p, counters: {c: 1}, attributes: {" + many(32, "a%d: {int: 1}") +
				"}, capacity: {m: {value: 1}}}]}", []string{
				at + `.partitions[0].attributes: Invalid value: 33: device gpu-0-p-0 may have 32 attributes and capacities`,
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, errs := DecodeMachineProfile([]byte(profileHead + "groups: [{name: a, partitioning: " + test.raw + "}]"))
			wantProblems(t, test.want, errs)
		})
	}
}

// The attributes of the device count for its parts, those of a variation included.
func TestAPartOfADeviceWithManyAttributesIsRefused(t *testing.T) {
	_, errs := DecodeMachineProfile([]byte(profileHead + "groups: [{name: a, count: 3, attributes: {" +
		many(30, "a%d: {int: 1}") + "}, partitioning: {counters: {c: 1}, partitions: [{name: p, counters: {c: 1}, " +
		"capacity: {m: {value: 1}}}]}, devices: [{groupIndex: 1, numaNode: 0, pcieRoot: 'pci0000:15'}]}]"))
	wantProblems(t, []string{`groups[0].partitioning.partitions[0].attributes: Invalid value: 33: device gpu-1-p-0`}, errs)
}

func TestPlaceholdersOfPartsAreNoneOfDevices(t *testing.T) {
	_, errs := DecodeMachineProfile([]byte(profileHead + "groups: [{name: a, deviceName: '{device}', attributes: {" +
		"a: {int: '{start}'}, b: {string: '{partUUID}'}}}]"))
	wantProblems(t, []string{
		`groups[0].deviceName: Invalid value: "{device}": unknown placeholder`,
		`groups[0].attributes[a].int: Invalid value: "{start}": unknown placeholder`,
		`groups[0].attributes[b].string: Invalid value: "{partUUID}": unknown placeholder`,
	}, errs)
}
