package driver

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/klog/v2"

	"example.com/dragoman/pkg/device"
)

// looks is what the driver of a node sees, one look after the other, and what becomes of that in events of the Node.
type looks struct {
	t      *testing.T
	ctx    context.Context
	client *fake.Clientset
	driver *Driver
	told   map[string]bool
}

// newLooks is a driver in the bubble of a test.
func newLooks(t *testing.T) *looks {
	ctx, cancel := context.WithCancel(quietly(t.Context()))
	t.Cleanup(cancel)
	l := &looks{t: t, ctx: ctx, client: fake.NewClientset(), told: map[string]bool{}}
	l.restart()
	return l
}

// restart replaces the driver by one that knows nothing.
func (l *looks) restart() {
	l.driver = New(Options{Events: l.client, DriverName: "gpu.example.com", NodeName: "node-a"})
	go l.driver.events.run(l.ctx) //nolint:errcheck // always nil
}

// see has the driver see devices, and compares the events that are new: "type reason: note".
func (l *looks) see(when string, devices []device.Device, want ...string) {
	l.t.Helper()
	l.driver.events.tellNode(l.ctx, l.driver.health.note(klog.Logger{}, devices))
	synctest.Wait()
	all, err := l.client.EventsV1().Events("default").List(l.ctx, metav1.ListOptions{})
	if err != nil {
		l.t.Fatal(err)
	}
	var got []string
	for _, e := range all.Items {
		if l.told[e.Name] {
			continue
		}
		l.told[e.Name] = true
		got = append(got, e.Type+" "+e.Reason+": "+e.Note)
		if r := e.Regarding; r.Kind != "Node" || r.Name != "node-a" || r.UID != "node-a" || r.APIVersion != "v1" ||
			e.ReportingController != "gpu.example.com" || e.ReportingInstance != "node-a" || e.EventTime.IsZero() {
			l.t.Errorf("%s: the event is %+v", when, e)
		}
	}
	slices.Sort(got) // their names have no order
	if diff := cmp.Diff(want, got); diff != "" {
		l.t.Errorf("%s (-want +got):\n%s", when, diff)
	}
	time.Sleep(time.Second)
}

func TestTheNodeHasEventsOfItsDevices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLooks(t)
		l.see("at first", saw("gpu-0", "gpu-1"))
		l.see("one falls ill", saw("gpu-0", "gpu-1 XID 79"), "Warning DeviceUnhealthy: device gpu-1 is unhealthy: XID 79")
		l.see("nothing changes", saw("gpu-0", "gpu-1 XID 79"))
		l.see("another reason", saw("gpu-0", "gpu-1 XID 48"))
		l.see("it recovers", saw("gpu-0", "gpu-1"), "Normal DeviceHealthy: device gpu-1 is healthy again; before: XID 48")
		l.see("it falls ill again", saw("gpu-0", "gpu-1 XID 79"),
			"Warning DeviceUnhealthy: device gpu-1 is unhealthy: XID 79")
		l.see("it is pulled out", saw("gpu-0"),
			"Warning DeviceGone: device gpu-1 is gone: the driver does not see it on the node any more")
		l.see("it is put back", saw("gpu-0", "gpu-1"), "Normal DeviceAdded: device gpu-1 is there now")
		l.see("two at once, for different reasons", saw("gpu-0 it is too hot", "gpu-1 XID 79"),
			"Warning DeviceUnhealthy: device gpu-0 is unhealthy: it is too hot",
			"Warning DeviceUnhealthy: device gpu-1 is unhealthy: XID 79")
		l.see("all are gone", nil,
			"Warning DeviceGone: devices gpu-0, gpu-1 are gone: the driver does not see them on the node any more")
	})
}

// TestWhatWasIllBeforeIsToldOnce, by the process that sees it first.
func TestWhatWasIllBeforeIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLooks(t)
		l.see("at first", saw("gpu-0", "gpu-1 XID 79"), "Warning DeviceUnhealthy: device gpu-1 is unhealthy: XID 79")
		l.restart()
		l.see("by the next process", saw("gpu-0", "gpu-1 XID 79"))
	})
}

func TestManyDevicesAreOneEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLooks(t)
		var well, ill []string
		for i := range 12 {
			well = append(well, fmt.Sprint("gpu-", i))
			ill = append(ill, fmt.Sprintf("gpu-%d no power", i))
		}
		l.see("at first", saw(well...))
		l.see("the power fails", saw(ill...), "Warning DeviceUnhealthy: devices gpu-0, gpu-1, gpu-2, gpu-3, gpu-4, gpu-5, "+
			"gpu-6, gpu-7, gpu-8, gpu-9 and 2 more are unhealthy: no power")
	})
}

// TestAnEventOfTheNodeIsWhatTheAPIAccepts, whatever the node is called and however long the reason is.
func TestAnEventOfTheNodeIsWhatTheAPIAccepts(t *testing.T) {
	for _, node := range []string{"n", strings.Repeat("n", 253), strings.Repeat("a.", 126) + "b"} {
		e := newEvents(Options{Events: fake.NewClientset(), DriverName: "gpu.example.com", NodeName: node})
		event := e.makeForNode(change{reason: reasonUnhealthy, because: strings.Repeat("ä", 1000)}, []string{"gpu-0"})
		if problems := validation.IsDNS1123Subdomain(event.Name); len(problems) != 0 {
			t.Errorf("name %s: %v", event.Name, problems)
		}
		if len(event.Note) > 1024 || len(event.ReportingInstance) > 128 {
			t.Errorf("the event is %+v", event)
		}
	}
}

func TestNobodyWantsEventsOfTheNode(t *testing.T) {
	d := New(Options{})
	d.events.tellNode(quietly(t.Context()), d.health.note(klog.Logger{}, saw("gpu-0 XID 79")))
	if n := len(d.events.queue); n > 0 {
		t.Errorf("%d events wait for nobody", n)
	}
}
