package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"example.com/dragoman/e2e/fakegpu"
)

// The features of the files gpus_*_test.go are about real GPUs: the same installation with the backend nvml. The GPUs
// are made up below NVIDIA's driver (see e2e/fakedriver); all from its library upwards is real.

const (
	gpuModel = "h100"
	// fakeRoot is the root of NVIDIA's driver on the nodes.
	fakeRoot = "/opt/fake-driver"
	migClass = "mig." + driverName
)

// installedBackend is what the driver was last installed with by these tests; empty: as they found it.
var installedBackend string

// installBackend installs the driver with another backend over the one that is there, as "helm upgrade" does.
func installBackend(ctx context.Context, args ...string) error {
	wanted := strings.Join(args, " ")
	if installedBackend == wanted {
		return nil
	}
	flags := []string{"--name", clusterName}
	for flag, variable := range map[string]string{"--cache": "DRAGOMAN_CACHE", "--helm": "HELM"} {
		if value := os.Getenv(variable); value != "" {
			flags = append(flags, flag, value)
		}
	}
	command := exec.CommandContext(ctx, "bin/demo", append(append(flags, args...), "install")...)
	command.Dir = "../.."
	output, err := command.CombinedOutput()
	if err != nil {
		return fmt.Errorf("install the driver with %s: %w\n%s", wanted, err, output)
	}
	installedBackend = wanted
	return nil
}

// useGPUs makes sure that the driver runs with the backend nvml on new GPUs, and with what else is wanted.
func useGPUs(t *testing.T, args ...string) {
	t.Helper()
	args = append([]string{"--backend", "nvml", "--gpu-model", gpuModel}, args...)
	if err := installBackend(t.Context(), args...); err != nil {
		t.Fatal(err)
	}
	settledGPUs(t)
}

// settledGPUs waits until the driver is ready on both nodes and both have their GPUs.
func settledGPUs(t *testing.T) {
	t.Helper()
	for _, n := range []node{controlPlane, worker} {
		until(t, "the driver is ready on node "+string(n), func(ctx context.Context) error {
			_, err := driverOn(ctx, n)
			return err
		})
		devicesBecome(t, n, "eight GPUs", func(devices map[string]resourceapi.Device) error {
			for index := range devicesPerNode {
				if _, ok := devices[n.gpuName(index)]; !ok {
					return fmt.Errorf("GPU %d (%s) is not there", index, n.gpuName(index))
				}
			}
			return nil
		})
	}
}

// uuid returns the UUID of a GPU of the node.
func (n node) uuid(index int) string { return fakegpu.DGX(string(n), gpuModel).UUID(index) }

// gpuName returns the name of the device that a GPU is.
func (n node) gpuName(index int) string { return strings.ToLower(n.uuid(index)) }

// indexOf returns the index of the GPU that a device is.
func (n node) indexOf(t *testing.T, device string) int {
	t.Helper()
	for index := range devicesPerNode {
		if n.gpuName(index) == device {
			return index
		}
	}
	t.Fatalf("node %s has no GPU %s", n, device)
	return -1
}

// happens says what happens to the GPUs of the node from now on.
func (n node) happens(t *testing.T, control fakegpu.Control) {
	t.Helper()
	if err := n.write(t.Context(), "fake-gpu/control.json", control); err != nil {
		t.Fatal(err)
	}
}

// calm is the clean-up after happens.
func (n node) calm(t *testing.T) {
	if err := n.write(context.WithoutCancel(t.Context()), "fake-gpu/control.json", fakegpu.Control{}); err != nil {
		t.Error(err)
	}
}

// write replaces a JSON file of the driver's root.
func (n node) write(ctx context.Context, file string, content any) error {
	text, err := json.Marshal(content)
	if err != nil {
		return err
	}
	const replace = `printf %s "$1" >"$2.new" && mv "$2.new" "$2"`
	_, err = n.run(ctx, "sh", "-c", replace, "sh", string(text), filepath.Join(fakeRoot, file))
	return err
}

// remembers returns what a GPU of the node remembers.
func (n node) remembers(ctx context.Context, index int) (*fakegpu.GPU, error) {
	text, err := n.run(ctx, "sh", "-c", "cat "+fakeRoot+"/fake-gpu/state.json 2>/dev/null || echo {}")
	if err != nil {
		return nil, err
	}
	var state fakegpu.State
	if err := json.Unmarshal([]byte(text), &state); err != nil {
		return nil, fmt.Errorf("read what the GPUs of %s remember: %w", n, err)
	}
	return state.GPU(index), nil
}

// gpuBecomes waits until a GPU of the node remembers what it should.
func gpuBecomes(t *testing.T, n node, index int, what string, check func(*fakegpu.GPU) bool) {
	t.Helper()
	until(t, fmt.Sprintf("GPU %d of %s %s", index, n, what), func(ctx context.Context) error {
		gpu, err := n.remembers(ctx, index)
		if err == nil && !check(gpu) {
			err = fmt.Errorf("it is %+v", *gpu)
		}
		return err
	})
}

// devicesBecome waits until the slices of a node are complete and their devices are as they should be.
func devicesBecome(
	t *testing.T, n node, what string, check func(map[string]resourceapi.Device) error,
) map[string]resourceapi.Device {
	t.Helper()
	var devices map[string]resourceapi.Device
	until(t, "slices of node "+string(n)+" have "+what, func(ctx context.Context) (err error) {
		if devices, err = devicesOf(ctx, n); err == nil {
			err = check(devices)
		}
		return err
	})
	return devices
}

// devicesOf returns the devices of a node by name, from complete slices.
func devicesOf(ctx context.Context, n node) (map[string]resourceapi.Device, error) {
	list, err := client.ResourceV1().ResourceSlices().List(ctx, metav1.ListOptions{
		FieldSelector: "spec.nodeName=" + string(n) + ",spec.driver=" + driverName,
	})
	if err != nil {
		return nil, fmt.Errorf("list the slices of node %s: %w", n, err)
	}
	devices := map[string]resourceapi.Device{}
	for _, slice := range list.Items {
		if expected := slice.Spec.Pool.ResourceSliceCount; expected != int64(len(list.Items)) {
			return nil, fmt.Errorf("node %s has %d of %d slices", n, len(list.Items), expected)
		}
		for _, device := range slice.Spec.Devices {
			devices[device.Name] = device
		}
	}
	return devices, nil
}

// gpusInside is what a container sees of its GPUs.
type gpusInside struct {
	env map[string]string
	// nodes are the device nodes that can be used, below /dev: of GPUs and of capabilities, not those that all have.
	nodes []string
	// libcuda is where the link to the driver's main library leads, and cached whether the linker knows it.
	libcuda string
	cached  bool
	// smi is what nvidia-smi says.
	smi string
}

const lookAtGPUs = `
env
echo '#nodes'
cd /dev
for f in nvidia[0-9]* nvidia-caps/*; do
  [ -c "$f" ] && echo x >"$f" && echo "$f"
done
echo '#rest'
readlink /usr/lib/x86_64-linux-gnu/libcuda.so.1
grep -c libcuda.so.1 /etc/ld.so.cache
/usr/bin/nvidia-smi -L
true`

// lookAtGPUs looks around in a container.
func (s *scene) lookAtGPUs(t *testing.T, pod, container string) gpusInside {
	t.Helper()
	output := s.exec(t, pod, container, lookAtGPUs)
	env, rest, _ := strings.Cut(output, "#nodes\n")
	nodes, rest, _ := strings.Cut(rest, "#rest\n")
	lines := strings.SplitN(rest, "\n", 3)
	if len(lines) < 3 {
		t.Fatalf("container %s of pod %s says:\n%s", container, pod, output)
	}
	return gpusInside{
		env: variables(env), nodes: strings.Fields(nodes), libcuda: lines[0], cached: lines[1] != "0", smi: lines[2],
	}
}

// expectGPUs checks that a container has these GPUs, all that belongs to them, and nothing else.
func (s *scene) expectGPUs(t *testing.T, pod *corev1.Pod, container string, indexes ...int) gpusInside {
	t.Helper()
	var nodes []string
	for _, index := range indexes {
		nodes = append(nodes, fmt.Sprintf("nvidia%d", index))
	}
	seen := s.expectNodes(t, pod, container, nodes...)
	if got := strings.Count(seen.smi, "GPU "); got != len(indexes) {
		t.Errorf("container %s: nvidia-smi lists %d GPUs, expected %d:\n%s", container, got, len(indexes), seen.smi)
	}
	for _, index := range indexes {
		name := node(pod.Spec.NodeName).gpuName(index)
		if !slices.Contains(slices.Collect(maps.Values(seen.env)), name) {
			t.Errorf("container %s: no variable says %s: %v", container, name, seen.env)
		}
	}
	return seen
}

// expectNodes checks that a container has these device nodes, and what every container with a device has.
func (s *scene) expectNodes(t *testing.T, pod *corev1.Pod, container string, nodes ...string) gpusInside {
	t.Helper()
	seen := s.lookAtGPUs(t, pod.Name, container)
	slices.Sort(nodes)
	if slices.Sort(seen.nodes); !slices.Equal(seen.nodes, nodes) {
		t.Errorf("container %s of pod %s has device nodes %v, expected %v", container, pod.Name, seen.nodes, nodes)
	}
	if seen.env["NVIDIA_VISIBLE_DEVICES"] != "void" || seen.env["KUBERNETES_NODE_NAME"] != pod.Spec.NodeName ||
		seen.env["DRA_RESOURCE_DRIVER_NAME"] != driverName {
		t.Errorf("container %s of pod %s has variables %v", container, pod.Name, seen.env)
	}
	if seen.libcuda != "libcuda.so.580.95.05" || !seen.cached {
		t.Errorf("container %s of pod %s: libcuda.so.1 leads to %q, the linker knows it: %v",
			container, pod.Name, seen.libcuda, seen.cached)
	}
	return seen
}

// gpusOf returns the indexes of the GPUs that a container gets from the claims of its pod.
func (s *scene) gpusOf(t *testing.T, pod *corev1.Pod, container corev1.Container) (indexes []int) {
	t.Helper()
	claims := s.claims(t, pod)
	for _, wanted := range container.Resources.Claims {
		for _, result := range allocated(t, claims[wanted.Name]) {
			request, _, _ := strings.Cut(result.Request, "/")
			if wanted.Request == "" || wanted.Request == request {
				indexes = append(indexes, node(result.Pool).indexOf(t, result.Device))
			}
		}
	}
	return indexes
}

// expectAllPods waits until all pods of the namespace run, and checks each container that uses a claim.
func (s *scene) expectAllPods(t *testing.T) []corev1.Pod {
	t.Helper()
	var pods []corev1.Pod
	until(t, "all pods of "+s.namespace+" are there", func(ctx context.Context) error {
		list, err := client.CoreV1().Pods(s.namespace).List(ctx, metav1.ListOptions{})
		if err == nil && len(list.Items) == 0 {
			err = errors.New("there is none")
		}
		if err == nil {
			pods = list.Items
		}
		return err
	})
	for i := range pods {
		pods[i] = *s.running(t, pods[i].Name)
		for _, container := range pods[i].Spec.Containers {
			if len(container.Resources.Claims) > 0 {
				s.expectGPUs(t, &pods[i], container.Name, s.gpusOf(t, &pods[i], container)...)
			}
		}
	}
	return pods
}
