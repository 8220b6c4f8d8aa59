package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// explain is what people read of an error, line by line: what could not be done, why, and what to do. The process ends
// after it.
func (s *session) explain(ctx context.Context, command *cobra.Command, err error) []string {
	if ctx.Err() != nil {
		return []string{"Interrupted."}
	}
	if typed, wrong := wrongUsage(err); wrong {
		if command.Name() == "help" {
			command = command.Root()
		}
		return append(errorLines(typed), fmt.Sprintf("See \"%s --help\".", command.CommandPath()))
	}
	text, do := s.clusterError(err)
	switch {
	case text == "":
		return errorLines(err.Error())
	case do == "":
		return errorLines(text)
	}
	return append(errorLines(text), do)
}

// errorLines are those of an error's text. The first begins with "error:", all others are indented, so that nothing in
// an error can look as if it were something else.
func errorLines(text string) []string {
	var lines []string
	for line := range strings.SplitSeq("error: "+strings.TrimRight(text, "\n"), "\n") {
		if len(lines) > 0 {
			line = "  " + strings.TrimPrefix(line, "  ")
		}
		if !slices.Contains(lines, line) { // of many requests, several may have the same error
			lines = append(lines, line)
		}
	}
	return lines
}

// wrongUsage recognizes what was typed wrong. What cobra finds has no type.
func wrongUsage(err error) (text string, wrong bool) {
	text = err.Error()
	wrong = errors.As(err, new(usageError)) || strings.HasPrefix(text, "unknown command ")
	if what, others, found := strings.Cut(text, "\n\nDid you mean this?\n\t"); found {
		text = what + ", did you mean " + strings.Join(strings.Fields(others), " or ") + "?"
	}
	return text, wrong
}

// clusterError says what kept us from looking at the cluster, and what to do; "" if it was something else.
func (s *session) clusterError(err error) (text, do string) {
	var (
		request   *url.Error
		noContext *noContextError
	)
	switch {
	case errors.Is(err, errNoCluster):
		return err.Error(), "To look at files instead, some commands have --from or -f."
	case errors.As(err, &noContext):
		if len(noContext.others) == 0 {
			return noContext.Error(), "It has none at all. --kubeconfig names another file."
		}
		return noContext.Error(), "There are: " + strings.Join(noContext.others, ", ")
	case apierrors.IsUnauthorized(err):
		return "the API server" + s.which() + " does not know you: " + err.Error(),
			"Log in again, or choose another --context."
	case apierrors.IsForbidden(err):
		return forbiddenText(err)
	case errors.As(err, &request):
		cause, do := unreachable(request)
		return "the API server " + server(request.URL) + s.which() + " cannot be asked: " + cause, do
	}
	return "", ""
}

// forbiddenText is one sentence of the API server's, the one about what was asked for by name if there is one, and the
// rights of which the lack is in an error, which may be several in one.
func forbiddenText(err error) (text, rights string) {
	refusals := statuses(err)
	if len(refusals) == 0 {
		return err.Error(), ""
	}
	said := refusals[0].Status().Message
	before, _, within := strings.Cut(err.Error(), ": "+said)
	var missing []string
	for _, refusal := range slices.Backward(refusals) {
		d := refusal.Status().Details
		if d == nil {
			continue
		}
		verb := "list "
		if d.Name != "" {
			verb, said = "get ", refusal.Status().Message
		}
		missing = append(missing, verb+schema.GroupResource{Group: d.Group, Resource: d.Kind}.String())
	}
	slices.Sort(missing)
	if within {
		said = before + ": " + said
	}
	return said, rightsText(slices.Compact(missing))
}

// statuses are the API server's answers in an error.
func statuses(err error) []apierrors.APIStatus {
	if several, ok := err.(interface{ Unwrap() []error }); ok {
		var all []apierrors.APIStatus
		for _, one := range several.Unwrap() {
			all = append(all, statuses(one)...)
		}
		return all
	}
	if status, ok := err.(apierrors.APIStatus); ok { //nolint:errorlint // what is within is looked at next
		return []apierrors.APIStatus{status}
	}
	if within := errors.Unwrap(err); within != nil {
		return statuses(within)
	}
	return nil
}

// unreachable says why a request had no answer, in the words that are left without addresses and layers.
func unreachable(request *url.Error) (cause, do string) {
	var (
		opened *net.OpError
		name   *net.DNSError
	)
	switch {
	case isCertificate(request):
		return request.Err.Error(), "Was the cluster made again? Its kubeconfig is then another one, too."
	case request.Timeout():
		return "no answer in time", "Is it up, and can it be reached from here? --request-timeout says how long to wait."
	case errors.As(request, &name):
		return "no host is called " + name.Name, "Is this the cluster you mean? --context chooses another one."
	case errors.As(request, &opened):
		cause := opened.Err
		if call := new(os.SyscallError); errors.As(cause, &call) {
			cause = call.Err
		}
		return cause.Error(), "Is it up, and is this the cluster you mean? --context chooses another one."
	}
	return request.Err.Error(), ""
}

func isCertificate(err error) bool {
	return errors.As(err, new(*tls.CertificateVerificationError)) || errors.As(err, new(x509.UnknownAuthorityError)) ||
		errors.As(err, new(x509.HostnameError)) || errors.As(err, new(x509.CertificateInvalidError))
}

// server is the part of an address that says which server it is.
func server(address string) string {
	parsed, err := url.Parse(address)
	if err != nil {
		return address
	}
	return parsed.Scheme + "://" + parsed.Host
}

// which names the context in use, where there is one.
func (s *session) which() string {
	if name := s.cluster.contextName(); name != "" {
		return fmt.Sprintf(" (context %s)", name)
	}
	return ""
}
