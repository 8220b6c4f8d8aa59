//go:build cgo

package nvml

import (
	"context"

	"example.com/dragoman/pkg/device/nvml/sharing"
)

// MPSDaemonCommand is the sub-command under which a program with this backend has to offer [RunMPSDaemon]: the backend
// starts the program that it is part of once more for each daemon.
const MPSDaemonCommand = "mps-daemon"

// RunMPSDaemon becomes a control daemon of MPS. It is not meant to be called by people, and only returns with an error.
func RunMPSDaemon(ctx context.Context, args []string) error { return sharing.RunDaemon(ctx, args) }
