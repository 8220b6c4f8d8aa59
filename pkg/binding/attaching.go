package binding

import (
	"context"
	"maps"
	"sync"
	"time"

	resourceapi "k8s.io/api/resource/v1"

	"example.com/dragoman/pkg/device"
)

// attaching is the work for one allocation of a claim.
type attaching struct {
	allocation string
	ctx        context.Context //nolint:containedctx // it is the allocation's: it ends with it
	cancel     context.CancelFunc

	mu       sync.Mutex
	started  map[deviceKey]bool
	outcomes map[deviceKey]outcome
	over     string // the version of the claim over which was written last
}

// begin asks the fabric for a device, unless that was done or the allocation is over.
func (a *attaching) begin(c *Controller, claim device.Claim, r resourceapi.DeviceRequestAllocationResult) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ctx.Err() != nil || a.started[keyOf(r)] {
		return
	}
	a.started[keyOf(r)] = true
	c.working.Go(func() { a.attach(c, claim, r) })
}

func (a *attaching) attach(c *Controller, claim device.Claim, r resourceapi.DeviceRequestAllocationResult) {
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-a.ctx.Done():
		return
	}
	began := time.Now()
	c.options.Observe.InProgress(1)
	err := c.options.Fabric.Attach(a.ctx, claim, r)
	c.options.Observe.InProgress(-1)
	if a.ctx.Err() != nil {
		return // whatever came of it, nobody waits for it
	}
	c.options.Observe.Attached(time.Since(began), err)
	c.report(a.ctx, claim, r, err)
	if a.note(r, err) {
		c.queue.Add(nameOf(claim))
	} else {
		c.queue.AddRateLimited(nameOf(claim))
	}
}

// note keeps what came of attaching a device, and says whether there is something to tell; else it is tried again.
func (a *attaching) note(r resourceapi.DeviceRequestAllocationResult, err error) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err != nil && len(r.BindingFailureConditions) == 0 {
		delete(a.started, keyOf(r))
		return false
	}
	a.outcomes[keyOf(r)] = outcome{err: err, at: time.Now()}
	if err != nil {
		a.cancel() // the scheduler takes the whole allocation back, so the other devices are of no use
	}
	return true
}

// news returns what to write over the given version of the claim, nothing if that was done.
func (a *attaching) news(version string) map[deviceKey]outcome {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.over == version {
		return nil
	}
	return maps.Clone(a.outcomes)
}

func (a *attaching) wrote(version string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.over = version
}
