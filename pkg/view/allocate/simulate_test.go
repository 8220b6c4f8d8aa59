package allocate_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"example.com/dragoman/pkg/view"
	"example.com/dragoman/pkg/view/allocate"
)

// said is an answer in a few words: "node-a: gpu-0; node-b: no, why".
func said(s *allocate.Simulation) string {
	var all []string
	for _, n := range s.Nodes {
		text := n.Node + ": "
		switch {
		case n.Fits:
			var allocations []resourceapi.AllocationResult
			for _, g := range n.Claims {
				allocations = append(allocations, *g.Allocation)
			}
			text += got(allocations)
		case n.Why != "":
			text += "no, " + n.Why
		default:
			text += "no"
		}
		all = append(all, text)
	}
	return strings.Join(all, "; ")
}

func TestEachNodeHasAnAnswer(t *testing.T) {
	tainted := node("node-a")
	tainted.Spec.Taints = []corev1.Taint{{Key: "gpu", Effect: corev1.TaintEffectNoSchedule}}
	limited := pod("pod")
	limited.Spec.Containers = []corev1.Container{container("main", "deviceclass.resource.kubernetes.io/gpu", "2")}
	plugged := node("node-b")
	plugged.Status.Allocatable = corev1.ResourceList{"deviceclass.resource.kubernetes.io/gpu": resource.MustParse("4")}
	two := []*resourceapi.ResourceSlice{onNode("node-a", devices(2)...), onNode("node-b", devices(1)...)}
	for title, c := range map[string]struct {
		cluster view.Cluster
		pod     *corev1.Pod
		claims  []*resourceapi.ResourceClaim
		want    string
		first   string
		failed  string
	}{
		"nodes that slices name": {
			cluster: view.Cluster{Slices: two}, claims: []*resourceapi.ResourceClaim{asking("mine", exactly("gpu", 2))},
			want: "node-a: gpu-0 gpu-1; node-b: no", first: "node-a",
		},
		"slices that name no node": {
			cluster: view.Cluster{Slices: []*resourceapi.ResourceSlice{func() *resourceapi.ResourceSlice {
				s := onNode("fabric", devices(1)...)
				s.Spec.NodeName, s.Spec.AllNodes = nil, new(true)
				return s
			}()}},
			claims: []*resourceapi.ResourceClaim{asking("mine", exactly("gpu", 1))},
			want:   "any node: gpu-0", first: "any node",
		},
		"a node with a taint": {
			cluster: view.Cluster{Slices: two, Nodes: []*corev1.Node{tainted, node("node-b")},
				Templates: []*resourceapi.ResourceClaimTemplate{template("one", exactly("gpu", 1))}},
			pod:  pod("pod", byTemplate("gpu", "one")),
			want: "node-a: no, has taint gpu:NoSchedule, which the pod does not tolerate; node-b: gpu-0", first: "node-b",
		},
		"a claim with devices elsewhere": {
			cluster: view.Cluster{Slices: two, Claims: []*resourceapi.ResourceClaim{held("named", "node-b", "gpu-0")},
				Templates: []*resourceapi.ResourceClaimTemplate{template("one", exactly("gpu", 1))}},
			pod:   pod("pod", byName("a", "named")),
			want:  "node-a: no, claim default/named has devices already, which cannot be used here; node-b: gpu-0",
			first: "node-b",
		},
		"a claim with devices elsewhere, and one without": {
			cluster: view.Cluster{Slices: two, Claims: []*resourceapi.ResourceClaim{held("named", "node-b", "gpu-0")},
				Templates: []*resourceapi.ResourceClaimTemplate{template("one", exactly("gpu", 1))}},
			pod:  pod("pod", byName("a", "named"), byTemplate("b", "one")),
			want: "node-a: no, claim default/named has devices already, which cannot be used here; node-b: no",
		},
		"limits, of which a node has some by a device plugin": {
			cluster: view.Cluster{Slices: two, Nodes: []*corev1.Node{node("node-a"), plugged, node("node-c")}}, pod: limited,
			want: "node-a: gpu-0 gpu-1; node-b: ; node-c: no", first: "node-a",
		},
		"limits, on Kubernetes 1.34": {
			cluster: view.Cluster{Version: "v1.34.3", Slices: two, Nodes: []*corev1.Node{node("node-a"), plugged}}, pod: limited,
			want:  "node-a: no, has no deviceclass.resource.kubernetes.io/gpu, and no DeviceClass stands for it; node-b: ",
			first: "node-b",
		},
		"a selector that fails on one node": {
			cluster: view.Cluster{Slices: []*resourceapi.ResourceSlice{
				onNode("node-a", devices(1)...), onNode("node-b", resourceapi.Device{Name: "gpu-0"}),
			}},
			claims: []*resourceapi.ResourceClaim{asking("mine", selecting(`device.attributes["gpu.example.com"].model == "A"`))},
			want: "node-a: gpu-0; node-b: no, claim default/mine: selector #0 on device gpu.example.com/node-b/gpu-0: " +
				"CEL runtime error: no such key: model",
			failed: "no such key: model",
		},
		"a selector that fails where another claim is out of reach": {
			cluster: view.Cluster{
				Slices: two, Claims: []*resourceapi.ResourceClaim{held("named", "node-c", "gpu-0")},
				Templates: []*resourceapi.ResourceClaimTemplate{
					template("one", selecting(`device.attributes["gpu.example.com"].x == 1`)),
				},
			},
			pod:    pod("pod", byName("a", "named"), byTemplate("b", "one")),
			failed: "no such key: x",
		},
		"a pod without claims": {
			cluster: view.Cluster{Slices: two}, pod: pod("pod"), want: "node-a: ; node-b: ", first: "node-a",
		},
	} {
		t.Run(title, func(t *testing.T) {
			c.cluster.Classes = []*resourceapi.DeviceClass{gpuClass()}
			q := allocate.Question{Pod: c.pod, Claims: c.claims}
			s, err := allocate.Simulate(t.Context(), &c.cluster, allocate.Options{}, q)
			if err != nil || len(s.Problems) > 0 {
				t.Fatalf("error: %v, problems: %v", err, s.Problems)
			}
			if g := said(&s); c.want != "" && !strings.HasPrefix(g, c.want) {
				t.Errorf("answers:\n%s\nwant\n%s", g, c.want)
			}
			first := ""
			if n := s.First(); n != nil {
				first = n.Node
			}
			if first != c.first || s.Possible() != (first != "") {
				t.Errorf("first: %q, possible: %t, want %q", first, s.Possible(), c.first)
			}
			var failed *allocate.AttemptError
			if c.failed == "" && s.Failed != nil ||
				c.failed != "" && (!errors.As(s.Failed, &failed) || !strings.Contains(failed.Error(), c.failed)) {
				t.Errorf("failed: %v, want %q", s.Failed, c.failed)
			}
		})
	}
}

func TestProblemsAreThereBeforeANodeIsTried(t *testing.T) {
	alternatives := firstAvailable(2, 1)
	alternatives.FirstAvailable[1].DeviceClassName = "gone"
	other := exactly("other", 1)
	other.Exactly.DeviceClassName = "away"
	c := &view.Cluster{
		Slices:    []*resourceapi.ResourceSlice{onNode("node-a", devices(4)...)},
		Classes:   []*resourceapi.DeviceClass{gpuClass()},
		Templates: []*resourceapi.ResourceClaimTemplate{template("mixed", alternatives, other)},
	}
	s, err := allocate.Simulate(t.Context(), c, allocate.Options{}, allocate.Question{
		Pod: pod("pod", byTemplate("gpu", "mixed"), byName("x", "nobody")),
	})
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for _, p := range s.Problems {
		texts = append(texts, p.Error())
	}
	want := []string{
		`claim default/nobody does not exist`,
		`claim default/pod-gpu, request "gpu/of-1": DeviceClass "gone" does not exist`,
		`claim default/pod-gpu, request "other": DeviceClass "away" does not exist`,
	}
	if !slices.Equal(texts, want) || s.Possible() || s.Nodes != nil {
		t.Errorf("problems:\n%q\nwant\n%q\nnodes: %v", texts, want, s.Nodes)
	}
}

func TestASimulationCanBeGivenUp(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("enough"))
	c := largeCluster(3, 0)
	q := allocate.Question{Claims: []*resourceapi.ResourceClaim{asking("mine", exactly("gpu", 1))}}
	if _, err := allocate.Simulate(ctx, c, allocate.Options{}, q); err == nil || err.Error() != "enough" {
		t.Errorf("error: %v, want the cause", err)
	}
}

// Twenty devices of each of three kinds, and one is missing to have enough of a kind: more combinations than anybody
// can try. On node-z all are of one kind.
func TestASearchThatTakesTooLongEndsAsInTheScheduler(t *testing.T) {
	many, alike := devices(60), devices(21)
	for i := range many {
		many[i].Attributes["kind"] = resourceapi.DeviceAttribute{IntValue: new(int64(i % 3))}
	}
	for i := range alike {
		alike[i].Attributes["kind"] = resourceapi.DeviceAttribute{IntValue: new(int64(0))}
	}
	claim := constrained(sameValue("gpu.example.com/kind"), exactly("gpu", 21))
	easy, hard := onNode("node-z", alike...), func(name string) *resourceapi.ResourceSlice { return onNode(name, many...) }
	for title, c := range map[string]struct {
		version  string
		slices   []*resourceapi.ResourceSlice
		failed   bool
		possible bool
		tried    int // at most
	}{
		"1.35 takes another node":       {"v1.35.4", []*resourceapi.ResourceSlice{hard("node-a"), easy}, false, true, 2},
		"1.34 takes another node":       {"v1.34.3", []*resourceapi.ResourceSlice{hard("node-a"), easy}, false, true, 2},
		"1.36 gives up on the pod":      {"v1.36.0", []*resourceapi.ResourceSlice{hard("node-a"), easy}, true, false, 2},
		"1.37 gives up on the pod":      {"v1.37.2", []*resourceapi.ResourceSlice{hard("node-a"), easy}, true, false, 2},
		"so does one that nobody knows": {"", []*resourceapi.ResourceSlice{hard("node-a"), hard("node-b")}, true, false, 2},
		"1.35 has no other node": {"v1.35.4", []*resourceapi.ResourceSlice{
			hard("a"), hard("b"), hard("c"), hard("d"), hard("e"), hard("f"), hard("g"), hard("h"), hard("i"), hard("j"),
		}, false, false, 9}, // after a few, no more are asked
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			cluster := &view.Cluster{Version: c.version, Slices: c.slices, Classes: []*resourceapi.DeviceClass{gpuClass()}}
			timeout := 20 * time.Millisecond
			if c.possible {
				timeout = 2 * time.Second // a slow machine finds those of node-z in time, too
			}
			s, err := allocate.Simulate(t.Context(), cluster, allocate.Options{Timeout: timeout},
				allocate.Question{Claims: []*resourceapi.ResourceClaim{claim}})
			if err != nil {
				t.Fatal(err)
			}
			if failed := errors.As(s.Failed, new(*allocate.TimeoutError)); failed != c.failed || s.Possible() != c.possible {
				t.Errorf("possible: %t, failed: %v", s.Possible(), s.Failed)
			}
			if len(s.Nodes) > c.tried {
				t.Errorf("%d nodes were tried, want at most %d", len(s.Nodes), c.tried)
			}
			if !c.failed && !strings.Contains(s.Nodes[0].Why, "took longer than") {
				t.Errorf("the first node says %q", s.Nodes[0].Why)
			}
		})
	}
}

func TestNodesAreFilledOneAfterTheOther(t *testing.T) {
	c := &view.Cluster{
		Slices: []*resourceapi.ResourceSlice{
			onNode("node-a", devices(3)...), onNode("node-b", devices(1)...), onNode("node-c", devices(4)...),
		},
		Classes:   []*resourceapi.DeviceClass{gpuClass()},
		Templates: []*resourceapi.ResourceClaimTemplate{template("two", exactly("gpu", 2))},
	}
	for wanted, want := range map[int]string{
		1: "node-a: gpu-0 gpu-1", 3: "node-a: gpu-0 gpu-1; node-c: gpu-0 gpu-1; node-c: gpu-2 gpu-3",
		10: "node-a: gpu-0 gpu-1; node-c: gpu-0 gpu-1; node-c: gpu-2 gpu-3",
	} {
		a, err := allocate.New(c, allocate.Options{})
		if err != nil {
			t.Fatal(err)
		}
		placed, err := a.Fill(t.Context(), allocate.Question{Pod: pod("pod", byTemplate("gpu", "two"))}, wanted)
		if err != nil {
			t.Fatal(err)
		}
		if g := said(&allocate.Simulation{Nodes: placed}); g != want {
			t.Errorf("%d wanted: %s, want %s", wanted, g, want)
		}
		if n := len(a.Cluster().Claims); n != len(placed) {
			t.Errorf("%d wanted: the cluster has %d claims by then, want %d", wanted, n, len(placed))
		}
	}
	if len(c.Claims) > 0 {
		t.Errorf("the cluster that was given has changed: %d claims", len(c.Claims))
	}
}

// A claim that several pods name is allocated for the first of them. The others go where it is.
func TestPodsFollowTheirCommonClaim(t *testing.T) {
	c := &view.Cluster{
		Slices:  []*resourceapi.ResourceSlice{onNode("node-a", devices(1)...), onNode("node-b", devices(1)...)},
		Classes: []*resourceapi.DeviceClass{gpuClass()},
		Claims:  []*resourceapi.ResourceClaim{asking("common", exactly("gpu", 1))},
	}
	a, err := allocate.New(c, allocate.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var answers []string
	for i := range 3 {
		p := pod(fmt.Sprint("pod-", i), byName("gpu", "common"))
		s, err := a.Simulate(t.Context(), allocate.Question{Pod: p})
		if err != nil {
			t.Fatal(err)
		}
		answers = append(answers, said(&s))
		if err := a.Commit(*s.First(), p); err != nil {
			t.Fatal(err)
		}
	}
	there := "node-a: gpu-0; node-b: no, claim default/common has devices already, which cannot be used here"
	if want := []string{"node-a: gpu-0; node-b: gpu-0", there, there}; !slices.Equal(answers, want) {
		t.Errorf("answers:\n%q\nwant\n%q", answers, want)
	}
	if c.Claims[0].Status.Allocation != nil {
		t.Error("the cluster that was given has changed")
	}
}
