package selector_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"example.com/dragoman/pkg/view/selector"
)

const driver = "gpu.example.com"

func gpu() *resourceapi.Device {
	model, version, numa, healthy := "H100", "1.2.3", int64(1), true
	return &resourceapi.Device{
		Name:                     "gpu-0",
		AllowMultipleAllocations: &healthy,
		Attributes: map[resourceapi.QualifiedName]resourceapi.DeviceAttribute{
			"model":                           {StringValue: &model},
			"driverVersion":                   {VersionValue: &version},
			"resource.kubernetes.io/numaNode": {IntValue: &numa},
			"healthy":                         {BoolValue: &healthy},
			"links":                           {StringValues: []string{"a", "b"}},
		},
		Capacity: map[resourceapi.QualifiedName]resourceapi.DeviceCapacity{
			"memory": {Value: resource.MustParse("80Gi")},
		},
	}
}

func TestASelectorMatchesAsTheSchedulerSays(t *testing.T) {
	for name, c := range map[string]struct {
		expression string
		matches    bool
		err        string
	}{
		"the driver":                  {`device.driver == "gpu.example.com"`, true, ""},
		"an attribute without domain": {`device.attributes["gpu.example.com"].model == "H100"`, true, ""},
		"an attribute with a domain":  {`device.attributes["resource.kubernetes.io"].numaNode == 1`, true, ""},
		"a version": {
			`device.attributes["gpu.example.com"].driverVersion.isGreaterThan(semver("1.2.0"))`, true, "",
		},
		"a capacity that is too small": {
			`device.capacity["gpu.example.com"].memory.compareTo(quantity("81Gi")) >= 0`, false, "",
		},
		"a boolean attribute alone": {`device.attributes["gpu.example.com"].healthy`, true, ""},
		"several allocations":       {`device.allowMultipleAllocations`, true, ""},
		"a list":                    {`device.attributes["gpu.example.com"].links.includes("b")`, true, ""},
		"an attribute nobody has": {
			`device.attributes["gpu.example.com"].modelName == "H100"`, false, "no such key: modelName",
		},
		"a domain nobody has": {
			`device.attributes["other.example.com"].model == "H100"`, false, "no such key: model",
		},
		"an attribute asked with ?.": {`device.attributes["gpu.example.com"].?modelName.orValue("") == "H100"`, false, ""},
		"an attribute that is no bool": {
			`device.attributes["gpu.example.com"].model`, false, "could not be converted to bool",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := selector.Compile(c.expression)
			if err != nil {
				t.Fatalf("compile: %v", err)
			}
			matches, err := s.Matches(t.Context(), driver, gpu())
			if matches != c.matches {
				t.Errorf("matches: %t, want %t", matches, c.matches)
			}
			if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
				t.Errorf("error: %v, want %q", err, c.err)
			}
		})
	}
}

func TestWhatIsWrongWithAnExpressionHasAPlace(t *testing.T) {
	for name, c := range map[string]struct {
		expression string
		want       []selector.Problem
	}{
		"an unknown variable": {
			`dev.driver == ""`,
			[]selector.Problem{{Line: 1, Column: 1, Message: "undeclared reference to 'dev' (in container '')"}},
		},
		"an unknown field, in the second line": {
			"true &&\n  device.attribute.a.b", []selector.Problem{{Line: 2, Column: 9, Message: "undefined field 'attribute'"}},
		},
		"two at once": {
			"a && b", []selector.Problem{
				{Line: 1, Column: 1, Message: "undeclared reference to 'a' (in container '')"},
				{Line: 1, Column: 6, Message: "undeclared reference to 'b' (in container '')"},
			},
		},
		"no truth value": {`"x"`, []selector.Problem{{Message: "must evaluate to bool or the unknown type, not string"}}},
		"the end is missing": {
			`device.driver ==`, []selector.Problem{{
				Line: 1, Column: 17, Message: "Syntax error: mismatched input '<EOF>' expecting " +
					"{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}",
			}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := selector.Compile(c.expression)
			var wrong *selector.CompileError
			if !errors.As(err, &wrong) {
				t.Fatalf("error: %v, want a *CompileError", err)
			}
			if !slices.Equal(wrong.Problems, c.want) {
				t.Errorf("problems:\n%v\nwant\n%v", wrong.Problems, c.want)
			}
		})
	}
}

func TestANewExpressionObeysTheLimitsOfTheAPI(t *testing.T) {
	long := `device.driver == "` + strings.Repeat("x", resourceapi.CELSelectorExpressionMaxLength) + `"`
	var tooLong *selector.TooLongError
	if _, err := selector.CompileNew(long, selector.Rules{}); !errors.As(err, &tooLong) {
		t.Errorf("long expression: %v, want a *TooLongError", err)
	}
	costly := `device.attributes["d"].all(a, device.attributes["d"].all(b, device.attributes["d"].all(c, ` +
		`device.attributes["d"].all(e, a + b + c + e != "x"))))`
	var tooCostly *selector.TooCostlyError
	if _, err := selector.CompileNew(costly, selector.Rules{}); !errors.As(err, &tooCostly) {
		t.Errorf("costly expression: %v, want a *TooCostlyError", err)
	}
	if _, err := selector.Compile(costly); err != nil {
		t.Errorf("costly expression that is stored: %v", err)
	}
}

func TestANewExpressionHasTheLanguageOfItsCluster(t *testing.T) {
	for expression, rules := range map[string]selector.Rules{
		`device.allowMultipleAllocations`:                   {ConsumableCapacity: true},
		`device.attributes["d"].a.exists(v, v == "x")`:      {ListTypeAttributes: true},
		`device.attributes["d"].a.includes("x")`:            {ListTypeAttributes: true},
		`device.attributes["gpu.example.com"].model + "-x"`: {DerivedAttribute: true},
	} {
		if _, err := selector.CompileNew(expression, rules); err != nil {
			t.Errorf("%s with %+v: %v", expression, rules, err)
		}
		if _, err := selector.CompileNew(expression, selector.Rules{}); err == nil {
			t.Errorf("%s compiles without %+v", expression, rules)
		}
	}
}

func TestTheNamesInAnExpressionAreFound(t *testing.T) {
	for name, c := range map[string]struct {
		expression string
		want       []string
	}{
		"a field":            {`device.attributes["d"].model == "x"`, []string{`device.attributes["d"].model`}},
		"an index":           {`device.attributes["d"]["model"] == "x"`, []string{`device.attributes["d"].model`}},
		"a name with a dash": {`device.attributes["d"]["a-b"] == "x"`, []string{`device.attributes["d"]["a-b"]`}},
		"a capacity": {
			`device.capacity["d"].memory.isGreaterThan(quantity("1"))`, []string{`device.capacity["d"].memory`},
		},
		"the device's own": {
			`device.driver == "x" && device.allowMultipleAllocations`,
			[]string{"device.driver", "device.allowMultipleAllocations"},
		},
		"a name that is bound": {
			`cel.bind(d, device.attributes["d"], d.a && d.b == 1)`,
			[]string{`device.attributes["d"].a`, `device.attributes["d"].b`},
		},
		"each once": {
			`device.attributes["d"].a == 1 || device.attributes["d"].a == 2`, []string{`device.attributes["d"].a`},
		},
		"in lists and calls": {
			`[device.attributes["d"].a].exists(x, x == device.attributes["d"].b)`,
			[]string{`device.attributes["d"].a`, `device.attributes["d"].b`},
		},
		"a loop hides a name": {`[{"driver": "x"}].exists(device, device.driver == "x")`, nil},
		"optional":            {`device.attributes["d"].?a.orValue(1) == 1`, []string{`device.attributes["d"].a?`}},
		"an optional index":   {`device.attributes["d"][?"a"].hasValue()`, []string{`device.attributes["d"].a?`}},
		"asked before": {
			`has(device.attributes["d"].a) && device.attributes["d"].a == 1`, []string{`device.attributes["d"].a?`},
		},
		"asked with in":     {`"a" in device.attributes["d"]`, []string{`device.attributes["d"].a?`}},
		"a name worked out": {`device.attributes["d"]["a" + "b"] == device.driver`, []string{"device.driver"}},
		"in both of two values": {
			`device.driver == "x" ? device.attributes["d"].a : device.attributes["d"].b`,
			[]string{"device.driver", `device.attributes["d"].a`, `device.attributes["d"].b`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := selector.Compile(c.expression)
			if err != nil {
				t.Fatalf("compile: %v", err)
			}
			var got []string
			for _, r := range s.References() {
				text := r.String()
				if r.Optional {
					text += "?"
				}
				got = append(got, text)
				if r.Line != 1 || r.Column < 1 {
					t.Errorf("%s is at line %d, column %d", r, r.Line, r.Column)
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("references:\n%q\nwant\n%q", got, c.want)
			}
		})
	}
}

func TestAReferenceHasTheValueOfADevice(t *testing.T) {
	for expression, want := range map[string]string{
		`device.driver == ""`:                                        `"gpu.example.com"`,
		`device.allowMultipleAllocations`:                            "true",
		`device.attributes["gpu.example.com"].model == ""`:           `"H100"`,
		`device.attributes["gpu.example.com"].driverVersion == ""`:   `semver("1.2.3")`,
		`device.attributes["resource.kubernetes.io"].numaNode == 0`:  "1",
		`device.attributes["gpu.example.com"].healthy`:               "true",
		`device.attributes["gpu.example.com"].links == []`:           `["a", "b"]`,
		`device.capacity["gpu.example.com"].memory == quantity("1")`: `quantity("80Gi")`,
		`device.attributes["gpu.example.com"].modelName == ""`:       "",
		`device.attributes["other.example.com"].model == ""`:         "",
	} {
		s, err := selector.Compile(expression)
		if err != nil {
			t.Fatalf("compile %s: %v", expression, err)
		}
		r := s.References()[0]
		got, found := r.Value(driver, gpu())
		if !found {
			got = ""
		}
		if got != want || found != (want != "") || found != r.In(driver, gpu()) {
			t.Errorf("%s: %q, %t, in: %t; want %q", r, got, found, r.In(driver, gpu()), want)
		}
	}
}

func TestAnExpressionIsTakenApartAtItsAnds(t *testing.T) {
	for expression, want := range map[string][]string{
		`device.driver == "a"`:                            {`device.driver == "a"`},
		`device.driver == "a&&b" && true && 1 == 1`:       {`device.driver == "a&&b"`, "true", "1 == 1"},
		`(true && false) && true`:                         {`(true && false)`, "true"},
		"true\n  && [true, false].all(x, x && true)":      {"true", "[true, false].all(x, x && true)"},
		`device.driver == "ä" && true`:                    {`device.driver == "ä"`, "true"},
		`true || false && true`:                           {`true || false && true`},
		`(true && true)`:                                  {`(true && true)`},
		`cel.bind(d, device.attributes["d"], d.a && d.b)`: {`cel.bind(d, device.attributes["d"], d.a && d.b)`},
	} {
		s, err := selector.Compile(expression)
		if err != nil {
			t.Fatalf("compile %s: %v", expression, err)
		}
		var got []string
		for _, c := range s.Conditions() {
			got = append(got, c.String())
		}
		if !slices.Equal(got, want) {
			t.Errorf("conditions of %s: %q, want %q", expression, got, want)
		}
	}
}

// Whatever is in an expression: no panic, and what is taken apart says the same as the whole.
func FuzzExpressions(f *testing.F) {
	for _, seed := range []string{
		`device.driver == "gpu.example.com"`, `device.attributes["gpu.example.com"].?model.orValue("x") == "H100" && true`,
		`cel.bind(d, device.attributes["gpu.example.com"], d.healthy && (d.model == "a" || d.numa > 1))`, `"`, "a && b",
		`device.capacity["gpu.example.com"].memory.compareTo(quantity("1Gi")) > 0 && device.allowMultipleAllocations`,
		`has(device.attributes["d"].a) ? [1,2].all(x, x > 0) : {"a": device.driver}["a"] in ["b"]`, "true &&\n\tfalse",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, expression string) {
		if len(expression) > 1000 {
			return
		}
		s, err := selector.Compile(expression)
		if err != nil {
			return
		}
		for _, r := range s.References() {
			if r.In(driver, gpu()) {
				if _, found := r.Value(driver, gpu()); !found {
					t.Errorf("%s is in the device and has no value", r)
				}
			}
		}
		whole, err := s.Matches(t.Context(), driver, gpu())
		if err != nil {
			return
		}
		parts := true
		for _, c := range s.Conditions() {
			part, err := c.Matches(t.Context(), driver, gpu())
			if err != nil && whole {
				t.Errorf("condition %s of %s: %v", c, s, err)
			}
			parts = parts && part
		}
		if whole && !parts {
			t.Errorf("%s matches, and not all of its conditions do", s)
		}
	})
}
