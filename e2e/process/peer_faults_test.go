package process

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	drav1 "k8s.io/kubelet/pkg/apis/dra/v1"
	registerapi "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

// nobody is who has no business here.
const nobody = 65534

// dialAsNobody connects to a socket as another user than root.
func dialAsNobody(path string) (net.Conn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result)
	go func() {
		// The thread is never given back: it ends with the goroutine, and its user with it.
		runtime.LockOSThread()
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, ^uintptr(0), nobody, ^uintptr(0)); errno != 0 {
			done <- result{nil, errno}
			return
		}
		conn, err := net.Dial("unix", path)
		done <- result{conn, err}
	}()
	r := <-done
	return r.conn, r.err
}

func TestFault25AnotherUserOnTheSockets(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	d := r.startReady()
	calls := map[string]struct {
		path string
		call func(context.Context, *grpc.ClientConn) error
	}{
		"the kubelet's calls": {r.socket(), func(ctx context.Context, conn *grpc.ClientConn) error {
			_, err := drav1.NewDRAPluginClient(conn).NodePrepareResources(ctx, &drav1.NodePrepareResourcesRequest{})
			return err
		}},
		"the registration": {r.registrar(), func(ctx context.Context, conn *grpc.ClientConn) error {
			_, err := registerapi.NewRegistrationClient(conn).GetInfo(ctx, &registerapi.InfoRequest{})
			return err
		}},
	}
	// What others made may be open to everybody. What the driver made is not.
	for _, dir := range []string{r.dir, r.path("kubelet"), r.path("kubelet", "plugins"), r.registry()} {
		if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // that is the fault
			t.Fatal(err)
		}
	}
	own, err := os.Stat(filepath.Dir(r.socket()))
	if err != nil || own.Mode().Perm()&0o007 != 0 {
		t.Errorf("the driver's directory is open to everybody: %v (%v)", own.Mode(), err)
	}
	for name, c := range calls {
		if _, err := dialAsNobody(c.path); !errors.Is(err, syscall.EACCES) {
			t.Errorf("%s: another user can come to the socket (%v)", name, err)
		}
	}
	// Even if somebody opens all doors.
	err = filepath.WalkDir(r.dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.Type() == fs.ModeSymlink {
			return err
		}
		return os.Chmod(path, 0o777) //nolint:gosec // that is the fault
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range calls {
		if err := callAs(t, dialAsNobody, c.path, c.call); err == nil {
			t.Errorf("%s: another user is answered", name)
		}
		dial := func(path string) (net.Conn, error) { return net.Dial("unix", path) }
		if err := callAs(t, dial, c.path, c.call); err != nil {
			t.Errorf("%s: root is not answered: %v", name, err)
		}
	}
	claim := r.claim("claim", r.devices("gpu-0"))
	r.mustResolve(prepare(t, d, claim))
	r.until("the log tells of it", d.says(fmt.Sprint(nobody)))
}

func callAs(
	t *testing.T, dial func(string) (net.Conn, error), path string, call func(context.Context, *grpc.ClientConn) error,
) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, err := grpc.NewClient("passthrough:///"+path, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) { return dial(path) }))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // nothing is in progress
	return call(ctx, conn)
}
