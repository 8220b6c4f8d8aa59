package process

import (
	"fmt"

	resourceapi "k8s.io/api/resource/v1"
)

// machine is a MachineProfile, as its file says it.
type machine map[string]any

// profile is a machine with so many devices, gpu-0 and on.
func profile(devices int) machine {
	return machine{
		"apiVersion": "dragoman.example.com/v1alpha1", "kind": "MachineProfile",
		"groups": []map[string]any{{
			"name": "gpus", "count": devices,
			"attributes": map[string]any{
				"index": map[string]any{"int": "{index}"},
				"model": map[string]any{"string": "ALIKE"},
			},
			"capacity": map[string]any{"memory": map[string]any{"value": "80Gi"}},
		}},
	}
}

// change is an attribute of one device that is not what it was.
type change struct {
	device    string
	attribute resourceapi.QualifiedName
	value     string
}

// in says what is missing of the change in a pool.
func (c change) in(pool []resourceapi.ResourceSlice) error {
	for _, slice := range pool {
		for _, device := range slice.Spec.Devices {
			value := device.Attributes[c.attribute].StringValue
			if device.Name == c.device && value != nil && *value == c.value {
				return nil
			}
		}
	}
	return fmt.Errorf("no device %s with %s=%s", c.device, c.attribute, c.value)
}

// change gives one more device another model.
func (m machine) change(index int) change {
	c := change{device: fmt.Sprintf("gpu-%d", index), attribute: "model", value: "CHANGED"}
	group := m["groups"].([]map[string]any)[0]
	changed, _ := group["devices"].([]map[string]any)
	group["devices"] = append(changed, map[string]any{
		"groupIndex": index,
		"attributes": map[string]any{string(c.attribute): map[string]any{"string": c.value}},
	})
	return c
}
