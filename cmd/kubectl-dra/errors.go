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
	"strings"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// explain is what people read of an error: what could not be done, why, and what to do. The process ends after it.
func (s *session) explain(ctx context.Context, command *cobra.Command, err error) string {
	if ctx.Err() != nil {
		return "Interrupted."
	}
	if typed, wrong := wrongUsage(err); wrong {
		return fmt.Sprintf("error: %s\nSee \"%s --help\".", typed, command.CommandPath())
	}
	text, do := s.clusterError(err)
	if text == "" {
		return "error: " + err.Error()
	}
	if do != "" {
		text += "\n" + do
	}
	return "error: " + text
}

// wrongUsage recognizes what was typed wrong. What cobra finds has no type.
func wrongUsage(err error) (text string, wrong bool) {
	text = err.Error()
	wrong = errors.As(err, new(usageError)) || strings.HasPrefix(text, "unknown command ") ||
		strings.HasPrefix(text, "required flag(s) ") || strings.Contains(text, " flags in the group ")
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
		return noContext.Error(), "There are: " + strings.Join(noContext.others, ", ")
	case apierrors.IsUnauthorized(err):
		return "the API server" + s.which() + " does not know you: " + err.Error(),
			"Log in again, or choose another --context."
	case errors.As(err, &request):
		cause, do := unreachable(request)
		return "the API server " + server(request.URL) + s.which() + " cannot be asked: " + cause, do
	}
	return "", ""
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
