package sanity

import (
	"strings"
	"testing"

	"example.com/dragoman/pkg/sanity/figures"
)

// publishesOneSlice asserts what load says of a driver that is nothing but the library, with 8 devices.
func publishesOneSlice(t *testing.T, r figures.Report, driver string) {
	t.Helper()
	at := figures.Situation{Devices: 8}
	start := found(t, r, "start", driver, at, "start")
	m := start.Moments
	if m["registered"] <= 0 || m["first slice"] <= 0 || m["complete"] < m["first slice"] || start.Process == nil {
		t.Errorf("a start has the moments %v and leaves %+v; expected a registration, a slice, and the process", m,
			start.Process)
	}
	if got := start.Requests; got["create resourceslices"] != 1 || got["create resourceslices (dry run)"] != 0 ||
		got["get resourceclaims"] != 0 {
		t.Errorf("a start makes the requests %v, expected one slice to be created", got)
	}
	for _, prepared := range []int{0, 8} {
		restart := found(t, r, "restart", driver, figures.Situation{Devices: 9, Prepared: prepared}, "restart")
		if m := restart.Moments; m["registered"] <= 0 || m["first answer"] < m["registered"] {
			t.Errorf("a restart has the moments %v, expected a registration and then an answer", m)
		}
	}
	for operation, writes := range map[string]float64{"first-start": 1, "restart-unchanged": 0} {
		got := found(t, r, "slice-writes", driver, at, operation).Requests
		if got["writes"] != writes || got["create resourceslices"] != writes || got["update resourceslices"] != 0 {
			t.Errorf("%s: %v, expected %v writes", operation, got, writes)
		}
	}
	for _, order := range []string{"wiped, then registered", "registered, then wiped"} {
		m := found(t, r, "slices-back", driver, at, order).Moments
		if m["wiped"] <= 0 || m["complete"] <= m["wiped"] {
			t.Errorf("%s: %v, expected the slice to be deleted and then to be back", order, m)
		}
	}
	for _, operation := range []string{"prepare, all published", "prepare, while publishing"} {
		at := figures.Situation{Devices: 8, Callers: 1}
		if l := found(t, r, "prepare-while-publishing", driver, at, operation).Latency; l == nil || l.P50 <= 0 {
			t.Errorf("%s: %+v, expected the latency of calls", operation, l)
		}
	}
	for _, why := range r.NotRun {
		if why.Driver == driver && why.Workload == "slice-writes" && strings.Contains(why.Reason, "--change") {
			return
		}
	}
	t.Errorf("the reasons %v do not say that no --change was given", r.NotRun)
}
