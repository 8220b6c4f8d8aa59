package driver

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"
)

// socketMode keeps others than the owner from connecting; directoryMode keeps them from looking for sockets.
const (
	socketMode    fs.FileMode = 0o600
	directoryMode fs.FileMode = 0o750
)

// rootUID is the kubelet's.
const rootUID = 0

// listener accepts connections from root, and from the user that this process runs as, on a Unix socket. The file of
// the socket can be made anew while it is in use: the server that accepts from the listener does not notice, and calls
// in progress go on.
type listener struct {
	path   string
	logger klog.Logger
	own    uint32 // the user that this process runs as

	mu      sync.Mutex
	socket  *net.UnixListener
	file    fs.FileInfo // of socket, at path
	closed  bool
	refused map[uint32]bool // users that the log knows of
}

// listenOn makes a socket at path, at which there must be nothing.
func listenOn(logger klog.Logger, path string) (*listener, error) {
	l := &listener{path: path, logger: logger, own: uint32(os.Geteuid()), refused: make(map[uint32]bool)}
	return l, l.renew()
}

// renew makes the file of the socket, again if it was removed. There must be nothing at its path.
func (l *listener) renew() error {
	socket, err := net.ListenUnix("unix", &net.UnixAddr{Name: l.path, Net: "unix"})
	if err != nil {
		return err
	}
	socket.SetUnlinkOnClose(false) // by then the file may be another one's
	err = os.Chmod(l.path, socketMode)
	var file fs.FileInfo
	if err == nil {
		file, err = os.Lstat(l.path)
	}
	if err != nil {
		_ = socket.Close()
		return fmt.Errorf("make socket: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		_ = socket.Close()
		return os.Remove(l.path)
	}
	if l.socket != nil {
		_ = l.socket.Close() // nobody can connect to it any more
	}
	l.socket, l.file = socket, file
	return nil
}

// inPlace says whether the file at the path is the one that is listened on. The kernel keeps its inode while the socket
// is open, so no other file can have the same number.
func (l *listener) inPlace() (bool, error) {
	there, err := os.Lstat(l.path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return err == nil && os.SameFile(there, l.file), err
}

// Accept implements [net.Listener].
func (l *listener) Accept() (net.Conn, error) {
	for {
		l.mu.Lock()
		socket := l.socket
		l.mu.Unlock()
		conn, err := socket.AcceptUnix()
		if err != nil && l.moved(socket) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if err := l.admit(conn); err != nil {
			_ = conn.Close() // nothing was said
			continue
		}
		return conn, nil
	}
}

// moved says whether something else than socket is listened on by now.
func (l *listener) moved(socket *net.UnixListener) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.closed && l.socket != socket
}

// errNotAdmitted is for whom the socket is not.
var errNotAdmitted = errors.New("it may not use this socket")

// admit refuses all users but root and our own, and names each of them once in the log.
func (l *listener) admit(conn *net.UnixConn) error {
	peer, err := peerOf(conn)
	if err != nil {
		l.logger.Error(err, "Closed a connection of which the kernel does not say whose it is", "socket", l.path)
		return err
	}
	if peer.Uid == rootUID || peer.Uid == l.own {
		return nil
	}
	l.mu.Lock()
	known := l.refused[peer.Uid]
	l.refused[peer.Uid] = true
	l.mu.Unlock()
	if !known {
		l.logger.Info("Warning: closed a connection: only the kubelet, which runs as root, may use this socket; "+
			"not said again for this user", "socket", l.path, "uid", peer.Uid, "pid", peer.Pid)
	}
	return errNotAdmitted
}

func peerOf(conn *net.UnixConn) (*unix.Ucred, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	var peer *unix.Ucred
	var asked error
	err = raw.Control(func(fd uintptr) {
		peer, asked = unix.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	})
	return peer, errors.Join(err, asked)
}

// Close implements [net.Listener]. It removes the file if it is still the one that was listened on.
func (l *listener) Close() error {
	ours, _ := l.inPlace()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return net.ErrClosed
	}
	l.closed = true
	var err error
	if ours {
		err = remove(l.path)
	}
	return errors.Join(l.socket.Close(), err)
}

// Addr implements [net.Listener].
func (l *listener) Addr() net.Addr { return &net.UnixAddr{Name: l.path, Net: "unix"} }
