package cluster

import "testing"

// TestSideBySide runs what disturbs nobody, all at once: each feature has a namespace of its own and takes no more
// devices than it says.
func TestSideBySide(t *testing.T) {
	testenv.TestInParallel(t,
		exampleOneDevice(),
		exampleTwoDevicesMatchAttribute(),
		exampleSelect(),
		exampleSharedByContainers(),
		exampleSharedByPods(),
		exampleDeviceConfiguration(),
		examplePrioritizedList(),
		exampleAdminAccess(),
		exampleJobFailedReplacement(),
		everyExampleHasATest(),
		slicesOfBothNodes(),
		nothingIsLeftOfAPod(),
		podResources(),
		badConfiguration(),
		allDevicesTaken(),
		adminAccessNeedsTheLabel(),
		onlyItsOwnSlices(),
	)
}

// TestOneByOne runs what everybody would notice, the worst last.
func TestOneByOne(t *testing.T) {
	testenv.Test(t,
		driverRestarted(),
		kubeletRestarted(),
		driverUpdated(),
		nodeRestarted(),
	)
}
