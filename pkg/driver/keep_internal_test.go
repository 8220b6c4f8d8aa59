package driver

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func socketsIn(t *testing.T) *sockets {
	t.Helper()
	dir, err := os.MkdirTemp("", "d") //nolint:usetesting // t.TempDir holds the name of the test: too long
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	s := socketsOf(Options{DriverName: "gpu.example.com", KubeletDir: dir, PodUID: "99999999-9999-9999-9999-999999999999"})
	unlock, err := s.takePlace(quietly(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	unlock()
	return s
}

// TestFault20SocketsOfAKilledInstanceAreRemovedLater: while this one serves, and not before it is sure.
func TestFault20SocketsOfAKilledInstanceAreRemovedLater(t *testing.T) {
	s := socketsIn(t)
	ctx := quietly(t.Context())
	stale := filepath.Join(s.dataDir, "dra-11111111-2222-3333-4444-555555555555.sock")
	for _, path := range []string{stale, s.dra} { // ours hangs, say
		dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		dead.SetUnlinkOnClose(false)
		_ = dead.Close()
	}
	there := func(path string) bool { _, err := os.Lstat(path); return err == nil }
	seen := s.sweepAgain(ctx, nil)
	if !there(stale) || !seen[stale] {
		t.Error("removed upon first sight, when it may be an instance that is starting")
	}
	if seen = s.sweepAgain(ctx, seen); there(stale) {
		t.Error("not removed when it was dead twice")
	}
	if !there(s.dra) {
		t.Error("our own socket was removed")
	}
	if seen = s.sweepAgain(ctx, seen); len(seen) != 0 {
		t.Errorf("still known: %v", seen)
	}
}

func TestFault19AnInstanceThatHangsWhileItStarts(t *testing.T) {
	s := socketsIn(t)
	other, err := os.Open(s.dataDir)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := unix.Flock(int(other.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	s.patience = lockPause
	want := "another instance of driver \"gpu.example.com\" has been starting"
	if _, err := s.lock(quietly(t.Context())); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
	_ = other.Close()
	unlock, err := s.lock(quietly(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	unlock()
}

// TestFault21ADirectoryThatIsRemovedAtThisMomentIsNotMounted: looking at it finds it without a name, but not again.
func TestFault21ADirectoryThatIsRemovedAtThisMomentIsNotMounted(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cdi")
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for range 4000 {
			_ = os.Mkdir(dir, 0o750)
			_ = os.Remove(dir)
		}
	}()
	for {
		if err := removedBehindMount(dir); err != nil {
			t.Fatal(err)
		}
		select {
		case <-ended:
			return
		default:
		}
	}
}
