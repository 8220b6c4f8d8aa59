package mock

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/types"

	"example.com/dragoman/pkg/device"
)

func newFabric(t *testing.T, profile string) *Fabric {
	t.Helper()
	made, err := NewFabric(profile, "gpu.example.com")
	check(t, err)
	f, ok := made.(*Fabric)
	if !ok {
		t.Fatalf("a %T", made)
	}
	return f
}

// unstable is a profile with devices of which as many attempts fail.
func unstable(percent int) string {
	return fmt.Sprintf("apiVersion: dragoman.example.com/v1alpha1\nkind: MachineProfile\ngroups: [{name: a, count: 100, "+
		"binding: {conditions: [a], failureConditions: [b], failurePercent: %d, delay: 1m}}]\n", percent)
}

func (f *Fabric) try(ctx context.Context, claim types.UID, name string) error {
	return f.Attach(ctx, device.Claim{UID: claim}, resourceapi.DeviceRequestAllocationResult{
		Driver: "gpu.example.com", Pool: "node-a", Device: name,
	})
}

func TestAttachingTakesAsLongAsTheProfileSays(t *testing.T) {
	for name, want := range map[string]time.Duration{
		"gpu-6": 2 * time.Second, "gpu-0": 0, "a device that the machine was told to have": 0,
	} {
		t.Run(name, func(t *testing.T) {
			f := newFabric(t, "showcase")
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				check(t, f.try(t.Context(), claimUID, name))
				if took := time.Since(began); took != want {
					t.Errorf("took %v", took)
				}
			})
		})
	}
}

func TestAttachingFails(t *testing.T) {
	f := newFabric(t, "showcase")
	synctest.Test(t, func(t *testing.T) {
		const want = "the fabric could not attach device gpu-7 to node node-a: its machine profile says that 100 of 100 " +
			"attempts fail"
		for range 3 {
			if err := f.try(t.Context(), claimUID, "gpu-7"); err == nil || err.Error() != want {
				t.Errorf("error %v", err)
			}
		}
	})
}

func TestAttachingEndsWithItsContext(t *testing.T) {
	f := newFabric(t, "showcase")
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		if err := f.try(ctx, claimUID, "gpu-7"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		if took := time.Since(began); took != time.Second {
			t.Errorf("took %v", took)
		}
	})
}

// Whoever tests what comes of failures needs the same ones again.
func TestTheSameAttemptsFail(t *testing.T) {
	file := filepath.Join(t.TempDir(), "profile.yaml")
	writeFile(t, file, unstable(30))
	first, second := newFabric(t, file), newFabric(t, file)
	synctest.Test(t, func(t *testing.T) {
		failed := 0
		for i := range 100 {
			name := fmt.Sprintf("gpu-%d", i)
			one, other := first.try(t.Context(), claimUID, name), second.try(t.Context(), claimUID, name)
			if (one == nil) != (other == nil) {
				t.Errorf("device %s: %v and %v", name, one, other)
			}
			if one != nil {
				failed++
			}
		}
		if failed < 15 || failed > 45 {
			t.Errorf("%d of 100 attempts failed instead of about 30", failed)
		}
	})
}

// A claim that had bad luck is not doomed: the next attempt is another one.
func TestAnotherAttemptMaySucceed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "profile.yaml")
	writeFile(t, file, unstable(50))
	f := newFabric(t, file)
	synctest.Test(t, func(t *testing.T) {
		for i := range 100 {
			attempts := 1
			for f.try(t.Context(), claimUID, fmt.Sprintf("gpu-%d", i)) != nil {
				if attempts++; attempts > 50 {
					t.Fatalf("device gpu-%d is never attached", i)
				}
			}
		}
		if len(f.failed) != 0 {
			t.Errorf("failures that are over are in memory: %v", f.failed)
		}
	})
}

func TestAFabricFollowsItsProfile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "profile.yaml")
	writeFile(t, file, unstable(0))
	f := newFabric(t, file)
	for _, step := range []struct {
		name, profile string
		fails         bool
	}{
		{"as it was made", unstable(0), false},
		{"changed", unstable(100), true},
		{"bad, so what it said before holds", "{", true},
		{"good again", unstable(0), false},
	} {
		writeFile(t, file, step.profile)
		synctest.Test(t, func(t *testing.T) {
			if err := f.try(t.Context(), claimUID, "gpu-1"); (err != nil) != step.fails {
				t.Errorf("%s: %v", step.name, err)
			}
		})
	}
}

func TestAFabricSaysWhatItIsNotFor(t *testing.T) {
	for name, test := range map[string]struct{ profile, want string }{
		"a profile that is not there": {"none", `machine profile "none" is neither built in`},
		"a bad profile":               {"bad", "groups[0].count"},
	} {
		t.Run(name, func(t *testing.T) {
			if test.profile == "bad" {
				test.profile = filepath.Join(t.TempDir(), "profile.yaml")
				writeFile(t, test.profile, profileOf(-1))
			}
			if _, err := NewFabric(test.profile, "gpu.example.com"); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v", err)
			}
		})
	}
	err := newFabric(t, "showcase").Attach(t.Context(), device.Claim{UID: claimUID},
		resourceapi.DeviceRequestAllocationResult{Driver: "nic.example.com", Pool: "node-a", Device: "nic-0"})
	const want = "device nic-0 is one of driver nic.example.com, the fabric has those of gpu.example.com"
	if err == nil || err.Error() != want {
		t.Errorf("error %v", err)
	}
}
