package inventory

import (
	"fmt"
	"slices"
	"time"

	"example.com/dragoman/pkg/device"
)

const (
	// fallsWithin is the time within which a device that falls ill flapFalls times is taken for one that flaps.
	fallsWithin = time.Minute
	flapFalls   = 3
	// calm is how long a device that flaps has to be the same until it is believed again.
	calm = time.Minute
)

// damping keeps devices that fall ill and recover again and again from being written, told and given to pods as often.
// A device that falls ill is ill at once, and well at once when it recovers; one that has fallen ill three times within
// a minute stays ill until it was well for a minute. So a device costs no more than a handful of changes a minute,
// however fast it flaps, and one that nobody can rely on is not offered in its good moments.
//
// What is remembered dies with the process. It has no clock of its own: time is what its caller says.
type damping struct {
	devices map[string]*condition
}

// condition is how one device was lately.
type condition struct {
	seen   time.Time   // last
	ill    bool        // then
	since  time.Time   // when it became so
	reason string      // for which it was ill last
	falls  []time.Time // when it fell ill lately
	flaps  string      // what is said of it while it is not believed, empty if it is
}

func newDamping() *damping { return &damping{devices: map[string]*condition{}} }

// damp returns the devices as they are to be offered. Those that it was given are not changed.
func (d *damping) damp(now time.Time, devices []device.Device) []device.Device {
	damped, own := devices, false
	for i, one := range devices {
		c, known := d.devices[one.Name]
		if !known && !one.Health.Unhealthy {
			continue
		}
		if !known {
			c = &condition{}
			d.devices[one.Name] = c
		}
		health := c.note(now, one.Health)
		if health == one.Health {
			continue
		}
		if !own {
			damped, own = slices.Clone(devices), true
		}
		damped[i].Health = health
	}
	for name, c := range d.devices {
		if c.isOver(now) {
			delete(d.devices, name)
		}
	}
	return damped
}

// due returns when to look again at the latest: in wait, or when a device is believed again if it stays as it is.
func (d *damping) due(now time.Time, wait time.Duration) time.Duration {
	for _, c := range d.devices {
		if left := c.since.Add(calm).Sub(now); c.flaps != "" && left > 0 {
			wait = min(wait, left)
		}
	}
	return wait
}

// note takes in how the device is now and returns how it is to be offered.
func (c *condition) note(now time.Time, is device.Health) device.Health {
	c.seen = now
	switch {
	case is.Unhealthy && !c.ill:
		c.ill, c.since = true, now
		c.falls = append(c.recent(now), now)
	case !is.Unhealthy && c.ill:
		c.ill, c.since = false, now
	}
	if is.Unhealthy {
		c.reason = is.Reason
	}
	switch {
	case c.flaps != "" && now.Sub(c.since) >= calm:
		c.flaps, c.falls = "", nil
	case c.flaps == "" && len(c.recent(now)) >= flapFalls:
		// The words stay the same while it flaps, so that each new reason is not another change.
		c.flaps = fmt.Sprintf("flapping: it fell ill %d times within %s, and counts as unhealthy until it was healthy for "+
			"%s; last: %s", flapFalls, fallsWithin, calm, c.reason)
	}
	if c.flaps != "" {
		return device.Health{Unhealthy: true, Reason: c.flaps}
	}
	return is
}

// isOver says whether there is nothing to remember. A device that is gone may come again: one that is plugged in and
// out is not to be believed more than another.
func (c *condition) isOver(now time.Time) bool {
	healthy := !c.ill && c.flaps == "" && len(c.recent(now)) == 0
	return healthy || now.Sub(c.seen) >= calm && now.Sub(c.since) >= calm
}

// recent returns when it fell ill lately.
func (c *condition) recent(now time.Time) []time.Time {
	return slices.DeleteFunc(slices.Clone(c.falls), func(at time.Time) bool { return now.Sub(at) >= fallsWithin })
}
