package load

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/dragoman/pkg/sanity/cluster"
	"example.com/dragoman/pkg/sanity/figures"
)

// sides are bare sites, which have nothing to take down.
func sides(names ...string) *crew {
	c := &crew{rig: &rig{workload: "work"}}
	for _, name := range names {
		c.sites = append(c.sites, &site{side: Side{Driver: name}})
	}
	return c
}

func TestDriversTakeTurnsAndNoneIsAlwaysFirst(t *testing.T) {
	var order []string
	sides("a", "b").alternate(t.Context(), 3, func(s *site, round int) error {
		order = append(order, fmt.Sprint(s.side.Driver, round))
		return nil
	})
	if want := []string{"a0", "b0", "b1", "a1", "a2", "b2"}; !slices.Equal(order, want) {
		t.Errorf("the order is %v, expected %v", order, want)
	}
}

func TestADriverThatFailsLeavesAndTheOtherOneGoesOn(t *testing.T) {
	c := sides("good", "bad")
	done := map[string]int{}
	all := c.those(func(*site) bool { return true })
	all.alternate(t.Context(), 5, func(s *site, round int) error {
		if s.side.Driver == "bad" && round == 2 {
			return misdeed{errors.New("no such claim")}
		}
		done[s.side.Driver]++
		return nil
	})
	c.each(func(s *site) error {
		done[s.side.Driver] += 100
		return nil
	})
	if done["good"] != 105 || done["bad"] != 2 {
		t.Errorf("they did %v, expected 105 and 2", done)
	}
	var failure *Failure
	if len(c.rig.problems) != 1 || !errors.As(c.rig.problems[0], &failure) || failure.Driver != "bad" {
		t.Errorf("the problems are %v, expected one failure of the bad one", c.rig.problems)
	}
	want := figures.NotRun{Workload: "work", Driver: "bad", Reason: "the driver failed: no such claim"}
	if got := c.rig.report.NotRun; len(got) != 1 || got[0] != want {
		t.Errorf("the report says %v, expected %v", got, want)
	}
}

func TestWhatIsNotTheDriversFaultIsNoFailure(t *testing.T) {
	c := sides("good")
	c.each(func(*site) error { return errors.New("the API server is away") })
	var failure *Failure
	if len(c.rig.problems) != 1 || errors.As(c.rig.problems[0], &failure) || len(c.rest()) != 0 {
		t.Errorf("the problems are %v, and %d sites go on", c.rig.problems, len(c.rest()))
	}
}

func TestPodsComeAtTheRateAndTheSameSeedBringsTheSame(t *testing.T) {
	const n, rate = 5000, openRate
	moments := arrivals(1, n)
	if !slices.IsSorted(moments) || moments[0] < 0 {
		t.Error("the moments are not in order")
	}
	if took := moments[n-1].Seconds(); took < 0.9*n/rate || took > 1.1*n/rate {
		t.Errorf("%d come in %.1f s, expected %.1f", n, took, float64(n)/rate)
	}
	// Of pods that know nothing of each other, 1 - 1/e come within the mean distance after the one before.
	near := 0
	for i := 1; i < n; i++ {
		if moments[i]-moments[i-1] < time.Second/rate {
			near++
		}
	}
	if share := float64(near) / n; share < 0.60 || share > 0.66 {
		t.Errorf("%.2f of them come within the mean distance, expected 0.63", share)
	}
	if !slices.Equal(moments, arrivals(1, n)) || slices.Equal(moments, arrivals(2, n)) {
		t.Error("the seed does not decide")
	}
}

func TestDevicesAreHandedOutOnce(t *testing.T) {
	cases := map[string]struct {
		devices   int
		prepared  []int
		reachable []int
		timed     int
		reasons   []string
	}{
		"enough of them":                         {1100, []int{0, 10, 1000}, []int{0, 10, 1000}, spare, nil},
		"one more than stays prepared":           {11, []int{0, 10}, []int{0, 10}, 1, nil},
		"as many as are to stay prepared":        {10, []int{0, 10}, []int{0}, 10, []string{"10 claims", "10 devices"}},
		"fewer than are to stay prepared":        {3, []int{0, 10, 100}, []int{0}, 3, []string{"10 claims", "100 claims"}},
		"fewer than are to stay prepared at all": {3, []int{10}, nil, 0, []string{"10 claims"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			r, s := &rig{}, &site{}
			for i := range c.devices {
				device := cluster.Device{}
				device.Name = fmt.Sprint(i)
				s.free = append(s.free, device)
			}
			r.divide(s, c.prepared)
			if !slices.Equal(s.stage.reachable, c.reachable) || len(s.stage.timed) != c.timed {
				t.Errorf("it gets to %v with %d devices for claims that are timed, expected %v and %d", s.stage.reachable,
					len(s.stage.timed), c.reachable, c.timed)
			}
			seen := map[string]bool{}
			for _, device := range slices.Concat(s.stage.fill, s.stage.timed, s.free) {
				if seen[device.Name] {
					t.Errorf("the device %s is handed out twice", device.Name)
				}
				seen[device.Name] = true
			}
			var said strings.Builder
			for _, why := range r.report.NotRun {
				said.WriteString(why.Reason + "\n")
			}
			for _, part := range c.reasons {
				if !strings.Contains(said.String(), part) {
					t.Errorf("it does not say %q: %s", part, said.String())
				}
			}
			if len(c.reasons) == 0 && said.Len() > 0 {
				t.Errorf("it complains: %s", said.String())
			}
		})
	}
}

func TestCountsAreByHowMuchTheyHaveGrownForEachClaim(t *testing.T) {
	before := map[string]float64{"get resourceclaims": 5, "list resourceslices": 1}
	after := map[string]float64{"get resourceclaims": 15, "list resourceslices": 1, "create events": 5}
	got := more(after, before, 10)
	if len(got) != 2 || got["get resourceclaims"] != 1 || got["create events"] != 0.5 {
		t.Errorf("it is %v, expected 1 get and half an event", got)
	}
}

func TestEveryWorkloadSaysWhatItIs(t *testing.T) {
	for _, w := range Workloads() {
		if !strings.HasSuffix(w.About, ".") || w.Source == "" || w.run == nil || strings.ToLower(w.Name) != w.Name {
			t.Errorf("%q lacks a sentence, a source or what to do", w.Name)
		}
	}
}
