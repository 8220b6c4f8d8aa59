package prepare

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"example.com/dragoman/pkg/checkpoint"
)

// nodeWith has claims prepared, each with one device that is named after it.
func nodeWith(t *testing.T, claims ...types.UID) *process {
	t.Helper()
	p := newNode(t).start(t)
	p.with(t, sweeping{p.hardware})
	for _, uid := range claims {
		_, err := p.Prepare(t.Context(), planOf(uid, "gpu-"+string(uid)))
		must(t, err)
	}
	return p
}

func TestFault06CDIFilesThatWereRemovedComeBack(t *testing.T) {
	for name, lose := range map[string]func(p *process) error{
		"one file": func(p *process) error { return os.Remove(p.specOf("a")) },
		"all files": func(p *process) error {
			return errors.Join(os.Remove(p.specOf("a")), os.Remove(p.specOf("b")))
		},
		"the whole dir":      func(p *process) error { return os.RemoveAll(p.cdi) },
		"nothing":            func(*process) error { return nil },
		"a claim taken back": func(p *process) error { return p.Unprepare(t.Context(), "a") },
	} {
		t.Run(name, func(t *testing.T) {
			p := nodeWith(t, "a", "b")
			half, err := p.records.Get("b")
			must(t, err)
			half.Claim, half.State = checkpoint.Claim{Namespace: "team-h", Name: "h", UID: "h"}, checkpoint.Preparing
			must(t, p.records.Put(half))
			for range 2 { // from now on it knows the directory
				must(t, p.RepairFiles(t.Context()))
			}
			must(t, lose(p))
			missing := []string{}
			for _, uid := range []types.UID{"a", "b"} {
				_, err := os.Stat(p.specOf(uid))
				if known, _ := p.records.Has(uid); known && err != nil {
					missing = append(missing, "cdi_file_made team-"+string(uid)+"/train "+string(uid))
				}
			}
			must(t, p.RepairFiles(t.Context()))
			mustHaveDone(t, p, missing...)
			must(t, p.RepairFiles(t.Context()))
			mustHaveDone(t, p)
			specs, err := p.o.CDI.List()
			must(t, err)
			if recorded, _, _ := p.records.Claims(); !slices.Equal(append(specs, "h"), recorded) {
				t.Errorf("there are CDI files of %v and records of %v", specs, recorded)
			}
		})
	}
}

func TestFault06AFileThatSaysSomethingElseIsRepairedToo(t *testing.T) {
	p := nodeWith(t, "a")
	must(t, os.WriteFile(p.specOf("a"), nil, 0o600))
	must(t, p.Repair(t.Context()))
	mustHaveDone(t, p, "cdi_file_made team-a/train a")
	answer, err := p.Prepare(t.Context(), planOf("a", "gpu-a"))
	must(t, err)
	p.mustBePrepared(t, "a", answer)
}

// TestRepairRemovesNothing: what no record knows of may be what a running container uses, of which somebody removed the
// record.
func TestRepairRemovesNothing(t *testing.T) {
	p := nodeWith(t, "a", "b")
	must(t, os.Remove(p.recordOf("a")))
	must(t, os.WriteFile(p.specOf("unknown"), []byte("{}"), 0o600))
	before := p.left(t)
	must(t, p.Repair(t.Context()))
	must(t, p.RepairFiles(t.Context()))
	mustHaveDone(t, p)
	if after := p.left(t); !slices.Equal(before, after) {
		t.Errorf("before %v, after %v", before, after)
	}
}

// TestFault04ARecordThatWasRemoved leaves its claim with what it has, also at the next start, and the claim can be
// prepared again and taken back.
func TestFault04ARecordThatWasRemoved(t *testing.T) {
	for name, next := range map[string]func(t *testing.T, p *process){
		"its device stays its own": func(t *testing.T, p *process) {
			var held *checkpoint.HeldError
			if _, err := p.Prepare(t.Context(), planOf("b", "gpu-a")); !errors.As(err, &held) || held.By.UID != "a" {
				t.Errorf("another claim gets the device: %v", err)
			}
		},
		"it can be prepared again": func(t *testing.T, p *process) {
			answer, err := p.Prepare(t.Context(), planOf("a", "gpu-a"))
			must(t, err)
			p.mustBePrepared(t, "a", answer)
		},
		"it is remembered": func(t *testing.T, p *process) {
			all, err := p.Remembered()
			if err != nil || len(all) != 1 || all[0].Claim.Name != "train" || all[0].State != Unreadable {
				t.Errorf("remembered: %+v, %v", all, err)
			}
		},
		"it can be taken back, without its markers too": func(t *testing.T, p *process) {
			must(t, os.RemoveAll(filepath.Join(p.state, "owners")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := nodeWith(t, "a")
			must(t, os.Remove(p.recordOf("a")))
			again := p.start(t)
			again.with(t, sweeping{again.hardware})
			must(t, again.Restore(t.Context()))
			if effects := again.hardware.effects(t); effects["gpu-a_"] != "a" {
				t.Errorf("the device is gone: %v", effects)
			}
			if _, err := os.Stat(p.specOf("a")); err != nil {
				t.Errorf("the CDI file of running containers is gone: %v", err)
			}
			mustHaveDone(t, again)
			next(t, again)
			must(t, p.Unprepare(t.Context(), "a"))
			p.mustHold(t)
			p.mustBeClean(t)
		})
	}
}

// TestFault06NothingIsListedWhileNothingChanges, and what changes is seen.
func TestFault06NothingIsListedWhileNothingChanges(t *testing.T) {
	p := nodeWith(t, "a", "b")
	long := time.Now().Add(-time.Hour) // the files were not made in this tick of the clock
	must(t, os.Chtimes(p.cdi, long, long))
	for range 2 {
		must(t, p.RepairFiles(t.Context()))
	}
	if !p.files.sure {
		t.Error("not sure after two looks")
	}
	must(t, os.Remove(p.specOf("a")))
	must(t, p.RepairFiles(t.Context()))
	mustHaveDone(t, p, "cdi_file_made team-a/train a")
	if p.files.sure {
		t.Error("sure though something was missing")
	}
	must(t, os.RemoveAll(p.cdi))
	must(t, p.RepairFiles(t.Context()))
	mustHaveDone(t, p, "cdi_file_made team-a/train a", "cdi_file_made team-b/train b")
}

// TestAStartDoesNotKeepTheKubeletWaiting: of many claims most are looked at while the kubelet is served, but what is
// removed is removed before.
func TestAStartDoesNotKeepTheKubeletWaiting(t *testing.T) {
	p := nodeWith(t, "a", "b", "c")
	must(t, errors.Join(os.Remove(p.specOf("a")), os.Remove(p.specOf("b")), os.Remove(p.specOf("c"))))
	must(t, os.WriteFile(p.specOf("orphan"), []byte("{}"), 0o600))
	p.atOnce = 1
	if err := p.Restore(t.Context()); !errors.Is(err, ErrUnfinished) {
		t.Errorf("Restore: %v", err)
	}
	mustHaveDone(t, p, "cdi_file_removed / orphan", "cdi_file_made team-a/train a")
	must(t, p.Repair(t.Context()))
	mustHaveDone(t, p, "cdi_file_made team-b/train b", "cdi_file_made team-c/train c")
	p.atOnce = 3
	must(t, p.Restore(t.Context()))
}

// TestRepairRemovesWhatAnInterruptedWriteLeft, also of a claim that lacks nothing.
func TestRepairRemovesWhatAnInterruptedWriteLeft(t *testing.T) {
	p := nodeWith(t, "a")
	before := p.left(t)
	must(t, os.WriteFile(filepath.Join(p.cdi, ".k8s.gpu.example.com-gpu_a.json.tmp"), []byte("half"), 0o600))
	must(t, p.Repair(t.Context()))
	mustHaveDone(t, p)
	if after := p.left(t); !slices.Equal(before, after) {
		t.Errorf("before %v, after %v", before, after)
	}
}

// TestTakingBackWithoutARecordLeavesOthersAlone: another claim may have lost its record too.
func TestTakingBackWithoutARecordLeavesOthersAlone(t *testing.T) {
	p := nodeWith(t, "a", "b")
	must(t, errors.Join(os.Remove(p.recordOf("a")), os.Remove(p.recordOf("b"))))
	must(t, p.Unprepare(t.Context(), "a"))
	effects := p.hardware.effects(t)
	if _, err := os.Stat(p.specOf("b")); err != nil || len(effects) != 1 || effects["gpu-b_"] != "b" {
		t.Errorf("left: %v, %v", effects, err)
	}
	must(t, p.Unprepare(t.Context(), "b"))
	p.mustBeClean(t)
}
