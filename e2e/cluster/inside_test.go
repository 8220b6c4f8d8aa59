package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
)

type result = resourceapi.DeviceRequestAllocationResult

// inside is what a container sees of its devices.
type inside struct {
	env map[string]string
	// nodes are the device nodes: name -> type and numbers, and whether it can be used.
	nodes map[string]string
	// files are the descriptions, by the name of the device.
	files map[string]description
}

// description is the part of the JSON file of a device that the tests look at.
type description struct {
	Claim       struct{ Namespace, Name, UID string }
	Request     string
	Pool        string
	Device      string
	AdminAccess bool
	Attributes  map[string]resourceapi.DeviceAttribute
	Capacity    map[string]resourceapi.DeviceCapacity
}

const lookAround = `
env
echo '#nodes'
for f in /dev/dragoman/*; do
  [ -e "$f" ] || continue
  used=unusable; echo x >"$f" && [ -z "$(head -c1 "$f")" ] && used=usable
  echo "$(basename "$f") $(stat -c '%F %t:%T' "$f") $used"
done
echo '#files'
for f in /run/dragoman/devices/*; do
  [ -e "$f" ] || continue
  (: >>"$f") 2>/dev/null && echo "writable: $f"
  tr -d '\n' <"$f"; echo
done
ls /run/dragoman | grep -vx devices
true`

// aDevice is how a device node looks: a character device with the numbers of /dev/null.
const aDevice = "character special file 1:3 usable"

// look looks around in a container.
func (s *scene) look(t *testing.T, pod, container string) inside {
	t.Helper()
	output := s.exec(t, pod, container, lookAround)
	env, rest, _ := strings.Cut(output, "#nodes\n")
	nodes, files, _ := strings.Cut(rest, "#files\n")
	seen := inside{env: variables(env), nodes: map[string]string{}, files: map[string]description{}}
	for line := range strings.Lines(nodes) {
		name, kind, _ := strings.Cut(strings.TrimSpace(line), " ")
		seen.nodes[name] = kind
	}
	for line := range strings.Lines(files) {
		var d description
		if err := json.Unmarshal([]byte(line), &d); err != nil {
			t.Errorf("container %s finds no description of a device in /run/dragoman, but %q: %v", container, line, err)
			continue
		}
		seen.files[d.Device] = d
	}
	return seen
}

// variables reads the output of env; values have no line breaks here.
func variables(output string) map[string]string {
	env := map[string]string{}
	for line := range strings.Lines(output) {
		if name, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "="); ok {
			env[name] = value
		}
	}
	return env
}

var deviceVariable = regexp.MustCompile(`^GPU_DEVICE_[0-9]+$`)

// devices returns the names of the devices that the variables tell of, sorted.
func (i inside) devices() []string {
	var names []string
	for name, value := range i.env {
		if deviceVariable.MatchString(name) {
			names = append(names, value)
		}
	}
	slices.Sort(names)
	return names
}

// of returns the variable GPU_DEVICE_<ID>_<what> of a device.
func (i inside) of(device, what string) string {
	return i.env["GPU_DEVICE_"+strings.TrimPrefix(device, "gpu-")+"_"+what]
}

// expect checks that the container has the results of the claim, all that belongs to them, and nothing else.
func (i inside) expect(t *testing.T, claim *resourceapi.ResourceClaim, results ...result) {
	t.Helper()
	var names []string
	for _, result := range results {
		names = append(names, result.Device)
		i.expectOne(t, claim, result)
	}
	slices.Sort(names)
	if got := i.devices(); !slices.Equal(got, names) {
		t.Errorf("the variables tell of devices %v, allocated are %v", got, names)
	}
	if got := slices.Sorted(maps.Keys(i.nodes)); !slices.Equal(got, names) {
		t.Errorf("device nodes are %v, allocated are %v", got, names)
	}
	if got := slices.Sorted(maps.Keys(i.files)); !slices.Equal(got, names) {
		t.Errorf("descriptions are of %v, allocated are %v", got, names)
	}
	if i.env["DRA_RESOURCE_DRIVER_NAME"] != driverName {
		t.Errorf("DRA_RESOURCE_DRIVER_NAME=%q", i.env["DRA_RESOURCE_DRIVER_NAME"])
	}
}

func (i inside) expectOne(t *testing.T, claim *resourceapi.ResourceClaim, result result) {
	t.Helper()
	name := result.Device
	if i.nodes[name] != aDevice {
		t.Errorf("/dev/dragoman/%s is %q, expected %q", name, i.nodes[name], aDevice)
	}
	admin := result.AdminAccess != nil && *result.AdminAccess
	d := i.files[name]
	if d.Claim.UID != string(claim.UID) || d.Claim.Name != claim.Name || d.Claim.Namespace != claim.Namespace ||
		d.Request != result.Request || d.Pool != result.Pool || d.AdminAccess != admin {
		t.Errorf("the description of %s is %+v; allocated is %+v of claim %s", name, d, result, claim.UID)
	}
	variable := "GPU_DEVICE_GPU_" + strings.TrimPrefix(name, "gpu-") + "_RESOURCE_CLAIM"
	if i.env[variable] != string(claim.UID) {
		t.Errorf("%s=%q, the claim is %s", variable, i.env[variable], claim.UID)
	}
	if i.env["KUBERNETES_NODE_NAME"] != result.Pool {
		t.Errorf("KUBERNETES_NODE_NAME=%q, the device is of node %s", i.env["KUBERNETES_NODE_NAME"], result.Pool)
	}
	if (i.of(name, "ADMIN_ACCESS") == "true") != admin {
		t.Errorf("admin access of %s is %v, the variable says %q", name, admin, i.of(name, "ADMIN_ACCESS"))
	}
}

// allocated returns the results of a claim; there must be some, all of this driver and one node.
func allocated(t *testing.T, claim *resourceapi.ResourceClaim) []result {
	t.Helper()
	if claim.Status.Allocation == nil || len(claim.Status.Allocation.Devices.Results) == 0 {
		t.Fatalf("claim %s is not allocated", claim.Name)
	}
	results := claim.Status.Allocation.Devices.Results
	seen := map[string]bool{}
	for _, result := range results {
		if result.Driver != driverName || result.Pool != results[0].Pool {
			t.Errorf("claim %s has %s of driver %s, pool %s", claim.Name, result.Device, result.Driver, result.Pool)
		}
		if seen[result.Device] {
			t.Errorf("claim %s has device %s twice", claim.Name, result.Device)
		}
		seen[result.Device] = true
	}
	return results
}

// forRequest returns the only result for a request of a claim; a subrequest counts as its parent.
func forRequest(t *testing.T, claim *resourceapi.ResourceClaim, request string) result {
	t.Helper()
	var found []result
	for _, result := range allocated(t, claim) {
		if parent, _, _ := strings.Cut(result.Request, "/"); parent == request {
			found = append(found, result)
		}
	}
	if len(found) != 1 {
		t.Fatalf("claim %s has %d results for request %s, expected 1", claim.Name, len(found), request)
	}
	return found[0]
}

// expectOnlyClaim checks a container that has all devices of its pod's only claim, and the files on the node.
func (s *scene) expectOnlyClaim(t *testing.T, pod *corev1.Pod, container string) (inside, *resourceapi.ResourceClaim) {
	t.Helper()
	claim := s.onlyClaim(t, pod)
	seen := s.look(t, pod.Name, container)
	seen.expect(t, claim, allocated(t, claim)...)
	if seen.env["KUBERNETES_NODE_NAME"] != pod.Spec.NodeName {
		t.Errorf("the container says it is on %q, the pod is on %s", seen.env["KUBERNETES_NODE_NAME"], pod.Spec.NodeName)
	}
	expectFiles(t, node(pod.Spec.NodeName), claim)
	return seen, claim
}

// expectFiles checks that the node has the CDI file and the record of a claim.
func expectFiles(t *testing.T, n node, claim *resourceapi.ResourceClaim) {
	t.Helper()
	files, err := n.filesOf(t.Context(), claim.UID)
	if err != nil {
		t.Fatal(err)
	}
	for _, expected := range []string{
		"/run/cdi/k8s." + driverName + "-gpu_" + string(claim.UID) + ".json",
		path.Join("/run/dragoman", driverName, "claims", string(claim.UID)+".json"),
	} {
		if !slices.Contains(files, expected) {
			t.Errorf("node %s has no file %s; of this claim it has %v", n, expected, files)
		}
	}
}

// expectNoFiles waits until the node has nothing about a claim.
func expectNoFiles(t *testing.T, n node, claim *resourceapi.ResourceClaim) {
	t.Helper()
	until(t, "nothing about claim "+claim.Name+" is on the node", func(ctx context.Context) error {
		files, err := n.filesOf(ctx, claim.UID)
		if err == nil && len(files) > 0 {
			err = fmt.Errorf("there are %v", files)
		}
		return err
	})
}
