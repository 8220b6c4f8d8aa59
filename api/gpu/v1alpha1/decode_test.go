package v1alpha1

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

const head = `{"apiVersion":"gpu.resource.example.com/v1alpha1","kind":"GpuConfig"`

func config(sharing GpuSharing) *GpuConfig {
	return &GpuConfig{
		TypeMeta: metav1.TypeMeta{APIVersion: "gpu.resource.example.com/v1alpha1", Kind: "GpuConfig"},
		Sharing:  &sharing,
	}
}

func timeSlicing(interval TimeSliceInterval) *GpuConfig {
	return config(GpuSharing{Strategy: TimeSlicingStrategy, TimeSlicingConfig: &TimeSlicingConfig{interval}})
}

func spacePartitioning(count int) *GpuConfig {
	return config(GpuSharing{
		Strategy: SpacePartitioningStrategy, SpacePartitioningConfig: &SpacePartitioningConfig{count},
	})
}

func mps(with MPSConfig) *GpuConfig {
	return config(GpuSharing{Strategy: MPSStrategy, MPSConfig: &with})
}

func TestDecode(t *testing.T) {
	for name, test := range map[string]struct {
		raw  string
		want *GpuConfig
	}{
		"nothing said means time slicing": {head + `}`, timeSlicing("Default")},
		"sharing null means time slicing": {head + `,"sharing":null}`, timeSlicing("Default")},
		"a strategy alone":                {head + `,"sharing":{"strategy":"TimeSlicing"}}`, timeSlicing("Default")},
		"an empty object has defaults": {
			head + `,"sharing":{"strategy":"TimeSlicing","timeSlicingConfig":{}}}`, timeSlicing("Default"),
		},
		"an empty interval has its default": {
			head + `,"sharing":{"strategy":"TimeSlicing","timeSlicingConfig":{"interval":""}}}`, timeSlicing("Default"),
		},
		"short": {
			head + `,"sharing":{"strategy":"TimeSlicing","timeSlicingConfig":{"interval":` +
				`"Short"}}}`, timeSlicing("Short"),
		},
		"medium": {
			head + `,"sharing":{"strategy":"TimeSlicing","timeSlicingConfig":{"interval":` +
				`"Medium"}}}`, timeSlicing("Medium"),
		},
		"long": {
			head + `,"sharing":{"strategy":"TimeSlicing","timeSlicingConfig":{"interval":` +
				`"Long"}}}`, timeSlicing("Long"),
		},
		"space partitioning without a count": {
			head + `,"sharing":{"strategy":"SpacePartitioning"}}`, spacePartitioning(1),
		},
		"space partitioning with an object": {
			head + `,"sharing":{"strategy":"SpacePartitioning","spacePartitioningConfig":{}}}`, spacePartitioning(0),
		},
		"space partitioning with a count": {
			head + `,"sharing":{"strategy":"SpacePartitioning","spacePartitioningConfig":{"partitionCount":` +
				`10}}}`, spacePartitioning(10),
		},
		"MPS alone":          {head + `,"sharing":{"strategy":"MPS"}}`, mps(MPSConfig{})},
		"MPS with an object": {head + `,"sharing":{"strategy":"MPS","mpsConfig":{}}}`, mps(MPSConfig{})},
		"MPS with everything": {
			head + `,"sharing":{"strategy":"MPS","mpsConfig":{"defaultActiveThreadPercentage":50,` +
				`"defaultPinnedDeviceMemoryLimit":"10Gi","defaultPerDevicePinnedMemoryLimit":{"0":"1Mi",` +
				`"GPU-0aF-1":"5G","MIG-0a-1":1048576,"MIG-GPU-0a/1/0":"2Mi"}}}}`, mps(MPSConfig{
				DefaultActiveThreadPercentage:  new(50),
				DefaultPinnedDeviceMemoryLimit: new(resource.MustParse("10Gi")),
				DefaultPerDevicePinnedMemoryLimit: map[string]resource.Quantity{
					"0": resource.MustParse("1Mi"), "GPU-0aF-1": resource.MustParse("5G"),
					"MIG-0a-1": resource.MustParse("1Mi"), "MIG-GPU-0a/1/0": resource.MustParse("2Mi"),
				},
			}),
		},
		"exclusive": {head + `,"sharing":{"strategy":"Exclusive"}}`, config(GpuSharing{Strategy: ExclusiveStrategy})},
		"YAML": {
			"apiVersion: gpu.resource.example.com/v1alpha1\nkind: GpuConfig\nsharing: {strategy: " +
				"SpacePartitioning}", spacePartitioning(1),
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, errs := Decode([]byte(test.raw), nil)
			if len(errs) > 0 {
				t.Fatal(errs.ToAggregate())
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	if diff := cmp.Diff(timeSlicing("Default"), Default()); diff != "" {
		t.Errorf("Default: %s", diff)
	}
}

func TestDecodeRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		raw  string
		want []string
	}{
		"nothing": {"", []string{`at: Invalid value: "": is empty`}},
		"a list":  {"[]", []string{`at: Invalid value: "array": must be an object with apiVersion and kind`}},
		"an empty object": {"{}", []string{
			`at.apiVersion: Required value: must be "gpu.resource.example.com/v1alpha1"`,
			`at.kind: Required value: must be "GpuConfig"`,
		}},
		"another kind": {`{"apiVersion":"gpu.resource.example.com/v1","kind":"MigConfig","x":1}`, []string{
			`at.apiVersion: Unsupported value: "gpu.resource.example.com/v1": supported values: ` +
				`"gpu.resource.example.com/v1alpha1"`,
			`at.kind: Unsupported value: "MigConfig": supported values: "GpuConfig"`,
		}},
		"metadata": {head + `,"metadata":{"name":"x"}}`, []string{
			`at.metadata: Forbidden: no such field; there are: apiVersion, kind, sharing`,
		}},
		"no strategy": {head + `,"sharing":{}}`, []string{
			`at.sharing.strategy: Required value: must be TimeSlicing, SpacePartitioning, MPS or Exclusive`,
		}},
		"an unknown strategy and interval": {
			head + `,"sharing":{"strategy":"mps","timeSlicingConfig":{"interval":"short"}}}`, []string{
				`at.sharing.strategy: Unsupported value: "mps": supported values: "TimeSlicing", "SpacePartitioning", ` +
					`"MPS", "Exclusive"`,
				`at.sharing.timeSlicingConfig.interval: Unsupported value: "short": supported values: ` +
					`"Default", "Short", "Medium", "Long"`,
			},
		},
		"time slicing with the other config": {
			head + `,"sharing":{"strategy":"TimeSlicing","spacePartitioningConfig":{"partitionCount":2}}}`, []string{
				`at.sharing.spacePartitioningConfig: Forbidden: belongs to the strategy SpacePartitioning, but ` +
					`the strategy is TimeSlicing`,
			},
		},
		"space partitioning with the other config": {
			head + `,"sharing":{"strategy":"SpacePartitioning","timeSlicingConfig":{}}}`, []string{
				`at.sharing.timeSlicingConfig: Forbidden: belongs to the strategy TimeSlicing, but the strategy ` +
					`is SpacePartitioning`,
			},
		},
		"exclusive with any config": {
			head + `,"sharing":{"strategy":"Exclusive","timeSlicingConfig":{},"mpsConfig":{}}}`, []string{
				`at.sharing.timeSlicingConfig: Forbidden: belongs to the strategy TimeSlicing, but the strategy is ` +
					`Exclusive`,
				`at.sharing.mpsConfig: Forbidden: belongs to the strategy MPS, but the strategy is Exclusive`,
			},
		},
		"MPS beyond its bounds": {
			head + `,"sharing":{"strategy":"MPS","mpsConfig":{"defaultActiveThreadPercentage":0,` +
				`"defaultPinnedDeviceMemoryLimit":"1023Ki","defaultPerDevicePinnedMemoryLimit":` +
				`{"01":"1Gi","GPU-":"1Gi","GPU-x":"1Gi","all":"0"}}}}`, []string{
				`at.sharing.mpsConfig.defaultActiveThreadPercentage: Invalid value: 0: must be between 1 and 100`,
				`at.sharing.mpsConfig.defaultPinnedDeviceMemoryLimit: Invalid value: "1023Ki": must be at least 1Mi`,
				`at.sharing.mpsConfig.defaultPerDevicePinnedMemoryLimit[01]: Invalid value: "01": must be the UUID`,
				`at.sharing.mpsConfig.defaultPerDevicePinnedMemoryLimit[GPU-]: Invalid value: "GPU-": must be the`,
				`at.sharing.mpsConfig.defaultPerDevicePinnedMemoryLimit[GPU-x]: Invalid value: "GPU-x": must be`,
				`at.sharing.mpsConfig.defaultPerDevicePinnedMemoryLimit[all]: Invalid value: "all": must be the UUID`,
				`at.sharing.mpsConfig.defaultPerDevicePinnedMemoryLimit[all]: Invalid value: "0": must be at least`,
			},
		},
		"MPS that cannot be read": {
			head + `,"sharing":{"strategy":"MPS","mpsConfig":{"defaultActiveThreadPercentage":"50",` +
				`"defaultPinnedDeviceMemoryLimit":"much","defaultPerDevicePinnedMemoryLimit":["1Gi"]}}}`, []string{
				`at.sharing.mpsConfig.defaultActiveThreadPercentage: Invalid value: "50": must be a whole number`,
				`at.sharing.mpsConfig.defaultPinnedDeviceMemoryLimit: Invalid value: "much": quantities must match`,
				`at.sharing.mpsConfig.defaultPerDevicePinnedMemoryLimit: Invalid value: "array": must be an object`,
			},
		},
		"less than nothing": {
			head + `,"sharing":{"strategy":"SpacePartitioning","spacePartitioningConfig":{"partitionCount":` +
				`-1}}}`, []string{
				`at.sharing.spacePartitioningConfig.partitionCount: Invalid value: -1: must not be negative`,
			},
		},
		"form and content at once": {
			head + `,"sharing":{"Strategy":"x","strategy":"TimeSlicing","strategy":"TimeSlicing",` +
				`"timeSlicingConfig":{"interval":"Never"},"spacePartitioningConfig":{"partitionCount":"4"}}}`, []string{
				`at.sharing.Strategy: Forbidden: no such field; did you mean "strategy"?`,
				`at.sharing.strategy: Duplicate value: "strategy": the field is given more than once`,
				`at.sharing.spacePartitioningConfig.partitionCount: Invalid value: "4": must be a whole number`,
				`at.sharing.timeSlicingConfig.interval: Unsupported value: "Never"`,
				`at.sharing.spacePartitioningConfig: Forbidden: belongs to`,
			},
		},
		"what could not be read is not missing too": {head + `,"sharing":"TimeSlicing"}`, []string{
			`at.sharing: Invalid value: "TimeSlicing": must be an object`,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			got, errs := Decode([]byte(test.raw), field.NewPath("at"))
			if got != nil {
				t.Errorf("got %v besides the problems", got)
			}
			if len(errs) != len(test.want) {
				t.Fatalf("%d problems instead of %d: %v", len(errs), len(test.want), errs.ToAggregate())
			}
			for i, want := range test.want {
				if !strings.HasPrefix(errs[i].Error(), want) {
					t.Errorf("%s\ndoes not begin with\n%s", errs[i].Error(), want)
				}
			}
		})
	}
}

func TestValidateWithoutDefaults(t *testing.T) {
	if errs := Validate(&GpuConfig{}, nil); len(errs) != 1 || errs[0].Field != "sharing" {
		t.Errorf("%v", errs)
	}
}

func TestDeepCopyIsIndependent(t *testing.T) {
	for _, original := range []*GpuConfig{timeSlicing("Short"), spacePartitioning(2), mps(limits()), {}, nil} {
		if diff := cmp.Diff(original, original.DeepCopy()); diff != "" {
			t.Error(diff)
		}
	}
	original := timeSlicing("Short")
	original.DeepCopyObject().(*GpuConfig).Sharing.TimeSlicingConfig.Interval = "Long"
	if original.Sharing.TimeSlicingConfig.Interval != "Short" {
		t.Error("a copy shares its interval with the original")
	}
	shared := mps(limits())
	copied := shared.DeepCopy().Sharing.MPSConfig
	*copied.DefaultActiveThreadPercentage = 1
	copied.DefaultPinnedDeviceMemoryLimit.Add(resource.MustParse("1Mi"))
	copied.DefaultPerDevicePinnedMemoryLimit["0"] = resource.MustParse("1Mi")
	if diff := cmp.Diff(mps(limits()), shared); diff != "" {
		t.Errorf("a copy shares its limits with the original: %s", diff)
	}
}

func limits() MPSConfig {
	return MPSConfig{
		DefaultActiveThreadPercentage: new(50), DefaultPinnedDeviceMemoryLimit: new(resource.MustParse("10Gi")),
		DefaultPerDevicePinnedMemoryLimit: map[string]resource.Quantity{"0": resource.MustParse("5Gi")},
	}
}

func FuzzDecode(f *testing.F) {
	for _, raw := range []string{
		head + `}`, head + `,"sharing":{"strategy":"TimeSlicing","timeSlicingConfig":{"interval":"Short"}}}`,
		head + `,"sharing":{"strategy":"SpacePartitioning","spacePartitioningConfig":{"partitionCount":` +
			`9223372036854775807}}}`,
		head + `,"sharing":{"strategy":"MPS","mpsConfig":{"defaultActiveThreadPercentage":100,` +
			`"defaultPinnedDeviceMemoryLimit":"1.5Gi","defaultPerDevicePinnedMemoryLimit":{"0":1e9,"MIG-1":"1Ei"}}}}`,
		head + `,"sharing":{"strategy":"MPS","mpsConfig":{"defaultPerDevicePinnedMemoryLimit":{}}}}`,
		head + `,"sharing":{"strategy":"MPS","mpsConfig":{"defaultPinnedDeviceMemoryLimit":"1e-999999999"}}}`,
		head + `,"sharing":{"strategy":"TimeSlicing","timeSlicingConfig":null,"sharing":{}}}`, `{"Kind":` +
			`"GpuConfig"}`, `[`, ``,
		"apiVersion: gpu.resource.example.com/v1alpha1\nkind: GpuConfig\nsharing: &a {strategy: *a}\n",
	} {
		f.Add([]byte(raw))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		first, errs := Decode(raw, field.NewPath("at"))
		if (first == nil) == (len(errs) == 0) {
			t.Fatalf("%v, %v", first, errs)
		}
		if first == nil {
			return
		}
		again, err := json.Marshal(first)
		if err != nil {
			t.Fatal(err)
		}
		second, errs := Decode(again, nil)
		if len(errs) > 0 {
			t.Fatalf("%s: %v", again, errs.ToAggregate())
		}
		if diff := cmp.Diff(first, second, cmpopts.EquateEmpty()); diff != "" {
			t.Error(diff)
		}
	})
}
