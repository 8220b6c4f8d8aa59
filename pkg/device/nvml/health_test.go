//go:build cgo

package nvml

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"

	"example.com/dragoman/pkg/device/nvml/xid"
)

// TestTrouble plays stories of one GPU: errors, answers, and what its health is after each.
func TestTrouble(t *testing.T) {
	none, reset := nvml.GPU_RECOVERY_ACTION_NONE, nvml.GPU_RECOVERY_ACTION_GPU_RESET
	works, asks := probe{action: &none}, probe{action: &reset}
	silent := probe{} // a driver that cannot say what is needed
	lost := probe{sick: sickness(nvml.ERROR_GPU_IS_LOST)}
	type step struct {
		after    time.Duration
		xid      uint64
		instance uint32
		probe    *probe
		want     string // part of the reason of the whole GPU; "" is healthy
	}
	all := uint32(allInstances)
	for name, steps := range map[string][]step{
		"a fatal error is not hidden by the smaller one that follows": {
			{0, 79, all, nil, "XID 79"}, {0, 63, all, nil, "XID 79"}, {time.Second, 0, 0, &works, "XID 79"},
		},
		"a smaller error is outdone by a larger one": {
			{0, 63, all, nil, "XID 63"}, {0, 79, all, nil, "XID 79"},
		},
		"calm, and a GPU that asks for nothing, clear an error": {
			{0, 63, all, nil, "XID 63"}, {calm - 1, 0, 0, &works, "XID 63"}, {1, 0, 0, &works, ""},
		},
		"an error that comes again counts from then": {
			{0, 63, all, nil, "XID 63"}, {calm - 1, 63, all, nil, "XID 63"}, {calm - 1, 0, 0, &works, "XID 63"},
			{1, 0, 0, &works, ""},
		},
		"a GPU that asks for a reset stays until it had it": {
			{0, 95, all, nil, "XID 95"}, {time.Hour, 0, 0, &asks, "XID 95"}, {time.Hour, 0, 0, &asks, "asks for a reset"},
			{0, 0, 0, &works, ""},
		},
		"a driver that cannot say what is needed keeps the error": {
			{0, 95, all, nil, "XID 95"}, {24 * time.Hour, 0, 0, &silent, "XID 95"},
		},
		"a GPU that asks for a reset without an error that was seen": {
			{0, 0, 0, &asks, "asks for a reset"}, {0, 0, 0, &works, ""},
		},
		"a lost GPU is more than any error": {
			{0, 63, all, nil, "XID 63"}, {0, 0, 0, &lost, "GPU_IS_LOST"}, {time.Hour, 0, 0, &lost, "GPU_IS_LOST"},
			{0, 0, 0, &works, ""},
		},
		"an error in an instance is one of its GPU": {
			{0, 95, 3, nil, "XID 95"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var got trouble
			now := time.Unix(1_800_000_000, 0)
			for i, s := range steps {
				now = now.Add(s.after)
				if s.xid != 0 {
					p := xid.Decide(s.xid)
					got.add(mark{instance: s.instance, severity: p.Severity, sentence: p.Sentence, last: now})
				}
				if s.probe != nil {
					got.probed(*s.probe, now)
				}
				h := got.health(offer{}.isHitBy)
				if h.Unhealthy != (s.want != "") || !strings.Contains(h.Reason, s.want) {
					t.Errorf("step %d: %+v, want %q", i, h, s.want)
				}
			}
		})
	}
}

func TestAnErrorHitsItsInstanceOnly(t *testing.T) {
	three, four := uint32(3), uint32(4)
	offers := map[string]offer{
		"whole": {}, "three": {part: &part{}, instance: &three}, "four": {part: &part{}, instance: &four},
		"nowhere": {part: &part{}},
	}
	var got trouble
	sick := func() []string {
		var names []string
		for name, o := range offers {
			if got.health(o.isHitBy).Unhealthy {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		return names
	}
	got.add(mark{instance: 3, severity: xid.Fatal, sentence: "broken", last: time.Now()})
	if names := sick(); !slices.Equal(names, []string{"three", "whole"}) {
		t.Errorf("an error in instance 3 hits %v", names)
	}
	got.forget(3)
	if names := sick(); len(names) > 0 {
		t.Errorf("the error of an instance that is gone hits %v", names)
	}
	got.add(mark{instance: allInstances, severity: xid.Degraded, sentence: "bad", last: time.Now()})
	if names := sick(); len(names) != len(offers) {
		t.Errorf("an error of the whole GPU hits only %v", names)
	}
}

func TestManyErrorsKeepTheWorst(t *testing.T) {
	var got trouble
	got.add(mark{instance: allInstances, severity: xid.Fatal, sentence: "worst", last: time.Now()})
	for i := range 100 {
		got.add(mark{instance: allInstances, severity: xid.Degraded, sentence: string(rune('a' + i)), last: time.Now()})
	}
	if len(got.marks) > mostMarks || got.health(offer{}.isHitBy).Reason != "worst" {
		t.Errorf("%d marks, reason %q", len(got.marks), got.health(offer{}.isHitBy).Reason)
	}
}

func TestEachRecoveryActionHasASentence(t *testing.T) {
	for action := range nvml.DeviceGpuRecoveryAction(20) {
		if got := actionSentence(&action); (got == "") != (action == nvml.GPU_RECOVERY_ACTION_NONE) {
			t.Errorf("action %d: %q", action, got)
		}
	}
}
