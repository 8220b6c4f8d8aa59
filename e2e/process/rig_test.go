package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/yaml"

	"example.com/dragoman/pkg/sanity/kubelet"
)

// patience bounds every wait for something that normally takes a second or less, on a machine that is busy with other
// things. No test says anything about speed.
const patience = time.Minute

// rig is one made-up node: its object in the API server, its directories, and the kubelet on it.
type rig struct {
	t      *testing.T
	server *server
	node   *corev1.Node
	dir    string // short, because paths of sockets are
	http   string // host:port of the driver's metrics and probes
	// kubeconfig of the driver; a test may put a proxy before the API server.
	kubeconfig string
	kubelet    *kubelet.Kubelet
	binary     string   // of the driver
	env        []string // which the driver has beside that of the tests
	wrapper    []string // a command that becomes the driver, if it is given the driver's command line
}

func newRig(t *testing.T) *rig {
	t.Helper()
	return newRigOn(t, shared)
}

// newRigOn makes a node on an API server of the test's own.
func newRigOn(t *testing.T, on *server) *rig {
	t.Helper()
	node, err := on.client.CoreV1().Nodes().Create(t.Context(), &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "process-"},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("make a node: %v", err)
	}
	dir, err := os.MkdirTemp("", "d") //nolint:usetesting // t.TempDir is too long for the path of a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	r := &rig{t: t, server: on, node: node, dir: dir, http: freeAddress(t), kubeconfig: on.Kubeconfig, binary: binary}
	for _, d := range []string{r.registry(), r.path("kubelet", "plugins")} {
		if err := os.MkdirAll(d, 0o750); err != nil {
			t.Fatal(err)
		}
	}
	r.watch()
	return r
}

func (r *rig) path(parts ...string) string {
	return filepath.Join(append([]string{r.dir}, parts...)...)
}
func (r *rig) registry() string { return r.path("kubelet", "plugins_registry") }
func (r *rig) cdi() string      { return r.path("cdi") }

// record is where the driver keeps what it knows of a claim.
func (r *rig) record(uid types.UID) string {
	return r.path("state", driverName, "claims", string(uid)+".json")
}

// watch starts a new kubelet that knows nothing, as after a restart.
func (r *rig) watch() {
	r.t.Helper()
	if r.kubelet != nil {
		if err := r.kubelet.Close(); err != nil {
			r.t.Error(err)
		}
	}
	var err error
	if r.kubelet, err = kubelet.Watch(r.registry()); err != nil {
		r.t.Fatal(err)
	}
	current := r.kubelet
	r.t.Cleanup(func() { _ = current.Close() })
}

// config is what the driver's configuration file says, for a test to change.
func (r *rig) config() map[string]any {
	return map[string]any{
		"apiVersion": "dragoman.example.com/v1alpha1", "kind": "DriverConfig",
		"nodeName": r.node.Name, "driverName": driverName, "kubeconfig": r.kubeconfig,
		"kubeletDir": r.path("kubelet"), "cdiDir": r.cdi(), "stateDir": r.path("state"),
		"backend": "mock", "mockProfile": "example", "httpAddress": r.http,
		"logging": map[string]any{"format": "text", "verbosity": 4},
	}
}

func (r *rig) write(name string, content []byte) (path string) {
	r.t.Helper()
	path = r.path(name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		r.t.Fatal(err)
	}
	return path
}

func (r *rig) writeYAML(name string, object any) (path string) {
	r.t.Helper()
	text, err := yaml.Marshal(object)
	if err != nil {
		r.t.Fatal(err)
	}
	return r.write(name, text)
}

// start starts the driver with the rig's configuration, changed by set ("key", value, …), and returns at once.
func (r *rig) start(set ...any) *driver {
	r.t.Helper()
	config := r.config()
	for i := 0; i < len(set); i += 2 {
		config[set[i].(string)] = set[i+1]
	}
	return r.run("--config", r.writeYAML("config.yaml", config))
}

// startReady starts the driver and waits until the kubelet has registered it and the API server has its slices.
func (r *rig) startReady(set ...any) *driver {
	r.t.Helper()
	d := r.start(set...)
	d.waitReady()
	return d
}

// run starts the binary with any arguments.
func (r *rig) run(args ...string) *driver {
	r.t.Helper()
	d := &driver{rig: r, exited: make(chan struct{})}
	words := slices.Concat(r.wrapper, []string{r.binary}, args)
	d.command = exec.Command(words[0], words[1:]...)
	d.command.Env = append(os.Environ(), r.env...)
	d.command.Stdout, d.command.Stderr = &d.output, &d.output
	if err := d.command.Start(); err != nil {
		r.t.Fatalf("start %s: %v", r.binary, err)
	}
	go func() {
		d.err = d.command.Wait()
		close(d.exited)
	}()
	r.t.Cleanup(func() {
		d.kill()
		if strings.Contains(d.output.String(), "DATA RACE") {
			r.t.Error("the race detector found something")
		}
		if r.t.Failed() {
			r.t.Logf("what the driver said (%s):\n%s", strings.Join(args, " "), d.output.String())
		}
	})
	return d
}

// driver is one process of the binary.
type driver struct {
	*rig
	command *exec.Cmd
	output  syncBuffer
	exited  chan struct{}
	err     error // of Wait; valid once exited is closed
	plugin  *kubelet.Plugin
}

func (d *driver) waitReady() {
	d.t.Helper()
	d.waitRegistered()
	d.until("the driver is ready", func(ctx context.Context) error { return probe(ctx, d.http, "/readyz") })
	d.waitRegistered() // at first it may have been the process before, whose end the kubelet had not seen yet
}

// waitRegistered waits until the kubelet can call the driver, whether it is ready or not.
func (d *driver) waitRegistered() {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), patience)
	defer cancel()
	go func() { // a driver that ends is not waited for
		select {
		case <-d.exited:
			cancel()
		case <-ctx.Done():
		}
	}()
	var err error
	if d.plugin, err = d.kubelet.Registered(ctx, driverName); err != nil {
		d.t.Fatal(err)
	}
}

// kill ends the process the hard way, as the kernel does when memory runs out.
func (d *driver) kill() {
	_ = d.command.Process.Signal(syscall.SIGKILL) // it may have ended by itself
	<-d.exited
}

// stop asks the process to end, as the kubelet asks a container, and returns its exit code.
func (d *driver) stop() int {
	d.t.Helper()
	if err := d.command.Process.Signal(syscall.SIGTERM); err != nil {
		d.t.Errorf("the driver had ended before it was asked to: %v", d.err)
	}
	return d.wait()
}

// signal sends a signal that the process survives.
func (d *driver) signal(s syscall.Signal) {
	d.t.Helper()
	if err := d.command.Process.Signal(s); err != nil {
		d.t.Fatalf("send %v to the driver: %v", s, err)
	}
}

// pause stops the process and returns when it has stopped; SIGCONT ends that.
func (d *driver) pause() {
	d.t.Helper()
	d.signal(syscall.SIGSTOP)
	d.until("the process has stopped", func(context.Context) error {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", d.command.Process.Pid))
		if err != nil {
			return err
		}
		if _, rest, _ := strings.Cut(string(stat), ") "); !strings.HasPrefix(rest, "T") {
			return fmt.Errorf("its state is %.1s", rest)
		}
		return nil
	})
}

// wait returns the exit code of a process that ends by itself.
func (d *driver) wait() int {
	d.t.Helper()
	select {
	case <-d.exited:
	case <-time.After(patience):
		d.t.Fatalf("the driver still runs after %v", patience)
	}
	return d.command.ProcessState.ExitCode()
}

// restartKilled is kill -9 and a new process; the kubelet finds the sockets of the old one in the registry.
func (d *driver) restartKilled(set ...any) *driver {
	d.t.Helper()
	d.kill()
	d.watch()
	return d.startReady(set...)
}

// until polls check until it returns nil; when patience ends, its last error is the test's failure.
func (r *rig) until(what string, check func(context.Context) error) {
	r.t.Helper()
	r.within(patience, what, check)
}

// within is until for what takes longer than others by design.
func (r *rig) within(bound time.Duration, what string, check func(context.Context) error) {
	r.t.Helper()
	var last error
	err := wait.PollUntilContextTimeout(r.t.Context(), 50*time.Millisecond, bound, true,
		func(ctx context.Context) (bool, error) {
			err := check(ctx)
			if ctx.Err() == nil || last == nil {
				last = err // what is wrong says more than that time is over
			}
			return err == nil, nil
		})
	if err != nil {
		r.t.Fatalf("%s: not after %v: %v", what, bound, errors.Join(last, err))
	}
}

// published waits until the API server holds a complete pool of so many devices and returns its slices by name.
func (r *rig) published(devices int) []resourceapi.ResourceSlice {
	r.t.Helper()
	var list *resourceapi.ResourceSliceList
	r.until(fmt.Sprintf("%d devices are published", devices), func(ctx context.Context) (err error) {
		if list, err = r.server.client.ResourceV1().ResourceSlices().List(ctx, slicesOf(r.node.Name)); err != nil {
			return err
		}
		return complete(list.Items, devices)
	})
	slices.SortFunc(list.Items, func(a, b resourceapi.ResourceSlice) int { return strings.Compare(a.Name, b.Name) })
	return list.Items
}

// complete says what a scheduler would miss in the pool.
func complete(pool []resourceapi.ResourceSlice, devices int) error {
	names := map[string]bool{}
	for _, slice := range pool {
		is, first := slice.Spec.Pool, pool[0].Spec.Pool
		if is.ResourceSliceCount != int64(len(pool)) || is.Generation != first.Generation {
			return fmt.Errorf("slice %s is of generation %d with %d slices; there are %d, and generation %d too",
				slice.Name, is.Generation, is.ResourceSliceCount, len(pool), first.Generation)
		}
		for _, device := range slice.Spec.Devices {
			names[device.Name] = true
		}
	}
	if len(names) != devices {
		return fmt.Errorf("%d slices with %d devices, expected %d devices", len(pool), len(names), devices)
	}
	return nil
}

// versions tells of each slice whether it was written since: its name, UID and resource version.
func versions(pool []resourceapi.ResourceSlice) map[string]string {
	versions := map[string]string{}
	for _, slice := range pool {
		versions[slice.Name] = string(slice.UID) + "@" + slice.ResourceVersion
	}
	return versions
}

func probe(ctx context.Context, address, path string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+path, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close() //nolint:errcheck // it is only read
	var body bytes.Buffer
	if _, err := body.ReadFrom(response.Body); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s: %s", path, response.Status, body.String())
	}
	return nil
}

// addresses counts those that were given away.
var addresses atomic.Uint32

// freeAddress is one for the test alone: nobody else listens at 127.1.x.y, or connects from there, so that nobody takes
// the port between two processes, or before the first.
func freeAddress(t *testing.T) string {
	t.Helper()
	n := addresses.Add(1)
	listener, err := net.Listen("tcp", fmt.Sprintf("127.1.%d.%d:0", n>>8&0xff, n&0xff))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close() //nolint:errcheck // nobody has called
	return listener.Addr().String()
}

// syncBuffer is a buffer that a process writes while a test reads.
type syncBuffer struct {
	mutex sync.Mutex
	text  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.text.Write(p)
}

func (b *syncBuffer) String() string {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.text.String()
}
