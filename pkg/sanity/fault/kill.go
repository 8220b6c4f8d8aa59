package fault

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"time"

	"example.com/dragoman/pkg/sanity/kubelet"
	"example.com/dragoman/pkg/sanity/node"
	"example.com/dragoman/pkg/sanity/proxy"
	"example.com/dragoman/pkg/sanity/suite"
)

func (r *rig) kills() []suite.Case {
	return []suite.Case{{
		Name: "killed-while-preparing",
		Promise: "kill -9 at random moments of prepare loses nothing that was answered, and the same call succeeds " +
			"afterwards.",
		Source: sourceInvariants, Needs: []suite.Need{node.NeedsProcesses}, Timeout: long, Run: r.killedWhilePreparing,
	}, {
		Name: "killed-while-unpreparing",
		Promise: "kill -9 at random moments of unprepare leaves nothing that the same call does not take away " +
			"afterwards.",
		Source: sourceInvariants, Needs: []suite.Need{node.NeedsProcesses}, Timeout: long, Run: r.killedWhileUnpreparing,
	}, {
		Name: "killed-at-named-moments",
		Promise: "kill -9 while the claim is read from the API server, when the first file of a claim appears or " +
			"disappears, and right after the answer does no harm.",
		Source: sourceInvariants, Needs: []suite.Need{node.NeedsProcesses, needsProxy}, Timeout: long, Run: r.killedAtMoments,
	}}
}

// some makes up to so many claims for one device each.
func (r *rig) some(t *suite.T, most int) []kubelet.Claim {
	var claims []kubelet.Claim
	for range most {
		if devices, err := r.Cluster.Free(t.Context(), 1); err != nil || len(devices) == 0 {
			break
		}
		claims = append(claims, r.Exclusive(t, "claim", 1))
	}
	if len(claims) == 0 {
		r.Free(t, 1) // says why not
	}
	return claims
}

func (r *rig) killedWhilePreparing(t *suite.T) {
	baseline := r.baseline(t)
	claims := r.some(t, 4)
	random := rand.New(rand.NewPCG(r.Seed, 1))
	usual := r.timed(t, claims)
	survived := 0
	for round := range r.Repeats {
		plugin := r.Registered(t)
		answers := r.all(t.Context(), plugin, claims)
		sleep(t, time.Duration(random.Int64N(int64(usual)*3/2)))
		r.KillDriver(t)
		first := answers()
		for i, answer := range first {
			if answer.Err == nil { // its containers may run already
				survived++
				r.Resolves(t, claims[i], answer)
			}
		}
		r.goesOn(t, claims, first, baseline)
		r.fatal(t, "that was round %d of %d with seed %d", round+1, r.Repeats, r.Seed)
	}
	t.Notef("%d kills; %d of %d calls were answered before", r.Repeats, survived, r.Repeats*len(claims))
}

func (r *rig) killedWhileUnpreparing(t *suite.T) {
	baseline := r.baseline(t)
	claims := r.some(t, 4)
	random := rand.New(rand.NewPCG(r.Seed, 2))
	usual := r.timed(t, claims)
	for round := range r.Repeats {
		plugin := r.Registered(t)
		for _, claim := range claims {
			r.Prepare(t, plugin, claim)
		}
		var calls sync.WaitGroup
		for _, claim := range claims {
			calls.Go(func() { _ = plugin.UnprepareOne(t.Context(), claim) }) // it may die
		}
		sleep(t, time.Duration(random.Int64N(int64(usual)*3/2)))
		plugin = r.KillDriver(t)
		calls.Wait()
		for _, claim := range claims {
			r.Unprepare(t, plugin, claim)
		}
		r.nothingNew(t, baseline)
		r.fatal(t, "that was round %d of %d with seed %d", round+1, r.Repeats, r.Seed)
	}
}

// goesOn checks, after a kill, that the same calls succeed with the answers given before, and that unprepare leaves
// nothing.
func (r *rig) goesOn(t *suite.T, claims []kubelet.Claim, first []kubelet.Prepared, baseline []string) {
	plugin := r.Registered(t)
	for i, claim := range claims {
		again := r.Prepare(t, plugin, claim)
		if first[i].Err == nil {
			r.Same(t, "after the kill", first[i], again)
		}
	}
	for _, claim := range claims {
		r.Unprepare(t, plugin, claim)
	}
	r.nothingNew(t, baseline)
}

// all prepares all claims side by side and returns what waits for the answers.
func (r *rig) all(ctx context.Context, plugin *kubelet.Plugin, claims []kubelet.Claim) func() []kubelet.Prepared {
	answers := make([]kubelet.Prepared, len(claims))
	var calls sync.WaitGroup
	for i, claim := range claims {
		calls.Go(func() {
			var err error
			if answers[i], err = plugin.PrepareOne(ctx, claim); err != nil {
				answers[i].Err = err
			}
		})
	}
	return func() []kubelet.Prepared {
		calls.Wait()
		return answers
	}
}

// timed returns how long it takes to prepare the claims side by side when nothing happens.
func (r *rig) timed(t *suite.T, claims []kubelet.Claim) time.Duration {
	plugin := r.Registered(t)
	start := time.Now()
	for _, answer := range r.all(t.Context(), plugin, claims)() {
		t.Must(answer.Err, "prepare claims side by side")
	}
	took := time.Since(start)
	for _, claim := range claims {
		r.Unprepare(t, plugin, claim)
	}
	return max(took, time.Millisecond)
}

// moment is a point of a call that can be seen from outside.
type moment struct {
	name string
	// arm looks before the call begins; what it returns says whether the moment has come.
	arm func() (come func() bool)
}

func (r *rig) killedAtMoments(t *suite.T) {
	baseline := r.baseline(t)
	claim := r.Exclusive(t, "claim", 1)
	asked := moment{"while the claim is read from the API server", func() func() bool {
		before := r.Proxy.Requests()[getClaims]
		return func() bool { return r.Proxy.Requests()[getClaims] > before }
	}}
	changed := moment{"when its first file changes", func() func() bool {
		before := r.entries()
		return func() bool { return r.entries() != before }
	}}
	gone := moment{"when its files are gone", func() func() bool {
		return func() bool { return !strings.Contains(r.entries(), string(claim.UID)) }
	}}
	answered := moment{"right after the answer", func() func() bool { return func() bool { return false } }}
	prepare := func(ctx context.Context, p *kubelet.Plugin) (kubelet.Prepared, error) {
		return p.PrepareOne(ctx, claim)
	}
	unprepare := func(ctx context.Context, p *kubelet.Plugin) (kubelet.Prepared, error) {
		return kubelet.Prepared{}, p.UnprepareOne(ctx, claim)
	}
	t.Must(r.Proxy.Set(proxy.Hang().On(getClaims.Verb, getClaims.Resource)), "hold the API server's answer")
	t.Cleanup(func(context.Context) { r.well(t) })
	for _, m := range []moment{asked, changed, answered} {
		first := r.killedAt(t, m, prepare)
		r.well(t)
		r.goesOn(t, []kubelet.Claim{claim}, []kubelet.Prepared{first}, baseline)
		r.fatal(t, "killed during prepare, %s", m.name)
	}
	for _, m := range []moment{changed, gone, answered} {
		r.Prepare(t, r.Registered(t), claim)
		r.killedAt(t, m, unprepare)
		r.Unprepare(t, r.Registered(t), claim)
		r.nothingNew(t, baseline)
		r.fatal(t, "killed during unprepare, %s", m.name)
	}
}

// killedAt begins a call, kills the driver at the moment or when the call is answered, and starts it again.
func (r *rig) killedAt(
	t *suite.T, m moment, call func(context.Context, *kubelet.Plugin) (kubelet.Prepared, error),
) (answer kubelet.Prepared) {
	plugin := r.Registered(t)
	come, answered := m.arm(), make(chan struct{})
	go func() {
		defer close(answered)
		var err error
		if answer, err = call(t.Context(), plugin); err != nil {
			answer.Err = err
		}
	}()
	waitFor(t.Context(), answered, come)
	r.KillDriver(t)
	<-answered
	return answer
}

// fatal ends a case that has failed, with what was done when it did.
func (r *rig) fatal(t *suite.T, doing string, arguments ...any) {
	if t.Failed() {
		t.Fatalf(doing, arguments...)
	}
}

// entries names what is in the directories in which claims leave something, for comparison.
func (r *rig) entries() string {
	var all strings.Builder
	files, err := r.files()
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err.Error()
	}
	for _, file := range files {
		all.WriteString(file + "\n")
	}
	return all.String()
}

// waitFor returns when done is true, or the call has its answer. The moments are short, so it looks without a pause.
func waitFor(ctx context.Context, answered <-chan struct{}, done func() bool) {
	for !done() {
		select {
		case <-answered:
			return
		case <-ctx.Done():
			return
		default:
		}
	}
}

func sleep(t *suite.T, d time.Duration) {
	select {
	case <-time.After(d):
	case <-t.Context().Done():
	}
}
