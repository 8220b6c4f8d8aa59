// Package kubelet is the part of a kubelet that a DRA driver talks to, for tests that run a driver without a node: it
// watches the plugin registry, registers what appears there and calls the driver with the kubelet's own deadlines.
package kubelet

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
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

// Kubelet registers the plugins whose sockets are in one registry directory.
type Kubelet struct {
	watcher *fsnotify.Watcher
	stop    context.CancelFunc
	running sync.WaitGroup

	mutex   sync.Mutex
	plugins map[string]*Plugin     // by the path of the registration socket
	sockets map[string]fs.FileInfo // which socket of that path is registered or about to be
	order   int
	changed chan struct{} // closed and replaced upon every change of plugins
}

// Watch starts to register plugins from the directory registry, those that are there already included.
func Watch(registry string) (*Kubelet, error) {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("watch the registry: %w", err)
	}
	if err := watcher.Add(registry); err != nil {
		return nil, errors.Join(fmt.Errorf("watch the registry: %w", err), watcher.Close())
	}
	ctx, stop := context.WithCancel(context.Background())
	k := &Kubelet{watcher: watcher, stop: stop, changed: make(chan struct{})}
	k.plugins, k.sockets = map[string]*Plugin{}, map[string]fs.FileInfo{}
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
			return nil, fmt.Errorf("wait until %s registers: %w", driver, ctx.Err())
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
			if plugin, err := register(ctx, path); err == nil {
				k.set(path, plugin)
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

func (k *Kubelet) disappeared(path string) { k.set(path, nil) }

func (k *Kubelet) set(path string, plugin *Plugin) {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	if old := k.plugins[path]; old != nil {
		_ = old.conn.Close() // nobody waits for what a plugin that is gone has to say
	}
	delete(k.plugins, path)
	if plugin != nil {
		k.order++
		plugin.order = k.order
		k.plugins[path] = plugin
	}
	close(k.changed)
	k.changed = make(chan struct{})
}

// register asks the plugin behind a registration socket who it is, tells it the result and connects to its endpoint.
func register(ctx context.Context, path string) (*Plugin, error) {
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
	plugin, refusal := newPlugin(info)
	status := &registerapi.RegistrationStatus{PluginRegistered: refusal == nil}
	if refusal != nil {
		status.Error = refusal.Error()
	}
	telling, cancel := context.WithTimeout(ctx, notifyTimeout)
	defer cancel()
	if _, err := client.NotifyRegistrationStatus(telling, status); err != nil {
		return nil, fmt.Errorf("tell %s that it is registered: %w", path, err)
	}
	return plugin, refusal
}

func newPlugin(info *registerapi.PluginInfo) (*Plugin, error) {
	var service string
	for _, version := range info.SupportedVersions {
		if _, supported := callers[version]; supported {
			service = version
			break
		}
	}
	switch {
	case info.Type != registerapi.DRAPlugin:
		return nil, fmt.Errorf("plugin type %q is not %q", info.Type, registerapi.DRAPlugin)
	case info.Name == "" || info.Endpoint == "":
		return nil, fmt.Errorf("plugin has no name or no endpoint: %v", info)
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
