package proxy

import (
	"context"
	"errors"
	"io"
	"net"
)

// body is an answer on its way to the driver, to which the faults happen that are set meanwhile.
type body struct {
	io.ReadCloser
	ctx     context.Context // of the driver's request
	proxy   *Proxy
	request Request
	cut     bool
}

var errCut = errors.New("the fault proxy cut the connection") //nolint:gochecknoglobals // an error value

func (b *body) Read(buffer []byte) (int, error) {
	if b.cut {
		if conn, ok := b.ctx.Value(connKey{}).(net.Conn); ok {
			hangUp(conn)
		}
		return 0, errCut
	}
	n, err := b.ReadCloser.Read(buffer)
	if b.proxy.held(b.ctx, b.request).kind != reset {
		return n, err
	}
	b.cut = true
	return n / 2, nil
}
