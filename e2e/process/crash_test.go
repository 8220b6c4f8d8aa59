package process

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"example.com/dragoman/pkg/sanity/kubelet"
)

func TestKilledDriverForgetsNothing(t *testing.T) {
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

func TestKilledWhileItPrepares(t *testing.T) {
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

func TestLostCDIFilesComeBack(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	d := r.startReady()
	claim := r.claim("claim", r.devices("gpu-0", "gpu-1"))
	prepared := prepare(t, d, claim)
	before := r.mustResolve(prepared)

	if err := os.RemoveAll(r.cdi()); err != nil {
		t.Fatal(err)
	}
	again := prepare(t, d, claim)
	if !slices.Equal(prepared.IDs(), again.IDs()) {
		t.Errorf("the driver answers %v, and %v before", again.IDs(), prepared.IDs())
	}
	r.mustResolve(again)

	if err := os.RemoveAll(r.cdi()); err != nil {
		t.Fatal(err)
	}
	d = d.restartKilled()
	after := r.mustResolve(prepared) // without any call: a container may be restarted at any time
	if !slices.Equal(before.Process.Env, after.Process.Env) {
		t.Errorf("the CDI file came back with other contents:\n%v\n%v", before.Process.Env, after.Process.Env)
	}
	unprepare(t, d, claim)
	r.nothingLeft(claim.UID)
}

func TestOneSpoiledRecordIsOneClaimsProblem(t *testing.T) {
	t.Parallel()
	spoil := map[string]func(whole []byte) []byte{
		"one changed byte": func(whole []byte) []byte {
			whole[len(whole)-2] ^= 1
			return whole
		},
		"half of it":      func(whole []byte) []byte { return whole[:len(whole)/2] },
		"an empty file":   func([]byte) []byte { return nil },
		"something other": func([]byte) []byte { return []byte("<html>no record</html>\n") },
	}
	for name, change := range spoil {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			d := r.startReady()
			spoiled := r.claim("spoiled", r.devices("gpu-0"))
			whole := r.claim("whole", r.devices("gpu-1"))
			prepare(t, d, spoiled)
			first := prepare(t, d, whole)
			d.kill()
			content, err := os.ReadFile(r.record(spoiled.UID))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(r.record(spoiled.UID), change(content), 0o600); err != nil {
				t.Fatal(err)
			}

			d = d.restartKilled()
			if again := prepare(t, d, whole); !slices.Equal(first.IDs(), again.IDs()) {
				t.Errorf("the other claim's answer is %v, and was %v", again.IDs(), first.IDs())
			}
			rival := r.claim("rival", r.devices("gpu-0"))
			refused(t, d, rival)
			unprepare(t, d, spoiled)
			if _, err := os.Stat(r.record(spoiled.UID)); !os.IsNotExist(err) {
				t.Errorf("the record is still there: %v", err)
			}
			r.mustResolve(prepare(t, d, rival))
			unprepare(t, d, whole)
		})
	}
}

// A rolling update runs two pods of the driver side by side, each with sockets of its own, on the same records.
func TestTwoInstancesTakeTurns(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	older := r.startReady("podUID", "00000000-0000-4000-8000-000000000001")
	held := r.claim("held", r.devices("gpu-0"))
	kept := r.claim("kept", r.devices("gpu-1"))
	prepare(t, older, held)
	first := prepare(t, older, kept)

	old := r.http
	r.http = freeAddress(t)
	newer := r.start("podUID", "00000000-0000-4000-8000-000000000002")
	r.until("the kubelet uses the newer instance", func(ctx context.Context) (err error) {
		newer.plugin, err = r.kubelet.Registered(ctx, driverName)
		if err == nil && newer.plugin.Endpoint == older.plugin.Endpoint {
			err = errors.New("it uses the older one")
		}
		return err
	})
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

func TestManyCallsForOneClaimAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	d := r.startReady()
	claim := r.claim("claim", r.devices("gpu-0", "gpu-1"))
	const calls = 16
	answers := make(chan kubelet.Prepared, calls)
	for range calls {
		go func() {
			prepared, err := d.plugin.PrepareOne(t.Context(), claim)
			if err != nil {
				t.Errorf("prepare: %v", err)
			}
			answers <- prepared
		}()
	}
	first := <-answers
	for range calls - 1 {
		if next := <-answers; !slices.Equal(first.IDs(), next.IDs()) {
			t.Errorf("one call is answered %v, another one %v", first.IDs(), next.IDs())
		}
	}
	r.mustResolve(first)
	done := make(chan error, calls)
	for range calls {
		go func() { done <- d.plugin.UnprepareOne(t.Context(), claim) }()
	}
	for range calls {
		if err := <-done; err != nil {
			t.Errorf("unprepare: %v", err)
		}
	}
	r.nothingLeft(claim.UID)
}
