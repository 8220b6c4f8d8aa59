package prepare

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"example.com/dragoman/pkg/claim"
)

// hang takes a claim's lock as an instance does that was stopped in the middle of a call, until it is ended.
func (n node) hang(t *testing.T, uid string) (end func()) {
	t.Helper()
	file, err := os.OpenFile(filepath.Join(n.state, "locks", uid), os.O_CREATE|os.O_RDWR, 0o600)
	must(t, err)
	must(t, unix.Flock(int(file.Fd()), unix.LOCK_EX))
	return func() { _ = file.Close() }
}

// hurried is a kubelet that says when it gives up, and waits for longer: who answers has done so by a clock of its own
// that ends before, however late a busy machine looks at either.
type hurried struct {
	context.Context
	givesUp time.Time
}

func (h hurried) Deadline() (time.Time, bool) { return h.givesUp, true }

// TestFault19AnInstanceThatHangs keeps the lock of a claim: what is asked of that claim is answered before the kubelet
// gives up, other claims go on, and when the instance is ended the next call does what it was asked for.
func TestFault19AnInstanceThatHangs(t *testing.T) {
	const kubelets = 800 * time.Millisecond // 45 s
	p := newNode(t).start(t)
	end := p.hang(t, "a")
	calls := []struct {
		name string
		call func(ctx context.Context, plan claim.Plan) error
	}{
		{"Prepare", func(ctx context.Context, plan claim.Plan) error { _, err := p.Prepare(ctx, plan); return err }},
		{"Unprepare", func(ctx context.Context, plan claim.Plan) error { return p.Unprepare(ctx, plan.UID) }},
	}
	for _, c := range calls { // in this order: what the first does with claim b, the second takes back
		ctx, cancel := context.WithTimeout(t.Context(), lockPatience/2)
		err := c.call(hurried{ctx, time.Now().Add(kubelets)}, planOf("a", "gpu-0"))
		want := "wait for the lock of claim a, another call or instance of the driver is working on it: " + errLocked.Error()
		if err == nil || err.Error() != want {
			t.Errorf("%s: got  %v\nwant %s", c.name, err, want)
		}
		cancel()
		must(t, c.call(t.Context(), planOf("b", "gpu-1")))
	}
	p.mustHold(t)
	end()
	answer, err := p.Prepare(t.Context(), planOf("a", "gpu-0"))
	must(t, err)
	p.mustBePrepared(t, "a", answer)
	p.mustGoAway(t, "a")
}

func TestWaitingIsBoundedWithoutADeadlineToo(t *testing.T) {
	p := newNode(t).start(t)
	defer p.hang(t, "a")()
	ctx, cancel := context.WithCancelCause(t.Context())
	stopped := errors.New("the driver stops")
	cancel(stopped)
	if _, err := p.Prepare(ctx, planOf("a", "gpu-0")); !errors.Is(err, stopped) {
		t.Errorf("got %v", err)
	}
}
