package telemetry

import (
	"context"
	"fmt"
	"net/http"
	"net/http/pprof" //nolint:gosec // it adds to http.DefaultServeMux, which nothing here serves
	"net/netip"
)

// ListenForProfiles opens address, an IP address of the loopback interface and a port, and returns a server that
// answers /debug/pprof/ once [Server.Run] is called: what "go tool pprof" and "go tool trace" read. Any other address
// is refused, since profiles show the command line and what the process does, and cost it time.
func ListenForProfiles(ctx context.Context, address string) (*Server, error) {
	if parsed, err := netip.ParseAddrPort(address); err != nil || !parsed.Addr().IsLoopback() {
		return nil, fmt.Errorf("profiles are for this machine alone, and %q is no address of its loopback interface with "+
			"a port, such as 127.0.0.1:6060", address)
	}
	server, err := open(ctx, address, profiles())
	if err != nil {
		return nil, err
	}
	server.http.WriteTimeout = 0 // a profile takes as long as it was asked for
	return server, nil
}

func profiles() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/pprof/", pprof.Index) // each profile of package runtime/pprof too, by its name
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	return mux
}
