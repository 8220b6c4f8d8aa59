package publish

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/flowcontrol"
	"k8s.io/dynamic-resource-allocation/resourceslice"
)

// droppedRetry is how often fields that the API server dropped are offered again, so that enabling a feature gate is
// enough. If nothing changed, the API server writes nothing.
const droppedRetry = time.Hour

// Options are what a [Publisher] needs.
type Options struct {
	// Client is best one for slices only, so that its rate limit holds up nothing else.
	Client               kubernetes.Interface
	DriverName, NodeName string
	// NodeUID is the UID of the Node, which is made the owner of the slices; looked up if empty.
	NodeUID types.UID
	// Observe is told what happens, for metrics and logs; may be nil. It is called from several goroutines and must
	// not block.
	Observe func(Event)
}

// Publisher keeps the ResourceSlices of one driver on one node equal to what was published last.
type Publisher struct {
	options Options
	witness *witness
	queue   *queue
	peace   flowcontrol.RateLimiter
	wake    chan struct{}

	mu           sync.Mutex
	wanted       []resourceapi.ResourceSliceSpec
	revision     int  // of wanted; 0 means that nothing was published
	resync       bool // asked for
	suspect      bool // the controller's attempt to write wanted was refused
	acknowledged bool
	connection   *Problem // the last list or watch
	refused      *Problem // the last rehearsal
	failed       *Problem // the controller's last attempt
	dropped      *Problem // stays until everything is stored
	reported     error    // the last request that failed

	// Of Run's goroutine:
	controller *resourceslice.Controller
	given      *resourceslice.DriverResources
	keeping    bool // what was given is what there was
	complete   int  // the revision that was given as a whole
	step       step
	rehearsal  rehearsal
}

// step is one slice of a revision that was given while the others stay as they are.
type step struct{ revision, index int }

// rehearsal is how far the rehearsing of a revision is.
type rehearsal struct {
	revision  int
	always    bool // also what would do no harm, since it was refused
	notBefore time.Time
	pause     time.Duration
}

// New returns a publisher that does nothing until Run.
func New(o Options) *Publisher {
	if o.Observe == nil {
		o.Observe = func(Event) {}
	}
	p := &Publisher{
		options: o,
		peace:   flowcontrol.NewTokenBucketRateLimiter(float32(1/warPeriod.Seconds()), warBurst),
		wake:    make(chan struct{}, 1),
	}
	p.witness = &witness{changed: p.awake, called: p.called, held: make(map[string]*resourceapi.ResourceSlice)}
	p.queue = newQueue(p.synced)
	return p
}

// Publish replaces what the API server shall hold: all slices of the node's pool, in the order of preference. It does
// not wait. Slices must not be changed afterwards. To say again what was said last has no effect, for that there is
// [Publisher.Resync].
func (p *Publisher) Publish(specs []resourceapi.ResourceSliceSpec) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.revision > 0 && slices.EqualFunc(p.wanted, specs, sameSpec) {
		return
	}
	p.wanted = specs
	p.witness.expect(specs)
	p.revision++
	p.suspect = false
	p.acknowledged = false
	p.awake()
}

// Resync compares at once and repeats what failed, for example after the kubelet has registered the driver again.
func (p *Publisher) Resync() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.resync = true
	p.awake()
}

// Acknowledged returns nil if the API server holds exactly what was published last, else a *[Problem].
func (p *Publisher) Acknowledged() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.acknowledged {
		return nil
	}
	for _, problem := range []*Problem{p.connection, p.refused, p.failed, p.dropped} {
		if problem != nil {
			return problem
		}
	}
	if p.revision == 0 {
		return pending("no ResourceSlices are published yet, since the devices of this node are not known")
	}
	return pending("the ResourceSlices of pool %q are being written", p.options.NodeName)
}

// Run publishes from the first Publish on until ctx ends, and then returns nil; the slices stay. Before the first
// Publish it does nothing. It must be called once only.
func (p *Publisher) Run(ctx context.Context) error {
	defer func() { p.controller.Stop() }()
	defer p.queue.ShutDown()
	for p.published() == 0 {
		if !p.await(ctx, 0) {
			return nil
		}
	}
	for pause := firstRetry; p.list(ctx) != nil; pause = min(2*pause, maxRetry) {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
	for {
		again, err := p.advance(ctx)
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("start ResourceSlice controller: %w", err)
		}
		if !p.await(ctx, again) {
			return nil
		}
	}
}

func (p *Publisher) published() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.revision
}

func (p *Publisher) awake() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// await waits for something to happen, or for d if that is not zero. It returns false if ctx ended.
func (p *Publisher) await(ctx context.Context, d time.Duration) bool {
	var timeout <-chan time.Time
	if d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		timeout = timer.C
	}
	select {
	case <-ctx.Done():
	case <-p.wake:
	case <-timeout:
	}
	return ctx.Err() == nil
}

// list lets the witness see what is there before the first write, since the controller wants to be started with what it
// shall write. It asks for what is there now: a process that ended a moment ago may have written something, and what an
// API server remembers may be older (resourceVersion=0).
func (p *Publisher) list(ctx context.Context) error {
	_, err := p.client().ResourceV1().ResourceSlices().List(ctx, metav1.ListOptions{
		FieldSelector: fields.Set{
			resourceapi.ResourceSliceSelectorDriver:   p.options.DriverName,
			resourceapi.ResourceSliceSelectorNodeName: p.options.NodeName,
		}.String(),
	})
	return err
}

func (p *Publisher) client() client { return client{p.options.Client, p.witness} }

// advance does what there is to do now and returns after what time to look again even if nothing happens, 0 for never.
func (p *Publisher) advance(ctx context.Context) (time.Duration, error) {
	p.mu.Lock()
	wanted, revision, resync, suspect, dropped := p.wanted, p.revision, p.resync, p.suspect, p.dropped != nil
	p.resync = false
	p.mu.Unlock()
	if p.rehearsal.revision != revision {
		p.rehearsal = rehearsal{revision: revision, pause: time.Second}
	}
	if resync {
		p.repeat()
	}

	held := p.witness.slices()
	d := compare(held, wanted)
	p.compared(revision, d.none())
	if p.complete == revision && !p.takeBack(held, d, suspect) {
		return p.untilDroppedRetry(), nil
	}
	if !suspect && !dropped && oneByOne(held, wanted, d) {
		return 0, p.giveOne(ctx, held, wanted, step{revision, d.changed[0]})
	}
	wait, err := p.rehearse(ctx, held, wanted, d)
	if err != nil {
		return 0, err
	}
	if wait > 0 {
		return wait, p.keep(ctx, held)
	}
	p.complete = revision
	return 0, p.give(ctx, wanted)
}

// takeBack says whether what was given as a whole has to be rehearsed after all: it was refused, though it looked
// harmless. If the slices got lost now, the controller could not write again what is there. If the rehearsal finds
// nothing wrong, the controller shall go on trying.
func (p *Publisher) takeBack(held []*resourceapi.ResourceSlice, d difference, suspect bool) bool {
	if !suspect || d.none() || p.rehearsal.always || !p.sound(held) {
		return false
	}
	p.complete = 0
	p.rehearsal.always = true
	return true
}

// compared notes whether the API server holds what is wanted.
func (p *Publisher) compared(revision int, same bool) {
	p.mu.Lock()
	before := p.acknowledged
	current := p.revision == revision
	if current {
		p.acknowledged = same
	}
	if current && same {
		p.refused, p.failed, p.dropped = nil, nil, nil
	}
	p.mu.Unlock()
	if !current || before == same {
		return
	}
	if same {
		p.options.Observe(Event{Type: Acknowledged})
	} else if !p.peace.TryAccept() {
		p.queue.declareWar()
	}
}

// give makes specs what the controller has to keep, and starts it the first time.
func (p *Publisher) give(ctx context.Context, specs []resourceapi.ResourceSliceSpec) error {
	p.given = resources(p.options.NodeName, specs)
	p.keeping = false
	if p.controller != nil {
		p.queue.startAfresh(p.options.NodeName)
		p.controller.Update(p.given)
		return nil
	}
	p.writeFirst(ctx, specs)
	controller, err := resourceslice.StartController(ctx, resourceslice.Options{
		DriverName: p.options.DriverName,
		KubeClient: p.client(),
		Owner: &resourceslice.Owner{
			APIVersion: "v1", Kind: "Node", Name: p.options.NodeName, UID: p.options.NodeUID,
		},
		Resources:        p.given,
		Queue:            p.queue,
		MutationCacheTTL: new(mutationCacheTTL),
		SyncDelay:        new(syncDelay),
		ErrorHandler:     p.failure,
	})
	if err != nil {
		return err
	}
	p.controller = controller
	return nil
}

// giveOne hands one changed slice to the controller, beside all others as they are.
func (p *Publisher) giveOne(
	ctx context.Context, held []*resourceapi.ResourceSlice, wanted []resourceapi.ResourceSliceSpec, s step,
) error {
	if p.step == s {
		return nil // The controller is at it.
	}
	p.step = s
	specs := specsOf(held)
	specs[s.index] = wanted[s.index]
	return p.give(ctx, specs)
}

// keep makes the controller keep what there is, if it cannot have what is wanted.
func (p *Publisher) keep(ctx context.Context, held []*resourceapi.ResourceSlice) error {
	if p.keeping || !p.sound(held) {
		return nil
	}
	if err := p.give(ctx, specsOf(held)); err != nil {
		return err
	}
	p.keeping = true
	return nil
}

// sound says whether slices are a pool that the controller would leave alone.
func (p *Publisher) sound(held []*resourceapi.ResourceSlice) bool {
	specs := specsOf(held)
	return len(held) > 0 && compare(held, specs).comparable && checkPool(specs, p.options.NodeName) == nil
}

// repeat makes the controller, and the next rehearsal, try again what they may be waiting with.
func (p *Publisher) repeat() {
	p.rehearsal.notBefore = time.Time{}
	if p.controller != nil {
		p.queue.startAfresh(p.options.NodeName)
		p.controller.Update(p.given)
	}
}

// untilDroppedRetry says when to offer dropped fields again.
func (p *Publisher) untilDroppedRetry() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dropped == nil {
		return 0
	}
	wait := time.Until(p.dropped.since.Add(droppedRetry))
	if wait <= 0 {
		p.resync = true
		p.dropped.since = time.Now()
		p.awake()
		wait = droppedRetry
	}
	return wait
}

// called takes the outcome of each request for slices.
func (p *Publisher) called(verb Verb, err error) {
	if errors.Is(err, context.Canceled) {
		return
	}
	reading := verb == List || verb == Watch
	if err == nil {
		switch {
		case reading:
			p.connected()
		case verb != Rehearse:
			p.options.Observe(Event{Type: Wrote, Verb: verb})
		}
		return
	}
	p.mu.Lock()
	problem := problemOf(err, p.wanted)
	p.reported = err
	if reading && problem.Reason != Conflict { // Such a watch is begun anew at once.
		p.connection = problem
	}
	p.mu.Unlock()
	p.options.Observe(Event{Type: Failed, Verb: verb, Problem: problem})
}

// connected notes that lists and watches work. If they did not before, nothing needs to wait any longer.
func (p *Publisher) connected() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.connection != nil {
		p.connection = nil
		p.resync = true
		p.awake()
	}
}

// failure is the controller's error handler.
func (p *Publisher) failure(ctx context.Context, err error, _ string) {
	if ctx.Err() != nil {
		return
	}
	p.mu.Lock()
	problem := problemOf(err, p.wanted)
	problem.since = time.Now()
	told := p.reported != nil && errors.Is(err, p.reported)
	if problem.Reason == DroppedFields {
		p.dropped = problem
	} else {
		p.failed = problem
	}
	switch problem.Reason {
	case Conflict, Unreachable, DroppedFields:
	default:
		p.suspect = true
	}
	p.awake()
	p.mu.Unlock()
	if !told {
		p.options.Observe(Event{Type: Failed, Problem: problem})
	}
}

// synced is called when the controller has done all that it had to.
func (p *Publisher) synced() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failed = nil
}
