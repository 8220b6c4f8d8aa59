package driver

import (
	"context"
	"strings"
	"sync"
	"time"

	"k8s.io/dynamic-resource-allocation/kubeletplugin"
	"k8s.io/klog/v2"

	"example.com/dragoman/pkg/device"
)

const (
	// healthInterval is how often the kubelet is told even if nothing changed: three times before healthTimeout, after
	// which it takes the health of a device for unknown. Kubelets before 1.36 know no other timeout.
	healthInterval = 10 * time.Second
	healthTimeout  = 30 * time.Second
	// maxHealthMessage is how many bytes of a message are sent.
	maxHealthMessage = 1024
	// maxHealthReport is how many devices are in one report: gRPC takes messages of 4 MiB.
	maxHealthReport = 1000
	// goneMessage is said once of a device that is there no longer; then the kubelet lets it become unknown by itself.
	goneMessage = "the device is gone: the driver does not see it on the node any more"
)

// health is how the devices were seen last.
type health struct {
	mu      sync.Mutex
	devices []device.Device
	noted   bool          // they were seen at all
	changed chan struct{} // closed when that changes
}

func newHealth() *health { return &health{changed: make(chan struct{})} }

// now returns the devices, whether they were seen at all (a node may have none), and what is closed when that changes.
// They are to be read only.
func (h *health) now() (devices []device.Device, noted bool, changed <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.devices, h.noted, h.changed
}

// note replaces the devices, tells the log of those whose health is another one than before, and returns which fell
// ill, recovered, went or came. Of the first devices that it gets it returns those that are ill.
func (h *health) note(logger klog.Logger, devices []device.Device) (news []change) {
	h.mu.Lock()
	defer h.mu.Unlock()
	before := make(map[string]device.Health, len(h.devices))
	for _, d := range h.devices {
		before[d.Name] = d.Health
	}
	now := make(map[string]bool, len(devices))
	for _, d := range devices {
		now[d.Name] = true
		was, known := before[d.Name]
		switch {
		case d.Health.Unhealthy && !was.Unhealthy:
			news = append(news, change{device: d.Name, reason: reasonUnhealthy, because: d.Health.Reason, first: !h.noted})
		case !d.Health.Unhealthy && was.Unhealthy:
			news = append(news, change{device: d.Name, reason: reasonHealthy, because: was.Reason})
		case !known && h.noted:
			news = append(news, change{device: d.Name, reason: reasonAdded})
		}
		switch {
		case d.Health.Unhealthy && d.Health != was:
			logger.Info("Warning: a device is unhealthy", "device", d.Name, "reason", d.Health.Reason)
		case !d.Health.Unhealthy && was.Unhealthy:
			logger.Info("A device is healthy again", "device", d.Name, "was", was.Reason)
		}
	}
	for _, d := range h.devices {
		if !now[d.Name] {
			news = append(news, change{device: d.Name, reason: reasonGone})
		}
	}
	h.devices, h.noted = devices, true
	close(h.changed)
	h.changed = make(chan struct{})
	return news
}

// WatchHealthStatus reports to the kubelet how all devices are: at once, when it changes and every ten seconds. While
// the devices cannot be looked at, their health is unknown, and the message says why.
func (d *Driver) WatchHealthStatus(ctx context.Context, reports chan<- kubeletplugin.DeviceHealthReport) error {
	again := time.NewTicker(healthInterval)
	defer again.Stop()
	var told []string
	for {
		devices, _, changed := d.health.now()
		if !send(ctx, reports, d.healthOf(devices, told)) {
			return nil
		}
		told = make([]string, 0, len(devices))
		for _, one := range devices {
			told = append(told, one.Name)
		}
		select {
		case <-changed:
		case <-again.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// send sends all in one report or more, and returns false if ctx ended. It sends an empty report too: the helper takes
// silence for a monitor that hangs.
func send(
	ctx context.Context, reports chan<- kubeletplugin.DeviceHealthReport, all []kubeletplugin.DeviceHealth,
) bool {
	for first := true; first || len(all) > 0; first = false {
		part := all[:min(len(all), maxHealthReport)]
		all = all[len(part):]
		select {
		case reports <- kubeletplugin.DeviceHealthReport{Devices: part}:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// healthOf says how devices are, and that those which were told before and are not among them are gone.
func (d *Driver) healthOf(devices []device.Device, told []string) []kubeletplugin.DeviceHealth {
	seen, outdated := d.options.Inventory.Current()
	all := make([]kubeletplugin.DeviceHealth, 0, len(devices))
	add := func(name string, status kubeletplugin.HealthStatus, message string) {
		all = append(all, kubeletplugin.DeviceHealth{
			PoolName: d.options.NodeName, DeviceName: name, Health: status, LastUpdated: seen,
			HealthCheckTimeout: healthTimeout, Message: beginning(message, maxHealthMessage),
		})
	}
	there := make(map[string]bool, len(devices))
	for _, one := range devices {
		there[one.Name] = true
		switch {
		case outdated != nil:
			add(one.Name, kubeletplugin.HealthStatusUnknown, "not known: "+outdated.Error())
		case one.Health.Unhealthy:
			add(one.Name, kubeletplugin.HealthStatusUnhealthy, one.Health.Reason)
		default:
			add(one.Name, kubeletplugin.HealthStatusHealthy, "")
		}
	}
	for _, name := range told {
		if !there[name] {
			add(name, kubeletplugin.HealthStatusUnknown, goneMessage)
		}
	}
	return all
}

// beginning returns what of text fits into so many bytes, in valid UTF-8, which gRPC insists on.
func beginning(text string, bytes int) string {
	return strings.ToValidUTF8(text[:min(len(text), bytes)], "")
}
