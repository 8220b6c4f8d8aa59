package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"example.com/dragoman/pkg/publish"
	"example.com/dragoman/pkg/telemetry"
)

// publishing is a publisher that can be spoken to before it is known for which node it publishes: outside a pod only
// the API server can say, and it may be away while the kubelet wants to have claims taken back.
type publishing struct {
	options  publish.Options
	identify func(ctx context.Context, waiting func(error)) (types.UID, error)
	known    func() error // nil once it is known what may be published

	mu        sync.Mutex
	publisher *publish.Publisher // nil until the node is known
	waiting   error              // why it is nil
	latest    []resourceapi.ResourceSliceSpec
}

func newPublishing(
	o publish.Options, identify func(ctx context.Context, waiting func(error)) (types.UID, error), known func() error,
) *publishing {
	return &publishing{options: o, identify: identify, known: known, waiting: errors.New("not asked yet")}
}

// Run publishes until ctx ends, then returns nil. That the node does not exist is an error.
func (p *publishing) Run(ctx context.Context) error {
	logger := klog.FromContext(ctx)
	uid, err := p.identify(ctx, func(err error) {
		logger.Error(err, "The API server cannot be asked about this node; nothing is published until it can",
			"node", p.options.NodeName)
		p.mu.Lock()
		defer p.mu.Unlock()
		p.waiting = err
	})
	if ctx.Err() != nil {
		return nil //nolint:nilerr // that is how it was asked to end
	}
	if err != nil {
		return err
	}
	p.options.NodeUID = uid
	publisher := publish.New(p.options)
	p.mu.Lock()
	p.publisher = publisher
	if p.latest != nil {
		publisher.Publish(p.latest)
	}
	p.mu.Unlock()
	return publisher.Run(ctx)
}

// Publish implements driver.Publisher.
func (p *publishing) Publish(slices []resourceapi.ResourceSliceSpec) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.latest = slices
	if p.publisher != nil {
		p.publisher.Publish(slices)
	}
}

// Resync implements driver.Publisher.
func (p *publishing) Resync() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.publisher != nil {
		p.publisher.Resync()
	}
}

// Acknowledged returns nil if the API server holds what was published last, else why it does not.
func (p *publishing) Acknowledged() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.publisher == nil {
		return fmt.Errorf("the API server was not reached yet to ask about node %q: %w", p.options.NodeName, p.waiting)
	}
	if err := p.known(); err != nil {
		return err
	}
	return p.publisher.Acknowledged()
}

// observed turns what happens while publishing into figures and lines of the log.
func observed(logger klog.Logger, metrics *telemetry.Metrics) func(publish.Event) {
	return func(e publish.Event) {
		switch e.Type {
		case publish.Wrote:
			metrics.SliceWrites(string(e.Verb), 1)
			logger.V(4).Info("Wrote a ResourceSlice", "verb", e.Verb)
		case publish.Failed:
			metrics.PublishError(string(e.Problem.Reason))
			if e.Problem.Reason == publish.DroppedFields {
				metrics.DroppedFields(e.Problem.Features)
			}
			logger.Error(e.Problem, "Publish ResourceSlices", "reason", e.Problem.Reason, "verb", e.Verb)
		case publish.Acknowledged:
			metrics.DroppedFields(nil)
			metrics.Published(time.Now())
			logger.V(2).Info("The API server has the ResourceSlices")
		}
	}
}
