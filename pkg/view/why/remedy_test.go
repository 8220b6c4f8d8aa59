package why

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"example.com/dragoman/pkg/view"
)

// TestASearchForChangesIsCutAfterATime: a few tries are made always, so that small clusters have one answer.
func TestASearchForChangesIsCutAfterATime(t *testing.T) {
	longAgo := time.Now().Add(-time.Hour)
	for name, want := range map[string]struct {
		search search
		cut    bool
	}{
		"a few tries, however long they took": {search{tries: fewTries, begun: longAgo}, false},
		"more tries in no time":               {search{tries: fewTries + 1, begun: time.Now().Add(time.Hour)}, false},
		"more tries that took long":           {search{tries: fewTries + 1, begun: longAgo}, true},
		"far more tries in no time":           {search{tries: mostTries + 1, begun: time.Now().Add(time.Hour)}, true},
	} {
		t.Run(name, func(t *testing.T) {
			f := want.search
			f.examination = &examination{}
			if f.cut() != want.cut || f.answer.SearchCut != want.cut {
				t.Errorf("cut: %t, said: %t, want %t", f.cut(), f.answer.SearchCut, want.cut)
			}
		})
	}
}

// TestChangesAreTriedOnlyWhereTheyCanHelp compares the nodes on which a change is tried with all: what is left out must
// not hide a node where the allocator says yes.
func TestChangesAreTriedOnlyWhereTheyCanHelp(t *testing.T) {
	const seed, cases = 5, 300
	r := madeUp{rand.New(rand.NewPCG(seed, seed))} //nolint:gosec // the same cases each time
	leftOut, yes := 0, 0
	for i := range cases {
		c := r.cluster(t.Context(), t)
		claim := r.claim("wanted", 1+i%3)
		c.Claims = append(c.Claims, claim)
		e := examine(c, "ResourceClaim", types.NamespacedName{Namespace: "default", Name: "wanted"})
		s := situation{cluster: c, claims: []*resourceapi.ResourceClaim{claim}, nodes: e.nodes}
		f := &search{examination: e, base: s, judges: e.funnels(t.Context(), s.claims, s.nodes)}
		for _, change := range slices.Concat(f.fewer(), f.less(), f.waits(), f.tolerations(), f.withoutSelectors()) {
			for _, node := range e.nodes {
				if change.where == nil || change.where(node) {
					continue
				}
				leftOut++
				there := change.apply(s)
				there.nodes = []*corev1.Node{node}
				v, err := there.ask(t.Context(), true)
				if err != nil {
					t.Fatal(err)
				}
				before, err := situation{cluster: c, claims: s.claims, nodes: there.nodes}.ask(t.Context(), true)
				if err != nil {
					t.Fatal(err)
				}
				if v.Can() && !before.Can() {
					t.Errorf("case %d: %q would help on %s, and is not tried there", i, change.text, node.Name)
				}
				if v.Can() {
					yes++
				}
			}
		}
	}
	t.Logf("%d times left out, %d of them could give all before too", leftOut, yes)
	if leftOut < cases {
		t.Errorf("only %d nodes were left out", leftOut)
	}
}

// largeCluster has nodes with eight devices each, of which seven are in use.
func largeCluster(nodes int) *view.Cluster {
	c := &view.Cluster{Classes: []*resourceapi.DeviceClass{{ObjectMeta: metav1.ObjectMeta{Name: "gpu"}}}}
	for i := range nodes {
		name := fmt.Sprintf("node-%04d", i)
		c.Nodes = append(c.Nodes, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}})
		slice := &resourceapi.ResourceSlice{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: resourceapi.ResourceSliceSpec{
			Driver: driver, NodeName: &name, Pool: resourceapi.ResourcePool{Name: name, ResourceSliceCount: 1},
		}}
		for k := range 8 {
			device := fmt.Sprintf("gpu-%d", k)
			slice.Spec.Devices = append(slice.Spec.Devices, resourceapi.Device{Name: device})
			if k == 7 {
				continue
			}
			held := &resourceapi.ResourceClaim{ObjectMeta: metav1.ObjectMeta{
				Namespace: "default", Name: name + "-" + device, UID: types.UID(name + device),
			}}
			held.Status.Allocation = &resourceapi.AllocationResult{Devices: resourceapi.DeviceAllocationResult{
				Results: []resourceapi.DeviceRequestAllocationResult{{Request: "gpu", Driver: driver, Pool: name, Device: device}},
			}}
			c.Claims = append(c.Claims, held)
		}
		c.Slices = append(c.Slices, slice)
	}
	return c
}

// A claim wants more devices than any of a thousand nodes with eight GPUs can give, so that all changes are tried.
func BenchmarkWhyOnAThousandNodes(b *testing.B) {
	for _, count := range []int64{2, 9} {
		b.Run(fmt.Sprintf("count=%d", count), func(b *testing.B) {
			c := largeCluster(1000)
			claim := &resourceapi.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "wanted"}}
			claim.Spec.Devices.Requests = []resourceapi.DeviceRequest{{Name: "gpu", Exactly: &resourceapi.ExactDeviceRequest{
				DeviceClassName: "gpu", AllocationMode: resourceapi.DeviceAllocationModeExactCount, Count: count,
			}}}
			c.Claims = append(c.Claims, claim)
			for b.Loop() {
				a, err := Claim(b.Context(), c, types.NamespacedName{Namespace: "default", Name: "wanted"})
				if err != nil || a.State != Waiting || len(a.Next) == 0 {
					b.Fatalf("is %s, next %v, error %v", a.State, a.Next, err)
				}
			}
		})
	}
}

// TestASearchThatTakesTooLongIsNamed has an allocator that gives up soon.
func TestASearchThatTakesTooLongIsNamed(t *testing.T) {
	for name, c := range map[string]struct {
		version string
		nodes   int
		state   State
		reason  ReasonID
		want    string
	}{
		"one node, on 1.35": {"v1.35.4", 1, Waiting, TakesTooLong,
			"the scheduler then leaves the node out, and no other can give the devices"},
		"many nodes, on 1.35": {"v1.35.4", 20, Unknown, CannotTell, "more could not be tried"},
		"one node, on 1.37": {"v1.37.2", 1, Waiting, TakesTooLong,
			"the scheduler then gives up on the pod, whatever other nodes have"},
	} {
		t.Run(name, func(t *testing.T) {
			var nodes []*corev1.Node
			var pools []*resourceapi.ResourceSlice
			for i := range c.nodes {
				name := fmt.Sprintf("node-%d", i)
				nodes = append(nodes, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}})
				pools = append(pools, labelled(name, "", name))
				pools[i].Spec.Devices = nil
				for j := range 60 {
					pools[i].Spec.Devices = append(pools[i].Spec.Devices, resourceapi.Device{
						Name: fmt.Sprintf("gpu-%d", j),
						Attributes: map[resourceapi.QualifiedName]resourceapi.DeviceAttribute{
							"kind": {IntValue: new(int64(j % 3))},
						},
					})
				}
			}
			claim := &resourceapi.ResourceClaim{}
			claim.Namespace, claim.Name = "default", "wanted"
			claim.Spec.Devices.Requests = []resourceapi.DeviceRequest{
				asking("alike", "gpu", func(e *resourceapi.ExactDeviceRequest) { e.Count = 21 }),
			}
			claim.Spec.Devices.Constraints = []resourceapi.DeviceConstraint{{
				MatchAttribute: ptr.To(resourceapi.FullyQualifiedName(driver + "/kind")),
			}}
			cluster := &view.Cluster{
				Version: c.version, Slices: pools, Claims: []*resourceapi.ResourceClaim{claim}, Nodes: nodes,
				Classes: []*resourceapi.DeviceClass{{ObjectMeta: metav1.ObjectMeta{Name: "gpu"}}},
			}
			e := examine(cluster, "ResourceClaim", types.NamespacedName{Namespace: "default", Name: "wanted"})
			e.parts = []part{{claim: claim, exists: true}}
			asked := situation{cluster: cluster, claims: cluster.Claims, nodes: e.nodes, limit: 20 * time.Millisecond}
			if err := e.judge(t.Context(), asked, e.nodes, true); err != nil {
				t.Fatal(err)
			}
			e.conclude()
			a := e.answer
			if a.State != c.state || a.Reasons[0].ID != c.reason || !strings.HasSuffix(a.Summary, c.want) {
				t.Errorf("is %s: %s %v", a.State, a.Summary, a.Reasons)
			}
			if len(a.Next) == 0 || a.Next[0].Kind != AskForFewer {
				t.Errorf("next: %v", a.Next)
			}
		})
	}
}
