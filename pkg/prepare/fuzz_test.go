package prepare

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	cdispecs "tags.cncf.io/container-device-interface/specs-go"

	gpuv1alpha1 "example.com/dragoman/api/gpu/v1alpha1"
	"example.com/dragoman/pkg/claim"
	"example.com/dragoman/pkg/device"
)

// nowhere is a backend that changes nothing.
type nowhere struct{}

func (nowhere) Devices(context.Context) (device.Snapshot, error) { return device.Snapshot{}, nil }

func (nowhere) Prepare(_ context.Context, r device.Request) ([]device.Grant, error) {
	var grants []device.Grant
	for i, result := range r.Devices {
		if err := r.Remember(i, []byte(`{}`)); err != nil {
			return nil, err
		}
		grants = append(grants, device.Grant{
			Claim: r.Claim, Result: result, Edits: &cdispecs.ContainerEdits{Env: device.Environment(r, i)},
		})
	}
	return grants, nil
}

func (nowhere) Unprepare(context.Context, device.Grant) error { return nil }

// FuzzNames takes a claim whose names are anything at all the whole way and back, both as it comes from the API server
// and as a plan that nobody has looked at. Nothing may ever be anywhere but below the two directories, and nothing may
// be left of what was prepared.
func FuzzNames(f *testing.F) {
	for _, n := range [][6]string{
		{"0b0b3c1e-6e5c-4d8a-9d43-0c5a6f7f3a11", "train", "gpu/older", nodeName, "gpu-0", "f7a1c0de"},
		{"../../outside", "../../outside", "../../outside", "../../outside", "../../outside", "../../outside"},
		{"a/b", "c/d", "e/f", "g/h", "i/j", "k/l"}, {"", "", "", "", "", ""}, {"0", "0", "0", "\x86", "0", "0"},
		{"a\x00", "\x00", "\x00", "\x00", "g\x00", "s\x00"},
		{"epoch", "epoch", "epoch", "epoch", "epoch", "epoch"}, {".a.tmp", "n", "r", "p", ".tmp", "s"},
		{"u", "n", "r", "p", strings.Repeat("d", 63), strings.Repeat("s", 64)}, {"u", "n", "=", "k8s.io/x=y", "a=b", "*"},
	} {
		f.Add(n[0], n[1], n[2], n[3], n[4], n[5])
	}
	f.Fuzz(func(t *testing.T, uid, name, request, pool, deviceName, share string) {
		n := newNode(t)
		top := filepath.Dir(n.state)
		outside := filepath.Join(top, "outside")
		must(t, os.WriteFile(outside, []byte("untouched"), 0o600))
		p := (&process{node: n}).with(t, nowhere{})
		result := resourceapi.DeviceRequestAllocationResult{
			Request: request, Driver: driverName, Pool: pool, Device: deviceName,
		}
		if share != "" {
			result.ShareID = new(types.UID(share))
		}
		plan := claim.Plan{Namespace: name, Name: name, UID: types.UID(uid)}
		plan.Devices = []claim.Device{{Result: result, ConfigIndex: -1, Config: gpuv1alpha1.Default()}}
		thereAndBack(t, p, plan)
		if decided, err := decide(name, types.UID(uid), result); err == nil {
			thereAndBack(t, p, decided)
		}
		entries, err := os.ReadDir(top)
		must(t, err)
		if content, err := os.ReadFile(outside); len(entries) != 4 || string(content) != "untouched" || err != nil {
			t.Errorf("outside there is %q, %v, and %v", content, err, entries)
		}
	})
}

func decide(name string, uid types.UID, result resourceapi.DeviceRequestAllocationResult) (claim.Plan, error) {
	c := &resourceapi.ResourceClaim{}
	c.Namespace, c.Name, c.UID = name, name, uid
	c.Status.Allocation = &resourceapi.AllocationResult{}
	c.Status.Allocation.Devices.Results = []resourceapi.DeviceRequestAllocationResult{result}
	return claim.Decide(c, claim.Options{
		DriverName: driverName, PoolName: nodeName, Decode: gpuv1alpha1.Decode,
		Default: func() runtime.Object { return gpuv1alpha1.Default() },
	})
}

func thereAndBack(t *testing.T, p *process, plan claim.Plan) {
	t.Helper()
	answer, err := p.Prepare(t.Context(), plan)
	if err == nil {
		again, err := p.Prepare(t.Context(), plan)
		must(t, err)
		mustBeEqual(t, again, answer)
	}
	if back := p.Unprepare(t.Context(), plan.UID); err == nil && back != nil {
		t.Errorf("what was prepared cannot be taken back: %v", back)
	} else if err != nil && back != nil && !strings.Contains(back.Error(), "is not one") {
		t.Errorf("after %v: %v", err, errors.Join(back))
	}
	for _, left := range p.left(t) {
		t.Errorf("left of a claim of which Prepare said %v: %q", err, left)
	}
}
