package apiserver

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Options says which server to start.
type Options struct {
	// Programs are the programs to run; Find has them.
	Programs Programs
	// Dir takes everything that the servers write. A given one is made if it is missing, and stays; none means a folder
	// for temporary files that Stop removes.
	Dir string
	// FeatureGates are Kubernetes' feature gates, as in its flag: "A=true,B=false".
	FeatureGates string
	// RuntimeConfig switches versions of APIs on and off, as in kube-apiserver's flag: "resource.k8s.io/v1beta1=true".
	RuntimeConfig string
	// Flags are further flags of kube-apiserver; of flags that are given twice, these count.
	Flags []string
}

// Server is a running API server with its etcd.
type Server struct {
	// Kubeconfig is the file that makes a client the administrator.
	Kubeconfig string
	// URL is where the server listens, on loopback only.
	URL string
	// Dir is where logs and everything else lie.
	Dir string

	temporary bool
	authority *authority
	port      port
	etcd      *process
	api       *process
}

// Start starts etcd and kube-apiserver and returns when the API server says that it is ready. The context bounds the
// start only; the server ends with Stop, and with this process however that ends. After an error nothing is left.
func Start(ctx context.Context, options Options) (*Server, error) {
	s := &Server{Dir: options.Dir, temporary: options.Dir == "", port: port{socket: -1}}
	if err := s.start(ctx, options); err != nil {
		return nil, errors.Join(fmt.Errorf("start an API server: %w", err), s.Stop())
	}
	return s, nil
}

func (s *Server) start(ctx context.Context, options Options) (err error) {
	if s.temporary {
		if s.Dir, err = os.MkdirTemp("", "apiserver"); err != nil {
			return fmt.Errorf("make its folder: %w", err)
		}
	} else if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return fmt.Errorf("make its folder: %w", err)
	}
	if s.Dir, err = filepath.Abs(s.Dir); err != nil {
		return fmt.Errorf("find its folder: %w", err)
	}
	if s.authority, err = newAuthority(); err != nil {
		return err
	}
	id, err := s.authority.write(s.Dir)
	if err != nil {
		return err
	}
	if s.port, err = reservePort(); err != nil {
		return err
	}
	s.URL = "https://" + s.port.address()
	if s.Kubeconfig, err = s.KubeconfigAs("dra-sanity", "system:masters"); err != nil {
		return err
	}
	if s.etcd, err = run(s.Dir, "etcd", options.Programs.Etcd, etcdFlags()); err != nil {
		return err
	}
	// kube-apiserver looks for etcd at once and then only every second.
	if err := s.wait(ctx, func() error { return exists(filepath.Join(s.Dir, etcdSocket)) }); err != nil {
		return fmt.Errorf("wait for etcd: %w", err)
	}
	if s.api, err = run(s.Dir, "kube-apiserver", options.Programs.APIServer, s.apiFlags(options, id)); err != nil {
		return err
	}
	return s.waitReady(ctx)
}

// Stop ends both servers at once, and removes their folder if it is a temporary one. What they had stored is gone.
func (s *Server) Stop() error {
	for _, p := range []*process{s.api, s.etcd} {
		if p != nil {
			p.kill()
		}
	}
	var errs []error
	if s.port.socket >= 0 {
		errs = append(errs, s.port.release())
		s.port.socket = -1
	}
	if s.temporary && s.Dir != "" {
		errs = append(errs, os.RemoveAll(s.Dir))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("stop the API server: %w", err)
	}
	return nil
}

// Err says which of the servers has ended by itself, with the last lines of its log; it is nil while both run.
func (s *Server) Err() error { return errors.Join(s.etcd.death(), s.api.death()) }

// Pause stops the API server from doing anything, answering included; connections stay open, as with a machine that
// hangs.
func (s *Server) Pause() error { return s.api.signal(syscall.SIGSTOP) }

// Continue ends a Pause.
func (s *Server) Continue() error { return s.api.signal(syscall.SIGCONT) }

// KubeconfigAs writes a file that makes a client the given user, in the given groups, and returns its path. Without
// groups it has the rights that the user has by name.
func (s *Server) KubeconfigAs(user string, groups ...string) (string, error) {
	client, err := s.authority.client(user, groups)
	if err != nil {
		return "", err
	}
	const name = "dra-sanity"
	config := clientcmdapi.NewConfig()
	config.Clusters[name] = &clientcmdapi.Cluster{Server: s.URL, CertificateAuthorityData: s.authority.PEM()}
	config.AuthInfos[name] = &clientcmdapi.AuthInfo{
		ClientCertificateData: client.certificate, ClientKeyData: client.key,
	}
	config.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name}
	config.CurrentContext = name
	path := filepath.Join(s.Dir, "kubeconfig-"+strings.NewReplacer("/", "_", ":", "_").Replace(user))
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		return "", fmt.Errorf("write the kubeconfig of %s: %w", user, err)
	}
	return path, nil
}

// waitReady asks /readyz until the answer is yes.
func (s *Server) waitReady(ctx context.Context) error {
	client, err := s.httpClient()
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	err = s.wait(ctx, func() error { return ready(ctx, client, s.URL) })
	if err != nil {
		return fmt.Errorf("wait until kube-apiserver is ready: %w", err)
	}
	return nil
}

func (s *Server) httpClient() (*http.Client, error) {
	client, err := s.authority.client("dra-sanity", []string{"system:masters"})
	if err != nil {
		return nil, err
	}
	certificate, err := tls.X509KeyPair(client.certificate, client.key)
	if err != nil {
		return nil, fmt.Errorf("read a certificate: %w", err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(s.authority.certificate)
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{
		RootCAs: roots, Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12,
	}}}, nil
}

func ready(ctx context.Context, client *http.Client, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/readyz?verbose", nil)
	if err != nil {
		return fmt.Errorf("ask /readyz: %w", err)
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	said, err := io.ReadAll(io.LimitReader(response.Body, 1<<16))
	if err != nil || response.StatusCode == http.StatusOK {
		return err
	}
	return fmt.Errorf("it answers %s: %s", response.Status, missing(string(said)))
}

// missing keeps the lines of /readyz that say what is not there yet.
func missing(said string) string {
	var lines []string
	for line := range strings.Lines(said) {
		if !strings.HasPrefix(line, "[+]") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return strings.Join(lines, "; ")
}

// wait tries until it works, the context ends or one of the servers does.
func (s *Server) wait(ctx context.Context, try func() error) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return nil
		}
		if died := s.died(); died != nil {
			return died
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w; at last: %w", context.Cause(ctx), err)
		case <-tick.C:
		}
	}
}

func (s *Server) died() error {
	for _, p := range []*process{s.etcd, s.api} {
		if p == nil {
			continue
		}
		if err := p.death(); err != nil {
			return err
		}
	}
	return nil
}

func exists(path string) error {
	_, err := os.Lstat(path)
	return err
}
