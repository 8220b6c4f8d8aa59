package process

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// wipe deletes the node's slices, as a kubelet does when it starts.
func (r *rig) wipe() {
	r.t.Helper()
	all := r.server.client.ResourceV1().ResourceSlices()
	if err := all.DeleteCollection(r.t.Context(), metav1.DeleteOptions{}, slicesOf(r.node.Name)); err != nil {
		r.t.Fatal(err)
	}
}

// republished waits until none of the slices from before is left, and the devices are published again.
func (r *rig) republished(devices int, before map[string]string) {
	r.t.Helper()
	r.until("slices were made anew", func(context.Context) error {
		for name, version := range versions(r.published(devices)) {
			uid, _, _ := strings.Cut(version, "@")
			for _, old := range before {
				if strings.HasPrefix(old, uid+"@") {
					return fmt.Errorf("slice %s was not wiped", name)
				}
			}
		}
		return nil
	})
}

func TestFault17KubeletRestarted(t *testing.T) {
	t.Parallel()
	for name, wipedFirst := range map[string]bool{
		"slices are wiped before the registration": true, "slices are wiped after the registration": false,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const devices = 130
			r := newRig(t)
			d := r.startReady("mockProfile", r.writeYAML("profile.yaml", profile(devices)))
			claim := r.claim("claim", r.devices("gpu-0"))
			first := prepare(t, d, claim)
			for range 3 { // patience does not wear off
				before := versions(r.published(devices))
				start := time.Now()
				if wipedFirst {
					r.wipe()
				}
				r.watch()
				d.waitRegistered()
				t.Logf("registered again after %v", time.Since(start))
				if !wipedFirst {
					start = time.Now()
					r.wipe()
				}
				r.republished(devices, before)
				t.Logf("%d devices were published again %v after the wipe began", devices, time.Since(start))
				r.until("it is ready", func(ctx context.Context) error { return probe(ctx, r.http, "/readyz") })
				if again := prepare(t, d, claim); !slices.Equal(first.IDs(), again.IDs()) {
					t.Errorf("the new kubelet is answered %v, the old one was %v", again.IDs(), first.IDs())
				}
			}
			unprepare(t, d, claim)
			r.nothingLeft(claim.UID)
		})
	}
}

func (r *rig) registrar() string { return filepath.Join(r.registry(), driverName+"-reg.sock") }
func (r *rig) socket() string    { return r.path("kubelet", "plugins", driverName, "dra.sock") }

func TestFault21SocketsAndTheirDirectories(t *testing.T) {
	t.Parallel()
	cases := map[string]func(r *rig) error{
		"the registration socket is removed": func(r *rig) error { return os.Remove(r.registrar()) },
		"the other socket is removed":        func(r *rig) error { return os.Remove(r.socket()) },
		"both are removed": func(r *rig) error {
			return errors.Join(os.Remove(r.registrar()), os.Remove(r.socket()))
		},
		"the registry is removed": func(r *rig) error { return os.RemoveAll(r.registry()) },
		"the registry is made again": func(r *rig) error {
			return errors.Join(os.RemoveAll(r.registry()), os.Mkdir(r.registry(), 0o750))
		},
		"all of the kubelet's directory is removed": func(r *rig) error { return os.RemoveAll(r.path("kubelet")) },
	}
	for name, lose := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			d := r.startReady()
			held, next := r.claim("held", r.devices("gpu-0")), r.claim("next", r.devices("gpu-1"))
			first := prepare(t, d, held)
			old := map[string]fs.FileInfo{r.registrar(): nil, r.socket(): nil}
			for path := range old {
				info, err := os.Lstat(path)
				if err != nil {
					t.Fatal(err)
				}
				old[path] = info
			}
			start := time.Now()
			if err := lose(r); err != nil {
				t.Fatal(err)
			}
			for path := range old {
				r.until(path+" is served", func(context.Context) error { return serves(path) })
			}
			t.Logf("served again after %v", time.Since(start))
			r.watch() // a kubelet does not see a directory that was made again, until it is restarted itself
			d.waitReady()
			if again := prepare(t, d, held); !slices.Equal(first.IDs(), again.IDs()) {
				t.Errorf("the driver answers %v, and %v before", again.IDs(), first.IDs())
			}
			r.mustResolve(prepare(t, d, next))
			r.until("it is alive", func(ctx context.Context) error { return probe(ctx, r.http, "/healthz") })
			unprepare(t, d, held)
			if code := d.stop(); code != 0 {
				t.Errorf("exit code %d after SIGTERM, expected 0", code)
			}
			if left := socketsBelow(t, r.path("kubelet")); len(left) > 0 {
				t.Errorf("sockets are left: %v", left)
			}
		})
	}
}

// serves returns nil if somebody listens on a socket.
func serves(path string) error {
	conn, err := net.Dial("unix", path)
	if err != nil {
		return err
	}
	return conn.Close()
}

func TestFault21RegistryThatIsNotThereYet(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	if err := os.RemoveAll(r.path("kubelet")); err != nil {
		t.Fatal(err)
	}
	d := r.start()
	r.until("the driver serves", func(context.Context) error { return serves(r.registrar()) })
	r.watch()
	d.waitReady()
	claim := r.claim("claim", r.devices("gpu-0"))
	r.mustResolve(prepare(t, d, claim))
	unprepare(t, d, claim)
}

// The kubelet gives up after a second, and asks again later.
func TestFault21GetInfoSlow(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	d := r.start()
	r.until("the driver serves", func(context.Context) error { return serves(r.registrar()) })
	d.pause()
	r.watch()
	ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond) // one GetInfo, and some of the next
	defer cancel()
	if _, err := r.kubelet.Registered(ctx, driverName); err == nil {
		t.Error("the driver was registered while it was stopped")
	}
	d.signal(syscall.SIGCONT)
	d.waitReady()
	claim := r.claim("claim", r.devices("gpu-0"))
	r.mustResolve(prepare(t, d, claim))
	unprepare(t, d, claim)
}

func TestFault21AliveWhileAClaimHangs(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	d := r.startReady()
	claim := r.claim("claim", r.devices("gpu-0"))
	release := r.hold(claim)
	done := d.preparing(t.Context(), claim)
	r.until("the prepare hangs", func(context.Context) error { return r.isAwaited(claim) })
	if err := probe(t.Context(), r.http, "/healthz"); err != nil {
		t.Errorf("the kubelet would restart the driver because of one claim: %v", err)
	}
	release()
	if answer := <-done; answer.Err != nil {
		t.Error(answer.Err)
	}
	unprepare(t, d, claim)

	// A driver that does not answer the kubelet is not alive.
	d.pause()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := probe(ctx, r.http, "/healthz"); err == nil {
		t.Error("the driver is alive while it is stopped")
	}
	d.signal(syscall.SIGCONT)
}
