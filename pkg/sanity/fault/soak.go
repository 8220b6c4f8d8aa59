package fault

import (
	"math/rand/v2"
	"strings"
	"time"

	"example.com/dragoman/pkg/sanity/kubelet"
	"example.com/dragoman/pkg/sanity/node"
	"example.com/dragoman/pkg/sanity/suite"
)

func (r *rig) repeats() []suite.Case {
	needs := []suite.Need{node.NeedsProcesses}
	return []suite.Case{{
		Name: "repeats-grow-nothing",
		Promise: "The same call many times gets the same answer, and neither files nor memory, threads or open files " +
			"grow.",
		Source: sourcePlugin, Needs: needs, Timeout: long, Run: r.repeated,
	}, {
		Name: "soak",
		Promise: "Many cycles of prepare and unprepare, with restarts among them if asked for, leave no file, and " +
			"memory, threads, goroutines and open files stay flat.",
		Source: "a node is up for months", Needs: needs, Timeout: time.Duration(r.Cycles)*time.Second/10 + long, Run: r.soak,
	}}
}

// usage looks at the driver's one process.
func (r *rig) usage(t *suite.T) usage {
	u, err := usageOf(t.Context(), r.Subject.Running()[0].PID(), r.Metrics)
	t.Must(err, "see what the driver uses")
	return u
}

func (r *rig) flat(t *suite.T, when string, before, after usage) {
	if grown := after.grown(before); len(grown) > 0 {
		t.Errorf("%s the driver has %s", when, strings.Join(grown, "; "))
	}
}

func (r *rig) repeated(t *suite.T) {
	const times = 300
	r.baseline(t)
	plugin, claim := r.Registered(t), r.Exclusive(t, "claim", 1)
	first := r.Prepare(t, plugin, claim)
	files, before := r.entries(), usage{}
	for call := range times {
		again, err := plugin.PrepareOne(t.Context(), claim)
		t.Must(err, "prepare a claim for the %d. time", call+2)
		r.Same(t, "repeated", first, again)
		r.fatal(t, "that was call %d", call+2)
		if call == times/10 {
			before = r.usage(t)
		}
	}
	if after := r.entries(); after != files {
		t.Errorf("after %d prepares of one claim its files are\n%sand after one they were\n%s", times, after, files)
	}
	r.Unprepare(t, plugin, claim)
	for call := range times {
		t.Must(plugin.UnprepareOne(t.Context(), claim), "unprepare a claim for the %d. time", call+2)
	}
	r.flat(t, "after the same calls hundreds of times", before, r.usage(t))
}

// samples is how often a soak looks at what the driver uses; it tells of each one from so many cycles on.
const (
	samples = 10
	tellAll = 10_000
)

func (r *rig) soak(t *suite.T) {
	baseline := r.baseline(t)
	claims := r.some(t, 4)
	random := rand.New(rand.NewPCG(r.Seed, 3))
	restarts := map[int]bool{}
	for i := range r.Restarts { // one in each stretch, somewhere
		stretch := max(r.Cycles/r.Restarts, 1)
		restarts[i*stretch+random.IntN(stretch)] = true
	}
	var first, last usage
	started := time.Now()
	for cycle := 0; cycle < r.Cycles; {
		restart := false
		for range claims {
			restart = restart || restarts[cycle]
			if cycle%max(r.Cycles/samples, 1) == 0 {
				last = r.usage(t)
				if cycle == 0 || r.Cycles >= tellAll {
					t.Notef("%d cycles: %v, %v", cycle, last, time.Since(started).Round(time.Second))
				}
			}
			if first == (usage{}) && cycle >= r.Cycles/samples { // by now it has what it needs
				first = last
			}
			cycle++
		}
		r.cycle(t, claims, func() {
			if restart {
				r.soakRestart(t, random)
			}
		})
	}
	last = r.usage(t)
	t.Notef("%d cycles: %v, %v, %d restarts", r.Cycles, last, time.Since(started).Round(time.Second), r.Restarts)
	r.flat(t, "after the soak", first, last)
	r.nothingNew(t, baseline)
}

// cycle prepares and unprepares all claims side by side, and does something between.
func (r *rig) cycle(t *suite.T, claims []kubelet.Claim, between func()) {
	for _, answer := range r.all(t.Context(), r.Registered(t), claims)() {
		t.Must(answer.Err, "prepare a claim")
	}
	between()
	for _, err := range unprepareAll(t, r.Registered(t), claims) {
		t.Must(err, "unprepare a claim")
	}
}

// soakRestart ends the driver one way or the other, with claims prepared, and starts it again.
func (r *rig) soakRestart(t *suite.T, random *rand.Rand) {
	if random.IntN(2) == 0 {
		r.RestartDriver(t)
	} else {
		r.KillDriver(t)
	}
}
