//go:build cgo

package mig

import (
	"testing"

	"k8s.io/apimachinery/pkg/util/validation"
)

func TestNamesOfProfilesStayApart(t *testing.T) {
	names := map[string]string{}
	for _, profile := range []string{"1g.24gb", "1g.24gb+me", "1g.24gb-me", "1g.24gb+me.all", "1g.24gb+gfx", "1g.12gb"} {
		name := label(profile)
		if other, taken := names[name]; taken || len(validation.IsDNS1123Label(name)) > 0 {
			t.Errorf("%s of %s (%s)", name, profile, other)
		}
		names[name] = profile
	}
}
