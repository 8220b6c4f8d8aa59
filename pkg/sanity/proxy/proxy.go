package proxy

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Proxy is one way to an API server. All methods may be called at any time, side by side.
type Proxy struct {
	certificates *certificates
	port         *port
	token        string
	forward      http.Handler
	server       *http.Server
	serving      sync.WaitGroup
	closed       chan struct{}

	mutex    sync.Mutex
	listener net.Listener // nil while connections are refused
	faults   []Fault
	changed  chan struct{} // closed and replaced when faults change
	open     map[net.Conn]bool
	requests map[Request]int
}

// Start starts a proxy to the API server that upstream leads to, with upstream's credentials, and writes a kubeconfig
// for the driver to path. That one leads to the proxy only, with a token of its own, so that the driver never holds
// the caller's rights; to give it those of a service account, set Impersonate in upstream.
func Start(upstream *rest.Config, path string) (*Proxy, error) {
	server, _, err := rest.DefaultServerUrlFor(upstream)
	if err != nil {
		return nil, fmt.Errorf("find the API server's address: %w", err)
	}
	transport, err := rest.TransportFor(upstream)
	if err != nil {
		return nil, fmt.Errorf("connect to the API server: %w", err)
	}
	p := &Proxy{
		token: rand.Text(), closed: make(chan struct{}), changed: make(chan struct{}),
		open: map[net.Conn]bool{}, requests: map[Request]int{},
	}
	p.forward = p.forwarder(server, transport)
	if p.certificates, err = newCertificates(); err != nil {
		return nil, err
	}
	if p.port, err = newPort(); err != nil {
		return nil, err
	}
	p.server = &http.Server{
		Handler: http.HandlerFunc(p.serve), ConnContext: withConn, ConnState: p.note, ReadHeaderTimeout: time.Minute,
		TLSConfig: &tls.Config{GetCertificate: p.certificate, MinVersion: tls.VersionTLS12, SessionTicketsDisabled: true},
		ErrorLog:  log.New(io.Discard, "", 0), // every connection that was cut, with an address
	}
	if err := errors.Join(p.Set(), p.writeKubeconfig(path)); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// Set replaces the faults by these. Of several that meet a request the first one counts; without any, everything works
// again. It returns when the change has taken effect.
func (p *Proxy) Set(faults ...Fault) error {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	select {
	case <-p.closed:
		return errors.New("the proxy is closed")
	default:
	}
	p.faults = slices.Clone(faults)
	if slices.ContainsFunc(faults, func(f Fault) bool { return f.kind == refuse }) {
		p.refuse()
	} else if err := p.accept(); err != nil {
		return err
	}
	if slices.ContainsFunc(faults, Fault.cuts) {
		p.cut()
	}
	close(p.changed)
	p.changed = make(chan struct{})
	return nil
}

// Requests returns how many requests of each kind the driver has made since the start, failed ones included.
func (p *Proxy) Requests() map[Request]int {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return maps.Clone(p.requests)
}

// Close cuts all connections and refuses new ones.
func (p *Proxy) Close() error {
	p.mutex.Lock()
	select {
	case <-p.closed:
		p.mutex.Unlock()
		return nil
	default:
		close(p.closed)
	}
	p.refuse()
	p.cut()
	p.mutex.Unlock()
	err := p.server.Close()
	if errors.Is(err, net.ErrClosed) { // the listener is, by refuse; the server may not have noticed yet
		err = nil
	}
	p.serving.Wait()
	return errors.Join(err, p.port.close())
}

// accept begins to listen if nobody does.
func (p *Proxy) accept() error {
	if p.listener != nil {
		return nil
	}
	listener, err := p.port.listen()
	if err != nil {
		return err
	}
	p.listener = listener
	p.serving.Go(func() { _ = p.server.ServeTLS(listener, "", "") }) // it ends when the listener is closed
	return nil
}

func (p *Proxy) refuse() {
	if p.listener != nil {
		_ = p.listener.Close()
		p.listener = nil
	}
}

// cut resets the open connections; a close that says goodbye would let the other side finish.
func (p *Proxy) cut() {
	for conn := range p.open {
		hangUp(conn)
	}
}

func hangUp(conn net.Conn) {
	if encrypted, ok := conn.(*tls.Conn); ok {
		conn = encrypted.NetConn()
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

func (p *Proxy) note(conn net.Conn, state http.ConnState) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	switch {
	case state == http.StateClosed, state == http.StateHijacked:
		delete(p.open, conn)
	case state == http.StateNew && p.listener == nil: // accepted just before the listener was closed
		hangUp(conn)
	default:
		p.open[conn] = true
	}
}

func (p *Proxy) certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if slices.ContainsFunc(p.faults, func(f Fault) bool { return f.kind == expire }) {
		return p.certificates.expired, nil
	}
	return p.certificates.valid, nil
}

func (p *Proxy) writeKubeconfig(path string) error {
	config := clientcmdapi.NewConfig()
	config.Clusters["proxied"] = &clientcmdapi.Cluster{
		Server: "https://" + p.port.address, CertificateAuthorityData: p.certificates.authority,
	}
	config.AuthInfos["driver"] = &clientcmdapi.AuthInfo{Token: p.token}
	config.Contexts["driver"] = &clientcmdapi.Context{Cluster: "proxied", AuthInfo: "driver"}
	config.CurrentContext = "driver"
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		return fmt.Errorf("write the driver's kubeconfig: %w", err)
	}
	return nil
}

// forwarder sends requests on with the caller's credentials instead of the driver's.
func (p *Proxy) forwarder(server *url.URL, transport http.RoundTripper) http.Handler {
	return &httputil.ReverseProxy{
		Transport:     transport,
		FlushInterval: -1, // watches
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(server)
			r.Out.Header.Del("Authorization")
		},
		ModifyResponse: func(r *http.Response) error {
			r.Body = &body{ReadCloser: r.Body, ctx: r.Request.Context(), proxy: p, request: requestOf(r.Request)}
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			http.Error(w, "the fault proxy cannot reach the API server: "+err.Error(), http.StatusBadGateway)
		},
		ErrorLog: log.New(io.Discard, "", 0),
	}
}

type connKey struct{}

func withConn(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, conn)
}

func (p *Proxy) serve(w http.ResponseWriter, r *http.Request) {
	request := requestOf(r)
	p.mutex.Lock()
	p.requests[request]++
	p.mutex.Unlock()
	if r.Header.Get("Authorization") != "Bearer "+p.token {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	fault := p.held(r.Context(), request)
	if fault.kind == delay {
		p.wait(r.Context(), request, fault.delay)
	}
	if fault.kind == answer {
		if fault.delay > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int(fault.delay.Seconds())))
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(fault.status)
		_, _ = w.Write(statusText(fault.status)) // whether it arrives is the driver's affair
		return
	}
	p.forward.ServeHTTP(w, r)
}

// now returns the fault that meets the request at this moment, and what is closed when that may have changed.
func (p *Proxy) now(request Request) (Fault, <-chan struct{}) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	for _, fault := range p.faults {
		if fault.meets(request) {
			return fault, p.changed
		}
	}
	return Fault{}, p.changed
}

// held waits until the request does not hang any more, and returns what happens to it then.
func (p *Proxy) held(ctx context.Context, request Request) Fault {
	for {
		fault, changed := p.now(request)
		if fault.kind != hang {
			return fault
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return Fault{}
		case <-p.closed:
			return Fault{}
		}
	}
}

// wait ends early when the faults change.
func (p *Proxy) wait(ctx context.Context, request Request, long time.Duration) {
	_, changed := p.now(request)
	timer := time.NewTimer(long)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-changed:
	case <-ctx.Done():
	case <-p.closed:
	}
}
