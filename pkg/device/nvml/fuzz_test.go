//go:build cgo

package nvml

import (
	"regexp"
	"testing"

	"k8s.io/apimachinery/pkg/util/validation"
)

// FuzzNames: whatever a library answers, the API server accepts what becomes of it.
func FuzzNames(f *testing.F) {
	for _, seed := range []string{
		"580.95.05", "550.54", "GPU-b88d8b91-45e6-517e-9fe9-ae4640e03a54", "", "..", "-", "0", "1.2.3.4", "GPU-ÄÖ\xff",
		"999999999.0000000.1", "12345678901234567890",
	} {
		f.Add(seed)
	}
	semver := regexp.MustCompile(`^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)$`)
	f.Fuzz(func(t *testing.T, answer string) {
		if version := semantic(answer); version != "" && !semver.MatchString(version) {
			t.Errorf("the version %q became %q", answer, version)
		}
		if name := gpuName(answer); len(validation.IsDNS1123Label(name)) > 0 {
			t.Errorf("the UUID %q became the name %q", answer, name)
		}
		if value := text(answer).StringValue; len(*value) > 64 {
			t.Errorf("%q became %q, of %d bytes", answer, *value, len(*value))
		}
	})
}
