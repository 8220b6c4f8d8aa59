package gather_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"example.com/dragoman/pkg/view"
	"example.com/dragoman/pkg/view/collect"
	"example.com/dragoman/pkg/view/gather"
)

var update = flag.Bool("update", false, "write the golden files anew")

var _ gather.Source = (*collect.Collector)(nil)

// hidden is in every place of the cluster where a secret may be.
const hidden = "hunter2"

// source is a cluster with a driver, whose pod has restarted, a pod that waits and one that runs.
type source struct {
	cluster *view.Cluster
	texts   map[string]string // by path

	mu    sync.Mutex
	asked []string
	want  collect.Want
	about []collect.Ref
	// events are there beside the one of which each cluster tells.
	events []*corev1.Event
}

func newSource() *source {
	return &source{
		cluster: aCluster(),
		texts: map[string]string{
			"/apis/resource.k8s.io":    `{"versions":[{"groupVersion":"resource.k8s.io/v1","version":"v1"}]}`,
			"/apis/resource.k8s.io/v1": `{"resources":[{"name":"resourceslices"},{"name":"deviceclasses"}]}`,
			"/metrics": `# HELP kubernetes_feature_enabled [BETA] This metric records stages.
kubernetes_feature_enabled{name="DRAPartitionableDevices",stage="BETA"} 1
kubernetes_feature_enabled{name="DRAAdminAccess",stage=""} 1
kubernetes_feature_enabled{name="SidecarContainers",stage=""} 1
kubernetes_feature_enabled{name="DRAResourcePoolStatus",stage="ALPHA"} 0
apiserver_request_total 5
`,
			"/apis/apps/v1/daemonsets": `{"metadata":{"continue":"more"},"items":[{"metadata":{"name":"other"}}]}`,
			"/apis/apps/v1/daemonsets?continue=more": `{"items":[{"metadata":{"name":"driver","namespace":"dra"},
				"spec":{"template":{"metadata":{"annotations":{"a":"hunter2"}},"spec":{
					"volumes":[{"name":"r","hostPath":{"path":"/var/lib/kubelet/plugins_registry"}}],
					"containers":[{"name":"plugin","image":"gpu.example.com","args":["--token=hunter2"],
						"env":[{"name":"API_TOKEN","value":"hunter2"}]}]}}},
				"status":{"desiredNumberScheduled":2,"conditions":[{"type":"x","message":"password: hunter2"}]}}]}`,
			"/api/v1/namespaces/dra/pods?labelSelector=app.kubernetes.io/instance=dra": `{"items":[
				{"metadata":{"name":"driver-node-a","uid":"dra/driver-node-a"}},
				{"metadata":{"name":"controller","namespace":"dra","uid":"dra/controller"},"spec":{"containers":[{"name":"main",
					"args":["controller"],"env":[{"name":"API_TOKEN","value":"hunter2"}]}]},"status":{"podIP":"192.0.2.5"}}]}`,
			"/api/v1/namespaces/dra/pods/controller/log?container=main": "leading at 192.0.2.5\n",
			admissionPath + "validatingwebhookconfigurations": `{"items":[{"metadata":{"name":"w"},"webhooks":[
				{"name":"pods","rules":[{"apiGroups":[""]}]},
				{"name":"claims","rules":[{"apiGroups":["resource.k8s.io"]}],"clientConfig":{"caBundle":"aHVudGVyMg==",
					"url":"https://me:hunter2@example.com"}}]},{"metadata":{"name":"none"}}]}`,
			admissionPath + "mutatingwebhookconfigurations": `{"items":[{"metadata":{"name":"all"},"webhooks":[
				{"name":"all","rules":[{"apiGroups":["*"]}],"clientConfig":{"caBundle":"aHVudGVyMg=="}}]}]}`,
			admissionPath + "validatingadmissionpolicies": `{"items":[{"metadata":{"name":"bounds"},"spec":{"matchConstraints":
				{"resourceRules":[{"apiGroups":["resource.k8s.io"]}]},"validations":[{"expression":"object.token == 1"}]}},
				{"metadata":{"name":"none"}}]}`,
			admissionPath + "validatingadmissionpolicybindings": `{"items":[
				{"metadata":{"name":"b"},"spec":{"policyName":"bounds"}},
				{"metadata":{"name":"other"},"spec":{"policyName":"none"}}]}`,
			log + "?container=plugin":                                      "I1 started\nW2 Authorization: " + hidden + "\n",
			log + "?container=plugin&previous=true":                        "panic: the disk is gone, password=" + hidden + "\n",
			"/api/v1/namespaces/dra/pods/driver-node-a:8080/proxy/metrics": "dragoman_devices 3\n",
		},
	}
}

const admissionPath = "/apis/admissionregistration.k8s.io/v1/"

const log = "/api/v1/namespaces/dra/pods/driver-node-a/log"

func (s *source) Look(_ context.Context, want collect.Want) (*view.Cluster, error) {
	s.want = want
	if s.cluster == nil {
		return nil, errors.New("the server is away")
	}
	return s.cluster, nil
}

func (s *source) Events(_ context.Context, about []collect.Ref) ([]*corev1.Event, []view.Unseen) {
	s.about = about
	return append([]*corev1.Event{{
		ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "e"}, Reason: "FailedScheduling",
		Message: "0/1 nodes; token: " + hidden,
	}}, s.events...), []view.Unseen{{Resource: "events", Why: "you may not list events of nodes", Forbidden: true}}
}

func (s *source) Read(_ context.Context, path string, parameters url.Values) (io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if strings.HasSuffix(path, "/log") {
		path += "?container=" + parameters.Get("container")
		if parameters.Get("previous") != "" {
			path += "&previous=true"
		}
		if parameters.Get("tailLines") != "2000" {
			return nil, fmt.Errorf("all of %s is asked for", path)
		}
	}
	for _, name := range []string{"labelSelector", "continue"} {
		if value := parameters.Get(name); value != "" {
			path += "?" + name + "=" + value
		}
	}
	s.asked = append(s.asked, path)
	text, there := s.texts[path]
	if !there {
		return nil, fmt.Errorf("%s is not there", path)
	}
	return io.NopCloser(strings.NewReader(text)), nil
}

func named(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: namespace, Name: name, UID: types.UID(namespace + "/" + name),
		Labels:      map[string]string{"zone": "z", "l": hidden},
		Annotations: map[string]string{"a": hidden, "password": hidden, resourceapi.PodResourceClaimAnnotation: "gpu"},
	}
}

func secretly(fields string) runtime.RawExtension {
	return runtime.RawExtension{Raw: []byte(`{"apiVersion":"gpu.example.com/v1","kind":"GpuConfig",` + fields + `}`)}
}

func configuration() resourceapi.DeviceConfiguration {
	return resourceapi.DeviceConfiguration{Opaque: &resourceapi.OpaqueDeviceConfiguration{
		Driver: "gpu.example.com", Parameters: secretly(`"license":{"password":"` + hidden + `"},"sizes":[1,2],"on":true`),
	}}
}

func aClaim(name string) *resourceapi.ResourceClaim {
	return &resourceapi.ResourceClaim{
		ObjectMeta: named("team", name),
		Spec: resourceapi.ResourceClaimSpec{Devices: resourceapi.DeviceClaim{
			Config: []resourceapi.DeviceClaimConfiguration{{DeviceConfiguration: configuration()}},
		}},
	}
}

func allocated(name, driver string) *resourceapi.ResourceClaim {
	c := aClaim(name)
	data := secretly(`"password":"` + hidden + `"`)
	c.Status = resourceapi.ResourceClaimStatus{
		Allocation: &resourceapi.AllocationResult{Devices: resourceapi.DeviceAllocationResult{
			Results: []resourceapi.DeviceRequestAllocationResult{{Driver: driver, Pool: "node-a", Device: "gpu-0"}},
			Config:  []resourceapi.DeviceAllocationConfiguration{{DeviceConfiguration: configuration()}},
		}},
		Devices: []resourceapi.AllocatedDeviceStatus{{Driver: driver, Pool: "node-a", Device: "gpu-0", Data: &data,
			NetworkData: &resourceapi.NetworkDeviceData{InterfaceName: "eth1"}}},
	}
	return c
}

func secretive() corev1.Container {
	return corev1.Container{
		Name: "main", Image: "registry.example.com/image",
		Args: []string{"--password", hidden, "--token=" + hidden, "--verbose"},
		Env:  []corev1.EnvVar{{Name: "PASSWORD", Value: hidden}, {Name: "MODE", Value: "fast"}},
	}
}

func aCluster() *view.Cluster {
	waits := &corev1.Pod{ObjectMeta: named("team", "waits"), Spec: corev1.PodSpec{
		Containers: []corev1.Container{secretive()}, NodeSelector: map[string]string{"zone": "z"},
		Volumes:        []corev1.Volume{{Name: "data"}},
		ResourceClaims: []corev1.PodResourceClaim{{Name: "gpu"}},
	}, Status: corev1.PodStatus{Phase: corev1.PodPending}}
	runs := waits.DeepCopy()
	runs.Name, runs.UID, runs.Status.Phase = "runs", "runs", corev1.PodRunning
	return &view.Cluster{
		Version: "v1.34.3",
		Nodes: []*corev1.Node{{ObjectMeta: named("", "node-a"), Status: corev1.NodeStatus{
			NodeInfo:  corev1.NodeSystemInfo{MachineID: hidden, ContainerRuntimeVersion: "containerd://2.1.4"},
			Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.0.2.1"}},
		}}},
		Slices: []*resourceapi.ResourceSlice{
			{ObjectMeta: named("", "s"), Spec: resourceapi.ResourceSliceSpec{Driver: "gpu.example.com"}},
			{ObjectMeta: named("", "t"), Spec: resourceapi.ResourceSliceSpec{Driver: "net.example.com"}},
		},
		Classes: []*resourceapi.DeviceClass{{ObjectMeta: named("", "gpu"), Spec: resourceapi.DeviceClassSpec{
			Config: []resourceapi.DeviceClassConfiguration{{DeviceConfiguration: configuration()}},
		}}},
		Claims: []*resourceapi.ResourceClaim{
			aClaim("free"), allocated("given", "gpu.example.com"), allocated("other", "net.example.com"),
		},
		Templates: []*resourceapi.ResourceClaimTemplate{{ObjectMeta: named("team", "template"),
			Spec: resourceapi.ResourceClaimTemplateSpec{ObjectMeta: named("", ""), Spec: aClaim("").Spec}}},
		Pods: []*corev1.Pod{
			installed(plugin("dra", "driver-node-a", "/var/lib/kubelet/plugins/gpu.example.com")),
			plugin("kube-system", "csi-nfs-node", "/var/lib/kubelet/plugins/csi-nfs"), runs, waits,
		},
		Unseen: []view.Unseen{
			{Resource: "namespaces", Why: "you may not list namespaces", Forbidden: true, Right: "list namespaces"},
			{Resource: "devicetaintrules", Why: "not served", NotServed: true},
		},
	}
}

// plugin is a pod that registers plugins with the kubelet, and has restarted.
func plugin(namespace, name, directory string) *corev1.Pod {
	c := secretive()
	c.Name, c.Ports = "plugin", []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}}
	host := func(path string) corev1.Volume {
		return corev1.Volume{Name: filepath.Base(path), VolumeSource: corev1.VolumeSource{
			HostPath: &corev1.HostPathVolumeSource{Path: path},
		}}
	}
	return &corev1.Pod{
		ObjectMeta: named(namespace, name),
		Spec: corev1.PodSpec{
			Containers: []corev1.Container{c},
			Volumes:    []corev1.Volume{host("/var/lib/kubelet/plugins_registry"), host(directory)},
		},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{{
			Name: "plugin", RestartCount: 1, LastTerminationState: corev1.ContainerState{
				Terminated: &corev1.ContainerStateTerminated{Message: "no license with token=" + hidden},
			},
		}}},
	}
}

// installed is a pod of an installation that has others.
func installed(p *corev1.Pod) *corev1.Pod {
	p.Labels["app.kubernetes.io/instance"] = "dra"
	p.Status.PodIP, p.Status.HostIP = "192.0.2.3", "192.0.2.1"
	p.Status.PodIPs, p.Status.HostIPs = []corev1.PodIP{{IP: "192.0.2.3"}}, []corev1.HostIP{{IP: "192.0.2.1"}}
	return p
}

func options() gather.Options {
	return gather.Options{
		Program: "kubectl dra v0.1.0", Time: time.Date(2026, 11, 23, 10, 0, 0, 5, time.UTC),
		Answers: func(_ context.Context, c *view.Cluster) []gather.Answer {
			return []gather.Answer{{Name: "devices.txt", Text: fmt.Sprintf("%d slices\n", len(c.Slices))}}
		},
	}
}

// gathered returns the files of a bundle, in their order, as text.
func gathered(t *testing.T, s *source, o gather.Options) (*gather.Report, string) {
	t.Helper()
	var bundle bytes.Buffer
	report, err := gather.Write(t.Context(), &bundle, s, o)
	if err != nil {
		t.Fatal(err)
	}
	return report, unpacked(t, &bundle)
}

func unpacked(t *testing.T, bundle io.Reader) string {
	t.Helper()
	plain, err := gzip.NewReader(bundle)
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for files := tar.NewReader(plain); ; {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			return text.String()
		} else if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(files)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&text, "=== %s %v %s\n%s", header.Name, header.FileInfo().Mode(),
			header.ModTime.UTC().Format(time.RFC3339), content)
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("read golden file (-update writes it): %v", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-file +now):\n%s", name, diff)
	}
}

func TestABundleHasWhatItShould(t *testing.T) {
	for name, change := range map[string]func(*gather.Options){
		"usual":  func(*gather.Options) {},
		"full":   func(o *gather.Options) { o.Full = true },
		"driver": func(o *gather.Options) { o.Driver, o.WithoutLogs, o.Namespace = "gpu.example.com", true, "team" },
	} {
		t.Run(name, func(t *testing.T) {
			o := options()
			change(&o)
			_, text := gathered(t, newSource(), o)
			golden(t, name+".txt", text)
		})
	}
}

func TestNoBundleHasASecret(t *testing.T) {
	for _, full := range []bool{false, true} {
		o := options()
		o.Full = full
		o.Answers = func(context.Context, *view.Cluster) []gather.Answer {
			return []gather.Answer{{Name: "why.txt", Text: "Secret: " + hidden}}
		}
		_, text := gathered(t, newSource(), o)
		if full { // annotations and labels of any name are what was asked for
			text = strings.ReplaceAll(text, "    a: "+hidden, "")
			text = strings.ReplaceAll(text, "    l: "+hidden, "")
		} else {
			text = strings.ReplaceAll(text, "    l: "+hidden, "") // labels of what is no node are for selecting
		}
		for line := range strings.Lines(text) {
			if strings.Contains(line, hidden) || strings.Contains(line, "aHVudGVyMg") {
				t.Errorf("with full=%t there is: %s", full, line)
			}
			if strings.Contains(line, "192.0.2.") && !full {
				t.Errorf("there is an address: %s", line)
			}
		}
	}
}

func TestTheSameClusterGivesTheSameBundle(t *testing.T) {
	var first, second bytes.Buffer
	for _, to := range []*bytes.Buffer{&first, &second} {
		if _, err := gather.Write(t.Context(), to, newSource(), options()); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("it gives another")
	}
}

func TestTheClusterIsNotChanged(t *testing.T) {
	s := newSource()
	gathered(t, s, options())
	if diff := cmp.Diff(aCluster(), s.cluster); diff != "" {
		t.Errorf("what was looked at is different afterwards (-before +after):\n%s", diff)
	}
}

func TestEventsAreAskedForOfWhatIsInTrouble(t *testing.T) {
	s := newSource()
	gathered(t, s, options())
	want := []collect.Ref{{Kind: "ResourceClaim"}, {Kind: "Node"}, {Kind: "DaemonSet", Namespace: "dra", Name: "driver"},
		{Kind: "Pod", Namespace: "dra", Name: "controller"}, {Kind: "Pod", Namespace: "dra", Name: "driver-node-a"},
		{Kind: "Pod", Namespace: "team", Name: "waits"}}
	if diff := cmp.Diff(want, s.about); diff != "" {
		t.Errorf("events are asked for (-wanted +got):\n%s", diff)
	}
}

func TestEventsOfManyPodsAreAskedForAtOnce(t *testing.T) {
	s := newSource()
	for i := range 30 {
		p := s.cluster.Pods[3].DeepCopy()
		p.Name = fmt.Sprintf("waits-%d", i)
		s.cluster.Pods = append(s.cluster.Pods, p)
	}
	for _, of := range []string{"waits-7", "runs", "is-none-of-devices"} {
		s.events = append(s.events, &corev1.Event{
			ObjectMeta:     metav1.ObjectMeta{Namespace: "team", Name: "of-" + of},
			InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: "team", Name: of},
		})
	}
	report, _ := gathered(t, s, options())
	if last := s.about[len(s.about)-1]; last != (collect.Ref{Kind: "Pod", Namespace: "team"}) || len(s.about) > 6 {
		t.Errorf("events are asked for of %v", s.about)
	}
	var names []string
	for _, e := range report.Cluster.Events {
		names = append(names, e.Name)
	}
	if strings.Join(names, " ") != "e of-waits-7" {
		t.Errorf("kept are %v", names)
	}
}

func TestOfManyDriversThoseThatAreWorstOffAreRead(t *testing.T) {
	s := newSource()
	for i := range 60 {
		p := plugin("dra", fmt.Sprintf("driver-%02d", i), "/var/lib/kubelet/plugins/gpu.example.com")
		p.Status.ContainerStatuses[0].RestartCount = 0
		if i != 55 {
			p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
		}
		s.cluster.Pods = append(s.cluster.Pods, p)
	}
	report, _ := gathered(t, s, options())
	logs := slices.DeleteFunc(slices.Clone(s.asked), func(path string) bool {
		return !strings.HasSuffix(path, "/log?container=plugin")
	})
	if len(logs) != 39 || !slices.Contains(logs, "/api/v1/namespaces/dra/pods/driver-55/log?container=plugin") {
		t.Errorf("read are %d logs: %v", len(logs), logs)
	}
	if !strings.HasPrefix(report.Missing[0], "logs and metrics of 22 of 62 pods of drivers") {
		t.Errorf("said is %q", report.Missing[0])
	}
}

func TestADriverWithoutSlicesIsFound(t *testing.T) {
	s := newSource()
	s.cluster.Slices = nil
	report, _ := gathered(t, s, options())
	var found []string
	for _, p := range report.Drivers {
		found = append(found, p.Name)
	}
	if strings.Join(found, " ") != "controller driver-node-a" {
		t.Errorf("found are %v", found)
	}
}

func TestDriversThatMayNotBeSeenAreMissed(t *testing.T) {
	s := newSource()
	s.cluster.Pods = s.cluster.Pods[2:]
	s.cluster.Unseen = append(s.cluster.Unseen, view.Unseen{Resource: "pods", Forbidden: true, Only: "team"})
	report, text := gathered(t, s, options())
	const missing = "drivers in namespaces whose pods you may not list"
	said := strings.Join(report.Missing, "\n")
	if !strings.HasPrefix(said, missing) || len(report.Missing) != 1 || !strings.Contains(text, "  "+missing) {
		t.Errorf("missing is %v, and the bundle has\n%s", report.Missing, text)
	}
}

func TestWhatMayNotBeReadIsMissing(t *testing.T) {
	s := newSource()
	for path := range s.texts {
		if strings.Contains(path, "admission") || strings.Contains(path, "apps/") || strings.Contains(path, "labelSelector") {
			delete(s.texts, path)
		}
	}
	report, _ := gathered(t, s, options())
	var missing []string
	for _, sentence := range report.Missing {
		what, _, _ := strings.Cut(sentence, ": ")
		missing = append(missing, what)
	}
	if diff := cmp.Diff([]string{
		"pods beside the driver's in namespace dra", "DaemonSets of drivers", "validatingwebhookconfigurations",
		"mutatingwebhookconfigurations", "validatingadmissionpolicies", "validatingadmissionpolicybindings",
	}, missing); diff != "" {
		t.Errorf("missing is said to be (-wanted +got):\n%s", diff)
	}
}

func TestManyObjectsAreInSeveralFiles(t *testing.T) {
	s := newSource()
	for i := range 6 {
		p := s.cluster.Pods[3].DeepCopy()
		p.Name, p.Status.Message = fmt.Sprintf("pod-%d", i), strings.Repeat("all is well ", 100_000)
		s.cluster.Pods = append(s.cluster.Pods, p)
	}
	report, text := gathered(t, s, options())
	if !slices.Contains(report.Files, "dra-bundle/cluster/pods-2.yaml") {
		t.Errorf("files are %v", report.Files)
	}
	for i := range 6 {
		if strings.Count(text, fmt.Sprintf("name: pod-%d\n", i)) != 1 {
			t.Errorf("pod-%d is not there once", i)
		}
	}
}

func TestNamesStayInTheFolder(t *testing.T) {
	o := options()
	o.Answers = func(context.Context, *view.Cluster) []gather.Answer {
		return []gather.Answer{{Name: "../../../etc/passwd", Text: "x"}}
	}
	report, _ := gathered(t, newSource(), o)
	if !slices.Contains(report.Files, "dra-bundle/etc/passwd") {
		t.Errorf("files are %v", report.Files)
	}
}

func TestABundleThatCannotBeMadeIsAnError(t *testing.T) {
	ended, end := context.WithCancel(t.Context())
	end()
	away := newSource()
	away.cluster = nil
	for name, test := range map[string]struct {
		ctx    context.Context
		source *source
		to     io.Writer
		says   string
	}{
		"because nothing can be seen":  {t.Context(), away, io.Discard, "gather: the server is away"},
		"because it was interrupted":   {ended, newSource(), io.Discard, "gather: context canceled"},
		"because it cannot be written": {t.Context(), newSource(), full{}, "no space left on device"},
		"because its end does not fit": {t.Context(), newSource(), &nearlyFull{left: 10}, "no space left on device"},
	} {
		t.Run(name, func(t *testing.T) {
			report, err := gather.Write(test.ctx, test.to, test.source, options())
			if report != nil || err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("it says %v", err)
			}
		})
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

type nearlyFull struct{ left int }

func (n *nearlyFull) Write(p []byte) (int, error) {
	if n.left -= len(p); n.left < 0 {
		return 0, errors.New("no space left on device")
	}
	return len(p), nil
}
