package inventory

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"example.com/dragoman/pkg/device"
	"example.com/dragoman/pkg/equal"
)

const (
	// relook is how often the devices are looked at without being asked to, for what nobody tells of.
	relook = time.Minute
	// settle is how long a change has to be followed by others before the devices are looked at.
	settle = 100 * time.Millisecond
	// pause is the least time from one look to the next. What changes right after a look is still published within a
	// second; how much it costs that devices flap is bounded by damping.
	pause = 500 * time.Millisecond
	// maxRetry bounds the waiting after looks that failed, which doubles from pause.
	maxRetry = 30 * time.Second
	// hang is how long a look may take before what was seen last counts no longer.
	hang = 30 * time.Second
)

// Options are what an [Inventory] needs.
type Options struct {
	Backend              device.Backend
	DriverName, NodeName string
}

// Update is the node's devices as they are now. To be read only.
type Update struct {
	// Slices is what to publish. Nil as long as no look succeeded, or nobody said what the cluster can hold: then
	// nothing must be published.
	Slices []resourceapi.ResourceSliceSpec
	// Seen says that a look succeeded.
	Seen bool
	// Devices are all that were seen, those left out of the slices included, in natural order of their names. One that
	// falls ill again and again stays unhealthy in its good moments.
	Devices []device.Device
	// LeftOut is what was seen and is not published.
	LeftOut []LeftOut
	// Err says why the last look failed; the rest is then from the last look that did not.
	Err error
	// WatchErr says why the backend does not tell of changes, which it otherwise could. Until it does again, changes
	// are seen within a minute.
	WatchErr error
}

// Inventory keeps looking at the devices of a node.
type Inventory struct {
	options Options
	changed chan struct{} // holds a token from a change until the look that sees it
	offered chan struct{} // holds a token from an offer until the slices that follow it

	// Of Run's goroutine:
	snapshot device.Snapshot // of the last look that succeeded, damped
	damping  *damping
	last     Update
	looked   bool

	mu      sync.Mutex
	offer   *Offer
	look    look
	devices []device.Device // of snapshot
}

// look is how looking at the devices goes.
type look struct {
	began time.Time // of the look in progress; zero if there is none
	ended time.Time // of the last one
	seen  time.Time // of the last one that succeeded
	err   error     // of the last one
}

// New returns an inventory that has not looked yet, and that makes no slices before [Inventory.Offer].
func New(o Options) *Inventory {
	return &Inventory{options: o, changed: make(chan struct{}, 1), offered: make(chan struct{}, 1),
		damping: newDamping()}
}

// Offer says what the cluster can hold. It does not wait; slices that differ because of it are told of soon.
func (i *Inventory) Offer(o Offer) {
	i.mu.Lock()
	i.offer = &o
	i.mu.Unlock()
	select {
	case i.offered <- struct{}{}:
	default: // There is one already.
	}
}

// Current returns when the devices were seen last, and an error if that does not say how they are now: because no look
// has succeeded yet, the last one failed, or one does not come back.
func (i *Inventory) Current() (seen time.Time, err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	l := i.look
	switch {
	case !l.began.IsZero() && time.Since(l.began) > hang:
		return l.seen, fmt.Errorf("the backend was asked for its devices more than %s ago and has not answered", hang)
	case l.ended.IsZero():
		return l.seen, errors.New("the backend has not been asked for its devices yet")
	case l.began.IsZero() && time.Since(l.ended) > relook+hang:
		return l.seen, fmt.Errorf("the backend has not been asked for its devices for more than %s", relook+hang)
	}
	return l.seen, l.err
}

// Run looks at the devices at once, when the backend says that they changed, and every minute, until ctx ends; then it
// returns nil. It calls changed after the first look, successful or not, and after each that finds something else than
// the one before. A look that fails is repeated soon, unless its error wraps [device.ErrNeedsRestart]: then Run returns
// it. Run must be called once only; changed is not called concurrently.
func (i *Inventory) Run(ctx context.Context, changed func(Update)) error {
	ctx, cancel := context.WithCancel(ctx)
	watching := make(chan error)
	done := make(chan struct{})
	go func() {
		defer close(done)
		i.watch(ctx, watching)
	}()
	defer func() {
		cancel()
		<-done
	}()

	retry := pause
	for ctx.Err() == nil {
		snapshot, err := i.ask(ctx)
		if ctx.Err() != nil {
			break
		}
		i.report(i.seen(snapshot, err), changed)
		if errors.Is(err, device.ErrNeedsRestart) {
			return err
		}
		wait := i.damping.due(time.Now(), relook)
		if err != nil {
			wait, retry = retry, min(2*retry, maxRetry)
		} else {
			retry = pause
		}
		i.await(ctx, wait, watching, changed)
	}
	return nil
}

// ask looks at the devices.
func (i *Inventory) ask(ctx context.Context) (device.Snapshot, error) {
	i.mu.Lock()
	i.look.began = time.Now()
	i.mu.Unlock()
	snapshot, err := i.options.Backend.Devices(ctx)
	i.mu.Lock()
	defer i.mu.Unlock()
	i.look.began, i.look.ended, i.look.err = time.Time{}, time.Now(), err
	if err == nil {
		i.look.seen = i.look.ended
	}
	return snapshot, err
}

// withSlices returns next with the slices that the cluster can hold.
func (i *Inventory) withSlices(next Update) Update {
	i.mu.Lock()
	offer := i.offer
	i.mu.Unlock()
	if next.Seen && offer != nil {
		next.Slices, next.LeftOut = Slices(i.snapshot, i.options.DriverName, i.options.NodeName, *offer)
	}
	return next
}

// seen returns the update after a look.
func (i *Inventory) seen(snapshot device.Snapshot, err error) Update {
	next := i.last
	next.Err = err
	if err != nil {
		return next
	}
	snapshot = sorted(snapshot)
	snapshot.Devices = i.damping.damp(time.Now(), snapshot.Devices)
	if next.Seen && sameSnapshot(i.snapshot, snapshot) {
		return next // what was made of it is in use already, and need not be in memory twice
	}
	i.snapshot = snapshot
	i.know(snapshot.Devices)
	next.Seen, next.Devices = true, snapshot.Devices
	return i.withSlices(next)
}

// sorted returns the snapshot with the devices in the order of the slices.
func sorted(s device.Snapshot) device.Snapshot {
	order := func(a, b device.Device) int { return compareDevices(a.Device, b.Device) }
	if !slices.IsSortedFunc(s.Devices, order) {
		s.Devices = slices.SortedStableFunc(slices.Values(s.Devices), order)
	}
	return s
}

// report tells of next if it is news.
func (i *Inventory) report(next Update, changed func(Update)) {
	if i.looked && sameUpdate(i.last, next) {
		return
	}
	i.last, i.looked = next, true
	changed(next)
}

// await returns when it is time to look again: after wait, or earlier when a change is told of. News from the watcher
// itself are reported meanwhile.
func (i *Inventory) await(ctx context.Context, wait time.Duration, watching <-chan error, changed func(Update)) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	earliest := time.Now().Add(pause)
	tokens := i.changed
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			i.drain()
			return
		case err := <-watching:
			next := i.last
			next.WatchErr = err
			i.report(next, changed)
		case <-i.offered:
			i.report(i.withSlices(i.last), changed)
		case <-tokens:
			tokens = nil // What else changes until the timer fires is seen by the same look.
			timer.Reset(max(settle, time.Until(earliest)))
		}
	}
}

// drain forgets changes that the look about to happen will see.
func (i *Inventory) drain() {
	select {
	case <-i.changed:
	default:
	}
}

// watch runs the backend's watcher, if it has one, until ctx ends. One that breaks is started again as often as the
// devices are looked at anyway. Its error is said on watching, and nil once it has held for as long.
func (i *Inventory) watch(ctx context.Context, watching chan<- error) {
	watcher, ok := i.options.Backend.(device.Watcher)
	for broken := false; ok; broken = true {
		err := i.watchOnce(ctx, watcher, func(ctx context.Context) {
			if broken {
				say(ctx, watching, nil)
			}
		})
		if ctx.Err() != nil || !say(ctx, watching, err) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(relook):
		}
	}
}

// watchOnce runs the watcher until it breaks, and calls holds if it has not for some time.
func (i *Inventory) watchOnce(ctx context.Context, watcher device.Watcher, holds func(context.Context)) error {
	watchCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	timer := time.AfterFunc(relook, func() { holds(watchCtx) })
	defer timer.Stop()
	err := watcher.Watch(ctx, func() {
		select {
		case i.changed <- struct{}{}:
		default: // There is one already.
		}
	})
	if err == nil {
		err = errors.New("the watch for changes of the devices ended by itself")
	}
	return err
}

func say(ctx context.Context, watching chan<- error, err error) bool {
	select {
	case watching <- err:
		return true
	case <-ctx.Done():
		return false
	}
}

func sameUpdate(a, b Update) bool {
	return sameText(a.Err, b.Err) && sameText(a.WatchErr, b.WatchErr) && a.Seen == b.Seen &&
		(a.Slices == nil) == (b.Slices == nil) && slices.EqualFunc(a.Slices, b.Slices, sameSlice) &&
		sameDevices(a.Devices, b.Devices) && reflect.DeepEqual(a.LeftOut, b.LeftOut)
}

func sameSnapshot(a, b device.Snapshot) bool {
	return sameDevices(a.Devices, b.Devices) && equality.Semantic.DeepEqual(a.SharedCounters, b.SharedCounters)
}

func sameDevices(a, b []device.Device) bool {
	published := func(d device.Device) resourceapi.Device { return d.Device }
	alike := slices.EqualFunc(a, b, func(a, b device.Device) bool { return a.Health == b.Health && a.PartOf == b.PartOf })
	return alike && equal.Devices(mapped(a, published), mapped(b, published), sameRest)
}

func sameSlice(a, b resourceapi.ResourceSliceSpec) bool {
	if !equal.Devices(a.Devices, b.Devices, sameRest) {
		return false
	}
	a.Devices, b.Devices = nil, nil
	return equality.Semantic.DeepEqual(a, b)
}

func sameRest(a, b []resourceapi.Device) bool { return equality.Semantic.DeepEqual(a, b) }

func sameText(a, b error) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return a.Error() == b.Error()
}
