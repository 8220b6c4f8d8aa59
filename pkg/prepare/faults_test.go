//go:build failpoints

package prepare

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"example.com/dragoman/pkg/failpoint"
)

// TestFault03TheOwnerOfADeviceCannotBeRead: whatever is not known, what is another claim's is left alone.
func TestFault03TheOwnerOfADeviceCannotBeRead(t *testing.T) {
	ctx := context.Background()
	for n := 1; ; n++ {
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

		failpoint.Arm(failpoint.Plan{Action: "eio", At: n})
		err = p.Unprepare(ctx, "a")
		points := failpoint.Passed()
		failpoint.Arm(failpoint.Plan{})
		if err != nil && !errors.Is(err, syscall.EIO) {
			t.Errorf("%d: %v", n, err)
		}
		if len(points) < n {
			if n < 10 {
				t.Errorf("there were only the points %q", points)
			}
			return
		}
		point := strings.ReplaceAll(strings.ReplaceAll(points[n-1], filepath.Dir(p.state)+"/", ""), "/", ":")
		t.Run(fmt.Sprint(n, " ", point), func(t *testing.T) {
			p.mustHold(t)
			if effects := p.hardware.effects(t); effects["gpu-0_"] != "b" {
				t.Errorf("the device of b is gone: %v", effects)
			}
			must(t, p.Unprepare(ctx, "a"))
			p.mustHold(t)
			p.mustGoAway(t, "b")
		})
	}
}
