package prepare

import (
	"errors"

	"example.com/dragoman/pkg/checkpoint"
	"example.com/dragoman/pkg/device"
)

// Lasting returns in one word why a problem with a claim lasts until somebody does something about it, and "" if it may
// be over when the kubelet asks again.
func Lasting(problem error) string {
	var corrupt *checkpoint.CorruptError
	switch {
	case errors.As(problem, new(*checkpoint.HeldError)):
		return "DeviceHeld"
	case errors.As(problem, new(*OverCommittedError)):
		return "DeviceOverCommitted"
	case errors.As(problem, new(*checkpoint.VersionError)):
		return "NewerRecord"
	case errors.As(problem, &corrupt):
		return "UnreadableRecord"
	case errors.As(problem, new(*device.RefusedError)):
		return "Refused"
	case errors.As(problem, new(*PanicError)):
		return "InternalError"
	}
	return ""
}
