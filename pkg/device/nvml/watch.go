//go:build cgo

package nvml

import (
	"context"
	"time"
)

const (
	// pollInterval is how often everything is looked at without an event: what appears, gets lost or recovers is noticed
	// after at most that time.
	pollInterval = 5 * time.Second
	// waitForEvents is how long one call waits for an event, which is how long the end of watching takes at most.
	waitForEvents = time.Second
)

// Watch looks at the hardware every few seconds and when the driver reports something. It begins before there is a
// driver and finds the one that appears.
func (b *Backend) Watch(ctx context.Context, changed func()) error {
	go b.watchDaemons(ctx)
	tick := time.NewTicker(b.pollInterval)
	defer tick.Stop()
	var monitored *session
	ended := make(chan struct{})
	close(ended)
	for {
		if b.differs(ctx) {
			changed()
		}
		if s := b.current(); s != nil && s != monitored {
			monitored, ended = s, make(chan struct{})
			go b.monitor(ctx, s, ended)
		}
		select {
		case <-tick.C:
		case <-b.kicks:
		case <-ctx.Done():
			select {
			case <-ended:
			case <-time.After(2 * waitForEvents): // it hangs in the library, and goes when that answers
			}
			return nil
		}
	}
}

// differs looks and tells whether Devices would answer differently than it did last.
func (b *Backend) differs(ctx context.Context) bool {
	snapshot, err := b.look(ctx)
	if ctx.Err() != nil {
		return false
	}
	now := fingerprint(snapshot, err)
	b.mu.Lock()
	defer b.mu.Unlock()
	return now != b.told
}
