package main

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"example.com/dragoman/pkg/telemetry"
)

func TestTheControllersCommandLine(t *testing.T) {
	for name, test := range map[string]struct {
		args []string
		env  map[string]string
		code int
		want string
	}{
		"it lists its own flags": {[]string{"--help"}, nil, exitOK, "--webhook NAME"},
		"it needs a namespace": {nil, nil, exitUsage,
			"--namespace is missing: say in which namespace the controller keeps its Lease (in a pod, $POD_NAMESPACE can"},
		"a namespace that is none":  {nil, map[string]string{"POD_NAMESPACE": "Team A"}, exitUsage, `"Team A" is not`},
		"a name that is none":       {[]string{"--namespace=a", "--name=1a"}, nil, exitUsage, `--name "1a" is not`},
		"nothing to do":             {[]string{"--namespace=a", "--binding=false"}, nil, exitUsage, "nothing to do"},
		"a flag of nobody":          {[]string{"--namespac=a"}, nil, exitUsage, "did you mean --namespace?"},
		"neither true nor false":    {[]string{"--binding=perhaps"}, nil, exitUsage, `invalid boolean value "perhaps"`},
		"a wrong setting of all":    {[]string{"--namespace=a", "--driver-name=A"}, nil, exitUsage, "driverName"},
		"more words than there are": {[]string{"--namespace=a", "now"}, nil, exitUsage, `unexpected argument "now"`},
	} {
		t.Run(name, func(t *testing.T) {
			code, stdout, stderr := invoke(t, test.env, append([]string{"controller"}, test.args...)...)
			if code != test.code || !strings.Contains(stdout+stderr, test.want) {
				t.Errorf("exit code %d: %s%s; expected %d with %s", code, stdout, stderr, test.code, test.want)
			}
		})
	}
}

func TestTheFabricOfABackend(t *testing.T) {
	for name, test := range map[string]struct {
		backend, profile string
		some             bool
		problem          string
	}{
		"made-up devices":              {"mock", "showcase", true, ""},
		"a profile that is not there":  {"mock", "nowhere", false, "--mock-profile"},
		"a backend with nothing to do": {"nvml", "", false, ""},
		"a backend that is not there":  {"tpu", "", false, `unknown backend "tpu"; there are: mock, nvml`},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := fabricOf(&driverConfig{Backend: test.backend, MockProfile: test.profile, DriverName: "gpu.example.com"})
			if (got != nil) != test.some || (err == nil) != (test.problem == "") ||
				err != nil && !strings.Contains(err.Error(), test.problem) {
				t.Errorf("%v, %v; expected a fabric: %v, a problem: %q", got, err, test.some, test.problem)
			}
		})
	}
}

// A controller with nothing to attach says so by being ready and leaving everything else alone.
func TestAControllerWithNothingToAttachIsReady(t *testing.T) {
	api := newAPIServer(t)
	config := &driverConfig{Backend: "nvml", NodeName: "node-a", Kubeconfig: api.kubeconfig(t),
		HTTPAddress: new("127.0.0.1:0")}
	config.SetDefaults()
	c := &controller{config: config, own: &controllerSettings{name: "c", namespace: "n", binding: true}}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	listening := make(chan *telemetry.Server, 1)
	c.listening = func(s *telemetry.Server) { listening <- s }
	go func() { ended <- c.run(ctx) }()
	var server *telemetry.Server
	select {
	case server = <-listening:
	case err := <-ended:
		t.Fatal(err)
	case <-time.After(30 * time.Second):
		t.Fatal("it does not listen")
	}
	for path, want := range map[string]string{
		"/readyz":  "[+] claims are seen, or another process leads\n[+] the API server trusts the webhook, if there is one\n",
		"/healthz": "[+] whoever attaches devices renews the lease\n",
	} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+server.Address()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if err != nil || response.StatusCode != http.StatusOK || string(body) != want {
			t.Errorf("%s: %s %s (%v), expected %s", path, response.Status, body, err, want)
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
