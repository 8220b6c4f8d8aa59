package conformance

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	resourceapi "k8s.io/api/resource/v1"

	"example.com/dragoman/pkg/sanity/cluster"
	"example.com/dragoman/pkg/sanity/kubelet"
	"example.com/dragoman/pkg/sanity/node"
	"example.com/dragoman/pkg/sanity/suite"
)

// slicesBack bounds the return of slices that were deleted: the helper library takes up to half a minute.
const slicesBack = 90 * time.Second

func (s *subject) slices() []suite.Case {
	return []suite.Case{{
		Name:    "slices-complete",
		Promise: "Every pool of the node is complete, in one generation, and names each device once.",
		Source:  apiTypes + "ResourcePool.resourceSliceCount: a scheduler ignores a pool of which it misses slices",
		Run:     s.slicesComplete,
	}, {
		Name:    "slices-within-limits",
		Promise: "Slices keep the limits of all supported Kubernetes versions, the current one's or not.",
		Source:  apiTypes + "ResourceSliceMaxDevices, ResourceSliceMaxDevicesWithAdvancedFeatures",
		Run:     s.slicesWithinLimits,
	}, {
		Name:    "slices-unwritten-by-restart",
		Promise: "A restart of the driver without any change writes no slice: every write wakes every scheduler.",
		Source:  e2e + `"sequential update with pods replacing each other": the same slices before and after`,
		Needs:   []suite.Need{node.NeedsRestart},
		Run: func(t *suite.T) {
			before := s.versions(t)
			plugin := s.RestartDriver(t)
			claim := s.Exclusive(t, "witness", 1)
			s.Prepare(t, plugin, claim)
			s.Unprepare(t, plugin, claim)
			s.unwritten(t, "a restart", before)
		},
	}, {
		Name:    "slices-return-after-wipe",
		Promise: "Slices that somebody deletes are published again.",
		Source:  e2e + `"must manage ResourceSlices"; ` + "kubernetes #140063",
		Timeout: slow,
		Run: func(t *suite.T) {
			s.wipe(t, func() {})
		},
	}, {
		Name:    "slices-return-after-kubelet-restart",
		Promise: "Slices that a starting kubelet deletes are published again when the driver registers with it.",
		Source:  e2eNode + `"must be removed on kubelet startup"; the kubelet deletes them before or after the registration`,
		Timeout: slow,
		Run: func(t *suite.T) {
			s.wipe(t, func() {
				s.restartKubelet(t, kubelet.Options{})
				s.Registered(t)
			})
			s.restartKubelet(t, kubelet.Options{})
			s.Registered(t)
			s.wipe(t, func() {})
		},
	}}
}

func (s *subject) published(t *suite.T) []resourceapi.ResourceSlice {
	all, err := s.Cluster.Published(t.Context())
	t.Must(err, "read the driver's slices")
	return all
}

func (s *subject) versions(t *suite.T) map[string]string { return cluster.Versions(s.published(t)) }

// quiet is how long is looked whether slices are written: a driver on the helper library does so a second or two after
// its start.
const quiet = 4 * time.Second

func (s *subject) unwritten(t *suite.T, by string, before map[string]string) {
	var after map[string]string
	err := suite.Poll(t.Context(), quiet, func(context.Context) error {
		if after = s.versions(t); maps.Equal(before, after) {
			return errors.New("nothing was written")
		}
		return nil
	})
	if err == nil {
		t.Errorf("slices were written by %s without change: before %v, after %v (name: UID@resourceVersion); publish the "+
			"same devices in the same order", by, before, after)
	}
}

// onlyInstance says what keeps an instance from being the only one that is registered.
func (s *subject) onlyInstance(plugin *kubelet.Plugin) func(context.Context) error {
	return func(context.Context) error {
		all := s.Kubelet().Instances(s.Cluster.Driver)
		switch {
		case len(all) == 1 && all[0].Endpoint == plugin.Endpoint:
			return nil
		case len(all) == 0:
			return errors.New("no instance is registered any more")
		default:
			return fmt.Errorf("%d instances are registered; remove the registration socket at the end", len(all))
		}
	}
}

func (s *subject) slicesComplete(t *suite.T) {
	all := s.published(t)
	devices := map[string]string{}
	for _, slice := range all {
		for _, device := range slice.Spec.Devices {
			name := slice.Spec.Pool.Name + "/" + device.Name
			if other, twice := devices[name]; twice {
				t.Errorf("device %s is in slice %s and in slice %s", name, other, slice.Name)
			}
			devices[name] = slice.Name
		}
	}
	t.Notef("devices: %d, slices: %d", len(devices), len(all))
	if len(devices) == 0 {
		t.NotRun("the driver publishes no device")
	}
}

func (s *subject) slicesWithinLimits(t *suite.T) {
	// Kubernetes 1.34 refuses counters in other slices than the devices that consume them.
	old, err := s.Cluster.OlderThan(1, 35)
	t.Must(err, "ask for the API server's version")
	for _, slice := range s.published(t) {
		spec, limit := slice.Spec, resourceapi.ResourceSliceMaxDevices
		special := false
		for _, device := range spec.Devices {
			special = special || len(device.Taints) > 0 || len(device.ConsumesCounters) > 0
		}
		if special {
			limit = resourceapi.ResourceSliceMaxDevicesWithAdvancedFeatures
		}
		if len(spec.Devices) > limit {
			t.Errorf("slice %s has %d devices, at most %d are allowed where one has taints or counters; cut slices at %d from "+
				"the start", slice.Name, len(spec.Devices), limit, resourceapi.ResourceSliceMaxDevicesWithAdvancedFeatures)
		}
		if len(spec.Devices) > 0 && len(spec.SharedCounters) > 0 && !old {
			t.Errorf("slice %s has devices and shared counters, which Kubernetes 1.35 refuses; put the counters into a slice "+
				"of their own in the same pool", slice.Name)
		}
		if strings.ToLower(spec.Driver) != spec.Driver {
			t.Errorf("the driver's name %q in slice %s is not in lower case", spec.Driver, slice.Name)
		}
	}
}

// wipe deletes the slices, does something, and waits until they are back, as many devices as before.
func (s *subject) wipe(t *suite.T, then func()) {
	count := func(all []resourceapi.ResourceSlice) (n int) {
		for _, slice := range all {
			n += len(slice.Spec.Devices)
		}
		return n
	}
	before := count(s.published(t))
	start := time.Now()
	t.Must(s.Cluster.WipeSlices(t.Context()), "delete the slices")
	then()
	t.Until(slicesBack, "the slices are published again", func(ctx context.Context) error {
		all, err := s.Cluster.Published(ctx)
		if err == nil && count(all) != before {
			err = fmt.Errorf("%d devices are published, %d were before", count(all), before)
		}
		return err
	})
	t.Notef("they were back after %v", time.Since(start).Round(time.Millisecond))
}
