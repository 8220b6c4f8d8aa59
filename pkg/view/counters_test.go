package view

import (
	"fmt"
	"strings"
	"testing"
)

// partsCluster is a pool with counter set gpu of 8 memory and 7 engines, and devices that consume from it:
// "name=memory,engines,groups". The devices named are held.
func partsCluster(t *testing.T, devices []string, held ...string) (*Pool, *Allocations) {
	t.Helper()
	var published []string
	for _, d := range devices {
		name, rest, _ := strings.Cut(d, "=")
		amounts := strings.Split(rest, ",")
		groups := ""
		if len(amounts) > 2 {
			groups = ", compatibilityGroups: [" + strings.Join(amounts[2:], ",") + "]"
		}
		published = append(published, fmt.Sprintf(
			`{name: %s, consumesCounters: [{counterSet: gpu, counters: {memory: {value: "%s"}, engines: {value: "%s"}}%s}]}`,
			name, amounts[0], amounts[1], groups))
	}
	const counters = `sharedCounters: [{name: gpu, counters: {memory: {value: "8"}, engines: {value: "7"}}}]`
	text := slice("a", "node-a", 1, 2, counters) +
		slice("b", "node-a", 1, 2, "devices: ["+strings.Join(published, ",")+"]")
	for _, h := range held {
		text += fmt.Sprintf(`---
apiVersion: resource.k8s.io/v1
kind: ResourceClaim
metadata: {name: of-%s}
status: {allocation: {devices: {results: [{request: r, driver: d, pool: p, device: %s}]}}}
`, h, h)
	}
	c := cluster(t, text)
	return &c.Pools()[0], NewAllocations(c)
}

func TestADeviceFitsIfItsCountersAreThere(t *testing.T) {
	for name, test := range map[string]struct {
		devices []string
		held    []string
		want    map[string]string // "" fits; otherwise who blocks, "nobody" if nobody does
	}{
		"nothing is held": {
			devices: []string{"whole=8,7", "half=4,3", "other=4,3"},
			want:    map[string]string{"whole": "", "half": "", "other": ""},
		},
		"a part blocks the whole": {
			devices: []string{"whole=8,7", "half=4,3", "other=4,3", "rest=4,4"}, held: []string{"half"},
			want: map[string]string{"whole": "half", "other": "", "rest": ""},
		},
		"the whole blocks the parts": {
			devices: []string{"whole=8,7", "half=4,3", "none=0,0"}, held: []string{"whole"},
			want: map[string]string{"half": "whole", "none": ""},
		},
		"only who has what is short blocks": {
			devices: []string{"engine=0,7", "mem=4,0", "part=4,1"}, held: []string{"engine", "mem"},
			want: map[string]string{"part": "engine"},
		},
		"several block, in the order of the slices": {
			devices: []string{"whole=8,7", "b=1,1", "a=1,1"}, held: []string{"a", "b"},
			want: map[string]string{"whole": "b a"},
		},
		"more than the set ever had": {
			devices: []string{"huge=9,1", "half=4,3"},
			want:    map[string]string{"huge": "nobody", "half": ""},
		},
		"more is held than there is, as after a change of the slices": {
			devices: []string{"a=8,1", "b=8,1", "c=1,1", "d=0,1", "e=0,0"}, held: []string{"a", "b"},
			want: map[string]string{"c": "a b", "d": "a b", "e": "a b"},
		},
		"devices with a group in common": {
			devices: []string{"a=1,1,mig", "b=1,1,mig,vgpu", "c=1,1,vgpu", "plain=1,1"}, held: []string{"a"},
			want: map[string]string{"b": "", "c": "a", "plain": "a"},
		},
		"devices without groups go with others without": {
			devices: []string{"a=1,1", "b=1,1,mig", "c=1,1"}, held: []string{"a"},
			want: map[string]string{"b": "a", "c": ""},
		},
		"a group that two have and three do not": {
			devices: []string{"a=1,1,x,z", "b=1,1,z,w", "c=1,1,x,w", "d=1,1,z"}, held: []string{"a", "b"},
			want: map[string]string{"c": "a b", "d": ""},
		},
	} {
		t.Run(name, func(t *testing.T) {
			pool, allocations := partsCluster(t, test.devices, test.held...)
			counters := NewCounters(pool, allocations)
			for i := range pool.Slices[1].Spec.Devices {
				d := &pool.Slices[1].Spec.Devices[i]
				want, asked := test.want[d.Name]
				if !asked {
					continue
				}
				got := strings.Join(counters.Blockers(d), " ")
				switch fits := counters.Fits(d); {
				case fits && got != "":
					t.Errorf("%s fits, and %s blocks it", d.Name, got)
				case !fits && got == "":
					got = "nobody"
				}
				if got != want {
					t.Errorf("%s is blocked by %q, want %q", d.Name, got, want)
				}
			}
		})
	}
}

func TestACounterSetSaysWhatItCanStillGive(t *testing.T) {
	for name, test := range map[string]struct {
		devices []string
		held    []string
		want    string
	}{
		"each kind for itself, the largest first": {
			devices: []string{"small-0=2,2", "whole=8,7", "small-1=2,2", "small-2=2,2", "small-3=2,2"},
			want:    "1 whole, 3 small",
		},
		"what is held is gone": {
			devices: []string{"whole=8,7", "small-0=2,2", "small-1=2,2"}, held: []string{"small-0"}, want: "1 small",
		},
		"nothing":                       {devices: []string{"whole=8,7", "small-0=2,2"}, held: []string{"whole"}},
		"kinds that do not fit are out": {devices: []string{"huge=9,1", "small-0=2,2"}, want: "1 small"},
	} {
		t.Run(name, func(t *testing.T) {
			pool, allocations := partsCluster(t, test.devices, test.held...)
			counters := NewCounters(pool, allocations)
			var members []member
			for i := range pool.Slices[1].Spec.Devices {
				d := &pool.Slices[1].Spec.Devices[i]
				profile, _, numbered := strings.Cut(d.Name, "-")
				if !numbered {
					profile = ""
				}
				open := !allocations.Held(DeviceID{"d", "p", d.Name})
				members = append(members, member{device: d, profile: profile, open: open})
			}
			var got []string
			for _, parts := range counters.gives(members) {
				got = append(got, fmt.Sprintf("%d %s", parts.Count, parts.Profile))
			}
			if text := strings.Join(got, ", "); text != test.want {
				t.Errorf("%s, want %s", text, test.want)
			}
			if again := counters.gives(members); len(again) != len(got) {
				t.Errorf("counting took something: %v", again)
			}
		})
	}
}
