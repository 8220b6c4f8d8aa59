package admission

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"mime"
	"net"
	"net/http"
	"time"

	"k8s.io/klog/v2"
)

const (
	// maxQuestion is more than the API server stores of an object, twice (an update has the old one, too).
	maxQuestion = 4 << 20
	// atOnce is how many questions are read and looked at at a time; the others wait as long as whoever asks.
	atOnce = 32
	// shutdownTimeout is how long answers in progress may take once the server is to stop.
	shutdownTimeout = 2 * time.Second
)

// Observer is told of each question: what was answered, and whether it made no sense.
type Observer func(allowed, broken bool)

// Handler answers AdmissionReviews, to POST on /validate alone.
func Handler(r Reviewer, observe Observer) http.Handler {
	slots := make(chan struct{}, atOnce)
	mux := http.NewServeMux()
	mux.HandleFunc("POST /validate", func(w http.ResponseWriter, request *http.Request) {
		if media, _, err := mime.ParseMediaType(request.Header.Get("Content-Type")); err != nil ||
			media != "application/json" {
			observe(false, true)
			http.Error(w, "an AdmissionReview has to be application/json", http.StatusUnsupportedMediaType)
			return
		}
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
		case <-request.Context().Done():
			return
		}
		question, err := io.ReadAll(http.MaxBytesReader(w, request.Body, maxQuestion))
		if err != nil {
			observe(false, true)
			code := http.StatusBadRequest
			if errors.As(err, new(*http.MaxBytesError)) {
				code = http.StatusRequestEntityTooLarge
			}
			http.Error(w, fmt.Sprintf("read the AdmissionReview: %v", err), code)
			return
		}
		answer, said, err := r.answer(question)
		if err != nil {
			observe(false, true)
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		observe(said.Allowed, false)
		if !said.Allowed {
			klog.FromContext(request.Context()).V(4).Info("Refused a configuration", "uid", said.UID,
				"problem", said.Result.Message)
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(answer) // whoever asked has gone
	})
	return mux
}

// Server answers over HTTPS, on one address.
type Server struct {
	listener net.Listener
	http     *http.Server
}

// Listen opens address (host:port) and returns a server that answers with the handler and the certificate once
// [Server.Run] is called.
func Listen(ctx context.Context, address string, handler http.Handler,
	certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error),
) (*Server, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return &Server{listener: listener, http: &http.Server{
		Handler:           handler,
		TLSConfig:         &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: certificate},
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       5 * time.Second,
		WriteTimeout:      20 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          log.New(io.Discard, "", 0), // anybody can fail at a handshake
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
	if err := s.http.ServeTLS(s.listener, "", ""); !errors.Is(err, http.ErrServerClosed) {
		stop()
		return fmt.Errorf("serve HTTPS on %s: %w", s.Address(), err)
	}
	<-stopped
	return nil
}

// Close releases the address of a server that was not run.
func (s *Server) Close() error { return s.listener.Close() }
