package driver

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/klog/v2/textlogger"
)

// asAnother does something as a user who is not root; only root can become one. A thread has no way back, so it ends
// with the goroutine.
func asAnother(t *testing.T, do func()) (uid int) {
	t.Helper()
	const nobody, unchanged = 65534, ^uintptr(0)
	if uid = os.Geteuid(); uid != rootUID {
		do()
		return uid
	}
	var group sync.WaitGroup
	group.Go(func() {
		runtime.LockOSThread()
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, unchanged, nobody, unchanged); errno != 0 {
			t.Errorf("become another user: %v", errno)
			return
		}
		do()
	})
	group.Wait()
	return nobody
}

func TestFault25OnlyRootMaySpeakOnTheSockets(t *testing.T) {
	dir := filepath.Dir(socketsIn(t).dataDir)
	path := filepath.Join(dir, "s")
	var log strings.Builder
	l, err := listenOn(textlogger.NewLogger(textlogger.NewConfig(textlogger.Output(&log))), path)
	if err != nil {
		t.Fatal(err)
	}
	l.own = uint32(os.Geteuid()) + 1 // so that whoever runs this test is another one, but for root
	accepted := make(chan net.Conn, 10)
	go func() {
		defer close(accepted)
		for conn, err := l.Accept(); err == nil; conn, err = l.Accept() {
			accepted <- conn
		}
	}()
	// Somebody makes it too easy.
	for _, open := range []string{filepath.Dir(dir), dir, path} {
		if err := os.Chmod(open, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	var uid int
	for range 3 {
		uid = asAnother(t, func() {
			conn, err := net.Dial("unix", path)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(10 * time.Second)) // for when nobody closes it
			if n, err := conn.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
				t.Errorf("another user reads %d bytes, %v", n, err)
			}
		})
	}
	_ = l.Close()
	for range accepted {
		t.Error("a connection was accepted")
	}
	line := fmt.Sprintf("socket=%q uid=%d", path, uid)
	if n := strings.Count(log.String(), line); n != 1 || strings.Count(log.String(), "\n") != 1 {
		t.Errorf("want one line with %s:\n%s", line, log.String())
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left after Close: %v", err)
	}
}
