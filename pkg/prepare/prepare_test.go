package prepare

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
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	cdispecs "tags.cncf.io/container-device-interface/specs-go"

	"example.com/dragoman/pkg/checkpoint"
	"example.com/dragoman/pkg/device"
)

// odd is hardware that behaves in other ways than it should.
type odd struct {
	*hardware
	prepare   func(r device.Request) ([]device.Grant, error)
	unprepare func(g device.Grant) error
}

func (o odd) Prepare(ctx context.Context, r device.Request) ([]device.Grant, error) {
	if o.prepare != nil {
		return o.prepare(r)
	}
	return o.hardware.Prepare(ctx, r)
}

func (o odd) Unprepare(ctx context.Context, g device.Grant) error {
	if o.unprepare != nil {
		return o.unprepare(g)
	}
	return o.hardware.Unprepare(ctx, g)
}

func (n node) recordOf(uid types.UID) string {
	return filepath.Join(n.state, "claims", string(uid)+".json")
}

func (n node) specOf(uid types.UID) string {
	return filepath.Join(n.cdi, "k8s.gpu.example.com-gpu_"+string(uid)+".json")
}

func TestAHeldDeviceIsRefusedAndNothingIsLeft(t *testing.T) {
	ctx := t.Context()
	p := newNode(t).start(t)
	_, err := p.Prepare(ctx, planOf("a", "gpu-3"))
	must(t, err)
	before := p.left(t)
	_, err = p.start(t).Prepare(ctx, planOf("b", "gpu-0", "gpu-3", "gpu-4"))
	var held *checkpoint.HeldError
	want := "device gpu-3 of pool node-a is held by claim team-a/train (uid a): " +
		"it becomes free when the pods of that claim are gone from this node"
	if !errors.As(err, &held) || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	if after := p.left(t); !slices.Equal(before, after) {
		t.Errorf("before %v, after %v", before, after)
	}
	must(t, p.Unprepare(ctx, "a"))
	_, err = p.Prepare(ctx, planOf("b", "gpu-0", "gpu-3", "gpu-4"))
	must(t, err)
	p.mustHold(t)
}

func TestAllClaimsTakeDevicesInTheSameOrder(t *testing.T) {
	p := newNode(t).start(t)
	for _, uid := range []types.UID{"3", "4"} {
		_, err := p.Prepare(t.Context(), planOf(uid, "gpu-"+string(uid)))
		must(t, err)
	}
	for _, devices := range [][]string{{"gpu-3", "gpu-4"}, {"gpu-4", "gpu-3"}} {
		var held *checkpoint.HeldError
		if _, err := p.Prepare(t.Context(), planOf("b", devices...)); !errors.As(err, &held) ||
			held.Key.Device != "gpu-3" {
			t.Errorf("%v: %v; two claims could keep each other from their devices", devices, err)
		}
	}
}

func TestAdminAccessBlocksNobodyAndIsBlockedByNobody(t *testing.T) {
	ctx := t.Context()
	p := newNode(t).start(t)
	for _, c := range []struct {
		uid    types.UID
		device string
	}{{"admin-1", "gpu-0 admin"}, {"user", "gpu-0"}, {"admin-2", "gpu-0 admin"}} {
		answer, err := p.Prepare(ctx, planOf(c.uid, c.device))
		must(t, err)
		p.mustBePrepared(t, c.uid, answer)
	}
	must(t, p.Unprepare(ctx, "admin-1"))
	must(t, p.Unprepare(ctx, "admin-2"))
	p.mustHold(t)
	if effects := p.hardware.effects(t); effects["gpu-0_"] != "user" {
		t.Errorf("who only looked took the device from its user: %v", effects)
	}
	for _, uid := range []types.UID{"admin-1", "admin-2"} {
		if _, err := os.Stat(p.specOf(uid)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the CDI file of %s is left: %v", uid, err)
		}
	}
	p.mustGoAway(t, "user")
}

func TestSharesOfADeviceHaveDifferentOwners(t *testing.T) {
	ctx := t.Context()
	p := newNode(t).start(t)
	for _, uid := range []types.UID{"a", "b"} {
		answer, err := p.Prepare(ctx, planOf(uid, "gpu-0 share=s-"+string(uid)))
		must(t, err)
		want := "k8s.gpu.example.com/gpu=" + string(uid) + "-gpu-0-s-" + string(uid)
		if answer[0].CDIDeviceIDs[0] != want {
			t.Errorf("got %v, want %s", answer, want)
		}
	}
	if _, err := p.Prepare(ctx, planOf("c", "gpu-0 share=s-a")); !errors.As(err, new(*checkpoint.HeldError)) {
		t.Errorf("a share went to two claims: %v", err)
	}
	p.mustHold(t)
}

func TestPrepareAgainMakesWhatIsMissing(t *testing.T) {
	ctx := t.Context()
	p := newNode(t).start(t)
	plan := planOf("a", "gpu-1", "gpu-0", "gpu-2 admin")
	want, err := p.Prepare(ctx, plan)
	must(t, err)
	for name, spoil := range map[string]func() error{
		"nothing":             func() error { return nil },
		"its CDI file":        func() error { return os.Remove(p.specOf("a")) },
		"all CDI files":       func() error { return os.RemoveAll(p.cdi) },
		"part of a CDI file":  func() error { return os.Truncate(p.specOf("a"), 10) },
		"its markers":         func() error { return os.RemoveAll(filepath.Join(p.state, "owners")) },
		"its devices' effect": func() error { return os.RemoveAll(filepath.Join(p.node.hardware, "gpu-0_")) },
		"its record":          func() error { return os.Remove(p.recordOf("a")) },
		"its record's middle": func() error { return os.Truncate(p.recordOf("a"), 100) },
		"all that it records": func() error { return os.RemoveAll(p.state) },
	} {
		t.Run(name, func(t *testing.T) {
			before, err := os.Stat(p.recordOf("a"))
			must(t, err)
			must(t, spoil())
			answer, err := p.start(t).Prepare(ctx, plan)
			must(t, err)
			mustBeEqual(t, answer, want)
			p.mustBePrepared(t, "a", answer)
			p.mustHold(t)
			if after, err := os.Stat(p.recordOf("a")); name == "nothing" && (err != nil ||
				!os.SameFile(before, after)) {
				t.Errorf("a record that says the same was written again: %v", err)
			}
		})
	}
}

func TestAFailedRepeatLeavesAPreparedClaimPrepared(t *testing.T) {
	ctx := t.Context()
	p := newNode(t).start(t)
	answer, err := p.Prepare(ctx, planOf("a", "gpu-0"))
	must(t, err)
	p.hardware.at = fail
	if _, err := p.Prepare(ctx, planOf("a", "gpu-0")); err == nil ||
		!strings.HasPrefix(err.Error(), "set up gpu-0: injected") {
		t.Errorf("got %v", err)
	}
	p.mustBePrepared(t, "a", answer)
}

func TestAClaimThatWasAllocatedAnew(t *testing.T) {
	ctx := t.Context()
	for name, c := range map[string]struct{ first, then []string }{
		"other devices":           {[]string{"gpu-0", "gpu-1"}, []string{"gpu-2"}},
		"one device more":         {[]string{"gpu-0"}, []string{"gpu-0", "gpu-1"}},
		"one device less":         {[]string{"gpu-0", "gpu-1"}, []string{"gpu-1"}},
		"another order":           {[]string{"gpu-0", "gpu-1"}, []string{"gpu-1", "gpu-0"}},
		"only for a look":         {[]string{"gpu-0"}, []string{"gpu-0 admin"}},
		"not only for a look":     {[]string{"gpu-0 admin"}, []string{"gpu-0"}},
		"another share":           {[]string{"gpu-0 share=s-1"}, []string{"gpu-0 share=s-2"}},
		"nothing of ours":         {[]string{"gpu-0", "gpu-1 admin"}, nil},
		"nothing of ours ever":    {nil, nil},
		"something, then nothing": {nil, []string{"gpu-0"}},
	} {
		for _, damage := range []string{"a good record", "a bad record"} {
			t.Run(name+" after "+damage, func(t *testing.T) {
				n := newNode(t)
				p := n.start(t).with(t, sweeping{newHardware(n.hardware)})
				_, err := p.Prepare(ctx, planOf("a", c.first...))
				must(t, err)
				if damage == "a bad record" && c.first != nil {
					must(t, os.Truncate(p.recordOf("a"), 50))
				}
				answer, err := p.Prepare(ctx, planOf("a", c.then...))
				must(t, err)
				p.mustHold(t)
				if len(answer) > 0 {
					p.mustBePrepared(t, "a", answer)
				}
				// Whoever wants a device that the claim had before gets it.
				for i, words := range c.first {
					name, _, _ := strings.Cut(words, " ")
					if !slices.ContainsFunc(c.then, func(s string) bool { return strings.HasPrefix(s, name) }) {
						_, err := p.Prepare(ctx, planOf(types.UID(fmt.Sprint("next-", i)), name))
						must(t, err)
					}
				}
				p.mustHold(t)
				must(t, p.Unprepare(ctx, "a"))
				p.mustHold(t)
				if known, err := p.records.Has("a"); known || err != nil {
					t.Errorf("the claim is still known: %v", err)
				}
			})
		}
	}
}

func TestFault04ACorruptRecordIsReportedOnceAndMended(t *testing.T) {
	ctx := t.Context()
	for name, backend := range map[string]func(h *hardware) device.Backend{
		"that sweeps": func(h *hardware) device.Backend { return sweeping{h} },
		"that cannot": func(h *hardware) device.Backend {
			return odd{hardware: h, unprepare: func(g device.Grant) error {
				return errors.Join(os.RemoveAll(h.file(g.Result))) // it can do without Undo
			}}
		},
	} {
		t.Run("with a backend "+name, func(t *testing.T) {
			p := newNode(t).start(t)
			p.with(t, backend(p.hardware))
			_, err := p.Prepare(ctx, planOf("a", "gpu-0", "gpu-1"))
			must(t, err)
			_, err = p.Prepare(ctx, planOf("c", "gpu-7"))
			must(t, err)
			must(t, os.WriteFile(p.recordOf("a"), nil, 0o600))
			for range 2 {
				if _, err := p.Prepare(ctx, planOf("b", "gpu-0")); !errors.As(err, new(*checkpoint.HeldError)) {
					t.Fatalf("the claim was taken for one that is not prepared: %v", err)
				}
			}
			claims, err := p.Remembered()
			if len(claims) != 2 || claims[0].Claim != (device.Claim{Namespace: "team-a", Name: "train", UID: "a"}) ||
				claims[0].State != Unreadable || len(claims[0].Devices) != 2 || err != nil {
				t.Errorf("Remembered: %v, %v", claims, err)
			}
			for range 2 {
				must(t, p.Restore(ctx))
			}
			var corrupt *checkpoint.CorruptError
			if len(p.reports) != 1 || !errors.As(p.reports[0], &corrupt) || corrupt.Earlier {
				t.Errorf("reported: %v", p.reports)
			}
			mustHaveDone(t, p, "record_quarantined team-a/train a")
			if _, err := os.Stat(p.specOf("a")); err != nil {
				t.Errorf("the CDI file of running containers is gone: %v", err)
			}
			must(t, p.Unprepare(ctx, "a"))
			if len(p.reports) != 1 {
				t.Errorf("reported again: %v", p.reports)
			}
			p.mustHold(t)
			_, err = p.Prepare(ctx, planOf("b", "gpu-0", "gpu-1"))
			must(t, err)
			must(t, p.Unprepare(ctx, "b"))
			must(t, p.Unprepare(ctx, "c"))
			if left := p.left(t); !slices.Equal(left, []string{"state/quarantine/a.1.json.resolved"}) {
				t.Errorf("left: %v", left)
			}
		})
	}
	p := newNode(t).start(t)
	_, err := p.Prepare(ctx, planOf("a", "gpu-0"))
	must(t, err)
	must(t, os.WriteFile(p.recordOf("a"), []byte("junk"), 0o600))
	must(t, p.Unprepare(ctx, "a"))
	if len(p.reports) != 1 || !errors.As(p.reports[0], new(*checkpoint.CorruptError)) {
		t.Errorf("reported: %v", p.reports)
	}
}

func TestFault05ARecordOfANewerVersionIsRefusedAndKeepsItsDevices(t *testing.T) {
	ctx := t.Context()
	p := newNode(t).start(t)
	_, err := p.Prepare(ctx, planOf("a", "gpu-0"))
	must(t, err)
	must(t, os.WriteFile(p.recordOf("a"), []byte("dragoman-record/v2 …\n"), 0o600))
	before := p.left(t)
	_, prepareErr := p.Prepare(ctx, planOf("a", "gpu-0"))
	for range 2 {
		must(t, p.Restore(ctx))
	}
	for call, err := range map[string]error{
		"Prepare": prepareErr, "Unprepare": p.Unprepare(ctx, "a"), "what Restore reports": errors.Join(p.reports...),
	} {
		if !errors.As(err, new(*checkpoint.VersionError)) || !strings.Contains(err.Error(), "has format v2") {
			t.Errorf("%s: %v", call, err)
		}
	}
	if _, err := p.Prepare(ctx, planOf("b", "gpu-0")); !errors.As(err, new(*checkpoint.HeldError)) {
		t.Errorf("its device went to another claim: %v", err)
	}
	if after := p.left(t); !slices.Equal(before, after) {
		t.Errorf("before %v, after %v", before, after)
	}
}

func TestUnprepare(t *testing.T) {
	ctx := t.Context()
	t.Run("of an unknown claim changes nothing", func(t *testing.T) {
		p := newNode(t).start(t)
		_, err := p.Prepare(ctx, planOf("a", "gpu-0"))
		must(t, err)
		before := p.left(t)
		must(t, p.Unprepare(ctx, "unknown"))
		if after := p.left(t); !slices.Equal(before, after) {
			t.Errorf("before %v, after %v", before, after)
		}
	})
	t.Run("of what is no UID is an error", func(t *testing.T) {
		if err := newNode(t).start(t).Unprepare(ctx, "../../etc"); err == nil ||
			!strings.Contains(err.Error(), "is not one") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("goes on with the other devices if one cannot be taken back", func(t *testing.T) {
		p := newNode(t).start(t)
		var asked []string
		p.with(t, odd{hardware: p.hardware, unprepare: func(g device.Grant) error {
			asked = append(asked, g.Result.Device)
			if g.Result.Device == "gpu-1" && len(asked) < 3 {
				return errors.New("bus error")
			}
			return p.hardware.Unprepare(ctx, g)
		}})
		_, err := p.Prepare(ctx, planOf("a", "gpu-0", "gpu-1"))
		must(t, err)
		err = p.Unprepare(ctx, "a")
		if err == nil || err.Error() != "take back device gpu-1 of pool node-a: bus error" {
			t.Errorf("got %v", err)
		}
		record, err := p.records.Get("a")
		if err != nil || record.State != checkpoint.Unpreparing {
			t.Errorf("the record is %+v, %v", record, err)
		}
		if _, err := os.Stat(p.specOf("a")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("a container could start with a device that is half taken back: %v", err)
		}
		if _, err := p.Prepare(ctx, planOf("b", "gpu-0")); !errors.As(err, new(*checkpoint.HeldError)) {
			t.Errorf("a device of a claim that is half taken back went to another one: %v", err)
		}
		must(t, p.Unprepare(ctx, "a"))
		if !slices.Equal(asked, []string{"gpu-1", "gpu-0", "gpu-1", "gpu-0"}) {
			t.Errorf("the backend was asked for %v", asked)
		}
		p.mustBeClean(t)
	})
	t.Run("tells the backend what it needs, and no more", func(t *testing.T) {
		p := newNode(t).start(t)
		var got []device.Grant
		p.with(t, odd{hardware: p.hardware, unprepare: func(g device.Grant) error { got = append(got, g); return nil }})
		plan := planOf("a", "gpu-0 share=s-1", "gpu-1 admin")
		_, err := p.Prepare(ctx, plan)
		must(t, err)
		must(t, p.Unprepare(ctx, "a"))
		claimed := device.Claim{Namespace: "team-a", Name: "train", UID: "a"}
		want := []device.Grant{
			{Claim: claimed, Result: plan.Devices[1].Result},
			{Claim: claimed, Result: plan.Devices[0].Result, Undo: json.RawMessage(`{"undo":"gpu-0"}`)},
		}
		if g, w := fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", want); len(got) != 2 ||
			ptr.Deref(got[1].Result.ShareID, "") != "s-1" || !ptr.Deref(got[0].Result.AdminAccess, false) ||
			string(got[1].Undo) != string(want[1].Undo) || got[0].Edits != nil || got[0].Undo != nil ||
			got[0].Claim != claimed {
			t.Errorf("got\n%s\nwant\n%s", g, w)
		}
	})
}

func TestBackendsThatMisbehave(t *testing.T) {
	ctx := t.Context()
	edits := &cdispecs.ContainerEdits{Env: []string{"A=1"}}
	var remember func(i int, undo json.RawMessage) error
	for name, c := range map[string]struct {
		prepare func(r device.Request) ([]device.Grant, error)
		want    string
	}{
		"too few grants": {func(device.Request) ([]device.Grant, error) { return nil, nil },
			"set up gpu-0: the backend granted 0 devices of 1"},
		"another device": {func(r device.Request) ([]device.Grant, error) {
			r.Devices[0].Device = "gpu-9"
			return []device.Grant{{Result: r.Devices[0], Edits: edits}}, nil
		}, "set up gpu-0: the backend granted device gpu-9 instead of gpu-0"},
		"no edits": {func(r device.Request) ([]device.Grant, error) {
			return []device.Grant{{Result: r.Devices[0]}}, nil
		}, "set up gpu-0: the backend granted device gpu-0 without saying what containers get"},
		"empty edits": {func(r device.Request) ([]device.Grant, error) {
			return []device.Grant{{Result: r.Devices[0], Edits: &cdispecs.ContainerEdits{}}}, nil
		}, "make CDI spec of claim a: device \"a-gpu-0\": it has no edits"},
		"edits with nil in them": {func(r device.Request) ([]device.Grant, error) {
			withNil := &cdispecs.ContainerEdits{Mounts: []*cdispecs.Mount{nil}}
			return []device.Grant{{Result: r.Devices[0], Edits: withNil}}, nil
		}, "make CDI spec of claim a: device \"a-gpu-0\": one of the edits is nil"},
		"a panic": {func(device.Request) ([]device.Grant, error) { panic("oh") },
			"set up gpu-0: backend panicked in prepare for claim team-a/train (uid a): oh; this is a bug"},
		"remembering for another device": {func(r device.Request) ([]device.Grant, error) {
			return nil, r.Remember(1, nil)
		}, "set up gpu-0: remember how to undo a change: there is no device 1 of 1"},
		"remembering no JSON": {func(r device.Request) ([]device.Grant, error) {
			return nil, r.Remember(0, json.RawMessage("{"))
		}, "set up gpu-0: encode record of claim team-a/train (uid a): json: error calling MarshalJSON"},
		"not minding that remembering did not work": {func(r device.Request) ([]device.Grant, error) {
			_ = r.Remember(0, json.RawMessage("{"))
			return []device.Grant{{Result: r.Devices[0], Edits: edits}}, nil
		}, "set up gpu-0: encode record of claim"},
		"remembering too late": {func(r device.Request) ([]device.Grant, error) {
			remember = r.Remember
			return nil, errors.New("later")
		}, "set up gpu-0: later"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newNode(t).start(t)
			p.with(t, odd{hardware: p.hardware, prepare: c.prepare})
			_, err := p.Prepare(ctx, planOf("a", "gpu-0"))
			if err == nil || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
			if _, err := os.Stat(p.specOf("a")); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("there is a CDI file: %v", err)
			}
			if name == "remembering too late" {
				err := remember(0, json.RawMessage("1"))
				if err == nil ||
					!strings.Contains(err.Error(), "has returned already") {
					t.Errorf("got %v", err)
				}
			}
			p.mustGoAway(t, "a")
		})
	}
}

func TestAPanicWhileTakingBackIsAnError(t *testing.T) {
	ctx := t.Context()
	p := newNode(t).start(t)
	p.with(t, odd{hardware: p.hardware, unprepare: func(device.Grant) error { panic("oh") }})
	_, err := p.Prepare(ctx, planOf("a", "gpu-0"))
	must(t, err)
	var panicked *PanicError
	if err := p.Unprepare(ctx, "a"); !errors.As(err, &panicked) || len(panicked.Stack) == 0 ||
		panicked.Claim.Name != "train" {
		t.Errorf("got %v", err)
	}
	p.mustGoAway(t, "a")
}

func TestWaitingForAClaimEndsWithItsContext(t *testing.T) {
	p := newNode(t).start(t)
	unlock, err := p.records.Lock(context.Background(), "a")
	must(t, err)
	defer unlock()
	ctx, cancel := context.WithDeadline(t.Context(), time.Now())
	defer cancel()
	_, prepareErr := p.start(t).Prepare(ctx, planOf("a", "gpu-0"))
	for call, err := range map[string]error{"Prepare": prepareErr, "Unprepare": p.start(t).Unprepare(ctx, "a")} {
		want := "wait for the lock of claim a, another call or instance of the driver is working on it: " +
			"context deadline exceeded"
		if !errors.Is(err, context.DeadlineExceeded) || err.Error() != want {
			t.Errorf("%s: %v", call, err)
		}
	}
	must(t, p.start(t).Restore(t.Context())) // which leaves the claim to who works on it
}

// TestManyAtOnce has two instances prepare and take back claims that want the same devices, each claim several times at
// once.
func TestManyAtOnce(t *testing.T) {
	ctx := t.Context()
	n := newNode(t)
	instances := []*process{n.start(t), n.start(t)}
	plans := [][]string{{"gpu-0", "gpu-1"}, {"gpu-1", "gpu-0"}, {"gpu-1", "gpu-2"}, {"gpu-2", "gpu-0 admin"}, {"gpu-3"}}
	answers := make([][]Device, len(plans))
	for i, devices := range plans {
		answer, err := newNode(t).start(t).Prepare(ctx, planOf(types.UID(fmt.Sprint("c", i)), devices...))
		must(t, err)
		answers[i] = answer
	}
	for range 20 {
		var group sync.WaitGroup
		var mu sync.Mutex
		won := map[types.UID]bool{}
		for k := range 4 * len(plans) {
			i := k % len(plans)
			uid := types.UID(fmt.Sprint("c", i))
			group.Go(func() {
				answer, err := instances[k/len(plans)%2].Prepare(ctx, planOf(uid, plans[i]...))
				switch {
				case err == nil:
					mustBeEqual(t, answer, answers[i])
					mu.Lock()
					won[uid] = true
					mu.Unlock()
				case !errors.As(err, new(*checkpoint.HeldError)):
					t.Error(err)
				}
			})
		}
		group.Wait()
		if !won["c4"] || won["c0"] && won["c1"] || won["c1"] && won["c2"] || won["c2"] && won["c3"] {
			t.Fatalf("at once prepared: %v", won)
		}
		if !won["c0"] && !won["c1"] && !won["c2"] && !won["c3"] {
			t.Fatalf("of those that want the same devices nobody got them: %v", won)
		}
		for i := range plans {
			uid := types.UID(fmt.Sprint("c", i))
			if won[uid] {
				instances[0].mustBePrepared(t, uid, answers[i])
			}
		}
		for i := range plans {
			uid := types.UID(fmt.Sprint("c", i))
			for _, instance := range instances {
				group.Go(func() {
					if err := instance.Unprepare(ctx, uid); err != nil {
						t.Error(err)
					}
				})
			}
		}
		group.Wait()
		for _, instance := range instances {
			instance.mustHold(t)
		}
		n.mustBeClean(t)
	}
}

func TestPrepareAgainstUnprepareOfOneClaim(t *testing.T) {
	ctx := t.Context()
	n := newNode(t)
	instances := []*process{n.start(t), n.start(t)}
	for range 50 {
		var group sync.WaitGroup
		for _, instance := range instances {
			group.Go(func() {
				if _, err := instance.Prepare(ctx, planOf("a", "gpu-0")); err != nil {
					t.Error(err)
				}
			})
			group.Go(func() {
				if err := instance.Unprepare(ctx, "a"); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		for _, instance := range instances {
			instance.mustHold(t)
		}
		answer, err := instances[0].Prepare(ctx, planOf("a", "gpu-0"))
		must(t, err)
		instances[0].mustBePrepared(t, "a", answer)
	}
	n.mustGoAway(t, "a")
}

func TestRestore(t *testing.T) {
	ctx := t.Context()
	n := newNode(t)
	p := n.start(t)
	for _, uid := range []types.UID{"a", "b", "half"} {
		_, err := p.Prepare(ctx, planOf(uid, "gpu-"+string(uid)))
		must(t, err)
	}
	record, err := p.records.Get("half")
	must(t, err)
	record.State = checkpoint.Preparing
	must(t, p.records.Put(record))
	before := p.left(t)

	must(t, os.RemoveAll(p.cdi))
	must(t, os.RemoveAll(filepath.Join(p.state, "owners")))
	must(t, os.MkdirAll(p.cdi, 0o755))
	orphan := checkpoint.Claim{UID: "orphan"}
	held := checkpoint.Device{DeviceKey: checkpoint.DeviceKey{Pool: nodeName, Device: "gpu-orphan"}}
	must(t, p.records.Hold(held, orphan))
	for _, path := range []string{
		p.specOf("orphan"), filepath.Join(p.cdi, ".k8s.gpu.example.com-gpu_a.json.tmp"),
		filepath.Join(p.cdi, ".k8s.gpu.example.com-gpu_gone.json.tmp"), filepath.Join(p.node.hardware, "gpu-orphan_"),
	} {
		must(t, os.WriteFile(path, []byte("orphan"), 0o600))
	}
	others := filepath.Join(p.cdi, "nvidia.json")
	must(t, os.WriteFile(others, []byte("{}"), 0o600))

	p = n.start(t)
	p.with(t, sweeping{p.hardware})
	must(t, p.Restore(ctx))
	mustHaveDone(t, p, "cdi_file_made team-a/train a", "cdi_file_made team-b/train b", "marker_made team-a/train a",
		"marker_made team-b/train b", "cdi_file_removed / orphan", "cdi_file_removed / gone", "marker_removed / orphan",
		"backend_swept / orphan")
	must(t, p.Restore(ctx))
	mustHaveDone(t, p)
	must(t, os.Remove(others))
	// What was half prepared stays so: the kubelet asks for it again, or gives it up.
	want := slices.DeleteFunc(slices.Clone(before), func(name string) bool {
		return strings.HasSuffix(name, "gpu_half.json") || strings.HasPrefix(name, "state/owners/gpu-half")
	})
	if got := p.left(t); !slices.Equal(got, want) {
		t.Errorf("got\n%v\nwant\n%v", got, want)
	}
	claims, err := p.Remembered()
	if len(claims) != 3 || claims[2].Claim.UID != "half" || claims[2].State != Preparing ||
		claims[0].Claim.Name != "train" || err != nil {
		t.Errorf("Remembered: %v, %v", claims, err)
	}
}

func TestRestoreNamesEachProblemAndGoesOn(t *testing.T) {
	ctx := t.Context()
	n := newNode(t)
	p := n.start(t)
	for _, uid := range []types.UID{"a", "b"} {
		_, err := p.Prepare(ctx, planOf(uid, "gpu-"+string(uid)))
		must(t, err)
	}
	must(t, os.Remove(p.specOf("b")))
	must(t, os.WriteFile(p.recordOf("a"), []byte("junk"), 0o600))
	must(t, os.WriteFile(filepath.Join(p.state, "owners", "junk"), nil, 0o600))
	p = n.start(t)
	must(t, p.Restore(ctx))
	if told := errors.Join(p.reports...); told == nil || !strings.Contains(told.Error(), p.recordOf("a")) ||
		!strings.Contains(told.Error(), "owners/junk") {
		t.Errorf("told of %v", told)
	}
	if _, err := os.Stat(p.specOf("b")); err != nil {
		t.Errorf("the CDI file of the good claim was not restored: %v", err)
	}
}

func TestPhasesAreObserved(t *testing.T) {
	p := newNode(t).start(t)
	var phases []Phase
	p.o.Observe = func(phase Phase, d time.Duration) {
		if d < 0 {
			t.Errorf("%s took %v", phase, d)
		}
		phases = append(phases, phase)
	}
	_, err := p.Prepare(t.Context(), planOf("a", "gpu-0"))
	must(t, err)
	if want := []Phase{PhaseLock, PhaseCommit, PhaseDevice, PhaseCDI}; !slices.Equal(phases, want) {
		t.Errorf("got %v, want %v", phases, want)
	}
}

func TestFault02WithAFullDisk(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=128k,nr_inodes=64"); err != nil {
		t.Skipf("mount a small file system: %v", err)
	}
	t.Cleanup(func() { must(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	n := nodeAt(t, dir)
	p := n.start(t)
	_, err := p.Prepare(ctx, planOf("a", "gpu-0", "gpu-1"))
	must(t, err)
	before := p.left(t)
	filler := filepath.Join(dir, "filler")
	if err := os.WriteFile(filler, make([]byte, 1<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	_, err = p.Prepare(ctx, planOf("b", "gpu-2"))
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "free space in the file system of "+p.state) {
		t.Errorf("Prepare: %v", err)
	}
	if after := p.left(t); !slices.Equal(before, after) {
		t.Errorf("before %v, after %v", before, after)
	}
	p = n.start(t)
	must(t, p.Restore(ctx))
	must(t, p.Unprepare(ctx, "a"))
	p.mustBeClean(t)
	must(t, os.Remove(filler))
	_, err = p.Prepare(ctx, planOf("b", "gpu-2"))
	must(t, err)
}

// BenchmarkPrepare is one claim's Prepare where n others are prepared. It is taken back outside the time.
func BenchmarkPrepare(b *testing.B) {
	for _, n := range []int{10, 10000} {
		b.Run(fmt.Sprintf("n=%d", n), func(b *testing.B) {
			p, ctx := nodeOf(b, n), context.Background()
			plan := planOf("ffffffff-0000-4000-8000-000000000000", "gpu-x")
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				if _, err := p.Prepare(ctx, plan); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				if err := p.Unprepare(ctx, plan.UID); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
		})
	}
}

func BenchmarkPrepareAgain(b *testing.B) {
	p, ctx, plan := newNode(b).start(b), context.Background(), planOf("ffffffff-0000-4000-8000-000000000000", "gpu-x")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Prepare(ctx, plan); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPrepareAndUnprepare(b *testing.B) {
	p, ctx, plan := newNode(b).start(b), context.Background(), planOf("ffffffff-0000-4000-8000-000000000000", "gpu-x")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Prepare(ctx, plan); err != nil {
			b.Fatal(err)
		}
		if err := p.Unprepare(ctx, plan.UID); err != nil {
			b.Fatal(err)
		}
	}
}
