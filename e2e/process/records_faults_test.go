package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"example.com/dragoman/pkg/sanity/kubelet"
)

// spoilers are ways in which a record comes to be none.
func spoilers() map[string]func(whole []byte) []byte {
	return map[string]func(whole []byte) []byte{
		"one changed bit": func(whole []byte) []byte {
			whole[len(whole)-2] ^= 1
			return whole
		},
		"half of it":      func(whole []byte) []byte { return whole[:len(whole)/2] },
		"an empty file":   func([]byte) []byte { return nil },
		"something other": func([]byte) []byte { return []byte("<html>no record</html>\n") },
	}
}

// spoiledRig has a driver with three prepared claims, of gpu-0, gpu-1 and gpu-2. Spoil changes the record of the first.
func spoiledRig(t *testing.T, change func([]byte) []byte) (
	r *rig, d *driver, spoiled, whole kubelet.Claim, answers [2]kubelet.Prepared, spoil func(),
) {
	t.Helper()
	r = newRig(t)
	d = r.startReady()
	spoiled, whole = r.claim("spoiled", r.devices("gpu-0", "gpu-2")), r.claim("whole", r.devices("gpu-1"))
	answers = [2]kubelet.Prepared{prepare(t, d, spoiled), prepare(t, d, whole)}
	return r, d, spoiled, whole, answers, func() {
		t.Helper()
		content, err := os.ReadFile(r.record(spoiled.UID))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(r.record(spoiled.UID), change(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFault04RecordSpoiledWhileTheDriverRuns(t *testing.T) {
	t.Parallel()
	for name, change := range spoilers() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, d, spoiled, whole, before, spoil := spoiledRig(t, change)
			rival := r.claim("rival", r.devices("gpu-2"))

			spoil()
			if text := refused(t, d, rival); !strings.Contains(text, spoiled.Namespace+"/"+spoiled.Name) {
				t.Errorf("the owner is forgotten: %s", text)
			}
			if again := prepare(t, d, whole); !slices.Equal(before[1].IDs(), again.IDs()) {
				t.Errorf("the other claim's answer is %v, and was %v", again.IDs(), before[1].IDs())
			}
			again := prepare(t, d, spoiled) // the claim is where it was before
			if !slices.Equal(before[0].IDs(), again.IDs()) {
				t.Errorf("the driver answers %v, and %v before", again.IDs(), before[0].IDs())
			}
			r.mustResolve(again)
			r.tells(d, spoiled)

			spoil()
			unprepare(t, d, spoiled)
			r.gone(spoiled)
			r.mustResolve(prepare(t, d, rival))
			unprepare(t, d, whole)
		})
	}
}

func TestFault04RecordSpoiledOverARestart(t *testing.T) {
	t.Parallel()
	for name, change := range spoilers() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, d, spoiled, whole, before, spoil := spoiledRig(t, change)
			rival := r.claim("rival", r.devices("gpu-2"))

			d.kill()
			spoil()
			d = d.restartKilled()
			if again := prepare(t, d, whole); !slices.Equal(before[1].IDs(), again.IDs()) {
				t.Errorf("the other claim's answer is %v, and was %v", again.IDs(), before[1].IDs())
			}
			if text := refused(t, d, rival); !strings.Contains(text, spoiled.Namespace+"/"+spoiled.Name) {
				t.Errorf("the owner is forgotten: %s", text)
			}
			r.tells(d, spoiled)
			r.until("a metric says that it is so", func(ctx context.Context) error {
				return r.metric(ctx, "dragoman_quarantined_records", "1")
			})
			unprepare(t, d, spoiled)
			r.gone(spoiled)
			r.mustResolve(prepare(t, d, rival))
			unprepare(t, d, whole)
		})
	}
}

// tells waits until log, metric and claim say that the claim's record was put aside.
func (r *rig) tells(d *driver, claim kubelet.Claim) {
	r.t.Helper()
	put := r.filesOf(r.path("state", driverName, "quarantine"), string(claim.UID))
	if len(put) == 0 {
		r.t.Error("the record is not put aside for somebody to look at")
	}
	r.until("the log says where the record was put", d.says("quarantine/"+string(claim.UID)))
	r.until("a metric counts it", func(ctx context.Context) error {
		return r.metric(ctx, `dragoman_reconciled_total{action="record_quarantined"}`, "1")
	})
	r.until("an event tells of the record", func(ctx context.Context) error {
		events, err := r.events(ctx, claim)
		if err != nil {
			return err
		}
		for _, text := range events {
			if strings.Contains(text, "quarantine") || strings.Contains(text, "record") {
				return nil
			}
		}
		return fmt.Errorf("the claim's events are %q", events)
	})
}

// events returns the sentences of all events of a claim.
func (r *rig) events(ctx context.Context, claim kubelet.Claim) (sentences []string, err error) {
	events, err := r.server.client.EventsV1().Events(claim.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	for _, event := range events.Items {
		if event.Regarding.UID == claim.UID {
			sentences = append(sentences, event.Note)
		}
	}
	return sentences, nil
}

// gone checks that nothing of the claim is left but what was put aside.
func (r *rig) gone(claim kubelet.Claim) {
	r.t.Helper()
	for _, left := range []string{
		r.record(claim.UID), r.path("state", driverName, "backend", string(claim.UID)),
	} {
		if _, err := os.Lstat(left); !errors.Is(err, os.ErrNotExist) {
			r.t.Errorf("%s is left of a claim that was unprepared (%v)", left, err)
		}
	}
	if left := r.filesOf(r.cdi(), string(claim.UID)); len(left) > 0 {
		r.t.Errorf("%v is left of a claim that was unprepared", left)
	}
	owners := r.path("state", driverName, "owners")
	for _, marker := range r.filesOf(owners, "") {
		if who, err := os.Readlink(filepath.Join(owners, marker)); err == nil && strings.Contains(who, string(claim.UID)) {
			r.t.Errorf("%s is left of a claim that was unprepared", marker)
		}
	}
}

func TestFault07NodeRestarted(t *testing.T) {
	t.Parallel()
	wipe := map[string]func(r *rig) error{
		"all of /run is gone": func(r *rig) error {
			return errors.Join(os.RemoveAll(r.path("state")), os.RemoveAll(r.cdi()))
		},
		"the CDI files are gone, and the records are on a disk": func(r *rig) error {
			return errors.Join(os.RemoveAll(r.cdi()), r.otherBoot())
		},
		"everything is on a disk": func(r *rig) error { return r.otherBoot() },
	}
	for name, wipe := range wipe {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			machine := profile(4)
			file := r.writeYAML("profile.yaml", machine)
			d := r.startReady("mockProfile", file)
			held, over := r.claim("held", r.devices("gpu-0", "gpu-1")), r.claim("over", r.devices("gpu-2"))
			prepare(t, d, held)
			prepare(t, d, over)
			d.kill()
			if err := wipe(r); err != nil {
				t.Fatal(err)
			}
			change := machine.change(1) // what was gpu-1 is another device now
			r.writeYAML("profile.yaml", machine)

			d = d.restartKilled("mockProfile", file)
			if left := r.filesOf(r.cdi(), ""); len(left) > 0 {
				t.Errorf("CDI files of the earlier boot are left: %v", left)
			}
			// The pod of the claim did not come back, and its device goes to another one at once.
			r.mustResolve(prepare(t, d, r.claim("next", r.devices("gpu-2"))))
			again := prepare(t, d, held)
			r.mustResolve(again)
			if text := r.described(again); !strings.Contains(text, change.value) {
				t.Errorf("containers get the device as it was before: %s", text)
			}
			unprepare(t, d, over)
			unprepare(t, d, held)
			r.nothingLeft(held.UID)
		})
	}
}

// otherBoot makes the records those of another boot of the node.
func (r *rig) otherBoot() error {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return err
	}
	path := r.path("state", driverName, "epoch")
	epoch, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	other := strings.Replace(string(epoch), strings.TrimSpace(string(boot)), "00000000-0000-4000-8000-000000000000", 1)
	if other == string(epoch) {
		return fmt.Errorf("the epoch %q does not name the boot", epoch)
	}
	return os.WriteFile(path, []byte(other), 0o600)
}

// described returns what containers are told of their devices.
func (r *rig) described(prepared kubelet.Prepared) (text string) {
	r.t.Helper()
	for _, mount := range r.mustResolve(prepared).Mounts {
		content, err := os.ReadFile(mount.Source)
		if err != nil {
			r.t.Fatal(err)
		}
		text += string(content)
	}
	return text
}
