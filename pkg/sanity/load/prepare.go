package load

import (
	"time"

	"example.com/dragoman/pkg/sanity/figures"
)

// Operations that are timed or counted.
const (
	opPrepare   = "prepare"
	opAgain     = "prepare-again" // of a claim that is prepared
	opUnprepare = "unprepare"
	opCycle     = "cycle" // prepare and unprepare
)

// Where such loads come from.
const (
	sourceManager = "pkg/kubelet/cm/dra/manager.go: one call for each pod and driver with all claims of the pod; pods " +
		"side by side; the same call again for each new sandbox"
	sourceLimit = "a node has 110 pods unless it is told otherwise (kubelet --max-pods)"
)

// prepareWorkloads are those in which claims are prepared.
func prepareWorkloads() []Workload {
	return []Workload{{
		Name: "prepared",
		About: "How long prepare, a repeated prepare and unprepare take, and what they cost, beside claims that are " +
			"prepared already.",
		Source: sourceManager + "; claims stay prepared for as long as pods run, so cost that grows with them is paid by " +
			"each new pod", run: besidePrepared,
	}, {
		Name:   "requests",
		About:  "How many requests to the API server and how many system calls prepare and unprepare make.",
		Source: "counts are the same on every machine; an API server and a disk are shared by all", run: counted,
	}, {
		Name:   "claims-per-call",
		About:  "How long one call takes with several claims in it.",
		Source: sourceManager, run: claimsPerCall,
	}, {
		Name: "callers",
		About: "How long calls take, and how many claims are prepared and unprepared in a second, with several callers at " +
			"once.",
		Source: sourceManager + "; " + sourceLimit, run: callers,
	}, {
		Name:   "storm",
		About:  "How long the pods of a whole node wait that start at the same moment; the maximum is the last pod.",
		Source: sourceLimit + "; a node that comes back after a drain or a reboot gets them all at once", run: storm,
	}, {
		Name:  "open-loop",
		About: "How long pods wait that come at a fixed rate, whether those before them are ready or not.",
		Source: "pods do not wait for each other before they come; a driver that stops for a while makes all wait that " +
			"come meanwhile", run: openLoop,
	}, {
		Name:   "footprint",
		About:  "How much memory and how many files the driver has, without anything prepared and with 1000 claims.",
		Source: "a driver runs on every node, beside what the node is for", run: footprints,
	}}
}

// times are how long calls took, by operation.
type times map[string][]time.Duration

// of does something and remembers how long it took.
func (t times) of(operation string, do func() error) error {
	began := time.Now()
	err := do()
	t[operation] = append(t[operation], time.Since(began))
	return err
}

// timings is what was timed at each site.
type timings map[*site]times

func (l timings) at(s *site) times {
	if l[s] == nil {
		l[s] = times{}
	}
	return l[s]
}

// tell adds to the report what was timed: each operation of all sites that are still there.
func (c *crew) tell(l timings, situation figures.Situation, operations ...string) {
	for _, operation := range operations {
		for _, s := range c.sites {
			if taken := l[s][operation]; len(taken) > 0 {
				c.rig.add(figures.Measurement{
					Driver: s.side.Driver, Situation: situation, Operation: operation, Latency: figures.Summarise(taken),
				})
			}
		}
	}
}

// part is a share of the rounds, for operations that take longer than one call; at least one.
func (r *rig) part(of int) int { return max(1, r.Rounds/of) }
