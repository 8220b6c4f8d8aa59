package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"sigs.k8s.io/e2e-framework/pkg/features"
	"sigs.k8s.io/e2e-framework/pkg/types"
	"sigs.k8s.io/yaml"
)

// TestDesk is about "kubectl dra" as its users have it: the built program, called through kubectl, in front of a
// cluster whose driver offers each kind of device. The features run one after the other: each has all devices.
func TestDesk(t *testing.T) {
	useShowcase(t)
	at := newTerminal(t)
	testenv.Test(t,
		deskDevices(at),
		deskWatch(at),
		deskSickDevice(at),
		deskSimulate(at),
		deskValidate(at),
		deskBundle(at),
		deskRights(at),
		deskWords(at),
	)
}

// deskDevice is what "devices -o json" says of a device.
type deskDevice struct {
	Node, Driver, Pool, Device, State string
	SharedPercent                     int
	Taints                            []struct{ Key, Effect string }
	BlockedBy                         []struct{ Device string }
	UsedBy                            []struct {
		Namespace, Claim, Request string
		AdminAccess               bool
		Pods                      []string
	}
}

// deskAnswer is all of it.
type deskAnswer struct {
	Devices []deskDevice
	Summary struct{ Devices, Nodes, InUse, Shared, Free, Blocked, Unusable int }
}

// devices asks for the devices of the worker and returns them by name.
func (at terminal) devices(t *testing.T, filters string) (map[string]deskDevice, deskAnswer) {
	t.Helper()
	line := strings.TrimSpace("devices -o json --node " + string(worker) + " " + filters)
	said := at.types(t, line)
	var answer deskAnswer
	if err := json.Unmarshal([]byte(said.out), &answer); err != nil || said.code != 0 || said.talk != "" {
		t.Fatalf("$ kubectl dra %s\n%s%s[exit %d] %v", line, said.out, said.talk, said.code, err)
	}
	devices := map[string]deskDevice{}
	for _, d := range answer.Devices {
		devices[d.Device] = d
	}
	return devices, answer
}

// user returns the pod that has a device, with or without admin access.
func (d deskDevice) user(adminAccess bool) string {
	for _, user := range d.UsedBy {
		if user.AdminAccess == adminAccess && len(user.Pods) > 0 {
			return user.Namespace + "/" + user.Pods[0]
		}
	}
	return ""
}

// expectState checks what is said of a device, and which pod is said to have it.
func (d deskDevice) expectState(t *testing.T, state, user string) {
	t.Helper()
	if d.State != state || d.user(false) != user {
		t.Errorf("device %q is %q, used by %q; expected %q, by %q", d.Device, d.State, d.user(false), state, user)
	}
}

// adminLooks lets a template ask for admin access to the first device, whoever has it.
func adminLooks(name string) *resourceapi.ResourceClaimTemplate {
	template := ofClass(name, driverName, `device.attributes["`+driverName+`"].index == 0`)
	template.Spec.Spec.Devices.Requests[0].Exactly.AdminAccess = new(true)
	return template
}

func deskDevices(at terminal) types.Feature {
	s := newScene("e2e-desk", 4)
	s.labels = map[string]string{resourceapi.DRAAdminNamespaceLabelKey: "true"}
	var train *corev1.Pod
	var has []result
	f := features.New("devices").Setup(s.begin).
		Assess("say which pods have them, and who only looks", assess(func(t *testing.T) {
			s.create(t, newTemplate("two", 2), adminLooks("look"))
			s.createPod(t, newPod("train", "two"))
			train = s.running(t, "train")
			s.createPod(t, newPod("monitor", "look"))
			s.running(t, "monitor")
			has = allocated(t, s.onlyClaim(t, train))
			devices, answer := at.devices(t, "")
			for _, r := range has {
				devices[r.Device].expectState(t, "inUse", s.namespace+"/train")
			}
			if looks := devices["gpu-0"].user(true); looks != s.namespace+"/monitor" {
				t.Errorf("%q is said to look at gpu-0", looks)
			}
			if answer.Summary.Devices != len(answer.Devices) || answer.Summary.InUse != 2 || answer.Summary.Nodes != 1 {
				t.Errorf("the summary is %+v", answer.Summary)
			}
		})).
		Assess("as a table, too", assess(func(t *testing.T) {
			claim := s.onlyClaim(t, train).Name
			said := at.types(t, "devices")
			said.expect(t, "devices", 0, []string{
				fmt.Sprintf("%s/train (claim %s, request gpus)", s.namespace, claim), ", request gpus, admin access)", "nic-0",
				" devices on 2 nodes: 2 in use, ",
			})
			if !strings.HasPrefix(said.out, "NODE ") || strings.Contains(said.out, "\x1b") {
				t.Errorf("it does not begin with a plain heading:\n%s", said.out)
			}
			for _, parts := range [][]string{{"-o wide", "POOL", "ATTRIBUTES", "type=nic"}, {"--parts"}} {
				at.types(t, "devices "+parts[0]).expect(t, "devices "+parts[0], 0, parts[1:])
			}
		})).
		Assess("as YAML, the same as JSON", assess(func(t *testing.T) {
			asJSON, asYAML := at.types(t, "devices -o json"), at.types(t, "devices -o yaml")
			converted, err := yaml.YAMLToJSON([]byte(asYAML.out))
			if err != nil {
				t.Fatal(err)
			}
			var one, other any
			if err := errors.Join(json.Unmarshal([]byte(asJSON.out), &one), json.Unmarshal(converted, &other)); err != nil {
				t.Fatal(err)
			}
			if fmt.Sprint(one) != fmt.Sprint(other) {
				t.Errorf("JSON is\n%s\nYAML\n%s", asJSON.out, asYAML.out)
			}
		})).
		Assess("fewer of them, when asked for fewer", assess(func(t *testing.T) {
			free, _ := at.devices(t, "--free")
			for _, r := range has {
				if _, ok := free[r.Device]; ok {
					t.Errorf("%s is said to be free", r.Device)
				}
			}
			all, _ := at.devices(t, "--driver "+driverName)
			ofClass, _ := at.devices(t, "--class "+driverName)
			if len(free) == 0 || len(ofClass) <= len(has) || len(all) <= len(ofClass) || len(all) <= len(free) {
				t.Errorf("%d are free, %d are of the class, %d of the driver", len(free), len(ofClass), len(all))
			}
			at.types(t, "devices --driver nobody").expect(t, "devices --driver nobody", 0, nil, "nobody", driverName)
			at.types(t, "devices --class nobody").expect(t, "devices --class nobody", 2, nil, "nobody", driverName)
		})).
		Assess("why a pod has got what it has", assess(func(t *testing.T) {
			claim := s.onlyClaim(t, train).Name
			want := []string{s.namespace + "/" + claim + " has"}
			for _, r := range has {
				want = append(want, r.Pool+"/"+r.Device)
			}
			at.types(t, "why claim/"+claim+" -n "+s.namespace).expect(t, "why claim/"+claim, 0, want)
			want = append(want, s.namespace+"/train runs on node "+string(worker))
			at.types(t, "why pod/train -n "+s.namespace).expect(t, "why pod/train", 0, want)
		}))
	if gateOn("DRAPartitionableDevices") {
		f = s.deskParts(at, f)
	}
	if gateOn("DRAConsumableCapacity") {
		f = deskShares(at, f)
	}
	return f.Feature()
}

// deskParts adds that a part excludes others, and what there still is to have.
func (s *scene) deskParts(at terminal, f *features.FeatureBuilder) *features.FeatureBuilder {
	return f.Assess("a part blocks those that overlap it, and its whole", assess(func(t *testing.T) {
		s.create(t, ofClass("half", migClass, `device.attributes["`+driverName+`"].profile == "3g.40gb"`))
		s.createPod(t, newPod("half", "half"))
		part := forRequest(t, s.onlyClaim(t, s.running(t, "half")), "gpus").Device
		devices, _ := at.devices(t, "")
		devices[part].expectState(t, "inUse", s.namespace+"/half")
		whole := strings.Join(strings.SplitN(part, "-", 3)[:2], "-") // gpu-2 of gpu-2-3g-40gb-0
		for _, blocked := range []string{whole, whole + "-7g-80gb-0"} {
			d := devices[blocked]
			d.expectState(t, "blocked", "")
			if len(d.BlockedBy) != 1 || d.BlockedBy[0].Device != part {
				t.Errorf("%s is blocked by %v, not by %s", blocked, d.BlockedBy, part)
			}
		}
		at.types(t, "devices --parts").expect(t, "devices --parts", 0, []string{
			"1x 3g.40gb or ", part + " (" + s.namespace + "/half)", " untouched, 1 with something left",
		})
		s.deletePod(t, "half")
	}))
}

// deskShares adds that a shared device says how much of it is taken, and by whom.
func deskShares(at terminal, f *features.FeatureBuilder) *features.FeatureBuilder {
	const folder = "13-share-of-a-device"
	s := newScene("dragoman-13", 2)
	return f.Setup(s.appliedWithClasses(folder, sharedClass)).
		Assess("shares say how much of a device they have", assess(func(t *testing.T) {
			for _, pod := range []string{"pod0", "pod1", "both"} {
				s.running(t, pod)
			}
			share := forRequest(t, s.onlyClaim(t, s.podNow(t, "pod0")), "share")
			devices, answer := at.devices(t, "")
			d := devices[share.Device]
			d.expectState(t, "shared", d.user(false))
			if d.SharedPercent != 61 || len(d.UsedBy) != 4 || answer.Summary.Shared != 1 { // 49 of 80Gi, by four shares
				t.Errorf("it is %d %% shared by %d; the summary is %+v", d.SharedPercent, len(d.UsedBy), answer.Summary)
			}
			at.types(t, "devices").expect(t, "devices", 0, []string{
				"shared 61 %", "memory 31Gi of 80Gi", "dragoman-13/pod0 (claim ", ": compute 15, memory 12Gi",
			})
		}))
}

// deskSickDevice is about a device that falls ill: it is tainted, or published no more where taints are dropped.
func deskSickDevice(at terminal) types.Feature {
	s := newScene("e2e-desk", 1)
	state := "notPublished"
	if gateOn("DRADeviceTaints") {
		state = "tainted"
	}
	becomes := func(t *testing.T, state, user string) deskDevice {
		t.Helper()
		var d deskDevice
		until(t, sick+" is said to be "+state, func(context.Context) error {
			devices, _ := at.devices(t, "")
			if d = devices[sick]; d.State != state || d.user(false) != user {
				return fmt.Errorf("it is %+v", d)
			}
			return nil
		})
		return d
	}
	return features.New("a device that falls ill").Setup(s.begin).Setup(allWellAfterwards).
		Assess("is in use while somebody has it", assess(func(t *testing.T) {
			s.create(t, ofClass("first", driverName, `device.attributes["`+driverName+`"].index == 0`))
			s.createPod(t, newPod("train", "first"))
			s.running(t, "train")
			devices, _ := at.devices(t, "")
			devices[sick].expectState(t, "inUse", s.namespace+"/train")
		})).
		Assess(state+" when it is ill, and still somebody's", assess(func(t *testing.T) {
			fallsIll(t)
			if state == "notPublished" {
				becomes(t, state, s.namespace+"/train")
				at.types(t, "devices").expect(t, "devices", 0, []string{"not published"})
				return
			}
			until(t, sick+" is said to be tainted", func(context.Context) error {
				devices, _ := at.devices(t, "")
				if d := devices[sick]; len(d.Taints) != 1 || d.Taints[0].Key != unhealthyKey || d.State != "inUse" {
					return fmt.Errorf("it is %+v", d)
				}
				return nil
			})
			at.types(t, "devices").expect(t, "devices", 0, []string{"unhealthy=true:NoSchedule", "Healthy=False: " + symptom})
		})).
		Assess("is of no use to the next one, who is told so", assess(func(t *testing.T) {
			s.deletePod(t, "train")
			s.createPod(t, newPod("next", "first"))
			s.expectPending(t, "next", "cannot allocate all claims")
			line := "why pod/next -n " + s.namespace
			if state == "tainted" {
				becomes(t, state, "")
				at.types(t, line).expect(t, line, 1, []string{"1 tainted", unhealthyKey})
				return
			}
			at.types(t, line).expect(t, line, 1, []string{"not true for "})
		})).
		Assess("and is for everybody when it is well", assess(func(t *testing.T) {
			worker.mock(t, "set", sick, "health=healthy")
			s.running(t, "next")
			becomes(t, "inUse", s.namespace+"/next")
			line := "why pod/next -n " + s.namespace
			at.types(t, line).expect(t, line, 0, []string{"runs on node " + string(worker)})
		})).Feature()
}

// deviceNames returns the devices of an allocation in order.
func deviceNames(results []result) (names []string) {
	for _, r := range results {
		names = append(names, r.Pool+"/"+r.Device)
	}
	slices.Sort(names)
	return names
}
