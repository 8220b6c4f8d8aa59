package proxy

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"sync"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Wire is a long way to an API server: what the server sends arrives later, by the same time for each byte. It passes
// bytes on without looking at them, so it costs hardly any processor time, unlike a [Proxy] with a Delay. The driver
// has the caller's rights.
type Wire struct {
	delay    time.Duration
	upstream string // host:port
	listener net.Listener
	closed   chan struct{}
	running  sync.WaitGroup

	mutex sync.Mutex
	open  map[net.Conn]bool
}

// StartWire starts one and writes a kubeconfig to path that is the given one, led over the wire.
func StartWire(kubeconfig string, delay time.Duration, path string) (*Wire, error) {
	config, err := clientcmd.LoadFromFile(kubeconfig)
	if err == nil {
		err = clientcmdapi.MinifyConfig(config)
	}
	if err == nil {
		err = clientcmdapi.FlattenConfig(config) // its files may be named relative to it
	}
	if err != nil {
		return nil, fmt.Errorf("read the kubeconfig %s: %w", kubeconfig, err)
	}
	w := &Wire{delay: delay, closed: make(chan struct{}), open: map[net.Conn]bool{}}
	if w.listener, err = net.Listen("tcp4", net.JoinHostPort(loopback, "0")); err != nil {
		return nil, fmt.Errorf("listen for the driver: %w", err)
	}
	for _, cluster := range config.Clusters { // the one that the context names
		err = w.lead(cluster)
	}
	if err == nil {
		err = clientcmd.WriteToFile(*config, path)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("write the driver's kubeconfig: %w", err), w.listener.Close())
	}
	w.running.Go(w.accept)
	return w, nil
}

// lead makes a cluster's address lead over the wire; the server's certificate is still looked at with its own name.
func (w *Wire) lead(cluster *clientcmdapi.Cluster) error {
	server, err := url.Parse(cluster.Server)
	if err != nil {
		return fmt.Errorf("read the API server's address: %w", err)
	}
	port := server.Port()
	if port == "" {
		port = map[string]string{"http": "80"}[server.Scheme]
		if port == "" {
			port = "443"
		}
	}
	w.upstream = net.JoinHostPort(server.Hostname(), port)
	if cluster.TLSServerName == "" && server.Scheme == "https" {
		cluster.TLSServerName = server.Hostname()
	}
	server.Host = w.listener.Addr().String()
	cluster.Server = server.String()
	return nil
}

// Close cuts all connections and refuses new ones.
func (w *Wire) Close() error {
	w.mutex.Lock()
	select {
	case <-w.closed:
		w.mutex.Unlock()
		return nil
	default:
		close(w.closed)
	}
	err := w.listener.Close()
	for conn := range w.open {
		_ = conn.Close() // nobody waits for what comes over it
	}
	w.mutex.Unlock()
	w.running.Wait()
	if err != nil {
		return fmt.Errorf("stop to listen for the driver: %w", err)
	}
	return nil
}

func (w *Wire) accept() {
	for {
		driver, err := w.listener.Accept()
		if err != nil {
			return // it is closed
		}
		w.running.Go(func() { w.connect(driver) })
	}
}

// connect passes on what comes over one connection, until either side ends it.
func (w *Wire) connect(driver net.Conn) {
	defer w.end(driver)
	if !w.begin(driver) {
		return
	}
	server, err := net.Dial("tcp", w.upstream)
	if err != nil {
		return // the driver sees that the connection ends
	}
	defer w.end(server)
	if !w.begin(server) {
		return
	}
	w.running.Go(func() {
		_, _ = io.Copy(server, driver) // an error ends the connection
		w.end(server)
	})
	w.late(driver, server)
}

// begin says false if the wire is closed.
func (w *Wire) begin(conn net.Conn) bool {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	select {
	case <-w.closed:
		return false
	default:
		w.open[conn] = true
		return true
	}
}

func (w *Wire) end(conn net.Conn) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	delete(w.open, conn)
	_ = conn.Close() // it may be closed already
}

// piece is what came at once, and when it is to arrive.
type piece struct {
	at    time.Time
	bytes []byte
}

// late passes on what the server sends, each piece when its time has come, until either side ends the connection.
func (w *Wire) late(driver io.Writer, server io.Reader) {
	const inFlight = 1024 // pieces, before the server has to wait
	pieces := make(chan piece, inFlight)
	broken := make(chan struct{})
	w.running.Go(func() {
		defer close(pieces)
		for {
			buffer := make([]byte, 32<<10)
			n, err := server.Read(buffer)
			if n > 0 {
				select {
				case pieces <- piece{time.Now().Add(w.delay), buffer[:n]}:
				case <-broken:
					return
				}
			}
			if err != nil {
				return
			}
		}
	})
	defer close(broken)
	for p := range pieces {
		time.Sleep(time.Until(p.at))
		if _, err := driver.Write(p.bytes); err != nil {
			return
		}
	}
}
