package fault

import (
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"example.com/dragoman/pkg/sanity/cluster"
	"example.com/dragoman/pkg/sanity/kubelet"
	"example.com/dragoman/pkg/sanity/suite"
)

func (r *rig) storms() []suite.Case {
	return []suite.Case{{
		Name:    "storm-of-duplicates",
		Promise: "Many prepares of one claim at once get the same answer, and many unprepares at once succeed.",
		Source:  sourcePlugin + "; two pods that share a claim may start at once", Run: r.duplicates,
	}, {
		Name: "storm-of-prepare-and-unprepare",
		Promise: "Prepare and unprepare of one claim at once succeed in some order; the next call finds the claim " +
			"either wholly prepared or not at all.",
		Source: sourcePlugin, Run: r.prepareAgainstUnprepare,
	}, {
		Name: "storm-for-one-device",
		Promise: "Of several claims that were given the same device to themselves, exactly one is prepared at a time, " +
			"also when all are prepared at once.",
		Source: "DRAPlugin (kubeletplugin): a driver is the last line of defence against two owners (force-deleted pods)",
		Run:    r.oneDevice,
	}, {
		Name: "storm-of-claims",
		Promise: "110 claims at once, as many as a node has pods, are prepared and unprepared within the kubelet's " +
			"patience.",
		Source: "pkg/kubelet/cm/dra/plugin: the kubelet waits 45 s", Timeout: 5 * time.Minute, Run: r.manyClaims,
	}}
}

const duplicates = 16

func (r *rig) duplicates(t *suite.T) {
	plugin, claim := r.Registered(t), r.Exclusive(t, "claim", 1)
	same := make([]kubelet.Claim, duplicates)
	for i := range same {
		same[i] = claim
	}
	answers := r.all(t.Context(), plugin, same)()
	for _, answer := range answers {
		t.Must(answer.Err, "prepare one claim %d times at once", duplicates)
		r.Same(t, "of calls at once", answers[0], answer)
	}
	r.Resolves(t, claim, answers[0])
	for _, err := range unprepareAll(t, plugin, same) {
		t.Must(err, "unprepare one claim %d times at once", duplicates)
	}
	r.NothingLeft(t, claim.UID)
}

func unprepareAll(t *suite.T, plugin *kubelet.Plugin, claims []kubelet.Claim) []error {
	errs := make([]error, len(claims))
	var calls sync.WaitGroup
	for i, claim := range claims {
		calls.Go(func() { errs[i] = plugin.UnprepareOne(t.Context(), claim) })
	}
	calls.Wait()
	return errs
}

func (r *rig) prepareAgainstUnprepare(t *suite.T) {
	baseline := r.baseline(t)
	plugin, claim := r.Registered(t), r.Exclusive(t, "claim", 1)
	const rounds = 20
	kept, random, usual := 0, rand.New(rand.NewPCG(r.Seed, 5)), r.timed(t, []kubelet.Claim{claim})
	for round := range rounds {
		prepared := r.all(t.Context(), plugin, []kubelet.Claim{claim})
		sleep(t, time.Duration(random.Int64N(int64(usual)*3/2))) // so that they meet at different points
		unprepared := unprepareAll(t, plugin, []kubelet.Claim{claim})[0]
		answer := prepared()[0]
		t.Must(answer.Err, "prepare a claim that is being unprepared, in round %d", round)
		t.Must(unprepared, "unprepare a claim that is being prepared, in round %d", round)
		_, unusable := r.Container(answer)
		traces, err := r.Traces(claim.UID)
		t.Must(err, "look for what is left of a claim")
		// Whichever came last, it did all of its work. A driver may have CDI files that stay, and files without the UID.
		if unusable != nil && len(traces) > 0 {
			t.Errorf("round %d: the claim does not resolve (%v), and this is left of it: %v", round, unusable, traces)
		}
		if unusable == nil && len(traces) > 0 {
			kept++
		}
		r.Same(t, "repeated", answer, r.Prepare(t, plugin, claim))
		r.Unprepare(t, plugin, claim)
		r.nothingNew(t, baseline)
		r.fatal(t, "in round %d of %d", round+1, rounds)
	}
	t.Notef("prepare came last in %d of %d rounds", kept, rounds)
}

func (r *rig) oneDevice(t *suite.T) {
	plugin, device := r.Registered(t), r.Free(t, 1)
	var rivals []kubelet.Claim
	for range 8 {
		rivals = append(rivals, r.Claim(t, "rival", r.Cluster.Allocate(device...)))
	}
	for round := range 5 {
		winners := []string{}
		for i, answer := range r.all(t.Context(), plugin, rivals)() {
			if answer.Err == nil {
				winners = append(winners, rivals[i].Name)
				r.Resolves(t, rivals[i], answer)
			}
		}
		if len(winners) != 1 {
			t.Fatalf("round %d: %d claims are prepared with the device %s at once: %v; expected one", round+1, len(winners),
				device[0].Name, winners)
		}
		for _, err := range unprepareAll(t, plugin, rivals) {
			t.Must(err, "unprepare claims of which one was prepared")
		}
		for _, rival := range rivals {
			r.NothingLeft(t, rival.UID)
		}
	}
}

// manyClaims needs more claims than most machines have devices, so they look at devices with admin access if they may.
func (r *rig) manyClaims(t *suite.T) {
	const pods = 110
	plugin := r.Registered(t)
	claims, how := r.crowd(t, pods)
	start := time.Now()
	for i, answer := range r.all(t.Context(), plugin, claims)() {
		t.Must(answer.Err, "prepare %d claims at once", len(claims))
		r.Resolves(t, claims[i], answer)
	}
	prepared := time.Since(start)
	start = time.Now()
	for _, err := range unprepareAll(t, plugin, claims) {
		t.Must(err, "unprepare %d claims at once", len(claims))
	}
	t.Notef("%d claims %s: prepared in %v and unprepared in %v, with a look at the CDI files between", len(claims), how,
		prepared.Round(time.Millisecond), time.Since(start).Round(time.Millisecond))
	for _, claim := range claims {
		r.NothingLeft(t, claim.UID)
	}
}

func (r *rig) crowd(t *suite.T, size int) (claims []kubelet.Claim, how string) {
	device := r.Free(t, 1)[0]
	if !r.mayLook(t, device) {
		return r.some(t, size), "with a device each, all that there are"
	}
	for range size {
		claims = append(claims, r.Claim(t, "crowd", r.Cluster.Admin(device)))
	}
	return claims, "with admin access to one device"
}

// mayLook says whether this API server knows admin access.
func (r *rig) mayLook(t *suite.T, device cluster.Device) bool {
	probe, err := r.Cluster.Claim(t.Context(), "probe", r.Cluster.Admin(device))
	if probe.Name != "" {
		t.Must(r.Cluster.Delete(t.Context(), probe), "tidy up")
	}
	if errors.Is(err, cluster.ErrDropped) {
		return false
	}
	t.Must(err, "make a claim")
	return true
}
