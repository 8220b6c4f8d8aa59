package inventory

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	resourceapi "k8s.io/api/resource/v1"

	"example.com/dragoman/pkg/device"
)

// condition of one device in words: "well", "ill: why".
func (r *record) health(name string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, d := range r.last.Devices {
		switch {
		case d.Name != name:
		case d.Health.Unhealthy:
			return "ill: " + d.Health.Reason
		default:
			return "well"
		}
	}
	return "gone"
}

// taints are the devices with a taint.
func (r *record) taints() (tainted []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, slice := range r.last.Slices {
		for _, d := range slice.Devices {
			if len(d.Taints) > 0 {
				tainted = append(tainted, d.Name)
			}
		}
	}
	return tainted
}

// patient is a machine whose devices fall ill and recover in the bubble of a test.
type patient struct {
	*watched
	*record
	t       *testing.T
	changed func()
}

func newPatient(t *testing.T, names ...string) *patient {
	w := newWatched()
	w.set(nil, names...)
	p := &patient{watched: w, t: t}
	p.record = run(t, w)
	p.changed = <-w.changed
	time.Sleep(pause)
	return p
}

// is makes a device ill for a reason, or well if there is none, and waits until that was looked at.
func (p *patient) is(name, reason string) {
	p.watched.mu.Lock()
	p.snapshot.Devices = slices.Clone(p.snapshot.Devices)
	for i := range p.snapshot.Devices {
		if p.snapshot.Devices[i].Name == name {
			p.snapshot.Devices[i].Health = device.Health{Unhealthy: reason != "", Reason: reason}
		}
	}
	p.watched.mu.Unlock()
	p.changed()
	time.Sleep(pause)
	synctest.Wait()
}

func (p *patient) expect(when, want string) {
	p.t.Helper()
	synctest.Wait()
	if got := p.health("gpu-0"); got != want {
		p.t.Errorf("%s: %q, want %q", when, got, want)
	}
}

const flapping = "ill: flapping: it fell ill 3 times within 1m0s, and counts as unhealthy until it was healthy for " +
	"1m0s; last: "

func TestADeviceThatFallsIllAgainAndAgainStaysIll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPatient(t, "gpu-0", "gpu-1")
		p.expect("at first", "well")
		p.is("gpu-0", "it is too hot")
		p.expect("when it falls ill", "ill: it is too hot")
		p.is("gpu-0", "")
		p.expect("when it recovers", "well")
		p.is("gpu-0", "it is too hot")
		p.is("gpu-0", "")
		p.expect("when it recovers again", "well")
		p.is("gpu-0", "a fan stands still")
		p.expect("when it falls ill for the third time", flapping+"a fan stands still")
		p.is("gpu-0", "")
		p.expect("when it recovers from that", flapping+"a fan stands still")
		if got := p.taints(); !slices.Equal(got, []string{"gpu-0"}) {
			t.Errorf("tainted: %v", got)
		}

		time.Sleep(calm / 2)
		p.is("gpu-0", "it is too hot")
		p.expect("when it falls ill in its calm", flapping+"a fan stands still")
		p.is("gpu-0", "")
		time.Sleep(calm - 4*pause)
		p.is("gpu-1", "") // a look in between does not put it off
		p.expect("before it was well for long enough", flapping+"a fan stands still")
		time.Sleep(4 * pause)
		p.expect("when it was well for long enough", "well")
		if got := p.taints(); got != nil {
			t.Errorf("tainted: %v", got)
		}
		if got := p.health("gpu-1"); got != "well" {
			t.Errorf("the other device: %s", got)
		}

		p.is("gpu-0", "it is too hot")
		p.is("gpu-0", "")
		p.expect("when it falls ill much later, and recovers", "well")
	})
}

func TestADeviceThatStaysIllIsSaidToBeWhatItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPatient(t, "gpu-0")
		for _, reason := range []string{"it is too hot", "", "it is too hot", "", "it is too hot", "", "it burns"} {
			p.is("gpu-0", reason)
		}
		p.expect("while it flaps", flapping+"it is too hot")
		time.Sleep(calm + pause)
		p.expect("when it was ill for long", "ill: it burns")
		p.is("gpu-0", "")
		p.expect("when it recovers then", "well")
	})
}

func TestADeviceThatFallsIllNowAndThenIsBelieved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPatient(t, "gpu-0")
		for range 10 {
			p.is("gpu-0", "it is too hot")
			p.expect("when it falls ill", "ill: it is too hot")
			p.is("gpu-0", "")
			p.expect("when it recovers", "well")
			time.Sleep(fallsWithin / 2)
		}
	})
}

// TestFlappingCostsFewWrites: however fast it is and however many reasons it has.
func TestFlappingCostsFewWrites(t *testing.T) {
	for _, every := range []time.Duration{
		100 * time.Millisecond, time.Second, 1500 * time.Millisecond, 5 * time.Second, 14 * time.Second,
	} {
		t.Run(every.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPatient(t, "gpu-0")
				p.record.updates = nil
				const minutes = 10
				for i, began := 0, time.Now(); time.Since(began) < minutes*time.Minute; i++ {
					p.watched.mu.Lock()
					p.snapshot = device.Snapshot{Devices: []device.Device{{Device: resourceapi.Device{Name: "gpu-0"}}}}
					if i%2 == 0 {
						p.snapshot.Devices[0].Health = device.Health{Unhealthy: true, Reason: fmt.Sprint("reason ", i)}
					}
					p.watched.mu.Unlock()
					p.changed()
					time.Sleep(every)
				}
				synctest.Wait()
				// Ill, well, ill, well, flapping; and what is looked at now and then may seem to be steady for a minute.
				if n := len(p.record.updates); n > 10 {
					t.Errorf("%d changes in %d minutes", n, minutes)
				}
				if got := p.health("gpu-0"); every >= 2*pause && !strings.HasPrefix(got, flapping) {
					t.Errorf("at the end it is %q", got)
				}
			})
		})
	}
}

func TestADeviceThatIsPluggedInAgainIsNotBelievedMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPatient(t, "gpu-0")
		for range 3 {
			p.is("gpu-0", "it is too hot")
			p.is("gpu-0", "")
		}
		p.expect("while it flaps", flapping+"it is too hot")
		p.set(nil)
		p.changed()
		time.Sleep(10 * time.Second)
		p.expect("while it is away", "gone")
		p.set(nil, "gpu-0")
		p.changed()
		time.Sleep(10 * time.Second)
		p.expect("when it is back soon", flapping+"it is too hot")
		p.set(nil)
		p.changed()
		time.Sleep(2 * calm)
		p.set(nil, "gpu-0")
		p.changed()
		time.Sleep(pause)
		p.expect("when it is back after long", "well")
	})
}

// TestDampingForgets: what is remembered does not grow with what was ill once.
func TestDampingForgets(t *testing.T) {
	d, now := newDamping(), time.Now()
	for i := range 1000 {
		name := fmt.Sprint("gpu-", i)
		for _, ill := range []bool{true, false, true, false, true} {
			d.damp(now, []device.Device{{Device: resourceapi.Device{Name: name},
				Health: device.Health{Unhealthy: ill, Reason: "because"}}})
			now = now.Add(time.Second)
		}
	}
	if n := len(d.devices); n > 20 {
		t.Errorf("%d devices are remembered", n)
	}
	if wait := d.due(now.Add(2*calm), relook); wait != relook {
		t.Errorf("looks again in %s", wait)
	}
}

// TestDampingChangesNothingOfWhatItIsGiven: snapshots are passed on without being copied.
func TestDampingChangesNothingOfWhatItIsGiven(t *testing.T) {
	d, now := newDamping(), time.Now()
	healthy := []device.Device{{Device: resourceapi.Device{Name: "gpu-0"}}}
	ill := []device.Device{{Device: resourceapi.Device{Name: "gpu-0"},
		Health: device.Health{Unhealthy: true, Reason: "it is too hot"}}}
	for range 3 {
		d.damp(now, ill)
		now = now.Add(time.Second)
		d.damp(now, healthy)
	}
	if got := d.damp(now, healthy); !got[0].Health.Unhealthy || healthy[0].Health.Unhealthy {
		t.Errorf("given %v, offered %v", healthy[0].Health, got[0].Health)
	}
	if got := newDamping().damp(now, healthy); &got[0] != &healthy[0] {
		t.Error("healthy devices are copied")
	}
}
