package cluster

import "testing"

// TestSideBySide runs what disturbs nobody, all at once: each feature has a namespace of its own and takes no more
// devices than it says.
func TestSideBySide(t *testing.T) {
	useExample(t)
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
		exampleMPS(),
		everyExampleHasATest(),
		slicesOfBothNodes(),
		nothingIsLeftOfAPod(),
		podResources(),
		badConfiguration(),
		allDevicesTaken(),
		adminAccessNeedsTheLabel(),
		onlyItsOwnSlices(),
		confined(),
	)
}

// TestOneByOne runs what everybody would notice, the worst last.
func TestOneByOne(t *testing.T) {
	useExample(t)
	testenv.Test(t,
		driverRestarted(),
		kubeletRestarted(),
		driverUpdated(),
		outOfMemory(),
		littleCPU(),
		nodeRestarted(),
	)
}

// TestGPUsSideBySide, TestGPUsOneByOne and TestGPUsCutOnDemand do the same with the backend for NVIDIA's GPUs.
func TestGPUsSideBySide(t *testing.T) {
	useGPUs(t)
	testenv.TestInParallel(t,
		slicesOfGPUs(),
		gpuExample("01-one-device", 1),
		gpuExample("02-two-devices-match-attribute", 2),
		gpuExample("04-shared-by-containers", 1),
		gpuExample("05-shared-by-pods", 1),
		fallbackOfAList(),
		gpuExample("08-admin-access", 1, "dragoman-08-admin"),
		gpuExample("09-job-failed-replacement", 1),
		settings(),
	)
}

func TestGPUsOneByOne(t *testing.T) {
	useGPUs(t)
	testenv.Test(t,
		spacePartitioningIsRefused(),
		sharedByMPS(),
		sickGPU(),
		driverComesLater(),
		cannotLook(),
		cutByHand(),
	)
}

func TestGPUsCutOnDemand(t *testing.T) {
	useGPUs(t, "--dynamic-mig")
	if gateOn("DRAPartitionableDevices") {
		testenv.Test(t, cutOnDemand())
	} else {
		testenv.Test(t, notCutWithoutCounters())
	}
}
