package driver_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/types"
	drapbv1 "k8s.io/kubelet/pkg/apis/dra/v1"

	"example.com/dragoman/pkg/driver"
)

func (r *rig) dra() string {
	return filepath.Join(r.options.KubeletDir, "plugins", driverName, "dra.sock")
}

// inode says which file is at path, and if there is one.
func inode(path string) (uint64, bool) {
	var stat unix.Stat_t
	err := unix.Lstat(path, &stat)
	return stat.Ino, err == nil
}

// TestFault21LostSocketsAreMadeAgain takes away what the kubelet looks for while a call is in progress.
func TestFault21LostSocketsAreMadeAgain(t *testing.T) {
	registry := func(r *rig) string { return filepath.Dir(r.registrar()) }
	for name, take := range map[string]func(r *rig) error{
		"the registration socket is removed": func(r *rig) error { return os.Remove(r.registrar()) },
		"the DRA socket is removed":          func(r *rig) error { return os.Remove(r.dra()) },
		"both are removed": func(r *rig) error {
			return errors.Join(os.Remove(r.dra()), os.Remove(r.registrar()))
		},
		"the registry directory is removed": func(r *rig) error { return os.RemoveAll(registry(r)) },
		"the driver's directory is removed": func(r *rig) error { return os.RemoveAll(filepath.Dir(r.dra())) },
		"the registry directory is made anew": func(r *rig) error {
			return errors.Join(os.RemoveAll(registry(r)), os.Mkdir(registry(r), 0o750))
		},
		"a dead socket is in the place of the registration socket": func(r *rig) error {
			dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: r.registrar() + "2", Net: "unix"})
			if err != nil {
				return err
			}
			dead.SetUnlinkOnClose(false)
			return errors.Join(dead.Close(), os.Rename(r.registrar()+"2", r.registrar()))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, aClaim("slow", "gpu-0"), aClaim("next", "gpu-1"))
			begun, finish := make(chan struct{}), make(chan struct{})
			r.hardware.during = func(_ context.Context, uid types.UID) error {
				if uid == "uid-of-slow" {
					close(begun)
					<-finish
				}
				return nil
			}
			d, stop := r.start(t)
			k := meet(t, r.registrar()).plugin(drapbv1.DRAPluginService)
			slow := make(chan error, 1)
			go func() {
				_, err := k.NodePrepareResources(limit(t), requestFor("slow"))
				slow <- err
			}()
			<-begun
			registrar, _ := inode(r.registrar())
			dra, _ := inode(r.dra())
			if err := take(r); err != nil {
				t.Fatal(err)
			}
			eventually(t, "there is a new socket, and it answers", func() bool {
				nowRegistrar, ok := inode(r.registrar())
				nowDRA, too := inode(r.dra())
				return ok && too && (nowRegistrar != registrar || nowDRA != dra) && d.Alive(limit(t)) == nil
			})
			close(finish)
			if err := <-slow; err != nil {
				t.Errorf("the call that was in progress: %v", err)
			}
			again := meet(t, r.registrar()).plugin(drapbv1.DRAPluginService)
			for which, client := range map[string]drapbv1.DRAPluginClient{"old": k, "new": again} {
				answer, err := client.NodePrepareResources(limit(t), requestFor("next"))
				if err != nil || answer.GetClaims()["uid-of-next"].GetError() != "" {
					t.Errorf("by the %s connection: %v, %v", which, answer, err)
				}
			}
			if err := stop(); err != nil {
				t.Errorf("stop: %v", err)
			}
			for _, path := range []string{r.registrar(), r.dra()} {
				if _, there := inode(path); there {
					t.Errorf("%s is left after stop", path)
				}
			}
		})
	}
}

// run returns what Run returns, which the test makes end.
func (r *rig) run(t *testing.T) (*driver.Driver, <-chan error) {
	t.Helper()
	d := driver.New(r.options)
	ended := make(chan error, 1)
	go func() { ended <- d.Run(r.context(t.Context())) }()
	eventually(t, "it answers", func() bool { return d.Alive(limit(t)) == nil })
	return d, ended
}

func TestFault21AnotherProcessInOurPlaceEndsTheDriver(t *testing.T) {
	r := newRig(t)
	_, ended := r.run(t)
	listen(t, r.registrar()+"2", false)
	if err := os.Rename(r.registrar()+"2", r.registrar()); err != nil {
		t.Fatal(err)
	}
	theirs, _ := inode(r.registrar())
	want := "socket " + r.registrar() + " is served by another process"
	if err := <-ended; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("it ended with %v, want %s", err, want)
	}
	if now, there := inode(r.registrar()); !there || now != theirs {
		t.Error("the other one's socket was removed")
	}
}

// TestFault21ADirectoryThatWasRemovedBehindAMountEndsTheDriver has a directory that has a path here and no name where
// it is, as a mounted one has after it was removed on the node.
func TestFault21ADirectoryThatWasRemovedBehindAMountEndsTheDriver(t *testing.T) {
	r := newRig(t)
	dir := filepath.Join(r.options.KubeletDir, "cdi")
	if err := os.Mkdir(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	mounted, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer mounted.Close()
	here := fmt.Sprintf("/proc/self/fd/%d", mounted.Fd())
	r.options.Directories = []string{here}
	_, ended := r.run(t)
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	want := "directory " + here + " was removed on the node while it is mounted here"
	if err := <-ended; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("it ended with %v, want %s", err, want)
	}
}

// TestFault25OthersCannotReachTheSockets by the rights of files, also where a kubelet made the directory.
func TestFault25OthersCannotReachTheSockets(t *testing.T) {
	r := newRig(t)
	dataDir := filepath.Dir(r.dra())
	if err := os.MkdirAll(dataDir, 0o755); err != nil {
		t.Fatal(err)
	}
	d, _ := r.run(t)
	for path, want := range map[string]os.FileMode{r.registrar(): 0o600, r.dra(): 0o600, dataDir: 0o750} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v; want %v", path, info.Mode(), err, want)
		}
	}
	if err := d.Alive(limit(t)); err != nil {
		t.Errorf("we are refused: %v", err)
	}
}

// TestFault19InstancesThatStartAtTheSameInstant have no pod UIDs, so there is room for one.
func TestFault19InstancesThatStartAtTheSameInstant(t *testing.T) {
	r := newRig(t)
	const instances = 8
	for range 5 {
		ctx, cancel := context.WithCancel(r.context(t.Context()))
		ended := make(chan error, instances)
		for range instances {
			go func() { ended <- driver.New(r.options).Run(ctx) }()
		}
		for range instances - 1 {
			if err := <-ended; err == nil || !strings.Contains(err.Error(), "already runs on this node") {
				t.Errorf("one of those that are too many ended with %v", err)
			}
		}
		eventually(t, "the one that is left serves", func() bool {
			return driver.New(r.options).Alive(limit(t)) == nil
		})
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the one that is left ended with %v", err)
		}
	}
}
