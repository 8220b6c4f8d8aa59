//go:build cgo

package mig_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/gpus"
	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"

	"example.com/dragoman/pkg/device/nvml/mig"
	"example.com/dragoman/pkg/device/nvml/nvmltest"
)

// bench is a workshop with one GPU.
type bench struct {
	*mig.Workshop
	sim     *nvmltest.GPU
	gpu     mig.GPU
	reports []error
}

func newBench(t *testing.T, kind gpus.Config) *bench {
	t.Helper()
	sim := nvmltest.New(kind).GPUs[0]
	b := &bench{sim: sim, gpu: mig.GPU{
		Device: sim.Device, UUID: sim.UUID, Toggles: mig.Toggles(kind.Architecture), Layout: read(t, sim.Device),
	}}
	b.Workshop = &mig.Workshop{
		Book: mig.Book{Dir: filepath.Join(t.TempDir(), "mig")}, Patience: 50 * time.Millisecond,
		Report: func(problem error) { b.reports = append(b.reports, problem) },
	}
	return b
}

func (b *bench) order(t *testing.T, claim types.UID, profileID, start uint32) mig.Order {
	t.Helper()
	p, ok := b.gpu.Layout.Find(profileID, start)
	if !ok {
		t.Fatalf("no profile %d at %d", profileID, start)
	}
	return mig.Order{Claim: claim, Device: mig.DeviceName(b.gpu.UUID, p), Partition: p}
}

// make creates an instance and returns it with what was remembered.
func (b *bench) make(t *testing.T, o mig.Order) (mig.Instance, []mig.Undo, error) {
	t.Helper()
	var remembered []mig.Undo
	made, err := b.Create(t.Context(), b.gpu, o, func(u mig.Undo) error {
		remembered = append(remembered, u)
		return nil
	})
	return made, remembered, err
}

func (b *bench) mustMake(t *testing.T, o mig.Order) (mig.Instance, mig.Undo) {
	t.Helper()
	made, remembered, err := b.make(t, o)
	if err != nil {
		t.Fatal(err)
	}
	return made, remembered[len(remembered)-1]
}

func (b *bench) has(t *testing.T, want ...string) {
	t.Helper()
	if got := b.sim.Instances(); !slices.Equal(got, want) {
		t.Errorf("instances %v, want %v", got, want)
	}
}

func TestCreateAndDestroy(t *testing.T) {
	b := newBench(t, gpus.H100_SXM5_80GB)
	order := b.order(t, "claim-a", 9, 4)
	made, remembered, err := b.make(t, order)
	if err != nil {
		t.Fatal(err)
	}
	undo := mig.Undo{ParentUUID: b.gpu.UUID, ProfileID: 9, Start: 4, Size: 4}
	complete := undo
	complete.GI, complete.CI = new(uint32(1)), new(uint32(0))
	if diff := cmp.Diff([]mig.Undo{undo, complete}, remembered); diff != "" {
		t.Error(diff)
	}
	if made.GI != 1 || *made.CI != 0 || !strings.HasPrefix(made.UUID, "MIG-") || made.Name() != "3g.40gb" {
		t.Errorf("made %+v", made)
	}
	b.has(t, "9@4")
	again, second := b.mustMake(t, order)
	if diff := cmp.Diff(made, again); diff != "" {
		t.Errorf("made another one the second time: %s", diff)
	}
	if diff := cmp.Diff(complete, second); diff != "" {
		t.Errorf("remembered something else the second time: %s", diff)
	}
	if b.sim.Calls("CreateGpuInstance") != 1 || b.sim.Calls("SetMigMode") != 1 {
		t.Errorf("%d instances, mode set %d times", b.sim.Calls("CreateGpuInstance"), b.sim.Calls("SetMigMode"))
	}
	for range 2 {
		if err := b.Destroy(t.Context(), b.gpu, "claim-a", order.Device, &complete); err != nil {
			t.Fatal(err)
		}
		b.has(t)
	}
	if b.sim.Mode() != nvml.DEVICE_MIG_DISABLE {
		t.Error("MIG mode is still enabled")
	}
}

func TestTheModeStaysEnabledWhileSomebodyNeedsIt(t *testing.T) {
	b := newBench(t, gpus.H100_SXM5_80GB)
	first, second := b.order(t, "claim-a", 19, 0), b.order(t, "claim-b", 19, 1)
	b.mustMake(t, first)
	b.mustMake(t, second)
	for i, o := range []mig.Order{first, second} {
		if err := b.Destroy(t.Context(), b.gpu, o.Claim, o.Device, nil); err != nil {
			t.Fatal(err)
		}
		if want := 1 - i; b.sim.Mode() != want {
			t.Errorf("mode %d after %d were destroyed", b.sim.Mode(), i+1)
		}
	}
	b.sim.SetMode(nvml.DEVICE_MIG_ENABLE, nvml.DEVICE_MIG_ENABLE) // by somebody else
	b.mustMake(t, first)
	if err := b.Destroy(t.Context(), b.gpu, first.Claim, first.Device, nil); err != nil {
		t.Fatal(err)
	}
	if b.sim.Mode() != nvml.DEVICE_MIG_ENABLE {
		t.Error("disabled a MIG mode that somebody else had enabled")
	}
}

func TestWhatFailsCanBeTakenBackAndMadeAgain(t *testing.T) {
	const unknown = nvml.ERROR_UNKNOWN
	for name, test := range map[string]struct {
		fail func(sim *nvmltest.GPU)
		want string // part of the error; none if it is success nevertheless
	}{
		"the mode":             {failing("SetMigMode", unknown), "enable MIG mode"},
		"the mode, in use":     {failing("SetMigMode", manyTimes(nvml.ERROR_IN_USE)...), "monitoring agent"},
		"the mode, busy once":  {failing("SetMigMode", nvml.ERROR_IN_USE), ""},
		"the GPU instance":     {failing("CreateGpuInstance", unknown), "create GPU instance"},
		"the compute instance": {failing("CreateComputeInstance", unknown), "create compute instance"},
		"an error although it was made": {
			func(sim *nvmltest.GPU) { sim.FailAfterCreate(nvml.ERROR_TIMEOUT) }, "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, gpus.H100_SXM5_80GB)
			order := b.order(t, "claim-a", 14, 2)
			test.fail(b.sim)
			_, remembered, err := b.make(t, order)
			switch {
			case test.want == "" && err != nil:
				t.Error(err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("error %v, want …%s…", err, test.want)
			}
			undo := remembered[len(remembered)-1]
			if err := b.Destroy(t.Context(), b.gpu, order.Claim, order.Device, &undo); err != nil {
				t.Error(err)
			}
			b.has(t)
			if b.sim.Mode() != nvml.DEVICE_MIG_DISABLE {
				t.Error("MIG mode is still enabled")
			}
		})
	}
}

func failing(call string, codes ...nvml.Return) func(*nvmltest.GPU) {
	return func(sim *nvmltest.GPU) { sim.Fail(call, codes...) }
}

func manyTimes(code nvml.Return) []nvml.Return { return slices.Repeat([]nvml.Return{code}, 5) }

func TestNothingIsChangedBeforeItIsRemembered(t *testing.T) {
	b := newBench(t, gpus.H100_SXM5_80GB)
	full := errors.New("disk full")
	_, err := b.Create(t.Context(), b.gpu, b.order(t, "claim-a", 19, 0), func(mig.Undo) error { return full })
	if !errors.Is(err, full) || b.sim.Calls("SetMigMode")+b.sim.Calls("CreateGpuInstance") > 0 {
		t.Errorf("error %v, %d and %d calls", err, b.sim.Calls("SetMigMode"), b.sim.Calls("CreateGpuInstance"))
	}
}

func TestACrashBetweenAnyTwoChangesIsMended(t *testing.T) {
	dead := errors.New("dead")
	for _, call := range []string{"none", "CreateGpuInstance", "CreateComputeInstance", "remember"} {
		t.Run("before "+call, func(t *testing.T) {
			b := newBench(t, gpus.H100_SXM5_80GB)
			order, die := b.order(t, "claim-a", 19, 3), func() { panic(dead) }
			create, info := b.sim.CreateGpuInstanceWithPlacementFunc, b.sim.GetGpuInstancesFunc
			b.sim.CreateGpuInstanceWithPlacementFunc = func(
				i *nvml.GpuInstanceProfileInfo, p *nvml.GpuInstancePlacement,
			) (nvml.GpuInstance, nvml.Return) {
				if call == "CreateGpuInstance" {
					die()
				}
				gi, ret := create(i, p)
				if call == "CreateComputeInstance" {
					die()
				}
				return gi, ret
			}
			func() {
				defer func() { _ = recover() }()
				remembered := 0
				_, _ = b.Create(t.Context(), b.gpu, order, func(mig.Undo) error {
					if remembered++; remembered == 2 && call == "remember" {
						die()
					}
					return nil
				})
			}()
			b.sim.CreateGpuInstanceWithPlacementFunc, b.sim.GetGpuInstancesFunc = create, info
			if _, foreign := b.foreign(t); foreign > 0 {
				t.Error("what was made is taken for somebody else's")
			}
			made, _ := b.mustMake(t, order) // the kubelet asks again
			b.has(t, "19@3")
			if made.UUID == "" {
				t.Error("no UUID")
			}
			if err := b.Sweep(t.Context(), b.gpu, func(types.UID) bool { return true }); err != nil {
				t.Error(err)
			}
			b.has(t, "19@3")
			if err := b.Sweep(t.Context(), b.gpu, func(types.UID) bool { return false }); err != nil { // the record was lost
				t.Error(err)
			}
			b.has(t)
			if b.sim.Mode() != nvml.DEVICE_MIG_DISABLE {
				t.Error("MIG mode is still enabled")
			}
		})
	}
}

func ignore(mig.Undo) error { return nil }

func (b *bench) foreign(t *testing.T) (own, foreign int) {
	t.Helper()
	instances, err := mig.Instances(b.gpu, b.gpu.Layout)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := b.Book.Entries(b.gpu.UUID)
	if err != nil {
		t.Fatal(err)
	}
	mine, others := mig.Divide(instances, entries)
	return len(mine), len(others)
}

func TestSomebodyElsesInstancesAreLeftAlone(t *testing.T) {
	b := newBench(t, gpus.H100_SXM5_80GB)
	b.sim.SetMode(nvml.DEVICE_MIG_ENABLE, nvml.DEVICE_MIG_ENABLE)
	if err := b.sim.Make(nvml.GPU_INSTANCE_PROFILE_2_SLICE, 0); err != nil {
		t.Fatal(err)
	}
	for _, at := range [][2]uint32{{14, 0}, {19, 1}, {0, 0}} {
		order := b.order(t, "claim-a", at[0], at[1])
		_, _, err := b.make(t, order)
		var taken *mig.TakenError
		if !errors.As(err, &taken) || taken.Claim != "" || !strings.Contains(err.Error(), "2g.20gb at 0") {
			t.Errorf("profile %d at %d: %v", at[0], at[1], err)
		}
		if err := b.Destroy(t.Context(), b.gpu, order.Claim, order.Device, nil); err != nil {
			t.Error(err)
		}
	}
	if err := b.Sweep(t.Context(), b.gpu, func(types.UID) bool { return false }); err != nil {
		t.Error(err)
	}
	if err := b.Disable(t.Context(), b.gpu, "claim-b", ignore); err == nil || !strings.Contains(err.Error(), "2g.20gb") {
		t.Errorf("disabled MIG under an instance: %v", err)
	}
	b.has(t, "14@0")
	if own, foreign := b.foreign(t); own != 0 || foreign != 1 {
		t.Errorf("%d own, %d foreign", own, foreign)
	}
}

func TestAPlaceThatAnotherClaimHasIsNamed(t *testing.T) {
	b := newBench(t, gpus.H100_SXM5_80GB)
	b.mustMake(t, b.order(t, "claim-a", 19, 0))
	_, _, err := b.make(t, b.order(t, "claim-b", 15, 0))
	if err == nil || !strings.Contains(err.Error(), "claim with UID claim-a") {
		t.Errorf("error %v", err)
	}
}

func TestDestroyKnowsItsInstanceByOneOfBookAndUndo(t *testing.T) {
	for name, lose := range map[string]func(b *bench, undo *mig.Undo) *mig.Undo{
		"the undo is lost": func(*bench, *mig.Undo) *mig.Undo { return nil },
		"the book is lost": func(b *bench, undo *mig.Undo) *mig.Undo { _ = os.RemoveAll(b.Book.Dir); return undo },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, gpus.H100_SXM5_80GB)
			order := b.order(t, "claim-a", 5, 0)
			_, undo := b.mustMake(t, order)
			if err := b.Destroy(t.Context(), b.gpu, "claim-a", order.Device, lose(b, &undo)); err != nil {
				t.Error(err)
			}
			b.has(t)
		})
	}
	t.Run("the place has another claim's by now", func(t *testing.T) {
		b := newBench(t, gpus.H100_SXM5_80GB)
		order := b.order(t, "claim-a", 5, 0)
		_, undo := b.mustMake(t, order)
		b.sim.Reset()
		b.mustMake(t, b.order(t, "claim-b", 5, 0))
		if err := b.Destroy(t.Context(), b.gpu, "claim-a", order.Device, &undo); err != nil {
			t.Error(err)
		}
		b.has(t, "5@0")
	})
}

func TestDestroyWaitsForUsersWithinBounds(t *testing.T) {
	b := newBench(t, gpus.H100_SXM5_80GB)
	order := b.order(t, "claim-a", 19, 0)
	b.mustMake(t, order)
	b.sim.Fail("DestroyComputeInstance", nvml.ERROR_IN_USE)
	b.sim.Fail("DestroyGpuInstance", nvml.ERROR_IN_USE)
	if err := b.Destroy(t.Context(), b.gpu, "claim-a", order.Device, nil); err != nil {
		t.Error(err)
	}
	b.has(t)
	b.mustMake(t, order)
	b.sim.Fail("DestroyGpuInstance", slices.Repeat([]nvml.Return{nvml.ERROR_IN_USE}, 20)...)
	err := b.Destroy(t.Context(), b.gpu, "claim-a", order.Device, nil)
	var inUse *mig.InUseError
	if !errors.As(err, &inUse) || !errors.Is(err, nvml.ERROR_IN_USE) || !strings.Contains(err.Error(), "DCGM") {
		t.Errorf("error %v", err)
	}
	if entries, _ := b.Book.Entries(b.gpu.UUID); len(entries) != 1 {
		t.Errorf("the book has %v", entries)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.Destroy(ctx, b.gpu, "claim-a", order.Device, nil); !errors.Is(err, nvml.ERROR_IN_USE) {
		t.Errorf("error %v", err)
	}
}

func TestAmpereIsNeverToggled(t *testing.T) {
	b := newBench(t, gpus.A100_SXM4_40GB)
	order := b.order(t, "claim-a", 9, 0)
	if _, _, err := b.make(t, order); err == nil || !strings.Contains(err.Error(), "nvidia-smi -mig 1") {
		t.Errorf("error %v", err)
	}
	b.sim.SetMode(nvml.DEVICE_MIG_ENABLE, nvml.DEVICE_MIG_ENABLE)
	b.mustMake(t, order)
	b.has(t, "9@0")
	if err := b.Destroy(t.Context(), b.gpu, "claim-a", order.Device, nil); err != nil {
		t.Error(err)
	}
	err := b.Disable(t.Context(), b.gpu, "claim-b", ignore)
	if err == nil || !strings.Contains(err.Error(), "nvidia-smi -mig 0") {
		t.Errorf("error %v", err)
	}
	if b.sim.Calls("SetMigMode") != 0 || b.sim.Mode() != nvml.DEVICE_MIG_ENABLE {
		t.Error("the mode was touched")
	}
	b.sim.SetMode(nvml.DEVICE_MIG_ENABLE, nvml.DEVICE_MIG_DISABLE)
	if _, _, err := b.make(t, order); err == nil || !strings.Contains(err.Error(), "reset") {
		t.Errorf("error %v", err)
	}
}

func TestAWholeGPULeavesMIGModeAndGetsItBack(t *testing.T) {
	b := newBench(t, gpus.H100_SXM5_80GB)
	b.sim.SetMode(nvml.DEVICE_MIG_ENABLE, nvml.DEVICE_MIG_ENABLE)
	for range 2 {
		if err := b.Disable(t.Context(), b.gpu, "claim-a", ignore); err != nil {
			t.Fatal(err)
		}
	}
	if b.sim.Mode() != nvml.DEVICE_MIG_DISABLE {
		t.Error("still enabled")
	}
	if err := b.Enable(t.Context(), b.gpu, "claim-b"); err != nil || b.sim.Mode() != nvml.DEVICE_MIG_DISABLE {
		t.Errorf("enabled for a claim that has not disabled it: %v", err)
	}
	for range 2 {
		if err := b.Enable(t.Context(), b.gpu, "claim-a"); err != nil {
			t.Fatal(err)
		}
	}
	if b.sim.Mode() != nvml.DEVICE_MIG_ENABLE || b.sim.Calls("SetMigMode") != 2 {
		t.Errorf("mode %d after %d calls", b.sim.Mode(), b.sim.Calls("SetMigMode"))
	}
	if err := b.Disable(t.Context(), b.gpu, "claim-c", ignore); err != nil {
		t.Fatal(err)
	}
	if err := b.Sweep(t.Context(), b.gpu, func(types.UID) bool { return false }); err != nil {
		t.Fatal(err)
	}
	if b.sim.Mode() != nvml.DEVICE_MIG_ENABLE {
		t.Error("a lost claim left the mode disabled")
	}
}

func TestWhatCannotBeSetBackIsReportedOnly(t *testing.T) {
	b := newBench(t, gpus.H100_SXM5_80GB)
	order := b.order(t, "claim-a", 19, 0)
	b.mustMake(t, order)
	b.sim.Fail("SetMigMode", nvml.ERROR_UNKNOWN)
	if err := b.Destroy(t.Context(), b.gpu, "claim-a", order.Device, nil); err != nil || len(b.reports) != 1 {
		t.Errorf("error %v, reports %v", err, b.reports)
	}
	if err := b.Disable(t.Context(), b.gpu, "claim-b", ignore); err != nil || b.sim.Mode() != nvml.DEVICE_MIG_DISABLE {
		t.Errorf("the next user of the whole GPU: %v", err)
	}
	if err := b.Enable(t.Context(), b.gpu, "claim-b"); err != nil || b.sim.Mode() != nvml.DEVICE_MIG_DISABLE {
		t.Errorf("the driver's own MIG mode came back: %v", err)
	}
}

func TestOnlyOneChangesAGPUAtATime(t *testing.T) {
	b := newBench(t, gpus.H100_SXM5_80GB)
	var wait sync.WaitGroup
	for start := range uint32(7) {
		wait.Go(func() {
			claim := types.UID(fmt.Sprint("claim-", start))
			order := b.order(t, claim, 19, start)
			for range 3 {
				if _, _, err := b.make(t, order); err != nil {
					t.Error(err)
				}
				if err := b.Destroy(t.Context(), b.gpu, claim, order.Device, nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
	b.has(t)
	unlock, err := b.Book.Lock(t.Context(), b.gpu.UUID)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := b.Book.Lock(ctx, b.gpu.UUID); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("locked twice: %v", err)
	}
	unlock()
	if unlock, err = b.Book.Lock(t.Context(), b.gpu.UUID); err != nil {
		t.Fatal(err)
	}
	unlock()
}

// TestWhatTheSchedulerGivesOutCanBeMade gives out partitions in random order as long as counters last.
func TestWhatTheSchedulerGivesOutCanBeMade(t *testing.T) {
	for _, kind := range []gpus.Config{gpus.H100_SXM5_80GB, gpus.H200_SXM5_141GB, gpus.B200_SXM5_180GB} {
		for seed := range uint64(30) {
			b := newBench(t, kind)
			set, _ := b.gpu.Layout.CounterSet("gpu-x")
			free := newAllocator(set)
			partitions := b.gpu.Layout.Partitions()
			rand.New(rand.NewPCG(seed, 1)).Shuffle(len(partitions), func(i, j int) {
				partitions[i], partitions[j] = partitions[j], partitions[i]
			})
			for _, p := range partitions {
				if !free.take(p.Consumption(set.Name)) {
					continue
				}
				order := mig.Order{Claim: "claim-a", Device: mig.DeviceName(b.gpu.UUID, p), Partition: p}
				if _, _, err := b.make(t, order); err != nil {
					t.Fatalf("%s, order %d: %v", kind.Name, seed, err)
				}
			}
		}
	}
}

func TestForget(t *testing.T) {
	b := newBench(t, gpus.H100_SXM5_80GB)
	b.mustMake(t, b.order(t, "claim-a", 19, 0))
	b.mustMake(t, b.order(t, "claim-b", 19, 1))
	if err := b.Book.Forget(b.gpu.UUID, func(claim types.UID) bool { return claim == "claim-a" }); err != nil {
		t.Error(err)
	}
	entries, err := b.Book.Entries(b.gpu.UUID)
	if err != nil || len(entries) != 1 || entries[0].Claim != "claim-b" {
		t.Errorf("%v, %v", entries, err)
	}
	if found, err := b.Book.OfClaim("claim-b", entries[0].Device); err != nil || len(found) != 1 {
		t.Errorf("%v, %v", found, err)
	}
}
