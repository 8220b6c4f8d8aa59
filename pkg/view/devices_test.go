package view

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	resourceapi "k8s.io/api/resource/v1"
)

// checked proves what is true of every listing.
func checked(t *testing.T, l Listing) {
	t.Helper()
	s := l.Summary
	if sum := s.InUse + s.Shared + s.Free + s.MaybeFree + s.Blocked + s.Unusable + s.NotPublished; sum != s.Devices {
		t.Errorf("the summary counts %d of %d devices: %+v", sum, s.Devices, s)
	}
	for i := range l.Devices {
		r := &l.Devices[i]
		held := 0
		for _, u := range r.UsedBy {
			if !u.AdminAccess {
				held++
			}
		}
		if (r.State == InUse || r.State == Shared) && held == 0 || (r.State != InUse && r.State != Shared &&
			r.State != NotPublished) && held > 0 {
			t.Errorf("%s is %s and has %d holders", r.ID(), r.State, held)
		}
		if r.State == Blocked && len(r.BlockedBy) == 0 && r.Reason == "" || r.State != Blocked && len(r.BlockedBy) > 0 {
			t.Errorf("%s is %s, blocked by %v because %q", r.ID(), r.State, r.BlockedBy, r.Reason)
		}
	}
	if _, err := json.Marshal(l); err != nil {
		t.Errorf("print as JSON: %v", err)
	}
}

func TestTheStatesOfDevices(t *testing.T) {
	for _, test := range []struct {
		cluster, node, device string
		want                  string
	}{
		{"small", "node-a", "gpu-0", "inUse"},
		{"small", "node-a", "gpu-2", "inUse"}, // by a claim without pods
		{"small", "node-a", "gpu-3", "free, available"},
		{"small", "node-b", "gpu-1", "tainted"},
		{"small", "node-b", "gpu-2", "free, available"}, // its taint only informs
		{"small", "node-c", "gpu-1", "tainted"},
		{"shares", "node-a", "gpu-0", "shared 75, available"},
		{"shares", "node-a", "gpu-1", "shared 100"},
		{"shares", "node-a", "gpu-2", "shared 1, available"},
		{"shares", "node-a", "gpu-3", "free 0, available"}, // admin access takes nothing
		{"shares", "node-a", "bridge-5", "shared, available"},
		{"parts", "node-a", "gpu-2", "blocked by gpu-2-3g-40gb-0, gives 1 3g.40gb 1 2g.20gb 3 1g.10gb"},
		{"parts", "node-a", "gpu-2-3g-40gb-0", "inUse"},
		{"parts", "node-a", "gpu-2-1g-10gb-0", "blocked by gpu-2-3g-40gb-0"},
		{"parts", "node-a", "gpu-2-1g-10gb-4", "free, available"},
		{"parts", "node-a", "gpu-3", "inUse"},
		{"parts", "node-a", "gpu-3-7g-80gb-0", "blocked by gpu-3"},
		{"parts", "node-a", "gpu-10", "free, available"},
		{"changing", "node-a", "gpu-0", "free, available"},
		{"changing", "node-a", "gpu-3", "notPublished because only slices of an older generation of the pool have it"},
		{"changing", "node-a", "gpu-9", "notPublished because the slices of the pool do not have it"},
		{"changing", "node-b", "gpu-0", "poolIncomplete because the pool has 1 of 2 slices of generation 3"},
		{"changing", "node-b", "gpu-1", "inUse because the pool has 1 of 2 slices of generation 3"},
		{"changing", "node-c", "gpu-1", `poolInvalid because the pool has two devices "gpu-0"`},
		{"changing", "node-d", "gpu-0", "notPublished because the pool has no slices: is the driver gone?"},
		{"network", "", "port-0", "free, available"},
		{"network", "", "port-1", "inUse"},
	} {
		l := listing(t, recorded(t, test.cluster), DeviceOptions{})
		checked(t, l)
		r := row(t, l, test.node, test.device)
		got := string(r.State)
		if r.SharedPercent != nil {
			got += fmt.Sprintf(" %d", *r.SharedPercent)
		}
		for i, b := range r.BlockedBy {
			got += []string{" by ", ", "}[min(i, 1)] + b.Device
		}
		if len(r.Gives) > 0 {
			got += ", gives"
		}
		for _, p := range r.Gives {
			got += fmt.Sprintf(" %d %s", p.Count, p.Profile)
		}
		if r.Reason != "" {
			got += " because " + r.Reason
		}
		if r.Available() {
			got += ", available"
		}
		if got != test.want {
			t.Errorf("%s: %s on %q is %s; want %s", test.cluster, test.device, test.node, got, test.want)
		}
	}
}

func TestASharedDeviceIsNotAvailableIfTaintedOrItsPoolIsIncomplete(t *testing.T) {
	for name, change := range map[string]func(*Cluster){
		"tainted": func(c *Cluster) {
			c.TaintRules = append(c.TaintRules, &resourceapi.DeviceTaintRule{Spec: resourceapi.DeviceTaintRuleSpec{
				DeviceSelector: &resourceapi.DeviceTaintSelector{}, Taint: resourceapi.DeviceTaint{Key: "k", Effect: "NoSchedule"},
			}})
		},
		"pool incomplete": func(c *Cluster) { c.Slices[0].Spec.Pool.ResourceSliceCount = 2 },
	} {
		c := recorded(t, "shares")
		change(c)
		if r := row(t, listing(t, c, DeviceOptions{}), "node-a", "gpu-0"); r.State != Shared || r.Available() {
			t.Errorf("%s: it is %s, available: %t", name, r.State, r.Available())
		}
	}
}

func TestWithoutAllClaimsADeviceMayBeFree(t *testing.T) {
	c := recorded(t, "small")
	c.Unseen = []Unseen{{Resource: "resourceclaims", NotServed: true}}
	if s := listing(t, c, DeviceOptions{}).Summary; s.Free != 3 || s.MaybeFree != 0 {
		t.Errorf("what is not served hides nothing, and the summary is %s", s)
	}
	c.Claims, c.Unseen = c.Claims[:1], []Unseen{{Resource: "resourceclaims", Forbidden: true}}
	l := listing(t, c, DeviceOptions{Free: true})
	checked(t, l)
	if got, want := l.Summary.String(), "10 devices on 3 nodes: "+
		"2 in use, 6 free unless a claim that was not seen has it, 2 unusable"; got != want || len(l.Devices) != 6 {
		t.Errorf("%d devices, %s; want 6, %s", len(l.Devices), got, want)
	}
}

func TestDevicesAreChosen(t *testing.T) {
	byName := func(names ...string) func(*resourceapi.DeviceClass, string, *resourceapi.Device) (bool, error) {
		return func(_ *resourceapi.DeviceClass, _ string, d *resourceapi.Device) (bool, error) {
			if d.Name == "gpu-2" {
				return false, errors.New("no such key: model")
			}
			return strings.Contains(strings.Join(names, " "), d.Name), nil
		}
	}
	for name, test := range map[string]struct {
		cluster string
		options DeviceOptions
		want    string // devices; devices in the summary; problems
	}{
		"by node": {
			cluster: "small", options: DeviceOptions{Node: "node-c"}, want: "node-c/gpu-0 node-c/gpu-1; 2; ",
		},
		"by a node that shares devices with others": {
			cluster: "network", options: DeviceOptions{Node: "node-2"},
			want: "node-2/gpu-0 /tray-1 /tray-2 /licence-0 /licence-1; 5; ",
		},
		"by a node of which only a claim knows": {
			cluster: "changing", options: DeviceOptions{Node: "node-d"}, want: "node-d/gpu-0; 1; ",
		},
		"by driver": {cluster: "small", options: DeviceOptions{Driver: "nic.example.com"}, want: "node-a/eth1; 1; "},
		"by class": {
			cluster: "small", options: DeviceOptions{Class: "gpu.example.com", Selects: byName("gpu-1", "eth1")},
			want: "node-a/gpu-1 node-a/eth1 node-b/gpu-1 node-c/gpu-1; 4; " +
				"class gpu.example.com: device gpu.example.com/node-a/gpu-2: no such key: model, " +
				"class gpu.example.com: device gpu.example.com/node-b/gpu-2: no such key: model",
		},
		"by class, what is not published cannot be judged": {
			cluster: "changing", options: DeviceOptions{Class: "gpu.example.com", Selects: byName("gpu-9 gpu-3 gpu-1")},
			want: "node-a/gpu-1 node-b/gpu-1 node-c/gpu-1; 3; ",
		},
		"what is free, out of all": {
			cluster: "small", options: DeviceOptions{Free: true}, want: "node-a/gpu-3 node-a/eth1 node-b/gpu-2; 10; ",
		},
		"what is free, shares too": {
			cluster: "shares", options: DeviceOptions{Free: true},
			want: "node-a/gpu-0 node-a/gpu-2 node-a/gpu-3 node-a/gpu-4 node-a/bridge-5; 6; ",
		},
		"what a namespace has": {
			cluster: "small", options: DeviceOptions{Namespace: "team-a"}, want: "node-a/gpu-0 node-a/gpu-1; 10; ",
		},
		"what a namespace looks at": {
			cluster: "shares", options: DeviceOptions{Namespace: "monitoring"}, want: "node-a/gpu-3; 6; ",
		},
		"all of it together": {
			cluster: "small", options: DeviceOptions{Node: "node-a", Driver: "gpu.example.com", Free: true},
			want: "node-a/gpu-3; 4; ",
		},
		"nothing": {cluster: "small", options: DeviceOptions{Node: "node-x"}, want: "; 0; "},
	} {
		t.Run(name, func(t *testing.T) {
			l := listing(t, recorded(t, test.cluster), test.options)
			checked(t, l)
			var names []string
			for _, r := range l.Devices {
				names = append(names, r.Node+"/"+r.Device)
			}
			got := fmt.Sprintf("%s; %d; %s", strings.Join(names, " "), l.Summary.Devices, strings.Join(l.Problems, ", "))
			if got != test.want {
				t.Errorf("%s\nwant %s", got, test.want)
			}
		})
	}
}

func TestDevicesOfLabelledNodesAreListedForANodeThatWasNotSeen(t *testing.T) {
	c := recorded(t, "network")
	c.Nodes = nil
	l := listing(t, c, DeviceOptions{Node: "node-2"})
	var names []string
	for _, r := range l.Devices {
		names = append(names, r.Node+"/"+r.Device)
	}
	const want = "node-2/gpu-0 /tray-1 /tray-2 /tray-3 /licence-0 /licence-1 /port-0 /port-1"
	if got := strings.Join(names, " "); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	if len(l.Problems) != 1 || !strings.Contains(l.Problems[0], "the labels of node node-2 were not seen") {
		t.Errorf("problems: %q", l.Problems)
	}
}

func TestCounterSetsAreThoseOfTheChosenDevices(t *testing.T) {
	c := recorded(t, "parts")
	for name, test := range map[string]struct {
		options DeviceOptions
		want    string
	}{
		"all of them, numbers in order": {want: "gpu-2 gpu-3 gpu-10"},
		"what a class selects a part of": {
			options: DeviceOptions{Class: "gpu.example.com", Selects: func(
				_ *resourceapi.DeviceClass, _ string, d *resourceapi.Device,
			) (bool, error) {
				return strings.HasPrefix(d.Name, "gpu-3"), nil
			}},
			want: "gpu-3",
		},
		"none of another driver": {options: DeviceOptions{Driver: "nic.example.com"}},
	} {
		var got []string
		for _, s := range listing(t, c, test.options).CounterSets {
			got = append(got, s.Name)
		}
		if text := strings.Join(got, " "); text != test.want {
			t.Errorf("%s: %s, want %s", name, text, test.want)
		}
	}
}

func TestAClassThatIsNotThereIsAnError(t *testing.T) {
	_, err := Devices(recorded(t, "small"), DeviceOptions{Class: "gpu"})
	want := `select devices of class "gpu": the class does not exist; there are: big-gpu.example.com, gpu.example.com`
	if err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

func TestASelectorThatNobodyCanReadIsAProblem(t *testing.T) {
	c := recorded(t, "network")
	for _, s := range c.Slices {
		if s.Spec.NodeSelector != nil {
			s.Spec.NodeSelector.NodeSelectorTerms[0].MatchExpressions[0].Operator = "Near"
		}
	}
	l := listing(t, c, DeviceOptions{})
	if len(l.Problems) != 1 || !strings.Contains(l.Problems[0], `Unsupported value: "Near"`) {
		t.Errorf("problems: %q", l.Problems)
	}
}

// TestAListingDoesNotDependOnTheOrderOfTheObjects also proves that nothing comes in the order of a map.
func TestAListingDoesNotDependOnTheOrderOfTheObjects(t *testing.T) {
	for _, name := range []string{"small", "shares", "parts", "changing", "network"} {
		want := ""
		for seed := range uint64(20) {
			c := recorded(t, name)
			random := rand.New(rand.NewPCG(seed, 0))
			random.Shuffle(len(c.Slices), func(i, j int) { c.Slices[i], c.Slices[j] = c.Slices[j], c.Slices[i] })
			random.Shuffle(len(c.Claims), func(i, j int) { c.Claims[i], c.Claims[j] = c.Claims[j], c.Claims[i] })
			random.Shuffle(len(c.Nodes), func(i, j int) { c.Nodes[i], c.Nodes[j] = c.Nodes[j], c.Nodes[i] })
			text, err := json.Marshal(listing(t, c, DeviceOptions{}))
			if err != nil {
				t.Fatal(err)
			}
			if want == "" {
				want = string(text)
			}
			if string(text) != want {
				t.Fatalf("%s, seed %d:\n%s\nwant\n%s", name, seed, text, want)
			}
		}
	}
}

func TestTheSummaryIsASentence(t *testing.T) {
	for want, s := range map[string]Summary{
		"12,000 devices (11,000 on 1,100 nodes, 1,000 for several nodes): 1,500 in use, 10,500 free": {
			Devices: 12000, Nodes: 1100, SeveralNodes: 1000, InUse: 1500, Free: 10500,
		},
		"0 devices":                  {},
		"1 device on 1 node: 1 free": {Devices: 1, Nodes: 1, Free: 1},
		"24 devices on 3 nodes: 5 in use, 1 shared, 17 free, 1 unusable": {
			Devices: 24, Nodes: 3, InUse: 5, Shared: 1, Free: 17, Unusable: 1,
		},
		"2 devices for several nodes: 2 free": {Devices: 2, SeveralNodes: 2, Free: 2},
		"5 devices (4 on 2 nodes, 1 for several nodes): 3 free, 1 blocked by others in use, 1 not published any more": {
			Devices: 5, Nodes: 2, SeveralNodes: 1, Free: 3, Blocked: 1, NotPublished: 1,
		},
	} {
		if got := s.String(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestNumbersInNamesCount(t *testing.T) {
	sorted := []string{
		"", "gpu", "gpu-1", "gpu-01", "gpu-2", "gpu-2-a", "gpu-10", "gpu-10-b", "gpus", "node-1-rack-9", "node-1-rack-10",
	}
	for i := range sorted {
		for j := range sorted {
			if got := naturally(sorted[i], sorted[j]); got < 0 != (i < j) || got > 0 != (i > j) {
				t.Errorf("%q and %q: %d", sorted[i], sorted[j], got)
			}
		}
	}
}
