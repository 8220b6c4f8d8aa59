package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"reflect"
	"slices"
	"strings"
	"testing"

	resourceapi "k8s.io/api/resource/v1"
	"sigs.k8s.io/e2e-framework/pkg/features"
	"sigs.k8s.io/e2e-framework/pkg/types"
)

// metadataFiles is where containers find what their devices are, the same for all drivers.
const metadataFiles = "/var/run/kubernetes.io/dra-device-attributes"

// metadata is the part of such a file that the test looks at.
type metadata struct {
	Kind         string
	PodClaimName string
	Requests     []struct {
		Name    string
		Devices []struct {
			Driver, Pool, Name string
			Attributes         map[resourceapi.QualifiedName]resourceapi.DeviceAttribute
		}
	}
}

// deviceMetadata is about the files by which programs learn what their devices are.
func deviceMetadata() types.Feature {
	const folder = "18-metadata-in-the-pod"
	s := newScene("dragoman-18", 2)
	var claims map[string]*resourceapi.ResourceClaim
	return features.New(folder).Setup(s.applied(folder)).
		Assess("there is a file for each claim, with what the slices say of its device", assess(func(t *testing.T) {
			pod := s.running(t, "pod0")
			claims = s.claims(t, pod)
			for name, at := range map[string]string{
				"mine": "resourceclaimtemplates/mine/gpu", "shared": "resourceclaims/named/gpu",
			} {
				file := path.Join(metadataFiles, at, driverName+"-metadata.json")
				text := s.exec(t, "pod0", "ctr0", "cat "+file)
				expectMetadata(t, text, forRequest(t, claims[name], "gpu"))
				s.logs(t, s.namespace, "pod0", "ctr0", "."+strings.TrimPrefix(file, metadataFiles))
			}
		})).
		Assess("nothing of it is left on the node when the pod has gone", assess(func(t *testing.T) {
			s.deletePod(t, "pod0")
			for _, claim := range claims {
				expectNoFiles(t, worker, claim)
			}
			until(t, "nothing of it is on the node", func(ctx context.Context) error { // which is removed after the rest
				left, err := worker.run(ctx, "sh", "-c",
					"find /run/cdi /var/lib/kubelet/plugins/"+driverName+" -name '*"+s.namespace+"*' -o -name '*metadata*.json'")
				if err == nil && left != "" {
					err = fmt.Errorf("there is\n%s", left)
				}
				return err
			})
		})).Feature()
}

// expectMetadata checks the newest version in a file, which comes first.
func expectMetadata(t *testing.T, text string, result result) {
	t.Helper()
	var file metadata
	if err := json.NewDecoder(strings.NewReader(text)).Decode(&file); err != nil {
		t.Fatalf("read the metadata: %v:\n%s", err, text)
	}
	if len(file.Requests) != 1 || len(file.Requests[0].Devices) != 1 {
		t.Fatalf("it is about other things than one device:\n%s", text)
	}
	device := file.Requests[0].Devices[0]
	if file.Kind != "DeviceMetadata" || file.Requests[0].Name != result.Request || device.Driver != result.Driver ||
		device.Pool != result.Pool || device.Name != result.Device {
		t.Errorf("allocated is %s; it says\n%s", asYAML(result), text)
	}
	published := devicePublished(t, result).Attributes
	names := slices.Sorted(maps.Keys(device.Attributes))
	if len(names) == 0 || !reflect.DeepEqual(plainNames(device.Attributes), plainNames(published)) {
		t.Errorf("it has the attributes %v, published are %s", names, asYAML(published))
	}
}

// plainNames takes the name of the driver from the names of attributes, where it may be left out.
func plainNames(
	attributes map[resourceapi.QualifiedName]resourceapi.DeviceAttribute,
) map[string]resourceapi.DeviceAttribute {
	plain := map[string]resourceapi.DeviceAttribute{}
	for name, value := range attributes {
		plain[strings.TrimPrefix(string(name), driverName+"/")] = value
	}
	return plain
}
