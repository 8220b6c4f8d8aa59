package process

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

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

// keepsTaints says whether the API server does: by default from 1.36 on.
func keepsTaints(t *testing.T) bool {
	t.Helper()
	info, err := client.Discovery().ServerVersion()
	if err != nil {
		t.Fatal(err)
	}
	minor, err := strconv.Atoi(info.Minor)
	if err != nil {
		t.Fatalf("version %+v: %v", info, err)
	}
	return minor >= 36
}

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

func TestAnUnhealthyDeviceIsToldToTheSchedulerAndTheKubelet(t *testing.T) {
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
			var want []string
			if keepsTaints(t) {
				want = []string{sick + "!" + driverName + "/unhealthy=true:NoSchedule"}
			}
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
