package driver

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/flowcontrol"
	"k8s.io/klog/v2"
	"k8s.io/utils/ptr"

	"example.com/dragoman/pkg/device"
	"example.com/dragoman/pkg/prepare"
)

const (
	// lookInterval is the time between two comparisons of the records with the API server and the node, up to a tenth
	// more.
	lookInterval = 10 * time.Minute
	// filesInterval is the time between two looks for CDI files that are missing, up to a third more. A container that
	// starts again needs them, and the kubelet does not ask for them again.
	filesInterval = 3 * time.Second
	// goneGrace is how long a claim must have been gone before what is left of it is taken back. The kubelet does that
	// itself within the 60 s of its own loop, unless it has lost its memory.
	goneGrace = 2 * time.Minute
	// askedAtOnce is how many claims the API server is asked for in a row, more than there are pods on a node. Where
	// there are more, askedPerSecond bounds what that costs the node and the API server.
	askedAtOnce    = 250
	askedPerSecond = 20
)

// Unsettled says why a claim of which something is on the node is not just prepared. Whatever it is, the claim keeps
// what it has as long as it exists: its containers may be using it, and the kubelet takes it back when they are gone.
type Unsettled string

// The reasons for which claims are unsettled.
const (
	HalfPrepared     Unsettled = "half_prepared"     // the kubelet repeats its call, or gives it up
	HalfUnprepared   Unsettled = "half_unprepared"   // the kubelet repeats its call
	UnreadableRecord Unsettled = "unreadable_record" // it keeps its devices until it is taken back
	NotAllocated     Unsettled = "not_allocated"     // it exists and has no devices any more
	OtherDevices     Unsettled = "other_devices"     // it exists and has others now
	Gone             Unsettled = "gone"              // it does not exist any more, and will be taken back
)

// UnsettledReasons returns all reasons.
func UnsettledReasons() []Unsettled {
	return []Unsettled{HalfPrepared, HalfUnprepared, UnreadableRecord, NotAllocated, OtherDevices, Gone}
}

// unsettled is what is known of claims that are not just prepared.
type unsettled struct {
	pace flowcontrol.RateLimiter // of asking the API server

	mu        sync.Mutex
	goneSince map[types.UID]time.Time
	told      map[types.UID]Unsettled // what the log says of the others
}

func newUnsettled() unsettled {
	return unsettled{
		pace:      flowcontrol.NewTokenBucketRateLimiter(askedPerSecond, askedAtOnce),
		goneSince: make(map[types.UID]time.Time), told: make(map[types.UID]Unsettled),
	}
}

// gone notes that a claim is gone, and returns since when that is known.
func (u *unsettled) gone(uid types.UID, now time.Time) (since time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if since, known := u.goneSince[uid]; known {
		return since
	}
	u.goneSince[uid] = now
	return now
}

func (u *unsettled) isGone(uid types.UID) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	_, gone := u.goneSince[uid]
	return gone
}

func (u *unsettled) anyGone() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.goneSince) > 0
}

// exists forgets that a claim was gone: the API server, or the kubelet, knows it.
func (u *unsettled) exists(uid types.UID) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.goneSince, uid)
}

// is notes why a claim is unsettled, and says whether that is news.
func (u *unsettled) is(uid types.UID, reason Unsettled) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	news := u.told[uid] != reason
	u.told[uid] = reason
	return news
}

// keep forgets all claims but those that are unsettled for a reason.
func (u *unsettled) keep(reasons map[types.UID]Unsettled) {
	u.mu.Lock()
	defer u.mu.Unlock()
	maps.DeleteFunc(u.goneSince, func(uid types.UID, _ time.Time) bool { return reasons[uid] != Gone })
	maps.DeleteFunc(u.told, func(uid types.UID, _ Unsettled) bool { return reasons[uid] == "" })
}

// reconcile compares the records with the API server and the node, at once and then now and then, until ctx ends. It
// makes again what prepared claims miss, and takes back what the kubelet forgot: claims that are gone. On the node it
// looks at once only if restore left something.
func (d *Driver) reconcile(ctx context.Context) error {
	var said complaint
	repair := func() {
		said.note(ctx, d.options.Records.Repair(ctx), "Make again what prepared claims miss; will try again later")
	}
	if !d.restored {
		repair()
	}
	for {
		wait := lookInterval + rand.N(lookInterval/10)
		if d.compare(ctx) {
			wait = goneGrace
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
			repair()
		}
	}
}

// keepFiles makes CDI files again that were removed, soon after that, until ctx ends. It looks: being told of changes
// (inotify) would still need looking where instances of it have run out.
func (d *Driver) keepFiles(ctx context.Context) error {
	var said complaint
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(filesInterval + rand.N(filesInterval/3)):
			said.note(ctx, d.options.Records.RepairFiles(ctx), "Make CDI files again that are missing; will try again")
		}
	}
}

// complaint is what the log says about something that is tried again and again.
type complaint struct{ text string }

func (c *complaint) note(ctx context.Context, err error, doing string) {
	switch {
	case err == nil:
		c.text = ""
	case err.Error() != c.text && ctx.Err() == nil:
		c.text = err.Error()
		klog.FromContext(ctx).Error(err, doing)
	}
}

// restore puts right what an earlier process left, or leaves the rest to reconcile.
func (d *Driver) restore(ctx context.Context) {
	defer d.told.sweep(ctx)
	err := d.options.Records.Restore(ctx)
	d.restored = err == nil
	if errors.Is(err, prepare.ErrUnfinished) {
		klog.FromContext(ctx).Info("Making again what prepared claims miss while the kubelet is served, as there are many")
		return
	}
	var said complaint
	said.note(ctx, err, "Put right what an earlier process left; goes on without")
}

// compare takes back each claim that has been gone for long enough, tells of others that are not just prepared, and
// says whether some are gone and wait.
func (d *Driver) compare(ctx context.Context) (waiting bool) {
	logger := klog.FromContext(ctx)
	recorded, err := d.options.Records.Remembered()
	if err != nil {
		logger.Error(err, "List the records of claims; nothing is taken back now")
		return false
	}
	reasons := make(map[types.UID]Unsettled)
	for _, c := range recorded {
		reason, err := d.reasonOf(ctx, c)
		if err != nil && isTrouble(err) {
			// Not knowing is not knowing that it is gone. The others are not asked for now: while the API server does
			// not answer that would take long. What was noted before stays noted.
			logger.V(2).Info("Cannot tell whether claims still exist; will look again later", "err", err)
			return d.unsettled.anyGone()
		}
		if err != nil {
			logger.V(2).Info("Cannot tell whether a claim still exists; will look again later",
				"claim", klog.KRef(c.Claim.Namespace, c.Claim.Name), "err", err)
		}
		if reason == Gone {
			reason = d.settleGone(ctx, c.Claim)
		}
		if reason != "" {
			reasons[c.Claim.UID] = reason
			d.tell(ctx, c.Claim, reason)
		}
		waiting = waiting || reason == Gone
	}
	d.unsettled.keep(reasons)
	counts := make(map[Unsettled]int)
	for _, reason := range reasons {
		counts[reason]++
	}
	d.options.Observe.Unsettled(counts)
	return waiting
}

// reasonOf says why a claim is unsettled; empty if it is not. With an error that is not trouble it says what is known
// without the API server.
func (d *Driver) reasonOf(ctx context.Context, c prepare.Remembered) (Unsettled, error) {
	half := map[prepare.State]Unsettled{
		prepare.Preparing: HalfPrepared, prepare.Unpreparing: HalfUnprepared, prepare.Unreadable: UnreadableRecord,
	}[c.State]
	if c.Claim.Namespace == "" || c.Claim.Name == "" {
		return half, nil // nobody can be asked
	}
	if err := d.unsettled.pace.Wait(ctx); err != nil {
		return half, err
	}
	found, err := d.find(ctx, c.Claim)
	switch {
	case err != nil:
		return half, err
	case found == nil:
		return Gone, nil
	}
	d.unsettled.exists(c.Claim.UID)
	if half != "" {
		return half, nil
	}
	reason := d.compareDevices(c.Devices, found.Status.Allocation)
	if reason == "" {
		d.shown.compare(c.Claim, found)
	}
	return reason, nil
}

// find returns nil without an error if, and only if, the API server says that the claim does not exist.
func (d *Driver) find(ctx context.Context, c device.Claim) (*resourceapi.ResourceClaim, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchAttempt)
	defer cancel()
	found, err := d.options.Client.ResourceV1().ResourceClaims(c.Namespace).Get(ctx, c.Name, metav1.GetOptions{})
	switch {
	case isClearlyNotFound(err):
		return nil, nil
	case err != nil:
		return nil, err
	case found.UID == "":
		return nil, errors.New("the answer of the API server is not a claim: it has no UID")
	case found.UID != c.UID:
		return nil, nil
	}
	return found, nil
}

// isClearlyNotFound tells the API server's word about a claim from that of a proxy, and from an API server that does
// not serve claims (any more): all say 404.
func isClearlyNotFound(err error) bool {
	var answer apierrors.APIStatus
	if !apierrors.IsNotFound(err) || !errors.As(err, &answer) {
		return false
	}
	details := answer.Status().Details
	return details != nil && details.Kind == "resourceclaims" &&
		!apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse)
}

// compareDevices compares what a claim has on the node with what it is allocated now.
func (d *Driver) compareDevices(has []prepare.Device, allocation *resourceapi.AllocationResult) Unsettled {
	if allocation == nil {
		return NotAllocated
	}
	type key struct{ pool, device, share string }
	var want, got []key
	for _, r := range allocation.Devices.Results {
		if r.Driver == d.options.DriverName {
			want = append(want, key{r.Pool, r.Device, string(ptr.Deref(r.ShareID, ""))})
		}
	}
	for _, h := range has {
		got = append(got, key{h.Pool, h.Device, string(ptr.Deref(h.ShareID, ""))})
	}
	other := func(in []key) func(key) bool { return func(k key) bool { return !slices.Contains(in, k) } }
	switch {
	case slices.ContainsFunc(got, other(want)) && len(want) == 0:
		return NotAllocated
	case slices.ContainsFunc(got, other(want)), slices.ContainsFunc(want, other(got)):
		return OtherDevices
	}
	return ""
}

// settleGone takes a claim back that has been gone for long enough, and returns why it is unsettled still.
func (d *Driver) settleGone(ctx context.Context, c device.Claim) Unsettled {
	now := time.Now()
	goneFor := now.Sub(d.unsettled.gone(c.UID, now))
	if goneFor < goneGrace || !d.takeBack(ctx, c, goneFor) {
		return Gone
	}
	return ""
}

// takeBack says whether nothing is left of the claim.
func (d *Driver) takeBack(ctx context.Context, c device.Claim, goneFor time.Duration) bool {
	logger := klog.LoggerWithValues(klog.FromContext(ctx), "claim", klog.KRef(c.Namespace, c.Name), "claimUID", c.UID,
		"goneFor", goneFor.Round(time.Second))
	if !d.unsettled.isGone(c.UID) {
		return true // the kubelet has just found it: the API server had an old view
	}
	if _, err := guarded(ctx, c.UID, d.unprepare); err != nil {
		logger.Error(err, "Take back what is left of a claim that does not exist any more; will try again")
		return false
	}
	d.told.remove(ctx, c)
	logger.Info("Took back what was left of a claim that does not exist any more")
	d.options.Observe.TookBack()
	return true
}

// tell says once what is not as it should be with a claim that exists.
func (d *Driver) tell(ctx context.Context, c device.Claim, reason Unsettled) {
	if !d.unsettled.is(c.UID, reason) {
		return
	}
	logger := klog.LoggerWithValues(klog.FromContext(ctx), "claim", klog.KRef(c.Namespace, c.Name), "claimUID", c.UID)
	switch reason {
	case NotAllocated, OtherDevices:
		logger.Info("Warning: a claim has devices on this node that are not allocated to it any more; it keeps them until "+
			"the kubelet takes it back, since its containers may still use them", "reason", reason)
	case UnreadableRecord:
		logger.Info("Warning: a claim has no readable record; it keeps its devices until it is taken back")
	case HalfPrepared, HalfUnprepared:
		logger.V(2).Info("A claim is left in the middle of a call; the kubelet will repeat it", "reason", reason)
	case Gone:
		logger.V(2).Info("A claim with something left on this node does not exist any more; it will be taken back",
			"after", goneGrace)
	}
}
