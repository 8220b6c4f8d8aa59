//go:build cgo

package main

import (
	"context"
	"encoding/json"

	golib "github.com/NVIDIA/go-nvml/pkg/nvml"
	resourceapi "k8s.io/api/resource/v1"

	gpuv1alpha1 "example.com/dragoman/api/gpu/v1alpha1"
	"example.com/dragoman/pkg/device"
)

// settings has each idle whole GPU set up as claims can ask for, and sees that what was there before is there again.
func (c *check) settings(ctx context.Context) {
	c.say("\n## Settings, changed and restored\n\n")
	var options []golib.LibraryOption
	if c.library != "" {
		options = append(options, golib.WithLibraryPath(c.library))
	}
	lib := golib.New(options...)
	if code := lib.Init(); code != golib.SUCCESS {
		c.fail("load the library beside the backend (name it with --library): %s", code)
		return
	}
	defer func() { _ = lib.Shutdown() }()
	configs := map[string]*gpuv1alpha1.GpuConfig{
		"Exclusive": {Sharing: &gpuv1alpha1.GpuSharing{Strategy: gpuv1alpha1.ExclusiveStrategy}},
		"TimeSlicing Short": {Sharing: &gpuv1alpha1.GpuSharing{Strategy: gpuv1alpha1.TimeSlicingStrategy,
			TimeSlicingConfig: &gpuv1alpha1.TimeSlicingConfig{Interval: gpuv1alpha1.ShortTimeSlice}}},
	}
	for _, d := range c.devices {
		uuid := d.Attributes["uuid"].StringValue
		if d.PartOf != "" || d.Health.Unhealthy || uuid == nil {
			continue
		}
		gpu, code := lib.DeviceGetHandleByUUID(*uuid)
		if code != golib.SUCCESS {
			c.fail("handle of %s: %s", d.Name, code)
			continue
		}
		if users, code := gpu.GetComputeRunningProcesses(); code != golib.SUCCESS || len(users) > 0 {
			c.say("- `%s` is left alone: %d processes use it (%s)\n", d.Name, len(users), code)
			continue
		}
		for _, name := range []string{"Exclusive", "TimeSlicing Short"} {
			c.change(ctx, gpu, d, name, configs[name])
		}
	}
}

func (c *check) change(
	ctx context.Context, gpu golib.Device, d device.Device, name string, config *gpuv1alpha1.GpuConfig,
) {
	gpuv1alpha1.SetDefaults(config)
	claim := device.Claim{Namespace: "gpu-check", Name: "settings", UID: "00000000-0000-4000-8000-999999999999"}
	result := resourceapi.DeviceRequestAllocationResult{Request: "gpu", Driver: driverName, Pool: "here", Device: d.Name}
	all := []resourceapi.DeviceRequestAllocationResult{result}
	var undo json.RawMessage
	before, _ := gpu.GetComputeMode()
	_, err := c.backend.Prepare(ctx, device.Request{Claim: claim, Config: config, Devices: all, All: all,
		Remember: func(_ int, u json.RawMessage) error { undo = u; return nil }})
	during, _ := gpu.GetComputeMode()
	if err != nil {
		c.fail("`%s` with %s: %v", d.Name, name, err)
	}
	if err := c.backend.Unprepare(ctx, device.Grant{Claim: claim, Result: result, Undo: undo}); err != nil {
		c.fail("`%s` with %s: take it back: %v", d.Name, name, err)
	}
	after, _ := gpu.GetComputeMode()
	c.say("- `%s` with %s: compute mode %d, then %d, then %d; remembered %s\n", d.Name, name, before, during, after, undo)
	if after != before {
		c.fail("`%s` with %s: the compute mode was not restored", d.Name, name)
	}
}
