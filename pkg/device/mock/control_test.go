package mock

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/types"

	"example.com/dragoman/pkg/device"
)

// words splits a command as a shell does, as far as quotes are concerned.
func words(line string) (all []string) {
	for i, part := range strings.Split(line, `"`) {
		if i%2 == 1 {
			all[len(all)-1] += part
		} else {
			all = append(all, strings.Fields(part)...)
		}
	}
	return all
}

// tell tells a machine something in one line.
func tell(b *Backend, line string) (said string, err error) {
	command, err := ParseCommand(words(line))
	if err != nil {
		return "", err
	}
	return b.Tell(command)
}

func mustTell(t *testing.T, b *Backend, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if _, err := tell(b, line); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
	}
}

// outlined describes devices: "gpu-0[reason]!key=value:effect".
func outlined(devices []device.Device) string {
	var all []string
	for _, d := range devices {
		text := d.Name
		if d.Health.Unhealthy {
			text += "[" + d.Health.Reason + "]"
		}
		for _, t := range tainted(d) {
			text += "!" + t.String()
		}
		all = append(all, text)
	}
	return strings.Join(all, " ")
}

// threeGPUs is a machine of which gpu-2 is broken.
func threeGPUs(t *testing.T) *Backend {
	file := filepath.Join(t.TempDir(), "profile.yaml")
	writeFile(t, file, strings.Replace(profileOf(3), "count: 3", "count: 3, devices: [{groupIndex: 2, health: "+
		"{unhealthy: true, reason: worn out}}]", 1))
	return newBackend(t, file)
}

func TestWhatAMachineIsTold(t *testing.T) {
	const profile = "gpu-0 gpu-1 gpu-2[worn out]"
	for name, test := range map[string]struct {
		lines []string
		said  string // to the last line
		want  string
	}{
		"nothing": {nil, "", profile},
		"a device is sick": {[]string{`set gpu-0 health=unhealthy reason="fan broken"`},
			"gpu-0 is unhealthy: fan broken", "gpu-0[fan broken] gpu-1 gpu-2[worn out]"},
		"a device is sick without a reason": {[]string{"set gpu-0 health=unhealthy"},
			"gpu-0 is unhealthy: dragoman mock said so", "gpu-0[dragoman mock said so] gpu-1 gpu-2[worn out]"},
		"a device is well again": {[]string{"set gpu-0 health=unhealthy", "set gpu-0 health=healthy"},
			"gpu-0 is healthy", profile},
		"a device that is sick in the profile is well": {[]string{"set gpu-2 health=healthy"},
			"gpu-2 is healthy", "gpu-0 gpu-1 gpu-2"},
		"a device has a taint": {[]string{"set gpu-0 taint=example.com/maintenance:NoSchedule"},
			"gpu-0 has the taint example.com/maintenance:NoSchedule",
			"gpu-0!example.com/maintenance:NoSchedule gpu-1 gpu-2[worn out]"},
		"a taint replaces the one with its key and effect": {
			[]string{"set gpu-0 taint=a=1:NoSchedule taint=a=1:NoExecute", "set gpu-0 taint=a=2:NoSchedule"},
			"gpu-0 has the taint a=2:NoSchedule", "gpu-0!a=1:NoExecute!a=2:NoSchedule gpu-1 gpu-2[worn out]"},
		"a taint is taken away": {[]string{"set gpu-0 taint=a:None taint=a:NoExecute", "set gpu-0 taint=a:NoExecute-"},
			"gpu-0 has the taint a:NoExecute no more", "gpu-0!a:None gpu-1 gpu-2[worn out]"},
		"taints are taken away by key": {
			[]string{"set gpu-0 taint=a:None taint=b:None taint=a:NoExecute", "set gpu-0 taint=a-"},
			"gpu-0 has the taint a no more", "gpu-0!b:None gpu-1 gpu-2[worn out]"},
		"all taints are taken away": {[]string{"set gpu-0 taint=a:None taint=b:None", "set gpu-0 taint-"},
			"gpu-0 has no taints", profile},
		"a device is sick and tainted": {[]string{"set gpu-0 taint=a:None health=unhealthy reason=hot"},
			"gpu-0 is unhealthy: hot\ngpu-0 has the taint a:None", "gpu-0[hot]!a:None gpu-1 gpu-2[worn out]"},
		"a device is removed":  {[]string{"remove gpu-1"}, "gpu-1 is removed", "gpu-0 gpu-2[worn out]"},
		"a device is put back": {[]string{"remove gpu-2", "add gpu-2"}, "gpu-2 is back", profile},
		"a device is added": {[]string{"add gpu-9"}, "gpu-9 is added; it is like gpu-0",
			"gpu-0 gpu-1 gpu-2[worn out] gpu-9"},
		"a device is added like a sick one, and well": {[]string{"add gpu-9 like=gpu-2"},
			"gpu-9 is added; it is like gpu-2", "gpu-0 gpu-1 gpu-2[worn out] gpu-9"},
		"a device is added like an added one": {[]string{"add gpu-9 like=gpu-1", "add gpu-10 like=gpu-9"},
			"gpu-10 is added; it is like gpu-1", "gpu-0 gpu-1 gpu-2[worn out] gpu-10 gpu-9"},
		"an added device is sick": {[]string{"add gpu-9", "set gpu-9 health=unhealthy reason=hot"},
			"gpu-9 is unhealthy: hot", "gpu-0 gpu-1 gpu-2[worn out] gpu-9[hot]"},
		"an added device is removed": {[]string{"add gpu-9", "set gpu-9 taint=a:None", "remove gpu-9"},
			"gpu-9 is removed", profile},
		"one device is reset": {[]string{"set gpu-0 health=unhealthy", "remove gpu-1", "reset gpu-0"},
			"gpu-0 is as the profile says", "gpu-0 gpu-2[worn out]"},
		"an added device is reset": {[]string{"add gpu-9", "reset gpu-9"},
			"gpu-9 is removed, since the profile does not know it", profile},
		"all is reset": {[]string{"set gpu-0 health=unhealthy", "remove gpu-1", "add gpu-9", "slow look=1m", "reset"},
			"everything is as the profile says", profile},
		"nothing is shown": {[]string{"show"},
			"nothing was told; the machine is as its profile says\nnode node-a: it has gpu-0, gpu-1, gpu-2", profile},
		"all is shown": {[]string{"set gpu-0 health=unhealthy taint=a=b:None", "set gpu-2 health=healthy taint=a:None",
			"remove gpu-1", "add gpu-9 like=gpu-2", "slow prepare=2s unprepare=1m", "fail prepare times=3 message=no",
			"fail unprepare", "show"},
			"gpu-0 is unhealthy: dragoman mock said so\ngpu-0 has the taint a=b:None\ngpu-1 is removed\n" +
				"gpu-2 is healthy\ngpu-2 has the taint a:None\ngpu-9 is added; it is like gpu-2\n" +
				"each prepare takes 2s longer\nthe next 3 times, prepare fails: no\neach unprepare takes 1m0s longer\n" +
				"each unprepare fails: made-up hardware was told to fail (dragoman mock fail unprepare)\n" +
				"node node-a: it has gpu-0, gpu-2, gpu-9",
			"gpu-0[dragoman mock said so]!a=b:None gpu-2!a:None gpu-9"},
	} {
		t.Run(name, func(t *testing.T) {
			b, said := threeGPUs(t), ""
			for _, line := range test.lines {
				var err error
				if said, err = tell(b, line); err != nil {
					t.Fatalf("%s: %v", line, err)
				}
			}
			if diff := cmp.Diff(test.said, said); diff != "" {
				t.Errorf("said (-want +got):\n%s", diff)
			}
			for _, b := range []*Backend{b, again(t, b)} {
				if got := outlined(devices(t, b)); got != test.want {
					t.Errorf("devices: %s\nwant:    %s", got, test.want)
				}
			}
			// What changes nothing leaves nothing.
			_, err := os.Stat(b.controlsDir().File(controlsFile))
			if test.want == profile && !slices.Contains(test.lines, "show") && !errors.Is(err, os.ErrNotExist) {
				t.Errorf("there is a file: %v", err)
			}
		})
	}
}

// again is another process with the same machine.
func again(t *testing.T, b *Backend) *Backend {
	t.Helper()
	other, err := New(b.options)
	if err != nil {
		t.Fatal(err)
	}
	return other
}

func TestWhatAMachineCannotBeTold(t *testing.T) {
	for _, test := range []struct{ line, want string }{
		{"", "a verb is missing; there are: set, remove, add, slow, fail, reset, show"},
		{"kill gpu-0", `unknown verb "kill"; there are: set, remove`},
		{"set", "set: the name of a device is missing; it is written: set DEVICE health=unhealthy"},
		{"set health=ok", "set: the name of a device is missing"},
		{"set GPU-0 health=healthy", "lower case letters, digits and '-'"},
		{"set gpu-0", "set: it is missing what to set; it is written: set DEVICE"},
		{"set gpu-0 health=ill", "health=ill is neither healthy nor unhealthy"},
		{"set gpu-0 sick", `"sick" is none of what can follow: health=…, reason=…, each once`},
		{"set gpu-0 health=healthy health=healthy", "each once"},
		{"set gpu-0 health=healthy reason=hot", "a healthy device has no reason"},
		{"set gpu-0 reason=hot", "a reason is one for health=unhealthy"},
		{"set gpu-0 health=unhealthy reason=" + strings.Repeat("x", 257), "reason: a sentence of 257 bytes is too long"},
		{"set gpu-0 taint=a", `has no effect ""; there are: NoSchedule, NoExecute, None`},
		{"set gpu-0 taint=a:Never", `has no effect "Never"`},
		{"set gpu-0 taint=:None", `the key "" of a taint`},
		{"set gpu-0 taint=a=/:None", `the value "/" of a taint`},
		{"set gpu-0 taint=a=b:None-", "without a value"},
		{"remove", "remove: the name of a device is missing; it is written: remove DEVICE"},
		{"remove gpu-0 gpu-1", `"gpu-1" is one word too many`},
		{"add gpu-9 unlike=gpu-0", `"unlike=gpu-0" is none of what can follow: like=…`},
		{"slow", "slow: it is missing what is to be slow; it is written: slow [prepare=2s]"},
		{"slow prepare=2", "prepare=2 is no time from 0s to 1h0m0s"},
		{"slow prepare=-2s", "prepare=-2s is no time"},
		{"slow prepare=2h", "prepare=2h is no time"},
		{"slow boot=2s", `"boot=2s" is none of what can follow: prepare=…, unprepare=…, look=…`},
		{"fail", "fail: it is missing what is to fail; it is written: fail prepare|unprepare|look"},
		{"fail boot", "it is missing what is to fail"},
		{"fail prepare times=x", "times=x is no number from 0 to 1000000"},
		{"fail prepare times=-1", "times=-1 is no number"},
		{"fail prepare 3", `"3" is none of what can follow: times=…, message=…`},
		{"reset gpu-0 gpu-1", "one word too many"},
		{"show gpu-0", "one word too many"},
	} {
		_, err := ParseCommand(words(test.line))
		if !errors.As(err, new(*SyntaxError)) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v\ndoes not say %s", test.line, err, test.want)
		}
	}
	for _, test := range []struct {
		before []string
		line   string
		want   string
	}{
		{nil, "set gpu-7 health=unhealthy", `device "gpu-7" is not on node node-a: it has gpu-0, gpu-1, gpu-2`},
		{nil, "remove gpu-7", `device "gpu-7" is not on node node-a: it has gpu-0, gpu-1, gpu-2`},
		{nil, "reset gpu-7", `device "gpu-7" is not on node node-a`},
		{[]string{"remove gpu-1"}, "set gpu-1 health=healthy",
			`device "gpu-1" was removed; "dragoman mock add gpu-1" puts it back`},
		{[]string{"remove gpu-1"}, "remove gpu-1", `device "gpu-1" was removed`},
		{[]string{"remove gpu-1"}, "add gpu-1 like=gpu-0", "add gpu-1: the profile says what it is"},
		{nil, "add gpu-1", "add gpu-1: it is there"},
		{nil, "add gpu-9 like=gpu-7",
			`add gpu-9: it cannot be like "gpu-7", which is no whole device of the profile: it has`},
	} {
		b := threeGPUs(t)
		mustTell(t, b, test.before...)
		before := outlined(devices(t, b))
		_, err := tell(b, test.line)
		if err == nil || errors.As(err, new(*SyntaxError)) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v\ndoes not say %s", test.line, err, test.want)
		}
		if after := outlined(devices(t, b)); after != before {
			t.Errorf("%s: it was refused, and changes %s into %s", test.line, before, after)
		}
	}
	b := threeGPUs(t)
	for i := range maxTaints {
		mustTell(t, b, fmt.Sprintf("set gpu-0 taint=a%d:None", i))
	}
	if _, err := tell(b, "set gpu-0 taint=b:None"); err == nil || !strings.Contains(err.Error(),
		"set gpu-0: 17 taints are too many; there is room for 16") {
		t.Error(err)
	}
}

// TestEachVerbIsInTheHelp, and each line of the help is a command.
func TestEachVerbIsInTheHelp(t *testing.T) {
	for verb := range verbs() {
		if !strings.Contains(" "+verbNames()+",", " "+verb+",") {
			t.Errorf("%s is not in the help", verb)
		}
	}
	for _, line := range []string{
		`set gpu-0 health=unhealthy reason="…"`, "set gpu-0 health=healthy", "set gpu-0 taint=KEY=VALUE:NoExecute",
		"set gpu-0 taint=KEY:None-", "remove gpu-0", "add gpu-0 like=gpu-1", "slow prepare=2s unprepare=2s look=2s",
		`fail look times=1 message="…"`, "reset gpu-0", "show",
	} {
		if _, err := ParseCommand(words(line)); err != nil {
			t.Errorf("%s: %v", line, err)
		}
	}
	if len(Commands()) != 10 {
		t.Errorf("%d lines of help, and this test knows 10", len(Commands()))
	}
}

// partitioned is a machine of two GPUs with two parts each, and their counters.
func partitioned() device.Snapshot {
	consumes := func(gpu string) []resourceapi.DeviceCounterConsumption {
		return []resourceapi.DeviceCounterConsumption{{CounterSet: gpu}}
	}
	var s device.Snapshot
	for _, gpu := range []string{"gpu-0", "gpu-1"} {
		s.SharedCounters = append(s.SharedCounters, resourceapi.CounterSet{Name: gpu})
		for _, name := range []string{gpu, gpu + "-a", gpu + "-b"} {
			d := device.Device{Device: resourceapi.Device{Name: name, ConsumesCounters: consumes(gpu)}}
			if name != gpu {
				d.PartOf = gpu
			}
			s.Devices = append(s.Devices, d)
		}
	}
	return s
}

// TestWhatIsToldOfADeviceHoldsForItsParts, unless they were told something else.
func TestWhatIsToldOfADeviceHoldsForItsParts(t *testing.T) {
	for name, test := range map[string]struct {
		lines    []string
		want     string
		counters string
	}{
		"the device is sick": {[]string{"set gpu-0 health=unhealthy reason=hot"},
			"gpu-0[hot] gpu-0-a[hot] gpu-0-b[hot] gpu-1 gpu-1-a gpu-1-b", "gpu-0 gpu-1"},
		"a part is sick": {[]string{"set gpu-0-a health=unhealthy reason=hot"},
			"gpu-0 gpu-0-a[hot] gpu-0-b gpu-1 gpu-1-a gpu-1-b", "gpu-0 gpu-1"},
		"the device is sick and a part is not": {
			[]string{"set gpu-0 health=unhealthy reason=hot", "set gpu-0-a health=healthy"},
			"gpu-0[hot] gpu-0-a gpu-0-b[hot] gpu-1 gpu-1-a gpu-1-b", "gpu-0 gpu-1"},
		"the device is tainted": {[]string{"set gpu-0 taint=a:None"},
			"gpu-0!a:None gpu-0-a!a:None gpu-0-b!a:None gpu-1 gpu-1-a gpu-1-b", "gpu-0 gpu-1"},
		"the device is removed": {[]string{"remove gpu-0"}, "gpu-1 gpu-1-a gpu-1-b", "gpu-1"},
		"a part is removed": {[]string{"remove gpu-0-a"}, "gpu-0 gpu-0-b gpu-1 gpu-1-a gpu-1-b",
			"gpu-0 gpu-1"},
		"a device is added like one with parts": {[]string{"add gpu-9"},
			"gpu-0 gpu-0-a gpu-0-b gpu-1 gpu-1-a gpu-1-b gpu-9", "gpu-0 gpu-1"},
	} {
		t.Run(name, func(t *testing.T) {
			var c controls
			profile := partitioned()
			before := outlined(profile.Devices)
			for _, line := range test.lines {
				command, err := ParseCommand(words(line))
				check(t, err)
				_, err = command.change(&c, machine{node: "node-a", profile: profile, now: c.over(profile, "node-a")})
				check(t, err)
			}
			got := c.over(profile, "node-a")
			if text := outlined(got.Devices); text != test.want {
				t.Errorf("devices: %s\nwant:    %s", text, test.want)
			}
			var counters []string
			for _, set := range got.SharedCounters {
				counters = append(counters, set.Name)
			}
			if text := strings.Join(counters, " "); text != test.counters {
				t.Errorf("counter sets %s, want %s", text, test.counters)
			}
			if after := outlined(profile.Devices); after != before || len(profile.SharedCounters) != 2 {
				t.Errorf("the profile was changed: %s", after)
			}
			if d, ok := deviceNamed(got, "gpu-9"); ok && len(d.ConsumesCounters) > 0 {
				t.Error("an added device consumes counters of another one")
			}
		})
	}
}

func TestPartsOfARemovedDeviceSayWhatToDo(t *testing.T) {
	c := controls{Devices: map[string]deviceControl{"gpu-0": {Removed: true}}}
	m := machine{node: "node-a", profile: partitioned()}
	m.now = c.over(m.profile, m.node)
	for line, want := range map[string]string{
		"set gpu-0-a health=unhealthy": `device "gpu-0-a" was removed; "dragoman mock add gpu-0" puts it back`,
		"add gpu-0-a":                  "add gpu-0-a: it is part of gpu-0, which was removed; add that one",
		"add gpu-9 like=gpu-1-a":       `it cannot be like "gpu-1-a", which is no whole device`,
	} {
		command, err := ParseCommand(words(line))
		check(t, err)
		if _, err := command.change(&c, m); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v\ndoes not say %s", line, err, want)
		}
	}
}

func TestAnAddedDeviceIsADeviceOfItsOwn(t *testing.T) {
	b := newBackend(t, "dgx-h100")
	mustTell(t, b, "add gpu-12 like=gpu-3", "add spare like=gpu-3")
	all := map[string]device.Device{}
	for _, d := range devices(t, b) {
		all[d.Name] = d
	}
	like, numbered, other := all["gpu-3"], all["gpu-12"], all["spare"]
	a, model := numbered.Attributes, *like.Attributes["model"].StringValue
	if *a["index"].IntValue != 12 || *a["model"].StringValue != model {
		t.Errorf("attributes %v", a)
	}
	if _, ok := other.Attributes["index"]; ok {
		t.Error("a device without a number has an index")
	}
	uuids := map[string]bool{}
	for _, d := range all {
		uuids[*d.Attributes["uuid"].StringValue] = true
		if _, ok := d.Attributes["resource.kubernetes.io/pciBusID"]; ok == (d.Name == "gpu-12" || d.Name == "spare") {
			t.Errorf("%s has a PCI address: %v", d.Name, ok)
		}
	}
	if len(uuids) != len(all) {
		t.Errorf("%d UUIDs of %d devices: %v", len(uuids), len(all), uuids)
	}
	if *all["gpu-3"].Attributes["index"].IntValue != 3 {
		t.Error("the device that it is like was changed")
	}
	before := *numbered.Attributes["uuid"].StringValue
	for _, d := range devices(t, again(t, b)) {
		if d.Name == "gpu-12" && *d.Attributes["uuid"].StringValue != before {
			t.Errorf("after a restart it has the UUID %s, and %s before", *d.Attributes["uuid"].StringValue, before)
		}
	}
	c := newCaller(b)
	if _, err := b.Prepare(t.Context(), c.request(claimUID, result("one", "gpu-12"))); err != nil {
		t.Error(err)
	}
	mustTell(t, b, "remove gpu-3")
	_, err := b.Prepare(t.Context(), c.request(claimUID, result("one", "gpu-3")))
	if err == nil || !strings.Contains(err.Error(), `device "gpu-3" is not on node node-a: it has gpu-0`) {
		t.Errorf("a removed device is prepared: %v", err)
	}
}

func TestCallsThatFail(t *testing.T) {
	b := newBackend(t, "example")
	c := newCaller(b)
	r := c.request(claimUID, result("one", "gpu-0"))
	prepare := func() error { _, err := b.Prepare(t.Context(), r); return err }
	unprepare := func() error {
		return b.Unprepare(t.Context(), device.Grant{Claim: r.Claim, Result: r.Devices[0], Undo: c.undo["gpu-0"]})
	}
	look := func() error { _, err := b.Devices(t.Context()); return err }
	for _, one := range []struct {
		line string
		call func() error
	}{ // in this order: what the first leaves, the last takes away
		{"fail prepare message=no", prepare}, {"fail look message=no", look}, {"fail unprepare message=no", unprepare},
	} {
		line, call := one.line, one.call
		mustTell(t, b, line)
		for range 3 {
			if err := call(); err == nil || err.Error() != "no" {
				t.Errorf("%s: %v", line, err)
			}
		}
		mustTell(t, b, strings.Replace(line, "message=no", "times=0", 1))
		if err := call(); err != nil {
			t.Errorf("%s, and then no more: %v", line, err)
		}
		// Other processes count, too.
		mustTell(t, again(t, b), strings.Replace(line, "message", "times=2 message", 1))
		var got []string
		for range 4 {
			got = append(got, fmt.Sprint(call()))
		}
		if diff := cmp.Diff([]string{"no", "no", "<nil>", "<nil>"}, got); diff != "" {
			t.Errorf("%s times=2: %s", line, diff)
		}
	}
	left := files(t, b.options.Dir)
	if slices.Contains(left, claimUID) || slices.Contains(left, "_controls/controls.json") {
		t.Errorf("files: %v", left)
	}
}

func TestCallsThatFailTogetherAreCountedOnceEach(t *testing.T) {
	b := newBackend(t, "example")
	mustTell(t, b, "fail prepare times=10")
	var failed sync.Map
	var all sync.WaitGroup
	for i := range 30 {
		backend := b
		if i%2 == 0 {
			backend = again(t, b)
		}
		all.Go(func() {
			uid := types.UID(fmt.Sprintf("3f6e7a1c-0000-4000-8000-%012d", i))
			r := newCaller(backend).request(uid, result("one", "gpu-0"))
			if _, err := backend.Prepare(t.Context(), r); err != nil {
				failed.Store(i, err)
			}
		})
	}
	all.Wait()
	n := 0
	failed.Range(func(any, any) bool { n++; return true })
	if n != 10 {
		t.Errorf("%d calls failed", n)
	}
}

func TestCallsThatTakeLong(t *testing.T) {
	b := newBackend(t, "example")
	c := newCaller(b)
	r := c.request(claimUID, result("one", "gpu-0"))
	const wait = 50 * time.Millisecond
	mustTell(t, b, fmt.Sprintf("slow prepare=%s unprepare=%s look=%s", wait, wait, wait))
	for name, call := range map[string]func(ctx context.Context) error{
		"prepare": func(ctx context.Context) error { _, err := b.Prepare(ctx, r); return err },
		"unprepare": func(ctx context.Context) error {
			return b.Unprepare(ctx, device.Grant{Claim: r.Claim, Result: r.Devices[0]})
		},
		"look": func(ctx context.Context) error { _, err := b.Devices(ctx); return err },
	} {
		began := time.Now()
		if err := call(t.Context()); err != nil || time.Since(began) < wait {
			t.Errorf("%s took %s: %v", name, time.Since(began), err)
		}
		mustTell(t, b, "slow "+name+"=1h")
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		err := call(ctx)
		cancel()
		want := name + " was told to take 1h0m0s longer"
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s that is given up: %v", name, err)
		}
		mustTell(t, b, "slow "+name+"=0s")
		if err := call(t.Context()); err != nil {
			t.Errorf("%s, as fast as before: %v", name, err)
		}
	}
	if len(c.undo) != 1 {
		t.Errorf("remembered %v", c.undo)
	}
}

func TestTwoWhoTellDoNotLoseEachOthersWords(t *testing.T) {
	b := newBackend(t, "example")
	var all sync.WaitGroup
	for i := range 8 {
		other := again(t, b)
		all.Go(func() {
			for n := range 5 {
				if _, err := tell(other, fmt.Sprintf("set gpu-%d health=unhealthy taint=a%d:None", i, n)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	for _, d := range devices(t, b) {
		if !d.Health.Unhealthy || len(d.Taints) != 5 {
			t.Errorf("%s: %v %v", d.Name, d.Health, d.Taints)
		}
	}
}

// rewrite changes the file in which it is what the machine was told.
func rewrite(t *testing.T, b *Backend, change func(text string) string) {
	t.Helper()
	file := b.controlsDir().File(controlsFile)
	text, err := os.ReadFile(file)
	check(t, err)
	writeFile(t, file, change(string(text)))
}

func TestWhatWasToldBeforeTheNodeRebootedIsForgotten(t *testing.T) {
	b := newBackend(t, "example")
	mustTell(t, b, "remove gpu-0", "fail prepare")
	if n := len(devices(t, again(t, b))); n != 7 {
		t.Errorf("%d devices after a restart", n)
	}
	rewrite(t, b, func(text string) string { return strings.Replace(text, bootID(), "an-earlier-one", 1) })
	for _, b := range []*Backend{b, again(t, b)} {
		if n := len(devices(t, b)); n != 8 {
			t.Errorf("%d devices after a reboot", n)
		}
	}
	mustTell(t, b, "remove gpu-1")
	if got := outlined(devices(t, b)); !strings.HasPrefix(got, "gpu-0 gpu-2") {
		t.Errorf("devices: %s", got)
	}
}

func TestAFileThatNobodyUnderstands(t *testing.T) {
	for name, change := range map[string]func(text string) string{
		"it is empty of sense":     func(string) string { return "nonsense" },
		"it is cut off":            func(text string) string { return text[:len(text)-3] },
		"it goes on":               func(text string) string { return text + "{}" },
		"it is of another kind":    func(text string) string { return strings.Replace(text, "MockControls", "Pod", 1) },
		"it is of a newer version": func(text string) string { return strings.Replace(text, "v1alpha1", "v2", 1) },
		"it has an unknown field":  func(text string) string { return strings.Replace(text, `"removed"`, `"moved"`, 1) },
		"it has a bad name":        func(text string) string { return strings.Replace(text, `"gpu-0"`, `"../gpu-0"`, 1) },
		"it has an unknown call":   func(text string) string { return strings.Replace(text, `"look"`, `"glance"`, 1) },
		"it has a bad duration":    func(text string) string { return strings.Replace(text, `"1ms"`, `"-1ms"`, 1) },
		"it has an unknown effect": func(text string) string { return strings.Replace(text, `"None"`, `"Never"`, 1) },
		"it is sick for no reason": func(text string) string { return strings.Replace(text, `"hot"`, `""`, 1) },
		"it has a long reason": func(text string) string {
			return strings.Replace(text, "hot", strings.Repeat("x", 300), 1)
		},
		"it fails a negative times": func(text string) string {
			return strings.Replace(text, `"times": 3`, `"times": -3`, 1)
		},
		"it fails without a word": func(text string) string { return strings.Replace(text, `"no"`, `""`, 1) },
		"it is like nothing": func(text string) string {
			return strings.Replace(text, `"like": "gpu-2"`, `"like": "/"`, 1)
		},
		"a taint is there twice": func(text string) string {
			return strings.Replace(text, `"taints": [`, `"taints": [{"key": "a", "effect": "None"},`, 1)
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBackend(t, "example")
			mustTell(t, b, "remove gpu-0", "set gpu-1 health=unhealthy reason=hot taint=a:None", "slow look=1ms",
				"add gpu-9 like=gpu-2", "fail prepare times=3 message=no")
			before := outlined(devices(t, b))
			rewrite(t, b, func(text string) string {
				changed := change(text)
				if changed == text {
					t.Fatal("the test changes nothing")
				}
				return changed
			})
			want := "read what the machine was told: " + b.controlsDir().File(controlsFile)
			for who, b := range map[string]*Backend{"who knew it before": b, "who did not": again(t, b)} {
				_, err := b.Devices(t.Context())
				if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), `"dragoman mock reset"`) {
					t.Errorf("%s: %v", who, err)
				}
				if _, err := tell(b, "show"); err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%s shows: %v", who, err)
				}
				if _, err := tell(b, "set gpu-2 health=unhealthy"); err == nil {
					t.Errorf("%s tells more", who)
				}
			}
			// What was known before holds.
			r := newCaller(b).request(claimUID, result("one", "gpu-0"))
			if _, err := b.Prepare(t.Context(), r); err == nil || err.Error() != "no" {
				t.Errorf("prepare: %v", err)
			}
			mustTell(t, b, "reset")
			if got := outlined(devices(t, b)); got == before || !strings.HasPrefix(got, "gpu-0 gpu-1 gpu-2") {
				t.Errorf("after reset: %s", got)
			}
		})
	}
}

func TestWatchSeesWhatTheMachineIsTold(t *testing.T) {
	for name, arrange := range map[string]func(t *testing.T, b *Backend){
		"a machine with a built-in profile": func(*testing.T, *Backend) {},
		"a machine whose folder was removed": func(t *testing.T, b *Backend) {
			check(t, os.RemoveAll(filepath.Dir(b.options.Dir)))
		},
		"a machine whose folder was renamed": func(t *testing.T, b *Backend) {
			check(t, os.Rename(b.controlsDir().Path(), b.controlsDir().Path()+".old"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBackend(t, "example")
			ctx, stop := context.WithTimeout(t.Context(), patience)
			defer stop()
			counts := make(chan int, 100)
			ended := make(chan error, 1)
			go func() {
				ended <- b.Watch(ctx, func() {
					if snapshot, err := b.Devices(ctx); err == nil {
						counts <- len(snapshot.Devices)
					}
				})
			}()
			other := again(t, b)
			for _, step := range []struct {
				line string
				want int
			}{{"remove gpu-0", 7}, {"add gpu-9", 8}, {"reset", 8}, {"remove gpu-1", 7}} {
				mustTell(t, other, step.line)
				for got := -1; got != step.want; {
					select {
					case got = <-counts:
					case <-ctx.Done():
						t.Fatalf("%s was not seen", step.line)
					}
				}
				if step.line == "add gpu-9" {
					arrange(t, b)
				}
			}
			stop()
			check(t, <-ended)
		})
	}
}

// TestCountingIsNoNews: a call that fails writes how often, and nobody has to look at the devices because of that.
func TestCountingIsNoNews(t *testing.T) {
	b := newBackend(t, "example")
	mustTell(t, b, "fail prepare times=3")
	if !b.differs() {
		t.Error("a command is no news")
	}
	devices(t, b)
	r := newCaller(b).request(claimUID, result("one", "gpu-0"))
	if _, err := b.Prepare(t.Context(), r); err == nil || b.differs() {
		t.Errorf("%v; and it is news", err)
	}
	// What somebody else has said meanwhile is not lost by it.
	mustTell(t, again(t, b), "remove gpu-1")
	if _, err := b.Prepare(t.Context(), r); err == nil || !b.differs() {
		t.Errorf("%v; and a command is no news any more", err)
	}
}

func TestSweepSparesWhatTheMachineWasTold(t *testing.T) {
	b := newBackend(t, "example")
	mustTell(t, b, "remove gpu-0")
	check(t, b.Sweep(t.Context(), func(types.UID) bool { return false }))
	if n := len(devices(t, again(t, b))); n != 7 {
		t.Errorf("%d devices after sweeping", n)
	}
}

func TestAMachineThatCannotBeTold(t *testing.T) {
	b := newBackend(t, "example")
	writeFile(t, b.options.Dir, "in the way")
	_, err := tell(b, "remove gpu-0")
	if err == nil || !strings.Contains(err.Error(), "make a folder for what the machine is told: ") ||
		!strings.Contains(err.Error(), "a directory") {
		t.Errorf("error %v", err)
	}
}

func FuzzParseCommand(f *testing.F) {
	for _, line := range []string{
		"set gpu-0 health=unhealthy reason=hot taint=a=b:None", "set gpu-0-a taint=a-", "remove gpu-0",
		"add gpu-9 like=gpu-1", "slow prepare=2s", "fail look times=3", "reset", "reset gpu-0", "show",
	} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		command, err := ParseCommand(strings.Fields(line))
		if err != nil {
			if !errors.As(err, new(*SyntaxError)) {
				t.Errorf("%q: %v", line, err)
			}
			return
		}
		c := controls{APIVersion: "dragoman.example.com/v1alpha1", Kind: controlsKind, Boot: "boot"}
		if _, err := command.change(&c, machine{node: "n", profile: partitioned(), now: partitioned()}); err != nil {
			return
		}
		raw, err := c.encode()
		check(t, err)
		if _, err := decodeControls(raw, "boot"); err != nil {
			t.Errorf("%q leads to what nobody understands: %v\n%s", line, err, raw)
		}
	})
}

func FuzzDecodeControls(f *testing.F) {
	c := controls{APIVersion: "dragoman.example.com/v1alpha1", Kind: controlsKind, Boot: "boot"}
	for _, line := range []string{"set gpu-0 health=unhealthy taint=a:None", "remove gpu-1", "add gpu-9", "slow look=1s",
		"fail prepare times=2"} {
		command, err := ParseCommand(strings.Fields(line))
		check(f, err)
		_, err = command.change(&c, machine{node: "n", profile: partitioned(), now: partitioned()})
		check(f, err)
		raw, err := c.encode()
		check(f, err)
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, err := decodeControls(raw, "boot")
		if err != nil {
			return
		}
		now := c.over(partitioned(), "n")
		names := map[string]bool{}
		for _, d := range now.Devices {
			if names[d.Name] || d.Health.Unhealthy != (d.Health.Reason != "") {
				t.Errorf("device %+v", d)
			}
			names[d.Name] = true
		}
		if _, err := json.Marshal(c); err != nil {
			t.Error(err)
		}
		_ = c.show(machine{node: "n", profile: partitioned(), now: now})
	})
}
