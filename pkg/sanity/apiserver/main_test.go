package apiserver_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"example.com/dragoman/pkg/sanity/apiserver"
)

// The test program itself stands in for etcd and kube-apiserver, under their names: how the servers are started,
// awaited and ended is tested here; e2e/apiserver tests the real ones.
func TestMain(m *testing.M) {
	switch filepath.Base(os.Args[0]) {
	case "etcd":
		fakeEtcd()
	case "kube-apiserver":
		if err := fakeAPIServer(); err != nil {
			fmt.Fprintln(os.Stderr, "fake kube-apiserver:", err)
			os.Exit(1)
		}
	default:
		os.Exit(m.Run())
	}
}

// How the fakes behave: files in the folder of the programs.
const (
	etcdDies   = "etcd-dies"
	etcdIsMute = "etcd-is-mute" // runs, and never listens
	apiDies    = "api-dies"
	neverReady = "never-ready"
)

func told(what string) bool {
	_, err := os.Stat(filepath.Join(filepath.Dir(os.Args[0]), what))
	return err == nil
}

func fakeEtcd() {
	if told(etcdDies) {
		for i := range 40 {
			fmt.Println("line", i)
		}
		fmt.Println("member has already been bootstrapped")
		os.Exit(1)
	}
	if !told(etcdIsMute) {
		socket := argument("--listen-client-urls=unix://")
		if _, err := net.Listen("unix", socket); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
	select {}
}

func argument(prefix string) string {
	for _, a := range os.Args {
		if value, ok := strings.CutPrefix(a, prefix); ok {
			return value
		}
	}
	return ""
}

// fakeAPIServer says twice that it is not ready, and refuses whom it does not know.
func fakeAPIServer() error {
	if told(apiDies) {
		return fmt.Errorf("unknown feature gate %s", argument("--feature-gates="))
	}
	reuse := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var failed error
		err := c.Control(func(fd uintptr) {
			failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
		})
		if err != nil {
			return err
		}
		return failed
	}}
	listener, err := reuse.Listen(context.Background(), "tcp", "127.0.0.1:"+argument("--secure-port="))
	if err != nil {
		return err
	}
	trusted, err := os.ReadFile(argument("--client-ca-file="))
	if err != nil {
		return err
	}
	clients := x509.NewCertPool()
	clients.AppendCertsFromPEM(trusted)
	var asked atomic.Int32
	server := &http.Server{
		TLSConfig: &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/die" {
				os.Exit(3)
			}
			if told(neverReady) || asked.Add(1) < 3 {
				w.WriteHeader(http.StatusInternalServerError)
				_, _ = fmt.Fprint(w, "[+]ping ok\n[-]etcd failed: reason withheld\nreadyz check failed\n")
			}
			subject := r.TLS.PeerCertificates[0].Subject
			_, _ = fmt.Fprint(w, subject.CommonName, " ", subject.Organization)
		}),
	}
	return server.ServeTLS(listener, argument("--tls-cert-file="), argument("--tls-private-key-file="))
}

// fakes makes a folder with both programs that behave as told.
func fakes(t *testing.T, behave ...string) apiserver.Programs {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	programs := apiserver.Programs{
		Etcd: filepath.Join(dir, "etcd"), APIServer: filepath.Join(dir, "kube-apiserver"),
	}
	for _, program := range []string{programs.Etcd, programs.APIServer} {
		if err := os.Symlink(self, program); err != nil {
			t.Fatal(err)
		}
	}
	for _, how := range behave {
		if err := os.WriteFile(filepath.Join(dir, how), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return programs
}
