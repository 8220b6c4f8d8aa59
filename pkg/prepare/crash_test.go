package prepare

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"example.com/dragoman/pkg/claim"
)

// deed is what the crash tests do on a node.
type deed struct {
	before []string // devices that were prepared before
	do     func(p *process) error
}

func deeds() map[string]deed {
	ctx := context.Background()
	prepare := func(p *process) error {
		_, err := p.Prepare(ctx, crashPlan())
		return err
	}
	return map[string]deed{
		"Prepare":                  {nil, prepare},
		"Prepare again":            {crashDevices(), prepare},
		"Prepare of other devices": {[]string{"gpu-3", "gpu-0", "gpu-6 admin"}, prepare},
		"Unprepare":                {crashDevices(), func(p *process) error { return p.Unprepare(ctx, "a") }},
	}
}

func crashDevices() []string {
	return []string{"gpu-1", "gpu-0", "gpu-5 admin", "gpu-2 share=s-1 takes=60Gi"}
}

func crashPlan() claim.Plan { return planOf("a", crashDevices()...) }

// rightAnswer is what Prepare of crashPlan answers where nothing goes wrong.
func rightAnswer(t *testing.T) []Device {
	t.Helper()
	answer, err := newNode(t).start(t).Prepare(context.Background(), crashPlan())
	must(t, err)
	return answer
}

func (d deed) begin(t *testing.T) *process {
	t.Helper()
	p := newNode(t).start(t)
	if d.before != nil {
		_, err := p.Prepare(context.Background(), planOf("a", d.before...))
		must(t, err)
	}
	return p
}

// momentsOf returns all moments of a deed, in order; a moment may be there several times.
func (d deed) momentsOf(t *testing.T) []string {
	t.Helper()
	p := d.begin(t)
	moments := p.failAt(-1, nil)
	must(t, d.do(p))
	return *moments
}

// leaveUnfinishedFiles stands for dying between writing a file and renaming it.
func (n node) leaveUnfinishedFiles(t *testing.T) {
	t.Helper()
	must(t, os.WriteFile(filepath.Join(n.state, "claims", ".a.tmp"), []byte("half"), 0o600))
	must(t, os.WriteFile(filepath.Join(n.cdi, ".k8s.gpu.example.com-gpu_a.json.tmp"), []byte("half"), 0o600))
}

// TestFault01EveryMomentGoingWrong lets each moment of each deed go wrong in each way, and then checks that the
// invariants hold, that a repeated Prepare mends it, that Unprepare mends it, and that others get the devices then.
func TestFault01EveryMomentGoingWrong(t *testing.T) {
	want := rightAnswer(t)
	ways := map[string]func(moment string) error{
		"dies":   die,
		"fails":  fail,
		"panics": func(moment string) error { panic("injected " + moment) },
	}
	for name, d := range deeds() {
		for i, moment := range d.momentsOf(t) {
			for way, with := range ways {
				inBackend := strings.HasSuffix(moment, "effect") || strings.HasSuffix(moment, "undo")
				if way == "panics" && !inBackend {
					continue // a panic of our own is the caller's to catch
				}
				for _, next := range []string{"Prepare", "Unprepare"} {
					t.Run(fmt.Sprintf("%s %s at %d %s, then %s", name, way, i, moment, next), func(t *testing.T) {
						p := d.begin(t)
						p.failAt(i, with)
						var err error
						if dying(func() { err = d.do(p) }) {
							if way == "dies" || err == nil {
								t.Fatalf("%s came to its end: %v", name, err)
							}
							if way == "panics" && (!errors.As(err, new(*PanicError)) ||
								!strings.Contains(err.Error(), "team-a/train (uid a)")) {
								t.Fatalf("the panic became %v", err)
							}
						}
						p.mustHold(t)
						if way == "dies" {
							p.leaveUnfinishedFiles(t)
						}
						if next == "Prepare" {
							p.mustEndAsIfNothingHappened(t, crashPlan(), want)
						} else {
							p.mustGoAway(t, "a")
						}
						after := p.start(t)
						other := planOf("b", "gpu-0", "gpu-1", "gpu-3", "gpu-2 share=s-1 takes=60Gi")
						_, err = after.Prepare(context.Background(), other)
						must(t, err)
						after.mustHold(t)
					})
				}
			}
		}
	}
}

// TestFault01BeingKilled does the same with a real process and a real kill -9.
func TestFault01BeingKilled(t *testing.T) {
	if dir := os.Getenv("DRAGOMAN_TEST_NODE"); dir != "" {
		beKilled(t, dir)
		return
	}
	want := rightAnswer(t)
	for name, d := range deeds() {
		for i, moment := range d.momentsOf(t) {
			t.Run(fmt.Sprintf("%s killed at %d %s", name, i, moment), func(t *testing.T) {
				p := d.begin(t)
				self, err := os.Executable()
				must(t, err)
				cmd := exec.Command(self, "-test.run=^TestFault01BeingKilled$")
				cmd.Env = append(os.Environ(), "DRAGOMAN_TEST_NODE="+filepath.Dir(p.state), "DRAGOMAN_TEST_DEED="+name,
					"DRAGOMAN_TEST_MOMENT="+strconv.Itoa(i))
				out, err := cmd.CombinedOutput()
				var exit *exec.ExitError
				if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
					t.Fatalf("the process was not killed: %v\n%s", err, out)
				}
				p.mustHold(t)
				if i%2 == 0 {
					p.mustEndAsIfNothingHappened(t, crashPlan(), want)
				} else {
					p.mustGoAway(t, "a")
				}
			})
		}
	}
}

func beKilled(t *testing.T, dir string) {
	p := nodeAt(t, dir).start(t)
	occurrence, err := strconv.Atoi(os.Getenv("DRAGOMAN_TEST_MOMENT"))
	must(t, err)
	p.failAt(occurrence, func(string) error { return syscall.Kill(syscall.Getpid(), syscall.SIGKILL) })
	err = deeds()[os.Getenv("DRAGOMAN_TEST_DEED")].do(p)
	t.Fatalf("still alive: %v", err)
}

// TestClaimThatDiedBeforeItGotItsDevice: taking it back must not touch the device, which is another claim's by now.
func TestClaimThatDiedBeforeItGotItsDevice(t *testing.T) {
	ctx := context.Background()
	p := newNode(t).start(t)
	p.at = func(moment string) error {
		if moment == "after record intent" {
			return die(moment)
		}
		return nil
	}
	if dying(func() { _, _ = p.Prepare(ctx, planOf("a", "gpu-0")) }) {
		t.Fatal("it did not die")
	}
	p = p.start(t)
	_, err := p.Prepare(ctx, planOf("b", "gpu-0"))
	must(t, err)
	must(t, p.Unprepare(ctx, "a"))
	p.mustHold(t)
	if effects := p.hardware.effects(t); effects["gpu-0_"] != "b" {
		t.Errorf("the device of b is gone: %v", effects)
	}
	p.mustGoAway(t, "b")
}

func TestFault07AfterARebootNothingIsBelieved(t *testing.T) {
	ctx := context.Background()
	p := newNode(t).start(t)
	for _, uid := range []types.UID{"a", "b"} {
		_, err := p.Prepare(ctx, planOf(uid, "gpu-"+string(uid)))
		must(t, err)
	}
	// The state directory is on a disk, and so is what the records describe: only the CDI files are left.
	must(t, os.WriteFile(filepath.Join(p.state, "epoch"), []byte("dragoman-epoch/v1 0123 another-boot\n"), 0o600))
	must(t, os.RemoveAll(p.node.hardware))
	p = nodeAt(t, filepath.Dir(p.state)).start(t)
	if claims, err := p.Remembered(); len(claims) != 0 || err != nil {
		t.Errorf("I7: prepared are %v, %v", claims, err)
	}
	must(t, p.Restore(ctx))
	p.mustBeClean(t)
	answer, err := p.Prepare(ctx, planOf("b", "gpu-a")) // of which claim a was the owner before
	must(t, err)
	p.mustBePrepared(t, "b", answer)
}
