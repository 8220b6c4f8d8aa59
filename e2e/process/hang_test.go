package process

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"example.com/dragoman/pkg/sanity/kubelet"
)

// lockFile is what an instance of the driver locks while it works on a claim.
func (r *rig) lockFile(claim kubelet.Claim) string {
	return r.path("state", driverName, "locks", string(claim.UID))
}

// hold makes whoever wants to work on the claim wait, as another instance does that works on it. What the driver does
// before that, such as asking the API server, it does.
func (r *rig) hold(claim kubelet.Claim) (release func()) {
	r.t.Helper()
	file, err := os.OpenFile(r.lockFile(claim), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		r.t.Fatal(err)
	}
	release = sync.OnceFunc(func() { _ = file.Close() })
	r.t.Cleanup(release)
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX); err != nil {
		r.t.Fatalf("lock the claim: %v", err)
	}
	return release
}

// isAwaited returns nil if somebody waits for the lock of the claim.
func (r *rig) isAwaited(claim kubelet.Claim) error {
	info, err := os.Stat(r.lockFile(claim))
	if err != nil {
		return err
	}
	locks, err := os.Open("/proc/locks")
	if err != nil {
		return err
	}
	defer locks.Close() //nolint:errcheck // it is only read
	inode := fmt.Sprintf(":%d ", info.Sys().(*syscall.Stat_t).Ino)
	for lines := bufio.NewScanner(locks); lines.Scan(); {
		if strings.Contains(lines.Text(), "-> FLOCK") && strings.Contains(lines.Text(), inode) {
			return nil
		}
	}
	return fmt.Errorf("nobody waits for the lock of claim %s", claim.Name)
}
