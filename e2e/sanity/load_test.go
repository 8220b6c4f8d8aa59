package sanity

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"example.com/dragoman/pkg/sanity/figures"
)

// quickly are the numbers of a run that only shows that it works.
func quickly(d driver, more ...string) []string {
	return d.args("load", append([]string{"--prepared", "0,9,10", "--rounds", "5", "--devices", "8"}, more...)...)
}

// loaded runs "dra-sanity load" and returns its report.
func loaded(t *testing.T, code int, args ...string) (figures.Report, outcome) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "report.json")
	o := command(t, append(args, "--json", path)...)
	if o.code != code {
		t.Fatalf("it ended with %d, expected %d:\n%s%s", o.code, code, o.stdout, o.stderr)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v: %s", err, o.stderr)
	}
	r, err := figures.Read(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return r, o
}

// Each workload has figures of each driver, or a reason for those that are missing. What a driver costs that is nothing
// but the helper library is known, to the request.
func TestLoadMeasuresADriverAndItsRival(t *testing.T) {
	t.Parallel()
	plot := filepath.Join(t.TempDir(), "plot.svg")
	r, o := loaded(t, 0, quickly(tiny(""), "--vs", noopdriver, "--svg", plot)...)
	listed := command(t, "load", "--list")
	for line := range strings.Lines(listed.stdout) {
		workload, _, _ := strings.Cut(line, " ")
		for _, d := range r.Drivers {
			if !told(r, workload, d.Name) {
				t.Errorf("there is nothing about %s under %s, and no reason", d.Name, workload)
			}
		}
		if !strings.Contains(o.stdout, workload) {
			t.Errorf("the text has nothing about %s:\n%s", workload, o.stdout)
		}
	}
	if svg, err := os.ReadFile(plot); err != nil || !bytes.Contains(svg, []byte("<svg")) {
		t.Errorf("there is no plot: %v", err)
	}
	if len(r.Drivers) != 2 || !r.Drivers[1].Rival || r.Kubernetes == "" || r.Program == "" || r.Machine.Cores == 0 {
		t.Errorf("the report does not say what was measured where: %+v, Kubernetes %q, %q, %+v", r.Drivers, r.Kubernetes,
			r.Program, r.Machine)
	}
	rival := r.Drivers[1].Name
	for _, n := range []int{0, 9, 10} {
		beside := figures.Situation{Prepared: n}
		for operation, requests := range map[string]float64{"prepare": 1, "prepare-again": 1, "unprepare": 0} {
			timed := found(t, r, "prepared", rival, beside, operation)
			if l := timed.Latency; l == nil || l.Count != 5 || l.P50 <= 0 || l.P50 > l.Max {
				t.Errorf("%s beside %d claims took %+v, expected five times", operation, n, l)
			}
			counted := found(t, r, "requests", rival, beside, operation)
			got := counted.Requests
			if got["get resourceclaims"] != requests || len(got) != int(requests) || got == nil || !counted.PerClaim {
				t.Errorf("%s beside %d claims made %v, expected %v GETs for each claim and nothing else", operation, n, got,
					requests)
			}
		}
		cycle := found(t, r, "prepared", rival, beside, "cycle")
		if cycle.CPU <= 0 || cycle.Process == nil || cycle.Process.RSS <= 0 {
			t.Errorf("a cycle beside %d claims took %v of processor time and left %+v", n, cycle.CPU, cycle.Process)
		}
	}
	publishesOneSlice(t, r, rival)
	storm := found(t, r, "storm", rival, figures.Situation{Callers: 110, APIDelay: 2}, "prepare")
	if storm.Latency == nil || storm.Latency.Count != 5*110 || storm.Latency.P50 < 2 {
		t.Errorf("the storm took %+v, expected 110 claims five times, and no GET in less than the delay", storm.Latency)
	}
}

// The tiny driver has ten devices for one claim each: what needs more has a reason, and the rest is measured.
func TestLoadSaysWhatAFewDevicesDoNotAllow(t *testing.T) {
	t.Parallel()
	r, _ := loaded(t, 0, quickly(tiny(""), "--run", "^(prepared|claims-per-call)$")...)
	name := r.Drivers[0].Name
	found(t, r, "prepared", name, figures.Situation{Prepared: 9}, "prepare")
	found(t, r, "claims-per-call", name, figures.Situation{Claims: 8, APIDelay: 2}, "prepare")
	var reasons []string
	for _, why := range r.NotRun {
		reasons = append(reasons, why.Workload+": "+why.Reason)
	}
	slices.Sort(reasons)
	if len(reasons) != 2 || !strings.HasPrefix(reasons[0], "claims-per-call: 32 claims") ||
		!strings.HasPrefix(reasons[1], "prepared: 10 claims") {
		t.Errorf("the reasons are %q, expected one for 32 claims in a call and one for 10 prepared claims", reasons)
	}
}

func TestADriverThatFailsUnderLoadIsExitCode1(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		start string
		says  string
	}{
		"an answer that is none":       {tinydriver + " --broken answers-first-claim-only", "4 claims"},
		"a driver that ends":           {"sh -c 'echo my last words >&2; exit 3'", "my last words"},
		"a driver that is not the one": {"env DRA_SANITY_DRIVER=other.example.com " + noopdriver, "registers"},
		"a driver that is not there":   {"/no/such/driver", "not found"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := tiny("")
			d.start = c.start
			o := command(t, quickly(d, "--run", "^claims-per-call$")...)
			if o.code != 1 || !strings.Contains(o.stderr, c.says) {
				t.Errorf("it ended with %d, expected 1 and %q:\n%s", o.code, c.says, o.stderr)
			}
		})
	}
}

// told says whether a report has a figure of a driver under a workload, or says why not.
func told(r figures.Report, workload, driver string) bool {
	return slices.ContainsFunc(r.Measurements, func(m figures.Measurement) bool {
		return m.Workload == workload && m.Driver == driver
	}) || slices.ContainsFunc(r.NotRun, func(n figures.NotRun) bool {
		return n.Workload == workload && (n.Driver == driver || n.Driver == "")
	})
}

func found(
	t *testing.T, r figures.Report, workload, driver string, situation figures.Situation, operation string,
) figures.Measurement {
	t.Helper()
	for _, m := range r.Measurements {
		if m.Workload == workload && m.Driver == driver && m.Situation == situation && m.Operation == operation {
			return m
		}
	}
	t.Errorf("%s has no %s of %s in %+v", workload, operation, driver, situation)
	return figures.Measurement{}
}
