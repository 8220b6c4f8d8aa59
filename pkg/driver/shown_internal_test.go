package driver

import (
	"errors"
	"slices"
	"strings"
	"testing"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	"k8s.io/klog/v2/textlogger"

	"example.com/dragoman/pkg/device"
	"example.com/dragoman/pkg/prepare"
	"example.com/dragoman/pkg/status"
)

func TestWhatTheStatusOfAClaimIsToShow(t *testing.T) {
	corrupt := errors.New("its checksum does not match")
	known := [][]device.Device{{{Device: resourceapi.Device{Name: "gpu-0"},
		Health: device.Health{Unhealthy: true, Reason: "hot"}}}}
	gone := append(slices.Clone(known), nil)
	is := func(state prepare.State) *prepare.Remembered {
		c := holding(state)
		return &c
	}
	for name, tc := range map[string]struct {
		record  *prepare.Remembered
		err     error
		looks   [][]device.Device
		want    []string // device, share, health
		wantErr error
	}{
		"what is prepared": {
			is(prepare.Prepared), nil, known, []string{"gpu-0  ill: hot", "gpu-1 s gone"}, nil},
		"what is prepared, when the last device is gone": {
			is(prepare.Prepared), nil, gone, []string{"gpu-0  gone", "gpu-1 s gone"}, nil},
		"nothing, of what nobody knows":       {nil, nil, known, nil, nil},
		"no change in the middle of a call":   {is(prepare.Preparing), nil, known, nil, status.ErrUnsettled},
		"no change while it is taken back":    {is(prepare.Unpreparing), nil, known, nil, status.ErrUnsettled},
		"no change without a record to read":  {nil, corrupt, known, nil, corrupt},
		"no change before anybody has looked": {is(prepare.Prepared), nil, nil, nil, status.ErrUnsettled},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHealth()
			for _, devices := range tc.looks {
				h.note(klog.Background(), devices)
			}
			s := &shown{health: h, recall: func(types.UID) (*prepare.Remembered, error) { return tc.record, tc.err }}
			got, err := s.recorded(device.Claim{Namespace: "team-a", Name: "train", UID: "1"})
			var lines []string
			for _, d := range got {
				line := d.Device + " "
				if d.ShareID != nil {
					line += string(*d.ShareID)
				}
				if d.Health == nil {
					line += " gone"
				} else if d.Health.Unhealthy {
					line += " ill: " + d.Health.Reason
				}
				lines = append(lines, line)
			}
			if !slices.Equal(lines, tc.want) || !errors.Is(err, tc.wantErr) || (err == nil) != (tc.wantErr == nil) {
				t.Errorf("got %q, %v; want %q, %v", lines, err, tc.want, tc.wantErr)
			}
			if tooSoon := tc.record != nil && tc.looks == nil; s.tooSoon.Load() != tooSoon {
				t.Errorf("noted that it was too soon: %t", !tooSoon)
			}
		})
	}
}

// TestOfTheStatusIsToldWhatIsNews: the beginning and the end of a rest, and each refusal that is another one.
func TestOfTheStatusIsToldWhatIsNews(t *testing.T) {
	var log strings.Builder
	s := &shown{logger: klog.Logger(textlogger.NewLogger(textlogger.NewConfig(textlogger.Output(&log))))}
	dropped, refused := errors.New("feature gate X"), errors.New("too many")
	for _, e := range []status.Event{
		{Result: status.Wrote}, {Result: status.Dropped, Err: dropped, News: true}, {Result: status.Dropped, Err: dropped},
		{Result: status.Forbidden, Err: dropped}, {Result: status.Wrote, News: true}, {Result: status.Wrote},
		{Result: status.Refused, Err: refused}, {Result: status.Refused, Err: refused},
		{Result: status.Unreachable, Err: errors.New("away")},
	} {
		s.log(e)
	}
	var told []string
	for line := range strings.Lines(log.String()) {
		_, sentence, _ := strings.Cut(line, `] "`)
		told = append(told, sentence[:min(len(sentence), 30)])
	}
	want := []string{"Warning: the status of claims ", "The status of claims shows the", "Write the status of a claim; i"}
	if !slices.Equal(told, want) {
		t.Errorf("told %q, want %q\n%s", told, want, &log)
	}
}
