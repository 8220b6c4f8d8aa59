package sanity

import (
	"encoding/xml"
	"strings"
	"testing"
)

// TestDragomanConforms has it offer all kinds of devices, to a new API server, to an old one with the feature gates
// that they need, and to one without.
func TestDragomanConforms(t *testing.T) {
	for name, on := range map[string]struct{ server, notRun []string }{
		"1.37": {[]string{"--kubernetes", "v1.37.2"}, nil},
		"1.34 with gates": {[]string{"--kubernetes", "v1.34.3", "--feature-gates", "DRAConsumableCapacity=true," +
			"DRAPartitionableDevices=true,DRADeviceTaints=true,DRADeviceBindingConditions=true"}, nil},
		"1.34": {[]string{"--kubernetes", "v1.34.3"}, []string{"parts-beside-each-other", "shares-beside-each-other",
			"shares-in-one-claim", "shares-in-one-container", "shares-within-capacity"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			showcase := aDragoman(t)
			showcase.start += " --mock-profile showcase"
			expect(t, report(t, 0, showcase.args("check", append(on.server, "--embedded")...)...), nil, on.notRun)
		})
	}
}

func TestTheTinyDriverConforms(t *testing.T) {
	t.Parallel()
	expect(t, report(t, 0, tiny("").args("check")...), nil, []string{"parts-beside-each-other"})
}

func TestBrokenDriversFailTheCasesTheyShould(t *testing.T) {
	for broken, failed := range map[string][]string{
		"no-cdi-recreation": {"cdi-files-come-back", "cdi-directory-comes-back"},
		"forgets-on-restart": {
			"unprepare-after-restart", "unprepare-after-kill", "unprepare-deleted-claim-after-restart",
			"device-has-one-owner-after-restart", "two-instances-one-owner", "nothing-left",
		},
		"answers-first-claim-only": {"one-answer-per-claim"},
		"looks-at-nobody": {
			"device-has-one-owner", "device-has-one-owner-after-restart", "two-instances-one-owner", "shares-within-capacity",
		},
	} {
		t.Run(broken, func(t *testing.T) {
			t.Parallel()
			expect(t, report(t, 1, tiny(broken).args("check")...), failed, []string{"parts-beside-each-other"})
		})
	}
}

func TestExitCodesAndReportsAreForMachines(t *testing.T) {
	t.Parallel()
	quick := func(d driver, more ...string) []string {
		return d.args("check", append(more, "--run", "^registers$")...)
	}
	t.Run("a run that passed is 0 and a line for each case", func(t *testing.T) {
		o := command(t, quick(tiny(""))...)
		if o.code != 0 || !strings.Contains(o.stdout, "registers") || !strings.Contains(o.stdout, "1 passed, 0 failed") {
			t.Errorf("it ended with %d:\n%s%s", o.code, o.stdout, o.stderr)
		}
	})
	t.Run("a driver that does not start is 2, with what it said", func(t *testing.T) {
		d := tiny("")
		d.start = "sh -c 'echo I have no devices; exit 3'"
		o := command(t, quick(d)...)
		if o.code != 2 || !strings.Contains(o.stdout, "I have no devices") || !strings.Contains(o.stdout, "exit status 3") {
			t.Errorf("it ended with %d:\n%s%s", o.code, o.stdout, o.stderr)
		}
	})
	t.Run("JUnit reports are XML", func(t *testing.T) {
		o := command(t, quick(tiny(""), "-o", "junit")...)
		var suite struct {
			Tests    int `xml:"tests,attr"`
			Failures int `xml:"failures,attr"`
			Cases    []struct {
				Name string `xml:"name,attr"`
			} `xml:"testcase"`
		}
		if err := xml.Unmarshal([]byte(o.stdout), &suite); err != nil {
			t.Fatalf("%v:\n%s", err, o.stdout)
		}
		if o.code != 0 || suite.Tests != 1 || suite.Failures != 0 || suite.Cases[0].Name != "registers" {
			t.Errorf("it ended with %d, and reports %+v", o.code, suite)
		}
	})
	for name, args := range map[string][]string{
		"a flag that is none":         {"check", "--no-such-flag"},
		"no driver":                   {"check", "--embedded"},
		"two API servers":             append(quick(tiny(""), "--embedded"), "--kubeconfig", kubeconfig),
		"a case that is none":         tiny("").args("check", "--run", "^no-such-case$"),
		"an API server that is none":  {"check", "--driver", "a", "--start", "b", "--kubeconfig", "/no/such/file"},
		"load of nothing":             {"load"},
		"nothing at all":              {},
		"a report that nobody writes": quick(tiny(""), "-o", "pdf"),
	} {
		t.Run(name+" is 2, with a sentence", func(t *testing.T) {
			o := command(t, args...)
			if o.code != 2 || !strings.HasPrefix(o.stderr, "dra-sanity: ") || strings.Contains(o.stdout, "passed") {
				t.Errorf("it ended with %d:\n%s%s", o.code, o.stdout, o.stderr)
			}
		})
	}
}
