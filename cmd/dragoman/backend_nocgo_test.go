//go:build !cgo

package main

import (
	"strings"
	"testing"
)

func TestWithoutCgoTheNVMLBackendSaysWhyItIsMissing(t *testing.T) {
	_, err := backendOf(t.Context(), &driverConfig{Backend: "nvml"}, t.TempDir())
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"built without cgo", "make image-nvml"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v\nwant %q", err, want)
		}
	}
}
