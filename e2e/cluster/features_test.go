package cluster

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/e2e-framework/pkg/types"
)

// row is a row of the README's feature table: a part of the DRA API, and how it shows that it works.
type row struct {
	name    string
	example string   // the folder that is about it, if there is one
	gates   []string // of Kubernetes; it needs all of them
	since   int      // minor release of Kubernetes that first has it with these gates; 0: any that the driver runs on
	// works is for clusters that have it, lacking for those that do not: what they have instead.
	works, lacking func() types.Feature
	// settings are arguments of bin/demo beside those of useShowcase.
	settings []string
	// upstream says that it wants the made-up machine that is like the upstream example driver's, without settings.
	upstream bool
}

// rows are all of them, in the order of the table. They run one after the other: each has the devices to itself.
func rows() []row {
	return []row{
		{name: "a whole device", example: "01-one-device", upstream: true, works: exampleOneDevice},
		{
			name: "admin access", example: "08-admin-access", upstream: true,
			gates: []string{"DRAAdminAccess"}, works: exampleAdminAccess,
		},
		{
			name: "prioritized list", example: "07-prioritized-list", upstream: true,
			gates: []string{"DRAPrioritizedList"}, works: examplePrioritizedList,
		},
		{
			name: "the kubelet's PodResources API", upstream: true,
			gates: []string{"KubeletPodResourcesDynamicResources"}, works: podResources,
		},
		{
			name: "part of a device", example: "11-part-of-a-gpu", gates: []string{"DRAPartitionableDevices"},
			works: partOfAGPU, lacking: noParts,
		},
		{
			name: "several parts of one device", example: "12-parts-of-the-same-gpu", gates: []string{"DRAPartitionableDevices"},
			works: partsOfTheSameGPU,
		},
		{
			name: "shares of a device", example: "13-share-of-a-device", gates: []string{"DRAConsumableCapacity"},
			works: shares, lacking: sharesLacking,
		},
		{
			name: "taints of unhealthy devices", example: healthExample, gates: []string{"DRADeviceTaints"},
			works: taints, lacking: taintsLacking,
		},
		{
			name: "health in the status of pods", example: healthExample, gates: []string{"ResourceHealthStatus"},
			works: healthInPodStatus,
		},
		{
			name: "eviction from unhealthy devices", example: healthExample, gates: []string{"DRADeviceTaints"},
			works: evictingTaints, settings: []string{"--set", "health.taintEffect=NoExecute"},
		},
		{
			name: "status of devices", example: "17-status-of-a-device", gates: []string{"DRAResourceClaimDeviceStatus"},
			works: deviceStatus,
		},
		{
			name: "rights on the status of single devices", gates: []string{"DRAResourceClaimGranularStatusAuthorization"},
			works: statusRights,
		},
		{
			name: "extended resource, by a name of its own", example: extendedExample, gates: []string{"DRAExtendedResource"},
			works: extendedResource, lacking: extendedResourceLacking,
		},
		{
			name: "extended resource, by the name of its DeviceClass", since: 35, gates: []string{"DRAExtendedResource"},
			works: implicitExtendedResource, lacking: noImplicitExtendedResource,
		},
		{
			name: "binding conditions", example: bindingExample, gates: []string{"DRADeviceBindingConditions"},
			works: bindingConditions, lacking: bindingConditionsLacking,
		},
		{name: "metadata of devices in pods", example: "18-metadata-in-the-pod", works: deviceMetadata},
		{
			name: "admission of configurations", example: "20-refused-when-created", works: admissionOfConfigurations,
		},
		{
			name: "pod-level resources beside claims", upstream: true,
			gates: []string{"PodLevelResources"}, works: podLevelResources,
		},
		{
			name: "claims of PodGroups", example: "19-group-of-pods", upstream: true, since: 37,
			gates: []string{"GenericWorkload", "DRAWorkloadResourceClaims"}, works: groupOfPods, lacking: noGroupsOfPods,
		},
	}
}

// TestFeatures shows for each part of the DRA API that it works, or what there is instead on a cluster that lacks it.
// The attributes of its subtests become the README's table. A cluster with other gates than the default ones is for the
// rows that need those; the others are shown on a cluster without.
func TestFeatures(t *testing.T) {
	for i, r := range rows() {
		if len(turnedOn) > 0 && len(r.turnedOn()) == 0 {
			continue
		}
		t.Run(r.name, func(t *testing.T) {
			t.Attr("feature", fmt.Sprintf("%02d %s", i+1, r.name))
			t.Attr("example", r.example)
			t.Attr("kubernetes", fmt.Sprintf("1.%d", minor))
			r.run(t)
		})
	}
}

func (r row) run(t *testing.T) {
	off := slices.DeleteFunc(slices.Clone(r.gates), gateOn)
	feature := r.works
	switch {
	case minor < r.since:
		t.Attr("verdict", "not there")
		feature = r.lacking
	case len(off) > 0:
		t.Attr("verdict", "lacks "+strings.Join(off, " "))
		feature = r.lacking
	default:
		t.Attr("verdict", strings.TrimSpace("works "+strings.Join(r.turnedOn(), " ")))
	}
	if feature == nil {
		return
	}
	if r.upstream {
		useExample(t)
	} else {
		useShowcase(t, r.settings...)
	}
	testenv.Test(t, feature())
}

// turnedOn returns the gates of the row that this cluster would not have by default.
func (r row) turnedOn() []string {
	return slices.DeleteFunc(slices.Clone(r.gates), func(gate string) bool { return !slices.Contains(turnedOn, gate) })
}
