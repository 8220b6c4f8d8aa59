package main

import (
	"fmt"
	"maps"
	"slices"

	"example.com/dragoman/pkg/sanity/figures"
)

// The short run: beside few claims and beside many.
const few, many = 10, 1000

// broken says which counts of a short run are not as they must be on every machine, however slow or busy. What was not
// counted is broken too.
func broken(r figures.Report) []string {
	v := view{r}
	return slices.Concat(v.requestsOfClaims(), v.flushes(), v.starts(), v.writes())
}

// beside is the request that writes the status of claims. No call waits for it, and it is made later: what is counted
// during one operation may be of the one before. It is made at most once after each.
const (
	beside     = "patch resourceclaims/status"
	mostBeside = 2
)

// requestsOfClaims: the kubelet has asked for the claim already, so a prepare asks once more, for what the claim is
// now, and never twice; unprepare works without an API server.
func (v view) requestsOfClaims() (problems []string) {
	oneGet := map[string]float64{"get resourceclaims": 1}
	for _, n := range []int{few, many} {
		for operation, expected := range map[string]map[string]float64{
			"prepare": oneGet, "prepare-again": oneGet, "unprepare": {},
		} {
			m, err := v.one(question{workload: "requests", operation: operation, at: withPrepared(n), has: hasRequests})
			if err != nil {
				problems = append(problems, err.Error())
				continue
			}
			path := maps.Clone(m.Requests)
			delete(path, beside)
			if written := m.Requests[beside]; !maps.Equal(path, expected) || written > mostBeside {
				problems = append(problems, fmt.Sprintf("%s beside %d claims makes the requests %v for each claim; expected %v, "+
					"and at most %d %s", operation, n, m.Requests, expected, mostBeside, beside))
			}
		}
	}
	return problems
}

// flushes: none waits for a disk, since what is written dies with the boot.
func (v view) flushes() (problems []string) {
	for _, n := range []int{few, many} {
		m, err := v.one(question{workload: "requests", operation: "cycle", at: withPrepared(n), has: hasSystemCalls})
		if err != nil {
			problems = append(problems, err.Error())
		} else if flushes, _ := m.Flushes(); flushes != 0 {
			problems = append(problems, fmt.Sprintf("prepare and unprepare beside %d claims wait %g times for a disk; "+
				"expected 0: what dies with the boot needs no fsync", n, flushes))
		}
	}
	return problems
}

// starts: a cluster has as many drivers as nodes, and they may all start at once. So there is nothing but what is
// known.
func (v view) starts() (problems []string) {
	q := question{workload: "start", operation: "start", has: hasRequests}
	found := v.all(q)
	if len(found) == 0 {
		return []string{v.missing(q).Error()}
	}
	known := map[string]float64{
		"get nodes": 1, "list resourceslices": 1, "watch resourceslices": 1, "create resourceslices (dry run)": 2,
	}
	for _, m := range found {
		for _, request := range slices.Sorted(maps.Keys(m.Requests)) {
			allowed := known[request]
			if request == "create resourceslices" {
				allowed = float64((m.Situation.Devices + 63) / 64)
			}
			if m.Requests[request] > allowed {
				problems = append(problems, fmt.Sprintf("a start with %d devices makes %g requests %q; expected at most %g",
					m.Situation.Devices, m.Requests[request], request, allowed))
			}
		}
	}
	return problems
}

// writes: each goes to every scheduler and autoscaler of the cluster.
func (v view) writes() (problems []string) {
	for _, c := range []struct {
		operation string
		expected  float64
	}{{"restart-unchanged", 0}, {"one", 1}, {"two", 2}, {"shuffle", 0}, {"back-from-shuffle", 0}} {
		m, err := v.one(question{workload: "slice-writes", operation: c.operation, has: hasRequests})
		if err != nil {
			problems = append(problems, err.Error())
			continue
		}
		asked := 0.0 // a write that changes nothing is one that the API server does not store
		for _, verb := range []string{"create", "update", "patch", "delete", "deletecollection"} {
			asked += m.Requests[verb+" resourceslices"]
		}
		if stored := m.Requests["writes"]; stored != c.expected || asked != c.expected {
			problems = append(problems, fmt.Sprintf("%s comes to %g writes of slices, and %g were asked for; expected %g",
				c.operation, stored, asked, c.expected))
		}
	}
	return problems
}
