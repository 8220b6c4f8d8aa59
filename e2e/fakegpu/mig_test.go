//go:build cgo

package fakegpu_test

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/NVIDIA/go-nvml/pkg/nvml"

	"example.com/dragoman/e2e/fakegpu"
)

func TestProfilesAreThoseOfTheHardware(t *testing.T) {
	sevenths := " id 19 at [0 1 2 3 4 5 6], id 14 at [0 2 4], id 9 at [0 4], id 5 at [0], id 0 at [0], " +
		"id 20 at [0 1 2 3 4 5 6], id 15 at [0 2 4 6]"
	cases := map[string]string{
		"a100": sevenths, "h100": sevenths, "h200": sevenths, "b200": sevenths, "l4": "",
		"a30": " id 14 at [0 1 2 3], id 5 at [0 2], id 0 at [0], id 21 at [0 1 2 3], id 6 at [0 2]",
	}
	for model, expected := range cases {
		t.Run(model, func(t *testing.T) {
			play(t, model)
			d := device(t, 0)
			var got []string
			for index := range nvml.GPU_INSTANCE_PROFILE_COUNT {
				info, ret := d.GetGpuInstanceProfileInfo(index)
				if ret == nvml.ERROR_NOT_SUPPORTED {
					continue
				}
				succeeds(t, "GetGpuInstanceProfileInfo", ret)
				placements, ret := d.GetGpuInstancePossiblePlacements(&info)
				succeeds(t, "GetGpuInstancePossiblePlacements", ret)
				var starts []uint32
				for _, p := range placements {
					starts = append(starts, p.Start)
				}
				got = append(got, fmt.Sprintf(" id %d at %v", info.Id, starts))
			}
			if text := strings.Join(got, ","); text != expected {
				t.Errorf("profiles are\n%s, expected\n%s", text, expected)
			}
		})
	}
}

func TestMIGMode(t *testing.T) {
	cases := map[string]struct {
		status           nvml.Return
		current, pending int
	}{
		"h100": {nvml.SUCCESS, 1, 1},
		"a100": {nvml.ERROR_RESET_REQUIRED, 0, 1},
	}
	for model, c := range cases {
		t.Run(model, func(t *testing.T) {
			play(t, model)
			status, ret := device(t, 0).SetMigMode(nvml.DEVICE_MIG_ENABLE)
			succeeds(t, "SetMigMode", ret)
			returnsIs(t, "activation", status, c.status)
			current, pending, ret := device(t, 0).GetMigMode()
			if ret != nvml.SUCCESS || current != c.current || pending != c.pending {
				t.Errorf("the mode is %d, pending %d (%v)", current, pending, ret)
			}
		})
	}
	play(t, "l4")
	_, _, ret := device(t, 0).GetMigMode()
	returnsIs(t, "GetMigMode of a GPU without MIG", ret, nvml.ERROR_NOT_SUPPORTED)
}

// give is a GPU with MIG enabled.
func give(t *testing.T) nvml.Device {
	t.Helper()
	d := device(t, 1)
	status, ret := d.SetMigMode(nvml.DEVICE_MIG_ENABLE)
	succeeds(t, "SetMigMode", ret)
	succeeds(t, "its activation", status)
	return d
}

func profileInfo(t *testing.T, d nvml.Device, index int) *nvml.GpuInstanceProfileInfo {
	t.Helper()
	info, ret := d.GetGpuInstanceProfileInfo(index)
	succeeds(t, "GetGpuInstanceProfileInfo", ret)
	return &info
}

func place(d nvml.Device, info *nvml.GpuInstanceProfileInfo, start, size uint32) (nvml.GpuInstance, nvml.Return) {
	return d.CreateGpuInstanceWithPlacement(info, &nvml.GpuInstancePlacement{Start: start, Size: size})
}

func TestMIGDeviceIsMadeAndTakenAway(t *testing.T) {
	machine := play(t, "h100")
	d := give(t)
	gi, ret := place(d, profileInfo(t, d, nvml.GPU_INSTANCE_PROFILE_3_SLICE), 4, 4)
	succeeds(t, "CreateGpuInstanceWithPlacement", ret)
	profile, ret := gi.GetComputeInstanceProfileInfo(nvml.COMPUTE_INSTANCE_PROFILE_3_SLICE, 0)
	succeeds(t, "GetComputeInstanceProfileInfo", ret)
	ci, ret := gi.CreateComputeInstance(&profile)
	succeeds(t, "CreateComputeInstance", ret)
	info, ret := ci.GetInfo()
	succeeds(t, "GetInfo", ret)
	uuid, ret := info.Device.GetUUID()
	succeeds(t, "GetUUID", ret)
	expectMIGDevice(t, d, machine, uuid)
	capability := driver.Path("proc/driver/nvidia/capabilities/gpu1/mig/gi2/ci0/access")
	if text, err := os.ReadFile(capability); err != nil || !strings.HasPrefix(string(text), "DeviceFileMinor: 157\n") {
		t.Errorf("the capability is %q (%v)", text, err)
	}

	returnsIs(t, "destroying a GPU instance in use", gi.Destroy(), nvml.ERROR_IN_USE)
	_, ret = d.SetMigMode(nvml.DEVICE_MIG_DISABLE)
	returnsIs(t, "disabling MIG in use", ret, nvml.ERROR_IN_USE)
	succeeds(t, "destroy the compute instance", ci.Destroy())
	succeeds(t, "destroy the GPU instance", gi.Destroy())
	returnsIs(t, "destroying it again", gi.Destroy(), nvml.ERROR_NOT_FOUND)
	_, ret = d.GetGpuInstanceById(2)
	returnsIs(t, "a GPU instance that is gone", ret, nvml.ERROR_NOT_FOUND)
	if _, err := os.Stat(capability); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the capability is still there (%v)", err)
	}
	_, ret = d.SetMigMode(nvml.DEVICE_MIG_DISABLE)
	succeeds(t, "disable MIG", ret)
}

// expectMIGDevice checks the only MIG device of the GPU, a 3g instance with id 2, on the ways that lead to it.
func expectMIGDevice(t *testing.T, d nvml.Device, machine fakegpu.Machine, uuid string) {
	t.Helper()
	if uuid != machine.MIGUUID(1, 2, 0) {
		t.Errorf("its UUID is %s, expected %s", uuid, machine.MIGUUID(1, 2, 0))
	}
	byIndex, ret := d.GetMigDeviceHandleByIndex(0)
	succeeds(t, "GetMigDeviceHandleByIndex", ret)
	byUUID, ret := lib.DeviceGetHandleByUUID(uuid)
	succeeds(t, "DeviceGetHandleByUUID", ret)
	if byIndex != byUUID {
		t.Errorf("by index it is %v, by UUID %v", byIndex, byUUID)
	}
	isMIG, _ := byUUID.IsMigDeviceHandle()
	gi, _ := byUUID.GetGpuInstanceId()
	ci, ret := byUUID.GetComputeInstanceId()
	if !isMIG || gi != 2 || ci != 0 || ret != nvml.SUCCESS {
		t.Errorf("it is MIG: %v, instances %d and %d (%v)", isMIG, gi, ci, ret)
	}
	attributes, ret := byUUID.GetAttributes()
	if ret != nvml.SUCCESS || attributes.MemorySizeMB != 40960 || attributes.MultiprocessorCount != 48 {
		t.Errorf("its attributes are %+v (%v)", attributes, ret)
	}
	parent, ret := byUUID.GetDeviceHandleFromMigDeviceHandle()
	if index, _ := parent.GetIndex(); ret != nvml.SUCCESS || index != 1 {
		t.Errorf("its GPU is %d (%v)", index, ret)
	}
	_, ret = d.GetMigDeviceHandleByIndex(1)
	returnsIs(t, "a second MIG device", ret, nvml.ERROR_NOT_FOUND)
	instance, ret := d.GetGpuInstanceById(2)
	succeeds(t, "GetGpuInstanceById", ret)
	info, ret := instance.GetInfo()
	if ret != nvml.SUCCESS || info.ProfileId != 9 || info.Placement != (nvml.GpuInstancePlacement{Start: 4, Size: 4}) {
		t.Errorf("the GPU instance is %+v (%v)", info, ret)
	}
}

func TestInstancesExcludeEachOther(t *testing.T) {
	play(t, "h100")
	d := device(t, 1)
	small := profileInfo(t, d, nvml.GPU_INSTANCE_PROFILE_1_SLICE)
	half := profileInfo(t, d, nvml.GPU_INSTANCE_PROFILE_3_SLICE)
	_, ret := place(d, small, 0, 1)
	returnsIs(t, "an instance without MIG mode", ret, nvml.ERROR_NOT_SUPPORTED)
	give(t)
	_, ret = place(d, half, 0, 4)
	succeeds(t, "the first half", ret)
	_, ret = place(d, small, 3, 1)
	returnsIs(t, "an instance in the first half", ret, nvml.ERROR_INSUFFICIENT_RESOURCES)
	_, ret = place(d, half, 2, 4)
	returnsIs(t, "an instance where none can be", ret, nvml.ERROR_INVALID_ARGUMENT)
	_, ret = place(d, small, 4, 1)
	succeeds(t, "an instance in the other half", ret)
	left, ret := d.GetGpuInstanceRemainingCapacity(small)
	if ret != nvml.SUCCESS || left != 2 {
		t.Errorf("%d more fit (%v)", left, ret)
	}
	media := profileInfo(t, d, nvml.GPU_INSTANCE_PROFILE_1_SLICE_REV1)
	_, ret = d.CreateGpuInstance(media)
	succeeds(t, "the one with media engines", ret)
	_, ret = d.CreateGpuInstance(media)
	returnsIs(t, "a second one with media engines", ret, nvml.ERROR_INSUFFICIENT_RESOURCES)
}

func TestProcessesSeeEachOthersInstances(t *testing.T) {
	play(t, "h100")
	give(t)
	made := []fakegpu.Instance{{ID: 9, Profile: 19, Start: 2, Size: 1, Instances: []fakegpu.Instance{{Size: 1}}}}
	err := driver.Update(func(s *fakegpu.State) error { s.GPU(1).Instances = made; return nil })
	if err != nil {
		t.Fatal(err)
	}
	instances, ret := device(t, 1).GetGpuInstances(profileInfo(t, device(t, 1), nvml.GPU_INSTANCE_PROFILE_1_SLICE))
	if ret != nvml.SUCCESS || len(instances) != 1 {
		t.Fatalf("it has %d instances (%v)", len(instances), ret)
	}
	info, ret := instances[0].GetInfo()
	if ret != nvml.SUCCESS || info.Id != 9 || info.Placement.Start != 2 {
		t.Errorf("the instance is %+v (%v)", info, ret)
	}
	succeeds(t, "destroy", func() nvml.Return { ci, _ := instances[0].GetComputeInstanceById(0); return ci.Destroy() }())
	succeeds(t, "destroy", instances[0].Destroy())
	state, err := driver.State()
	if err != nil || slices.ContainsFunc(state.GPU(1).Instances, func(fakegpu.Instance) bool { return true }) {
		t.Errorf("the state is %+v (%v)", state.GPU(1), err)
	}
}
