package driver

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/dynamic-resource-allocation/kubeletplugin"
	"k8s.io/klog/v2"
	"k8s.io/klog/v2/textlogger"

	"example.com/dragoman/pkg/device"
	"example.com/dragoman/pkg/inventory"
)

// clock is an inventory of which only Current is asked.
type clock struct {
	mu   sync.Mutex
	seen time.Time
	err  error
}

func (c *clock) Current() (time.Time, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.seen, c.err
}

// look is what came of looking now.
func (c *clock) look(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err = err; err == nil {
		c.seen = time.Now()
	}
}

func (c *clock) Run(context.Context, func(inventory.Update)) error { return nil }

// saw returns devices; each is a name, followed by what is wrong with it.
func saw(devices ...string) (all []device.Device) {
	for _, words := range devices {
		name, reason, _ := strings.Cut(words, " ")
		all = append(all, device.Device{Device: resourceapi.Device{Name: name},
			Health: device.Health{Unhealthy: reason != "", Reason: reason}})
	}
	return all
}

// watcher is the kubelet's side of a stream in the bubble of a test.
type watcher struct {
	*Driver
	t       *testing.T
	clock   *clock
	reports chan kubeletplugin.DeviceHealthReport
}

func watch(t *testing.T) *watcher {
	t.Helper()
	c := &clock{seen: time.Now()}
	w := &watcher{Driver: New(Options{NodeName: "node-a", Inventory: c}), t: t, clock: c,
		reports: make(chan kubeletplugin.DeviceHealthReport)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- w.WatchHealthStatus(ctx, w.reports) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("WatchHealthStatus: %v", err)
		}
	})
	return w
}

// next waits for a report and compares it: "name status message".
func (w *watcher) next(when string, after time.Duration, want ...string) {
	w.t.Helper()
	began := time.Now()
	report := <-w.reports
	if took := time.Since(began); took != after {
		w.t.Errorf("%s: a report after %s, want one after %s", when, took, after)
	}
	seen, _ := w.clock.Current()
	var got []string
	for _, d := range report.Devices {
		got = append(got, strings.TrimSpace(fmt.Sprintf("%s %s %s", d.DeviceName, d.Health, d.Message)))
		if d.PoolName != "node-a" || d.HealthCheckTimeout != 30*time.Second || !d.LastUpdated.Equal(seen) {
			w.t.Errorf("%s: %+v", when, d)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		w.t.Errorf("%s (-want +got):\n%s", when, diff)
	}
}

func TestTheKubeletIsToldHowDevicesAre(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t)
		see := func(devices ...string) { w.health.note(klog.Logger{}, saw(devices...)) }
		w.next("before anything was seen", 0)
		see("gpu-0", "gpu-1 XID 79")
		w.next("at once", 0, "gpu-0 Healthy", "gpu-1 Unhealthy XID 79")
		w.next("again", healthInterval, "gpu-0 Healthy", "gpu-1 Unhealthy XID 79")
		time.Sleep(3 * time.Second)
		see("gpu-0", "gpu-1")
		w.next("upon a change", 0, "gpu-0 Healthy", "gpu-1 Healthy")
		see("gpu-1")
		w.next("one is gone", 0, "gpu-1 Healthy",
			"gpu-0 Unknown the device is gone: the driver does not see it on the node any more")
		w.next("which is said once", healthInterval-3*time.Second, "gpu-1 Healthy")

		w.clock.look(errors.New("the backend does not answer"))
		w.next("nobody knows", healthInterval, "gpu-1 Unknown not known: the backend does not answer")
		w.clock.look(nil)
		w.next("it is known again", healthInterval, "gpu-1 Healthy")
	})
}

func TestAReportFitsIntoAMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t)
		<-w.reports
		var devices []string
		for i := range 2500 {
			devices = append(devices, fmt.Sprintf("gpu-%d %s", i, strings.Repeat("Ä", 700)))
		}
		w.health.note(klog.Logger{}, saw(devices...))
		seen := make(map[string]bool)
		for _, want := range []int{1000, 1000, 500} {
			report := <-w.reports
			if len(report.Devices) != want {
				t.Errorf("%d devices in a report, want %d", len(report.Devices), want)
			}
			for _, d := range report.Devices {
				seen[d.DeviceName] = true
				if len(d.Message) != 1024 || !utf8.ValidString(d.Message) {
					t.Fatalf("a message of %d bytes", len(d.Message))
				}
			}
		}
		if len(seen) != 2500 {
			t.Errorf("%d devices were told", len(seen))
		}
	})
	if got := beginning("aÄ", 2); got != "a" {
		t.Errorf("cut to %q", got)
	}
}

func TestAStreamEndsThoughNobodyReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { watch(t) })
}

func TestAChangeOfHealthIsLoggedOnce(t *testing.T) {
	var log strings.Builder
	logger := textlogger.NewLogger(textlogger.NewConfig(textlogger.Output(&log)))
	h := newHealth()
	for _, step := range []struct {
		see  []device.Device
		want string
	}{
		{saw("gpu-0", "gpu-1 XID 79"), `"Warning: a device is unhealthy" device="gpu-1" reason="XID 79"`},
		{saw("gpu-0", "gpu-1 XID 79"), ""},
		{saw("gpu-0", "gpu-1 XID 95"), `"Warning: a device is unhealthy" device="gpu-1" reason="XID 95"`},
		{saw("gpu-0", "gpu-1"), `"A device is healthy again" device="gpu-1" was="XID 95"`},
		{saw("gpu-0"), ""},
	} {
		log.Reset()
		h.note(logger, step.see)
		_, got, _ := strings.Cut(log.String(), "] ")
		if strings.TrimSpace(got) != step.want {
			t.Errorf("seen %+v:\n%s\nwant %s", step.see, log.String(), step.want)
		}
	}
}
