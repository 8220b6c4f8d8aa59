package proxy

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

const loopback = "127.0.0.1"

// port is a port on loopback that stays ours while nobody listens on it: a socket that is bound and does not listen
// holds it, and connections are refused.
type port struct {
	holder  int
	address string
}

func newPort() (*port, error) {
	holder, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make a socket: %w", os.NewSyscallError("socket", err))
	}
	p := &port{holder: holder}
	if err := p.bind(); err != nil {
		return nil, fmt.Errorf("take a free port on loopback: %w", err)
	}
	return p, nil
}

func (p *port) bind() error {
	if err := unix.SetsockoptInt(p.holder, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
		return os.NewSyscallError("setsockopt", err)
	}
	if err := unix.Bind(p.holder, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return os.NewSyscallError("bind", err)
	}
	name, err := unix.Getsockname(p.holder)
	if err != nil {
		return os.NewSyscallError("getsockname", err)
	}
	p.address = net.JoinHostPort(loopback, strconv.Itoa(name.(*unix.SockaddrInet4).Port))
	return nil
}

// listen begins to accept connections; closing the listener refuses them again.
func (p *port) listen() (net.Listener, error) {
	share := func(_, _ string, conn syscall.RawConn) error {
		var failed error
		err := conn.Control(func(fd uintptr) {
			failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
		})
		if err != nil {
			return err
		}
		return failed
	}
	listener, err := (&net.ListenConfig{Control: share}).Listen(context.Background(), "tcp4", p.address)
	if err != nil {
		return nil, fmt.Errorf("listen for the driver: %w", err)
	}
	return listener, nil
}

func (p *port) close() error { return os.NewSyscallError("close", unix.Close(p.holder)) }
