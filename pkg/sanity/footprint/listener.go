package footprint

import (
	"fmt"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Listener returns the process that listens on a Unix socket: the program itself, also if a shell started it.
func Listener(socket string) (pid int, err error) {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		return 0, fmt.Errorf("find who listens on %s: %w", socket, err)
	}
	defer conn.Close() //nolint:errcheck // nothing was written
	var raw syscall.RawConn
	if raw, err = conn.SyscallConn(); err != nil {
		return 0, fmt.Errorf("find who listens on %s: %w", socket, err)
	}
	var peer *unix.Ucred
	var failed error
	if err := raw.Control(func(fd uintptr) {
		peer, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return 0, fmt.Errorf("find who listens on %s: %w", socket, err)
	}
	if failed != nil {
		return 0, fmt.Errorf("find who listens on %s: %w", socket, os.NewSyscallError("getsockopt", failed))
	}
	if peer.Pid <= 0 {
		return 0, fmt.Errorf("find who listens on %s: it is a process of another PID namespace", socket)
	}
	return int(peer.Pid), nil
}
