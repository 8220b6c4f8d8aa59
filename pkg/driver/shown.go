package driver

import (
	"context"
	"maps"
	"sync/atomic"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"example.com/dragoman/pkg/device"
	"example.com/dragoman/pkg/prepare"
	"example.com/dragoman/pkg/status"
)

// shown keeps the status of claims showing what is set up for them on this node, and how that is. Nobody waits for it.
type shown struct {
	writer  *status.Writer // nil if nobody wants it
	recall  func(types.UID) (*prepare.Remembered, error)
	records Records
	health  *health
	tooSoon atomic.Bool // a claim was to be shown before the devices were looked at

	// Of run's goroutine.
	logger  klog.Logger
	refused complaint
}

func newShown(o Options, h *health) *shown {
	s := &shown{records: o.Records, health: h}
	if o.Status == nil {
		return s
	}
	s.recall = o.Preparer.Recall
	s.writer = status.New(status.Options{Client: o.Status, DriverName: o.DriverName, NodeName: o.NodeName,
		Recorded: s.recorded,
		Observe: func(e status.Event) {
			o.Observe.StatusWritten(e.Result)
			s.log(e)
		}})
	return s
}

// changed says that a claim was prepared, or taken back. The claim is as the API server has it; nil if that is not
// known.
func (s *shown) changed(c device.Claim, seen *resourceapi.ResourceClaim) {
	if s.writer != nil {
		s.writer.Changed(c, seen)
	}
}

// compare has the status of a claim put right if it is not.
func (s *shown) compare(c device.Claim, seen *resourceapi.ResourceClaim) {
	if s.writer != nil {
		s.writer.Compare(c, seen)
	}
}

// run writes until ctx ends.
func (s *shown) run(ctx context.Context) error {
	if s.writer == nil {
		return nil
	}
	s.logger = klog.FromContext(ctx)
	return s.writer.Run(ctx)
}

// recorded is what the status of a claim is to show now.
func (s *shown) recorded(c device.Claim) ([]status.Device, error) {
	has, err := s.recall(c.UID)
	switch {
	case err != nil:
		return nil, err
	case has == nil:
		return nil, nil
	case has.State != prepare.Prepared:
		return nil, status.ErrUnsettled
	}
	seen, known := s.seen()
	if !known {
		s.tooSoon.Store(true)
		if seen, known = s.seen(); !known { // or followHealth may have asked before that was noted
			return nil, status.ErrUnsettled // followHealth comes back to it
		}
	}
	devices := make([]status.Device, 0, len(has.Devices))
	for _, d := range has.Devices {
		one := status.Device{Pool: d.Pool, Device: d.Device, ShareID: d.ShareID, CDIDeviceIDs: d.CDIDeviceIDs,
			Network: d.Network, Data: d.Data}
		if health, there := seen[d.Device]; there {
			one.Health = &health
		}
		devices = append(devices, one)
	}
	return devices, nil
}

// seen is how the devices are; it is not known before they were looked at.
func (s *shown) seen() (seen map[string]device.Health, known bool) {
	devices, known, _ := s.health.now()
	seen = make(map[string]device.Health, len(devices))
	for _, d := range devices {
		seen[d.Name] = d.Health
	}
	return seen, known
}

// followHealth has the status of claims follow the health of their devices until ctx ends.
func (s *shown) followHealth(ctx context.Context) error {
	if s.writer == nil {
		return nil
	}
	var told map[string]device.Health // nil before the devices were looked at
	for {
		_, _, changed := s.health.now()
		if seen, known := s.seen(); known {
			switch {
			case told == nil && s.tooSoon.Load():
				s.compareAll(ctx, func(string) bool { return true })
			case told != nil && !maps.Equal(told, seen):
				s.compareAll(ctx, func(name string) bool {
					was, before := told[name]
					is, now := seen[name]
					return was != is || before != now
				})
			}
			told = seen
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}

// compareAll compares the claims that have one of the devices.
func (s *shown) compareAll(ctx context.Context, concerned func(device string) bool) {
	remembered, err := s.records.Remembered()
	if err != nil {
		klog.FromContext(ctx).Error(err, "List the records of claims, to show the health of their devices; "+
			"it is shown when they are compared with the API server")
		return
	}
	for _, c := range remembered {
		for _, d := range c.Devices {
			if c.State == prepare.Prepared && concerned(d.Device) {
				s.compare(c.Claim, nil)
				break
			}
		}
	}
}

// log tells of what lasts once, and of what passes only who looks closely.
func (s *shown) log(e status.Event) {
	logger := klog.LoggerWithValues(s.logger, "claim", klog.KRef(e.Claim.Namespace, e.Claim.Name), "claimUID", e.Claim.UID)
	switch {
	case e.Result == status.Wrote && e.News:
		logger.Info("The status of claims shows their devices again")
	case e.Result == status.Wrote:
		logger.V(4).Info("Wrote the status of a claim")
	case e.Result == status.Unreachable:
		logger.V(2).Info("Could not write the status of a claim; will try again", "err", e.Err)
	case e.Result == status.Refused:
		s.refused.note(klog.NewContext(context.Background(), logger), e.Err,
			"Write the status of a claim; it is left as it is")
	case e.News:
		s.logger.Info("Warning: the status of claims does not show their devices; everything else works. "+
			"Tried again now and then; deviceStatus: false turns it off", "reason", e.Err)
	default:
		s.logger.V(4).Info("The status of claims still does not show their devices", "reason", e.Err)
	}
}
