package process

import (
	"io"
	"net"
	"net/url"
	"sync"
	"testing"

	"k8s.io/client-go/tools/clientcmd"
)

// outage is a way in which an API server cannot be reached.
type outage string

const (
	refuses outage = "it refuses connections"
	hangsUp outage = "it hangs up"
	silent  outage = "it does not answer"
)

// proxy stands between a driver and the API server, and can be switched off.
type proxy struct {
	address, target string
	serving         sync.WaitGroup

	mutex    sync.Mutex
	listener net.Listener
	off      outage        // empty while it is on
	on       chan struct{} // closed while it is on, or for good
	open     map[net.Conn]bool
}

// newProxy returns a proxy before the API server and a kubeconfig that leads through it.
func newProxy(t *testing.T, r *rig) (*proxy, string) {
	t.Helper()
	config, err := clientcmd.LoadFromFile(kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	cluster := config.Clusters[config.Contexts[config.CurrentContext].Cluster]
	server, err := url.Parse(cluster.Server)
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{address: "127.0.0.1:0", target: server.Host, open: map[net.Conn]bool{}, on: make(chan struct{})}
	if err := p.switchOn(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.switchOff(refuses)
		p.serving.Wait()
	})
	cluster.TLSServerName = server.Hostname()
	cluster.Server = "https://" + p.address
	path := r.path("proxied.kubeconfig")
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		t.Fatal(err)
	}
	return p, path
}

func (p *proxy) switchOff(how outage) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.off == "" {
		p.off, p.on = how, make(chan struct{})
	}
	if how == silent {
		return // connections stay open, and nothing comes through
	}
	for conn := range p.open {
		_ = conn.Close()
	}
	if how == refuses {
		_ = p.listener.Close()
	}
	// Nobody is to wait for what does not come again on these connections.
	if p.on != nil {
		close(p.on)
		p.on = nil
	}
}

func (p *proxy) switchOn() error {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.listener == nil || p.off == refuses {
		listener, err := net.Listen("tcp", p.address)
		if err != nil {
			return err
		}
		p.listener, p.address = listener, listener.Addr().String()
		p.serving.Go(func() { p.serve(listener) })
	}
	if p.on != nil {
		close(p.on)
	}
	p.off, p.on = "", nil
	return nil
}

func (p *proxy) serve(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		p.serving.Go(func() { p.forward(conn) })
	}
}

// admit notes a connection as open, unless the proxy hangs up.
func (p *proxy) admit(conn net.Conn) bool {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.off == hangsUp || p.off == refuses {
		return false
	}
	p.open[conn] = true
	return true
}

// wait returns when something may come through.
func (p *proxy) wait() {
	p.mutex.Lock()
	on := p.on
	p.mutex.Unlock()
	if on != nil {
		<-on
	}
}

func (p *proxy) forward(conn net.Conn) {
	defer p.forget(conn)
	if !p.admit(conn) {
		return
	}
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	defer p.forget(server)
	if !p.admit(server) {
		return
	}
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{conn, server}, {server, conn}} {
		both.Go(func() {
			p.copy(way[0], way[1])
			_ = way[0].Close()
			_ = way[1].Close()
		})
	}
	both.Wait()
}

// copy copies until either side hangs up.
func (p *proxy) copy(to io.Writer, from io.Reader) {
	buffer := make([]byte, 32*1024)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		p.wait()
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}

func (p *proxy) forget(conn net.Conn) {
	_ = conn.Close()
	p.mutex.Lock()
	defer p.mutex.Unlock()
	delete(p.open, conn)
}
