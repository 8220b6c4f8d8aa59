package validation

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"
)

// sample is an object, with what is changed in a good one.
type sample struct {
	kind, name, version string
	edits               []edit
}

// edit sets what is at a path, whose parts are separated by spaces, to a value in YAML; "" takes it away.
type edit struct{ path, value string }

func (s sample) gvk() schema.GroupVersionKind {
	version := s.version
	if version == "" {
		version = "v1"
	}
	kind, _, _ := strings.Cut(s.kind, "/")
	return schema.GroupVersionKind{Group: "resource.k8s.io", Version: version, Kind: kind}
}

func (s sample) object(t *testing.T) []byte {
	t.Helper()
	var object any
	if err := yaml.Unmarshal([]byte(bases()[s.kind]), &object); err != nil {
		t.Fatal(err)
	}
	head := object.(map[string]any) //nolint:forcetypeassert // they are objects
	head["apiVersion"], head["kind"] = s.gvk().GroupVersion().String(), s.gvk().Kind
	for _, e := range s.edits {
		var value any
		if err := yaml.Unmarshal([]byte(e.value), &value); err != nil {
			t.Fatalf("%s: %v", e.value, err)
		}
		if !set(object, strings.Fields(e.path), value, e.value == "") {
			t.Fatalf("%s %s: nothing is at %s", s.kind, s.name, e.path)
		}
	}
	raw, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// set changes the value at a path. Behind the last item of a list comes another one.
func set(in any, path []string, value any, remove bool) bool {
	switch in := in.(type) {
	case map[string]any:
		if len(path) == 1 {
			if in[path[0]] = value; remove {
				delete(in, path[0])
			}
			return true
		}
		if list, ok := in[path[0]].([]any); ok && len(path) == 2 && path[1] == "-" {
			in[path[0]] = append(list, value)
			return true
		}
		return set(in[path[0]], path[1:], value, remove)
	case []any:
		i, err := strconv.Atoi(path[0])
		if err != nil || i >= len(in) {
			return false
		}
		if len(path) == 1 {
			in[i] = value
			return true
		}
		return set(in[i], path[1:], value, remove)
	}
	return false
}

// bases are good objects that have much of what there can be.
func bases() map[string]string {
	const devices = `
devices:
  requests:
  - name: gpu
    exactly:
      deviceClassName: gpus.example.com
      count: 2
      selectors:
      - cel: {expression: 'device.driver == "d.example.com" && device.attributes["d.example.com"].model == "a"'}
      tolerations:
      - {key: d.example.com/sick, operator: Exists, effect: NoSchedule}
      - {key: d.example.com/old, operator: Equal, value: "yes"}
      capacity: {requests: {memory: 4Gi}}
  - name: net
    firstAvailable:
    - {name: fast, deviceClassName: nics.example.com, allocationMode: All}
    - {name: slow, deviceClassName: nics.example.com, count: 1, selectors: [{cel: {expression: "true"}}]}
  constraints:
  - {requests: [gpu, net/fast], matchAttribute: resource.kubernetes.io/pcieRoot}
  config:
  - requests: [net]
    opaque: {driver: d.example.com, parameters: {speed: 7}}
`
	indented := func(by string) string { return strings.ReplaceAll(devices, "\n", "\n"+by) }
	return map[string]string{
		"ResourceClaim": "metadata: {name: c, namespace: labelled, labels: {a: b}}\nspec:" + indented("  "),
		"ResourceClaimTemplate": "metadata: {name: t, namespace: labelled}\nspec:\n" +
			"  metadata: {labels: {a: b}}\n  spec:" + indented("    "),
		"DeviceClass": `
metadata: {name: gpus.example.com}
spec:
  selectors: [{cel: {expression: 'device.driver == "d.example.com"'}}]
  config: [{opaque: {driver: d.example.com, parameters: {a: 1}}}]
  extendedResourceName: d.example.com/gpu
`,
		"ResourceSlice": `
metadata: {name: s}
spec:
  driver: d.example.com
  pool: {name: node-a, generation: 1, resourceSliceCount: 1}
  nodeName: node-a
  devices:
  - name: gpu-0
    attributes:
      model: {string: a}
      driverVersion: {version: 1.2.3-rc.1}
      index: {int: 0}
      d.example.com/ready: {bool: true}
    capacity: {memory: {value: 80Gi}}
    taints: [{key: d.example.com/sick, effect: NoSchedule, value: very}]
  - name: gpu-1
    allowMultipleAllocations: true
    capacity:
      memory: {value: 80Gi, requestPolicy: {default: 1Gi, validRange: {min: 1Gi, max: 40Gi, step: 1Gi}}}
      cores: {value: "8", requestPolicy: {default: "1", validValues: ["1", "2", "8"]}}
    bindingConditions: [d.example.com/attached]
    bindingFailureConditions: [d.example.com/failed]
    bindsToNode: true
`,
		"ResourceSlice/counters": `
metadata: {name: s}
spec:
  driver: d.example.com
  pool: {name: node-a, generation: 1, resourceSliceCount: 2}
  allNodes: true
  sharedCounters:
  - {name: gpu-0, counters: {memory: {value: 80Gi}, slices: {value: "7"}}}
`,
		"ResourceSlice/parts": `
metadata: {name: s}
spec:
  driver: d.example.com
  pool: {name: a/b, generation: 1, resourceSliceCount: 2}
  perDeviceNodeSelection: true
  devices:
  - name: part-0
    nodeName: node-a
    consumesCounters: [{counterSet: gpu-0, counters: {memory: {value: 10Gi}}}]
  - name: part-1
    nodeSelector:
      nodeSelectorTerms:
      - matchExpressions:
        - {key: zone, operator: In, values: [a]}
        - {key: x, operator: Exists}
        - {key: n, operator: Gt, values: ["1"]}
        matchFields: [{key: metadata.name, operator: In, values: [node-a]}]
  - {name: part-2, allNodes: true}
`,
		"DeviceTaintRule": `
metadata: {name: r}
spec:
  deviceSelector: {driver: d.example.com, pool: node-a, device: gpu-0}
  taint: {key: d.example.com/sick, value: very, effect: NoExecute}
`,
	}
}
