package prepare

import (
	"context"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/types"

	"example.com/dragoman/pkg/device"
)

// showing is hardware of which the status of a claim shows something.
type showing struct {
	*hardware
	network *resourceapi.NetworkDeviceData
	data    json.RawMessage
}

func (s *showing) Prepare(ctx context.Context, r device.Request) ([]device.Grant, error) {
	grants, err := s.hardware.Prepare(ctx, r)
	for i := range grants {
		grants[i].Network, grants[i].Data = s.network, s.data
	}
	return grants, err
}

// TestWhatTheStatusShowsOutlivesTheProcess, since another one may have to write it.
func TestWhatTheStatusShowsOutlivesTheProcess(t *testing.T) {
	n := newNode(t)
	s := &showing{hardware: newHardware(n.hardware), data: json.RawMessage(`{"profile":"1g.10gb"}`),
		network: &resourceapi.NetworkDeviceData{InterfaceName: "net0", IPs: []string{"10.1.0.7/24"}}}
	first := (&process{node: n, hardware: s.hardware}).with(t, s)
	plan := planOf("c", "gpu-0", "gpu-1 admin", "gpu-2 share=s-1")
	answer, err := first.Prepare(t.Context(), plan)
	must(t, err)
	for _, d := range answer {
		if diff := cmp.Diff(s.network, d.Network); diff != "" || string(d.Data) != string(s.data) {
			t.Errorf("the answer for %s has data %s and network data (-want +got):\n%s", d.Device, d.Data, diff)
		}
	}
	second := n.start(t)
	got, err := second.Recall("c")
	must(t, err)
	of := device.Claim{Namespace: "team-c", Name: "train", UID: "c"}
	want := &Remembered{Claim: of, State: Prepared, Devices: answer}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("another process recalls (-want +got):\n%s", diff)
	}

	s.data, s.network = json.RawMessage(`{"profile":"2g.20gb"}`), nil
	_, err = first.Prepare(t.Context(), plan)
	must(t, err)
	got, err = second.Recall("c")
	must(t, err)
	if d := got.Devices[0]; string(d.Data) != string(s.data) || d.Network != nil {
		t.Errorf("after it was prepared again it is %s, %+v", d.Data, d.Network)
	}
	s.data = nil
	_, err = first.Prepare(t.Context(), plan)
	must(t, err)
	got, err = second.Recall("c")
	must(t, err)
	if d := got.Devices[0]; d.Data != nil {
		t.Errorf("what it does not show any more is still %s", d.Data)
	}

	must(t, first.Unprepare(t.Context(), "c"))
	if got, err := second.Recall("c"); got != nil || err != nil {
		t.Errorf("after it was taken back it is %+v, %v", got, err)
	}
	if len(first.reports) > 0 {
		t.Errorf("reported %v", first.reports)
	}
}

func TestAGrantThatCannotBeShownDoesNotFailTheClaim(t *testing.T) {
	n := newNode(t)
	s := &showing{hardware: newHardware(n.hardware), data: json.RawMessage(`[]`)}
	p := (&process{node: n, hardware: s.hardware}).with(t, s)
	for range 2 {
		answer, err := p.Prepare(t.Context(), planOf("c", "gpu-0"))
		must(t, err)
		if answer[0].Data != nil {
			t.Errorf("shows %s", answer[0].Data)
		}
	}
	const want = "show device gpu-0 in the status of the claim: its data: it is no JSON object"
	if len(p.reports) != 1 || p.reports[0].Error() != want {
		t.Errorf("reported %v, want once %s", p.reports, want)
	}
}

func TestRecallOfARecordThatCannotBeRead(t *testing.T) {
	p := newNode(t).start(t)
	_, err := p.Prepare(t.Context(), planOf("c", "gpu-0"))
	must(t, err)
	must(t, os.WriteFile(p.recordOf("c"), nil, 0o600))
	if got, err := p.Recall("c"); got != nil || err == nil || !strings.Contains(err.Error(), "c") {
		t.Errorf("got %+v, %v, want an error", got, err)
	}
	if got, err := p.Recall(types.UID("never-seen")); got != nil || err != nil {
		t.Errorf("got %+v, %v for a claim that nobody knows", got, err)
	}
}
