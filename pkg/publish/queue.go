package publish

import (
	"sync/atomic"
	"time"

	"k8s.io/client-go/util/workqueue"
	"k8s.io/dynamic-resource-allocation/resourceslice"
)

const (
	// syncDelay is how long after an event of the watch the controller compares again. It must be short, because that
	// is how long the slices are gone after a restarted kubelet deleted them, but not so short that the comparison
	// comes in the middle of that deletion, which is one event per slice: the controller would write slices that are
	// about to be deleted. The library's default of 30 s only saves comparisons and a few deletions that turn out to be
	// done already; comparing 10,000 devices takes milliseconds.
	syncDelay = 300 * time.Millisecond

	// mutationCacheTTL is how long the controller believes in a slice that it created and that the watch has not
	// shown. If such a slice is deleted before a broken watch could show it, it is missing that long. If the watch
	// lags by more, slices are created twice and the surplus is deleted. The library's default is one minute.
	mutationCacheTTL = 10 * time.Second

	// firstRetry and maxRetry bound the time from a failed attempt to the next, which doubles. The library's default
	// of 5 ms to 17 minutes is a hot loop at first and then leaves a node without slices long after the API server is
	// back.
	firstRetry = 50 * time.Millisecond
	maxRetry   = 30 * time.Second

	// Somebody else may change the slices warBurst times, and then once every warPeriod, before it is a war.
	warBurst  = 10
	warPeriod = resourceslice.DefaultSyncDelay
)

// queue is the controller's work queue with two changes.
//
// Retries wait their time: the controller also compares syncDelay after each event, the events of its own writes
// included, so that a pool of which one slice can be written and another cannot would be written about three times a
// second for ever.
//
// And while somebody else keeps changing the slices, for example a second driver of the same name, changes are answered
// as slowly as the library does by default, so that no war comes of it.
type queue struct {
	workqueue.TypedRateLimitingInterface[string]
	synced   func()
	warUntil atomic.Int64 // Unix time in nanoseconds
}

func newQueue(synced func()) *queue {
	limiter := workqueue.NewTypedItemExponentialFailureRateLimiter[string](firstRetry, maxRetry)
	return &queue{
		TypedRateLimitingInterface: workqueue.NewTypedRateLimitingQueue(limiter),
		synced:                     synced,
	}
}

// AddAfter is how the controller asks for a comparison later.
func (q *queue) AddAfter(pool string, d time.Duration) {
	if q.NumRequeues(pool) > 0 {
		d = max(d, maxRetry) // A retry is on its way and will be earlier.
	}
	if q.atWar() {
		d = max(d, warPeriod)
	}
	q.TypedRateLimitingInterface.AddAfter(pool, d)
}

// Forget is what the controller calls after all writes of a pool succeeded.
func (q *queue) Forget(pool string) {
	q.TypedRateLimitingInterface.Forget(pool)
	q.synced()
}

// declareWar is called when somebody else changed the slices too often. It is over when that was not so for a while.
func (q *queue) declareWar() { q.warUntil.Store(time.Now().Add(warPeriod).UnixNano()) }

func (q *queue) atWar() bool { return time.Now().UnixNano() < q.warUntil.Load() }

// startAfresh lets the next failure be repeated soon again.
func (q *queue) startAfresh(pool string) { q.TypedRateLimitingInterface.Forget(pool) }
