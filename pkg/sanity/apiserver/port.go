package apiserver

import (
	"errors"
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// port is a port of this machine that nobody else gets while we have it.
//
// To look for a free one and then hope is a race, and a lost one now and then is a test that fails now and then. So the
// port is bound here without listening, and kube-apiserver binds it a second time (--permit-port-sharing): connections
// only ever reach who listens.
type port struct {
	number int
	socket int
}

func reservePort() (port, error) {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return port{}, fmt.Errorf("reserve a port: %w", err)
	}
	if err := errors.Join(
		unix.SetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1),
		unix.Bind(socket, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}),
	); err != nil {
		return port{}, errors.Join(fmt.Errorf("reserve a port: %w", err), unix.Close(socket))
	}
	name, err := unix.Getsockname(socket)
	bound, ok := name.(*unix.SockaddrInet4)
	if err != nil || !ok {
		return port{}, errors.Join(fmt.Errorf("reserve a port: bound to %v: %w", name, err), unix.Close(socket))
	}
	return port{number: bound.Port, socket: socket}, nil
}

func (p port) address() string { return net.JoinHostPort("127.0.0.1", fmt.Sprint(p.number)) }

func (p port) release() error { return unix.Close(p.socket) }
