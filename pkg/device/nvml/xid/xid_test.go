package xid

import (
	"strings"
	"testing"
)

func TestDecide(t *testing.T) {
	for name, test := range map[string]struct {
		xids []uint64
		want Severity
	}{
		"what a program did itself says nothing about the GPU": {[]uint64{13, 31, 43, 45, 68, 109}, Harmless},
		"news, tests and what was corrected says nothing":      {[]uint64{106, 107, 121, 154}, Harmless},
		"what needs a reset is fatal": {
			[]uint64{46, 48, 61, 62, 64, 74, 79, 95, 110, 119, 120, 136, 140, 143, 149, 158}, Fatal,
		},
		"what needs attention is less":         {[]uint64{63, 92, 94, 155, 156}, Degraded},
		"what nobody knows is taken seriously": {[]uint64{0, 8, 69, 999, 1 << 40}, Degraded},
	} {
		t.Run(name, func(t *testing.T) {
			for _, number := range test.xids {
				if got := Decide(number).Severity; got != test.want {
					t.Errorf("XID %d is %s, want %s", number, got, test.want)
				}
			}
		})
	}
}

func TestEachPolicyHasASentenceForPeople(t *testing.T) {
	for number := range policies() {
		sentence := Decide(number).Sentence
		if !strings.HasPrefix(sentence, "XID ") || strings.HasSuffix(sentence, ".") {
			t.Errorf("XID %d: %q must begin with the number and have no full stop", number, sentence)
		}
	}
	if got := Decide(79).Sentence; !strings.HasPrefix(got, "XID 79: the GPU has fallen off the bus") {
		t.Error(got)
	}
}

func TestSeveritiesAreOrdered(t *testing.T) {
	if Harmless >= Degraded || Degraded >= Fatal {
		t.Error("a larger severity must be worse")
	}
	if (Policy{}).Severity != Harmless {
		t.Error("nothing known must be harmless")
	}
	if got := Fatal.String() + Degraded.String() + Harmless.String() + Severity(9).String(); got !=
		"FatalDegradedHarmlessSeverity(9)" {
		t.Error(got)
	}
}
