package degradation

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	resourceapi "k8s.io/api/resource/v1"

	"example.com/dragoman/pkg/device/mock"
	"example.com/dragoman/pkg/inventory"
	"example.com/dragoman/pkg/publish"
)

// extreme is a machine profile with as much of everything as a profile may say.
func extreme() string {
	entries := func(n int, form string) string {
		var all []string
		for i := range n {
			all = append(all, fmt.Sprintf(form, i))
		}
		return strings.Join(all, ", ")
	}
	long := strings.Repeat("n", 58)
	return `
apiVersion: dragoman.example.com/v1alpha1
kind: MachineProfile
groups:
- name: cut
  count: 20
  deviceName: ` + long + `-{index:03d}
  attributes: {` + entries(30, "a%d: {string: '{uuid}"+long[:28]+"'}") + `}
  capacity: {c: {value: 999999999999999999E}, d: {value: 0.000000001}}
  taints: [{key: example.com/` + strings.Repeat("k", 63) + `,
      value: ` + strings.Repeat("v", 63) + `, effect: NoSchedule},
    {key: b, effect: NoExecute}, {key: b, effect: NoSchedule}]
  binding:
    conditions: [a, b, c, example.com/` + strings.Repeat("d", 63) + `]
    failureConditions: [e, f, g, h]
    bindsToNode: true
  partitioning:
    counters: {` + entries(24, "counter-%d: 999999999999999999") + `}
    slots: {counter: ` + long + `, count: 8}
    partitions:
    - {name: all, deviceName: "all-{index}", size: 8, starts: [0], counters: {` +
		entries(24, "counter-%d: 999999999999999999") + `}}
    - {name: one, deviceName: "one-{index}-{start}", size: 1, starts: [0, 1, 2, 3, 4, 5, 6, 7]}
- name: ranges
  count: 2
  allowMultipleAllocations: true
  capacity:
    a: {value: 8, requestPolicy: {default: 8}}
    b: {value: 80Gi, requestPolicy: {default: 1, validValues: [1, 2, 3, 4, 5, 6, 7, 8, 9Ki, 80Gi]}}
    c: {value: 8, requestPolicy: {default: 8, validRange: {min: 8, max: 8}}}
    d: {value: 9, requestPolicy: {default: 5, validRange: {min: 1, max: 9, step: 4}}}
    e: {value: 10, requestPolicy: {default: 9, validRange: {min: 1, step: 4}}}
    f: {value: 9E, requestPolicy: {default: 9E, validRange: {min: 0, max: 9E, step: 1E}}}
    g: {value: 0.5, requestPolicy: {default: 0, validRange: {min: 0}}}
`
}

// What a machine profile may say is what API servers accept, all of it and on each release.
func TestMachineProfilesArePublished(t *testing.T) {
	profiles := mock.BuiltIn()
	file := filepath.Join(t.TempDir(), "extreme.yaml")
	if err := os.WriteFile(file, []byte(extreme()), 0o600); err != nil {
		t.Fatal(err)
	}
	profiles = append(profiles, file)
	for name, version := range map[string][2]string{
		"1.34 with its gates": {"v1.34.3", gates134}, "1.37": {"v1.37.2", ""},
	} {
		t.Run(name, func(t *testing.T) {
			client := start(t, version[0], version[1])
			features, err := publish.Probe(t.Context(), optionsFor(client), resourceapi.DeviceTaintEffectNoSchedule)
			if err != nil {
				t.Fatal(err)
			}
			p := publishing(t, client)
			for _, profile := range profiles {
				machine, err := mock.New(mock.Options{Profile: profile, NodeName: node, DriverName: driver, Dir: t.TempDir()})
				if err != nil {
					t.Fatal(err)
				}
				snapshot, err := machine.Devices(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				specs, leftOut := inventory.Slices(snapshot, driver, node, offer(features))
				if len(leftOut) > 0 {
					t.Errorf("of %s is left out: %v", profile, leftOut)
				}
				p.publish(specs)
				if n := len(outline(p.stored())); n != len(snapshot.Devices) {
					t.Errorf("of %s, %d of %d devices are published", profile, n, len(snapshot.Devices))
				}
			}
		})
	}
}
