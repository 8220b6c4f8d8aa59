package driver

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc"
	"k8s.io/klog/v2"
	drapbv1 "k8s.io/kubelet/pkg/apis/dra/v1"
	drapbv1beta1 "k8s.io/kubelet/pkg/apis/dra/v1beta1"
	registerapi "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

// calls counts the kubelet's calls in progress.
type calls struct {
	observe func(delta int)

	mu      sync.Mutex
	running int
	quiet   chan struct{} // closed while running is 0
	ended   time.Time     // when the last one ended
}

func newCalls(observe func(delta int)) *calls {
	quiet := make(chan struct{})
	close(quiet)
	return &calls{observe: observe, quiet: quiet}
}

func (c *calls) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.running
}

// idle is closed once no call is in progress.
func (c *calls) idle() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.quiet
}

// sinceLast is how long ago the last call ended, 0 while one is in progress.
func (c *calls) sinceLast() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running > 0 {
		return 0
	}
	return time.Since(c.ended)
}

func (c *calls) add(delta int) {
	c.observe(delta)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running == 0 {
		c.quiet = make(chan struct{})
	}
	if c.running += delta; c.running == 0 {
		c.ended = time.Now()
		close(c.quiet)
	}
}

// intercept counts the calls which do something to claims, and remembers when each began.
func (c *calls) intercept(
	ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler,
) (any, error) {
	switch req.(type) {
	case *drapbv1.NodePrepareResourcesRequest, *drapbv1beta1.NodePrepareResourcesRequest,
		*drapbv1.NodeUnprepareResourcesRequest, *drapbv1beta1.NodeUnprepareResourcesRequest:
		c.add(1)
		defer c.add(-1)
		ctx = context.WithValue(ctx, startKey{}, time.Now())
	}
	return handler(ctx, req)
}

type startKey struct{}

// startOf returns when the call of ctx began.
func startOf(ctx context.Context) time.Time {
	if start, ok := ctx.Value(startKey{}).(time.Time); ok {
		return start
	}
	return time.Now()
}

// registration is what the kubelet said last about registering the driver.
type registration struct {
	directory string

	mu        sync.Mutex
	told      bool
	rejection string // of the last time; empty if the kubelet accepted
}

// intercept listens to what the kubelet says, and calls accepted after each time that it registered the driver: it was
// restarted, and deletes the node's slices then.
func (r *registration) intercept(accepted func()) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		status, ok := req.(*registerapi.RegistrationStatus)
		if !ok {
			return handler(ctx, req)
		}
		r.note(klog.FromContext(ctx), status)
		answer, err := handler(ctx, req)
		if status.GetPluginRegistered() {
			accepted()
		}
		return answer, err
	}
}

func (r *registration) note(logger klog.Logger, status *registerapi.RegistrationStatus) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.told = true
	if status.GetPluginRegistered() {
		r.rejection = ""
		logger.Info("The kubelet registered the driver")
		return
	}
	r.rejection = status.GetError()
	if r.rejection == "" {
		r.rejection = "no reason given"
	}
	logger.Error(errors.New(r.rejection), "The kubelet rejected the driver")
}

func (r *registration) err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case !r.told:
		return fmt.Errorf("the kubelet has not registered the driver yet; it looks for sockets in %s "+
			"(is the kubelet running, and is --kubelet-dir its root directory?)", r.directory)
	case r.rejection != "":
		return fmt.Errorf("the kubelet rejected the driver, last with %q; its log says more", r.rejection)
	}
	return nil
}
