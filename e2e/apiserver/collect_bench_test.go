package apiserver

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"example.com/dragoman/pkg/sanity/apiserver"
	"example.com/dragoman/pkg/view/collect"
)

// BenchmarkLook looks at a cluster of 1,000 nodes with 10 devices each, of which 5,000 have a claim and a pod.
//
// LOOK_VERSION chooses the API server; without it, it is the oldest that is supported.
func BenchmarkLook(b *testing.B) {
	version := os.Getenv("LOOK_VERSION")
	if version == "" {
		version = apiserver.DefaultVersion
	}
	ctx, stop := context.WithTimeout(b.Context(), 20*time.Minute)
	defer stop()
	_, config := startFilled(ctx, b, version)
	want := collect.Want{Nodes: true, Claims: true, Pods: true, Templates: true, TaintRules: true, Namespaces: true}
	for b.Loop() {
		collector, err := collect.New(config) // connecting is part of it
		if err != nil {
			b.Fatal(err)
		}
		cluster, err := collector.Look(ctx, want)
		if err != nil || len(cluster.Claims) != 5000 || len(cluster.Pods) != 5000 || len(cluster.Slices) != 1000 {
			b.Fatal(err, len(cluster.Claims), len(cluster.Pods), len(cluster.Slices))
		}
		b.StopTimer()
		runtime.GC()
		var memory runtime.MemStats
		runtime.ReadMemStats(&memory)
		b.ReportMetric(float64(memory.HeapAlloc)/(1<<20), "MiB-kept")
		b.ReportMetric(float64(memory.Sys)/(1<<20), "MiB-of-system")
		runtime.KeepAlive(cluster)
		b.StartTimer()
	}
}

// startFilled starts an API server of the version and fills it; it returns the server's kubeconfig, too.
func startFilled(ctx context.Context, b *testing.B, version string) (kubeconfig string, config *rest.Config) {
	b.Helper()
	found, err := apiserver.Find(ctx, apiserver.Search{Version: version, Environment: os.Getenv})
	if err != nil {
		b.Fatal(err)
	}
	server, err := apiserver.Start(ctx, apiserver.Options{Programs: found})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := server.Stop(); err != nil {
			b.Error(err)
		}
	})
	config, err = clientcmd.BuildConfigFromFlags("", server.Kubeconfig)
	if err != nil {
		b.Fatal(err)
	}
	if err := fill(ctx, config); err != nil {
		b.Fatal(err)
	}
	return server.Kubeconfig, config
}

// fill makes the objects as they are in a cluster: a device has 10 attributes, a pod and a node have what they have
// anywhere.
func fill(ctx context.Context, config *rest.Config) error {
	config = rest.CopyConfig(config)
	config.QPS = -1
	config.ContentType = "application/vnd.kubernetes.protobuf"
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(64)
	for i := range 1000 {
		group.Go(func() error {
			if _, err := client.CoreV1().Nodes().Create(ctx, aNode(i), metav1.CreateOptions{}); err != nil {
				return err
			}
			_, err := client.ResourceV1().ResourceSlices().Create(ctx, aSlice(i), metav1.CreateOptions{})
			return err
		})
	}
	for i := range 5000 {
		group.Go(func() error {
			pod, err := client.CoreV1().Pods("default").Create(ctx, aPod(i), metav1.CreateOptions{})
			if err != nil {
				return err
			}
			claim := usedClaim(i)
			created, err := client.ResourceV1().ResourceClaims("default").Create(ctx, claim, metav1.CreateOptions{})
			if err != nil {
				return err
			}
			created.Status = claim.Status
			created.Status.ReservedFor = []resourceapi.ResourceClaimConsumerReference{
				{Resource: "pods", Name: pod.Name, UID: pod.UID},
			}
			_, err = client.ResourceV1().ResourceClaims("default").UpdateStatus(ctx, created, metav1.UpdateOptions{})
			return err
		})
	}
	return group.Wait()
}

func aSlice(i int) *resourceapi.ResourceSlice {
	node := nodeName(i)
	s := &resourceapi.ResourceSlice{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("00000-gpu.example.com-%s-abcde", node)},
		Spec: resourceapi.ResourceSliceSpec{
			Driver: "gpu.example.com", NodeName: &node, Pool: resourceapi.ResourcePool{Name: node, ResourceSliceCount: 1},
		},
	}
	for d := range 10 {
		s.Spec.Devices = append(s.Spec.Devices, aDevice(i, d))
	}
	return s
}

func aDevice(i, d int) resourceapi.Device {
	text := func(format string, args ...any) resourceapi.DeviceAttribute {
		value := fmt.Sprintf(format, args...)
		return resourceapi.DeviceAttribute{StringValue: &value}
	}
	number := func(n int64) resourceapi.DeviceAttribute { return resourceapi.DeviceAttribute{IntValue: &n} }
	version := "580.95.5"
	return resourceapi.Device{
		Name: fmt.Sprintf("gpu-%d", d),
		Attributes: map[resourceapi.QualifiedName]resourceapi.DeviceAttribute{
			"uuid":                            text("GPU-%08x-7c1d-4c64-9d4a-%012x", i, d),
			"model":                           text("NVIDIA H100 80GB HBM3"),
			"architecture":                    text("Hopper"),
			"type":                            text("gpu"),
			"index":                           number(int64(d)),
			"minor":                           number(int64(d)),
			"driverVersion":                   {VersionValue: &version},
			"resource.kubernetes.io/pciBusID": text("0000:%02x:00.0", d),
			"resource.kubernetes.io/pcieRoot": text("pci0000:%02x", d/2),
			"resource.kubernetes.io/numaNode": number(int64(d / 5)),
		},
		Capacity: map[resourceapi.QualifiedName]resourceapi.DeviceCapacity{
			"memory": {Value: resource.MustParse("80Gi")},
		},
	}
}

func nodeName(i int) string { return fmt.Sprintf("worker-%04d", i) }

func aNode(i int) *corev1.Node {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: nodeName(i), Labels: map[string]string{
		"kubernetes.io/hostname": nodeName(i), "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
		"topology.kubernetes.io/zone": fmt.Sprintf("zone-%d", i%3),
	}}}
	for n := range 50 {
		node.Status.Images = append(node.Status.Images, corev1.ContainerImage{SizeBytes: 1 << 20, Names: []string{
			fmt.Sprintf("registry.example.com/team/image-%02d@sha256:%064x", n, n),
			fmt.Sprintf("registry.example.com/team/image-%02d:v1.%d", n, n),
		}})
	}
	return node
}

func aPod(i int) *corev1.Pod {
	claim := fmt.Sprintf("claim-%04d", i)
	container := corev1.Container{Name: "main", Image: "registry.example.com/team/train:v1", Command: []string{"/train"},
		Resources: corev1.ResourceRequirements{Claims: []corev1.ResourceClaim{{Name: "gpu"}}}}
	for n := range 20 {
		container.Env = append(container.Env, corev1.EnvVar{
			Name: fmt.Sprintf("SETTING_%02d", n), Value: "some value or other",
		})
	}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("train-%04d", i)},
		Spec: corev1.PodSpec{
			NodeName: nodeName(i % 1000), Containers: []corev1.Container{container},
			ResourceClaims: []corev1.PodResourceClaim{{Name: "gpu", ResourceClaimName: &claim}},
		},
	}
}

func usedClaim(i int) *resourceapi.ResourceClaim {
	return &resourceapi.ResourceClaim{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("claim-%04d", i)},
		Spec: resourceapi.ResourceClaimSpec{Devices: resourceapi.DeviceClaim{Requests: []resourceapi.DeviceRequest{{
			Name: "gpu", Exactly: &resourceapi.ExactDeviceRequest{DeviceClassName: "gpu.example.com"},
		}}}},
		Status: resourceapi.ResourceClaimStatus{Allocation: &resourceapi.AllocationResult{
			Devices: resourceapi.DeviceAllocationResult{Results: []resourceapi.DeviceRequestAllocationResult{{
				Request: "gpu", Driver: "gpu.example.com", Pool: nodeName(i % 1000), Device: fmt.Sprintf("gpu-%d", i/1000),
			}}},
			NodeSelector: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchFields: []corev1.NodeSelectorRequirement{{
					Key: "metadata.name", Operator: corev1.NodeSelectorOpIn, Values: []string{nodeName(i % 1000)},
				}},
			}}},
		}},
	}
}
