package driver_test

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	metadatav1beta1 "k8s.io/dynamic-resource-allocation/api/metadata/v1beta1"
	"k8s.io/dynamic-resource-allocation/kubeletplugin"
	drapbv1 "k8s.io/kubelet/pkg/apis/dra/v1"
	cdispecs "tags.cncf.io/container-device-interface/specs-go"

	"example.com/dragoman/pkg/inventory"
)

// newToldRig is a driver that tells containers about their devices.
func newToldRig(t *testing.T, claims ...*resourceapi.ResourceClaim) *rig {
	t.Helper()
	r := newRig(t, claims...)
	r.options.DeviceMetadata, r.options.CDIDir, r.hardware.listed = true, filepath.Join(r.options.KubeletDir, "cdi"), true
	if err := os.MkdirAll(r.options.CDIDir, 0o750); err != nil {
		t.Fatal(err)
	}
	described := gpus()
	for i := range described.Devices {
		described.Devices[i].Attributes = attributes()
		described.Devices[i].Capacity = map[resourceapi.QualifiedName]resourceapi.DeviceCapacity{
			"memory": {Value: resource.MustParse("80Gi")}}
	}
	r.options.Inventory = &stock{more: make(chan inventory.Update), updates: []inventory.Update{described}}
	return r
}

func attributes() map[resourceapi.QualifiedName]resourceapi.DeviceAttribute {
	return map[resourceapi.QualifiedName]resourceapi.DeviceAttribute{
		"model": {StringValue: new("H100")}, "index": {IntValue: new(int64(3))}, "mig": {BoolValue: new(false)},
		"resource.kubernetes.io/pcieRoot": {StringValue: new("pci0000:01")}, "driverVersion": {VersionValue: new("1.2.3")},
	}
}

// files are all files of device metadata on the node, by path below the kubelet's directory.
func (r *rig) files(t *testing.T) (paths []string) {
	t.Helper()
	err := filepath.WalkDir(r.options.KubeletDir, func(path string, entry fs.DirEntry, err error) error {
		below, _ := filepath.Rel(r.options.KubeletDir, path)
		if strings.Contains(path, "metadata") && entry.Type().IsRegular() {
			paths = append(paths, below)
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return paths
}

func prepared(t *testing.T, k *kubelet, name string) []*drapbv1.Device {
	t.Helper()
	got, err := k.plugin(drapbv1.DRAPluginService).NodePrepareResources(limit(t), requestFor(name))
	if err != nil {
		t.Fatal(err)
	}
	c := got.GetClaims()["uid-of-"+name]
	if c.GetError() != "" {
		t.Fatal(c.GetError())
	}
	return c.GetDevices()
}

func TestContainersAreToldAboutTheirDevices(t *testing.T) {
	r := newToldRig(t, aClaim("train", "gpu-1", "gpu-0"))
	r.hardware.network = &resourceapi.NetworkDeviceData{InterfaceName: "net0", IPs: []string{"10.1.0.7/24"}}
	r.start(t)
	k := meet(t, r.registrar())
	devices := prepared(t, k, "train")
	for i, name := range []string{"gpu-1", "gpu-0"} {
		request := []string{"request-0", "request-1"}[i]
		ids := devices[i].GetCdiDeviceIds()
		if want := "gpu.example.com/metadata=uid-of-train_" + request; !slices.Contains(ids, want) || len(ids) != 2 {
			t.Errorf("%s has the CDI devices %q, want its own and %s", name, ids, want)
		}
		var spec cdispecs.Spec
		readJSON(t, filepath.Join(r.options.CDIDir, "gpu.example.com_metadata_uid-of-train_"+request+".json"), &spec)
		mount := spec.Devices[0].ContainerEdits.Mounts[0]
		const want = "/var/run/kubernetes.io/dra-device-attributes/resourceclaims/train/"
		if mount.ContainerPath != want+request+"/gpu.example.com-metadata.json" {
			t.Errorf("a container finds it as %s", mount.ContainerPath)
		}
		var about metadatav1beta1.DeviceMetadata
		readJSON(t, mount.HostPath, &about)
		wantDevices := []metadatav1beta1.Device{{Driver: driverName, Pool: nodeName, Name: name, Attributes: attributes(),
			NetworkData: r.hardware.network}}
		if diff := cmp.Diff(wantDevices, about.Requests[0].Devices); diff != "" || about.Name != "train" ||
			about.APIVersion != "metadata.resource.k8s.io/v1beta1" || about.Requests[0].Name != request+"/sub" {
			t.Errorf("%s is told in %s (-want +got):\n%s", about.Name, about.APIVersion, diff)
		}
	}
	mustUnprepare(t, k, "train")
	if left := r.files(t); len(left) > 0 {
		t.Errorf("left is %q", left)
	}
}

// readJSON reads the first value of a file.
func readJSON(t *testing.T, path string, into any) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := json.NewDecoder(file).Decode(into); err != nil {
		t.Fatal(err)
	}
}

func TestBothVersionsOfMetadataAreThereTheNewestFirst(t *testing.T) {
	r := newToldRig(t, aClaim("train", "gpu-0"))
	r.start(t)
	prepared(t, meet(t, r.registrar()), "train")
	raw, err := os.ReadFile(filepath.Join(r.options.KubeletDir, "plugins", driverName,
		"dra-device-metadata/team-a_train/request-0/metadata.json"))
	if err != nil {
		t.Fatal(err)
	}
	var versions []string
	for d := json.NewDecoder(strings.NewReader(string(raw))); d.More(); {
		var one struct {
			APIVersion string `json:"apiVersion"`
		}
		if err := d.Decode(&one); err != nil {
			t.Fatal(err)
		}
		versions = append(versions, one.APIVersion)
	}
	want := []string{"metadata.resource.k8s.io/v1beta1", "metadata.resource.k8s.io/v1alpha1"}
	if !slices.Equal(versions, want) {
		t.Errorf("versions %q, want %q", versions, want)
	}
}

func TestWithoutTheSettingContainersAreToldNothing(t *testing.T) {
	r := newToldRig(t, aClaim("train", "gpu-0"))
	r.options.DeviceMetadata = false
	r.start(t)
	if ids := prepared(t, meet(t, r.registrar()), "train")[0].GetCdiDeviceIds(); len(ids) != 1 || len(r.files(t)) > 0 {
		t.Errorf("CDI devices %q, files %q", ids, r.files(t))
	}
}

// TestAClaimThatIsPreparedRightAfterAStartIsTold: after a reboot the kubelet asks before the devices were looked at.
func TestAClaimThatIsPreparedRightAfterAStartIsTold(t *testing.T) {
	r := newToldRig(t, aClaim("train", "gpu-0"))
	devices := r.options.Inventory.(*stock)
	late := devices.updates[0]
	devices.updates = nil
	r.hardware.during = func(context.Context, types.UID) error {
		go func() { devices.more <- late }()
		return nil
	}
	r.start(t)
	prepared(t, meet(t, r.registrar()), "train")
	var about metadatav1beta1.DeviceMetadata
	readJSON(t, filepath.Join(r.options.KubeletDir, "plugins", driverName,
		"dra-device-metadata/team-a_train/request-0/metadata.json"), &about)
	if len(about.Requests[0].Devices[0].Attributes) != len(attributes()) {
		t.Errorf("it is told %+v", about.Requests[0].Devices)
	}
}

// TestInstancesTakeTurnsWithMetadata: what one has written the other removes.
func TestInstancesTakeTurnsWithMetadata(t *testing.T) {
	r := newToldRig(t, aClaim("train", "gpu-0"), aClaim("serve", "gpu-1"))
	var kubelets []*kubelet
	for _, uid := range []string{"11111111-2222-3333-4444-555555555555", "66666666-7777-8888-9999-000000000000"} {
		r.options.PodUID = types.UID(uid)
		r.start(t)
		registry := filepath.Join(r.options.KubeletDir, "plugins_registry")
		kubelets = append(kubelets, meet(t, filepath.Join(registry,
			kubeletplugin.RollingUpdateRegistrarSocketFile(registry, driverName, types.UID(uid)))))
		if len(kubelets) == 1 {
			prepared(t, kubelets[0], "train")
		}
	}
	if got := r.files(t); len(got) != 2 {
		t.Fatalf("after the second instance started there are %q, want the two files of a claim that is prepared", got)
	}
	prepared(t, kubelets[1], "serve")
	mustUnprepare(t, kubelets[1], "train")
	mustUnprepare(t, kubelets[0], "serve")
	if left := r.files(t); len(left) > 0 {
		t.Errorf("left is %q", left)
	}
}

func TestMetadataThatNoRecordKnowsOfIsRemovedAtTheStart(t *testing.T) {
	for name, enabled := range map[string]bool{"while it is on": true, "when it was turned off": false} {
		t.Run(name, func(t *testing.T) {
			r := newToldRig(t, aClaim("train", "gpu-0"), aClaim("dead", "gpu-1"))
			_, stop := r.start(t)
			k := meet(t, r.registrar())
			prepared(t, k, "train")
			prepared(t, k, "dead")
			if err := stop(); err != nil {
				t.Fatal(err)
			}
			delete(r.hardware.records, "uid-of-dead") // the process died between taking back and removing
			r.options.DeviceMetadata = enabled
			r.start(t)
			k = meet(t, r.registrar())
			left := r.files(t)
			if len(left) != 2 || strings.Contains(strings.Join(left, " "), "dead") {
				t.Errorf("left is %q, want the files of the claim that is prepared", left)
			}
			mustUnprepare(t, k, "train")
			if left := r.files(t); len(left) > 0 {
				t.Errorf("after it was taken back there is %q", left)
			}
		})
	}
}
