package agreement

import "example.com/dragoman/pkg/sanity/apiserver"

// setup is a control plane on which questions are asked.
type setup struct {
	name    string
	version string
	gates   string // feature gates of the API server and of the scheduler
	runtime string // API versions that the API server serves beside its own choice
	has     features
}

// features say what a question may hold.
type features struct {
	// taints, partitions, shares, extended resources and rules are kept by the API server and known to the scheduler.
	// What is not kept may be in a question still, if what is left of it is a question.
	taints, parts, shares, extended, rules bool
	// noneEffect: there are taints that only inform.
	noneEffect bool
	// countersApart: counter sets are in slices without devices; else in the slice of the devices that consume them.
	countersApart bool
	// old avoids what Kubernetes 1.34.3 decides by the order of a map, and what it gets wrong and later releases do
	// not:
	//   - pools, and the slices of a pool, have no order, so whether a CEL runtime error or a pool with two devices of
	//     one name is met before a fit is found differs from run to run;
	//   - of two alternatives, of which one asks for all devices, it mixes up what it found out about devices;
	//   - counters that it reserved for a device are not given back when a taint or a constraint then rules it out;
	//   - distinctAttribute holds for everything: it compares pointers;
	//   - with shares, it gives the same device twice to one request; and it compares with the capacity of another
	//     device of the slice than the one at hand, and ends with a panic where the slice has no such device.
	old bool
}

// newestVersion is the newest release that is tested.
const newestVersion = "v1.37.2"

func setups() []setup {
	return []setup{
		{
			name: "1.34 as it comes", version: apiserver.DefaultVersion,
			has: features{old: true},
		},
		{
			name: "1.34 with all gates", version: apiserver.DefaultVersion,
			gates: "DRAConsumableCapacity=true,DRADeviceBindingConditions=true,DRADeviceTaints=true," +
				"DRAExtendedResource=true,DRAPartitionableDevices=true",
			runtime: "resource.k8s.io/v1alpha3=true",
			has:     features{old: true, taints: true, parts: true, shares: true, extended: true, rules: true},
		},
		{
			name: "1.37 as it comes", version: newestVersion,
			has: features{
				taints: true, noneEffect: true, parts: true, shares: true, extended: true, rules: true,
				countersApart: true,
			},
		},
	}
}
