//go:build cgo

package sharing_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/gpus"
	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"

	gpuv1alpha1 "example.com/dragoman/api/gpu/v1alpha1"
	"example.com/dragoman/pkg/device/nvml/nvmltest"
	"example.com/dragoman/pkg/device/nvml/sharing"
)

// fakeSMI keeps the time slice of all GPUs in a file beside it, and what it was asked in another one.
const fakeSMI = `#!/bin/sh
dir=$(dirname "$0")
echo "$@" >>"$dir/asked"
[ -e "$dir/broken" ] && { echo "Unable to determine the device handle"; exit 6; }
[ "$1" = compute-policy ] || exit 1
case $2 in
--set-timeslice) echo "$3" >"$dir/slice" ;;
--list)
	echo "| GPU compute policies: |"
	echo "|   0     Timeslice    | $(sed 's/0/Default/;s/1/Short/;s/2/Medium/;s/3/Long/' "$dir/slice") |" ;;
esac
`

type desk struct {
	*sharing.Keeper
	sim *nvmltest.GPU
	gpu sharing.GPU
	dir string // of nvidia-smi
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	d := &desk{sim: nvmltest.New(gpus.H100_SXM5_80GB).GPUs[0], dir: t.TempDir()}
	d.gpu = sharing.GPU{Handle: d.sim.Device, UUID: d.sim.UUID}
	smi := filepath.Join(d.dir, "nvidia-smi")
	if err := os.WriteFile(smi, []byte(fakeSMI), 0o755); err != nil {
		t.Fatal(err)
	}
	d.file(t, "slice", "2\n")
	d.Keeper = &sharing.Keeper{
		Dir: filepath.Join(t.TempDir(), "settings"), SMI: func() (sharing.SMI, error) { return sharing.SMI{Path: smi}, nil },
	}
	return d
}

func (d *desk) file(t *testing.T, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(d.dir, name), []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// settings are the compute mode and the time slice.
func (d *desk) settings(t *testing.T) string {
	t.Helper()
	slice, err := os.ReadFile(filepath.Join(d.dir, "slice"))
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d %s", d.sim.ComputeMode(), strings.TrimSpace(string(slice)))
}

func (d *desk) asked() int {
	raw, _ := os.ReadFile(filepath.Join(d.dir, "asked"))
	return strings.Count(string(raw), "\n")
}

func (d *desk) apply(t *testing.T, claim string, want sharing.Want) ([]sharing.Changes, error) {
	t.Helper()
	var remembered []sharing.Changes
	err := d.Apply(t.Context(), d.gpu, types.UID(claim), want, func(c sharing.Changes) error {
		remembered = append(remembered, c)
		return nil
	})
	return remembered, err
}

func longSlices() sharing.Want {
	return sharing.Want{ComputeMode: new(nvml.COMPUTEMODE_DEFAULT), TimeSlice: new(sharing.LongSlice)}
}

func TestSettingsComeAndGo(t *testing.T) {
	d := newDesk(t)
	exclusive := sharing.Want{ComputeMode: new(nvml.COMPUTEMODE_EXCLUSIVE_PROCESS)}
	for range 2 {
		remembered, err := d.apply(t, "a", exclusive)
		want := []sharing.Changes{{Claim: "a", ComputeMode: &sharing.Change{Before: 0, Set: 3}}}
		if diff := cmp.Diff(want, remembered); diff != "" || err != nil {
			t.Errorf("%v, %s", err, diff)
		}
		if got := d.settings(t); got != "3 2" {
			t.Errorf("settings %s", got)
		}
	}
	if d.asked() > 0 || d.sim.Calls("SetComputeMode") != 1 {
		t.Errorf("nvidia-smi was asked %d times, the mode was set %d times", d.asked(), d.sim.Calls("SetComputeMode"))
	}
	for range 2 {
		if err := d.Restore(t.Context(), d.gpu, "a", nil); err != nil {
			t.Error(err)
		}
		if got := d.settings(t); got != "0 2" {
			t.Errorf("settings %s", got)
		}
	}
	if err := d.gpu.Handle.SetComputeMode(nvml.COMPUTEMODE_PROHIBITED); err != nvml.SUCCESS {
		t.Fatal(err)
	}
	remembered, err := d.apply(t, "b", longSlices())
	want := []sharing.Changes{{
		Claim: "b", ComputeMode: &sharing.Change{Before: 2, Set: 0}, TimeSlice: &sharing.Change{Before: 2, Set: 3},
	}}
	if diff := cmp.Diff(want, remembered); diff != "" || err != nil || d.settings(t) != "0 3" {
		t.Errorf("%v, settings %s, %s", err, d.settings(t), diff)
	}
	if err := os.RemoveAll(d.Dir); err != nil { // the record knows too
		t.Fatal(err)
	}
	if err := d.Restore(t.Context(), d.gpu, "b", &remembered[0]); err != nil || d.settings(t) != "2 2" {
		t.Errorf("%v, settings %s", err, d.settings(t))
	}
}

func TestWhatIsRightAlreadyIsNotTouched(t *testing.T) {
	d := newDesk(t)
	d.file(t, "slice", "3\n")
	remembered, err := d.apply(t, "a", longSlices())
	if len(remembered) > 0 || err != nil || d.sim.Calls("SetComputeMode") > 0 || d.asked() != 1 {
		t.Errorf("%v, remembered %v", err, remembered)
	}
	if err := d.Restore(t.Context(), d.gpu, "a", nil); err != nil || d.settings(t) != "0 3" {
		t.Errorf("%v, settings %s", err, d.settings(t))
	}
}

func TestWhatSomebodyElseChangedStays(t *testing.T) {
	d := newDesk(t)
	if _, err := d.apply(t, "a", longSlices()); err != nil {
		t.Fatal(err)
	}
	d.file(t, "slice", "1\n")
	if err := d.Restore(t.Context(), d.gpu, "a", nil); err != nil || d.settings(t) != "0 1" {
		t.Errorf("%v, settings %s", err, d.settings(t))
	}
}

func TestWhatWasBeforeIsNotForgottenWhenSomebodyElseChangesIt(t *testing.T) {
	d := newDesk(t)
	if _, err := d.apply(t, "a", longSlices()); err != nil {
		t.Fatal(err)
	}
	d.file(t, "slice", "1\n")
	remembered, err := d.apply(t, "a", longSlices()) // the kubelet asks again
	if err != nil || len(remembered) != 1 || remembered[0].TimeSlice.Before != 2 || d.settings(t) != "0 3" {
		t.Errorf("%v, remembered %v, settings %s", err, remembered, d.settings(t))
	}
}

func TestALeftoverIsBroughtBackFirst(t *testing.T) {
	d := newDesk(t)
	exclusive := sharing.Want{ComputeMode: new(nvml.COMPUTEMODE_EXCLUSIVE_PROCESS)}
	if _, err := d.apply(t, "lost", exclusive); err != nil {
		t.Fatal(err)
	}
	remembered, err := d.apply(t, "b", exclusive)
	if err != nil || len(remembered) != 1 || remembered[0].ComputeMode.Before != 0 {
		t.Errorf("%v, %v", err, remembered)
	}
	if err := d.Restore(t.Context(), d.gpu, "lost", nil); err != nil || d.settings(t) != "3 2" {
		t.Errorf("the lost claim took it from another one: %v, settings %s", err, d.settings(t))
	}
	if changed, err := d.Changed(); err != nil || len(changed) != 1 || changed[d.gpu.UUID].Claim != "b" {
		t.Errorf("%v, %v", err, changed)
	}
	if err := d.Restore(t.Context(), d.gpu, "b", nil); err != nil || d.settings(t) != "0 2" {
		t.Errorf("%v, settings %s", err, d.settings(t))
	}
	if changed, err := d.Changed(); err != nil || len(changed) > 0 {
		t.Errorf("%v, %v", err, changed)
	}
}

func TestSettingsThatCannotBeSet(t *testing.T) {
	d := newDesk(t)
	full := errors.New("disk full")
	err := d.Apply(t.Context(), d.gpu, "a", longSlices(), func(sharing.Changes) error { return full })
	if !errors.Is(err, full) || d.settings(t) != "0 2" {
		t.Errorf("%v, settings %s", err, d.settings(t))
	}
	d.sim.Fail("SetComputeMode", nvml.ERROR_NO_PERMISSION)
	exclusive := sharing.Want{ComputeMode: new(nvml.COMPUTEMODE_EXCLUSIVE_PROCESS)}
	if _, err := d.apply(t, "a", exclusive); !errors.Is(err, nvml.ERROR_NO_PERMISSION) {
		t.Error(err)
	}
	if err := d.Restore(t.Context(), d.gpu, "a", nil); err != nil || d.sim.Calls("SetComputeMode") != 1 {
		t.Errorf("%v after %d calls", err, d.sim.Calls("SetComputeMode"))
	}
	d.file(t, "broken", "")
	if _, err := d.apply(t, "a", longSlices()); err == nil || !strings.Contains(err.Error(), "device handle") {
		t.Errorf("error %v", err)
	}
}

func TestWantOf(t *testing.T) {
	type interval = gpuv1alpha1.TimeSliceInterval
	config := func(strategy gpuv1alpha1.GpuSharingStrategy, interval interval) *gpuv1alpha1.GpuConfig {
		c := &gpuv1alpha1.GpuConfig{Sharing: &gpuv1alpha1.GpuSharing{Strategy: strategy}}
		if interval != "" {
			c.Sharing.TimeSlicingConfig = &gpuv1alpha1.TimeSlicingConfig{Interval: interval}
		}
		gpuv1alpha1.SetDefaults(c)
		return c
	}
	whole, part := sharing.Group{Devices: 2}, sharing.Group{Devices: 1, MIG: 1}
	parts, admin := sharing.Group{Devices: 2, MIG: 2}, sharing.Group{Devices: 1, Admin: true}
	exclusive := new(nvml.COMPUTEMODE_EXCLUSIVE_PROCESS)
	mps := &gpuv1alpha1.MPSConfig{}
	nothing := sharing.Want{}
	for name, test := range map[string]struct {
		config *gpuv1alpha1.GpuConfig
		of     sharing.Group
		want   sharing.Want
		err    string
	}{
		"nothing said":                {config("TimeSlicing", ""), whole, nothing, ""},
		"nothing said, MIG":           {config("TimeSlicing", "Default"), part, nothing, ""},
		"nothing said, admin access":  {config("TimeSlicing", "Default"), admin, nothing, ""},
		"long slices":                 {config("TimeSlicing", "Long"), whole, longSlices(), ""},
		"slices of MIG":               {config("TimeSlicing", "Long"), part, nothing, "Long: is a setting of a whole"},
		"slices for admin access":     {config("TimeSlicing", "Long"), admin, nothing, "admin access"},
		"exclusive":                   {config("Exclusive", ""), whole, sharing.Want{ComputeMode: exclusive}, ""},
		"exclusive MIG":               {config("Exclusive", ""), part, nothing, "Exclusive: is a setting of a whole GPU"},
		"MPS":                         {config("MPS", ""), whole, sharing.Want{ComputeMode: exclusive, MPS: mps}, ""},
		"MPS on a MIG device":         {config("MPS", ""), part, sharing.Want{MPS: mps}, ""},
		"MPS on two MIG devices":      {config("MPS", ""), parts, nothing, "one MIG device only"},
		"MPS for admin access":        {config("MPS", ""), admin, nothing, "admin access"},
		"parts, which are the mock's": {config("SpacePartitioning", ""), whole, nothing, "use MPS, or a MIG device"},
	} {
		got, err := sharing.WantOf(test.config, test.of)
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if (test.err == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), test.err) {
			t.Errorf("%s: error %v, want …%s…", name, err, test.err)
		}
	}
}
