package v1alpha1

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// TestFault23HostileParameters: whoever may write a claim may write these. Each is refused, with a path and in few
// words, since the answer becomes an event of the pod; none costs more than reading it.
func TestFault23HostileParameters(t *testing.T) {
	nest := func(depth int, open, shut string) string {
		return head + `,"sharing":` + strings.Repeat(open, depth) + `1` + strings.Repeat(shut, depth) + `}`
	}
	count := func(number string) string {
		return head + `,"sharing":{"strategy":"SpacePartitioning","spacePartitioningConfig":{"partitionCount":` +
			number + `}}}`
	}
	limit := func(quantity string) string {
		return head + `,"sharing":{"strategy":"MPS","mpsConfig":{"defaultPinnedDeviceMemoryLimit":` + quantity + `}}}`
	}
	for name, test := range map[string]struct{ raw, says string }{
		"10 KiB in one word": {
			head + `,"sharing":{"strategy":"` + strings.Repeat("A", 10<<10) + `"}}`, "at.sharing.strategy",
		},
		"10 KiB in the name":        {head + `,"` + strings.Repeat("A", 10<<10) + `":1}`, "no such field"},
		"10 KiB of unknown fields":  {head + strings.Repeat(`,"unknown":1`, 10<<10/12) + `}`, "at.unknown"},
		"10 KiB of devices":         {limits10KiB(), "defaultPerDevicePinnedMemoryLimit[x0000"},
		"more than any claim has":   {head + `,"x":"` + strings.Repeat("A", 2<<20) + `"}`, "at: "},
		"deep lists":                {nest(5000, "[", "]"), "nests deeper"},
		"deep objects":              {nest(5000, `{"sharing":`, "}"), "nests deeper"},
		"very deep and never ended": {head + `,"sharing":` + strings.Repeat("[", 1<<19), "at: "},
		"one field twice": {
			head + `,"sharing":{"strategy":"MPS","strategy":"Exclusive"}}`, "at.sharing.strategy: Duplicate value",
		},
		"one key twice": {
			head + `,"sharing":{"strategy":"MPS","mpsConfig":{"defaultPerDevicePinnedMemoryLimit":{"0":"1Gi","0":"2Gi"}}}}`,
			"Duplicate value",
		},
		"a kind twice":                {head + `,"kind":"MachineProfile"}`, "at.kind: Duplicate value"},
		"a field in other letters":    {head + `,"Sharing":{"strategy":"Exclusive"}}`, `did you mean "sharing"?`},
		"another kind":                {`{"apiVersion":"gpu.resource.example.com/v1alpha1","kind":"Secret"}`, "at.kind"},
		"a kind of another driver":    {`{"apiVersion":"resource.nvidia.com/v1beta1","kind":"GpuConfig"}`, "at.apiVersion"},
		"no kind":                     {`{"sharing":{"strategy":"Exclusive"}}`, "at.kind"},
		"a number beyond 64 bits":     {count("9223372036854775808"), "partitionCount"},
		"a number of 10 KiB":          {count(strings.Repeat("9", 10<<10)), "partitionCount"},
		"a number with an exponent":   {count("1e999999999"), "partitionCount"},
		"a fraction":                  {count("1.5"), "partitionCount"},
		"not a number":                {count(`NaN`), "partitionCount"},
		"a negative number":           {count("-9223372036854775808"), "partitionCount"},
		"a quantity of 10 KiB":        {limit(`"` + strings.Repeat("9", 10<<10) + `"`), "defaultPinnedDeviceMemoryLimit"},
		"a quantity with an exponent": {limit(`"1e-999999999"`), "defaultPinnedDeviceMemoryLimit"},
		"a negative quantity":         {limit(`"-1Gi"`), "defaultPinnedDeviceMemoryLimit"},
		"an alias that multiplies": {
			"a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n" +
				"d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e,*e,*e,*e]\n", "at: ",
		},
		"two documents":    {head + "}\n---\n" + head + "}\n", "must be one YAML document"},
		"bytes of no text": {head + `,"sharing":{"strategy":"` + "\xff\xfe\x00" + `"}}`, "at"},
		"a Go template":    {head + `,"sharing":{"strategy":"%!s(MISSING){{.}}"}}`, "at.sharing.strategy"},
	} {
		t.Run(name, func(t *testing.T) {
			config, errs := Decode([]byte(test.raw), field.NewPath("at"))
			if config != nil || len(errs) == 0 {
				t.Fatalf("it was accepted: %v", config)
			}
			text := errs.ToAggregate().Error()
			if !strings.Contains(text, test.says) {
				t.Errorf("%q is not in\n%.500s", test.says, text)
			}
			if len(text) > 20<<10 {
				t.Errorf("the answer has %d bytes and begins with\n%.500s", len(text), text)
			}
		})
	}
}

func limits10KiB() string {
	var keys []string
	for len(keys) < 10<<10/20 {
		keys = append(keys, fmt.Sprintf(`"x%04d%s":"1Gi"`, len(keys), strings.Repeat("0", len(keys))))
	}
	return head + `,"sharing":{"strategy":"MPS","mpsConfig":{"defaultPerDevicePinnedMemoryLimit":{` +
		strings.Join(keys, ",") + `}}}}`
}
