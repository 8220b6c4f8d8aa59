package telemetry

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"
)

const (
	// checkTimeout bounds one check of /healthz or /readyz. It is shorter than the 5 s that the chart's probe waits, so
	// that the answer still says which check hangs.
	checkTimeout = 4 * time.Second
	// shutdownTimeout is how long answers in progress may take once the server is to stop.
	shutdownTimeout = time.Second
)

// Check is one condition, with the reason why it does not hold as its error. It must return when its context ends.
type Check struct {
	Name string
	Test func(ctx context.Context) error
}

// Figures are [Metrics] or [ControllerMetrics].
type Figures interface {
	// Handler serves them to Prometheus.
	Handler() http.Handler
}

// Server answers over HTTP, on one address.
type Server struct {
	listener net.Listener
	http     *http.Server
}

// Listen opens address (host:port) and returns a server that answers as [Handler] once [Server.Run] is called. An
// address that is taken is an error here, before anything else was started.
func Listen(ctx context.Context, address string, m Figures, healthz, readyz []Check) (*Server, error) {
	return open(ctx, address, Handler(m, healthz, readyz))
}

func open(ctx context.Context, address string, handler http.Handler) (*Server, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return &Server{listener: listener, http: &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       5 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
	}}, nil
}

// Address is where the server listens; of use when the port was chosen by the system.
func (s *Server) Address() string { return s.listener.Addr().String() }

// Run answers until ctx ends, then closes the server and returns nil. An error means that it can answer no longer.
func (s *Server) Run(ctx context.Context) error {
	s.http.BaseContext = func(net.Listener) context.Context { return ctx }
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
		defer cancel()
		if s.http.Shutdown(bounded) != nil {
			_ = s.http.Close() // what was still in progress is cut, which is all that is left to do
		}
	})
	if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		stop()
		return fmt.Errorf("serve HTTP on %s: %w", s.Address(), err)
	}
	<-stopped
	return nil
}

// Close releases the address of a server that was not run.
func (s *Server) Close() error { return s.listener.Close() }

// Handler answers /metrics, /healthz and /readyz, to GET and HEAD alone.
func Handler(m Figures, healthz, readyz []Check) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", m.Handler()) // a pattern with GET matches HEAD too
	mux.Handle("GET /healthz", checks(healthz))
	mux.Handle("GET /readyz", checks(readyz))
	return mux
}

// checks answers with one line for each check: 200 if all hold, else 503.
func checks(all []Check) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), checkTimeout)
		defer cancel()
		// All at once, so that one that hangs does not take the time of the others.
		failed := make([]error, len(all))
		done := make(chan int, len(all))
		for i, check := range all {
			go func() {
				failed[i] = check.Test(ctx)
				done <- i
			}()
		}
		for range all {
			<-done
		}
		var lines strings.Builder
		status := http.StatusOK
		for i, check := range all {
			if failed[i] != nil {
				status = http.StatusServiceUnavailable
				fmt.Fprintf(&lines, "[-] %s: %v\n", check.Name, failed[i])
			} else {
				fmt.Fprintf(&lines, "[+] %s\n", check.Name)
			}
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(status)
		_, _ = w.Write([]byte(lines.String())) // a client that went away
	})
}
