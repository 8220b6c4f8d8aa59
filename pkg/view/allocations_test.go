package view

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

const claims = `
apiVersion: resource.k8s.io/v1
kind: ResourceClaim
metadata: {namespace: team-b, name: half, uid: "2"}
status:
  reservedFor:
  - {resource: pods, name: z, uid: "20"}
  - {apiGroup: scheduling.k8s.io, resource: podgroups, name: ring, uid: "21"}
  - {resource: pods, name: a, uid: "22"}
  allocation:
    nodeSelector:
      nodeSelectorTerms:
      - matchFields: [{key: metadata.name, operator: In, values: [node-a]}]
    devices:
      results:
      - request: gpu
        driver: d
        pool: p
        device: gpu-0
        shareID: bbbbbbbb-0000-4000-8000-000000000000
        consumedCapacity: {memory: 10Gi}
      - {request: gpu, driver: d, pool: p, device: gpu-0, shareID: aaaaaaaa-0000-4000-8000-000000000000}
  devices:
  - {driver: d, pool: p, device: gpu-0, shareID: aaaaaaaa-0000-4000-8000-000000000000, data: {which: a}}
  - {driver: d, pool: p, device: gpu-0, shareID: bbbbbbbb-0000-4000-8000-000000000000, data: {which: b}}
---
apiVersion: resource.k8s.io/v1
kind: ResourceClaim
metadata: {namespace: monitoring, name: all, uid: "3"}
status:
  allocation:
    devices:
      results:
      - {request: gpu, driver: d, pool: p, device: gpu-0, adminAccess: true}
      - {request: gpu, driver: d, pool: p, device: gpu-1, adminAccess: true}
---
apiVersion: resource.k8s.io/v1
kind: ResourceClaim
metadata: {namespace: team-a, name: whole, uid: "1"}
status:
  allocation:
    nodeSelector:
      nodeSelectorTerms:
      - matchExpressions: [{key: rack, operator: In, values: [r1]}]
    devices:
      results:
      - {request: either/small, driver: c, pool: p, device: gpu-0}
---
apiVersion: resource.k8s.io/v1
kind: ResourceClaim
metadata: {namespace: team-a, name: waiting, uid: "4"}
`

func TestAllocationsSayWhoHasADevice(t *testing.T) {
	a := NewAllocations(cluster(t, claims))
	for id, test := range map[DeviceID]struct {
		want []string
		held bool
	}{
		{"d", "p", "gpu-0"}: {
			want: []string{
				"team-b/half gpu on node-a, pods [team-b/a team-b/z], 1 other, share aaaa, status {\"which\":\"a\"}",
				"team-b/half gpu on node-a, pods [team-b/a team-b/z], 1 other, share bbbb of 10Gi, status {\"which\":\"b\"}",
				"monitoring/all gpu on , pods [], 0 other, admin",
			},
			held: true,
		},
		{"d", "p", "gpu-1"}: {want: []string{"monitoring/all gpu on , pods [], 0 other, admin"}},
		{"c", "p", "gpu-0"}: {want: []string{"team-a/whole either/small on , pods [], 0 other"}, held: true},
		{"d", "q", "gpu-0"}: {},
	} {
		var got []string
		for _, u := range a.Of(id) {
			text := fmt.Sprintf("%s %s on %s, pods %v, %d other", u.Claim, u.Request, u.Node, u.Pods, len(u.Others))
			if u.AdminAccess {
				text += ", admin"
			}
			if u.Shared() {
				text += ", share " + string(*u.ShareID)[:4]
			}
			if memory, ok := u.Consumed["memory"]; ok {
				text += " of " + memory.String()
			}
			if u.Status != nil {
				text += ", status " + string(u.Status.Data.Raw)
			}
			got = append(got, text)
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s:\n%s\nwant\n%s", id, strings.Join(got, "\n"), strings.Join(test.want, "\n"))
		}
		if held := a.Held(id); held != test.held {
			t.Errorf("%s is held: %t, want %t", id, held, test.held)
		}
	}
	if got, want := fmt.Sprint(a.Devices()), "[c/p/gpu-0 d/p/gpu-0 d/p/gpu-1]"; got != want {
		t.Errorf("devices: %s, want %s", got, want)
	}
}
