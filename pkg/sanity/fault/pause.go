package fault

import (
	"context"
	"time"

	"example.com/dragoman/pkg/sanity/kubelet"
	"example.com/dragoman/pkg/sanity/node"
	"example.com/dragoman/pkg/sanity/subject"
	"example.com/dragoman/pkg/sanity/suite"
)

func (r *rig) pauses() []suite.Case {
	return []suite.Case{{
		Name: "paused",
		Promise: "A driver that was stopped by a signal for a while goes on where it was: calls made meanwhile are " +
			"answered, and what was prepared is.",
		Source: sourceKubelet, Needs: []suite.Need{node.NeedsProcesses}, Run: r.paused,
	}, {
		Name: "older-instance-hangs",
		Promise: "While an older instance hangs, a newer one prepares and unprepares; when the older one goes on, it " +
			"knows what happened.",
		Source: "KEP-4381, rolling updates: two instances of a driver may run at once, and the kubelet calls the one that " +
			"registered last",
		Needs: []suite.Need{node.NeedsProcesses}, Timeout: 3 * time.Minute, Run: r.olderHangs,
	}, {
		Name: "older-instance-hangs-in-a-call",
		Promise: "An instance that hangs in the middle of calls holds up a newer one no longer than the kubelet " +
			"waits, and not at all when it is gone.",
		Source: sourceKubelet, Needs: []suite.Need{node.NeedsProcesses}, Timeout: 5 * time.Minute, Run: r.olderHangsInCalls,
	}}
}

// pause stops an instance until the returned function is called, or the case ends.
func (r *rig) pause(t *suite.T, i *subject.Instance) (goOn func()) {
	t.Must(i.Pause(), "stop the driver by a signal")
	t.Cleanup(func(context.Context) {
		if !i.Ended() {
			_ = i.Continue() // for what is left to be done with it
		}
	})
	return func() { t.Must(i.Continue(), "let the driver go on") }
}

func (r *rig) paused(t *suite.T) {
	plugin := r.Registered(t)
	kept, coming, leaving := r.Exclusive(t, "kept", 1), r.Exclusive(t, "coming", 1), r.Exclusive(t, "leaving", 1)
	first := r.Prepare(t, plugin, kept)
	r.Prepare(t, plugin, leaving)
	goOn := r.pause(t, r.Subject.Running()[0])
	prepared := r.all(t.Context(), plugin, []kubelet.Claim{coming})
	unprepared := make(chan error, 1)
	go func() { unprepared <- plugin.UnprepareOne(t.Context(), leaving) }()
	sleep(t, time.Second)
	goOn()
	answer := prepared()[0]
	t.Must(answer.Err, "prepare a claim while the driver was stopped for a second")
	r.Resolves(t, coming, answer)
	t.Must(<-unprepared, "unprepare a claim while the driver was stopped for a second")
	r.NothingLeft(t, leaving.UID)
	r.Same(t, "afterwards", first, r.Prepare(t, plugin, kept))
}

func (r *rig) olderHangs(t *suite.T) {
	older := r.Registered(t)
	process := r.Subject.Running()[0]
	kept, leaving := r.Exclusive(t, "kept", 1), r.Exclusive(t, "leaving", 1)
	device := r.Free(t, 1)
	coming := r.Claim(t, "coming", r.Cluster.Allocate(device...))
	rival := r.Claim(t, "rival", r.Cluster.Allocate(device...))
	first := r.Prepare(t, older, kept)
	r.Prepare(t, older, leaving)
	goOn := r.pause(t, process)
	second, newer := r.SecondInstance(t)
	r.Unprepare(t, newer, leaving)
	r.Same(t, "by the newer instance", first, r.Prepare(t, newer, kept))
	comes := r.Prepare(t, newer, coming)

	goOn()
	r.Same(t, "by the older instance", comes, r.Prepare(t, older, coming))
	if _, err := older.PrepareOne(t.Context(), rival); err == nil {
		t.Errorf("the newer instance prepared the claim %s, and the older one then prepared %s with the same device; no "+
			"instance may trust what it remembers of another time", coming.Name, rival.Name)
	}
	t.Must(older.UnprepareOne(t.Context(), rival), "unprepare a claim that was refused")
	r.Unprepare(t, older, kept)
	t.Must(process.Stop(t.Context()), "end the older instance")
	r.Unprepare(t, newer, coming)
	r.onlyOne(t, second)
}

// onlyOne checks that the kubelet is left with this instance.
func (r *rig) onlyOne(t *suite.T, i *subject.Instance) {
	if i.Ended() {
		t.Fatalf("the newer instance ended when the older one did")
	}
	r.Registered(t)
}

func (r *rig) olderHangsInCalls(t *suite.T) {
	older := r.Registered(t)
	process := r.Subject.Running()[0]
	claims, other := r.some(t, 3), r.Exclusive(t, "other", 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	answers := r.all(ctx, older, claims)
	r.pause(t, process) // wherever it is now
	_, newer := r.SecondInstance(t)
	r.Prepare(t, newer, other)
	r.Unprepare(t, newer, other)
	start := time.Now()
	held := 0
	for _, answer := range r.all(t.Context(), newer, claims)() {
		if answer.Err != nil {
			held++
		}
	}
	if took := time.Since(start); took >= kubelet.CallTimeout {
		t.Errorf("the newer instance gave no answer within the kubelet's %v", kubelet.CallTimeout)
	}
	t.Must(process.Kill(t.Context()), "kill the older instance")
	cancel()
	answers()
	for i, answer := range r.all(t.Context(), newer, claims)() {
		t.Must(answer.Err, "prepare the claim %s when the instance that hung is gone", claims[i].Name)
		r.Resolves(t, claims[i], answer)
	}
	t.Notef("%d of %d claims were held up meanwhile", held, len(claims))
}
