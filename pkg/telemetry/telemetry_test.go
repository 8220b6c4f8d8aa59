package telemetry_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/dragoman/pkg/telemetry"
)

func read(t *testing.T, h http.Handler, method, path string) (code int, body string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, path, nil))
	return w.Code, w.Body.String()
}

// figures returns the lines of /metrics that are ours.
func figures(t *testing.T, m telemetry.Figures) map[string]string {
	t.Helper()
	_, body := read(t, m.Handler(), http.MethodGet, "/metrics")
	all := make(map[string]string)
	for line := range strings.Lines(body) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok && strings.HasPrefix(name, "dragoman_") {
			all[name] = value
		}
	}
	return all
}

func newMetrics() *telemetry.Metrics {
	return telemetry.NewMetrics(telemetry.Build{Version: "v1.2.3", Revision: "abc", GoVersion: "go1.26"})
}

func TestFigures(t *testing.T) {
	m := newMetrics()
	m.Prepared(300*time.Microsecond, nil)
	m.Prepared(time.Second, errors.New("held"))
	m.Unprepared(200*time.Microsecond, nil)
	m.Phase("get", time.Millisecond)
	m.Phase("claim team-a/train", time.Millisecond)
	m.InFlight(1)
	m.InFlight(1)
	m.InFlight(-1)
	m.Devices(telemetry.DeviceCounts{Healthy: 7, Unhealthy: 1})
	m.SliceWrites("update", 2)
	m.SliceWrites("patch", 1)
	m.PublishError("invalid")
	m.PublishError("a new kind")
	m.DroppedFields([]string{"DRADeviceTaints", "DRAConsumableCapacity"})
	m.DroppedFields([]string{"DRADeviceTaints"})
	m.Published(time.Unix(1700000000, 500e6))
	var err error
	m.CountRecords(func() (int, int, error) { return 3, 2, err })
	m.Reconciled("marker_made")
	m.Reconciled("something new")
	m.Unsettled("gone", 4)
	m.Unsettled("half_prepared", 5)
	m.Unsettled("half_prepared", 1)

	got := figures(t, m)
	for name, want := range map[string]string{
		`dragoman_prepare_duration_seconds_bucket{result="ok",le="0.00025"}`:   "0",
		`dragoman_prepare_duration_seconds_bucket{result="ok",le="0.0005"}`:    "1",
		`dragoman_prepare_duration_seconds_count{result="error"}`:              "1",
		`dragoman_unprepare_duration_seconds_bucket{result="ok",le="0.00025"}`: "1",
		`dragoman_unprepare_duration_seconds_count{result="error"}`:            "0",
		`dragoman_prepare_phase_duration_seconds_count{phase="get"}`:           "1",
		`dragoman_prepare_phase_duration_seconds_count{phase="cdi"}`:           "0",
		`dragoman_prepare_phase_duration_seconds_count{phase="other"}`:         "1",
		`dragoman_calls_in_flight`:                                             "1",
		`dragoman_devices{state="healthy"}`:                                    "7",
		`dragoman_devices{state="unhealthy"}`:                                  "1",
		`dragoman_slice_writes_total{verb="create"}`:                           "0",
		`dragoman_slice_writes_total{verb="update"}`:                           "2",
		`dragoman_slice_writes_total{verb="other"}`:                            "1",
		`dragoman_publish_errors_total{kind="invalid"}`:                        "1",
		`dragoman_publish_errors_total{kind="other"}`:                          "1",
		`dragoman_dropped_fields{feature="DRADeviceTaints"}`:                   "1",
		`dragoman_dropped_fields{feature="DRAConsumableCapacity"}`:             "",
		`dragoman_last_publish_timestamp_seconds`:                              "1.7000000005e+09",
		`dragoman_prepared_claims`:                                             "3",
		`dragoman_quarantined_records`:                                         "2",
		`dragoman_reconciled_total{action="marker_made"}`:                      "1",
		`dragoman_reconciled_total{action="cdi_file_made"}`:                    "0",
		`dragoman_reconciled_total{action="other"}`:                            "1",
		`dragoman_unsettled_claims{reason="gone"}`:                             "4",
		`dragoman_unsettled_claims{reason="half_prepared"}`:                    "1",
		`dragoman_unsettled_claims{reason="other_devices"}`:                    "0",
	} {
		if got[name] != want {
			t.Errorf("%s is %q, want %q", name, got[name], want)
		}
	}
	build := `dragoman_build_info{goversion="go1.26",revision="abc",version="v1.2.3"}`
	if got[build] != "1" {
		t.Errorf("no %s in %v", build, got)
	}

	err = errors.New("the directory is gone")
	if got, ok := figures(t, m)["dragoman_quarantined_records"]; ok {
		t.Errorf("a figure that is not known is given as %s", got)
	}
}

func TestFiguresOfAController(t *testing.T) {
	m := telemetry.NewControllerMetrics(telemetry.Build{Version: "v1.2.3", Revision: "abc", GoVersion: "go1.26"})
	m.Leading(false)
	m.Leading(true)
	m.Attached(2*time.Second, nil)
	m.Attached(time.Minute, errors.New("no cable"))
	m.Attaching(3)
	m.Attaching(-1)
	m.ConditionsWritten(nil)
	m.ConditionsWritten(errors.New("changed"))
	m.ConditionsWritten(errors.New("changed"))
	m.Reviewed(true, false)
	m.Reviewed(false, false)
	m.Reviewed(false, false)
	m.Reviewed(true, true)
	m.CertificateEnds(time.Unix(1700000000, 0))
	got := figures(t, m)
	for name, want := range map[string]string{
		`dragoman_leading`: "1",
		`dragoman_attach_duration_seconds_bucket{result="ok",le="1.28"}`:          "0",
		`dragoman_attach_duration_seconds_bucket{result="ok",le="2.56"}`:          "1",
		`dragoman_attach_duration_seconds_count{result="error"}`:                  "1",
		`dragoman_attaching_devices`:                                              "2",
		`dragoman_binding_condition_writes_total{result="ok"}`:                    "1",
		`dragoman_binding_condition_writes_total{result="error"}`:                 "2",
		`dragoman_admission_reviews_total{verdict="allowed"}`:                     "1",
		`dragoman_admission_reviews_total{verdict="refused"}`:                     "2",
		`dragoman_admission_reviews_total{verdict="broken"}`:                      "1",
		`dragoman_webhook_certificate_expiry_timestamp_seconds`:                   "1.7e+09",
		`dragoman_build_info{goversion="go1.26",revision="abc",version="v1.2.3"}`: "1",
	} {
		if got[name] != want {
			t.Errorf("%s is %q, want %q", name, got[name], want)
		}
	}
}

func TestEachFigureHasHelp(t *testing.T) {
	_, body := read(t, newMetrics().Handler(), http.MethodGet, "/metrics")
	_, controller := read(t, telemetry.NewControllerMetrics(telemetry.Build{}).Handler(), http.MethodGet, "/metrics")
	body += controller
	for _, standard := range []string{"go_goroutines", "process_open_fds"} {
		if !strings.Contains(body, "\n"+standard+" ") {
			t.Errorf("no %s", standard)
		}
	}
	for line := range strings.Lines(body) {
		if words := strings.Fields(line); len(words) > 2 && words[1] == "HELP" && len(words) < 5 {
			t.Errorf("too little help: %s", line)
		}
	}
}

func TestChecks(t *testing.T) {
	ok := telemetry.Check{Name: "registered with the kubelet", Test: func(context.Context) error { return nil }}
	bad := telemetry.Check{Name: "slices", Test: func(context.Context) error { return errors.New("being written") }}
	h := telemetry.Handler(newMetrics(), []telemetry.Check{ok}, []telemetry.Check{ok, bad})
	for _, tc := range []struct {
		method, path string
		code         int
		body         string
	}{
		{http.MethodGet, "/healthz", 200, "[+] registered with the kubelet\n"},
		{http.MethodHead, "/healthz", 200, "[+] registered with the kubelet\n"}, // the server leaves the body out
		{http.MethodGet, "/readyz", 503, "[+] registered with the kubelet\n[-] slices: being written\n"},
		{http.MethodPost, "/healthz", 405, "Method Not Allowed\n"},
		{http.MethodDelete, "/metrics", 405, "Method Not Allowed\n"},
		{http.MethodGet, "/debug", 404, "404 page not found\n"},
	} {
		if code, body := read(t, h, tc.method, tc.path); code != tc.code || body != tc.body {
			t.Errorf("%s %s: %d %q, want %d %q", tc.method, tc.path, code, body, tc.code, tc.body)
		}
	}
}

func TestAHangingCheckIsNamedInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hangs := telemetry.Check{Name: "sockets", Test: func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}}
		begin := time.Now()
		h := telemetry.Handler(newMetrics(), []telemetry.Check{hangs}, nil)
		code, body := read(t, h, http.MethodGet, "/healthz")
		if code != 503 || body != "[-] sockets: context deadline exceeded\n" || time.Since(begin) > 5*time.Second {
			t.Errorf("%d %q after %s", code, body, time.Since(begin))
		}
	})
}

func TestServer(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s, err := telemetry.Listen(ctx, "127.0.0.1:0", newMetrics(), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := telemetry.Listen(ctx, s.Address(), newMetrics(), nil, nil); err == nil ||
		!strings.Contains(err.Error(), s.Address()) || !strings.Contains(err.Error(), "in use") {
		t.Errorf("an address that is taken: %v", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	response, err := http.Get(fmt.Sprintf("http://%s/metrics", s.Address()))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	_ = response.Body.Close()
	if err != nil || !strings.Contains(string(body), "dragoman_build_info") {
		t.Errorf("%v %s", err, body)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := http.Get(fmt.Sprintf("http://%s/metrics", s.Address())); err == nil {
		t.Error("still answers")
	}
}

func TestProfiles(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s, err := telemetry.ListenForProfiles(ctx, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	for path, want := range map[string]int{
		"/debug/pprof/": 200, "/debug/pprof/heap": 200, "/debug/pprof/goroutine?debug=2": 200, "/debug/pprof/cmdline": 200,
		"/debug/pprof/profile?seconds=1": 200, "/debug/pprof/trace?seconds=0.1": 200, "/debug/pprof/symbol?0x1": 200,
		"/debug/pprof/nothing": 404, "/metrics": 404, "/": 404,
	} {
		response, err := http.Get("http://" + s.Address() + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("%s: %d, want %d", path, response.StatusCode, want)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestProfilesAreForThisMachineAlone(t *testing.T) {
	for _, address := range []string{"0.0.0.0:0", ":0", "[::]:0", "192.0.2.1:0", "localhost:0", "127.0.0.1", ""} {
		if s, err := telemetry.ListenForProfiles(t.Context(), address); err == nil {
			t.Errorf("%q was taken for an address of the loopback interface", address)
			_ = s.Close()
		}
	}
	// The package with the profiles puts them on http.DefaultServeMux; nobody must serve that.
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/profile", "/debug/vars"} {
		if code, _ := read(t, telemetry.Handler(newMetrics(), nil, nil), http.MethodGet, path); code != http.StatusNotFound {
			t.Errorf("%s answers %d beside the metrics", path, code)
		}
	}
}

func TestUnhealthyDevicesAreNamed(t *testing.T) {
	m := newMetrics()
	seen := time.Time{}
	m.SeeDevices(func() time.Time { return seen })
	var many []string
	for i := range 100 {
		many = append(many, fmt.Sprint("gpu-", i))
	}
	expect := func(when string, want int, has string) {
		t.Helper()
		n := 0
		got := figures(t, m)
		for name := range got {
			if strings.HasPrefix(name, "dragoman_device_unhealthy{") {
				n++
			}
		}
		if n != want || has != "" && got[`dragoman_device_unhealthy{device="`+has+`"}`] != "1" {
			t.Errorf("%s: %d are named, want %d with %q: %v", when, n, want, has, got)
		}
	}
	expect("before any was seen", 0, "")
	m.Devices(telemetry.DeviceCounts{Unhealthy: 2, Names: []string{"gpu-0", "gpu-1"}})
	expect("two", 2, "gpu-0")
	m.Devices(telemetry.DeviceCounts{Unhealthy: 1, Names: []string{"gpu-1"}})
	expect("one of them", 1, "gpu-1")
	m.Devices(telemetry.DeviceCounts{Unhealthy: len(many), Names: many})
	expect("many", 32, "gpu-31")
	m.Devices(telemetry.DeviceCounts{Healthy: 1})
	expect("none", 0, "")

	const name = "dragoman_devices_seen_timestamp_seconds"
	if got := figures(t, m)[name]; got != "0" {
		t.Errorf("%s is %q, want 0 as long as none was seen", name, got)
	}
	seen = time.Unix(1700000000, 0)
	if got := figures(t, m)[name]; got != "1.7e+09" {
		t.Errorf("%s is %q, want the time", name, got)
	}
}
