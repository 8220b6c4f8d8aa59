//go:build cgo

package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencontainers/runtime-spec/specs-go"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/types"
	cdilib "tags.cncf.io/container-device-interface/pkg/cdi"

	gpuv1alpha1 "example.com/dragoman/api/gpu/v1alpha1"
	"example.com/dragoman/pkg/cdi"
	"example.com/dragoman/pkg/checkpoint"
	"example.com/dragoman/pkg/claim"
	"example.com/dragoman/pkg/device"
	"example.com/dragoman/pkg/prepare"
)

// injection prepares a claim with admin access, which never changes a device, for each device that is there, and does
// with the CDI file what a container runtime does.
func (c *check) injection(ctx context.Context) {
	c.say("\n## What a container gets\n\n")
	records, err := checkpoint.Open(filepath.Join(c.dir, "records"))
	if err != nil {
		c.fail("open the records: %v", err)
		return
	}
	specs, err := cdi.Open(filepath.Join(c.dir, "cdi"), driverName)
	if err != nil {
		c.fail("open the directory of CDI files: %v", err)
		return
	}
	preparer := prepare.New(prepare.Options{Backend: c.backend, Records: records, CDI: specs,
		DriverName: driverName, NodeName: "here"})
	for n, d := range c.devices {
		if isThere(d) && !d.Health.Unhealthy {
			c.inject(ctx, preparer, planFor(n, d))
		}
	}
}

func planFor(n int, d device.Device) claim.Plan {
	result := resourceapi.DeviceRequestAllocationResult{
		Request: "gpu", Driver: driverName, Pool: "here", Device: d.Name, AdminAccess: new(true),
	}
	uid := types.UID(fmt.Sprintf("00000000-0000-4000-8000-%012d", n))
	return claim.Plan{Namespace: "gpu-check", Name: d.Name, UID: uid,
		Devices: []claim.Device{{Result: result, Config: gpuv1alpha1.Default(), ConfigIndex: -1}}}
}

func (c *check) inject(ctx context.Context, preparer *prepare.Preparer, plan claim.Plan) {
	prepared, err := preparer.Prepare(ctx, plan)
	if err != nil {
		c.fail("prepare %s: %v", plan.Name, err)
		return
	}
	defer func() {
		if err := preparer.Unprepare(ctx, plan.UID); err != nil {
			c.fail("unprepare %s: %v", plan.Name, err)
		}
	}()
	cache, err := cdilib.NewCache(cdilib.WithSpecDirs(filepath.Join(c.dir, "cdi")), cdilib.WithAutoRefresh(false))
	if err != nil {
		c.fail("read the CDI file of %s: %v", plan.Name, err)
		return
	}
	container := &specs.Spec{Process: &specs.Process{}, Linux: &specs.Linux{}}
	if _, err := cache.InjectDevices(container, prepared[0].CDIDeviceIDs...); err != nil {
		c.fail("resolve %s: %v", prepared[0].CDIDeviceIDs, err)
		return
	}
	c.say("`%s`: %d device nodes, %d mounts, %d variables, %d hooks\n\n", plan.Name, len(container.Linux.Devices),
		len(container.Mounts), len(container.Process.Env), hooksOf(container))
	for _, node := range container.Linux.Devices {
		c.say("- %s %s %d:%d\n", node.Type, node.Path, node.Major, node.Minor)
	}
	for _, variable := range container.Process.Env {
		c.say("- %s\n", variable)
	}
	c.lookUp(container)
	again := c.timed(func() error { _, err := preparer.Prepare(ctx, plan); return err })
	c.say("\nPrepared again: %s.\n\n", again)
}

func hooksOf(container *specs.Spec) int {
	if container.Hooks == nil {
		return 0
	}
	return len(container.Hooks.CreateContainer) + len(container.Hooks.CreateRuntime)
}

// lookUp sees whether what the container runtime will look for is there.
func (c *check) lookUp(container *specs.Spec) {
	for _, mount := range container.Mounts {
		if _, err := os.Stat(mount.Source); err != nil {
			c.fail("mount %s: %v", mount.Destination, err)
		}
	}
	if container.Hooks == nil {
		return
	}
	for _, hook := range append(container.Hooks.CreateContainer, container.Hooks.CreateRuntime...) {
		info, err := os.Stat(hook.Path)
		if err == nil && info.Mode()&0o111 == 0 {
			err = &fs.PathError{Op: "execute", Path: hook.Path, Err: fs.ErrPermission}
		}
		if err != nil {
			c.fail("hook: %v", err)
			return // it is the same program each time
		}
	}
}
