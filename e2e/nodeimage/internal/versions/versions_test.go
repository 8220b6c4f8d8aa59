package versions

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestEverySetIsComplete(t *testing.T) {
	for name := range table() {
		set, err := Lookup(name)
		if err != nil {
			t.Fatal(err)
		}
		v := reflect.ValueOf(set)
		for i := range v.NumField() {
			if v.Field(i).String() == "" {
				t.Errorf("%s has no %s", name, v.Type().Field(i).Name)
			}
		}
		if set.Minor() < 34 {
			t.Errorf("%s has minor %d", name, set.Minor())
		}
	}
	if _, err := Lookup(Default); err != nil {
		t.Errorf("the default is not in the table: %v", err)
	}
}

func TestUnknownVersionNamesTheKnown(t *testing.T) {
	_, err := Lookup("v1.20.0")
	if err == nil {
		t.Fatal("v1.20.0 was found")
	}
	for name := range maps.Keys(table()) {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("%q does not name %s", err, name)
		}
	}
}

func TestDerivedVersions(t *testing.T) {
	set, err := Lookup("v1.34.3")
	if err != nil {
		t.Fatal(err)
	}
	images := set.SystemImages()
	if !slices.IsSorted(images) || len(images) != 7 {
		t.Errorf("images are not seven sorted names: %v", images)
	}
	for _, want := range []string{"registry.k8s.io/etcd:3.6.5-0", "registry.k8s.io/coredns/coredns:v1.12.1",
		"registry.k8s.io/pause:3.10.1", "registry.k8s.io/kube-proxy:v1.34.3"} {
		if !slices.Contains(images, want) {
			t.Errorf("%s is not among %v", want, images)
		}
	}
}

func TestKeyChangesWithEveryPart(t *testing.T) {
	set, err := Lookup(Default)
	if err != nil {
		t.Fatal(err)
	}
	other := set
	other.Pause = "0"
	keys := map[string]string{
		"same":          set.Key("a", "b"),
		"other version": other.Key("a", "b"),
		"other part":    set.Key("a", "c"),
		"shifted parts": set.Key("ab"),
	}
	seen := map[string]string{}
	for name, key := range keys {
		if first, ok := seen[key]; ok {
			t.Errorf("%s and %s have the same key", name, first)
		}
		seen[key] = name
	}
	if set.Key("a", "b") != keys["same"] {
		t.Error("the same parts give different keys")
	}
}
