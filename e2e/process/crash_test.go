package process

import (
	"slices"
	"strings"
	"testing"

	"example.com/dragoman/pkg/sanity/kubelet"
)

func TestFault01KilledDriverForgetsNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	d := r.startReady()
	held := r.claim("held", r.devices("gpu-0"))
	first := prepare(t, d, held)

	d = d.restartKilled()
	r.mustResolve(first)
	rival := r.claim("rival", r.devices("gpu-0"))
	if text := refused(t, d, rival); !strings.Contains(text, held.Namespace+"/"+held.Name) {
		t.Errorf("the refusal does not name the holder: %s", text)
	}
	if again := prepare(t, d, held); !slices.Equal(first.IDs(), again.IDs()) {
		t.Errorf("after the restart the driver answers %v, and %v before", again.IDs(), first.IDs())
	}

	d = d.restartKilled()
	unprepare(t, d, held)
	r.nothingLeft(held.UID)
	prepare(t, d, rival)
}

func TestFault01KilledWhileItPrepares(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	d := r.startReady()
	var claims []kubelet.Claim
	for _, device := range []string{"gpu-0", "gpu-1", "gpu-2", "gpu-3"} {
		claims = append(claims, r.claim("storm", r.devices(device)))
	}
	// Where the kill falls is chance; what must hold afterwards is the same wherever it does.
	for range 3 {
		calls := make(chan error, len(claims))
		plugin := d.plugin
		for _, claim := range claims {
			go func() {
				_, err := plugin.PrepareOne(t.Context(), claim)
				calls <- err // most of them fail
			}()
		}
		<-calls //nolint:errcheck // whether this one was in time is of no interest
		d = d.restartKilled()
		for range claims[1:] {
			<-calls //nolint:errcheck // neither is this
		}
		for _, claim := range claims {
			r.mustResolve(prepare(t, d, claim))
		}
		for _, claim := range claims {
			unprepare(t, d, claim)
			r.nothingLeft(claim.UID)
		}
	}
}

// A rolling update runs two pods of the driver side by side, each with sockets of its own, on the same records.
func TestFault19TwoInstancesTakeTurns(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	older := r.startReady("podUID", olderPod)
	held := r.claim("held", r.devices("gpu-0"))
	kept := r.claim("kept", r.devices("gpu-1"))
	prepare(t, older, held)
	first := prepare(t, older, kept)

	old := r.http
	newer := older.startNewer(newerPod)
	rival := r.claim("rival", r.devices("gpu-0"))
	if text := refused(t, newer, rival); !strings.Contains(text, held.Name) {
		t.Errorf("the newer instance does not know who has the device: %s", text)
	}
	unprepare(t, newer, held)
	prepare(t, older, rival) // a call that was under way while the kubelet changed over
	if again := prepare(t, newer, kept); !slices.Equal(first.IDs(), again.IDs()) {
		t.Errorf("the newer instance answers %v, the older one %v", again.IDs(), first.IDs())
	}
	if err := probe(t.Context(), old, "/readyz"); err != nil {
		t.Errorf("the older instance while the newer one starts: %v", err)
	}

	if code := older.stop(); code != 0 {
		t.Errorf("the older instance ended with exit code %d", code)
	}
	unprepare(t, newer, rival)
	unprepare(t, newer, kept)
	r.nothingLeft(kept.UID)
	if code := newer.stop(); code != 0 {
		t.Errorf("the newer instance ended with exit code %d", code)
	}
	if left := socketsBelow(t, r.path("kubelet")); len(left) > 0 {
		t.Errorf("sockets are left: %v", left)
	}
}
