package allocate_test

import (
	"encoding/json"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"example.com/dragoman/pkg/view"
	"example.com/dragoman/pkg/view/allocate"
)

// everything is what files can have.
type everything struct {
	Version   string
	Slices    []*resourceapi.ResourceSlice
	Classes   []*resourceapi.DeviceClass
	Claims    []*resourceapi.ResourceClaim
	Templates []*resourceapi.ResourceClaimTemplate
	Rules     []*resourceapi.DeviceTaintRule
	Nodes     []*corev1.Node
	Pod       *corev1.Pod
}

// Whatever objects somebody writes: nothing panics, no device has two owners, and a yes names devices that there are.
func FuzzOddObjects(f *testing.F) {
	parts := partitionable()
	for _, seed := range []everything{
		{Slices: []*resourceapi.ResourceSlice{onNode("node-a", devices(2)...)},
			Classes: []*resourceapi.DeviceClass{gpuClass()},
			Claims:  []*resourceapi.ResourceClaim{asking("mine", exactly("gpu", 1))}},
		{Version: "v1.34.3", Slices: parts, Classes: []*resourceapi.DeviceClass{gpuClass()},
			Claims: []*resourceapi.ResourceClaim{asking("mine", all()), held("other", "node-a", "whole")},
			Rules:  []*resourceapi.DeviceTaintRule{rule(nil)}},
		{Slices: []*resourceapi.ResourceSlice{onNode("node-a", shareable(devices(1)[0]))},
			Classes: []*resourceapi.DeviceClass{gpuClass()}, Nodes: []*corev1.Node{node("node-a")},
			Claims:    []*resourceapi.ResourceClaim{holdsShare("share", "30Gi"), asking("mine", wantsMemory("35Gi"))},
			Templates: []*resourceapi.ResourceClaimTemplate{template("one", firstAvailable(3, 1))},
			Pod:       pod("pod", byTemplate("gpu", "one"), byName("named", "mine"))},
	} {
		raw, err := yaml.Marshal(seed)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var in everything
		if len(raw) > 20_000 || yaml.Unmarshal(raw, &in) != nil {
			return
		}
		var objects []runtime.Object
		objects = add(objects, in.Slices)
		objects = add(objects, in.Classes)
		objects = add(objects, in.Claims)
		objects = add(objects, in.Templates)
		objects = add(objects, in.Rules)
		objects = add(objects, in.Nodes)
		c, err := view.FromObjects(objects)
		if err != nil {
			return
		}
		c.Version = in.Version
		q := allocate.Question{Pod: in.Pod}
		for _, claim := range c.Claims {
			if claim.Status.Allocation == nil {
				q.Claims = append(q.Claims, claim)
			}
		}
		check(t, c, q)
	})
}

func add[T any, P interface {
	*T
	runtime.Object
}](objects []runtime.Object, more []*T) []runtime.Object {
	for _, o := range more {
		if o != nil {
			objects = append(objects, P(o))
		}
	}
	return objects
}

func check(t *testing.T, c *view.Cluster, q allocate.Question) {
	before, _ := json.Marshal(c)
	a, err := allocate.New(c, allocate.Options{Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	s, err := a.Simulate(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	if first := s.First(); first != nil {
		whole := make(map[view.DeviceID]bool)
		for _, g := range first.Claims {
			for _, r := range g.Allocation.Devices.Results {
				id := view.DeviceID{Driver: r.Driver, Pool: r.Pool, Device: r.Device}
				if g.Held || r.AdminAccess != nil && *r.AdminAccess || r.ShareID != nil {
					continue
				}
				if whole[id] || view.NewAllocations(c).Held(id) {
					t.Errorf("device %s has two owners", id)
				}
				whole[id] = true
				if !published(c, id) {
					t.Errorf("device %s is in no slice", id)
				}
			}
		}
		if err := a.Commit(*first, q.Pod); err != nil {
			t.Error(err)
		}
	}
	if after, _ := json.Marshal(c); string(after) != string(before) {
		t.Error("the cluster has changed")
	}
}

func published(c *view.Cluster, id view.DeviceID) bool {
	for _, s := range c.Slices {
		for _, d := range s.Spec.Devices {
			if s.Spec.Driver == id.Driver && s.Spec.Pool.Name == id.Pool && d.Name == id.Device {
				return true
			}
		}
	}
	return false
}
