package driver

import (
	"context"
	"math/rand/v2"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"example.com/dragoman/pkg/device"
)

const (
	// lookInterval is the time between two comparisons of the records with the API server, up to a tenth more.
	lookInterval = 10 * time.Minute
	// goneGrace is how long a claim must have been gone before what is left of it is taken back. The kubelet does that
	// itself within the 60 s of its own loop, unless it has lost its memory.
	goneGrace = 2 * time.Minute
)

// reconcile compares the records with the API server and the node, at once and then now and then, until ctx ends. It
// takes back what the kubelet forgot: claims that are gone.
func (d *Driver) reconcile(ctx context.Context) error {
	goneSince := make(map[types.UID]time.Time)
	for {
		goneSince = d.lookForGone(ctx, goneSince)
		wait := lookInterval + rand.N(lookInterval/10)
		if len(goneSince) > 0 {
			wait = goneGrace
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
			d.restore(ctx)
		}
	}
}

func (d *Driver) restore(ctx context.Context) {
	if err := d.options.Records.Restore(ctx); err != nil {
		klog.FromContext(ctx).Error(err, "Put right what an earlier process left; will try again later")
	}
}

// lookForGone takes back each claim that has been gone for long enough, and returns since when the others are.
func (d *Driver) lookForGone(ctx context.Context, before map[types.UID]time.Time) map[types.UID]time.Time {
	logger := klog.FromContext(ctx)
	recorded, err := d.options.Records.Prepared()
	if err != nil {
		logger.Error(err, "List the records of claims; nothing is taken back now")
		return before
	}
	now := time.Now()
	gone := make(map[types.UID]time.Time)
	for _, c := range recorded {
		since, noted := before[c.UID]
		isGone, err := d.isGone(ctx, c)
		switch {
		case err != nil:
			// Not knowing is not knowing that it is gone. The others are not asked for now: while the API server does
			// not answer that would take long. What was noted before stays noted.
			logger.V(2).Info("Cannot tell whether a claim still exists; will look again later",
				"claim", klog.KRef(c.Namespace, c.Name), "err", err)
			return before
		case isGone && noted && now.Sub(since) >= goneGrace:
			if !d.takeBack(ctx, c, now.Sub(since)) {
				gone[c.UID] = since
			}
		case isGone && noted:
			gone[c.UID] = since
		case isGone:
			gone[c.UID] = now
		}
	}
	return gone
}

func (d *Driver) isGone(ctx context.Context, c device.Claim) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchAttempt)
	defer cancel()
	found, err := d.options.Client.ResourceV1().ResourceClaims(c.Namespace).Get(ctx, c.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return true, nil
	case err != nil:
		return false, err
	}
	return found.UID != c.UID, nil
}

// takeBack says whether nothing is left of the claim.
func (d *Driver) takeBack(ctx context.Context, c device.Claim, goneFor time.Duration) bool {
	logger := klog.LoggerWithValues(klog.FromContext(ctx), "claim", klog.KRef(c.Namespace, c.Name), "claimUID", c.UID,
		"goneFor", goneFor.Round(time.Second))
	if _, err := guarded(ctx, c.UID, d.unprepare); err != nil {
		logger.Error(err, "Take back what is left of a claim that does not exist any more; will try again")
		return false
	}
	logger.Info("Took back what was left of a claim that does not exist any more")
	return true
}
