// Package kubelet is the part of a kubelet that a DRA driver talks to, for tests that run a driver without a node: it
// watches the plugin registry, registers what appears there and calls the driver with the kubelet's own deadlines.
//
// The room is larger than others because each service is spoken in two versions, which have types of their own.
package kubelet

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	registerapi "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

// How long the kubelet waits for the answers of a plugin (pkg/kubelet/pluginmanager/operationexecutor).
const (
	getInfoTimeout = time.Second
	notifyTimeout  = 5 * time.Second
	retryInterval  = 50 * time.Millisecond
)

// Options say how this kubelet behaves. The zero value is a kubelet of today with which all goes well.
type Options struct {
	// Services are those of a DRA driver that this kubelet knows; all by default. Before 1.34 it knew only v1beta1.
	Services []string
	// Abandon is how many answers to GetInfo it throws away before it uses one, as a kubelet that is restarted then.
	Abandon int
	// Refuse is how many registrations it refuses before it accepts one. The driver is told so, with an error.
	Refuse int
}

// Kubelet registers the plugins whose sockets are in one registry directory.
type Kubelet struct {
	options Options
	watcher *fsnotify.Watcher
	stop    context.CancelFunc
	running sync.WaitGroup

	mutex   sync.Mutex
	plugins map[string]*Plugin     // by the path of the registration socket
	sockets map[string]fs.FileInfo // which socket of that path is registered or about to be
	order   int
	count   map[string]int // registrations by driver
	// abandoned and refused are how often it did so; attempts is the error of the last attempt, by driver socket.
	abandoned, refused int
	attempts           map[string]error
	changed            chan struct{} // closed and replaced upon every change of plugins
}

// Watch starts to register plugins from the directory registry, those that are there already included.
func Watch(registry string) (*Kubelet, error) { return WatchWith(registry, Options{}) }

// WatchWith is Watch for a kubelet that behaves in another way.
func WatchWith(registry string, options Options) (*Kubelet, error) {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("watch the registry: %w", err)
	}
	if err := watcher.Add(registry); err != nil {
		return nil, errors.Join(fmt.Errorf("watch the registry: %w", err), watcher.Close())
	}
	ctx, stop := context.WithCancel(context.Background())
	k := &Kubelet{options: options, watcher: watcher, stop: stop, changed: make(chan struct{})}
	k.plugins, k.sockets = map[string]*Plugin{}, map[string]fs.FileInfo{}
	k.count, k.attempts = map[string]int{}, map[string]error{}
	// The watch comes first, so that no socket falls between it and the list.
	entries, err := os.ReadDir(registry)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("list the registry: %w", err), k.Close())
	}
	for _, entry := range entries {
		k.appeared(ctx, filepath.Join(registry, entry.Name()))
	}
	k.running.Go(func() { k.follow(ctx) })
	return k, nil
}

// Close ends the watch and the connections. Drivers are not told; nor are they by a kubelet.
func (k *Kubelet) Close() error {
	k.stop()
	err := k.watcher.Close()
	k.running.Wait()
	k.mutex.Lock()
	defer k.mutex.Unlock()
	for _, plugin := range k.plugins {
		err = errors.Join(err, plugin.conn.Close())
	}
	return err
}

// Registered waits until the driver has registered and returns the instance that did so last.
func (k *Kubelet) Registered(ctx context.Context, driver string) (*Plugin, error) {
	for {
		plugin, changed := k.last(driver)
		if plugin != nil {
			return plugin, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("wait until %s registers: %w%s", driver, ctx.Err(), k.why())
		}
	}
}

// why tells of the sockets that are in the registry and did not register.
func (k *Kubelet) why() string {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	if len(k.sockets) == 0 {
		return "; there is no socket in the registry"
	}
	var text strings.Builder
	for _, path := range slices.Sorted(maps.Keys(k.attempts)) {
		fmt.Fprintf(&text, "; %s: %v", path, k.attempts[path])
	}
	return text.String()
}

// Registrations says how often a driver's instances have registered with this kubelet.
func (k *Kubelet) Registrations(driver string) int {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	return k.count[driver]
}

// Instances returns the instances of the driver that are registered now, the one that did so last at the end.
func (k *Kubelet) Instances(driver string) []*Plugin {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	var all []*Plugin
	for _, plugin := range k.plugins {
		if plugin.Driver == driver {
			all = append(all, plugin)
		}
	}
	slices.SortFunc(all, func(a, b *Plugin) int { return a.order - b.order })
	return all
}

// RegisteredInstances waits until at least so many instances of the driver are registered at once and returns them, the
// one that did so last at the end.
func (k *Kubelet) RegisteredInstances(ctx context.Context, driver string, atLeast int) ([]*Plugin, error) {
	for {
		_, changed := k.last(driver)
		all := k.Instances(driver)
		if len(all) >= atLeast {
			return all, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("wait until %d instances of %s are registered; there are %d: %w%s", atLeast, driver, len(all),
				ctx.Err(), k.why())
		}
	}
}

// RegisteredAgain waits until the driver has registered more than so many times with this kubelet and returns the
// instance that did so last.
func (k *Kubelet) RegisteredAgain(ctx context.Context, driver string, moreThan int) (*Plugin, error) {
	for {
		plugin, changed := k.last(driver)
		if plugin != nil && k.Registrations(driver) > moreThan {
			return plugin, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("wait until %s registers again, after %d registrations: %w%s", driver,
				k.Registrations(driver), ctx.Err(), k.why())
		}
	}
}

// Deregistered waits until no instance of the driver is registered: all of its sockets are gone from the registry.
func (k *Kubelet) Deregistered(ctx context.Context, driver string) error {
	for {
		plugin, changed := k.last(driver)
		if plugin == nil {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("wait until %s is gone: %w", driver, ctx.Err())
		}
	}
}

func (k *Kubelet) last(driver string) (*Plugin, <-chan struct{}) {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	var last *Plugin
	for _, plugin := range k.plugins {
		if plugin.Driver == driver && (last == nil || plugin.order > last.order) {
			last = plugin
		}
	}
	return last, k.changed
}

func (k *Kubelet) follow(ctx context.Context) {
	for {
		select {
		case event, ok := <-k.watcher.Events:
			switch {
			case !ok:
				return
			case event.Has(fsnotify.Create):
				k.appeared(ctx, event.Name)
			case event.Has(fsnotify.Remove), event.Has(fsnotify.Rename):
				k.disappeared(event.Name)
			}
		case <-ctx.Done():
			return
		}
	}
}

// appeared registers the plugin of a socket. A socket file is there before anybody listens on it, and a killed plugin
// leaves one on which nobody ever will: it is tried until it answers or is gone.
func (k *Kubelet) appeared(ctx context.Context, path string) {
	socket, isNew := k.isNew(path)
	if filepath.Ext(path) != ".sock" || !isNew {
		return
	}
	k.running.Go(func() {
		retry := time.NewTicker(retryInterval)
		defer retry.Stop()
		for {
			now, err := os.Lstat(path)
			if err != nil || !same(socket, now) {
				return // it is gone, or another one that is dealt with by itself
			}
			plugin, err := k.register(ctx, path)
			k.tried(path, err)
			if err == nil {
				k.registered(path, socket, plugin)
				return
			}
			select {
			case <-retry.C:
			case <-ctx.Done():
				return
			}
		}
	})
}

// isNew says whether the socket is another one than the one of that path that is dealt with already: the list and the
// watch may both tell of one, and a plugin that was killed leaves one for its successor to replace.
func (k *Kubelet) isNew(path string) (fs.FileInfo, bool) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, false
	}
	k.mutex.Lock()
	defer k.mutex.Unlock()
	old := k.sockets[path]
	k.sockets[path] = info
	return info, old == nil || !same(old, info)
}

// same compares times too, since numbers of inodes are used again.
func same(a, b fs.FileInfo) bool { return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) }

func (k *Kubelet) disappeared(path string) {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	delete(k.attempts, path)
	delete(k.sockets, path)
	k.set(path, nil)
}

// registered notes a plugin unless its socket went away meanwhile.
func (k *Kubelet) registered(path string, socket fs.FileInfo, plugin *Plugin) {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	if now := k.sockets[path]; now == nil || !same(socket, now) {
		_ = plugin.conn.Close() // it was never used
		return
	}
	k.count[plugin.Driver]++
	k.order++
	plugin.order = k.order
	k.set(path, plugin)
}

// tried remembers why a socket did not register.
func (k *Kubelet) tried(path string, err error) {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	if err == nil {
		delete(k.attempts, path)
		return
	}
	k.attempts[path] = err
}

// set needs the mutex.
func (k *Kubelet) set(path string, plugin *Plugin) {
	if old := k.plugins[path]; old != nil {
		_ = old.conn.Close() // nobody waits for what a plugin that is gone has to say
	}
	delete(k.plugins, path)
	if plugin != nil {
		k.plugins[path] = plugin
	}
	close(k.changed)
	k.changed = make(chan struct{})
}

// register asks the plugin behind a registration socket who it is, tells it the result and connects to its endpoint.
func (k *Kubelet) register(ctx context.Context, path string) (*Plugin, error) {
	conn, err := dial(path)
	if err != nil {
		return nil, err
	}
	defer conn.Close() //nolint:errcheck // nothing is in progress
	client := registerapi.NewRegistrationClient(conn)
	asking, cancel := context.WithTimeout(ctx, getInfoTimeout)
	defer cancel()
	info, err := client.GetInfo(asking, &registerapi.InfoRequest{})
	if err != nil {
		return nil, fmt.Errorf("ask %s who it is: %w", path, err)
	}
	if k.once(&k.abandoned, k.options.Abandon) {
		return nil, errors.New("this kubelet throws the answer to GetInfo away, as the case asks for")
	}
	if info.Endpoint == "" {
		info.Endpoint = path
	}
	plugin, refusal := k.newPlugin(info)
	if refusal == nil && k.once(&k.refused, k.options.Refuse) {
		_ = plugin.conn.Close() // it was never used
		refusal = errors.New("this kubelet refuses the registration, as the case asks for")
	}
	status := &registerapi.RegistrationStatus{PluginRegistered: refusal == nil}
	if refusal != nil {
		status.Error = refusal.Error()
	}
	telling, cancel := context.WithTimeout(ctx, notifyTimeout)
	defer cancel()
	_, err = client.NotifyRegistrationStatus(telling, status)
	switch {
	case refusal != nil: // what the driver says to that does not matter
		return nil, refusal
	case err != nil:
		return nil, errors.Join(fmt.Errorf("tell %s that it is registered: %w", path, err), plugin.conn.Close())
	default:
		return plugin, nil
	}
}

// once counts up to limit, and says whether it did.
func (k *Kubelet) once(counter *int, limit int) bool {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	if *counter >= limit {
		return false
	}
	*counter++
	return true
}

func (k *Kubelet) newPlugin(info *registerapi.PluginInfo) (*Plugin, error) {
	var service string
	for _, version := range info.SupportedVersions {
		_, supported := callers[version]
		if supported && (k.options.Services == nil || slices.Contains(k.options.Services, version)) {
			service = version
			break
		}
	}
	switch {
	case info.Type != registerapi.DRAPlugin:
		return nil, fmt.Errorf("plugin type %q is not %q", info.Type, registerapi.DRAPlugin)
	case info.Name == "":
		return nil, fmt.Errorf("plugin has no name: %v", info)
	case service == "":
		return nil, fmt.Errorf("plugin %s has none of the services that a kubelet knows: %s", info.Name,
			strings.Join(info.SupportedVersions, ", "))
	}
	conn, err := dial(info.Endpoint)
	if err != nil {
		return nil, err
	}
	return &Plugin{
		Driver: info.Name, Endpoint: info.Endpoint, Services: info.SupportedVersions, Service: service, conn: conn,
	}, nil
}

func dial(path string) (*grpc.ClientConn, error) {
	conn, err := grpc.NewClient("unix://"+path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", path, err)
	}
	return conn, nil
}
