package v1alpha1

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"k8s.io/kube-openapi/pkg/validation/strfmt"
	"k8s.io/kube-openapi/pkg/validation/validate"
	"sigs.k8s.io/yaml"
)

const profileHead = "apiVersion: dragoman.example.com/v1alpha1\nkind: MachineProfile\n"

func decodeProfile(t *testing.T, raw string) *MachineProfile {
	t.Helper()
	profile, errs := DecodeMachineProfile([]byte(profileHead + raw))
	if len(errs) > 0 {
		t.Fatal(errs.ToAggregate())
	}
	return profile
}

func TestDevices(t *testing.T) {
	const variations = `
groups:
- name: a
  count: 2
- name: b
  deviceName: b-{groupIndex}
nodes:
- pattern: "*-worker2"
  groups:
  - {name: c, deviceName: "c-{index}"}
  - {name: a, deviceName: "a-{index}"}
- pattern: "*-worker?"
  groups: [{name: a, count: 0}]
- pattern: "*"
`
	for name, test := range map[string]struct{ raw, node, want string }{
		"no devices":     {"", "node", `[]`},
		"a group of one": {"groups: [{name: a}]", "node", `["gpu-0"]`},
		"indexes go on over groups": {
			"groups: [{name: a, count: 2}, {name: b, count: 2}]", "node", `["gpu-0","gpu-1","gpu-2","gpu-3"]`,
		},
		"formats": {
			`groups: [{name: a, count: 11, deviceName: "x{index:03d}-{groupIndex:x}"}]`, "node", `["x000-0",` +
				`"x001-1","x002-2","x003-3","x004-4","x005-5","x006-6","x007-7","x008-8","x009-9","x010-a"]`,
		},
		"a node that no pattern but * matches":  {variations, "kind-control-plane", `["gpu-0","gpu-1","b-0"]`},
		"a node whose variation replaces, adds": {variations, "kind-worker2", `["a-0","b-0","c-2"]`},
		"a node whose variation takes away":     {variations, "kind-worker3", `["b-0"]`},
		"a pattern is for the whole name":       {"nodes: [{pattern: work, groups: [{name: a}]}]", "worker", `[]`},
		"a pattern with dots and a set": {
			"nodes: [{pattern: 'n[0-4].*', groups: [{name: a}]}]", "n3.example.com", `["gpu-0"]`,
		},
		"names by UUID differ by node and index": {
			`groups: [{name: a, count: 2, deviceName: "gpu-{uuid}"}]`, "node", `["gpu-` + uuid("node", 0) + `",` +
				`"gpu-` + uuid("node", 1) + `"]`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			names := []string{}
			for _, d := range decodeProfile(t, test.raw).Devices(test.node) {
				names = append(names, d.Name)
			}
			got, err := json.Marshal(names)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, string(got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func uuid(node string, index int) string { return filling{index: index, nodeName: node}.uuid() }

func TestUUIDsStayTheSame(t *testing.T) {
	if got, want := uuid("node-a", 4), "6c9a14d8-82de-83bd-9591-e68944e8745d"; got != want {
		t.Errorf("the UUID of a device has changed from %s to %s", want, got)
	}
	seen := map[string]bool{}
	for _, node := range []string{"a", "a1", "b"} {
		for index := range 20 {
			seen[uuid(node, index)] = true
		}
	}
	if len(seen) != 60 {
		t.Errorf("%d UUIDs for 60 devices", len(seen))
	}
}

func TestDeviceOfAGroup(t *testing.T) {
	profile := decodeProfile(t, `
groups:
- name: first
  count: 4
- name: second
  count: 2
  attributes:
    index: {int: "{index}"}
    place: {int: "{groupIndex}"}
    size: {int: -7}
    uuid: {string: "GPU-{uuid}"}
    fast: {bool: true}
    driver: {version: 1.0.0-rc.1+build}
    example.org/model: {string: "H{index}"}
  capacity:
    memory: {value: 80Gi}
    compute: {value: 100}
    half: {value: "0.5"}
  numaNode: 1
  pcieRoot: "pci0000:{index:02x}"
  pciBusID: "0000:{index:02x}:00.0"
  devices:
  - groupIndex: 1
    attributes:
      size: {int: 8}
      extra: {string: x}
    capacity:
      memory: {value: 40Gi}
    pciBusID: 0000:ff:00.0
    numaNode: 0
    health: {unhealthy: true, reason: It fell off the bus.}
`)
	got, err := yaml.Marshal(profile.Devices("node-a")[4:])
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join("testdata", "devices.yaml")
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Error(diff)
	}
}

// many returns n entries of the form.
func many(n int, form string) string {
	var entries []string
	for i := range n {
		entries = append(entries, fmt.Sprintf(form, i))
	}
	return strings.Join(entries, ", ")
}

func TestDecodeMachineProfileAcceptsTheLimits(t *testing.T) {
	long := strings.Repeat("x", 64)
	for name, raw := range map[string]string{
		"32 attributes and capacities": "groups: [{name: a, attributes: {" + many(31, "a%d: {int: 1}") + "}, " +
			"capacity: {c: {value: 1}}}]",
		"a text of 64 bytes": "groups: [{name: a, attributes: {a: {string: " + long + "}}}]",
		"the longest names": "groups: [{name: a, attributes: " +
			"{" + strings.Repeat("d", 63) + "/" + strings.Repeat("a", 32) + ": {int: 1}}}]",
		"a name of 63 characters": "groups: [{name: a, deviceName: " + strings.Repeat("n", 63) + "}]",
		"20000 devices":           "groups: [{name: a, count: 19999}, {name: b}]",
		"100 variations":          "nodes: [" + many(100, "{pattern: n%d}") + "]",
		"the largest numbers": "groups: [{name: a, attributes: {a: {int: 9223372036854775807}}, capacity:" +
			" {a: {value: 999999999999999999}}}]",
	} {
		t.Run(name, func(t *testing.T) { decodeProfile(t, raw) })
	}
}

func TestDecodeMachineProfileRefuses(t *testing.T) {
	const group = "groups:\n- name: a\n  "
	long := strings.Repeat("x", 65)
	for name, test := range map[string]struct {
		raw  string
		want []string
	}{
		"a name that is missing, given twice, or none": {"groups: [{}, {name: a}, {name: a}, {name: A_}]", []string{
			`groups[0].name: Required value`,
			`groups[2].name: Duplicate value: "a"`,
			`groups[3].name: Invalid value: "A_": a lowercase RFC 1123 label`,
		}},
		"counts out of range": {"groups: [{name: a, count: -1}, {name: b, count: 20001}, {name: c, count: " +
			"x}]", []string{
			`groups[2].count: Invalid value: "x": must be a whole number`,
			`groups[0].count: Invalid value: -1: must be between 0 and 20000, inclusive`,
			`groups[1].count: Invalid value: 20001: must be between 0 and 20000, inclusive`,
		}},
		"more devices than a machine may have": {
			"groups: [{name: a, count: 20000}]\nnodes: [{pattern: x, groups: [{name: b}]}]", []string{
				`nodes[0].groups[0].count: Invalid value: 1: a machine may have 20000 devices, with this group it ` +
					`has 20001`,
			},
		},
		"device names that are none": {"groups: [{name: a, count: 2, deviceName: 'GPU-{index}'}]", []string{
			`groups[0].deviceName: Invalid value: "GPU-{index}": makes the device name "GPU-0": a lowercase RFC ` +
				`1123 label`,
		}},
		"device names that are too long only in the end": {
			"groups: [{name: a, count: 11, deviceName: '" + strings.Repeat("n", 62) + "{index}'}]", []string{
				`groups[0].deviceName: Invalid value: "` + strings.Repeat("n", 62) + `{index}": makes the device ` +
					`name "` +
					strings.Repeat("n", 62) + `10": must be no more than 63`,
			},
		},
		"device names that are the same": {
			"groups: [{name: a, count: 2, deviceName: gpu}, {name: b, deviceName: 'gpu-{groupIndex}'}]\n" +
				"nodes: [{pattern: x, groups: [{name: c, deviceName: gpu-0}]}]", []string{
				`groups[0].deviceName: Invalid value: "gpu": makes the device name "gpu": another device of the ` +
					`machine has`,
				`nodes[0].groups[0].deviceName: Invalid value: "gpu-0": makes the device name "gpu-0": another device`,
			},
		},
		"placeholders that do not exist": {
			group + "deviceName: gpu-{i}\n  attributes: {a: {string: '{node}'}}\n  pciBusID: '{index:q}'\n  " +
				"pcieRoot: '{uuid:02x}'\n", []string{
				`groups[0].deviceName: Invalid value: "{i}": unknown placeholder; there are {index}, {groupIndex},` +
					` {uuid}`,
				`groups[0].attributes[a].string: Invalid value: "{node}": unknown placeholder`,
				`groups[0].pciBusID: Invalid value: "{index:q}": unknown placeholder`,
				`groups[0].pcieRoot: Invalid value: "{uuid:02x}": unknown placeholder`,
			},
		},
		"names of attributes and capacities": {
			group + `attributes: {a-b: {int: 1}, /a: {int: 1}, Dom/a: {int: 1}, a/b/c: {int: 1},` +
				` ` + strings.Repeat("a", 33) +
				`: {int: 1}, ` + strings.Repeat("d", 64) + `/a: {int: 1}}` + "\n  capacity: {1a: {value: " +
				"1}}\n", []string{
				`groups[0].attributes[/a]: Invalid value: "/a": the domain before the slash:`,
				`groups[0].attributes[Dom/a]: Invalid value: "Dom/a": the domain before the slash:`,
				`groups[0].attributes[a-b]: Invalid value: "a-b": the name: a valid C identifier`,
				`groups[0].attributes[a/b/c]: Invalid value: "a/b/c": the name: a valid C identifier`,
				`groups[0].attributes[` + strings.Repeat("a", 33) + `]: Too long: may not be more than 32 bytes`,
				`groups[0].attributes[` + strings.Repeat("d", 64) + `/a]: Too long: may not be more than 63 bytes`,
				`groups[0].capacity[1a]: Invalid value: "1a": the name: a valid C identifier`,
			},
		},
		"values of attributes": {
			group + `attributes: {a: {}, b: {int: 1, bool: true}, c: {version: v1.0}, d: {version: 01.2.3}, e: ` +
				`{version: 1.2.3-` + long +
				`}, f: {string: ` + long + `}, g: {int: "{uuid}"}, h: {int: 9223372036854775808}, i: {string: ` +
				`1.0}}` + "\n", []string{
				`groups[0].attributes[g].int: Invalid value: "{uuid}": must be a whole number of 64 bits, ` +
					`"{index}" or "{groupIndex}"`,
				`groups[0].attributes[h].int: Invalid value: "9223372036854775808": must be a whole number of 64 bits`,
				`groups[0].attributes[i].string: Invalid value: "1.0": must be a string; put it in quotes`,
				`groups[0].attributes[a]: Required value: one of string, int, bool and version`,
				`groups[0].attributes[b]: Invalid value: "int, bool": an attribute has exactly one value`,
				`groups[0].attributes[c].version: Invalid value: "v1.0": must be a semantic version such as 1.2.3`,
				`groups[0].attributes[d].version: Invalid value: "01.2.3": must be a semantic version such as 1.2.3`,
				`groups[0].attributes[e].version: Too long: may not be more than 64 bytes`,
			},
		},
		"texts that are too long when filled": {
			group + "attributes: {a: {string: '" + strings.Repeat("x", 60) + "{uuid}'}, b: {string:" +
				" " + long + "}}\n", []string{
				`groups[0].attributes[a].string: Too long: may not be more than 64 bytes`,
				`groups[0].attributes[b].string: Too long: may not be more than 64 bytes`,
			},
		},
		"more than 32 attributes and capacities": {
			group + "attributes: {" + many(20, "a%d: {int: 1}") + "}\n  capacity: {" + many(10, "c%d: {value: "+
				"1}") + "}\n" +
				"  numaNode: 0\n  pcieRoot: 'pci0000:00'\n  pciBusID: '0000:00:01.0'\n", []string{
				`groups[0].attributes: Invalid value: 33: device gpu-0 may have 32 attributes and capacities together`,
			},
		},
		"quantities": {
			group + `capacity: {a: {value: -1}, b: {value: 1e9}, c: {value: lots}, d: {}, e: {value: [1]}, f: ` +
				`{value: 1Gi, x: 1}}` + "\n", []string{
				`groups[0].capacity[a].value: Invalid value: "-1": must be a quantity that is not negative`,
				`groups[0].capacity[b].value: Invalid value: "1e9": must be a quantity`,
				`groups[0].capacity[c].value: Invalid value: "lots": must be a quantity`,
				`groups[0].capacity[e].value: Invalid value: "array": must be a quantity`,
				`groups[0].capacity[f].x: Forbidden: no such field; there are: requestPolicy, value`,
				`groups[0].capacity[d].value: Required value: must be a quantity such as 80Gi`,
			},
		},
		"PCI and NUMA": {group + "numaNode: -1\n  pcieRoot: pci00:0\n  pciBusID: 0000:1B:00.0\n", []string{
			`groups[0].numaNode: Invalid value: -1: must not be negative`,
		}},
		"PCI addresses that are none": {group + "pcieRoot: pci00:0\n  pciBusID: 0000:1B:00.0\n", []string{
			`groups[0].pciBusID: Invalid value: "0000:1B:00.0": must be a PCI address such as 0000:1b:00.0`,
			`groups[0].pcieRoot: Invalid value: "pci00:0": must be a PCIe root such as pci0000:15`,
		}},
		"PCI addresses that run out": {group + "count: 300\n  pciBusID: '0000:{index:02x}:00.0'\n", []string{
			`groups[0].pciBusID: Invalid value: "0000:12b:00.0": must be a PCI address`,
		}},
		"an attribute that is given twice": {
			group + "numaNode: 0\n  attributes: {resource.kubernetes.io/numaNode: {int: 1}}\n", []string{
				`groups[0].attributes[resource.kubernetes.io/numaNode]: Forbidden: comes from the field numaNode`,
			},
		},
		"variations of devices": {
			group + "count: 2\n  devices: [{}, {groupIndex: 2}, {groupIndex: 1}, {groupIndex: 1, count: 3}, " +
				"{groupIndex: -1}]\n", []string{
				`groups[0].devices[3].count: Forbidden: no such field`,
				`groups[0].devices[0].groupIndex: Required value: says which device of the group is meant`,
				`groups[0].devices[1].groupIndex: Invalid value: 2: the group has 2 devices, the first is 0`,
				`groups[0].devices[3].groupIndex: Duplicate value: 1`,
				`groups[0].devices[4].groupIndex: Invalid value: -1: the group has 2 devices, the first is 0`,
			},
		},
		"a variation in the middle": {
			group + "count: 9\n  devices: [{groupIndex: 4, pciBusID: x, attributes: {a: {string:" +
				" " + long + "}}}]\n", []string{
				`groups[0].devices[0].attributes[a].string: Too long: may not be more than 64 bytes`,
				`groups[0].devices[0].pciBusID: Invalid value: "x": must be a PCI address`,
			},
		},
		"health": {
			"groups: [{name: a, health: {reason: x}}, {name: b, health: {unhealthy: true, reason:" +
				" " + strings.Repeat("x", 257) + "}}]", []string{
				`groups[0].health.reason: Forbidden: only an unhealthy device has a reason`,
				`groups[1].health.reason: Too long: may not be more than 256 bytes`,
			},
		},
		"patterns": {"nodes: [{}, {pattern: '['}, {pattern: a}, {pattern: a, groups: [{}]}]", []string{
			`nodes[0].pattern: Required value: * is for all nodes`,
			`nodes[1].pattern: Invalid value: "[": must be a pattern such as *-worker[23]`,
			`nodes[3].pattern: Duplicate value: "a"`,
			`nodes[3].groups[0].name: Required value`,
		}},
		"too many patterns": {
			"nodes: [" + many(101, "{pattern: n%d}") + "]", []string{`nodes: Too many: 101: must have at most 100 ` +
				`items`},
		},
		"a problem of the base, once": {
			group + "pciBusID: x\nnodes: [{pattern: a}, {pattern: b, groups: [{name: b}]}]\n", []string{
				`groups[0].pciBusID: Invalid value: "x"`,
			},
		},
		"another kind": {"", []string{`kind: Unsupported value: "DriverConfig": supported values: "MachineProfile"`}},
	} {
		t.Run(name, func(t *testing.T) {
			head := profileHead
			if test.raw == "" {
				head = driverHead
			}
			profile, errs := DecodeMachineProfile([]byte(head + test.raw))
			if profile != nil {
				t.Errorf("got %v besides the problems", profile)
			}
			wantProblems(t, test.want, errs)
		})
	}
}

// schemaProblems says what a schema finds wrong with a document.
func schemaProblems(t *testing.T, file, document string) []error {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("schema", file))
	if err != nil {
		t.Fatal(err)
	}
	var schema spec.Schema
	if err := json.Unmarshal(raw, &schema); err != nil {
		t.Fatal(err)
	}
	var value any
	if err := yaml.Unmarshal([]byte(document), &value); err != nil {
		t.Fatal(err)
	}
	return validate.NewSchemaValidator(&schema, nil, "", strfmt.Default).Validate(value).Errors
}

func TestSchemasFindWhatDecodersFind(t *testing.T) {
	for name, test := range map[string]struct {
		file, document string
		good           bool
	}{
		"an empty profile":      {"machine-profile.json", profileHead, true},
		"a profile with it all": {"machine-profile.json", profileHead + fullProfile, true},
		"an unknown field":      {"machine-profile.json", profileHead + "groups: [{name: a, nome: b}]", false},
		"a missing name":        {"machine-profile.json", profileHead + "groups: [{count: 1}]", false},
		"a missing value": {
			"machine-profile.json", profileHead + "groups: [{name: a, capacity: {a: {}}}]", false,
		},
		"a negative quantity": {
			"machine-profile.json", profileHead + "groups: [{name: a, capacity: {a: {value: -1}}}]", false,
		},
		"a wrong placeholder": {
			"machine-profile.json", profileHead + "groups: [{name: a, attributes: {a: {int: '{uuid}'}}}]", false,
		},
		"a config": {
			"driver-config.json", driverHead + "httpAddress: ''\nlogging: {format: json, verbosity: 0}", true,
		},
		"an effect that is none": {
			"machine-profile.json", profileHead + "groups: [{name: a, taints: [{key: a, effect: Nothing}]}]", false,
		},
		"a duration that is none": {
			"machine-profile.json", profileHead + "groups: [{name: a, binding: {conditions: [a], delay: 2}}]", false,
		},
		"a partition without a name": {
			"machine-profile.json", profileHead + "groups: [{name: a, partitioning: {partitions: [{}]}}]", false,
		},
		"a format that is none": {"driver-config.json", driverHead + "logging: {format: xml}", false},
		"a negative verbosity":  {"driver-config.json", driverHead + "logging: {verbosity: -1}", false},
		"no kind":               {"driver-config.json", "apiVersion: dragoman.example.com/v1alpha1", false},
	} {
		t.Run(name, func(t *testing.T) {
			problems := schemaProblems(t, test.file, test.document)
			if (len(problems) == 0) != test.good {
				t.Errorf("%v", problems)
			}
		})
	}
	decodeProfile(t, fullProfile)
}

const fullProfile = `
groups:
- name: a
  count: 2
  deviceName: gpu-{index}
  attributes: {a: {string: x}, b: {int: 1}, c: {int: "{index}"}, d: {bool: false}, e: {version: 1.2.3}}
  capacity: {memory: {value: 80Gi}, compute: {value: 100}}
  pciBusID: "0000:1b:00.0"
  pcieRoot: pci0000:15
  numaNode: 0
  health: {unhealthy: true, reason: x}
  devices: [{groupIndex: 0, attributes: {a: {string: z}}}]
- name: b
  deviceName: b-{groupIndex}
  allowMultipleAllocations: true
  capacity:
    a: {value: 80Gi, requestPolicy: {default: 10Gi, validRange: {min: 1Gi, max: 79Gi, step: 3Gi}}}
    b: {value: 8, requestPolicy: {default: 2, validValues: [1, 2, "4"]}}
    c: {value: 8, requestPolicy: {default: 2}}
  taints: [{key: example.com/a, value: b, effect: NoSchedule}, {key: example.com/a, effect: None}]
  binding: {conditions: [a.b/c], failureConditions: [a.b/d], bindsToNode: true, delay: 1m30.5s, failurePercent: 100}
  network: {interfaceName: "net{index}", ips: ["10.0.0.{index}/24", "fd00::1:{index:x}/64"], hardwareAddress: "{uuid}"}
  partitioning:
    counters: {c: 4, d: 80Gi}
    slots: {counter: s, count: 4}
    partitions:
    - {name: half, deviceName: "{device}-{start:02x}", size: 2, starts: [0, 2], attributes: {p: {int: "{start}"}}}
    - {name: quarter, copies: 4, counters: {c: 1, d: 20Gi}, capacity: {a: {value: 20Gi}}}
nodes:
- pattern: "*"
  groups: [{name: b}]
`

// fitsItsWhole checks what the API server or the scheduler would not forgive of a device and what it is cut from.
func fitsItsWhole(t *testing.T, d MachineDevice, wholes map[string]MachineDevice) {
	t.Helper()
	if d.PartOf == "" {
		wholes[d.Name] = d
	}
	whole, ok := wholes[wholeOf(d)]
	switch {
	case !ok:
		t.Fatalf("device %s is part of %s, which is not there", d.Name, d.PartOf)
	case d.Consumes == nil:
		if d.PartOf != "" {
			t.Fatalf("the part %s consumes nothing", d.Name)
		}
		return
	case len(d.Consumes.Counters) == 0 || len(d.Consumes.Counters) > 32:
		t.Fatalf("device %s consumes %d counters", d.Name, len(d.Consumes.Counters))
	}
	for name, amount := range d.Consumes.Counters {
		if all, ok := whole.Consumes.Counters[name]; !ok || amount.Cmp(all.Quantity) > 0 {
			t.Fatalf("device %s consumes %s of %s", d.Name, amount.String(), name)
		}
	}
}

func wholeOf(d MachineDevice) string {
	if d.PartOf != "" {
		return d.PartOf
	}
	return d.Name
}

func FuzzDecodeMachineProfile(f *testing.F) {
	for _, raw := range []string{
		profileHead, profileHead + fullProfile, profileHead + cuttable,
		profileHead + "groups: [{name: a, count: 200, deviceName: " + "'{index:09x}'}]",
		profileHead + "nodes: [{pattern: '[', groups: [{}]}]", profileHead + "groups: [{name: a, count: 3, " +
			"devices: [{groupIndex: 2}]}]",
		profileHead + "groups: [{name: a, capacity: {a: {value: 0.000000001n}}}]", "", "{", driverHead,
	} {
		f.Add([]byte(raw))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		profile, errs := DecodeMachineProfile(raw)
		if (profile == nil) == (len(errs) == 0) {
			t.Fatalf("%v, %v", profile, errs)
		}
		if profile == nil {
			return
		}
		names := map[string]bool{}
		wholes := map[string]MachineDevice{}
		for _, d := range profile.Devices("node-a") {
			if names[d.Name] {
				t.Fatalf("two devices %s", d.Name)
			}
			names[d.Name] = true
			fitsItsWhole(t, d, wholes)
			for name, a := range d.Attributes {
				if a.String != nil && len(*a.String) > 64 {
					t.Fatalf("attribute %s: %s", name, *a.String)
				}
			}
			for _, c := range d.Capacity {
				_ = c.Value.String()
			}
		}
		again, err := json.Marshal(profile)
		if err != nil {
			t.Fatal(err)
		}
		if _, errs := DecodeMachineProfile(again); len(errs) > 0 {
			t.Fatalf("%s: %v", again, errs.ToAggregate())
		}
	})
}
