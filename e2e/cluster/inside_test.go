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
	"k8s.io/apimachinery/pkg/types"
)

type result = resourceapi.DeviceRequestAllocationResult

// inside is what a container sees of its devices.
type inside struct {
	env map[string]string
	// nodes are the device nodes: name -> type and numbers, and whether it can be used.
	nodes map[string]string
	// files are the descriptions, by the name that the device has in the container.
	files map[string]description
}

// description is the part of the JSON file of a device that the tests look at.
type description struct {
	Claim       struct{ Namespace, Name, UID string }
	Request     string
	Pool        string
	Device      string
	ShareID     *types.UID
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
		seen.files[inContainer(d.Device, d.ShareID)] = d
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

// inContainer is the name of a device, or of a share of one, inside of a container.
func inContainer(device string, share *types.UID) string {
	if share == nil {
		return device
	}
	return device + "-" + string(*share)[:8]
}

// variableName is how a device is called in the names of variables.
func variableName(device string) string {
	return strings.ToUpper(strings.ReplaceAll(device, "-", "_"))
}

// plainVariable is the variable that says that a container has a device.
func plainVariable(device string) string {
	return "GPU_DEVICE_" + variableName(strings.TrimPrefix(device, "gpu-"))
}

var shareInName = regexp.MustCompile(`^_SHARE_[0-9A-F]{8}$`)

// devices returns the names of the devices that the variables tell of, sorted; one of which there are two shares is
// there twice. The plain name of the only share of a device stands for the one with its ID.
func (i inside) devices() []string {
	var names, plain []string
	for name, value := range i.env {
		rest, ok := strings.CutPrefix(name, plainVariable(value))
		switch {
		case !ok || value == "":
		case rest == "":
			plain = append(plain, value)
		case shareInName.MatchString(rest):
			names = append(names, value)
		}
	}
	for _, device := range plain {
		if !slices.Contains(names, device) {
			names = append(names, device)
		}
	}
	slices.Sort(names)
	return names
}

// of returns the variable GPU_DEVICE_<ID>_<what> of a device.
func (i inside) of(device, what string) string { return i.env[plainVariable(device)+"_"+what] }

// expect checks that the container has the results of the claim, all that belongs to them, and nothing else.
func (i inside) expect(t *testing.T, claim *resourceapi.ResourceClaim, results ...result) {
	t.Helper()
	var names, there []string
	for _, result := range results {
		names = append(names, result.Device)
		there = append(there, inContainer(result.Device, result.ShareID))
		i.expectOne(t, claim, result)
	}
	slices.Sort(names)
	slices.Sort(there)
	if got := i.devices(); !slices.Equal(got, names) {
		t.Errorf("the variables tell of devices %v, allocated are %v", got, names)
	}
	if got := slices.Sorted(maps.Keys(i.nodes)); !slices.Equal(got, there) {
		t.Errorf("device nodes are %v, allocated are %v", got, there)
	}
	if got := slices.Sorted(maps.Keys(i.files)); !slices.Equal(got, there) {
		t.Errorf("descriptions are of %v, allocated are %v", got, there)
	}
	if i.env["DRA_RESOURCE_DRIVER_NAME"] != driverName {
		t.Errorf("DRA_RESOURCE_DRIVER_NAME=%q", i.env["DRA_RESOURCE_DRIVER_NAME"])
	}
}

func (i inside) expectOne(t *testing.T, claim *resourceapi.ResourceClaim, result result) {
	t.Helper()
	name := inContainer(result.Device, result.ShareID)
	if i.nodes[name] != aDevice {
		t.Errorf("/dev/dragoman/%s is %q, expected %q", name, i.nodes[name], aDevice)
	}
	admin := result.AdminAccess != nil && *result.AdminAccess
	d := i.files[name]
	if d.Claim.UID != string(claim.UID) || d.Claim.Name != claim.Name || d.Claim.Namespace != claim.Namespace ||
		d.Request != result.Request || d.Pool != result.Pool || d.AdminAccess != admin {
		t.Errorf("the description of %s is %+v; allocated is %+v of claim %s", name, d, result, claim.UID)
	}
	variable := "GPU_DEVICE_" + variableName(result.Device) + i.shareIn(result) + "_RESOURCE_CLAIM"
	if i.env[variable] != string(claim.UID) {
		t.Errorf("%s=%q, the claim is %s", variable, i.env[variable], claim.UID)
	}
	if i.env["KUBERNETES_NODE_NAME"] != result.Pool {
		t.Errorf("KUBERNETES_NODE_NAME=%q, the device is of node %s", i.env["KUBERNETES_NODE_NAME"], result.Pool)
	}
	if says := i.ofResult(result, "ADMIN_ACCESS"); (says == "true") != admin {
		t.Errorf("admin access of %s is %v, the variable says %q", name, admin, says)
	}
}

// shareIn is what the names of a result's variables have in them if it is a share.
func (i inside) shareIn(result result) string {
	if result.ShareID == nil {
		return ""
	}
	return "_SHARE_" + strings.ToUpper(string(*result.ShareID)[:8])
}

// ofResult returns the variable GPU_DEVICE_<ID>_<what> of a device, or of a share of it.
func (i inside) ofResult(result result, what string) string {
	return i.env[plainVariable(result.Device)+i.shareIn(result)+"_"+what]
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
		name := inContainer(result.Device, result.ShareID)
		if seen[name] {
			t.Errorf("claim %s has device %s twice", claim.Name, name)
		}
		seen[name] = true
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
