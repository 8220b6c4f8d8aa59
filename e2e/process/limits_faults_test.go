package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"example.com/dragoman/pkg/sanity/kubelet"
)

// files returns how many files the process has open.
func (d *driver) files() int {
	d.t.Helper()
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", d.command.Process.Pid))
	if err != nil {
		d.t.Fatal(err)
	}
	return len(open)
}

// allow changes how many files the process may have open, and returns how many it was.
func (d *driver) allow(files uint64) (before uint64) {
	d.t.Helper()
	var old unix.Rlimit
	pid := d.command.Process.Pid
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &old); err != nil {
		d.t.Fatalf("ask for the limit of open files: %v", err)
	}
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: files, Max: old.Max}, nil); err != nil {
		d.t.Fatalf("change the limit of open files: %v", err)
	}
	return old.Cur
}

func TestFault26NoMoreFilesCanBeOpened(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	d := r.startReady()
	held := r.claim("held", r.devices("gpu-7"))
	first := prepare(t, d, held)
	var claims []kubelet.Claim
	for i := range 6 {
		claims = append(claims, r.claim("storm", r.devices(fmt.Sprintf("gpu-%d", i))))
	}

	before := d.allow(3) // what is open stays so
	for _, claim := range claims {
		_, err := d.plugin.PrepareOne(t.Context(), claim)
		if err == nil {
			t.Fatalf("%s was prepared without opening a file", claim.Name)
		}
		expectSentence(t, err.Error(), []string{"too many open files"})
	}
	if err := d.plugin.UnprepareOne(t.Context(), held); err == nil {
		r.nothingLeft(held.UID)
	} else {
		r.mustResolve(first)
	}
	for range 3 { // whoever connects now is not served
		if conn, err := os.Open(r.cdi()); err == nil {
			_ = conn.Close()
		}
		_ = serves(r.socket())
	}
	d.allow(before)
	answer, err := d.plugin.Prepare(t.Context(), claims...)
	if err != nil {
		t.Fatal(err)
	}
	for _, claim := range claims {
		if answer[claim.UID].Err != nil {
			t.Errorf("prepare %s: %v", claim.Name, answer[claim.UID].Err)
		}
		r.mustResolve(answer[claim.UID])
		unprepare(t, d, claim)
		r.nothingLeft(claim.UID)
	}
	unprepare(t, d, held)
	r.nothingLeft(held.UID)
	r.nothingTemporary()
	r.until("it is alive and ready", func(ctx context.Context) error {
		return errors.Join(probe(ctx, r.http, "/healthz"), probe(ctx, r.http, "/readyz"))
	})
}

// A node may have no inotify instance left: other programs take them all. In a user namespace of its own the driver may
// have none, and nobody else notices.
func TestFault26NoInotify(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.wrapper = []string{"unshare", "--user", "--map-root-user", "sh", "-c",
		`echo 0 > /proc/sys/user/max_inotify_instances && exec "$0" "$@"`}
	machine := profile(4)
	file := r.writeYAML("profile.yaml", machine)
	d := r.startReady("mockProfile", file)
	r.published(4)
	change := machine.change(2)
	r.writeYAML("profile.yaml", machine)

	claim := r.claim("claim", r.devices("gpu-0"))
	first := prepare(t, d, claim)
	if err := os.RemoveAll(r.cdi()); err != nil {
		t.Fatal(err)
	}
	r.until("the CDI file is there again", func(context.Context) error { _, err := r.container(first); return err })
	unprepare(t, d, claim)
	r.nothingLeft(claim.UID)
	expectSentence(t, d.output.String(), []string{"changes are seen later than usual", "too many open files"})
	// It looks once a minute.
	r.within(2*patience, "the change is seen", func(context.Context) error { return change.in(r.published(4)) })
}

func TestFault26NothingGrows(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	d := r.startReady()
	claims := []kubelet.Claim{
		r.claim("one", r.devices("gpu-0", "gpu-1")), r.claim("other", r.devices("gpu-2")), r.claim("admin", r.admin("gpu-0")),
	}
	cycles := func(n int) {
		for range n {
			for _, claim := range claims {
				prepare(t, d, claim)
			}
			for _, claim := range claims {
				unprepare(t, d, claim)
			}
		}
	}
	figure := func(name string) int {
		all, err := r.metrics(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		n, err := strconv.ParseFloat(all[name], 64)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return int(n)
	}
	cycles(20)
	files, goroutines := d.files(), figure("go_goroutines")
	cycles(200)
	// What is open for a moment may be seen; what is not closed would be seen two hundred times.
	const slack = 10
	if now := d.files(); now > files+slack {
		t.Errorf("%d files are open after 200 cycles, %d were before", now, files)
	}
	if now := figure("go_goroutines"); now > goroutines+slack {
		t.Errorf("there are %d goroutines after 200 cycles, %d were before", now, goroutines)
	}
	if left := r.filesOf(r.path("state", driverName, "locks"), ""); len(left) > 0 {
		t.Errorf("locks are left: %v", left)
	}
	r.nothingTemporary()
}

// throttle lets the process run for 5 of each 100 ms, as a limit of 50m does. It returns what ends that.
func (d *driver) throttle() (end func()) {
	stop := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		for {
			for _, part := range []struct {
				signal syscall.Signal
				length time.Duration
			}{{syscall.SIGSTOP, 95 * time.Millisecond}, {syscall.SIGCONT, 5 * time.Millisecond}} {
				_ = d.command.Process.Signal(part.signal) // it may have ended
				select {
				case <-stop:
					_ = d.command.Process.Signal(syscall.SIGCONT)
					return
				case <-time.After(part.length):
				}
			}
		}
	})
	end = sync.OnceFunc(func() { close(stop); running.Wait() })
	d.t.Cleanup(end)
	return end
}

func TestFault27LittleCPU(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	d := r.start()
	defer d.throttle()()
	d.waitReady()
	var claims []kubelet.Claim
	for i := range 8 {
		claims = append(claims, r.claim("storm", r.devices(fmt.Sprintf("gpu-%d", i))))
	}
	start := time.Now()
	answers := make([]chan kubelet.Prepared, len(claims))
	for i, claim := range claims { // as eight pods that start at once
		answers[i] = d.preparing(t.Context(), claim)
	}
	for i, claim := range claims {
		answer := <-answers[i]
		if answer.Err != nil {
			t.Errorf("prepare %s: %v", claim.Name, answer.Err)
			continue
		}
		r.mustResolve(answer)
	}
	t.Logf("eight pods' claims were prepared in %v", time.Since(start))
	if err := probe(t.Context(), r.http, "/healthz"); err != nil {
		t.Errorf("the kubelet would kill the driver, which makes it worse: %v", err)
	}
	for _, claim := range claims {
		unprepare(t, d, claim)
		r.nothingLeft(claim.UID)
	}
}

// What the kernel does when memory runs out is kill -9, and it does it again when the driver comes back to the same.
func TestFault27KilledForMemoryAgainAndAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	d := r.startReady()
	held, next := r.claim("held", r.devices("gpu-0")), r.claim("next", r.devices("gpu-1", "gpu-2", "gpu-3"))
	first := prepare(t, d, held)
	for range 4 {
		done := d.preparing(t.Context(), next)
		d.kill() // wherever that is
		<-done
		r.watch()
		d = r.start()
		d.waitRegistered()
		if again := prepare(t, d, held); !slices.Equal(first.IDs(), again.IDs()) {
			t.Errorf("the driver answers %v, and %v before", again.IDs(), first.IDs())
		}
		r.mustResolve(first)
	}
	r.mustResolve(prepare(t, d, next))
	r.nothingTemporary()
	unprepare(t, d, next)
	unprepare(t, d, held)
	r.nothingLeft(held.UID)
	if strings.Contains(d.output.String(), "panic") {
		t.Error("there was a panic")
	}
}
