package doctor_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/client-go/discovery/fake"
	"k8s.io/client-go/kubernetes"
	clientset "k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	criapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"example.com/dragoman/pkg/device"
	"example.com/dragoman/pkg/doctor"
)

// node is a node on which nothing is wrong but what a test changes.
type node struct {
	dir     string
	options doctor.Options
	runtime *criRuntime
}

func newNode(t *testing.T) *node {
	t.Helper()
	dir, err := os.MkdirTemp("", "d") //nolint:usetesting // short, for the socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	n := &node{dir: dir}
	for _, made := range []string{"kubelet/plugins_registry", "kubelet/plugins", "kubelet/device-plugins", "cdi"} {
		if err := os.MkdirAll(filepath.Join(dir, made), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	socket := filepath.Join(dir, "cri.sock")
	n.runtime = serveCRI(t, socket, `{"enableCDI":true,"cdiSpecDirs":["/etc/cdi","`+dir+`/cdi"]}`)
	n.options = doctor.Options{
		DriverName: "gpu.example.com", NodeName: "node-a", KubeletDir: dir + "/kubelet", CDIDir: dir + "/cdi",
		StateDir: "/dev/shm/dragoman", RuntimeSockets: []string{dir + "/no.sock", socket},
		Client: cluster(true, "resource.k8s.io/v1"), Backend: hardware{},
	}
	return n
}

type hardware struct{ device.Backend }

func (hardware) Devices(context.Context) (device.Snapshot, error) {
	return device.Snapshot{Devices: make([]device.Device, 2)}, nil
}

type blind struct{ device.Backend }

func (blind) Devices(context.Context) (device.Snapshot, error) {
	return device.Snapshot{}, errors.New("no driver")
}

type examined struct{ device.Backend }

func (examined) Examine(context.Context) []device.Finding {
	return []device.Finding{{Subject: "NVML library", Verdict: device.Bad, Detail: "not found", Mend: "install it"}}
}

type criRuntime struct {
	criapi.UnimplementedRuntimeServiceServer
	config string
}

func (*criRuntime) Version(context.Context, *criapi.VersionRequest) (*criapi.VersionResponse, error) {
	return &criapi.VersionResponse{RuntimeName: "containerd", RuntimeVersion: "v2.1.4"}, nil
}

func (c *criRuntime) Status(_ context.Context, r *criapi.StatusRequest) (*criapi.StatusResponse, error) {
	if !r.GetVerbose() {
		return &criapi.StatusResponse{}, nil
	}
	return &criapi.StatusResponse{Info: map[string]string{"config": c.config}}, nil
}

func serveCRI(t *testing.T, socket, config string) *criRuntime {
	t.Helper()
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server, service := grpc.NewServer(), &criRuntime{config: config}
	criapi.RegisterRuntimeServiceServer(server, service)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	return service
}

func cluster(allowed bool, groups ...string) kubernetes.Interface {
	c := clientset.NewClientset()
	for _, group := range groups {
		c.Resources = append(c.Resources, &metav1.APIResourceList{GroupVersion: group})
	}
	c.Discovery().(*fake.FakeDiscovery).FakedServerVersion = &version.Info{GitVersion: "v1.34.3"}
	c.PrependReactor("create", "selfsubjectaccessreviews",
		func(action clienttesting.Action) (bool, runtime.Object, error) {
			review := action.(clienttesting.CreateAction).GetObject().(*authorizationv1.SelfSubjectAccessReview)
			review.Status.Allowed = allowed || review.Spec.ResourceAttributes.Resource == "resourceclaims"
			return true, review, nil
		})
	return c
}

func TestExamine(t *testing.T) {
	tests := map[string]struct {
		change func(t *testing.T, n *node)
		want   map[string]string // by subject: verdict and a part of detail and mend; others are ok
	}{
		"a node that has everything": {change: func(*testing.T, *node) {}},
		"no kubelet": {
			change: func(t *testing.T, n *node) { must(t, os.RemoveAll(n.dir+"/kubelet/plugins_registry")) },
			want:   map[string]string{"kubelet directories": "bad|no such file or directory|--kubelet-dir"},
		},
		"a file in place of the CDI directory": {
			change: func(t *testing.T, n *node) {
				must(t, os.Remove(n.dir+"/cdi"))
				must(t, os.WriteFile(n.dir+"/cdi", nil, 0o644))
			},
			want: map[string]string{"CDI directory": "bad|not a directory|--cdi-dir"},
		},
		"a CDI directory that is yet to be made, and that the runtime does not know": {
			change: func(_ *testing.T, n *node) { n.options.CDIDir = n.dir + "/new/cdi" },
			want:   map[string]string{"container runtime": "bad|looks for CDI files in /etc/cdi|set --cdi-dir"},
		},
		"state that a reboot does not empty": {
			change: func(_ *testing.T, n *node) { n.options.StateDir = "/proc/self/fdinfo" },
			want:   map[string]string{"state directory": "warning|not on a tmpfs|tmpfs"},
		},
		"a pod, which does not see the device plugins": {
			change: func(t *testing.T, n *node) { must(t, os.Remove(n.dir+"/kubelet/device-plugins")) },
			want:   map[string]string{"device plugins": "warning|cannot be told|on the node as root"},
		},
		"a pod, of whose state directory only the driver's part is the node's": {
			change: func(t *testing.T, n *node) {
				shm, err := os.MkdirTemp("/dev/shm", "doctor-") //nolint:usetesting // t.TempDir cannot be told where
				must(t, err)
				t.Cleanup(func() { _ = os.RemoveAll(shm) })
				n.options.StateDir = n.dir + "/state"
				must(t, os.MkdirAll(n.dir+"/state", 0o755))
				must(t, os.Symlink(shm, n.dir+"/state/gpu.example.com"))
			},
		},
		"a device plugin for GPUs": {
			change: func(t *testing.T, n *node) {
				must(t, os.WriteFile(n.dir+"/kubelet/device-plugins/nvidia-gpu.sock", nil, 0o644))
			},
			want: map[string]string{"device plugins": "warning|nvidia-gpu.sock|take it off"},
		},
		"a runtime without CDI": {
			change: func(_ *testing.T, n *node) { n.runtime.config = `{"enableCDI":false}` },
			want:   map[string]string{"container runtime": "bad|containerd v2.1.4 does not use CDI|enable_cdi = true"},
		},
		"a runtime that says nothing": {
			change: func(_ *testing.T, n *node) { n.runtime.config = `` },
			want:   map[string]string{"container runtime": "warning|does not say|documentation"},
		},
		"no runtime": {
			change: func(_ *testing.T, n *node) { n.options.RuntimeSockets = n.options.RuntimeSockets[:1] },
			want:   map[string]string{"container runtime": "warning|cannot be asked|on the node itself"},
		},
		"a cluster without DRA": {
			change: func(_ *testing.T, n *node) { n.options.Client = cluster(true) },
			want: map[string]string{
				"API server": "bad|v1.34.3 does not serve resource.k8s.io/v1|1.34 or newer", "rights": "-",
			},
		},
		"no right to write slices": {
			change: func(_ *testing.T, n *node) { n.options.Client = cluster(false, "resource.k8s.io/v1") },
			want:   map[string]string{"rights": "bad|not allowed: list resourceslices, watch|ClusterRole"},
		},
		"no way to the API server": {
			change: func(_ *testing.T, n *node) { n.options.Client, n.options.NoClient = nil, errors.New("no kubeconfig") },
			want:   map[string]string{"API server": "warning|no kubeconfig|--kubeconfig", "rights": "-"},
		},
		"a backend that cannot look": {
			change: func(_ *testing.T, n *node) { n.options.Backend = blind{} },
			want:   map[string]string{"devices": "bad|no driver|dragoman devices"},
		},
		"a backend that examines for itself": {
			change: func(_ *testing.T, n *node) { n.options.Backend = examined{} },
			want:   map[string]string{"NVML library": "bad|not found|install it", "devices": "-"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			test.change(t, n)
			seen := map[string]bool{}
			for _, f := range doctor.Examine(t.Context(), n.options) {
				seen[f.Subject] = true
				want, special := test.want[f.Subject]
				if !special {
					want = "ok||"
				}
				parts := strings.Split(want, "|")
				if len(parts) != 3 || string(f.Verdict) != parts[0] || !strings.Contains(f.Detail, parts[1]) ||
					!strings.Contains(f.Mend, parts[2]) {
					t.Errorf("%s: got %s, %q, %q; want %q", f.Subject, f.Verdict, f.Detail, f.Mend, want)
				}
			}
			for _, subject := range []string{"kubelet directories", "CDI directory", "state directory", "device plugins",
				"container runtime", "API server", "rights", "devices"} {
				if left := test.want[subject] == "-"; seen[subject] == left {
					t.Errorf("%s: said: %v, want %v", subject, seen[subject], !left)
				}
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
