package v1alpha1

import (
	"testing"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

func BenchmarkDecode(b *testing.B) {
	for name, raw := range map[string]string{
		"time slicing":    head + `,"sharing":{"strategy":"TimeSlicing","timeSlicingConfig":{"interval":"Long"}}}`,
		"nothing said":    head + `}`,
		"what is refused": head + `,"sharing":{"strategy":"TimeSlicing","timeSlicingConfig":{"intervall":"Long"}}}`,
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, errs := Decode([]byte(raw), field.NewPath("at")); (len(errs) > 0) != (name == "what is refused") {
					b.Fatal(errs.ToAggregate())
				}
			}
		})
	}
}
