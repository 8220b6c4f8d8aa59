package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilversion "k8s.io/apimachinery/pkg/util/version"

	"example.com/dragoman/pkg/inventory"
	"example.com/dragoman/pkg/view"
)

// makeUp is the cluster of --machines: nodes, each with the slices that our driver would publish there.
func (c *simulateCommand) makeUp(ctx context.Context) (*view.Cluster, error) {
	machines, err := machinesOf(c.machines)
	if err != nil {
		return nil, err
	}
	offer := inventory.Offer{
		Counters: inventory.CountersApart, Shares: true, BindingConditions: true, Taints: true, NoneTaints: true,
		TaintEffect: resourceapi.DeviceTaintEffectNoSchedule,
	}
	if v, err := utilversion.ParseGeneric(c.kubernetes); err == nil && v.LessThan(utilversion.MajorMinor(1, 35)) {
		offer.Counters, offer.NoneTaints = inventory.CountersBeside, false
	}
	cluster := &view.Cluster{Version: c.kubernetes}
	for i := range c.nodes {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		name := fmt.Sprintf("node-%d", i)
		cluster.Nodes = append(cluster.Nodes, madeUpNode(name, c.labels))
		specs, leftOut := inventory.Slices(machines(name), c.driver, name, offer)
		for _, l := range leftOut {
			c.say("Left out of the slices of %s: %s", name, l)
		}
		for j := range specs {
			cluster.Slices = append(cluster.Slices, &resourceapi.ResourceSlice{
				// The driver's own names sort like this, too.
				ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("%05x-%s-%s", j, c.driver, name)},
				Spec:       specs[j],
			})
		}
	}
	return cluster, nil
}

func madeUpNode(name string, labels map[string]string) *corev1.Node {
	all := map[string]string{corev1.LabelHostname: name}
	maps.Copy(all, labels)
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: all}}
}

// assumeClasses adds the classes that the chart of our driver has, unless the files have them, and says which of them
// somebody asks for.
func (c *simulateCommand) assumeClasses(cluster *view.Cluster, files *simulatedFiles) {
	asked := files.classes()
	var assumed []string
	for _, kind := range []struct{ name, devices string }{{c.driver, "gpu"}, {"mig." + c.driver, "mig"}} {
		if slices.ContainsFunc(files.cluster.Classes, func(o *resourceapi.DeviceClass) bool { return o.Name == kind.name }) {
			continue
		}
		cluster.Classes = append(cluster.Classes, &resourceapi.DeviceClass{
			ObjectMeta: metav1.ObjectMeta{Name: kind.name},
			Spec: resourceapi.DeviceClassSpec{Selectors: []resourceapi.DeviceSelector{{
				CEL: &resourceapi.CELDeviceSelector{Expression: fmt.Sprintf(
					`device.driver == %q && device.attributes[%q].?type.orValue("gpu") == %q`, c.driver, c.driver, kind.devices)},
			}}},
		})
		if asked[kind.name] {
			assumed = append(assumed, kind.name)
		}
	}
	if len(assumed) > 0 {
		c.say("The files have no DeviceClass %s: taken as in the driver's chart.", strings.Join(assumed, ", "))
	}
}
