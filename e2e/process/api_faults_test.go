package process

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"example.com/dragoman/pkg/sanity/kubelet"
	"example.com/dragoman/pkg/sanity/proxy"
)

// outage is a way in which an API server cannot be used.
type outage struct {
	faults []proxy.Fault
	// length is how long it lasts: a driver that gives up after the first error does so sooner, and one that waits for
	// an answer that does not come does so longer.
	length time.Duration
}

func outages() map[string]outage {
	short, long := 3*time.Second, 12*time.Second
	return map[string]outage{
		"it refuses connections":    {[]proxy.Fault{proxy.Refuse()}, short},
		"it hangs up":               {[]proxy.Fault{proxy.Reset()}, short},
		"it does not answer":        {[]proxy.Fault{proxy.Hang()}, long},
		"it is slow":                {[]proxy.Fault{proxy.Delay(2 * time.Second)}, short},
		"it has too many requests":  {[]proxy.Fault{proxy.Answer(http.StatusTooManyRequests)}, short},
		"it says when to ask again": {[]proxy.Fault{proxy.Answer(http.StatusTooManyRequests).RetryAfter(time.Second)}, short},
		"it has an internal error":  {[]proxy.Fault{proxy.Answer(http.StatusInternalServerError)}, short},
		"it is not available":       {[]proxy.Fault{proxy.Answer(http.StatusServiceUnavailable)}, short},
		"its certificate is over":   {[]proxy.Fault{proxy.Expire()}, short},
	}
}

func TestFault08APIServerInTroubleWhileAClaimIsPrepared(t *testing.T) {
	t.Parallel()
	for name, outage := range outages() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			api := r.behindProxy()
			machine := profile(4)
			file := r.writeYAML("profile.yaml", machine)
			d := r.startReady("mockProfile", file)
			early, late := r.claim("early", r.devices("gpu-0")), r.claim("late", r.devices("gpu-1"))
			prepare(t, d, early)

			api.set(outage.faults...)
			over := time.After(outage.length)
			done := d.preparing(t.Context(), late)
			// Meanwhile a pod ends, which needs nobody's help, and the devices change.
			unprepare(t, d, early)
			r.nothingLeft(early.UID)
			change := machine.change(2)
			r.writeYAML("profile.yaml", machine)
			select {
			case <-over:
			case answer := <-done:
				if name != "it is slow" {
					t.Fatalf("the driver answered without the API server: %v", answer.Err)
				}
				done <- answer
			}
			api.set()
			answer := <-done
			if answer.Err != nil {
				t.Fatalf("the claim was not prepared in the same call once the API server was back: %v", answer.Err)
			}
			r.mustResolve(answer)
			unprepare(t, d, late)
			r.until("the change is published", func(context.Context) error { return change.in(r.published(4)) })
			r.until("the driver is ready again", func(ctx context.Context) error { return probe(ctx, r.http, "/readyz") })
		})
	}
}

// preparing prepares a claim in the background.
func (d *driver) preparing(ctx context.Context, claim kubelet.Claim) chan kubelet.Prepared {
	done, plugin := make(chan kubelet.Prepared, 1), d.plugin
	go func() {
		answer, err := plugin.PrepareOne(ctx, claim)
		answer.Err = err
		done <- answer
	}()
	return done
}

// What the kubelet is told becomes an event of the pod, and repeats of one sentence are counted as one.
func TestFault08TroubleForTooLongIsOneStableSentence(t *testing.T) {
	t.Parallel()
	for name, outage := range outages() {
		if name == "it is slow" {
			outage.faults = []proxy.Fault{proxy.Delay(time.Minute)}
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			api := r.behindProxy()
			d := r.startReady()
			held, claim := r.claim("held", r.devices("gpu-1")), r.claim("claim", r.devices("gpu-0"))
			prepare(t, d, held)

			api.set(outage.faults...)
			var said [2]string
			for i := range said {
				ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second) // a kubelet of less patience
				answer := <-d.preparing(ctx, claim)
				if ctx.Err() != nil || answer.Err == nil {
					t.Fatalf("there was no error in time, but %v", answer.Err)
				}
				cancel()
				said[i] = answer.Err.Error()
			}
			if said[0] != said[1] {
				t.Errorf("the same trouble is told in two ways:\n%s\n%s", said[0], said[1])
			}
			expectSentence(t, said[0], []string{claim.Namespace + "/" + claim.Name, "API server"})
			unprepare(t, d, claim) // the pod was deleted instead
			unprepare(t, d, held)
			r.nothingLeft(held.UID)

			api.set()
			r.mustResolve(prepare(t, d, claim))
		})
	}
}

func (r *rig) deleteClaim(claim kubelet.Claim) {
	r.t.Helper()
	claims := r.server.client.ResourceV1().ResourceClaims(claim.Namespace)
	if err := claims.Delete(r.t.Context(), claim.Name, metav1.DeleteOptions{}); err != nil {
		r.t.Fatalf("delete claim %s: %v", claim.Name, err)
	}
}

func TestFault09ClaimDeletedWhileItIsPrepared(t *testing.T) {
	t.Parallel()
	t.Run("before the driver has read it", func(t *testing.T) {
		t.Parallel()
		r := newRig(t)
		api := r.behindProxy()
		d := r.startReady()
		claim, other := r.claim("claim", r.devices("gpu-0")), r.claim("other", r.devices("gpu-1"))
		before := api.Requests()[proxy.Request{Verb: "get", Resource: "resourceclaims"}]
		api.set(proxy.Hang())
		done := d.preparing(t.Context(), claim)
		r.until("the driver asks for the claim", func(context.Context) error {
			if api.Requests()[proxy.Request{Verb: "get", Resource: "resourceclaims"}] == before {
				return fmt.Errorf("it has not asked")
			}
			return nil
		})
		r.deleteClaim(claim)
		api.set()
		answer := <-done
		if answer.Err == nil {
			t.Fatalf("it was prepared: %v", answer.Devices)
		}
		expectSentence(t, answer.Err.Error(), []string{claim.Namespace + "/" + claim.Name, "does not exist"})
		r.nothingLeft(claim.UID)
		unprepare(t, d, claim)
		r.mustResolve(prepare(t, d, other))
	})
	t.Run("after the driver has read it", func(t *testing.T) {
		t.Parallel()
		r := newRig(t)
		d := r.startReady()
		claim, next := r.claim("claim", r.devices("gpu-0")), r.claim("next", r.devices("gpu-0"))
		release := r.hold(claim)
		done := d.preparing(t.Context(), claim)
		r.until("the driver has read it", func(context.Context) error { return r.isAwaited(claim) })
		r.deleteClaim(claim)
		release()
		answer := <-done
		if answer.Err != nil {
			t.Fatalf("it was not finished: %v", answer.Err)
		}
		r.mustResolve(answer)
		unprepare(t, d, claim)
		r.nothingLeft(claim.UID)
		r.mustResolve(prepare(t, d, next))
	})
}

func TestFault10ClaimMadeAgainUnderTheSameName(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	d := r.startReady()
	older := r.claim("claim", r.devices("gpu-0"))
	first := prepare(t, d, older)
	r.deleteClaim(older)
	newer := r.claimNamed(older.Name, r.devices("gpu-0"))
	if newer.UID == older.UID || newer.Name != older.Name {
		t.Fatalf("%v is not %v made again", newer, older)
	}

	// The kubelet still runs the older claim's pod.
	expectSentence(t, refused(t, d, older), []string{older.Name, "replaced", string(older.UID), string(newer.UID)})
	expectSentence(t, refused(t, d, newer), []string{"gpu-0", "held by", string(older.UID)})
	r.mustResolve(first)
	d = d.restartKilled()
	expectSentence(t, refused(t, d, newer), []string{"gpu-0", "held by", string(older.UID)})
	r.mustResolve(first)

	unprepare(t, d, older)
	r.nothingLeft(older.UID)
	second := prepare(t, d, newer)
	env := variables(r.mustResolve(second))
	if got := env["GPU_DEVICE_GPU_0_RESOURCE_CLAIM"]; got != string(newer.UID) {
		t.Errorf("the container is told of claim %q, expected %q", got, newer.UID)
	}
	unprepare(t, d, older) // comes late, and must not take the newer one back
	r.mustResolve(second)
	unprepare(t, d, newer)
	r.nothingLeft(newer.UID)
	if strings.Contains(d.output.String(), "panic") {
		t.Error("there was a panic")
	}
}
