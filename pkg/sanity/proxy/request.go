package proxy

import (
	"encoding/json"
	"net/http"
	"strings"
)

// Request is a kind of request as RBAC names it. A request for no resource, like /version, has its path instead.
type Request struct {
	Verb, Resource string
	// DryRun is set for a write that is only tried: it changes nothing. To faults it is a write as any other.
	DryRun bool
}

// String is like "create resourceslices" or "create resourceslices (dry run)".
func (r Request) String() string {
	if r.DryRun {
		return r.Verb + " " + r.Resource + " (dry run)"
	}
	return r.Verb + " " + r.Resource
}

func requestOf(r *http.Request) Request {
	resource, named, ok := resourceOf(r.URL.Path)
	if !ok {
		return Request{Verb: strings.ToLower(r.Method), Resource: r.URL.Path}
	}
	verb := map[string]string{
		http.MethodPost: "create", http.MethodPut: "update", http.MethodPatch: "patch", http.MethodDelete: "delete",
		http.MethodGet: "get", http.MethodHead: "get",
	}[r.Method]
	query := r.URL.Query()
	watch := query.Get("watch")
	switch {
	case verb == "get" && (watch == "true" || watch == "1"):
		verb = "watch"
	case verb == "get" && !named:
		verb = "list"
	case verb == "delete" && !named:
		verb = "deletecollection"
	}
	return Request{Verb: verb, Resource: resource, DryRun: r.Method != http.MethodGet && query.Get("dryRun") != ""}
}

// resourceOf reads /api/VERSION/… and /apis/GROUP/VERSION/…, with or without namespaces/NAMESPACE.
func resourceOf(path string) (resource string, named, ok bool) {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	switch {
	case parts[0] == "api" && len(parts) > 2:
		parts = parts[2:]
	case parts[0] == "apis" && len(parts) > 3:
		parts = parts[3:]
	default:
		return "", false, false
	}
	if parts[0] == "namespaces" && len(parts) > 2 {
		parts = parts[2:]
	}
	resource = parts[0]
	if len(parts) > 2 {
		resource += "/" + parts[2]
	}
	return resource, len(parts) > 1, true
}

func object(fields map[string]any) []byte {
	text, err := json.Marshal(fields)
	if err != nil {
		return nil // not with strings and numbers
	}
	return text
}
