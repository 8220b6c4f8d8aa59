//go:build cgo

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"runtime"
	"slices"
	"time"

	resourceapi "k8s.io/api/resource/v1"

	"example.com/dragoman/pkg/device"
	"example.com/dragoman/pkg/device/nvml"
)

// check is one run.
type check struct {
	out     io.Writer
	dir     string // for records and CDI files
	library string
	options nvml.Options

	backend *nvml.Backend
	devices []device.Device
	wrong   int
}

// all does every part, each whatever became of those before, and returns the exit code.
func (c *check) all(ctx context.Context, changes bool) int {
	c.say("# gpu-check\n\n%s, %s/%s, %d CPUs\n\n", time.Now().UTC().Format(time.RFC3339), runtime.GOOS, runtime.GOARCH,
		runtime.NumCPU())
	backend, err := nvml.New(c.options)
	if err != nil {
		c.fail("open the backend: %v", err)
		return exitWrong
	}
	c.backend = backend
	c.examine(ctx)
	c.inventory(ctx)
	if len(c.devices) == 0 && c.wrong == 0 {
		c.say("\nThere is no NVIDIA GPU on this machine: nothing else was checked.\n")
		return exitNoGPU
	}
	if len(c.devices) == 0 {
		return exitWrong
	}
	c.injection(ctx)
	c.events(ctx)
	c.cost(ctx)
	if changes {
		c.settings(ctx)
	} else {
		c.say("\nNo setting was changed (--allow-changes would change and restore compute mode and time slice).\n")
	}
	c.say("\n%d problems.\n", c.wrong)
	if c.wrong > 0 {
		return exitWrong
	}
	return exitOK
}

func (c *check) say(format string, args ...any) { _, _ = fmt.Fprintf(c.out, format, args...) }

func (c *check) fail(format string, args ...any) {
	c.wrong++
	c.say("- **wrong**: "+format+"\n", args...)
}

func (c *check) examine(ctx context.Context) {
	c.say("## The node\n\n")
	for _, f := range c.backend.Examine(ctx) {
		c.say("- %s: %s: %s\n", f.Verdict, f.Subject, f.Detail)
		if f.Mend != "" {
			c.say("  → %s\n", f.Mend)
		}
	}
}

func (c *check) inventory(ctx context.Context) {
	c.say("\n## Inventory\n\n")
	start := time.Now()
	snapshot, err := c.backend.Devices(ctx)
	first := time.Since(start)
	if err != nil {
		c.fail("look for devices: %v", err)
		return
	}
	c.devices = snapshot.Devices
	for _, d := range c.devices {
		health := "healthy"
		if d.Health.Unhealthy {
			health = "unhealthy: " + d.Health.Reason
		}
		c.say("- `%s` (%s)\n", d.Name, health)
		for _, name := range slices.Sorted(maps.Keys(d.Attributes)) {
			c.say("  - %s: %s\n", name, valueOf(d.Attributes[name]))
		}
		for _, name := range slices.Sorted(maps.Keys(d.Capacity)) {
			quantity := d.Capacity[name].Value
			c.say("  - %s: %s\n", name, quantity.String())
		}
	}
	c.say("\nFirst look, with the library's start: %s. Looks after it: %s.\n", rounded(first), c.timed(func() error {
		_, err := c.backend.Devices(ctx)
		return err
	}))
}

func valueOf(a resourceapi.DeviceAttribute) string {
	switch {
	case a.StringValue != nil:
		return fmt.Sprintf("%q", *a.StringValue)
	case a.VersionValue != nil:
		return "version " + *a.VersionValue
	case a.IntValue != nil:
		return fmt.Sprint(*a.IntValue)
	case a.BoolValue != nil:
		return fmt.Sprint(*a.BoolValue)
	}
	return "a list"
}

// repeats is how often something is measured.
const repeats = 20

// timed returns the median and the longest time of do, or its error.
func (c *check) timed(do func() error) string {
	var all []time.Duration
	for range repeats {
		start := time.Now()
		if err := do(); err != nil {
			return "error: " + err.Error()
		}
		all = append(all, time.Since(start))
	}
	slices.Sort(all)
	return fmt.Sprintf("median %s, longest %s of %d", rounded(all[len(all)/2]), rounded(all[len(all)-1]), len(all))
}

func rounded(d time.Duration) time.Duration {
	return d.Round(cmp.Or(max(time.Microsecond/10, d/1000).Truncate(time.Microsecond/10), 1))
}

// events sees whether the backend can watch the GPUs for some time.
func (c *check) events(ctx context.Context) {
	const watched = 5 * time.Second
	c.say("\n## Events\n\n")
	ctx, cancel := context.WithTimeout(ctx, watched)
	defer cancel()
	changes := 0
	if err := c.backend.Watch(ctx, func() { changes++ }); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		c.fail("watch: %v", err)
		return
	}
	c.say("Watched for %s: subscribed, %d changes told of.\n", watched, changes)
}

// isThere is false for parts that a claim would cut from their GPU first.
func isThere(d device.Device) bool { return d.PartOf == "" || len(d.ConsumesCounters) == 0 }
