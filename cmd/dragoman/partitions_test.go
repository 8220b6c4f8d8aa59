package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	resourceapi "k8s.io/api/resource/v1"
	"sigs.k8s.io/yaml"
)

// exampleProfile returns the machine profile in a README that contains the text.
func exampleProfile(t *testing.T, readme, contains string) string {
	t.Helper()
	text, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllSubmatch(text, -1)
	for _, block := range blocks {
		if regexp.MustCompile(contains).Match(block[1]) {
			return string(block[1])
		}
	}
	t.Fatalf("%s has no example with %s", readme, contains)
	return ""
}

// The example in the README is what people begin with who try how a scheduler deals with many parts.
func TestManyPartsAreSliced(t *testing.T) {
	profile := exampleProfile(t, filepath.Join("..", "..", "pkg", "device", "mock", "README.md"), "count: 64")
	args := []string{"devices", "--node-name", "node-a", "-o", "yaml", "--mock-profile", file(t, "many.yaml", profile)}
	code, out, problems := invoke(t, nil, args...)
	if code != exitOK || problems != "" {
		t.Fatalf("exit code %d: %s", code, problems)
	}
	var printed struct {
		Slices []resourceapi.ResourceSliceSpec `json:"slices"`
	}
	if err := yaml.Unmarshal([]byte(out), &printed); err != nil {
		t.Fatal(err)
	}
	sets, devices := map[string]bool{}, 0
	for i, slice := range printed.Slices {
		if len(slice.SharedCounters) > 0 && len(slice.Devices) > 0 {
			t.Errorf("slice %d has counters and devices, which no API server accepts since Kubernetes 1.35", i)
		}
		if len(slice.SharedCounters) > resourceapi.ResourceSliceMaxCounterSets || len(slice.Devices) > 64 {
			t.Errorf("slice %d has %d counter sets and %d devices", i, len(slice.SharedCounters), len(slice.Devices))
		}
		for _, set := range slice.SharedCounters {
			sets[set.Name] = true
		}
		devices += len(slice.Devices)
	}
	if len(sets) != 64 || devices != 64*17 {
		t.Errorf("%d counter sets and %d devices", len(sets), devices)
	}
	for _, slice := range printed.Slices {
		for _, d := range slice.Devices {
			if len(d.ConsumesCounters) != 1 || !sets[d.ConsumesCounters[0].CounterSet] {
				t.Error(fmt.Errorf("device %s consumes %v", d.Name, d.ConsumesCounters))
			}
		}
	}
}
