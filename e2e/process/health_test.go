package process

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	resourceapi "k8s.io/api/resource/v1"

	"example.com/dragoman/pkg/sanity/kubelet"
)

const fellOff = "XID 79: GPU has fallen off the bus"

// sicken makes one device of the machine unhealthy.
func (m machine) sicken(index int) {
	m["groups"].([]map[string]any)[0]["devices"] = []map[string]any{
		{"groupIndex": index, "health": map[string]any{"unhealthy": true, "reason": fellOff}},
	}
}

func (m machine) heal() { delete(m["groups"].([]map[string]any)[0], "devices") }

// taints returns all taints in a pool, as device!key=value:effect.
func taints(pool []resourceapi.ResourceSlice) (all []string) {
	for _, slice := range pool {
		for _, d := range slice.Spec.Devices {
			for _, taint := range d.Taints {
				all = append(all, fmt.Sprintf("%s!%s=%s:%s", d.Name, taint.Key, taint.Value, taint.Effect))
			}
		}
	}
	return all
}

// hears reads reports until the kubelet is told so of a device, and returns how many devices that report covers.
func hears(t *testing.T, next func() ([]kubelet.Health, error), device, status, message string) int {
	t.Helper()
	for {
		all, err := next()
		if err != nil {
			t.Fatalf("wait until %s is told to be %s: %v", device, status, err)
		}
		if slices.ContainsFunc(all, func(h kubelet.Health) bool {
			return h.Device == device && h.Status == status && h.Message == message
		}) {
			return len(all)
		}
	}
}

func TestFault16AnUnhealthyDeviceIsToldToTheSchedulerAndTheKubelet(t *testing.T) {
	t.Parallel()
	for name, old := range map[string]bool{"dra-health v1": false, "dra-health v1alpha1": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const devices, sick = 130, "gpu-70"
			r := newRig(t)
			m := profile(devices)
			d := r.startReady("mockProfile", r.writeYAML("profile.yaml", m))
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			next, err := d.plugin.WatchHealth(ctx, old)
			if err != nil {
				t.Fatal(err)
			}
			if n := hears(t, next, sick, "HEALTHY", ""); n != devices {
				t.Errorf("the first report covers %d devices, expected %d", n, devices)
			}
			want := []string{sick + "!" + driverName + "/unhealthy=true:NoSchedule"}
			before := versions(r.published(devices))

			m.sicken(70)
			r.writeYAML("profile.yaml", m)
			hears(t, next, sick, "UNHEALTHY", fellOff)
			r.holds(devices, want)
			r.wrote(devices, before, len(want))
			r.until("it is ready", func(ctx context.Context) error { return probe(ctx, r.http, "/readyz") })

			before = versions(r.published(devices))
			m.heal()
			r.writeYAML("profile.yaml", m)
			hears(t, next, sick, "HEALTHY", "")
			r.holds(devices, nil)
			r.wrote(devices, before, len(want))
			if log := d.output.String(); strings.Contains(log, "dropped_fields") {
				t.Error("fields were published that the API server drops")
			}
		})
	}
}

// holds waits until the API server holds exactly these taints.
func (r *rig) holds(devices int, want []string) {
	r.t.Helper()
	r.until(fmt.Sprintf("the taints are %v", want), func(context.Context) error {
		if got := taints(r.published(devices)); !slices.Equal(got, want) {
			return fmt.Errorf("taints %v", got)
		}
		return nil
	})
}

// wrote checks how many slices were written since before.
func (r *rig) wrote(devices int, before map[string]string, want int) {
	r.t.Helper()
	n := 0
	for name, version := range versions(r.published(devices)) {
		if before[name] != version {
			n++
		}
	}
	if n != want {
		r.t.Errorf("%d slices were written, expected %d", n, want)
	}
}

func TestFault16DevicesComeAndGo(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		before, after int
		writes        int // slices that are not what they were, those that are gone included
	}{
		"the last of 130 is unplugged":          {130, 129, 1},
		"one more is plugged in":                {130, 131, 1},
		"one more than fits into the slices":    {128, 129, 3},
		"the only one of a slice is unplugged":  {129, 128, 3},
		"all are unplugged":                     {130, 0, 3},
		"the first ones are plugged in":         {0, 2, 1},
		"what is plugged in makes a full slice": {63, 64, 1},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			d := r.startReady("mockProfile", r.writeYAML("profile.yaml", profile(c.before)))
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			next, err := d.plugin.WatchHealth(ctx, false)
			if err != nil {
				t.Fatal(err)
			}
			before := versions(r.published(c.before))
			held := r.claim("held", r.devices("gpu-0"))
			if c.before > 0 {
				prepare(t, d, held)
			}

			r.writeYAML("profile.yaml", profile(c.after))
			pool := r.published(c.after)
			for _, slice := range pool {
				if len(slice.Spec.Devices) > 64 {
					t.Errorf("slice %s has %d devices: none could be tainted", slice.Name, len(slice.Spec.Devices))
				}
			}
			if n := changes(before, versions(pool)); n > c.writes {
				t.Errorf("%d slices were written, expected %d", n, c.writes)
			}
			if c.after > c.before {
				hears(t, next, fmt.Sprintf("gpu-%d", c.after-1), "HEALTHY", "")
			} else {
				hears(t, next, fmt.Sprintf("gpu-%d", c.before-1), "UNKNOWN",
					"the device is gone: the driver does not see it on the node any more")
			}
			unprepare(t, d, held)
			r.nothingLeft(held.UID)
		})
	}
}

// changes counts the slices that were written, removed or made.
func changes(before, after map[string]string) (n int) {
	for name, version := range after {
		if before[name] != version {
			n++
		}
	}
	for name := range before {
		if after[name] == "" {
			n++
		}
	}
	return n
}

func TestFault16AFlappingDeviceIsNotAWriteEachTime(t *testing.T) {
	t.Parallel()
	const devices, sick = 70, "gpu-3"
	r := newRig(t)
	m := profile(devices)
	d := r.startReady("mockProfile", r.writeYAML("profile.yaml", m))
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	next, err := d.plugin.WatchHealth(ctx, false)
	if err != nil {
		t.Fatal(err)
	}
	hears(t, next, sick, "HEALTHY", "")
	before := r.slicesWritten()
	taint := []string{sick + "!" + driverName + "/unhealthy=true:NoSchedule"}
	// One that recovers is believed twice in a minute. The kubelet hears of it before it is written.
	const flapping = "flapping: it fell ill 3 times within 1m0s, and counts as unhealthy until it was healthy for 1m0s; " +
		"last: " + fellOff
	for _, reason := range []string{fellOff, fellOff, flapping} {
		m.sicken(3)
		r.writeYAML("profile.yaml", m)
		hears(t, next, sick, "UNHEALTHY", reason)
		r.holds(devices, taint)
		m.heal()
		r.writeYAML("profile.yaml", m)
		if reason == fellOff {
			hears(t, next, sick, "HEALTHY", "")
			r.holds(devices, nil)
		}
	}
	// There is no condition to wait for: that it goes on for some time is what flapping is.
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for i := range 60 {
		if <-tick.C; i%2 == 0 {
			m.sicken(3)
		} else {
			m.heal()
		}
		r.writeYAML("profile.yaml", m)
	}
	r.holds(devices, taint)
	const most = 5 // sick, well, sick, well, sick for long
	r.haveWritten(before + most)
	hears(t, next, sick, "HEALTHY", "")
	r.holds(devices, nil)
	r.haveWritten(before + most + 1)
}

// haveWritten waits until the driver has counted so many slices that it has written since its start, which it does when
// the API server has them, and complains about more.
func (r *rig) haveWritten(want int) {
	r.t.Helper()
	r.until(fmt.Sprintf("%d slices were written", want), func(context.Context) error {
		if n := r.slicesWritten(); n < want {
			return fmt.Errorf("%d were", n)
		}
		return nil
	})
	if n := r.slicesWritten(); n != want {
		r.t.Errorf("%d slices were written, expected %d", n, want)
	}
}

// slicesWritten returns how many slices the driver has written since its start.
func (r *rig) slicesWritten() (n int) {
	r.t.Helper()
	all, err := r.metrics(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	for name, value := range all {
		if strings.HasPrefix(name, "dragoman_slice_writes_total") {
			writes, err := strconv.Atoi(value)
			if err != nil {
				r.t.Fatal(err)
			}
			n += writes
		}
	}
	return n
}
