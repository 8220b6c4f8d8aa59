//go:build cgo

package mig

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/types"
)

// TakenError means that something else lies where an instance was to be made, or in a GPU that was to be whole.
type TakenError struct {
	Instance Instance
	// Claim is the UID of the claim for which this driver made it; empty if somebody else made it.
	Claim types.UID
}

func (e *TakenError) Error() string {
	owner := "which this driver did not make; destroy it (nvidia-smi mig) to let the driver use its place"
	if e.Claim != "" {
		owner = fmt.Sprintf("which belongs to the claim with UID %s", e.Claim)
	}
	return fmt.Sprintf("the place is taken by %s, %s", e.Instance.show(), owner)
}

// InUseError means that somebody uses what is to be changed, and did not stop while the driver was patient.
type InUseError struct {
	// What is to be changed, for example "GPU instance 3".
	What string
	// Cause is what NVML said.
	Cause error
}

func (e *InUseError) Error() string {
	return fmt.Sprintf("%s is used by some process (NVML: %v); stop it: a container that is still ending, or a "+
		"monitoring agent such as DCGM (fuser -v /dev/nvidia* on the node shows which)", e.What, e.Cause)
}

// Unwrap returns what NVML said.
func (e *InUseError) Unwrap() error { return e.Cause }

func (i Instance) show() string {
	return fmt.Sprintf("GPU instance %d (%s at %d)", i.GI, i.Profile.show(), i.Start)
}

func show(instances []Instance) string {
	if len(instances) == 0 {
		return "no other instances"
	}
	var shown []string
	for _, i := range instances {
		if text := i.show(); len(shown) == 0 || shown[len(shown)-1] != text {
			shown = append(shown, text)
		}
	}
	return strings.Join(shown, ", ")
}
