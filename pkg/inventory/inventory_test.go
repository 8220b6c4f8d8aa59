package inventory

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	resourceapi "k8s.io/api/resource/v1"

	"example.com/dragoman/pkg/device"
)

// backend answers with what a test sets.
type backend struct {
	mu       sync.Mutex
	snapshot device.Snapshot
	err      error
	looks    int
}

func (b *backend) Devices(context.Context) (device.Snapshot, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.looks++
	return b.snapshot, b.err
}

func (b *backend) set(err error, names ...string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.snapshot, b.err = device.Snapshot{}, err
	for _, name := range names {
		b.snapshot.Devices = append(b.snapshot.Devices, device.Device{Device: resourceapi.Device{Name: name}})
	}
}

func (b *backend) reset() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := b.looks
	b.looks = 0
	return n
}

func (b *backend) Prepare(context.Context, device.Request) ([]device.Grant, error) { return nil, nil }
func (b *backend) Unprepare(context.Context, device.Grant) error                   { return nil }

// watched can tell of changes, too.
type watched struct {
	backend
	changed chan func() // the callback of each watch that was begun
	end     chan error  // what ends a watch
}

func (w *watched) Watch(ctx context.Context, changed func()) error {
	w.changed <- changed
	select {
	case err := <-w.end:
		return err
	case <-ctx.Done():
		return nil
	}
}

func newWatched() *watched { return &watched{changed: make(chan func(), 10), end: make(chan error)} }

// record runs an inventory in the bubble of a test and notes its updates.
type record struct {
	mu      sync.Mutex
	updates []string
	last    Update
}

func run(t *testing.T, b device.Backend) *record {
	t.Helper()
	i := New(Options{Backend: b, DriverName: "gpu.example.com", NodeName: "node-a"})
	i.Offer(everything)
	return runWith(t, i)
}

func runWith(t *testing.T, i *Inventory) *record {
	t.Helper()
	r := &record{}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- i.Run(ctx, r.changed) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	synctest.Wait()
	return r
}

func (r *record) changed(u Update) {
	r.mu.Lock()
	defer r.mu.Unlock()
	text := "unknown"
	if u.Slices != nil {
		text = fmt.Sprintf("%d slices:", len(u.Slices))
		for _, d := range u.Devices {
			text += " " + d.Name
		}
	}
	if u.Err != nil {
		text += "; " + u.Err.Error()
	}
	if u.WatchErr != nil {
		text += "; watch: " + u.WatchErr.Error()
	}
	r.updates = append(r.updates, text)
	r.last = u
}

// expect compares the updates since the last time.
func (r *record) expect(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	if diff := cmp.Diff(want, r.updates); diff != "" {
		t.Errorf("updates (-want +got):\n%s", diff)
	}
	r.updates = nil
}

func TestUpdatesComeOnlyWhenSomethingChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &backend{}
		b.set(nil, "gpu-10", "gpu-2")
		r := run(t, b)
		r.expect(t, "1 slices: gpu-2 gpu-10")

		b.set(nil, "gpu-2", "gpu-10")
		time.Sleep(5 * relook)
		r.expect(t)
		if n := b.reset(); n < 5 || n > 6 {
			t.Errorf("%d looks in five minutes", n)
		}

		b.set(nil)
		time.Sleep(relook)
		r.expect(t, "1 slices:")
	})
}

func TestHealthIsAChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &backend{}
		b.set(nil, "gpu-0")
		r := run(t, b)
		r.expect(t, "1 slices: gpu-0")
		b.mu.Lock()
		b.snapshot = device.Snapshot{Devices: []device.Device{{
			Device: resourceapi.Device{Name: "gpu-0"}, Health: device.Health{Unhealthy: true, Reason: "it is too hot"},
		}}}
		b.mu.Unlock()
		time.Sleep(relook)
		r.expect(t, "1 slices: gpu-0")
		if !r.last.Devices[0].Health.Unhealthy {
			t.Error("the health is not told")
		}
	})
}

func TestUnknownIsNotNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &backend{}
		b.set(errors.New("load NVML: no such file"))
		r := run(t, b)
		r.expect(t, "unknown; load NVML: no such file")
		began := time.Now()
		time.Sleep(10 * time.Minute)
		r.expect(t)
		if n := b.reset(); n < 20 || n > 26 {
			t.Errorf("%d looks in %s: want half a second doubling to 30 s", n, time.Since(began))
		}
		b.set(nil, "gpu-0")
		time.Sleep(maxRetry)
		r.expect(t, "1 slices: gpu-0")
	})
}

func TestAFailedLookKeepsWhatWasSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &backend{}
		b.set(nil, "gpu-0")
		r := run(t, b)
		r.expect(t, "1 slices: gpu-0")
		b.set(errors.New("the driver is being reloaded"))
		time.Sleep(relook)
		r.expect(t, "1 slices: gpu-0; the driver is being reloaded")
		b.set(nil, "gpu-0")
		time.Sleep(pause)
		r.expect(t, "1 slices: gpu-0")
		time.Sleep(relook / 2)
		b.reset()
		time.Sleep(relook)
		if n := b.reset(); n != 1 {
			t.Errorf("%d looks in a minute after it recovered", n)
		}
	})
}

func TestAChangeIsSeenAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched()
		w.set(nil, "gpu-0")
		r := run(t, w)
		r.expect(t, "1 slices: gpu-0")
		changed := <-w.changed
		time.Sleep(5 * time.Second)

		w.set(nil, "gpu-0", "gpu-1")
		changed()
		time.Sleep(settle)
		r.expect(t, "1 slices: gpu-0 gpu-1")
	})
}

func TestChangesWithoutEndAreLookedAtTwiceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched()
		r := run(t, w)
		r.expect(t, "1 slices:")
		changed := <-w.changed
		w.reset()
		for i := range 600 {
			w.set(nil, fmt.Sprintf("gpu-%d", i))
			for range 3 {
				changed()
			}
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(pause + settle)
		if n := w.reset(); n < 60 || n > 122 {
			t.Errorf("%d looks in a minute", n)
		}
		synctest.Wait()
		if last := r.last.Devices[0].Name; last != "gpu-599" {
			t.Errorf("the last change was missed: %s", last)
		}
	})
}

func TestABrokenWatchIsToldAndBegunAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched()
		r := run(t, w)
		r.expect(t, "1 slices:")
		<-w.changed
		w.end <- errors.New("open netlink socket: not permitted")
		r.expect(t, "1 slices:; watch: open netlink socket: not permitted")

		// It breaks again at once, which is no news.
		time.Sleep(relook)
		<-w.changed
		w.end <- errors.New("open netlink socket: not permitted")
		r.expect(t)

		// It holds, which is news after a while.
		time.Sleep(relook)
		changed := <-w.changed
		r.expect(t)
		time.Sleep(relook + time.Second)
		r.expect(t, "1 slices:")
		w.set(nil, "gpu-0")
		changed()
		time.Sleep(pause + settle)
		r.expect(t, "1 slices: gpu-0")

		// It ends without an error, though nobody asked it to.
		w.end <- nil
		r.expect(t, "1 slices: gpu-0; watch: the watch for changes of the devices ended by itself")
	})
}

func TestRunEndsWithItsContext(t *testing.T) {
	for _, b := range []device.Backend{&backend{}, newWatched(), &backend{err: errors.New("broken")}} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			called := false
			if err := New(Options{Backend: b}).Run(ctx, func(Update) { called = true }); err != nil || called {
				t.Errorf("error %v, update %v", err, called)
			}
		})
	}
}

// hanging is a backend that does not answer until it is let.
type hanging struct {
	backend
	answers chan struct{}
}

func (h *hanging) Devices(ctx context.Context) (device.Snapshot, error) {
	select {
	case <-h.answers:
	case <-ctx.Done():
	}
	return h.backend.Devices(ctx)
}

func TestCurrentSaysWhetherWhatWasSeenStillCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &hanging{answers: make(chan struct{})}
		i := New(Options{Backend: h, DriverName: "gpu.example.com", NodeName: "node-a"})
		expect := func(when, want string) {
			t.Helper()
			synctest.Wait()
			got := ""
			if _, err := i.Current(); err != nil {
				got = err.Error()
			}
			if got != want {
				t.Errorf("%s: %q, want %q", when, got, want)
			}
		}
		const notYet = "the backend has not been asked for its devices yet"
		const hangs = "the backend was asked for its devices more than 30s ago and has not answered"
		expect("before Run", notYet)
		runWith(t, i)
		expect("while it looks for the first time", notYet)
		time.Sleep(hang + time.Second)
		expect("when that does not come back", hangs)
		h.answers <- struct{}{}
		expect("when it has", "")
		began := time.Now()
		if seen, _ := i.Current(); !seen.Equal(began) {
			t.Errorf("seen at %s, want %s", seen, began)
		}
		time.Sleep(relook - time.Second)
		expect("until the next look", "")
		time.Sleep(time.Second + hang)
		expect("while the next look takes long", "")
		time.Sleep(time.Second)
		expect("when it takes too long", hangs)
		h.set(errors.New("the driver is being reloaded"))
		h.answers <- struct{}{}
		expect("when a look failed", "the driver is being reloaded")
		if seen, _ := i.Current(); !seen.Equal(began) {
			t.Errorf("seen at %s after a failed look, want %s", seen, began)
		}
		h.set(nil)
		h.answers <- struct{}{}
		expect("when it did not any more", "")
	})
}

func TestAReaderThatHangsMakesTheDevicesOutdated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := New(Options{Backend: &backend{}})
		ctx, cancel := context.WithCancel(t.Context())
		go func() { _ = i.Run(ctx, func(Update) { <-ctx.Done() }) }()
		time.Sleep(relook + hang)
		if _, err := i.Current(); err != nil {
			t.Errorf("too early: %v", err)
		}
		time.Sleep(time.Second)
		if _, err := i.Current(); err == nil {
			t.Error("nobody notices")
		}
		cancel()
		synctest.Wait()
	})
}

func TestAnErrorThatOnlyANewProcessOvercomesEndsTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newWatched()
		replaced := fmt.Errorf("the library was replaced: %w", device.ErrNeedsRestart)
		b.set(replaced)
		told := 0
		err := New(Options{Backend: b, DriverName: "gpu.example.com", NodeName: "node-a"}).Run(t.Context(), func(u Update) {
			if told++; !errors.Is(u.Err, device.ErrNeedsRestart) {
				t.Errorf("told of %v", u.Err)
			}
		})
		if !errors.Is(err, replaced) || told != 1 {
			t.Errorf("told %d times, ended with %v", told, err)
		}
	})
}
