package driver

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"syscall"
	"time"

	"google.golang.org/grpc"
	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/kubernetes"
	resourceclient "k8s.io/client-go/kubernetes/typed/resource/v1"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	drapbv1 "k8s.io/kubelet/pkg/apis/dra/v1"
	drapbv1beta1 "k8s.io/kubelet/pkg/apis/dra/v1beta1"
)

const (
	// fetchBudget bounds the time for reading claims if the call has no earlier deadline. The kubelet gives up after
	// 45 s, and its answer to an error is to wait for 60 to 90 s: it is better to go on trying than to say no.
	fetchBudget = 40 * time.Second
	// workShare is the part (1/workShare) of the time that is kept for the work after reading.
	workShare = 8
	// fetchAttempt bounds one attempt, so that a connection which died silently does not take all of the time; see
	// fetcher.reconnect.
	fetchAttempt = 10 * time.Second
	// firstDelay and lastDelay bound the pause before another attempt; each is up to twice the one before.
	firstDelay, lastDelay = 50 * time.Millisecond, 4 * time.Second
)

// fetcher reads the claims of one call of the kubelet side by side and with patience. The helper would read them one
// after the other and fail the whole call upon the first error.
//
// It sits at two places of the helper: as an interceptor it sees the call first and starts reading; as the helper's
// client (kubeClient) it hands over what was read when the helper asks.
type fetcher struct {
	client  kubernetes.Interface
	observe func(time.Duration)
	attempt time.Duration // bounds one attempt
}

// fetch is a claim being read. claim and err may be read once done is closed; one of them is nil.
type fetch struct {
	wanted claimRef
	done   chan struct{}
	claim  *resourceapi.ResourceClaim
	err    error
}

// claimRef names a claim as the kubelet does.
type claimRef struct {
	types.NamespacedName
	UID types.UID
}

type fetchesKey struct{}

// fetches are the claims of one call that are being read.
type fetches map[types.NamespacedName]*fetch

func (f *fetcher) intercept(
	ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler,
) (any, error) {
	var wanted []claimRef
	switch r := req.(type) {
	case *drapbv1.NodePrepareResourcesRequest:
		wanted = refsOf(r.Claims)
	case *drapbv1beta1.NodePrepareResourcesRequest:
		wanted = refsOf(r.Claims)
	}
	if len(wanted) == 0 {
		return handler(ctx, req)
	}
	// What is still being read when the call is over is of no use to anybody.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	return handler(context.WithValue(ctx, fetchesKey{}, f.start(ctx, wanted)), req)
}

func refsOf[C interface {
	GetNamespace() string
	GetName() string
	GetUid() string
}](claims []C) []claimRef {
	refs := make([]claimRef, len(claims))
	for i, c := range claims {
		refs[i] = claimRef{types.NamespacedName{Namespace: c.GetNamespace(), Name: c.GetName()}, types.UID(c.GetUid())}
	}
	return refs
}

func (f *fetcher) start(ctx context.Context, wanted []claimRef) fetches {
	all := make(fetches, len(wanted))
	for _, ref := range wanted {
		one := &fetch{wanted: ref, done: make(chan struct{})}
		all[ref.NamespacedName] = one
		read := func() {
			defer close(one.done)
			begin := time.Now()
			one.claim, one.err = guarded(ctx, ref, f.read)
			f.observe(time.Since(begin))
		}
		if len(wanted) == 1 {
			read() // the handler would only wait for it
		} else {
			go read()
		}
	}
	return all
}

// fetchError returns why a claim that the helper handed over could not be read; see claimsClient.Get.
func fetchError(ctx context.Context, c *resourceapi.ResourceClaim) error {
	all, _ := ctx.Value(fetchesKey{}).(fetches)
	one := all[types.NamespacedName{Namespace: c.Namespace, Name: c.Name}]
	if one == nil {
		return nil
	}
	<-one.done
	return one.err
}

// read returns the claim that is wanted if it is allocated. It tries again while the API server is in trouble, for
// most of the time that the call has, but takes a clear answer of the API server at once.
func (f *fetcher) read(ctx context.Context, wanted claimRef) (*resourceapi.ResourceClaim, error) {
	begin := time.Now()
	end := begin.Add(fetchBudget)
	if deadline, ok := ctx.Deadline(); ok && deadline.Before(end) {
		end = deadline
	}
	ctx, cancel := context.WithDeadline(ctx, end.Add(-end.Sub(begin)/workShare))
	defer cancel()

	claims := f.client.ResourceV1().ResourceClaims(wanted.Namespace)
	c, err := f.persistently(ctx, func(ctx context.Context) (*resourceapi.ResourceClaim, error) {
		return claims.Get(ctx, wanted.Name, metav1.GetOptions{})
	})
	switch {
	case isClearlyNotFound(err):
		// Not an error of the API's type on purpose: the helper's client takes a "not found" for "this version of the
		// API is not served" and would ask for the claim in two older versions too.
		return nil, fmt.Errorf("claim %s does not exist any more", wanted.NamespacedName)
	case err != nil:
		return nil, fmt.Errorf("get claim %s from the API server: %w", wanted.NamespacedName, err)
	case c.UID != wanted.UID:
		return nil, fmt.Errorf("claim %s was replaced: the pod's claim has UID %s, the claim of that name has now %s",
			wanted.NamespacedName, wanted.UID, c.UID)
	case c.Status.Allocation == nil:
		return nil, fmt.Errorf("claim %s is not allocated", wanted.NamespacedName)
	}
	return c, nil
}

// persistently asks the API server until it answers or ctx ends. The last error is returned.
func (f *fetcher) persistently(
	ctx context.Context, ask func(context.Context) (*resourceapi.ResourceClaim, error),
) (*resourceapi.ResourceClaim, error) {
	level := 2 // the first time is news
	var before error
	for delay := firstDelay; ; delay, level = min(2*delay, lastDelay), 4 {
		attempt, cancel := context.WithTimeout(ctx, f.attempt)
		answer, err := ask(attempt)
		timedOut := attempt.Err() != nil
		cancel()
		if err == nil || !isTrouble(err) {
			return answer, err
		}
		if ctx.Err() != nil && before != nil {
			// This attempt was cut short, so the one before says more, and the same each time.
			return nil, &troubleError{cause: before}
		}
		before = err
		klog.FromContext(ctx).V(level).Info("The API server is in trouble; asking again", "err", err)
		if timedOut {
			f.reconnect()
		}
		select {
		case <-ctx.Done():
			return nil, &troubleError{cause: err}
		case <-time.After(delay/2 + rand.N(delay)):
		}
	}
}

// reconnect closes connections on which nothing is asked. Without it the next attempt would use the connection on which
// the last one got no answer: HTTP/2 finds out only after 45 s that the other end is gone, which is too late here.
func (f *fetcher) reconnect() {
	client, ok := f.client.ResourceV1().RESTClient().(*rest.RESTClient)
	if ok && client != nil && client.Client != nil {
		utilnet.CloseIdleConnectionsFor(client.Client.Transport)
	}
}

// isTrouble says whether asking again may help: the API server says so, or did not answer, but somebody else did.
func isTrouble(err error) bool {
	var answer apierrors.APIStatus
	if errors.As(err, &answer) {
		code := answer.Status().Code
		return code == 429 || code >= 500 || apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse)
	}
	return true
}

// troubleError is the end of patience. Its text becomes an event of the pod, so it must be the same each time: no port
// numbers, no request IDs.
type troubleError struct{ cause error }

func (e *troubleError) Unwrap() error { return e.cause }

func (e *troubleError) Error() string {
	const sentence = "it was in trouble for as long as the kubelet waits: "
	var answer apierrors.APIStatus
	var errno syscall.Errno
	var invalid x509.CertificateInvalidError
	var unverified *tls.CertificateVerificationError
	switch {
	case errors.As(e.cause, &answer):
		status := answer.Status()
		return fmt.Sprintf("%s%s (%d)", sentence, status.Reason, status.Code)
	case errors.As(e.cause, &invalid) && invalid.Reason == x509.Expired:
		return sentence + "its certificate has expired or is not valid yet; renew it, and look at this node's clock"
	case errors.As(e.cause, &unverified):
		return sentence + "its certificate cannot be verified: " + unverified.Err.Error()
	case isHangUp(e.cause):
		return sentence + "it closes connections without an answer"
	case errors.As(e.cause, &errno):
		return sentence + errno.Error()
	case errors.Is(e.cause, context.DeadlineExceeded), errors.Is(e.cause, context.Canceled):
		return sentence + "no answer in time"
	default:
		return sentence + e.cause.Error()
	}
}

// isHangUp says whether the other end broke the connection off: before the answer, in it, or while it was asked.
func isHangUp(err error) bool {
	return utilnet.IsProbableEOF(err) || utilnet.IsConnectionReset(err) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.EPIPE)
}

// kubeClient is the client for the helper. It differs from the fetcher's in that a claim which is being read for the
// call of the context is not read again.
func (f *fetcher) kubeClient() kubernetes.Interface { return kubeClient{f.client} }

type kubeClient struct{ kubernetes.Interface }

func (c kubeClient) ResourceV1() resourceclient.ResourceV1Interface {
	return resourceV1Client{c.Interface.ResourceV1()}
}

type resourceV1Client struct {
	resourceclient.ResourceV1Interface
}

func (c resourceV1Client) ResourceClaims(namespace string) resourceclient.ResourceClaimInterface {
	return claimsClient{c.ResourceV1Interface.ResourceClaims(namespace), namespace}
}

type claimsClient struct {
	resourceclient.ResourceClaimInterface
	namespace string
}

// Get never returns an error for a claim of the call: the helper would answer the whole call with it, also for claims
// that could be read. It gets a stand-in that passes its checks, and PrepareResourceClaims, which knows of the error
// through fetchError, makes it the answer for that claim.
func (c claimsClient) Get(ctx context.Context, name string, o metav1.GetOptions) (*resourceapi.ResourceClaim, error) {
	all, _ := ctx.Value(fetchesKey{}).(fetches)
	one := all[types.NamespacedName{Namespace: c.namespace, Name: name}]
	if one == nil {
		return c.ResourceClaimInterface.Get(ctx, name, o)
	}
	<-one.done // ends with ctx at the latest
	if one.err != nil {
		standIn := &resourceapi.ResourceClaim{}
		standIn.Namespace, standIn.Name, standIn.UID = c.namespace, name, one.wanted.UID
		standIn.Status.Allocation = &resourceapi.AllocationResult{}
		return standIn, nil //nolint:nilerr // see above
	}
	return one.claim, nil
}
