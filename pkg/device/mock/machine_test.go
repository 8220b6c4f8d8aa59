package mock

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"example.com/dragoman/pkg/device"
)

func found(t *testing.T, b *Backend, name string) device.Device {
	t.Helper()
	all, err := b.find([]string{name})
	check(t, err)
	return all[0]
}

func TestCounterSetsAreThoseOfTheWholeDevices(t *testing.T) {
	snapshot, err := newBackend(t, "showcase").Devices(t.Context())
	check(t, err)
	got, err := yaml.Marshal(snapshot.SharedCounters)
	check(t, err)
	golden(t, "counters-showcase.yaml", got)
	parts := map[string]int{}
	for _, d := range snapshot.Devices {
		for _, c := range d.ConsumesCounters {
			if want := strings.TrimSuffix(d.PartOf+"/"+d.Name, "/"+d.Name); d.PartOf != "" && c.CounterSet != want {
				t.Errorf("%s consumes counters of %s", d.Name, c.CounterSet)
			}
			parts[c.CounterSet]++
		}
	}
	if diff := cmp.Diff(map[string]int{"gpu-2": 14, "gpu-3": 14}, parts); diff != "" {
		t.Error(diff)
	}
}

// thousands is a profile with 60 GPUs, each with 4 parts, and three kinds of other devices.
const thousands = `
apiVersion: dragoman.example.com/v1alpha1
kind: MachineProfile
groups:
- name: cut
  count: 60
  attributes: {uuid: {string: "{uuid}"}, model: {string: %s}}
  capacity: {memory: {value: 80Gi}}
  taints: [{key: a, effect: None}]
  binding: {conditions: [attached]}
  partitioning:
    slots: {counter: s, count: 2}
    partitions:
    - {name: half, size: 1, starts: [0, 1], capacity: {memory: {value: 40Gi}}}
    - {name: named, size: 1, starts: [0, 1], attributes: {own: {string: "{partUUID}"}}}
- name: shared
  count: 60
  taints: [{key: b, effect: None}]
  allowMultipleAllocations: true
  capacity:
    memory: {value: 80Gi, requestPolicy: {default: 10Gi, validRange: {min: 1Gi}}}
    engines: {value: 4, requestPolicy: {default: 1, validValues: [1, 4]}}
`

func identity(m any) uintptr { return reflect.ValueOf(m).Pointer() }

// Parts are many and alike.
func TestPartsShareWhatIsTheSame(t *testing.T) {
	file := filepath.Join(t.TempDir(), "profile.yaml")
	writeFile(t, file, fmt.Sprintf(thousands, "H100"))
	b := newBackend(t, file)
	whole, part, next := found(t, b, "gpu-1"), found(t, b, "gpu-1-half-0"), found(t, b, "gpu-2-half-0")
	own := found(t, b, "gpu-1-named-1")
	value := func(d device.Device, name resourceapi.QualifiedName) *string { return d.Attributes[name].StringValue }
	set := func(d device.Device) string { return d.ConsumesCounters[0].CounterSet }
	shared, too := found(t, b, "gpu-61"), found(t, b, "gpu-62")
	if values := shared.Capacity["engines"].RequestPolicy.ValidValues; len(values) != 2 || values[1].Value() != 4 {
		t.Errorf("valid values %v", values)
	}
	for name, same := range map[string]bool{
		"attributes of a part with those of its device": identity(whole.Attributes) == identity(part.Attributes),
		"a value of a part with that of its device":     value(whole, "uuid") == value(own, "uuid"),
		"a value with that of another device":           value(part, "model") == value(next, "model"),
		"the capacity of equal parts of different ones": identity(part.Capacity) == identity(next.Capacity),
		"what equal parts consume":                      identity(counters(part)) == identity(counters(next)),
		"taints":                                        &part.Taints[0] == &next.Taints[0],
		"binding conditions":                            &part.BindingConditions[0] == &next.BindingConditions[0],
		"request policies":                              identity(shared.Capacity) == identity(too.Capacity),
		"but not other taints":                          part.Taints[0].Key == "a" && shared.Taints[0].Key == "b",
		"but not UUIDs":                                 *value(part, "uuid") != *value(next, "uuid"),
		"but not the counter sets that they consume of": set(part) != set(next),
	} {
		if !same {
			t.Errorf("not so: %s", name)
		}
	}
}

func counters(d device.Device) map[string]resourceapi.Counter { return d.ConsumesCounters[0].Counters }

// Who has a snapshot reads it while a changed profile is read, with which the new devices share.
func TestASnapshotWithPartsStaysWhatItWas(t *testing.T) {
	file := filepath.Join(t.TempDir(), "profile.yaml")
	writeFile(t, file, fmt.Sprintf(thousands, "H100"))
	b := newBackend(t, file)
	before, err := b.Devices(t.Context())
	check(t, err)
	was, err := json.Marshal(before)
	check(t, err)
	for _, model := range []string{"H200", "H100"} {
		writeFile(t, file, fmt.Sprintf(thousands, model))
		_, err = b.Devices(t.Context())
		check(t, err)
	}
	is, err := json.Marshal(before)
	check(t, err)
	if diff := cmp.Diff(string(was), string(is)); diff != "" {
		t.Error(diff)
	}
}

func share(request, name, id string, memory string) resourceapi.DeviceRequestAllocationResult {
	r := result(request, name)
	r.ShareID = new(types.UID(id))
	r.ConsumedCapacity = map[resourceapi.QualifiedName]resource.Quantity{
		"memory": resource.MustParse(memory), "compute": resource.MustParse("25"),
	}
	return r
}

func TestPrepareEachKindOfDevice(t *testing.T) {
	b := newBackend(t, "showcase")
	r := newCaller(b).request(claimUID, result("part", "gpu-2-1g-10gb-3"),
		share("weights", "gpu-4", "aaaabbbb-0000-4000-8000-000000000001", "15Gi"),
		share("cache", "gpu-4", "ccccdddd-0000-4000-8000-000000000002", "10Gi"),
		result("fabric", "gpu-6"), result("net", "nic-0"))
	grants, err := b.Prepare(t.Context(), r)
	check(t, err)
	var all []any
	for _, grant := range grants {
		all = append(all, map[string]any{"edits": grant.Edits, "network": grant.Network, "data": grant.Data})
	}
	got, err := yaml.Marshal(all)
	check(t, err)
	golden(t, "prepare-showcase.yaml", []byte(strings.ReplaceAll(string(got), b.options.Dir, "/run/dragoman/mock")))
	for i, file := range map[int]string{0: "part.json", 1: "share.json", 4: "nic.json"} {
		content, err := os.ReadFile(grants[i].Edits.Mounts[0].HostPath)
		check(t, err)
		golden(t, file, content)
	}
}

// TestSharesDoNotOverwriteEachOther is about everything that a container would have twice under one name.
func TestSharesDoNotOverwriteEachOther(t *testing.T) {
	for name, ids := range map[string][]string{
		"that begin differently":  {"aaaabbbb-0000-4000-8000-000000000001", "ccccdddd-0000-4000-8000-000000000001"},
		"that begin alike":        {"aaaabbbb-0000-4000-8000-000000000001", "aaaabbbb-0000-4000-8000-000000000002"},
		"one within the other":    {"aaaabbbb", "aaaabbbb-0000-4000-8000-000000000002"},
		"three that begin alike":  {"aaaabbbb-1", "aaaabbbb-2", "aaaabbbb-2-3"},
		"shorter than eight ones": {"a", "b"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBackend(t, "showcase")
			var results []resourceapi.DeviceRequestAllocationResult
			for _, id := range ids {
				results = append(results, share("r-"+id, "gpu-5", id, "1Gi"))
			}
			grants, err := b.Prepare(t.Context(), newCaller(b).request(claimUID, results...))
			check(t, err)
			taken := map[string]bool{}
			for i, grant := range grants {
				names := []string{
					grant.Edits.DeviceNodes[0].Path, grant.Edits.Mounts[0].ContainerPath, grant.Edits.Mounts[0].HostPath,
				}
				for _, variable := range grant.Edits.Env {
					name, _, _ := strings.Cut(variable, "=")
					names = append(names, name)
				}
				for _, name := range names {
					if taken[name] {
						t.Errorf("share %s has %s, which another has already", ids[i], name)
					}
					taken[name] = true
				}
			}
			check(t, b.Unprepare(t.Context(), grants[0]))
			if left := len(files(t, b.options.Dir)); left != len(ids) { // the folder and the other files
				t.Errorf("without the first share there are %v", files(t, b.options.Dir))
			}
		})
	}
}

func TestAPartThatHasLeftTheProfileCanBeTakenBack(t *testing.T) {
	file := filepath.Join(t.TempDir(), "profile.yaml")
	writeFile(t, file, fmt.Sprintf(thousands, "H100"))
	b := newBackend(t, file)
	grants, err := b.Prepare(t.Context(), newCaller(b).request(claimUID, result("part", "gpu-3-half-1")))
	check(t, err)
	writeFile(t, file, profileOf(1))
	_, err = b.Devices(t.Context())
	check(t, err)
	check(t, b.Unprepare(t.Context(), grants[0]))
	if left := files(t, b.options.Dir); len(left) != 0 {
		t.Errorf("left %v", left)
	}
}

// TestTheExamplesOfTheREADME decodes what people copy: whole profiles, and groups of one.
func TestTheExamplesOfTheREADME(t *testing.T) {
	text, err := os.ReadFile("README.md")
	check(t, err)
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	for i, block := range blocks {
		profile := block[1]
		if strings.HasPrefix(profile, "- name:") {
			profile = "apiVersion: dragoman.example.com/v1alpha1\nkind: MachineProfile\ngroups:\n" + profile
		}
		file := filepath.Join(t.TempDir(), "profile.yaml")
		writeFile(t, file, profile)
		if len(devices(t, newBackend(t, file))) == 0 {
			t.Errorf("example %d has no devices:\n%s", i, profile)
		}
	}
	if len(blocks) < 6 {
		t.Errorf("found %d examples", len(blocks))
	}
}
