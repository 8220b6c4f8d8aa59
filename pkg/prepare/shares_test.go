package prepare

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"

	"example.com/dragoman/pkg/checkpoint"
)

// given prepares claims with one device each: "a gpu-0 share=s-1 takes=30Gi".
func (p *process) given(t *testing.T, claims map[types.UID]string) {
	t.Helper()
	for uid, words := range claims {
		_, err := p.Prepare(t.Context(), planOf(uid, words))
		must(t, err)
	}
}

func TestSharesNeverTakeMoreThanThereIs(t *testing.T) {
	const gone = "there is room when the pods of those claims are gone from this node"
	for name, test := range map[string]struct {
		there map[types.UID]string
		want  []string
		err   string
	}{
		"a share beside others that fits": {
			map[types.UID]string{"a": "gpu-0 share=s-1 takes=30Gi", "b": "gpu-0 share=s-2 takes=30Gi"},
			[]string{"gpu-0 share=s-3 takes=20Gi"}, ""},
		"a share beside others that does not fit": {
			map[types.UID]string{"a": "gpu-0 share=s-1 takes=30Gi", "b": "gpu-0 share=s-2 takes=30Gi"},
			[]string{"gpu-1", "gpu-0 share=s-3 takes=20.5Gi"},
			"device gpu-0 of pool node-a has 80Gi of memory, of which claim team-a/train (uid a) holds 30Gi, claim " +
				"team-b/train (uid b) holds 30Gi; this claim takes 20992Mi: " + gone},
		"shares of another device do not count": {map[types.UID]string{"a": "gpu-1 share=s-1 takes=80Gi"},
			[]string{"gpu-0 share=s-3 takes=80Gi"}, ""},
		"two shares of one device in one claim that fit": {map[types.UID]string{"a": "gpu-0 share=s-1 takes=20Gi"},
			[]string{"gpu-0 share=s-2 takes=30Gi", "gpu-0 share=s-3 takes=30Gi"}, ""},
		"two shares of one device in one claim that do not fit": {map[types.UID]string{"a": "gpu-0 share=s-1 takes=21Gi"},
			[]string{"gpu-0 share=s-2 takes=30Gi", "gpu-0 share=s-3 takes=30Gi"},
			"device gpu-0 of pool node-a has 80Gi of memory, of which claim team-a/train (uid a) holds 21Gi; this claim takes " +
				"60Gi: " + gone},
		"a share that is more than all": {nil, []string{"gpu-0 share=s-1 takes=81Gi"},
			"device gpu-0 of pool node-a has 80Gi of memory, and this claim takes 81Gi: delete the pod so that it is " +
				"scheduled again"},
		"a share that takes nothing, whatever others do": {map[types.UID]string{"a": "gpu-0 share=s-1 takes=80Gi"},
			[]string{"gpu-0 share=s-2"}, ""},
		"admin access beside shares":  {map[types.UID]string{"a": "gpu-0 share=s-1 takes=80Gi"}, []string{"gpu-0 admin"}, ""},
		"a share beside admin access": {map[types.UID]string{"a": "gpu-0 admin"}, []string{"gpu-0 share=s-1 takes=80Gi"}, ""},
		"a whole device beside shares": {
			map[types.UID]string{"a": "gpu-0 share=s-1 takes=1Gi", "b": "gpu-0 share=s-2"}, []string{"gpu-1", "gpu-0"},
			"device gpu-0 of pool node-a is held in shares by claims team-a/train (uid a), team-b/train (uid b): it becomes " +
				"free when the pods of these claims are gone from this node"},
		"a share beside a whole device": {map[types.UID]string{"a": "gpu-0"}, []string{"gpu-0 share=s-1 takes=1Gi"},
			"share s-1 of device gpu-0 of pool node-a is held by claim team-a/train (uid a): it becomes free when the pods of " +
				"that claim are gone from this node"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newNode(t).start(t)
			p.given(t, test.there)
			before := p.left(t)
			other := p.start(t) // another process
			for range 2 {       // the second time it must not count itself twice
				_, err := other.Prepare(t.Context(), planOf("new", test.want...))
				if (err == nil) != (test.err == "") || err != nil && err.Error() != test.err {
					t.Fatalf("got  %v\nwant %s", err, test.err)
				}
				if over := new(OverCommittedError); errors.As(err, &over) && Lasting(err) != "DeviceOverCommitted" {
					t.Errorf("users are not told: %q", Lasting(err))
				}
			}
			p.mustHold(t)
			if test.err != "" {
				if after := p.left(t); fmt.Sprint(before) != fmt.Sprint(after) {
					t.Errorf("something is left of a refused claim: before %v, after %v", before, after)
				}
			}
			for uid := range test.there {
				must(t, other.Unprepare(t.Context(), uid))
			}
			answer, err := p.Prepare(t.Context(), planOf("new", test.want...))
			if alone := len(test.there) == 0 && test.err != ""; (err != nil) != alone {
				t.Errorf("when the others are gone: %v", err)
			} else if err == nil {
				p.mustBePrepared(t, "new", answer)
			}
			p.mustGoAway(t, "new")
			if entries, err := os.ReadDir(filepath.Join(p.state, "owners")); len(entries) > 0 || err != nil {
				t.Errorf("markers are left: %v, %v", entries, err)
			}
		})
	}
}

// TestAPreparedShareStaysPrepared: a device that shrinks takes nothing from those who have it.
func TestAPreparedShareStaysPrepared(t *testing.T) {
	p := newNode(t).start(t)
	plan := planOf("a", "gpu-0 share=s-1 takes=60Gi")
	want, err := p.Prepare(t.Context(), plan)
	must(t, err)
	p = p.start(t)
	p.o.Capacity = func(string, string) (map[resourceapi.QualifiedName]resource.Quantity, bool) {
		return map[resourceapi.QualifiedName]resource.Quantity{"memory": resource.MustParse("40Gi")}, true
	}
	answer, err := p.Prepare(t.Context(), plan)
	must(t, err)
	mustBeEqual(t, answer, want)
	_, err = p.Prepare(t.Context(), planOf("b", "gpu-0 share=s-2 takes=1Gi"))
	if !errors.As(err, new(*OverCommittedError)) {
		t.Errorf("the device has too little for those who have it, and another one got some: %v", err)
	}
	p.given(t, map[types.UID]string{"c": "gpu-0 share=s-3"}) // which takes nothing
}

func TestADeviceThatNobodySawIsNotAddedUp(t *testing.T) {
	p := newNode(t).start(t)
	p.o.Capacity = func(string, string) (map[resourceapi.QualifiedName]resource.Quantity, bool) { return nil, false }
	p.given(t, map[types.UID]string{"a": "gpu-0 share=s-1 takes=60Gi", "b": "gpu-0 share=s-2 takes=60Gi"})
	p.o.Capacity = nil
	p.given(t, map[types.UID]string{"c": "gpu-0 share=s-3 takes=60Gi"})
}

// TestWhatAShareTakesSurvives what markers and records can suffer.
func TestWhatAShareTakesSurvives(t *testing.T) {
	for name, suffer := range map[string]func(p *process) error{
		"nothing":                  func(*process) error { return nil },
		"its record is unreadable": func(p *process) error { return os.WriteFile(p.recordOf("a"), []byte("junk"), 0o600) },
		"its record is gone":       func(p *process) error { return os.Remove(p.recordOf("a")) },
		"all markers are made again": func(p *process) error {
			if err := os.RemoveAll(filepath.Join(p.state, "owners")); err != nil {
				return err
			}
			return p.Repair(context.Background())
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newNode(t).start(t)
			p.given(t, map[types.UID]string{"a": "gpu-0 share=s-1 takes=60Gi"})
			must(t, suffer(p))
			p = p.start(t)
			must(t, p.Restore(t.Context()))
			_, err := p.Prepare(t.Context(), planOf("b", "gpu-0 share=s-2 takes=30Gi"))
			var over *OverCommittedError
			if !errors.As(err, &over) || len(over.Holders) != 1 || over.Holders[0].Claim.UID != "a" {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestManySharesAtOnce: whoever comes at the same time, in two processes, never has more than there is, nor a whole
// device beside a share.
func TestManySharesAtOnce(t *testing.T) {
	for round := range 20 {
		first := newNode(t).start(t)
		processes := []*process{first, first.start(t)}
		for _, p := range processes {
			p.hardware = nil // which is not made for several goroutines
			p.Preparer.o.Backend = newHardware(t.TempDir())
		}
		var group sync.WaitGroup
		var mu sync.Mutex
		got, whole := 0, 0
		for i := range 8 {
			group.Go(func() {
				uid, words := types.UID(fmt.Sprint("c", i)), fmt.Sprintf("gpu-0 share=s-%d takes=30Gi", i)
				if i%4 == 3 {
					words = "gpu-0"
				}
				_, err := processes[i%2].Prepare(context.Background(), planOf(uid, words))
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil && i%4 == 3:
					whole++
				case err == nil:
					got++
				case !errors.As(err, new(*OverCommittedError)) && !errors.As(err, new(*checkpoint.HeldError)):
					t.Error(err)
				}
			})
		}
		group.Wait()
		if got > 2 || whole > 1 || got*whole > 0 {
			t.Fatalf("round %d: %d shares of 30 of 80, and %d whole", round, got, whole)
		}
	}
}
