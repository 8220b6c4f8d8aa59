package admission

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	resourceapi "k8s.io/api/resource/v1"
)

func TestTheHandlerAnswersQuestionsAlone(t *testing.T) {
	question := string(ask(t, aClaim(devices(one(), config(driver, wrong()[5]))), nil))
	fine := string(ask(t, aClaim(devices(one())), nil))
	for name, test := range map[string]struct {
		method, path, media, body string
		code                      int
		want, observed            string
	}{
		"a wrong configuration": {"POST", "/validate", "application/json", question, 200, `"allowed":false`, "refused"},
		"a right one": {"POST", "/validate?timeout=5s", "application/json; charset=utf-8", fine, 200, `"allowed":true`,
			"allowed"},
		"another method":     {"GET", "/validate", "", "", 405, "", ""},
		"another path":       {"POST", "/", "application/json", question, 404, "", ""},
		"another media type": {"POST", "/validate", "application/yaml", question, 415, "application/json", "broken"},
		"no media type":      {"POST", "/validate", "", question, 415, "application/json", "broken"},
		"no question":        {"POST", "/validate", "application/json", "{}", 400, "expected", "broken"},
		"a long question": {"POST", "/validate", "application/json", strings.Repeat(" ", maxQuestion) + fine, 413,
			"too large", "broken"},
	} {
		t.Run(name, func(t *testing.T) {
			observed := ""
			handler := Handler(reviewer(), func(allowed, broken bool) {
				observed = map[bool]string{true: "allowed", false: "refused"}[allowed]
				if broken {
					observed = "broken"
				}
			})
			request := httptest.NewRequestWithContext(t.Context(), test.method, test.path, strings.NewReader(test.body))
			request.Header.Set("Content-Type", test.media)
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, request)
			if w.Code != test.code || !strings.Contains(w.Body.String(), test.want) || observed != test.observed {
				t.Errorf("%d %s, observed %q; expected %d with %s, %q",
					w.Code, w.Body, observed, test.code, test.want, test.observed)
			}
		})
	}
}

func TestTheServerServesTheCertificateOfTheMoment(t *testing.T) {
	first, err := issue(names{IPs: []net.IP{net.IPv4(127, 0, 0, 1)}}, nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	second, err := issue(names{IPs: []net.IP{net.IPv4(127, 0, 0, 1)}}, first.authorities, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	now := make(chan *tls.Certificate, 2)
	now <- &first.certificate
	now <- &second.certificate
	server, err := Listen(t.Context(), "127.0.0.1:0", Handler(reviewer(), func(bool, bool) {}),
		func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return <-now, nil })
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(second.authorities) // both
	for _, want := range []*credentials{first, second} {
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
		question := ask(t, aClaim(resourceapi.DeviceClaim{}), nil)
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+server.Address()+"/validate",
			bytes.NewReader(question))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/json")
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(response.Body)
		if err != nil || !bytes.Contains(answer, []byte(`"allowed":true`)) {
			t.Errorf("%s, %v", answer, err)
		}
		if !response.TLS.PeerCertificates[0].Equal(want.certificate.Leaf) {
			t.Error("it serves another certificate")
		}
		_ = response.Body.Close()
		client.CloseIdleConnections()
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestAnAddressThatIsTakenIsAnError(t *testing.T) {
	first, err := Listen(t.Context(), "127.0.0.1:0", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(t.Context(), first.Address(), nil, nil); err == nil {
		t.Error("no error")
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}
}
