//go:build cgo

package nvml

import (
	"testing"

	gpuv1alpha1 "example.com/dragoman/api/gpu/v1alpha1"
	"example.com/dragoman/pkg/device"
	"example.com/dragoman/pkg/device/devicetest"
)

func TestConformance(t *testing.T) {
	for name, machine := range machines() {
		t.Run(name, func(t *testing.T) {
			devicetest.Run(t, func(t *testing.T) device.Backend { return newNode(t, machine()) }, gpuv1alpha1.Default())
		})
	}
}
