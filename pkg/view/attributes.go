package view

import (
	"encoding/json"
	"path"
	"strconv"
	"strings"

	resourceapi "k8s.io/api/resource/v1"
)

// Attributes are a device's attributes by name. As JSON, they are plain values: strings, numbers, true or false, and
// lists of these; a version is a string.
type Attributes map[resourceapi.QualifiedName]resourceapi.DeviceAttribute

// MarshalJSON writes an object with one plain value for each attribute.
func (a Attributes) MarshalJSON() ([]byte, error) {
	plain := make(map[string]any, len(a))
	for name, value := range a {
		plain[string(name)] = plainValue(value)
	}
	return json.Marshal(plain)
}

func plainValue(a resourceapi.DeviceAttribute) any {
	switch {
	case a.StringValue != nil:
		return *a.StringValue
	case a.VersionValue != nil:
		return *a.VersionValue
	case a.IntValue != nil:
		return *a.IntValue
	case a.BoolValue != nil:
		return *a.BoolValue
	case a.StringValues != nil:
		return a.StringValues
	case a.VersionValues != nil:
		return a.VersionValues
	case a.IntValues != nil:
		return a.IntValues
	case a.BoolValues != nil:
		return a.BoolValues
	}
	return nil
}

// AttributeText returns the value as people write it, lists with commas; "" if it is of a type that this does not know.
func AttributeText(a resourceapi.DeviceAttribute) string {
	switch v := plainValue(a).(type) {
	case string:
		return v
	case int64:
		return strconv.FormatInt(v, 10)
	case bool:
		return strconv.FormatBool(v)
	case []string:
		return strings.Join(v, ",")
	case []int64:
		return joined(v, func(n int64) string { return strconv.FormatInt(n, 10) })
	case []bool:
		return joined(v, strconv.FormatBool)
	}
	return ""
}

func joined[T any](values []T, text func(T) string) string {
	all := make([]string, 0, len(values))
	for _, v := range values {
		all = append(all, text(v))
	}
	return strings.Join(all, ",")
}

// Capacities are what a device has of each capacity. As JSON, they are quantities by name.
type Capacities map[resourceapi.QualifiedName]resourceapi.DeviceCapacity

// MarshalJSON writes an object with one quantity for each capacity.
func (c Capacities) MarshalJSON() ([]byte, error) {
	plain := make(map[string]string, len(c))
	for name, capacity := range c {
		plain[string(name)] = capacity.Value.String()
	}
	return json.Marshal(plain)
}

// Named returns the entry with the name: the full name if there is one, otherwise the first in the order of the names
// that is it without its domain, so that "model" finds "gpu.example.com/model".
func Named[V any](all map[resourceapi.QualifiedName]V, name string) (V, bool) {
	if v, ok := all[resourceapi.QualifiedName(name)]; ok {
		return v, true
	}
	var found V
	first := resourceapi.QualifiedName("")
	for qualified, v := range all {
		if path.Base(string(qualified)) == name && (first == "" || qualified < first) {
			first, found = qualified, v
		}
	}
	return found, first != ""
}
