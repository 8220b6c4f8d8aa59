package status

import (
	"context"
	"errors"
	"sync"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"example.com/dragoman/pkg/device"
)

const (
	// attemptTime bounds one request.
	attemptTime = 10 * time.Second
	// firstPause and lastPause bound the time until another attempt for a claim; it doubles.
	firstPause, lastPause = time.Second, 5 * time.Minute
	// restTime is how long nothing is written after the API server dropped or forbade it. Claims are compared with the
	// API server less often than that, so each comparison finds out whether it is different now.
	restTime = 5 * time.Minute
	// maxDue is how many claims can wait. More are left out until they are compared the next time: they are many more
	// than a node has pods. Those that were taken back by then are not compared; what is shown of them goes when they
	// are deallocated, since the API server removes it then.
	maxDue = 1000
)

// ErrUnsettled is what [Options.Recorded] returns of a claim that is in the middle of a call. Nothing is written; who
// ends the call tells of the claim again.
var ErrUnsettled = errors.New("a call for the claim is in progress")

// Options are what a [Writer] needs. All fields are required.
type Options struct {
	// Client writes, and reads claims. Its rate limit delays nobody else, so it should be modest.
	Client kubernetes.Interface
	// DriverName and NodeName, which is the name of the node's pool, say whose entries are written.
	DriverName, NodeName string
	// Recorded returns what is set up for a claim now, none for nothing. After any error the status stays as it is.
	Recorded func(c device.Claim) ([]Device, error)
	// Observe is told what came of each attempt. It must not block.
	Observe func(Event)
}

// Event is what came of an attempt to write the status of a claim.
type Event struct {
	Result Result
	Claim  device.Claim
	// Err says more about what is not Wrote.
	Err error
	// News means that the one before, of whatever claim, came to something else: with Dropped and Forbidden the
	// beginning of a rest, with Wrote the end of one. To remove entries ends none: it does not show that new ones are
	// kept.
	News bool
}

// Result is one of few ways in which an attempt ends.
type Result string

// The results.
const (
	Wrote       Result = "ok"          // the API server has it
	Dropped     Result = "dropped"     // it keeps no status.devices; the writer rests
	Forbidden   Result = "forbidden"   // a right is missing; the writer rests
	Refused     Result = "refused"     // it does not accept this status of this claim, which is left as it is
	Unreachable Result = "unreachable" // it is in trouble; the writer tries again
)

// Results returns all of them.
func Results() []Result { return []Result{Wrote, Dropped, Forbidden, Refused, Unreachable} }

// Writer keeps the status of claims equal to what is recorded of them. All methods may be called concurrently.
type Writer struct {
	o    Options
	wake chan struct{} // holds a token when something became due

	mu        sync.Mutex
	due       map[types.UID]due
	restUntil time.Time
	resting   bool
}

// due is a claim whose status is to be written.
type due struct {
	claim device.Claim
	// seen is how the API server had the claim; nil if it is to be asked.
	seen *resourceapi.ResourceClaim
	// unlessShown writes only what seen does not show.
	unlessShown bool
	at          time.Time
	failures    int
}

// New returns a writer that writes nothing until Run.
func New(o Options) *Writer {
	return &Writer{o: o, wake: make(chan struct{}, 1), due: make(map[types.UID]due)}
}

// Changed says that something else is set up for a claim, or nothing any more. It does not wait. The claim as the API
// server had it saves a request, may be nil, and is not changed.
func (w *Writer) Changed(c device.Claim, seen *resourceapi.ResourceClaim) {
	w.add(due{claim: c, seen: seen})
}

// Compare has the status of a claim written if it is another one than it should be. It does not wait. The claim is as
// in Changed; without it the API server is asked for it.
func (w *Writer) Compare(c device.Claim, seen *resourceapi.ResourceClaim) {
	w.add(due{claim: c, seen: seen, unlessShown: true})
}

func (w *Writer) add(d due) {
	if d.claim.Namespace == "" || d.claim.Name == "" {
		return // nobody can be told
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	d.at = time.Now()
	before, waits := w.due[d.claim.UID]
	switch {
	case d.at.Before(w.restUntil) && d.unlessShown:
		return // it is compared again
	case !waits && len(w.due) >= maxDue:
		return
	case waits && d.unlessShown && !before.unlessShown:
		return // what waits does more
	}
	if d.at.Before(w.restUntil) {
		d.seen = nil // too old after the rest
	}
	w.due[d.claim.UID] = d
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Run writes what is due until ctx ends, then returns nil. What is due then is left to another process: it compares.
func (w *Writer) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		next, wait := w.next(time.Now())
		if next != nil {
			w.settle(ctx, *next)
			continue
		}
		select {
		case <-ctx.Done():
		case <-w.wake:
		case <-time.After(wait):
		}
	}
	return nil
}

// next takes what has waited longest, or says how long to wait.
func (w *Writer) next(now time.Time) (next *due, wait time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if wait = w.restUntil.Sub(now); wait > 0 {
		return nil, wait
	}
	for _, d := range w.due {
		if next == nil || d.at.Before(next.at) {
			next = &d
		}
	}
	if next == nil {
		return nil, lastPause
	}
	if wait = next.at.Sub(now); wait > 0 {
		return nil, wait
	}
	delete(w.due, next.claim.UID)
	return next, 0
}

// settle makes one attempt, and has it made again where that may help.
func (w *Writer) settle(ctx context.Context, d due) {
	attempt, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
	what, err := w.write(attempt, d)
	if ctx.Err() != nil || err == nil && what == wroteNothing {
		return // cut short, which says nothing, or not needed
	}
	e := Event{Result: resultOf(err), Claim: d.claim, Err: err}
	w.mu.Lock()
	switch e.Result {
	case Dropped, Forbidden:
		e.News, w.resting = !w.resting, true
		w.rest(d, what)
	case Wrote:
		if what == wroteEntries {
			e.News, w.resting = w.resting, false
		}
	case Unreachable:
		if _, newer := w.due[d.claim.UID]; !newer {
			d.seen, d.unlessShown, d.failures = nil, false, d.failures+1
			d.at = time.Now().Add(min(firstPause<<min(d.failures-1, 16), lastPause))
			w.due[d.claim.UID] = d
		}
	case Refused: // as it would be the next time
	}
	w.mu.Unlock()
	w.o.Observe(e)
}

// rest has nothing written for a while, after d could not be. Claims with devices are compared again when it is over;
// of those that were taken back there is no record, so they stay due. The caller holds mu.
func (w *Writer) rest(d due, what written) {
	w.restUntil = time.Now().Add(restTime)
	if _, newer := w.due[d.claim.UID]; !newer && what == wroteRemoval {
		d.unlessShown = false
		w.due[d.claim.UID] = d
	}
	for uid, waits := range w.due {
		if waits.unlessShown {
			delete(w.due, uid)
			continue
		}
		waits.seen = nil // too old after the rest
		w.due[uid] = waits
	}
}

// write makes the status of a claim show what is recorded now, and says what that took.
func (w *Writer) write(ctx context.Context, d due) (written, error) {
	devices, err := w.o.Recorded(d.claim)
	switch {
	case err != nil:
		return wroteNothing, nil //nolint:nilerr // not knowing is no reason to change anything
	case len(devices) == 0 && d.failures == 0 && !w.rests():
		return w.apply(ctx, d.claim, nil)
	}
	looked := d.seen == nil
	if looked {
		if d.seen, err = w.get(ctx, d.claim); err != nil || d.seen == nil {
			return wroteNothing, err
		}
	}
	if d.seen.UID != d.claim.UID || d.seen.Status.Allocation == nil {
		return wroteNothing, nil // it has no devices, and so no entries
	}
	entries := w.entries(devices, d.seen.Status, metav1.Now())
	if (looked || d.unlessShown) && w.areShown(entries, d.seen.Status) {
		return wroteNothing, nil
	}
	return w.apply(ctx, d.claim, entries)
}

func (w *Writer) rests() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.resting
}
