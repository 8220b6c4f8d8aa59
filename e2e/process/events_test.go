package process

import (
	"context"
	"errors"
	"os"
	"testing"

	eventsapi "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// eventsOf returns what the API server has about a claim.
func (r *rig) eventsOf(uid types.UID) []eventsapi.Event {
	r.t.Helper()
	all, err := r.server.client.EventsV1().Events(r.server.namespace).List(r.t.Context(), metav1.ListOptions{
		FieldSelector: "regarding.uid=" + string(uid),
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return all.Items
}

func (r *rig) untilEvent(uid types.UID) {
	r.t.Helper()
	r.until("claim "+string(uid)+" has an event", func(context.Context) error {
		if len(r.eventsOf(uid)) == 0 {
			return errors.New("it has none")
		}
		return nil
	})
}

// TestAClaimThatIsRefusedHasOneEvent however often the kubelet asks, also after a restart of the driver.
func TestAClaimThatIsRefusedHasOneEvent(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	d := r.startReady()
	owner, second := r.claim("owner", r.devices("gpu-3")), r.claim("second", r.devices("gpu-3"))
	prepare(t, d, owner)
	text := refused(t, d, second)
	refused(t, d, second)
	r.untilEvent(second.UID)
	d.stop()
	d = r.startReady()
	refused(t, d, second)

	// Events are made one after the other: when there is one of this claim, that of the other was tried.
	broken := r.claim("broken", r.devices("gpu-4"))
	prepare(t, d, broken)
	if err := os.WriteFile(r.record(broken.UID), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	prepare(t, d, broken)
	r.untilEvent(broken.UID)
	events := r.eventsOf(second.UID)
	if len(events) != 1 || events[0].Note != text || events[0].Reason != "DeviceHeld" {
		t.Errorf("events: %+v\nwant one with %s", events, text)
	}
	if events := r.eventsOf(owner.UID); len(events) != 0 {
		t.Errorf("the owner has events: %+v", events)
	}
}
