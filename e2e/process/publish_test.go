package process

import (
	"context"
	"io/fs"
	"maps"
	"os"
	"slices"
	"testing"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	drav1 "k8s.io/kubelet/pkg/apis/dra/v1"
	drav1beta1 "k8s.io/kubelet/pkg/apis/dra/v1beta1"
)

func TestRegistersPublishesAndStopsCleanly(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	d := r.startReady()

	for _, service := range []string{drav1.DRAPluginService, drav1beta1.DRAPluginService} {
		if !slices.Contains(d.plugin.Services, service) {
			t.Errorf("the kubelet was offered %v, without %s", d.plugin.Services, service)
		}
	}
	pool := r.published(8)
	for _, slice := range pool {
		if slice.Spec.Driver != driverName || slice.Spec.Pool.Name != r.node.Name ||
			slice.Spec.NodeName == nil || *slice.Spec.NodeName != r.node.Name {
			t.Errorf("slice %s is not this driver's on this node: %+v", slice.Name, slice.Spec)
		}
		owned := slices.ContainsFunc(slice.OwnerReferences, func(o metav1.OwnerReference) bool {
			return o.Kind == "Node" && o.UID == r.node.UID
		})
		if !owned {
			t.Errorf("slice %s would outlive its node: owners %v", slice.Name, slice.OwnerReferences)
		}
	}
	for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
		if err := probe(t.Context(), r.http, path); err != nil {
			t.Error(err)
		}
	}

	if code := d.stop(); code != 0 {
		t.Errorf("exit code %d after SIGTERM, expected 0", code)
	}
	if left := socketsBelow(t, r.path("kubelet")); len(left) > 0 {
		t.Errorf("sockets left after SIGTERM: %v", left)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := r.kubelet.Deregistered(ctx, driverName); err != nil {
		t.Error(err)
	}
}

func TestRestartWithoutChangeWritesNoSlice(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	profile := r.writeYAML("profile.yaml", profile(130))
	d := r.startReady("mockProfile", profile)
	before := versions(r.published(130))
	if len(before) != 3 {
		t.Errorf("130 devices are in %d slices, expected 3 of at most 64", len(before))
	}
	steps := []struct {
		name    string
		restart func() *driver
	}{
		{"after SIGTERM", func() *driver { d.stop(); return r.startReady("mockProfile", profile) }},
		{"after kill -9", func() *driver { return d.restartKilled("mockProfile", profile) }},
	}
	for _, step := range steps {
		d = step.restart()
		// A claim that goes all the way gives a late write the time to happen.
		claim := r.claim("witness", r.devices("gpu-0"))
		prepare(t, d, claim)
		unprepare(t, d, claim)
		if after := versions(r.published(130)); !maps.Equal(before, after) {
			t.Errorf("%s slices were written:\nbefore %v\nafter  %v", step.name, before, after)
		}
	}
}

func TestOneChangedDeviceIsOneWrite(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	devices := profile(130)
	file := r.writeYAML("profile.yaml", devices)
	d := r.startReady("mockProfile", file)
	r.published(130)
	changes := []struct {
		name  string
		index int
		how   func()
	}{
		{"while it runs", 70, func() { r.writeYAML("profile.yaml", devices) }},
		{"while it is stopped", 129, func() {
			d.stop()
			r.writeYAML("profile.yaml", devices)
			r.startReady("mockProfile", file)
		}},
	}
	for _, c := range changes {
		before := versions(r.published(130))
		changed := devices.change(c.index)
		c.how()
		var after map[string]string
		r.until("the change is published", func(context.Context) error {
			pool := r.published(130)
			after = versions(pool)
			return changed.in(pool)
		})
		written := 0
		for name, version := range after {
			if before[name] != version {
				written++
			}
		}
		if written != 1 || len(before) != len(after) {
			t.Errorf("%s %d of %d slices were written for one device, expected 1; there were %d before",
				c.name, written, len(after), len(before))
		}
	}
}

func TestFault17TenThousandDevicesAndTheirReturnAfterAWipe(t *testing.T) {
	r := newRig(t)
	const devices, expected = 10_000, 157
	profile := r.writeYAML("profile.yaml", profile(devices))
	start := time.Now()
	r.startReady("mockProfile", profile)
	pool := r.published(devices)
	t.Logf("%d devices in %d slices were complete %v after the start", devices, len(pool), time.Since(start))
	if len(pool) != expected {
		t.Errorf("%d devices are in %d slices, expected %d", devices, len(pool), expected)
	}
	for _, slice := range pool {
		if len(slice.Spec.Devices) > resourceapi.ResourceSliceMaxDevices/2 {
			t.Errorf("slice %s has %d devices: none could be tainted", slice.Name, len(slice.Spec.Devices))
		}
	}

	// What a kubelet does when it starts.
	start = time.Now()
	all := r.server.client.ResourceV1().ResourceSlices()
	if err := all.DeleteCollection(t.Context(), metav1.DeleteOptions{}, slicesOf(r.node.Name)); err != nil {
		t.Fatal(err)
	}
	for _, slice := range r.published(devices) {
		if slices.ContainsFunc(pool, func(s resourceapi.ResourceSlice) bool { return s.UID == slice.UID }) {
			t.Errorf("slice %s was not wiped", slice.Name)
		}
	}
	t.Logf("they were complete again %v after the wipe began", time.Since(start))
}

func socketsBelow(t *testing.T, dir string) []string {
	t.Helper()
	var sockets []string
	for _, pattern := range []string{"*/*.sock", "*/*/*.sock"} {
		found, err := fs.Glob(os.DirFS(dir), pattern)
		if err != nil {
			t.Fatal(err)
		}
		sockets = append(sockets, found...)
	}
	return sockets
}
