package why_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"

	"example.com/dragoman/pkg/view"
	"example.com/dragoman/pkg/view/why"
)

// recorded is a cluster of testdata. cmd/kubectl-dra has the screens that it makes, in answer.txt.
func recorded(t *testing.T, name string) *view.Cluster {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name, "cluster.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := clusterOf(text)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func clusterOf(text []byte) (*view.Cluster, error) {
	var objects []runtime.Object
	for decoder := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096); ; {
		var object unstructured.Unstructured
		if err := decoder.Decode(&object.Object); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		if len(object.Object) > 0 {
			objects = append(objects, &object)
		}
	}
	return view.FromObjects(objects)
}

var train = types.NamespacedName{Namespace: "default", Name: "train-1"} //nolint:gochecknoglobals // the usual pod

func podAnswer(t *testing.T, c *view.Cluster, key types.NamespacedName) why.Answer {
	t.Helper()
	a, err := why.Pod(t.Context(), c, key)
	if err != nil {
		t.Fatal(err)
	}
	adds(t, a)
	return a
}

// adds checks that each funnel adds up.
func adds(t *testing.T, a why.Answer) {
	t.Helper()
	sum := func(lost []why.Loss) int {
		n := 0
		for _, l := range lost {
			n += l.Devices
		}
		return n
	}
	for _, r := range a.Requests {
		if sum(r.Lost)+r.Left != r.Devices {
			t.Errorf("request %s: lost %d and left %d are not %d devices", r.Name, sum(r.Lost), r.Left, r.Devices)
		}
		enough, seen := false, make(map[string]bool)
		for _, n := range r.Nodes {
			if sum(n.Lost)+n.Left != n.Devices {
				t.Errorf("request %s on %s: lost %d and left %d are not %d", r.Name, n.Nodes, sum(n.Lost), n.Left, n.Devices)
			}
			for _, name := range n.Nodes {
				if seen[name] {
					t.Errorf("request %s: node %s is told twice", r.Name, name)
				}
				seen[name] = true
			}
			enough = enough || n.Enough
		}
		if enough != r.Enough {
			t.Errorf("request %s: enough is %t, and on the nodes %t", r.Name, r.Enough, enough)
		}
	}
}

func ids(a why.Answer) []why.ReasonID {
	var ids []why.ReasonID
	for _, r := range a.Reasons {
		ids = append(ids, r.ID)
	}
	return ids
}

func kinds(a why.Answer) []why.RemedyKind {
	var kinds []why.RemedyKind
	for _, r := range a.Next {
		kinds = append(kinds, r.Kind)
	}
	return kinds
}

func TestPodsWaitForAReasonThatHasAName(t *testing.T) {
	reasons := func(r ...why.ReasonID) []why.ReasonID { return r }
	next := func(k ...why.RemedyKind) []why.RemedyKind { return k }
	for name, want := range map[string]struct {
		state   why.State
		reasons []why.ReasonID
		next    []why.RemedyKind
	}{
		"all-devices":          {why.Waiting, reasons(why.NotEnough), next(why.AskForFewer, why.WaitFor)},
		"binding-failed":       {why.Waiting, reasons(why.BindingConditions), next(why.Do)},
		"binding-conditions":   {why.Waiting, reasons(why.BindingConditions), next(why.Do)},
		"bound-by-hand":        {why.Waiting, reasons(why.BoundByHand), next(why.Do)},
		"capacity":             {why.Waiting, reasons(why.NotEnough), next(why.AskForLess, why.WaitFor)},
		"capacity-too-large":   {why.Waiting, reasons(why.NotEnough), next(why.AskForLess)},
		"claim-being-deleted":  {why.Waiting, reasons(why.ClaimBeingDeleted), next(why.Do)},
		"claim-elsewhere":      {why.Waiting, reasons(why.ClaimElsewhere), next(why.Do)},
		"claim-full":           {why.Waiting, reasons(why.ClaimFull), next(why.Do)},
		"claim-missing":        {why.Waiting, reasons(why.ClaimMissing), next(why.Do)},
		"claim-not-created":    {why.Waiting, reasons(why.ClaimNotCreated), next(why.Do)},
		"claim-of-another-pod": {why.Waiting, reasons(why.ClaimOfAnotherPod), next(why.Do)},
		"claim-refused":        {why.Waiting, reasons(why.ClaimRefused), next(why.Do)},
		"claim-too-large":      {why.Waiting, reasons(why.TooManyDevices), next(why.AskForFewer, why.Do)},
		"class-missing":        {why.Waiting, reasons(why.ClassMissing), next(why.FixClass)},
		"constraint": {why.Waiting, reasons(why.Constraint),
			next(why.AskForFewer, why.WaitFor, why.DropConstraint)},
		"constraint-missing-attribute": {why.Waiting, reasons(why.Constraint), next(why.DropConstraint)},
		"counters":                     {why.Waiting, reasons(why.NotEnough), next(why.WaitFor, why.DropSelector)},
		"counters-together": {why.Waiting, reasons(why.Together),
			next(why.AskForFewer, why.WaitFor, why.DropSelector)},
		"cpu":                                 {why.Possible, reasons(why.OtherThanDevices), nil},
		"different-nodes":                     {why.Waiting, reasons(why.Together), nil},
		"driver-not-registered":               {why.Waiting, reasons(why.DriverNotRegistered), next(why.Do)},
		"extended-resource":                   {why.Waiting, reasons(why.NotEnough), next(why.AskForFewer, why.WaitFor)},
		"extended-resource-offered-by-nobody": {why.Waiting, reasons(why.ExtendedResourceUnknown), next(why.Do)},
		"extended-resource-unknown":           {why.Waiting, reasons(why.ExtendedResourceUnknown), next(why.Do)},
		"finished":                            {why.Finished, nil, nil},
		"gated":                               {why.Waiting, reasons(why.SchedulingGated), next(why.Do)},
		"in-use":                              {why.Waiting, reasons(why.NotEnough), next(why.WaitFor)},
		"in-use-by-one-pod":                   {why.Waiting, reasons(why.NotEnough), next(why.WaitFor)},
		"network-attached":                    {why.Waiting, reasons(why.NotEnough), next(why.WaitFor)},
		"no-devices-asked-for":                {why.Waiting, reasons(why.NoDevicesAskedFor), nil},
		"no-nodes-fit":                        {why.Waiting, reasons(why.PodUnfit), next(why.AllowNodes)},
		"no-slices":                           {why.Waiting, reasons(why.NoSlices), next(why.Do)},
		"no-slices-of-driver":                 {why.Waiting, reasons(why.NoSlicesOfDriver), next(why.Do)},
		"nodes-mixed":                         {why.Waiting, reasons(why.NotEnough), next(why.WaitFor, why.AllowNodes)},
		"nodes-unfit":                         {why.Waiting, reasons(why.PodUnfit), next(why.AllowNodes)},
		"nodes-unseen":                        {why.Possible, reasons(why.NotYetTried), next(why.Do)},
		"nodes-unseen-all-nodes":              {why.Possible, reasons(why.NotYetTried), next(why.Do)},
		"nodes-unseen-cannot-tell":            {why.Unknown, reasons(why.CannotTell), next(why.Do)},
		"nodes-unseen-in-use":                 {why.Waiting, reasons(why.NotEnough), next(why.AskForFewer, why.WaitFor)},
		"not-at-scheduler":                    {why.Possible, reasons(why.NotAtScheduler), next(why.Do)},
		"not-yet-tried":                       {why.Possible, reasons(why.NotYetTried), next(why.Do)},
		"other-class":                         {why.Waiting, reasons(why.NotEnough), next(why.OtherClass)},
		"pool-incomplete":                     {why.Waiting, reasons(why.PoolIncomplete), next(why.Do)},
		"pool-invalid":                        {why.Waiting, reasons(why.NotEnough), next(why.Do)},
		"prepare-failing":                     {why.Waiting, reasons(why.PrepareFailing), next(why.Do)},
		"prioritized-list": {why.Waiting, reasons(why.NotEnough),
			next(why.AskForFewer, why.WaitFor, why.OtherValue)},
		"running":                {why.Running, nil, nil},
		"running-tainted":        {why.Running, nil, nil},
		"scheduler-unknown":      {why.Waiting, reasons(why.SchedulerUnknown), next(why.Do)},
		"selector-domain":        {why.Waiting, reasons(why.NotEnough), next(why.FixSelector, why.DropSelector)},
		"selector-mixed-drivers": {why.Waiting, reasons(why.SelectorError), next(why.FixSelector, why.DropSelector)},
		"selector-typo":          {why.Waiting, reasons(why.SelectorError), next(why.AskForFewer, why.WaitFor)},
		"selector-typo-optional": {why.Waiting, reasons(why.NotEnough), next(why.FixSelector, why.DropSelector)},
		"selector-value":         {why.Waiting, reasons(why.NotEnough), next(why.FixSelector, why.DropSelector)},
		"tainted":                {why.Waiting, reasons(why.NotEnough), next(why.Tolerate)},
		"template-missing":       {why.Waiting, reasons(why.TemplateMissing), next(why.Do, why.Do)},
		"terminating":            {why.Waiting, reasons(why.PodTerminating, why.DriverNotRegistered), next(why.Do)},
		"together":               {why.Waiting, reasons(why.Together), next(why.WaitFor)},
		"too-few":                {why.Waiting, reasons(why.NotEnough), next(why.AskForFewer, why.WaitFor)},
		"two-changes":            {why.Waiting, reasons(why.NotEnough), nil},
	} {
		t.Run(name, func(t *testing.T) {
			a := podAnswer(t, recorded(t, name), train)
			if a.State != want.state || !slices.Equal(ids(a), want.reasons) || !slices.Equal(kinds(a), want.next) {
				t.Errorf("is %s for %s, next %s; want %s for %s, next %s",
					a.State, ids(a), kinds(a), want.state, want.reasons, want.next)
			}
			for _, r := range a.Next {
				if r.Tried != (r.Kind != why.Do && r.Kind != why.FixClass) {
					t.Errorf("%q: tried is %t", r.Text, r.Tried)
				}
			}
		})
	}
}

func TestClaimsAnswerForThePodThatUsesThem(t *testing.T) {
	for name, want := range map[string]struct {
		state   why.State
		summary string
	}{
		"claim-unused": {why.Possible,
			"has no devices: no pod uses it, and a claim gets devices when a pod that uses it is scheduled"},
		"claim-waiting":   {why.Waiting, "waits: no node has 2 devices of class gpu.example.com left (of 4: 2 in use)"},
		"claim-allocated": {why.Running, "has 1 device on node node-a, used by default/train-0 and default/train-1"},
		"claim-idle":      {why.Running, "has 1 device on node node-a, and no pod uses it now"},
		"nodes-unfit":     {why.Waiting, "waits: none of 3 nodes fits the pod, whatever devices it has"},
		"gated": {why.Waiting, "waits: the scheduler may not look at the pod before its scheduling gates are taken away: " +
			"kueue.x-k8s.io/admission"},
		"claim-being-deleted": {why.Running, "has 1 device on node node-a, used by default/train-0; it is being deleted, " +
			"and still used by default/train-0"},
	} {
		t.Run(name, func(t *testing.T) {
			a, err := why.Claim(t.Context(), recorded(t, name), types.NamespacedName{Namespace: "default", Name: "gpus"})
			if err != nil {
				t.Fatal(err)
			}
			adds(t, a)
			if a.State != want.state || a.Summary != want.summary {
				t.Errorf("is %s: %q, want %s: %q", a.State, a.Summary, want.state, want.summary)
			}
		})
	}
}

func TestOneNodeWhereASelectorFailsStopsThePodOnAll(t *testing.T) {
	c := recorded(t, "selector-mixed-drivers")
	node, slice := c.Nodes[0].DeepCopy(), c.Slices[0].DeepCopy()
	node.Name, slice.Name = "node-b", "of-node-b"
	slice.Spec.NodeName, slice.Spec.Pool.Name = new("node-b"), "node-b"
	c.Nodes, c.Slices = append(c.Nodes, node), append(c.Slices, slice)
	a := podAnswer(t, c, train)
	if a.State != why.Waiting || !slices.Equal(ids(a), []why.ReasonID{why.SelectorError}) || len(a.Fits)+a.FitCount != 0 {
		t.Errorf("is %s for %s, and fits %d nodes", a.State, ids(a), a.FitCount)
	}
}

// The scheduler tries also nodes out of reach of what the pod has already, and an error there ends its attempt.
func TestASelectorThatFailsOutOfReachStopsThePodToo(t *testing.T) {
	c := recorded(t, "selector-mixed-drivers")
	given := c.Claims[0].DeepCopy()
	given.Name, given.UID, given.OwnerReferences = "given", "given", nil
	given.Status.Allocation = &resourceapi.AllocationResult{
		AllocationTimestamp: &metav1.Time{}, NodeSelector: onlyOn("node-b"),
	}
	node, slice := c.Nodes[0].DeepCopy(), c.Slices[0].DeepCopy()
	node.Name, slice.Name = "node-b", "of-node-b"
	slice.Spec.NodeName, slice.Spec.Pool.Name = new("node-b"), "node-b"
	c.Nodes, c.Slices, c.Claims = append(c.Nodes, node), append(c.Slices, slice), append(c.Claims, given)
	c.Pods[0].Spec.ResourceClaims = append(c.Pods[0].Spec.ResourceClaims,
		corev1.PodResourceClaim{Name: "given", ResourceClaimName: &given.Name})
	a := podAnswer(t, c, train)
	if a.State != why.Waiting || !slices.Equal(ids(a), []why.ReasonID{why.SelectorError}) || a.FitCount != 0 {
		t.Errorf("is %s for %s, and fits %d nodes: %s", a.State, ids(a), a.FitCount, a.Summary)
	}
}

func onlyOn(node string) *corev1.NodeSelector {
	return &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
		MatchFields: []corev1.NodeSelectorRequirement{{
			Key: "metadata.name", Operator: corev1.NodeSelectorOpIn, Values: []string{node},
		}},
	}}}
}

func TestAPodWhoseClaimsAllHaveDevicesCanRunWhereTheyAre(t *testing.T) {
	c := recorded(t, "not-at-scheduler")
	for _, claim := range c.Claims {
		if claim.Status.Allocation == nil {
			claim.Status.Allocation = &resourceapi.AllocationResult{
				AllocationTimestamp: &metav1.Time{}, NodeSelector: onlyOn("node-b"),
			}
		}
	}
	a := podAnswer(t, c, train)
	if a.State != why.Possible || !slices.Equal(a.Fits, []string{"node-b"}) || a.FitCount != 1 {
		t.Errorf("is %s for %s, and fits %v", a.State, ids(a), a.Fits)
	}
}

func TestAClaimThatIsNamedTwiceGetsNoDevices(t *testing.T) {
	c := recorded(t, "not-yet-tried")
	again := *c.Pods[0].Spec.ResourceClaims[0].DeepCopy()
	again.Name = "again"
	c.Pods[0].Spec.ResourceClaims = append(c.Pods[0].Spec.ResourceClaims, again)
	a := podAnswer(t, c, train)
	if a.State != why.Waiting || ids(a)[0] != why.ClaimNamedTwice || len(a.Requests) != 1 {
		t.Errorf("is %s for %s, with %d requests", a.State, ids(a), len(a.Requests))
	}
}

func TestAdminAccessNamesTheLabelThatIsMissing(t *testing.T) {
	c := recorded(t, "admin-access")
	exporter := types.NamespacedName{Namespace: "default", Name: "exporter"}
	a := podAnswer(t, c, exporter)
	if !slices.Equal(ids(a), []why.ReasonID{why.AdminAccessNotAllowed}) || kinds(a)[0] != why.LabelNamespace {
		t.Errorf("is for %s, next %s", ids(a), kinds(a))
	}
	c.Namespaces[0].Labels = map[string]string{"resource.kubernetes.io/admin-access": "true"}
	c.Events = nil
	if a := podAnswer(t, c, exporter); !slices.Equal(ids(a), []why.ReasonID{why.ClaimNotCreated}) {
		t.Errorf("with the label it is for %s", ids(a))
	}
}

func TestWhatIsNotThereIsNotFound(t *testing.T) {
	c := recorded(t, "running")
	other := types.NamespacedName{Namespace: "other", Name: "train-1"}
	type question = func(context.Context, *view.Cluster, types.NamespacedName) (why.Answer, error)
	for _, ask := range []question{why.Pod, why.Claim} {
		var missing *why.NotFoundError
		if _, err := ask(t.Context(), c, other); !errors.As(err, &missing) || missing.Key != other {
			t.Errorf("error %v", err)
		}
	}
}

func TestAnAnswerEndsWithItsContext(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := why.Pod(ended, recorded(t, "in-use"), train); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestWhatCouldNotBeSeenIsNotTakenForAbsent(t *testing.T) {
	noNodes := func(c *view.Cluster) { c.Nodes = nil }
	for name, c := range map[string]struct {
		cluster string
		unseen  string
		change  func(*view.Cluster)
		reasons []why.ReasonID
		covered string
	}{
		"claims, which may have what looks free": {"not-yet-tried", "resourceclaims", func(*view.Cluster) {},
			[]why.ReasonID{why.CannotTell}, "devices that seem to be free may be in use"},
		"nodes, whose labels decide": {"nodes-unseen-cannot-tell", "nodes", noNodes,
			[]why.ReasonID{why.CannotTell}, "the nodes' labels and taints are not taken into account"},
		"nodes that share a device which is free": {"nodes-unseen", "nodes", noNodes,
			[]why.ReasonID{why.NotYetTried}, "the nodes' labels and taints are not taken into account"},
		"nodes that share devices which are in use": {"network-attached", "nodes", noNodes,
			[]why.ReasonID{why.NotEnough}, "the nodes' labels and taints are not taken into account"},
		"slices": {"in-use", "resourceslices", func(c *view.Cluster) { c.Slices = nil },
			[]why.ReasonID{why.CannotTell}, "which devices there are is not known"},
		"classes": {"in-use", "deviceclasses", func(c *view.Cluster) { c.Classes = nil },
			[]why.ReasonID{why.CannotTell}, "what the classes select is not known"},
		"templates": {"template-missing", "resourceclaimtemplates", func(c *view.Cluster) { c.Templates = nil },
			[]why.ReasonID{why.CannotTell}, "what a template would ask for is not known"},
		"claims": {"claim-missing", "resourceclaims", func(c *view.Cluster) { c.Claims = nil },
			[]why.ReasonID{why.CannotTell}, "devices that seem to be free may be in use"},
		"nodes, whose names slices have": {"in-use", "nodes", func(c *view.Cluster) { c.Nodes = nil },
			[]why.ReasonID{why.NotEnough}, "the nodes' labels and taints are not taken into account"},
	} {
		t.Run(name, func(t *testing.T) {
			cluster := recorded(t, c.cluster)
			c.change(cluster)
			cluster.Unseen = []view.Unseen{{Resource: c.unseen, Forbidden: true, Why: "no", Right: "list " + c.unseen}}
			a := podAnswer(t, cluster, train)
			told := !slices.Contains(c.reasons, why.CannotTell)
			if told != (a.State != why.Unknown) || !told && !strings.Contains(a.Summary, "the right to list "+c.unseen) {
				t.Errorf("is %s: %s", a.State, a.Summary)
			}
			if !slices.Equal(ids(a), c.reasons) || !strings.HasSuffix(a.NotCovered[0], c.covered) {
				t.Errorf("is for %s, not covered: %q", ids(a), a.NotCovered)
			}
		})
	}
}

func TestWhatTheServerDoesNotHaveIsNoLoss(t *testing.T) {
	c := recorded(t, "in-use")
	c.Unseen = []view.Unseen{{Resource: "devicetaintrules", NotServed: true}}
	if a := podAnswer(t, c, train); len(a.NotCovered) > 0 {
		t.Errorf("not covered: %q", a.NotCovered)
	}
}

func TestAFeatureThatIsOffIsNamed(t *testing.T) {
	c := recorded(t, "claim-not-created")
	if a := podAnswer(t, c, train); slices.Contains(ids(a), why.FeatureOff) {
		t.Errorf("is for %s", ids(a))
	}
	c.Templates[0].Spec.Spec.Devices.Requests[0].Exactly.DerivedAttributes = make([]resourceapi.DeviceDerivedAttribute, 1)
	if a := podAnswer(t, c, train); !slices.Contains(ids(a), why.FeatureOff) {
		t.Errorf("with an alpha feature it is for %s", ids(a))
	}
}

func TestKubernetes134TakesDevicesFromPoolsThatAreNotComplete(t *testing.T) {
	c := recorded(t, "pool-incomplete")
	request := c.Claims[0].Spec.Devices.Requests[0].Exactly
	request.AllocationMode, request.Count = "ExactCount", 1
	if a := podAnswer(t, c, train); a.State != why.Waiting || a.Requests[0].Left != 0 {
		t.Errorf("is %s with %d devices left", a.State, a.Requests[0].Left)
	}
	c.Version = "v1.34.3"
	if a := podAnswer(t, c, train); a.State != why.Possible || a.Requests[0].Left != 2 {
		t.Errorf("in 1.34 it is %s with %d devices left", a.State, a.Requests[0].Left)
	}
}

func TestAPodThatStartsSaysWhatItsContainerWaitsFor(t *testing.T) {
	for reason, want := range map[string]string{
		"ContainerCreating": "starts on node node-a",
		"ErrImagePull":      "starts on node node-a, and not for devices it waits: container main, ErrImagePull",
	} {
		c := recorded(t, "running")
		for _, p := range c.Pods {
			if p.Name == train.Name {
				p.Status.Phase = corev1.PodPending
				p.Status.ContainerStatuses = []corev1.ContainerStatus{{
					Name: "main", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason}},
				}}
			}
		}
		if a := podAnswer(t, c, train); a.State != why.Starting || a.Summary != want {
			t.Errorf("with %s it is %s: %s", reason, a.State, a.Summary)
		}
	}
}

func TestKubernetes134GivesUpWhereAPoolIsInvalid(t *testing.T) {
	c := recorded(t, "pool-invalid")
	c.Version = "v1.34.3"
	if a := podAnswer(t, c, train); !slices.Equal(ids(a), []why.ReasonID{why.PoolInvalid}) || len(a.Next) == 0 {
		t.Errorf("is for %s: %s", ids(a), a.Summary)
	}
}

func TestTheSameClusterGivesTheSameAnswer(t *testing.T) {
	for _, name := range []string{"in-use", "constraint", "selector-typo", "prioritized-list"} {
		first := podAnswer(t, recorded(t, name), train)
		for range 5 {
			c := recorded(t, name)
			slices.Reverse(c.Slices)
			slices.Reverse(c.Claims)
			slices.Reverse(c.Nodes)
			if diff := cmp.Diff(first, podAnswer(t, c, train)); diff != "" {
				t.Fatalf("%s differs:\n%s", name, diff)
			}
		}
	}
}

func TestAClaimFromBeforeAnUpgradeTakesNoFurtherPods(t *testing.T) {
	c := recorded(t, "claim-elsewhere")
	c.Version = "v1.37.2"
	if a := podAnswer(t, c, train); !slices.Contains(ids(a), why.ClaimTooOld) {
		t.Errorf("is for %s", ids(a))
	}
	c.Version = "v1.35.0"
	if a := podAnswer(t, c, train); slices.Contains(ids(a), why.ClaimTooOld) {
		t.Errorf("before the upgrade it is for %s", ids(a))
	}
}

func FuzzAnswersNeverPanic(f *testing.F) {
	files, err := filepath.Glob(filepath.Join("testdata", "*", "cluster.yaml"))
	if err != nil || len(files) == 0 {
		f.Fatalf("there are %d clusters, error %v", len(files), err)
	}
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := clusterOf(text)
		if err != nil {
			return
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		for _, p := range c.Pods {
			_, _ = why.Pod(ctx, c, types.NamespacedName{Namespace: p.Namespace, Name: p.Name})
		}
		for _, claim := range c.Claims {
			_, _ = why.Claim(ctx, c, types.NamespacedName{Namespace: claim.Namespace, Name: claim.Name})
		}
	})
}

func TestAYesIsDoubtedWhereClaimsCouldNotBeSeen(t *testing.T) {
	c := recorded(t, "not-yet-tried")
	if a := podAnswer(t, c, train); a.ClaimsUnseen || strings.Contains(a.Summary, "look free") {
		t.Errorf("with all claims seen: %s", a.Summary)
	}
	c.Unseen = []view.Unseen{{Resource: "resourceclaims", Only: "default", Forbidden: true}}
	a := podAnswer(t, c, train)
	if !a.ClaimsUnseen || a.State != why.Unknown || !strings.Contains(a.Summary, "could not be seen may have them") {
		t.Errorf("is %s: %s", a.State, a.Summary)
	}
}
