package load

import (
	"bufio"
	"context"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	resourceapi "k8s.io/api/resource/v1"

	"example.com/dragoman/pkg/sanity/figures"
)

func TestAPoolIsWaitedForUntilItHasWhatTheDriverHas(t *testing.T) {
	type written struct {
		after time.Duration
		slice *resourceapi.ResourceSlice
	}
	tests := map[string]struct {
		asked   int
		written []written
		devices int
		took    time.Duration
		slow    bool
	}{
		"as many as asked": {
			64, []written{{time.Second, slice("a", 1, 1, 1)}}, 64, time.Second, false,
		},
		"slice by slice": {
			128, []written{{time.Second, slice("a", 1, 1, 2)}, {time.Minute, slice("b", 2, 1, 2)}}, 128, 61 * time.Second, false,
		},
		"complete, and then more": {
			128, []written{{time.Second, slice("a", 1, 1, 1)}, {2 * time.Second, slice("a", 2, 2, 2)},
				{time.Minute, slice("b", 3, 2, 2)}}, 128, 63 * time.Second, false,
		},
		"fewer than asked": {
			128, []written{{time.Second, slice("a", 1, 1, 1)}}, 64, time.Second + settled, false,
		},
		"never complete": {
			128, []written{{time.Second, slice("a", 1, 1, 2)}}, 64, poolPatience, true,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWatches()
				watched, err := record(t.Context(), w.client, "node", "driver")
				if err != nil {
					t.Fatal(err)
				}
				defer watched.close()
				events := <-w.given
				go func() {
					for _, one := range test.written {
						time.Sleep(one.after)
						events.Modify(one.slice)
					}
				}()
				began := time.Now()
				now, err := (&site{}).pool(t.Context(), watched, test.asked)
				if slow := (tooSlow{}); errors.As(err, &slow) != test.slow || !test.slow && err != nil {
					t.Errorf("%v, expected a driver that is too slow: %t", err, test.slow)
				}
				if took := time.Since(began); now.devices != test.devices || took != test.took {
					t.Errorf("%d devices after %v, expected %d after %v", now.devices, took, test.devices, test.took)
				}
			})
		})
	}
}

func TestADriverThatIsTooSlowIsNotAskedAgainAndKeepsNobodyWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		quick, slow := &site{side: Side{Driver: "quick"}}, &site{side: Side{Driver: "slow"}}
		never := &site{side: Side{Driver: "never"}}
		r := &rig{workload: "start"}
		done := map[*site]int{}
		(&crew{rig: r, sites: []*site{quick, slow, never}}).some(t.Context(), 5, func(s *site) error {
			done[s]++
			switch s {
			case slow:
				time.Sleep(enough/2 + time.Second)
			case never:
				return tooSlow{errors.New("there was not a complete pool")}
			}
			return nil
		})
		if want := map[*site]int{quick: 5, slow: 2, never: 1}; !maps.Equal(done, want) {
			t.Errorf("quick %d times, slow %d, never %d; expected 5, 2 and 1", done[quick], done[slow], done[never])
		}
		want := figures.NotRun{Workload: "start", Driver: "never", Reason: "there was not a complete pool"}
		if len(r.report.NotRun) != 1 || r.report.NotRun[0] != want || len(r.problems) > 0 {
			t.Errorf("not run: %v, problems: %v; expected %v and none", r.report.NotRun, r.problems, want)
		}
	})
}

func TestADriverWithOtherDevicesThanAskedIsMeasuredOnceWithThose(t *testing.T) {
	tests := map[string]struct {
		asked, published int
		measured         bool
		reasons          int
	}{
		"as many":                      {64, 64, true, 0},
		"some more":                    {8, 11, true, 0},
		"fewer, at the first number":   {8, 4, true, 1},
		"fewer, at a number after it":  {64, 11, false, 1},
		"none, which was said already": {64, 0, false, 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := &rig{Options: Options{Devices: []int{8, 64}}}
			measured := r.asAsked(&site{}, test.asked, test.published)
			if measured != test.measured || len(r.report.NotRun) != test.reasons {
				t.Errorf("measured: %t, not run: %v; expected %t and %d reasons", measured, r.report.NotRun, test.measured,
					test.reasons)
			}
		})
	}
}

func TestMomentsAreMediansAndTheLatestOfWhatMattersMost(t *testing.T) {
	m := moments{
		{"registered": 3 * time.Second, "complete": 9 * time.Second},
		{"registered": time.Second, "complete": 8 * time.Second},
		{"registered": 2 * time.Second},
	}
	want := map[string]figures.Milliseconds{"registered": 2000, "complete": 9000, "slowest registered": 3000}
	if got := m.summary("registered"); !maps.Equal(got, want) {
		t.Errorf("%v, expected %v", got, want)
	}
	want = map[string]figures.Milliseconds{"registered": 3000, "complete": 9000}
	if got := m[:1].summary("registered"); !maps.Equal(got, want) {
		t.Errorf("of one: %v, expected %v", got, want)
	}
}

func TestRequestsSinceAMomentAreThoseThatCame(t *testing.T) {
	got := since(map[string]float64{"get nodes": 1, "list slices": 2}, map[string]float64{
		"get nodes": 1, "list slices": 5, "create slices": 4,
	})
	if want := map[string]float64{"list slices": 3, "create slices": 4}; !maps.Equal(got, want) {
		t.Errorf("%v, expected %v", got, want)
	}
}

func TestTheTimeOfAStartScriptIsNotTheDrivers(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	script := exec.CommandContext(ctx, "sh", "-c", "echo begun; read -r line; exec cat")
	input, err := script.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := script.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := script.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = script.Wait() }()
	defer input.Close() //nolint:errcheck // it ends cat
	lines := bufio.NewReader(output)
	if _, err := lines.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	executed := followProgram(script.Process.Pid, began)
	begun := time.Now()
	if _, err := input.Write([]byte("go on\nanswer\n")); err != nil {
		t.Fatal(err)
	}
	if _, err := lines.ReadString('\n'); err != nil { // cat is there
		t.Fatal(err)
	}
	program, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(script.Process.Pid), "exe"))
	if err != nil {
		t.Fatal(err)
	}
	if at := executed(); at.Before(begun) {
		t.Errorf("%s was executed at %v, expected after the script was told to go on, at %v", program, at, begun)
	}
}
