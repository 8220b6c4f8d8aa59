package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/version"
)

// Device is a device that the driver offers on the node.
type Device struct {
	Pool string
	resourceapi.Device
}

// Slices returns the driver's ResourceSlices of the node, by name.
func (c *Cluster) Slices(ctx context.Context) ([]resourceapi.ResourceSlice, error) {
	list, err := c.Client.ResourceV1().ResourceSlices().List(ctx, c.ours())
	if err != nil {
		return nil, fmt.Errorf("list the slices of %s on node %s: %w", c.Driver, c.Node, err)
	}
	slices.SortFunc(list.Items, func(a, b resourceapi.ResourceSlice) int { return strings.Compare(a.Name, b.Name) })
	return list.Items, nil
}

func (c *Cluster) ours() metav1.ListOptions {
	return metav1.ListOptions{FieldSelector: resourceapi.ResourceSliceSelectorNodeName + "=" + c.Node + "," +
		resourceapi.ResourceSliceSelectorDriver + "=" + c.Driver}
}

// WipeSlices deletes the driver's slices of the node, as a kubelet does when it starts.
func (c *Cluster) WipeSlices(ctx context.Context) error {
	err := c.Client.ResourceV1().ResourceSlices().DeleteCollection(ctx, metav1.DeleteOptions{}, c.ours())
	return wrap(err, "delete the slices of %s on node %s", c.Driver, c.Node)
}

// Published returns the slices if a scheduler could use them: all pools are complete, in one generation.
func (c *Cluster) Published(ctx context.Context) ([]resourceapi.ResourceSlice, error) {
	all, err := c.Slices(ctx)
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("the API server has no slice of %s on node %s", c.Driver, c.Node)
	}
	return all, Complete(all)
}

// Complete says what a scheduler would miss in the pools of these slices; nil if nothing.
func Complete(all []resourceapi.ResourceSlice) error {
	pools := map[string][]resourceapi.ResourceSlice{}
	for _, slice := range all {
		pools[slice.Spec.Pool.Name] = append(pools[slice.Spec.Pool.Name], slice)
	}
	var problems []string
	for name, pool := range pools {
		newest := slices.MaxFunc(pool, func(a, b resourceapi.ResourceSlice) int {
			return int(a.Spec.Pool.Generation - b.Spec.Pool.Generation)
		}).Spec.Pool
		for _, slice := range pool {
			if slice.Spec.Pool.Generation != newest.Generation {
				problems = append(problems, fmt.Sprintf("pool %s has slice %s of generation %d besides those of generation %d",
					name, slice.Name, slice.Spec.Pool.Generation, newest.Generation))
			}
		}
		if newest.ResourceSliceCount != int64(len(pool)) {
			problems = append(problems, fmt.Sprintf("pool %s has %d slices and says that it has %d", name, len(pool),
				newest.ResourceSliceCount))
		}
	}
	if len(problems) == 0 {
		return nil
	}
	slices.Sort(problems)
	return errors.New(strings.Join(problems, "; "))
}

// Devices returns the devices of the complete pools, in the order in which a scheduler sees them.
func (c *Cluster) Devices(ctx context.Context) ([]Device, error) {
	all, err := c.Published(ctx)
	if err != nil {
		return nil, err
	}
	var devices []Device
	for _, slice := range all {
		for _, device := range slice.Spec.Devices {
			devices = append(devices, Device{Pool: slice.Spec.Pool.Name, Device: device})
		}
	}
	return devices, nil
}

// Versions tells of each slice whether it was written since: its name, UID and resource version.
func Versions(all []resourceapi.ResourceSlice) map[string]string {
	versions := map[string]string{}
	for _, slice := range all {
		versions[slice.Name] = string(slice.UID) + "@" + slice.ResourceVersion
	}
	return versions
}

// Shared says whether several claims may have the device at once, each with a share.
func (d Device) Shared() bool {
	return d.AllowMultipleAllocations != nil && *d.AllowMultipleAllocations
}

// usable says whether a claim without tolerations may get the device.
func (d Device) usable() bool {
	return !slices.ContainsFunc(d.Taints, func(t resourceapi.DeviceTaint) bool {
		return t.Effect != resourceapi.DeviceTaintEffectNone
	}) && len(d.BindingConditions) == 0
}

// OlderThan says whether the API server is of an earlier version of Kubernetes than major.minor.
func (c *Cluster) OlderThan(major, minor uint) (bool, error) {
	info, err := c.Client.Discovery().ServerVersion()
	if err != nil {
		return false, fmt.Errorf("ask for the API server's version: %w", err)
	}
	is, err := version.ParseGeneric(info.GitVersion)
	if err != nil {
		return false, fmt.Errorf("read the API server's version %q: %w", info.GitVersion, err)
	}
	return is.LessThan(version.MajorMinor(major, minor)), nil
}
