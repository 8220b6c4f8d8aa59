//go:build cgo

package nvml

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/dgxh100"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/server"

	"example.com/dragoman/pkg/device"
)

// watched is a node somebody watches: each time it changes it is looked at.
type watched struct {
	*node
	changes int
	last    device.Snapshot
	err     error
}

// watch runs a story in a bubble, in which time passes when everybody waits.
func watch(
	t *testing.T, s *server.Server, at func(*testing.T, *server.Server) *node, story func(*testing.T, *watched),
) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &watched{node: at(t, s)}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			ended <- w.Watch(ctx, func() {
				snapshot, err := w.Devices(ctx)
				w.node.mu.Lock()
				defer w.node.mu.Unlock()
				w.changes, w.last, w.err = w.changes+1, snapshot, err
			})
		}()
		synctest.Wait()
		story(t, w)
		stop()
		begin := time.Now()
		if err := <-ended; err != nil {
			t.Errorf("watch: %v", err)
		}
		if took := time.Since(begin); took > 2*waitForEvents {
			t.Errorf("watching ended after %s", took)
		}
		synctest.Wait()
		w.library.mu.Lock()
		defer w.library.mu.Unlock()
		if w.library.made != w.library.freed {
			t.Errorf("%d event sets were made, %d freed", w.library.made, w.library.freed)
		}
	})
}

func whole8(t *testing.T, s *server.Server) *node { t.Helper(); return newNode(t, s) }

// pass lets time pass, and what happens meanwhile happen.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// seen returns how often it changed, and what was seen last.
func (w *watched) seen() (int, device.Snapshot, error) {
	w.node.mu.Lock()
	defer w.node.mu.Unlock()
	return w.changes, w.last, w.err
}

// sick returns the reasons of the unhealthy devices by their number.
func (w *watched) sick() map[int]string {
	w.node.mu.Lock()
	defer w.node.mu.Unlock()
	reasons := map[int]string{}
	for i, d := range w.last.Devices {
		if d.Health.Unhealthy {
			reasons[i] = d.Health.Reason
		}
	}
	return reasons
}

func TestWatchingAHealthyNodeIsQuiet(t *testing.T) {
	watch(t, dgxh100.New(), whole8, func(t *testing.T, w *watched) {
		pass(time.Hour)
		if changes, _, _ := w.seen(); changes != 1 {
			t.Errorf("%d changes in an hour in which nothing happened", changes)
		}
		masks := w.library.masks()
		if len(masks) != 8 {
			t.Errorf("%d GPUs are registered", len(masks))
		}
		for uuid, mask := range masks {
			if mask&nvml.EventTypeSingleBitEccError != 0 || mask&nvml.EventTypeXidCriticalError == 0 {
				t.Errorf("%s: registered for %b", uuid, mask)
			}
		}
	})
}

func TestAnXIDIsNoticedAtOnceAndForgottenLater(t *testing.T) {
	watch(t, dgxh100.New(), whole8, func(t *testing.T, w *watched) {
		w.library.events <- w.library.xid(3, 63)
		synctest.Wait()
		if sick := w.sick(); len(sick) != 1 || !strings.Contains(sick[3], "XID 63") {
			t.Errorf("sick: %v", sick)
		}
		pass(calm + 2*pollInterval)
		if sick := w.sick(); len(sick) > 0 {
			t.Errorf("still sick: %v", sick)
		}
		if changes, _, _ := w.seen(); changes != 3 {
			t.Errorf("%d changes, want the first look, the error and the recovery", changes)
		}
	})
}

func TestWhatProgramsDoIsNotTheGPUsFault(t *testing.T) {
	watch(t, dgxh100.New(), func(t *testing.T, s *server.Server) *node {
		t.Helper()
		return newNode(t, s, func(o *Options) { o.IgnoredXIDs = []uint64{79} })
	}, func(t *testing.T, w *watched) {
		for _, number := range []uint64{13, 31, 43, 45, 68, 109, 79} {
			w.library.events <- w.library.xid(3, number)
			synctest.Wait()
		}
		if changes, _, _ := w.seen(); len(w.sick()) > 0 || changes != 1 {
			t.Errorf("sick: %v, %d changes", w.sick(), changes)
		}
	})
}

func TestAFatalErrorIsNotHiddenByTheCleanUpThatFollows(t *testing.T) {
	watch(t, dgxh100.New(), whole8, func(t *testing.T, w *watched) {
		w.library.events <- w.library.xid(3, 79)
		w.library.events <- w.library.xid(3, 45)
		synctest.Wait()
		if sick := w.sick(); !strings.Contains(sick[3], "XID 79") {
			t.Errorf("sick: %v", sick)
		}
	})
}

func TestAMemoryErrorIsNoticed(t *testing.T) {
	watch(t, dgxh100.New(), whole8, func(t *testing.T, w *watched) {
		event := w.library.xid(2, 0)
		event.EventType, event.GpuInstanceId = nvml.EventTypeDoubleBitEccError, 0 // not cut: the instance means nothing
		w.library.events <- event
		synctest.Wait()
		if sick := w.sick(); !strings.Contains(sick[2], "double-bit ECC") {
			t.Errorf("sick: %v", sick)
		}
		g := w.at(2)
		g.mu.Lock()
		defer g.mu.Unlock()
		if marks := g.trouble.marks; len(marks) != 1 || marks[0].instance != allInstances {
			t.Errorf("marks: %+v, want one of the whole GPU", marks)
		}
	})
}

func TestALostGPUIsFoundAmongTheOthers(t *testing.T) {
	watch(t, dgxh100.New(), whole8, func(t *testing.T, w *watched) {
		w.library.fail("5.GetMemoryInfo", nvml.ERROR_GPU_IS_LOST)
		w.library.fail("5.GetUUID", nvml.ERROR_GPU_IS_LOST)
		w.library.setWait(nvml.ERROR_GPU_IS_LOST)
		pass(pollInterval)
		if sick := w.sick(); len(sick) != 1 || !strings.Contains(sick[5], "GPU_IS_LOST") {
			t.Errorf("sick: %v", sick)
		}
		w.library.total()
		pass(time.Minute)
		if looks := w.library.total()["DeviceGetCount"]; looks > 30 {
			t.Errorf("%d looks in a minute, because waiting for events ends at once", looks)
		}
		w.library.setWait(nvml.SUCCESS)
		w.library.fail("5.GetMemoryInfo", nvml.SUCCESS)
		w.library.fail("5.GetUUID", nvml.SUCCESS)
		pass(2 * pollInterval)
		if sick := w.sick(); len(sick) > 0 {
			t.Errorf("still sick: %v", sick)
		}
	})
}

func isCannotLook(err error) bool {
	_, ok := errors.AsType[*CannotLookError](err)
	return ok
}

// masks returns the events that were asked for, by UUID.
func (l *library) masks() map[string]uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.registered)
}

func (l *library) setWait(code nvml.Return) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wait = code
}

func TestAnEventOfNobodyIsNoCrash(t *testing.T) {
	watch(t, dgxh100.New(), whole8, func(t *testing.T, w *watched) {
		stranger := &mock.Device{GetUUIDFunc: func() (string, nvml.Return) { return "GPU-stranger", nvml.SUCCESS }}
		mute := &mock.Device{GetUUIDFunc: func() (string, nvml.Return) { return "", nvml.ERROR_GPU_IS_LOST }}
		for _, of := range []nvml.Device{stranger, mute, nil} {
			event := w.library.xid(0, 79)
			event.Device = of
			w.library.events <- event
			synctest.Wait()
		}
		if len(w.sick()) > 0 {
			t.Errorf("sick: %v", w.sick())
		}
	})
}

func TestWatchingFindsTheDriverThatAppears(t *testing.T) {
	s := dgxh100.New()
	watch(t, s, bare, func(t *testing.T, w *watched) {
		if _, _, err := w.seen(); !isCannotLook(err) {
			t.Fatalf("error %v", err)
		}
		pass(time.Hour)
		if changes, _, _ := w.seen(); changes != 1 {
			t.Errorf("%d changes while there is no driver", changes)
		}
		install(t, w.options.DriverRoot, s.DriverVersion)
		pass(pollInterval)
		if _, snapshot, err := w.seen(); err != nil || len(snapshot.Devices) != 8 {
			t.Errorf("%d devices, error %v", len(snapshot.Devices), err)
		}
		pass(2 * waitForEvents)
		if masks := w.library.masks(); len(masks) != 8 {
			t.Errorf("%d GPUs are registered", len(masks))
		}
	})
}

func TestWatchingGoesOnInTheNextSession(t *testing.T) {
	watch(t, dgxh100.New(), whole8, func(t *testing.T, w *watched) {
		w.library.events <- w.library.xid(3, 79)
		synctest.Wait()
		w.library.once("DeviceGetCount", nvml.ERROR_DRIVER_NOT_LOADED)
		pass(pollInterval + 2*waitForEvents)
		if sick := w.sick(); len(sick) > 0 {
			t.Errorf("sick after the driver was loaded again, which resets GPUs: %v", sick)
		}
		w.library.events <- w.library.xid(4, 79)
		synctest.Wait()
		if sick := w.sick(); len(sick) != 1 || !strings.Contains(sick[4], "XID 79") {
			t.Errorf("sick: %v", sick)
		}
	})
}

func TestWithoutEventsGPUsAreLookedAtNevertheless(t *testing.T) {
	for name, call := range map[string]string{
		"no event set": "EventSetCreate", "no events": "3.GetSupportedEventTypes", "no registration": "3.RegisterEvents",
	} {
		t.Run(name, func(t *testing.T) {
			watch(t, dgxh100.New(), func(t *testing.T, s *server.Server) *node {
				t.Helper()
				n := newNode(t, s)
				n.library.fail(call, nvml.ERROR_NOT_SUPPORTED)
				return n
			}, func(t *testing.T, w *watched) {
				pass(time.Minute)
				if len(w.warned()) != 1 || len(w.sick()) > 0 {
					t.Errorf("warnings %v, sick %v", w.warned(), w.sick())
				}
				w.library.fail("3.GetMemoryInfo", nvml.ERROR_GPU_IS_LOST)
				pass(pollInterval)
				if sick := w.sick(); len(sick) != 1 || sick[3] == "" {
					t.Errorf("sick: %v", sick)
				}
			})
		})
	}
}

func TestWatchingEndsWhileTheLibraryHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, dgxh100.New())
		goOn := n.library.hang("3.GetMemoryInfo")
		ctx, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		begin := time.Now()
		if err := n.Watch(ctx, func() {}); err != nil {
			t.Error(err)
		}
		if took := time.Since(begin); took > time.Second+2*waitForEvents {
			t.Errorf("ended after %s", took)
		}
		goOn()
	})
}

// TestAnErrorInAnInstance: the driver names the GPU instance of a GPU that is cut.
func TestAnErrorInAnInstance(t *testing.T) {
	n := newNode(t, dgxh100.New())
	n.look(t)
	three, four := uint32(3), uint32(4)
	g := n.at(0)
	g.plan = plan{offers: []offer{{part: &part{}, instance: &three}, {part: &part{}, instance: &four}, {}}}
	event := n.library.xid(0, 94)
	event.GpuInstanceId = three
	n.take(event)
	sick := func() (sick []bool) {
		for _, o := range g.offered().offers {
			sick = append(sick, o.device.Health.Unhealthy)
		}
		return sick
	}
	if got := sick(); !slices.Equal(got, []bool{true, false, true}) {
		t.Errorf("unhealthy: %v, want the instance and what holds all of the GPU", got)
	}
	g.forget(three)
	if got := sick(); !slices.Equal(got, []bool{false, false, false}) {
		t.Errorf("unhealthy: %v after the instance was destroyed", got)
	}
	n.take(n.library.xid(0, 79))
	if got := sick(); !slices.Equal(got, []bool{true, true, true}) {
		t.Errorf("unhealthy: %v, want all of a GPU that fell off the bus", got)
	}
}
