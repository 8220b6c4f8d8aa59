// Package devicetest is the conformance test of the hardware contract: what package device demands of a backend and a
// test can find out without knowing the hardware. Every backend runs it in its own tests:
//
//	func TestConformance(t *testing.T) {
//		devicetest.Run(t, func(t *testing.T) device.Backend { return … }, gpuv1alpha1.Default())
//	}
//
// What it cannot find out, such as whether the effects of Prepare are gone after Unprepare, is left to those tests.
//
// The room is long because it is one function for each promise.
package devicetest
