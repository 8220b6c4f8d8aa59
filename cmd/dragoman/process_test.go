package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	drapbv1 "k8s.io/kubelet/pkg/apis/dra/v1"
	drapbv1beta1 "k8s.io/kubelet/pkg/apis/dra/v1beta1"
)

// asDragoman makes the test binary behave as dragoman, so that real processes with real signals can be tested.
const asDragoman = "TEST_RUNS_AS_DRAGOMAN"

func TestMain(m *testing.M) {
	if os.Getenv(asDragoman) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// runningProcess is a running dragoman.
type runningProcess struct {
	t       *testing.T
	command *exec.Cmd
	dir     string

	mu    sync.Mutex
	lines []string
	ended chan struct{}
}

// start runs dragoman with its directories below dir and the given further arguments.
func start(t *testing.T, dir string, env []string, args ...string) *runningProcess {
	t.Helper()
	return startWith(t, "", dir, env, args...)
}

// startWith also has more lines in the configuration file.
func startWith(t *testing.T, more, dir string, env []string, args ...string) *runningProcess {
	t.Helper()
	config := filepath.Join(t.TempDir(), "config.yaml")
	text := header + "httpAddress: 127.0.0.1:0\nlogging: {format: json}\n" + more
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	all := append([]string{"--config", config, "--node-name", "node-a", "--kubelet-dir", dir + "/kubelet",
		"--cdi-dir", dir + "/cdi", "--state-dir", dir + "/state", "-v", "4"}, args...)
	p := &runningProcess{t: t, command: exec.Command(os.Args[0], all...), dir: dir, ended: make(chan struct{})}
	p.command.Env = append([]string{asDragoman + "=1", "PATH=" + os.Getenv("PATH")}, env...)
	stderr, err := p.command.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		for scanner := bufio.NewScanner(stderr); scanner.Scan(); {
			p.mu.Lock()
			p.lines = append(p.lines, scanner.Text())
			p.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		_ = p.command.Process.Kill()
		<-p.ended
		_ = p.command.Wait()
		if t.Failed() {
			t.Logf("output of dragoman %s:\n%s", strings.Join(all, " "), p.output())
		}
	})
	return p
}

func (p *runningProcess) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.lines, "\n")
}

// find waits for output that matches and returns its first group.
func (p *runningProcess) find(pattern string) (found string) {
	p.t.Helper()
	re := regexp.MustCompile(pattern)
	eventually(p.t, "output like "+pattern, func() bool {
		if match := re.FindStringSubmatch(p.output()); match != nil {
			found = match[len(match)-1]
			return true
		}
		return false
	})
	return found
}

// logs waits until text is as often in the log as wanted, since what a test sees elsewhere may come first, and
// complains about more.
func (p *runningProcess) logs(text string, want int) {
	p.t.Helper()
	eventually(p.t, "in the log: "+text, func() bool { return strings.Count(p.output(), text) >= want })
	if n := strings.Count(p.output(), text); n != want {
		p.t.Errorf("%d times in the log, want %d: %s", n, want, text)
	}
}

// wait returns the exit code.
func (p *runningProcess) wait() int {
	p.t.Helper()
	<-p.ended
	var exit *exec.ExitError
	if err := p.command.Wait(); err != nil && !errors.As(err, &exit) {
		p.t.Fatal(err)
	}
	return p.command.ProcessState.ExitCode()
}

func (p *runningProcess) signal(s os.Signal) {
	p.t.Helper()
	if err := p.command.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

func (p *runningProcess) registrar() string {
	return p.dir + "/kubelet/plugins_registry/gpu.example.com-reg.sock"
}

// http gets a page of the process.
func (p *runningProcess) http(path string) (code int, text string) {
	p.t.Helper()
	address := p.find(`"Metrics and health checks",.*"address":"([^"]+)"`)
	response, err := http.Get("http://" + address + path)
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

// shortDir is a directory whose path leaves room for a socket in it.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "d") //nolint:usetesting // t.TempDir holds the name of the test
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func TestTheWholeWay(t *testing.T) {
	for _, service := range []string{drapbv1.DRAPluginService, drapbv1beta1.DRAPluginService} {
		t.Run(service, func(t *testing.T) {
			api := newAPIServer(t)
			api.allocate("train", "gpu-3", "gpu-0")
			p := start(t, shortDir(t), nil, "--kubeconfig", api.kubeconfig(t))
			k := register(t, p).Over(service)
			eventually(t, "ready", func() bool { code, _ := p.http("/readyz"); return code == http.StatusOK })
			if got := strings.Join(api.published(), " "); got != "gpu-0 gpu-1 gpu-2 gpu-3 gpu-4 gpu-5 gpu-6 gpu-7" {
				t.Errorf("published %s", got)
			}
			got, err := k.PrepareOne(limit(t), claimed("train"))
			if err != nil || len(got.Devices) != 2 || got.Devices[0].Device != "gpu-3" ||
				got.Devices[0].Requests[0] != "request-0" || got.Devices[0].Pool != "node-a" {
				t.Fatalf("prepare: %v, %v", got, err)
			}
			file := p.dir + "/cdi/k8s.gpu.example.com-gpu_uid-of-train.json"
			spec, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			id := got.IDs()[0]
			kind, device, _ := strings.Cut(id, "=")
			if !strings.Contains(string(spec), `"`+kind+`"`) || !strings.Contains(string(spec), `"`+device+`"`) {
				t.Errorf("%s is not in the CDI file:\n%s", id, spec)
			}
			if code, text := p.http("/healthz"); code != http.StatusOK {
				t.Errorf("/healthz: %d\n%s", code, text)
			}
			_, metrics := p.http("/metrics")
			for _, want := range []string{
				`dragoman_prepare_duration_seconds_count{result="ok"} 1`, "dragoman_prepared_claims 1",
				`dragoman_devices{state="healthy"} 8`, `dragoman_slice_writes_total{verb="create"} 1`,
				`dragoman_prepare_phase_duration_seconds_count{phase="get"} 1`,
				`dragoman_prepare_phase_duration_seconds_count{phase="cdi"} 1`, "dragoman_quarantined_records 0",
			} {
				if !strings.Contains(metrics, want+"\n") {
					t.Errorf("no %s in the metrics", want)
				}
			}
			if err := k.UnprepareOne(limit(t), claimed("train")); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the CDI file is left: %v", err)
			}
			p.signal(syscall.SIGTERM)
			if code := p.wait(); code != exitOK {
				t.Errorf("exit code %d", code)
			}
			if _, err := os.Stat(p.registrar()); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the socket is left: %v", err)
			}
		})
	}
}

// hold makes the API server wait with the answer to GETs of claims, and returns how to know that one came and how to
// let them go on.
func hold(api *apiServer) (came <-chan struct{}, release func()) {
	arrived, released := make(chan struct{}, 100), make(chan struct{})
	api.setTrouble(func(r *http.Request) *apierrors.StatusError {
		if strings.Contains(r.URL.Path, "resourceclaims") {
			arrived <- struct{}{}
			<-released
		}
		return nil
	})
	return arrived, sync.OnceFunc(func() { close(released) })
}

func TestSIGTERMLetsACallFinish(t *testing.T) {
	api := newAPIServer(t)
	api.allocate("train", "gpu-0")
	p := start(t, shortDir(t), nil, "--kubeconfig", api.kubeconfig(t))
	k := register(t, p)
	came, release := hold(api)
	defer release()
	answers := make(chan string, 1)
	go func() {
		a, err := k.PrepareOne(limit(t), claimed("train"))
		answers <- fmt.Sprintf("%d devices, %v", len(a.Devices), err)
	}()
	<-came
	p.signal(syscall.SIGTERM)
	p.find(`"msg":"Stopping.*"inProgress":1`)
	release()
	if got := <-answers; got != "1 devices, <nil>" {
		t.Errorf("the call got %s", got)
	}
	if code := p.wait(); code != exitOK {
		t.Errorf("exit code %d", code)
	}
	for line := range strings.Lines(p.output()) {
		if !json.Valid([]byte(line)) {
			t.Errorf("a line of the log is no JSON: %s", line)
		}
	}
	for _, want := range []string{
		`"config":{"kind":"DriverConfig",`, `"msg":"Prepared claim","requestID":`, `"msg":"Stopped"`,
	} {
		if n := strings.Count(p.output(), want); n != 1 {
			t.Errorf("%d times %s in the log, want once", n, want)
		}
	}
}

func TestASecondSIGTERMEndsTheProcessAtOnce(t *testing.T) {
	api := newAPIServer(t)
	api.allocate("train", "gpu-0")
	p := start(t, shortDir(t), nil, "--kubeconfig", api.kubeconfig(t))
	k := register(t, p)
	came, release := hold(api)
	defer release()
	go func() {
		_, _ = k.PrepareOne(limit(t), claimed("train"))
	}()
	<-came
	p.signal(syscall.SIGTERM)
	eventually(t, "the process ends", func() bool {
		_ = p.command.Process.Signal(syscall.SIGTERM)
		select {
		case <-p.ended:
			return true
		default:
			return false
		}
	})
	p.wait()
	if status := p.command.ProcessState.Sys().(syscall.WaitStatus); status.Signal() != syscall.SIGTERM {
		t.Errorf("ended with %v", p.command.ProcessState)
	}
}

func TestASecondDriverOnTheSameSocketsIsRefused(t *testing.T) {
	api := newAPIServer(t)
	dir := shortDir(t)
	first := start(t, dir, nil, "--kubeconfig", api.kubeconfig(t))
	register(t, first)
	second := start(t, dir, nil, "--kubeconfig", api.kubeconfig(t))
	if code := second.wait(); code != exitError {
		t.Errorf("exit code %d", code)
	}
	lines := strings.Split(second.output(), "\n")
	var last struct{ Err string }
	want := "socket " + first.registrar() + ` is served by another process: driver "gpu.example.com" already runs`
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil || !strings.HasPrefix(last.Err, want) {
		t.Errorf("last line: %s (%v)\nwant %s", lines[len(lines)-1], err, want)
	}
	if code, text := first.http("/healthz"); code != http.StatusOK {
		t.Errorf("the first suffered: %s", text)
	}
}

func TestTheLastLineForPeopleSaysWhatIsWrong(t *testing.T) {
	dir := shortDir(t)
	c := exec.Command(os.Args[0], "--node-name", "node-a", "--kubeconfig", kubeconfigFor(t, "http://127.0.0.1:1"),
		"--state-dir", dir, "--cdi-dir", dir, "--backend", "tpu")
	c.Env = []string{asDragoman + "=1"}
	output, err := c.CombinedOutput()
	lines := strings.Split(strings.TrimSpace(string(output)), "\n")
	if c.ProcessState.ExitCode() != exitError || !strings.Contains(lines[0], "Starting dragoman") ||
		!strings.HasPrefix(lines[len(lines)-1], "dragoman: open the backend: unknown backend ") {
		t.Errorf("%v\n%s", err, output)
	}
}

func TestOutsideAPodAKubeconfigIsNeeded(t *testing.T) {
	c := exec.Command(os.Args[0], "--node-name", "node-a")
	c.Env = []string{asDragoman + "=1", "HOME=" + t.TempDir()}
	output, _ := c.CombinedOutput()
	want := "this does not run in a pod and there is no kubeconfig to use instead: name one with --kubeconfig"
	if c.ProcessState.ExitCode() != exitError || !strings.Contains(string(output), want) {
		t.Errorf("%s\nwant %s", output, want)
	}
}

func TestAProcessThatWasKilledIsReplacedWithoutATrace(t *testing.T) {
	api := newAPIServer(t)
	api.allocate("train", "gpu-0", "gpu-1")
	dir := shortDir(t)
	first := start(t, dir, nil, "--kubeconfig", api.kubeconfig(t))
	k := register(t, first)
	before, err := k.PrepareOne(limit(t), claimed("train"))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "ready", func() bool { code, _ := first.http("/readyz"); return code == http.StatusOK })
	first.signal(syscall.SIGKILL)
	first.wait()
	if err := os.RemoveAll(dir + "/cdi"); err != nil {
		t.Fatal(err)
	}

	second := start(t, dir, nil, "--kubeconfig", api.kubeconfig(t))
	second.find("Waiting for the kubelet")
	if _, err := os.Stat(dir + "/cdi/k8s.gpu.example.com-gpu_uid-of-train.json"); err != nil {
		t.Errorf("the CDI file was not made again: %v", err)
	}
	k = register(t, second)
	after, err := k.PrepareOne(limit(t), claimed("train"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("another answer than before (-before +after):\n%s", diff)
	}
	eventually(t, "ready", func() bool { code, _ := second.http("/readyz"); return code == http.StatusOK })
	api.mu.Lock()
	defer api.mu.Unlock()
	if got := strings.Join(api.writes, " "); got != "create" {
		t.Errorf("writes of slices: %s; a restart without change needs none", got)
	}
}

func TestTwoInstancesTakeTurns(t *testing.T) {
	api := newAPIServer(t)
	api.allocate("train", "gpu-0")
	api.allocate("other", "gpu-0")
	dir := shortDir(t)
	socket := func(p *runningProcess) string { return p.find(`"registrationSocket":"([^"]+)"`) }
	const one, two = "11111111-2222-3333-4444-555555555555", "66666666-7777-8888-9999-000000000000"
	first := start(t, dir, []string{"POD_UID=" + one}, "--kubeconfig", api.kubeconfig(t))
	k := watch(t, socket(first))
	old, err := k.Registered(limit(t), "gpu.example.com")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := old.PrepareOne(limit(t), claimed("train")); err != nil {
		t.Fatal(err)
	}
	start(t, dir, []string{"POD_UID=" + two}, "--kubeconfig", api.kubeconfig(t))
	both, err := k.RegisteredInstances(limit(t), "gpu.example.com", 2)
	if err != nil {
		t.Fatal(err)
	}
	young := both[1]
	_, err = young.PrepareOne(limit(t), claimed("other"))
	if err == nil || !strings.Contains(err.Error(), "team-a/train") {
		t.Errorf("the device that a claim got from the other instance: %v", err)
	}
	first.signal(syscall.SIGTERM)
	if code := first.wait(); code != exitOK {
		t.Errorf("exit code %d", code)
	}
	if err := young.UnprepareOne(limit(t), claimed("train")); err != nil {
		t.Fatal(err)
	}
	if _, err := young.PrepareOne(limit(t), claimed("other")); err != nil {
		t.Errorf("when it is free: %v", err)
	}
}

func TestTheKubeletIsServedWhileTheAPIServerIsAway(t *testing.T) {
	api := newAPIServer(t)
	api.setTrouble(func(*http.Request) *apierrors.StatusError { return apierrors.NewServiceUnavailable("starting") })
	p := start(t, shortDir(t), nil, "--kubeconfig", api.kubeconfig(t))
	k := register(t, p)
	if err := k.UnprepareOne(limit(t), claimed("gone")); err != nil {
		t.Error(err)
	}
	p.find(`"msg":"The API server cannot be asked about this node; nothing is published until it can"`)
	code, text := p.http("/readyz")
	want := `[-] slices acknowledged by the API server: the API server was not reached yet to ask about node "node-a": `
	if code != http.StatusServiceUnavailable || !strings.Contains(text, want) {
		t.Errorf("/readyz: %d\n%s\nwant %s", code, text, want)
	}
	if code, text := p.http("/healthz"); code != http.StatusOK {
		t.Errorf("/healthz: %d\n%s", code, text)
	}
	api.setTrouble(nil)
	eventually(t, "ready", func() bool { code, _ := p.http("/readyz"); return code == http.StatusOK })
}

func TestNothingListensAtTheAddressOfTheAPIServer(t *testing.T) {
	p := start(t, shortDir(t), nil, "--kubeconfig", kubeconfigFor(t, "http://127.0.0.1:1"))
	p.find(`"msg":"The API server cannot be asked about this node.*connection refused`)
	register(t, p)
	p.signal(syscall.SIGTERM)
	if code := p.wait(); code != exitOK {
		t.Errorf("exit code %d", code)
	}
}

func TestSlicesComeBackAfterTheKubeletDeletedThem(t *testing.T) {
	api := newAPIServer(t)
	p := start(t, shortDir(t), nil, "--kubeconfig", api.kubeconfig(t))
	register(t, p)
	eventually(t, "ready", func() bool { code, _ := p.http("/readyz"); return code == http.StatusOK })
	api.wipe()
	register(t, p)
	begin := time.Now()
	eventually(t, "slices are back", func() bool { return len(api.published()) == 8 })
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("took %s", took)
	}
}

func TestProfilesAreServedWhereAskedForAndNowhereElse(t *testing.T) {
	api := newAPIServer(t)
	p := start(t, shortDir(t), nil, "--kubeconfig", api.kubeconfig(t), "--profiling-address", "127.0.0.1:0")
	address := p.find(`"Profiles of this process",.*"address":"([^"]+)"`)
	response, err := http.Get("http://" + address + "/debug/pprof/goroutine?debug=1")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil || !strings.HasPrefix(string(text), "goroutine profile: ") {
		t.Errorf("%v: %s", err, text)
	}
	if code, text := p.http("/debug/pprof/"); code != http.StatusNotFound {
		t.Errorf("beside the metrics: %d\n%s", code, text)
	}

	quiet := start(t, shortDir(t), nil, "--kubeconfig", api.kubeconfig(t), "--driver-name", "other.example.com")
	quiet.find(`"Waiting for the kubelet to register the driver"`)
	if strings.Contains(quiet.output(), "Profiles of this process") {
		t.Errorf("profiles are served though nobody asked for them:\n%s", quiet.output())
	}
}

func TestABadConfigurationIsToldToThePod(t *testing.T) {
	api := newAPIServer(t)
	c := api.allocate("train", "gpu-0")
	config := resourceapi.DeviceConfiguration{Opaque: &resourceapi.OpaqueDeviceConfiguration{Driver: "gpu.example.com",
		Parameters: runtime.RawExtension{Raw: []byte(
			`{"apiVersion":"gpu.resource.example.com/v1alpha1","kind":"GpuConfig",` +
				`"sharing":{"strategy":"TimeSlice"}}`)}}}
	c.Spec.Devices.Config = []resourceapi.DeviceClaimConfiguration{{DeviceConfiguration: config}}
	c.Status.Allocation.Devices.Config = []resourceapi.DeviceAllocationConfiguration{
		{Source: resourceapi.AllocationConfigSourceClaim, DeviceConfiguration: config}}
	p := start(t, shortDir(t), nil, "--kubeconfig", api.kubeconfig(t))
	k := register(t, p)
	_, err := k.PrepareOne(limit(t), claimed("train"))
	if err == nil {
		t.Fatal("it is prepared")
	}
	for _, want := range []string{
		"spec.devices.config[0].opaque.parameters.sharing.strategy", `"TimeSlice"`, `"TimeSlicing"`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v\nwant %s", err, want)
		}
	}
}
