// Package proxy stands between a driver and its API server and does to the driver what API servers and networks do:
// it answers late, refuses, hangs, cuts connections and shows a certificate that has expired. What it does can be
// changed at any time and for some requests only. Without a fault it forwards everything, HTTP/2 and watches included,
// and counts what it saw.
//
// The room is larger than others because each way to fail is at another depth: the port, TLS, the answer, its body.
package proxy
