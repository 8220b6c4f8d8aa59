package fault

import (
	"context"
	"net/http"
	"time"

	"example.com/dragoman/pkg/sanity/cluster"
	"example.com/dragoman/pkg/sanity/proxy"
	"example.com/dragoman/pkg/sanity/suite"
)

// getClaims is what a driver asks the API server for to prepare a claim.
var getClaims = proxy.Request{Verb: "get", Resource: "resourceclaims"} //nolint:gochecknoglobals // a constant

// underFault is how long the kubelet waits for an answer while a fault lasts: it has more patience, the test has not.
const underFault = 2 * time.Second

func (r *rig) apiServer() []suite.Case {
	const slow = time.Second
	var cases []suite.Case
	for _, is := range []struct {
		name, promise string
		fault         proxy.Fault
	}{
		{"is-slow", "is slow", proxy.Delay(slow)},
		{"answers-429", "answers that there are too many requests",
			proxy.Answer(http.StatusTooManyRequests).RetryAfter(time.Second)},
		{"answers-500", "answers with internal errors", proxy.Answer(http.StatusInternalServerError)},
		{"answers-503", "is not available", proxy.Answer(http.StatusServiceUnavailable)},
		{"cuts-connections", "cuts connections in the middle of an answer", proxy.Reset()},
		{"hangs", "does not answer", proxy.Hang()},
		{"is-down", "refuses connections", proxy.Refuse()},
		{"certificate-expired", "shows a certificate that has expired", proxy.Expire()},
	} {
		cases = append(cases, suite.Case{
			Name: "api-server-" + is.name,
			Promise: "While the API server " + is.promise + ", unprepare succeeds and prepare is answered truly; afterwards " +
				"everything succeeds.",
			Source: sourceUnprepare + "; " + sourceKubelet,
			Needs:  []suite.Need{needsProxy}, Timeout: 3 * time.Minute,
			Run: func(t *suite.T) { r.apiServerFails(t, is.fault) },
		})
	}
	return append(cases, suite.Case{
		Name: "api-server-back-during-prepare",
		Promise: "A prepare that began while the API server was down is answered when it is back, or succeeds when " +
			"repeated.",
		Source: sourceKubelet, Needs: []suite.Need{needsProxy}, Run: r.apiServerComesBack,
	}, suite.Case{
		Name:    "api-server-loses-slices-while-down",
		Promise: "Slices that were deleted while the driver could not reach the API server come back when it can.",
		Source:  "pkg/kubelet/cm/dra: a kubelet deletes the slices of a driver when it starts",
		Needs:   []suite.Need{needsProxy}, Timeout: 5 * time.Minute, Run: r.slicesComeBack,
	})
}

// well ends all faults of the API server.
func (r *rig) well(t *suite.T) {
	if r.Proxy == nil {
		return
	}
	if err := r.Proxy.Set(); err != nil {
		t.Errorf("let the API server be well again: %v", err)
	}
}

func (r *rig) apiServerFails(t *suite.T, fault proxy.Fault) {
	plugin := r.Registered(t)
	leaving, kept, coming := r.Exclusive(t, "leaving", 1), r.Exclusive(t, "kept", 1), r.Exclusive(t, "coming", 1)
	r.Prepare(t, plugin, leaving)
	keeps := r.Prepare(t, plugin, kept)
	t.Cleanup(func(context.Context) { r.well(t) })
	t.Must(r.Proxy.Set(fault), "let the API server fail")

	start := time.Now()
	r.Unprepare(t, plugin, leaving)
	took := time.Since(start)
	ctx, cancel := context.WithTimeout(t.Context(), underFault)
	defer cancel()
	during, err := plugin.PrepareOne(ctx, coming)
	if err == nil {
		r.Resolves(t, coming, during)
	}
	r.Resolves(t, kept, keeps)

	r.well(t)
	after := r.Prepare(t, plugin, coming)
	if err == nil {
		r.Same(t, "when the fault is over", during, after)
	}
	r.Same(t, "when the fault is over", keeps, r.Prepare(t, plugin, kept))
	r.Unprepare(t, plugin, coming)
	r.Published(t)
	t.Notef("unprepare took %v, prepare during the fault: %v", took.Round(time.Millisecond), orOK(err))
}

func orOK(err error) any {
	if err == nil {
		return "ok"
	}
	return err
}

func (r *rig) apiServerComesBack(t *suite.T) {
	plugin := r.Registered(t)
	claim := r.Exclusive(t, "claim", 1)
	t.Cleanup(func(context.Context) { r.well(t) })
	t.Must(r.Proxy.Set(proxy.Refuse()), "let the API server be down")
	type answer struct {
		ids []string
		err error
	}
	answers := make(chan answer)
	go func() {
		prepared, err := plugin.PrepareOne(t.Context(), claim)
		answers <- answer{prepared.IDs(), err}
	}()
	sleep(t, time.Second)
	r.well(t)
	first := <-answers
	again := r.Prepare(t, plugin, claim)
	if first.err == nil && len(first.ids) != len(again.IDs()) {
		t.Errorf("the first call is answered with %v and its repetition with %v", first.ids, again.IDs())
	}
	t.Notef("the call that began while it was down: %v", orOK(first.err))
}

func (r *rig) slicesComeBack(t *suite.T) {
	before, err := r.Cluster.Devices(t.Context())
	t.Must(err, "read the driver's slices")
	t.Cleanup(func(context.Context) { r.well(t) })
	t.Must(r.Proxy.Set(proxy.Refuse()), "let the API server be down")
	t.Must(r.Cluster.WipeSlices(t.Context()), "delete the driver's slices")
	sleep(t, time.Second)
	r.well(t)
	start := time.Now()
	t.Until(2*time.Minute, "the driver publishes its devices again", func(ctx context.Context) error {
		after, err := r.Cluster.Devices(ctx)
		if err == nil && len(after) != len(before) {
			err = cluster.NotEnough{Want: len(before), Have: len(after)}
		}
		return err
	})
	t.Notef("they are back after %v", time.Since(start).Round(10*time.Millisecond))
}
