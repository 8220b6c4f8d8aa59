package driver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/dynamic-resource-allocation/kubeletplugin"
	"k8s.io/klog/v2"
	drapbv1 "k8s.io/kubelet/pkg/apis/dra/v1"
	registerapi "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

// socketPathMax is how many bytes the path of a Unix socket may have; the kernel's 108 include a terminating zero.
const socketPathMax = 107

// beingMade is more than enough for a process to get from making a socket to listening on it.
const beingMade = 50 * time.Millisecond

// sockets are where the helper listens. It chooses the names; they are worked out here in the same way, because they
// must be looked at before it starts.
type sockets struct {
	driverName           string
	podUID               types.UID
	registryDir, dataDir string
	registrar, dra       string
	others               []string // directories, see Options.Directories

	patience time.Duration // for other instances that take their place

	mu   sync.Mutex
	open []*listener // in the order in which the helper opened them: what the kubelet looks for comes last
}

func registryDir(kubeletDir string) string { return filepath.Join(kubeletDir, "plugins_registry") }

func socketsOf(o Options) *sockets {
	s := &sockets{
		driverName:  o.DriverName,
		podUID:      o.PodUID,
		patience:    lockPatience,
		registryDir: registryDir(o.KubeletDir),
		dataDir:     filepath.Join(o.KubeletDir, "plugins", o.DriverName),
		others:      o.Directories,
	}
	registrar, dra := s.driverName+"-reg.sock", "dra.sock"
	if s.podUID != "" {
		registrar = kubeletplugin.RollingUpdateRegistrarSocketFile(s.registryDir, s.driverName, s.podUID)
		dra = "dra-" + string(s.podUID) + ".sock"
	}
	s.registrar, s.dra = filepath.Join(s.registryDir, registrar), filepath.Join(s.dataDir, dra)
	return s
}

// takePlace makes the directories and makes sure that nobody listens on the sockets. It removes sockets of this driver
// on which nobody listens any more: a process that was killed leaves them, and the kubelet would go on dialing them.
// Until unlock is called no other instance can take the place.
func (s *sockets) takePlace(ctx context.Context) (unlock func(), err error) {
	if err := s.makeDirectories(ctx); err != nil {
		return nil, err
	}
	unlock, err = s.lock(ctx)
	if err != nil {
		return nil, err
	}
	for _, path := range []string{s.registrar, s.dra} {
		if err := s.free(path); err != nil {
			unlock()
			return nil, err
		}
	}
	if err := s.sweep(ctx); err != nil {
		unlock()
		return nil, err
	}
	return unlock, nil
}

func (s *sockets) makeDirectories(ctx context.Context) error {
	for _, path := range []string{s.registrar, s.dra} {
		if n := len(path); n > socketPathMax {
			return fmt.Errorf("socket %s: the path has %d bytes to spend and is using %d; shorten --kubelet-dir "+
				"or --driver-name", path, socketPathMax, n)
		}
	}
	for _, dir := range []string{s.registryDir, s.dataDir} {
		if err := writable(dir); err != nil {
			return fmt.Errorf("directory %s for the sockets that the kubelet looks for: %w; --kubelet-dir must be "+
				"the kubelet's root directory, and this process needs to be able to write there", dir, err)
		}
	}
	// It is this driver's alone. One that is there already may be open to others.
	if err := os.Chmod(s.dataDir, directoryMode); err != nil {
		klog.FromContext(ctx).Error(err, "Close the directory of the socket to other users; goes on without")
	}
	return nil
}

// listen is for the helper: it makes a socket which [sockets.keep] keeps.
func (s *sockets) listen(ctx context.Context, path string) (net.Listener, error) {
	l, err := listenOn(klog.FromContext(ctx), path)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open = append(s.open, l)
	return l, nil
}

func writable(dir string) error {
	if err := os.MkdirAll(dir, directoryMode); err != nil {
		return err
	}
	if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil {
		return &fs.PathError{Op: "write to", Path: dir, Err: err}
	}
	return nil
}

// free makes sure that path can be listened on without taking it away from anybody.
func (s *sockets) free(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("look at socket: %w", err)
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("socket %s: there is something else of that name (%s); remove it", path, info.Mode())
	}
	dead, err := isDead(path)
	if err != nil {
		return fmt.Errorf("look whether somebody listens on socket %s: %w", path, err)
	}
	if !dead {
		return &lostPlaceError{fmt.Errorf("socket %s is served by another process: driver %q already runs on this node; "+
			"stop the other one, or use another --driver-name or --kubelet-dir (two instances may take turns during an "+
			"update if each has its own podUID, which comes from the variable POD_UID)", path, s.driverName)}
	}
	return remove(path)
}

// sweep removes dead sockets of other instances of this driver.
func (s *sockets) sweep(ctx context.Context) error {
	candidates, err := s.dead()
	if err != nil {
		return err
	}
	for _, path := range candidates {
		if err := remove(path); err != nil {
			return err
		}
		klog.FromContext(ctx).Info("Removed socket of an instance that is gone", "socket", path)
	}
	return nil
}

// dead returns the sockets of other instances of this driver on which nobody listens.
func (s *sockets) dead() ([]string, error) {
	candidates, err := s.leftovers()
	if err != nil {
		return nil, err
	}
	candidates = slices.DeleteFunc(candidates, func(path string) bool { return path == s.registrar || path == s.dra })
	return allDead(candidates), nil
}

// allDead returns those of the sockets that [isDead] says are dead. It waits for all of them at once.
func allDead(paths []string) []string {
	for n := range 2 {
		paths = slices.DeleteFunc(paths, func(path string) bool {
			refused, err := refuses(path)
			return err != nil || !refused // an instance that is alive, or that cannot be told to be dead
		})
		if n == 0 && len(paths) > 0 {
			time.Sleep(beingMade)
		}
	}
	return paths
}

// podSocket matches the sockets of instances with a pod UID, so that a driver whose name begins like this one's is left
// alone: a UID, or the short hash by which the helper replaces it if the path gets too long.
var podSocket = regexp.MustCompile(`^-(?:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9A-Za-z_-]{11})-reg\.sock$`)

func (s *sockets) leftovers() ([]string, error) {
	inData, err := os.ReadDir(s.dataDir)
	if err != nil {
		return nil, fmt.Errorf("look for sockets of earlier instances: %w", err)
	}
	inRegistry, err := os.ReadDir(s.registryDir)
	if err != nil {
		return nil, fmt.Errorf("look for sockets of earlier instances: %w", err)
	}
	var found []string
	// The data directory is this driver's alone, so all sockets of the helper in it are.
	ours := map[string]bool{s.driverName + "-reg.sock": true}
	for _, entry := range inData {
		uid, isOurs := strings.CutPrefix(strings.TrimSuffix(entry.Name(), ".sock"), "dra")
		if !isOurs || entry.Type() != fs.ModeSocket {
			continue
		}
		found = append(found, filepath.Join(s.dataDir, entry.Name()))
		if uid, hasUID := strings.CutPrefix(uid, "-"); hasUID {
			name := kubeletplugin.RollingUpdateRegistrarSocketFile(s.registryDir, s.driverName, types.UID(uid))
			ours[name] = true
		}
	}
	for _, entry := range inRegistry {
		rest, hasName := strings.CutPrefix(entry.Name(), s.driverName)
		if entry.Type() == fs.ModeSocket && (ours[entry.Name()] || hasName && podSocket.MatchString(rest)) {
			found = append(found, filepath.Join(s.registryDir, entry.Name()))
		}
	}
	return found, nil
}

// isDead says whether nobody listens on the socket. A process that listens but hangs is alive. Since a socket that is
// just being made refuses connections too, one refusal is not enough.
func isDead(path string) (bool, error) {
	for range 2 {
		if refused, err := refuses(path); err != nil || !refused {
			return false, err
		}
		time.Sleep(beingMade)
	}
	return true, nil
}

func refuses(path string) (bool, error) {
	conn, err := net.Dial("unix", path)
	switch {
	case err == nil:
		return false, conn.Close() // nothing was said
	case errors.Is(err, syscall.EAGAIN):
		return false, nil // somebody listens and is behind with accepting
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, fs.ErrNotExist):
		return true, nil
	}
	return false, err
}

func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove dead socket: %w", err)
	}
	return nil
}

// Alive calls this driver through its own sockets, as the kubelet does, and returns nil if it answers. No lock that a
// slow claim may hold is on the way.
func (d *Driver) Alive(ctx context.Context) error {
	registrar, err := dial(d.sockets.registrar)
	if err != nil {
		return err
	}
	defer registrar.Close() //nolint:errcheck // nothing is in progress
	info, err := registerapi.NewRegistrationClient(registrar).GetInfo(ctx, &registerapi.InfoRequest{})
	if err != nil {
		return fmt.Errorf("ask on socket %s: %w", d.sockets.registrar, err)
	}
	if info.GetEndpoint() != d.sockets.dra {
		return fmt.Errorf("socket %s belongs to another process: it points to %s instead of %s",
			d.sockets.registrar, info.GetEndpoint(), d.sockets.dra)
	}
	dra, err := dial(d.sockets.dra)
	if err != nil {
		return err
	}
	defer dra.Close() //nolint:errcheck // nothing is in progress
	nothing := &drapbv1.NodePrepareResourcesRequest{}
	if _, err := drapbv1.NewDRAPluginClient(dra).NodePrepareResources(ctx, nothing); err != nil {
		return fmt.Errorf("ask on socket %s: %w", d.sockets.dra, err)
	}
	return nil
}

func dial(path string) (*grpc.ClientConn, error) {
	conn, err := grpc.NewClient("unix:"+path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, fmt.Errorf("dial socket %s: %w", path, err)
	}
	return conn, nil
}
