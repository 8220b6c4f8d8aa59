package kubelet_test

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	drav1 "k8s.io/kubelet/pkg/apis/dra/v1"
	drav1beta1 "k8s.io/kubelet/pkg/apis/dra/v1beta1"

	"example.com/dragoman/pkg/sanity/kubelet"
)

const (
	driver   = "d.example.com"
	patience = 20 * time.Second
	// moment is long enough for what must not happen.
	moment = 300 * time.Millisecond
)

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func watch(t *testing.T, dir string, options kubelet.Options) *kubelet.Kubelet {
	t.Helper()
	k, err := kubelet.WatchWith(dir, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = k.Close() })
	return k
}

func registered(t *testing.T, k *kubelet.Kubelet) *kubelet.Plugin {
	t.Helper()
	p, err := k.Registered(within(t, patience), driver)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestRegistersWhatIsThereAndWhatComes(t *testing.T) {
	dir := registry(t)
	before := newPlugin(t, dir, "before.sock", nil)
	k := watch(t, dir, kubelet.Options{})
	if p := registered(t, k); p.Endpoint != before.socket || p.Service != drav1.DRAPluginService {
		t.Errorf("registered %+v", p)
	}
	after := newPlugin(t, dir, "after.sock", nil)
	all, err := k.RegisteredInstances(within(t, patience), driver, 2)
	if err != nil {
		t.Fatal(err)
	}
	if all[0].Endpoint != before.socket || all[1].Endpoint != after.socket || registered(t, k) != all[1] {
		t.Errorf("instances are %s and %s; expected the latest to be the last, and the one that is used", all[0].Endpoint,
			all[1].Endpoint)
	}
	if n := k.Registrations(driver); n != 2 {
		t.Errorf("%d registrations", n)
	}
	after.server.Stop() // which removes the socket
	before.server.Stop()
	if err := k.Deregistered(within(t, patience), driver); err != nil {
		t.Error(err)
	}
}

func TestASuccessorReplacesAKilledPlugin(t *testing.T) {
	dir := registry(t)
	killed := newPlugin(t, dir, "a.sock", nil)
	k := watch(t, dir, kubelet.Options{})
	registered(t, k)
	killed.die()
	if err := os.Remove(killed.socket); err != nil {
		t.Fatal(err)
	}
	successor := newPlugin(t, dir, "a.sock", nil)
	p, err := k.RegisteredAgain(within(t, patience), driver, 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.PrepareOne(t.Context(), kubelet.Claim{Name: "claim", UID: "1"}); err != nil {
		t.Error(err)
	}
	if len(successor.calls) != 1 {
		t.Errorf("the successor got %q", successor.calls)
	}
}

func TestAKubeletThatStartsFindsNobodyOnTheSocketOfAKilledPlugin(t *testing.T) {
	dir := registry(t)
	newPlugin(t, dir, "a.sock", nil).die()
	k := watch(t, dir, kubelet.Options{})
	_, err := k.Registered(within(t, moment), driver)
	for end := within(t, patience); err != nil && !strings.Contains(err.Error(), "a.sock") && end.Err() == nil; {
		_, err = k.Registered(within(t, moment), driver) // it had not tried yet
	}
	if err == nil || !strings.Contains(err.Error(), "a.sock") || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the error is %v; expected it to name the socket", err)
	}
}

func TestRegistrationsThatGoWrong(t *testing.T) {
	cases := map[string]struct {
		options  kubelet.Options
		plugin   func(*plugin)
		statuses []string // what the plugin is told, at first
		accepted bool
	}{
		"all goes well":                {kubelet.Options{}, nil, []string{""}, true},
		"answers that are thrown away": {kubelet.Options{Abandon: 2}, nil, []string{""}, true},
		"a refusal, then it goes well": {
			kubelet.Options{Refuse: 1},
			nil,
			[]string{"as the case asks for", ""},
			true,
		},
		"another type of plugin": {
			kubelet.Options{},
			func(p *plugin) { p.info.Type = "CSIPlugin" },
			[]string{"CSIPlugin"},
			false,
		},
		"no name": {
			kubelet.Options{},
			func(p *plugin) { p.info.Name = "" },
			[]string{"no name"},
			false,
		},
		"no service that is known": {
			kubelet.Options{},
			func(p *plugin) { p.info.SupportedVersions = []string{"v9"} },
			[]string{"v9"},
			false,
		},
		"no service that an older kubelet knows": {
			kubelet.Options{Services: []string{"v0"}},
			nil,
			[]string{"none of the services"},
			false,
		},
		"no endpoint stands for the same socket": {
			kubelet.Options{},
			func(p *plugin) { p.info.Endpoint = "" },
			[]string{""},
			true,
		},
		"the plugin does not like it": {
			kubelet.Options{},
			func(p *plugin) { p.refuses = errors.New("no") },
			[]string{""},
			false,
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			dir := registry(t)
			p := newPlugin(t, dir, "a.sock", c.plugin)
			k := watch(t, dir, c.options)
			wait := patience
			if !c.accepted {
				p.isTold(t, len(c.statuses))
				wait = moment
			}
			got, err := k.Registered(within(t, wait), driver)
			if (err == nil) != c.accepted {
				t.Fatalf("the error is %v", err)
			}
			if c.accepted && got.Endpoint != p.socket {
				t.Errorf("the endpoint is %q", got.Endpoint)
			}
			asked, statuses := p.told()
			if len(statuses) < len(c.statuses) || asked < c.options.Abandon+len(c.statuses) {
				t.Fatalf("it was asked %d times and told %q", asked, statuses)
			}
			for i, part := range c.statuses {
				if !strings.Contains(statuses[i], part) || part == "" && statuses[i] != "" {
					t.Errorf("it was told %q, expected %q", statuses[i], part)
				}
			}
		})
	}
}

func TestAnOlderKubeletUsesAnOlderVersion(t *testing.T) {
	dir := registry(t)
	p := newPlugin(t, dir, "a.sock", nil)
	k := watch(t, dir, kubelet.Options{Services: []string{drav1beta1.DRAPluginService}})
	got := registered(t, k)
	claim := kubelet.Claim{Namespace: "ns", Name: "claim", UID: "1"}
	if _, err := got.PrepareOne(t.Context(), claim); err != nil {
		t.Error(err)
	}
	if err := got.UnprepareOne(t.Context(), claim); err != nil {
		t.Error(err)
	}
	newer := got.Over(drav1.DRAPluginService)
	prepared, err := newer.PrepareOne(t.Context(), claim)
	if err != nil || prepared.Devices[0].ShareID != "share" {
		t.Errorf("over v1: %+v, %v", prepared, err)
	}
	if expected := []string{"v1beta1 prepare 1", "v1beta1 unprepare 1", "v1 prepare 1"}; !slices.Equal(p.calls, expected) {
		t.Errorf("it got %q, expected %q", p.calls, expected)
	}
	if versions := got.Versions(); !slices.Equal(versions, []string{drav1.DRAPluginService, drav1beta1.DRAPluginService}) {
		t.Errorf("it offers %q", versions)
	}
}

func TestEachClaimHasExactlyOneAnswer(t *testing.T) {
	dir := registry(t)
	newPlugin(t, dir, "a.sock", nil)
	p := registered(t, watch(t, dir, kubelet.Options{}))
	claim := func(name string) kubelet.Claim { return kubelet.Claim{Name: name, UID: "1"} }
	cases := map[string]struct {
		claims  []kubelet.Claim
		prepare string // its error
		of      string // the error of the first claim
	}{
		"one claim":               {[]kubelet.Claim{claim("good")}, "", ""},
		"one claim with an error": {[]kubelet.Claim{claim("bad")}, "", "no device"},
		"a call that fails":       {[]kubelet.Claim{claim("broken")}, "the whole call is wrong", ""},
		"a claim without answer":  {[]kubelet.Claim{claim("unanswered")}, "0 entries for 1 claims", ""},
		"an answer too many":      {[]kubelet.Claim{claim("extra")}, "2 entries for 1 claims", ""},
		"an answer for another one": {
			[]kubelet.Claim{claim("extra"), {Name: "unanswered", UID: "2"}}, "no entry for claim /unanswered", "",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			answer, err := p.Prepare(t.Context(), c.claims...)
			if c.prepare == "" && err != nil || c.prepare != "" && (err == nil || !strings.Contains(err.Error(), c.prepare)) {
				t.Fatalf("the error is %v, expected %q", err, c.prepare)
			}
			if err != nil {
				return
			}
			err = answer[c.claims[0].UID].Err
			if c.of == "" && err != nil || c.of != "" && (err == nil || err.Error() != c.of) {
				t.Errorf("the claim's error is %v, expected %q", err, c.of)
			}
		})
	}
	if err := p.UnprepareOne(t.Context(), claim("bad")); err == nil || err.Error() != "it is stuck" {
		t.Errorf("unprepare: %v", err)
	}
	if err := p.UnprepareOne(t.Context(), claim("unanswered")); err == nil {
		t.Error("unprepare without an answer went well")
	}
}

func TestWatchesHealth(t *testing.T) {
	dir := registry(t)
	newPlugin(t, dir, "a.sock", nil)
	p := registered(t, watch(t, dir, kubelet.Options{}))
	next, err := p.WatchHealth(within(t, patience), false)
	if err != nil {
		t.Fatal(err)
	}
	report, err := next()
	expected := []kubelet.Health{
		{Pool: "pool", Device: "device-0", Status: "UNHEALTHY", Message: "hot", Timeout: 5 * time.Second},
		{Pool: "pool", Device: "device-1", Status: "UNHEALTHY", Message: "hot", Timeout: 30 * time.Second},
	}
	if err != nil || !slices.Equal(report, expected) {
		t.Errorf("%v: %+v, expected %+v", err, report, expected)
	}
	if _, err := p.WatchHealth(t.Context(), true); err == nil || !strings.Contains(err.Error(), "v1alpha1") {
		t.Errorf("a version that is not offered: %v", err)
	}
}
