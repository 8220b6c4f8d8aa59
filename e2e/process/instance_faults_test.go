package process

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"example.com/dragoman/pkg/sanity/kubelet"
	"example.com/dragoman/pkg/sanity/proxy"
)

const stopping = "Stopping, when no call is in progress any more"

func TestFault18StoppedWhileItPrepares(t *testing.T) {
	t.Parallel()
	t.Run("what can be finished is finished", func(t *testing.T) {
		t.Parallel()
		r := newRig(t)
		api := r.behindProxy()
		d := r.startReady()
		claim := r.claim("claim", r.devices("gpu-0"))
		api.set(proxy.Hang())
		done := d.preparing(t.Context(), claim)
		r.until("the prepare is in progress", func(ctx context.Context) error {
			return r.metric(ctx, "dragoman_calls_in_flight", "1")
		})
		d.signal(syscall.SIGTERM)
		r.until("the driver is to stop", d.says(stopping))
		api.set()
		answer := <-done
		if answer.Err != nil {
			t.Errorf("the call was cut, though it could be finished: %v", answer.Err)
		}
		if code := d.wait(); code != 0 {
			t.Errorf("exit code %d after SIGTERM, expected 0", code)
		}
		r.watch()
		d = r.startReady()
		if again := prepare(t, d, claim); !slices.Equal(answer.IDs(), again.IDs()) {
			t.Errorf("the next instance answers %v, and the one before %v", again.IDs(), answer.IDs())
		}
		r.mustResolve(answer)
		unprepare(t, d, claim)
		r.nothingLeft(claim.UID)
	})
	for name, inTheWay := range map[string]func(r *rig, api *proxied, claim kubelet.Claim) (away func()){
		"the API server stays away": func(_ *rig, api *proxied, _ kubelet.Claim) func() {
			api.set(proxy.Hang())
			return func() { api.set() }
		},
		"another instance works on the claim": func(r *rig, _ *proxied, claim kubelet.Claim) func() {
			return r.hold(claim)
		},
	} {
		t.Run("what hangs is left to the next instance: "+name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			api := r.behindProxy()
			d := r.startReady()
			claim, held := r.claim("claim", r.devices("gpu-0", "gpu-1")), r.claim("held", r.devices("gpu-2"))
			first := prepare(t, d, held)
			away := inTheWay(r, api, claim)
			done := d.preparing(t.Context(), claim)
			r.until("the prepare is in progress", func(ctx context.Context) error {
				return r.metric(ctx, "dragoman_calls_in_flight", "1")
			})
			start := time.Now()
			if code := d.stop(); code != 0 {
				t.Errorf("exit code %d after SIGTERM, expected 0", code)
			}
			// A pod has 30 s by default; then it is killed. That is a promise, not a measure of this machine.
			if took := time.Since(start); took > 25*time.Second {
				t.Errorf("it took %v to stop", took)
			}
			if answer := <-done; answer.Err == nil {
				t.Errorf("the call ended well: %v", answer.Devices)
			}
			away()
			r.watch()
			d = r.startReady()
			r.mustResolve(prepare(t, d, claim))
			r.mustResolve(first)
			r.nothingTemporary()
			unprepare(t, d, claim)
			r.nothingLeft(claim.UID)
		})
	}
}

// says waits for words in the driver's log.
func (d *driver) says(words string) func(context.Context) error {
	return func(context.Context) error {
		if !strings.Contains(d.output.String(), words) {
			return fmt.Errorf("the log does not say %q", words)
		}
		return nil
	}
}

const (
	olderPod  = "00000000-0000-4000-8000-000000000001"
	newerPod  = "00000000-0000-4000-8000-000000000002"
	newestPod = "00000000-0000-4000-8000-000000000003"
)

// startNewer starts another instance beside d, on an address of its own, and waits until the kubelet uses it.
func (d *driver) startNewer(podUID string) *driver {
	d.t.Helper()
	d.rig.http = freeAddress(d.t)
	newer := d.rig.start("podUID", podUID)
	d.until("the kubelet uses the newer instance", func(ctx context.Context) (err error) {
		newer.plugin, err = d.kubelet.Registered(ctx, driverName)
		if err == nil && newer.plugin.Endpoint == d.plugin.Endpoint {
			err = errors.New("it uses the older one")
		}
		return err
	})
	return newer
}

// stopHolding stops the process in the middle of preparing the claim, while it has the claim's lock.
func (d *driver) stopHolding(claim kubelet.Claim) {
	d.t.Helper()
	// When the process stops is chance; it mostly has the lock by the time that the lock's file is there.
	for range 200 {
		done := d.preparing(d.t.Context(), claim)
		for _, err := os.Lstat(d.lockFile(claim)); err != nil && len(done) == 0; _, err = os.Lstat(d.lockFile(claim)) {
			continue
		}
		d.pause()
		if d.isLocked(claim) {
			return
		}
		d.signal(syscall.SIGCONT)
		<-done
		unprepare(d.t, d, claim)
	}
	d.t.Fatal("the process never stopped while it had the lock")
}

func (r *rig) isLocked(claim kubelet.Claim) bool {
	file, err := os.Open(r.lockFile(claim))
	if err != nil {
		return false
	}
	defer file.Close() //nolint:errcheck // which gives the lock back
	return errors.Is(unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB), unix.EWOULDBLOCK)
}

func TestFault19OlderInstanceHangsWithTheLockOfAClaim(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	older := r.startReady("podUID", olderPod)
	// So many devices that there is time to be stopped in.
	held := r.claim("held", r.devices("gpu-0", "gpu-1", "gpu-2", "gpu-3", "gpu-4"))
	done, other := r.claim("done", r.devices("gpu-5")), r.claim("other", r.devices("gpu-6"))
	first := prepare(t, older, done)
	older.stopHolding(held)

	newer := older.startNewer(newerPod)
	ctx, cancel := context.WithTimeout(t.Context(), 6*time.Second) // a kubelet of less patience
	defer cancel()
	answers := map[string]chan error{}
	for name, call := range map[string]func() error{
		"prepare":   func() error { _, err := newer.plugin.PrepareOne(ctx, held); return err },
		"unprepare": func() error { return newer.plugin.UnprepareOne(ctx, held) },
	} {
		answer := make(chan error, 1)
		answers[name] = answer
		go func() {
			err := call()
			if ctx.Err() != nil {
				err = nil // too late to be heard
			}
			answer <- err
		}()
	}
	// Whatever the hung one does not hold goes on meanwhile.
	r.mustResolve(prepare(t, newer, other))
	if again := prepare(t, newer, done); !slices.Equal(first.IDs(), again.IDs()) {
		t.Errorf("the newer instance answers %v, the older one %v", again.IDs(), first.IDs())
	}
	unprepare(t, newer, other)
	for call, answer := range answers {
		err := <-answer
		if err == nil {
			t.Errorf("%s: there was no error in time", call)
			continue
		}
		expectSentence(t, err.Error(), []string{"lock", string(held.UID), "another"})
	}

	older.kill()
	r.mustResolve(prepare(t, newer, held))
	unprepare(t, newer, held)
	r.nothingLeft(held.UID)
	unprepare(t, newer, done)
	r.nothingTemporary()
}

// An instance that hangs for a while and goes on later finds that its work was done, or undone, by another one.
func TestFault19OlderInstanceGoesOn(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	older := r.startReady("podUID", olderPod)
	held := r.claim("held", r.devices("gpu-0", "gpu-1", "gpu-2", "gpu-3", "gpu-4"))
	older.stopHolding(held)
	newer := older.startNewer(newerPod)
	done := make(chan error, 1)
	go func() { done <- newer.plugin.UnprepareOne(t.Context(), held) }()
	r.until("the newer instance waits", func(context.Context) error { return r.isAwaited(held) })
	older.signal(syscall.SIGCONT)
	if err := <-done; err != nil {
		t.Errorf("unprepare: %v", err)
	}
	r.nothingLeft(held.UID)
	if code := older.stop(); code != 0 {
		t.Errorf("the older instance ended with exit code %d", code)
	}
	r.mustResolve(prepare(t, newer, held))
}

func TestFault20SocketsOfAKilledInstance(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	surge := r.startReady("podUID", olderPod)
	claim := r.claim("claim", r.devices("gpu-0"))
	first := prepare(t, surge, claim)
	alive := surge.startNewer(newerPod)
	// Sockets of others are none of this driver's business.
	others := []string{
		filepath.Join(r.registry(), "other.example.com-reg.sock"),
		filepath.Join(r.registry(), driverName+".other-reg.sock"),
	}
	for _, path := range others {
		listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		listener.SetUnlinkOnClose(false)
		if err := listener.Close(); err != nil {
			t.Fatal(err)
		}
	}
	surge.kill()
	if left := socketsBelow(t, r.path("kubelet")); len(left) != 4+len(others) {
		t.Fatalf("sockets are %v", left)
	}

	r.http = freeAddress(t)
	newest := r.start("podUID", newestPod)
	r.until("the sockets of the killed instance are gone", func(context.Context) error {
		for _, path := range socketsBelow(t, r.path("kubelet")) {
			if strings.Contains(path, olderPod) && !strings.Contains(path, "other") {
				return fmt.Errorf("%s is there", path)
			}
		}
		return nil
	})
	for _, path := range others {
		if _, err := os.Lstat(path); err != nil {
			t.Errorf("a socket of another driver was removed: %v", err)
		}
	}
	for _, plugin := range []*driver{alive, newest} { // that who lives is still served, and so is who is new
		r.until("it serves", func(context.Context) error {
			for _, path := range socketsBelow(t, r.path("kubelet")) {
				if strings.Contains(path, map[*driver]string{alive: newerPod, newest: newestPod}[plugin]) {
					return serves(r.path("kubelet", path))
				}
			}
			return errors.New("it has no socket")
		})
	}
	if again := prepare(t, alive, claim); !slices.Equal(first.IDs(), again.IDs()) {
		t.Errorf("the driver answers %v, and %v before", again.IDs(), first.IDs())
	}
	for _, d := range []*driver{alive, newest} {
		if code := d.stop(); code != 0 {
			t.Errorf("exit code %d after SIGTERM, expected 0", code)
		}
	}
	if left := socketsBelow(t, r.path("kubelet")); len(left) != len(others) {
		t.Errorf("sockets are left: %v", left)
	}
}

// A driver without a pod, such as one that systemd starts, finds its own.
func TestFault20OwnSocketsAfterAKill(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	d := r.startReady()
	claim := r.claim("claim", r.devices("gpu-0"))
	first := prepare(t, d, claim)
	for range 3 {
		d = d.restartKilled()
		if again := prepare(t, d, claim); !slices.Equal(first.IDs(), again.IDs()) {
			t.Errorf("the driver answers %v, and %v before", again.IDs(), first.IDs())
		}
	}
	if left := socketsBelow(t, r.path("kubelet")); len(left) != 2 {
		t.Errorf("sockets are %v", left)
	}
}
