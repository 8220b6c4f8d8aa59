package process

import (
	"testing"

	"example.com/dragoman/pkg/sanity/proxy"
)

// behindProxy puts a proxy between the driver, which is not started yet, and the API server.
func (r *rig) behindProxy() *proxied {
	r.t.Helper()
	path := r.path("proxied.kubeconfig")
	p, err := proxy.Start(r.server.config, path)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = p.Close() }) // who hung on it was killed
	r.kubeconfig = path
	return &proxied{p, r.t}
}

// proxied is the way of one driver to the API server.
type proxied struct {
	*proxy.Proxy
	t *testing.T
}

func (p *proxied) set(faults ...proxy.Fault) {
	p.t.Helper()
	if err := p.Set(faults...); err != nil {
		p.t.Fatal(err)
	}
}
