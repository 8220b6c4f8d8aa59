package view

import (
	"encoding/json"
	"testing"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func TestAttributesArePlainValues(t *testing.T) {
	for name, test := range map[string]struct {
		attribute  resourceapi.DeviceAttribute
		json, text string
	}{
		"a string":  {resourceapi.DeviceAttribute{StringValue: new("H100 <80GB>")}, `"H100 <80GB>"`, "H100 <80GB>"},
		"a version": {resourceapi.DeviceAttribute{VersionValue: new("1.2.3")}, `"1.2.3"`, "1.2.3"},
		"a number": {
			resourceapi.DeviceAttribute{IntValue: new(int64(-9007199254740993))}, `-9007199254740993`, "-9007199254740993",
		},
		"true or false":  {resourceapi.DeviceAttribute{BoolValue: new(false)}, `false`, "false"},
		"strings":        {resourceapi.DeviceAttribute{StringValues: []string{"a", "b"}}, `["a","b"]`, "a,b"},
		"versions":       {resourceapi.DeviceAttribute{VersionValues: []string{"1.0.0"}}, `["1.0.0"]`, "1.0.0"},
		"numbers":        {resourceapi.DeviceAttribute{IntValues: []int64{1, 2}}, `[1,2]`, "1,2"},
		"several truths": {resourceapi.DeviceAttribute{BoolValues: []bool{true, false}}, `[true,false]`, "true,false"},
		"of a later API": {resourceapi.DeviceAttribute{}, `null`, ""},
	} {
		text, err := json.Marshal(plainValue(test.attribute))
		if err != nil {
			t.Fatal(err)
		}
		var got, want any
		if json.Unmarshal(text, &got) != nil || json.Unmarshal([]byte(test.json), &want) != nil {
			t.Fatalf("%s: %s", name, text)
		}
		compact, _ := json.Marshal(want)
		again, _ := json.Marshal(got)
		if string(again) != string(compact) {
			t.Errorf("%s: %s, want %s", name, text, test.json)
		}
		if got := AttributeText(test.attribute); got != test.text {
			t.Errorf("%s: %q, want %q", name, got, test.text)
		}
	}
	text, err := json.Marshal(Row{
		Attributes: Attributes{"gpu.example.com/model": {StringValue: new("H100")}},
		Capacity:   Capacities{"memory": {Value: resource.MustParse("80Gi")}},
		Left:       map[resourceapi.QualifiedName]resource.Quantity{"memory": resource.MustParse("20Gi")},
		Taints:     []Taint{{DeviceTaint: resourceapi.DeviceTaint{Key: "k", Effect: "NoSchedule"}, Rule: "r"}},
		Where:      Where{Node: "node-a"}, State: Free,
	})
	want := `{"node":"node-a","driver":"","pool":"","device":"","state":"free",` +
		`"attributes":{"gpu.example.com/model":"H100"},"capacity":{"memory":"80Gi"},"left":{"memory":"20Gi"},` +
		`"taints":[{"key":"k","effect":"NoSchedule","rule":"r"}]}`
	if err != nil || string(text) != want {
		t.Errorf("%s, %v\nwant %s", text, err, want)
	}
}

func TestANameIsFoundWithAndWithoutItsDomain(t *testing.T) {
	all := map[resourceapi.QualifiedName]int{
		"model": 1, "a.example.com/model": 2, "c.example.com/kind": 4, "b.example.com/kind": 3,
	}
	for name, want := range map[string]int{
		"model": 1, "a.example.com/model": 2, "kind": 3, "c.example.com/kind": 4, "example.com/kind": 0, "": 0, "mod": 0,
	} {
		if got, found := Named(all, name); got != want || found != (want != 0) {
			t.Errorf("%q: %d, %t; want %d", name, got, found, want)
		}
	}
}
