package view

import (
	"fmt"
	"strings"
	"testing"
)

// slice is YAML of a slice of pool p with devices or counter sets of the names, for one node if it has a name.
func slice(name, node string, generation, count int, what string) string {
	if node != "" {
		node = "nodeName: " + node
	} else {
		node = "allNodes: true"
	}
	return fmt.Sprintf(`---
apiVersion: resource.k8s.io/v1
kind: ResourceSlice
metadata: {name: %s}
spec: {driver: d, pool: {name: p, generation: %d, resourceSliceCount: %d}, %s, %s}
`, name, generation, count, node, what)
}

func TestAPoolIsItsNewestGeneration(t *testing.T) {
	const counters = `sharedCounters: [{name: gpu, counters: {memory: {value: "8"}}}]`
	device := func(name string) string { return "devices: [{name: " + name + "}]" }
	part := func(set, counter string) string {
		return fmt.Sprintf(`devices: [{name: part, consumesCounters: [{counterSet: %s, counters: {%s: {value: "1"}}}]}]`,
			set, counter)
	}
	for name, test := range map[string]struct {
		slices  []string
		version string
		want    string
	}{
		"all slices there": {
			slices: []string{slice("b", "node-a", 3, 2, device("z")), slice("a", "node-a", 3, 2, device("x"))},
			want:   "generation 3: a b; stale: ; node node-a; complete",
		},
		"slices of older generations are stale": {
			slices: []string{
				slice("b", "node-a", 2, 1, device("z")), slice("a", "node-a", 3, 1, device("x")),
				slice("A", "node-a", 1, 1, device("x")),
			},
			want: "generation 3: a; stale: A b; node node-a; complete",
		},
		"a generation may be negative, as after an overflow": {
			slices: []string{slice("b", "node-a", -2, 1, device("z"))},
			want:   "generation -2: b; stale: ; node node-a; complete",
		},
		"a slice is missing": {
			slices: []string{slice("a", "node-a", 3, 2, device("x"))},
			want:   "generation 3: a; stale: ; node node-a; the pool has 1 of 2 slices of generation 3",
		},
		"a slice is missing, which Kubernetes 1.34 does not mind": {
			slices: []string{slice("a", "node-a", 3, 2, device("x"))}, version: "v1.34.3",
			want: "generation 3: a; stale: ; node node-a; not complete, but usable",
		},
		"a slice too many": {
			slices: []string{slice("a", "node-a", 3, 1, device("x")), slice("b", "node-a", 3, 1, device("z"))},
			want:   "generation 3: a b; stale: ; node node-a; the pool has 2 of 1 slices of generation 3",
		},
		"for several nodes": {
			slices: []string{slice("a", "node-a", 3, 2, device("x")), slice("b", "node-b", 3, 2, device("z"))},
			want:   "generation 3: a b; stale: ; node ; complete",
		},
		"for all nodes": {
			slices: []string{slice("a", "", 3, 1, device("x"))},
			want:   "generation 3: a; stale: ; node ; complete",
		},
		"a device twice": {
			slices: []string{slice("a", "node-a", 3, 2, device("x")), slice("b", "node-a", 3, 2, device("x"))},
			want:   `generation 3: a b; stale: ; node node-a; the pool has two devices "x"`,
		},
		"a device twice, in Kubernetes 1.34 too": {
			slices:  []string{slice("a", "node-a", 3, 2, device("x")), slice("b", "node-a", 3, 2, device("x"))},
			version: "v1.34.3",
			want:    `generation 3: a b; stale: ; node node-a; the pool has two devices "x"`,
		},
		"a counter set twice": {
			slices: []string{slice("a", "node-a", 3, 2, counters), slice("b", "node-a", 3, 2, counters)},
			want:   `generation 3: a b; stale: ; node node-a; the pool has two counter sets "gpu"`,
		},
		"counters that are there": {
			slices: []string{slice("a", "node-a", 3, 2, counters), slice("b", "node-a", 3, 2, part("gpu", "memory"))},
			want:   `generation 3: a b; stale: ; node node-a; complete`,
		},
		"a counter set that is not there": {
			slices: []string{slice("a", "node-a", 3, 2, counters), slice("b", "node-a", 3, 2, part("gpo", "memory"))},
			want: `generation 3: a b; stale: ; node node-a; ` +
				`device "part" consumes from counter set "gpo", which the pool does not have`,
		},
		"a counter that is not there": {
			slices: []string{slice("a", "node-a", 3, 2, counters), slice("b", "node-a", 3, 2, part("gpu", "memori"))},
			want: `generation 3: a b; stale: ; node node-a; ` +
				`device "part" consumes counter "memori", which counter set "gpu" does not have`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := cluster(t, strings.Join(test.slices, ""))
			c.Version = test.version
			pools := c.Pools()
			if len(pools) != 1 || pools[0].Driver != "d" || pools[0].Name != "p" {
				t.Fatalf("pools: %v", pools)
			}
			p := pools[0]
			end := p.Problem
			switch {
			case p.Usable() && p.Complete:
				end = "complete"
			case p.Usable():
				end = "not complete, but usable"
			}
			got := fmt.Sprintf("generation %d: %s; stale: %s; node %s; %s", p.Generation,
				strings.Join(namesInOrder(p.Slices), " "), strings.Join(namesInOrder(p.Stale), " "), p.Node, end)
			if got != test.want {
				t.Errorf("%s\nwant %s", got, test.want)
			}
		})
	}
}

func namesInOrder[T interface{ GetName() string }](objects []T) []string {
	var names []string
	for _, o := range objects {
		names = append(names, o.GetName())
	}
	return names
}

func TestPoolsAreSortedByDriverAndName(t *testing.T) {
	var text string
	for _, p := range []string{"b/x", "a/z", "b/a", "a/w"} {
		driver, pool, _ := strings.Cut(p, "/")
		text += strings.NewReplacer("driver: d", "driver: "+driver, "name: p,", "name: "+pool+",").Replace(
			slice(driver+"-"+pool, "node-a", 1, 1, "devices: []"))
	}
	var got []string
	for _, p := range cluster(t, text).Pools() {
		got = append(got, p.Driver+"/"+p.Name)
	}
	if want := "a/w a/z b/a b/x"; strings.Join(got, " ") != want {
		t.Errorf("%s, want %s", got, want)
	}
}
