package proxy

import (
	"net/http"
	"time"
)

// Fault is one thing that goes wrong between a driver and its API server, for all requests unless On says for which.
type Fault struct {
	kind           kind
	delay          time.Duration
	status         int
	verb, resource string
}

type kind int

const (
	none kind = iota
	delay
	answer
	reset
	hang
	refuse
	expire
)

// Delay forwards a request only after so long.
func Delay(by time.Duration) Fault { return Fault{kind: delay, delay: by} }

// Answer answers with a status of its own, like 429, 500 or 503, and does not forward the request.
func Answer(status int) Fault { return Fault{kind: answer, status: status} }

// RetryAfter lets an Answer ask the driver to come back after so long, in whole seconds.
func (f Fault) RetryAfter(wait time.Duration) Fault {
	f.delay = wait
	return f
}

// Reset forwards a request and cuts the connection in the middle of the answer. Without On, connections that are open
// when it begins are cut too.
func Reset() Fault { return Fault{kind: reset} }

// Hang lets nothing through in either direction, open watches included, and keeps the connections. When it ends, what
// was held back comes through.
func Hang() Fault { return Fault{kind: hang} }

// Refuse cuts all connections and refuses new ones, as a machine does on which no API server runs.
func Refuse() Fault { return Fault{kind: refuse} }

// Expire cuts all connections and shows new ones a certificate whose time is over.
func Expire() Fault { return Fault{kind: expire} }

// On limits a fault to requests of one verb (get, list, watch, create, update, patch, delete, deletecollection) and one
// resource (like "resourceclaims" or "pods/status"); an empty string stands for all. Refuse and Expire happen to
// connections, whatever they carry, and are not limited.
func (f Fault) On(verb, resource string) Fault {
	f.verb, f.resource = verb, resource
	return f
}

func (f Fault) meets(r Request) bool {
	return (f.verb == "" || f.verb == r.Verb) && (f.resource == "" || f.resource == r.Resource)
}

// cuts says whether the connections that are open when the fault begins are to be closed.
func (f Fault) cuts() bool {
	return f.kind == refuse || f.kind == expire || f.kind == reset && f.verb == "" && f.resource == ""
}

// statusText is the body of an Answer in the form in which API servers give it.
func statusText(code int) []byte {
	reasons := map[int]string{
		http.StatusTooManyRequests: "TooManyRequests", http.StatusInternalServerError: "InternalError",
		http.StatusServiceUnavailable: "ServiceUnavailable", http.StatusForbidden: "Forbidden",
		http.StatusUnauthorized: "Unauthorized", http.StatusGatewayTimeout: "Timeout",
	}
	return object(map[string]any{
		"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reasons[code],
		"message": "the fault proxy answers this instead of the API server",
	})
}
