package equal

import (
	"reflect"
	"testing"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
)

func semantic(a, b []resourceapi.Device) bool { return equality.Semantic.DeepEqual(a, b) }

func alike(a, b resourceapi.Device) bool {
	return Devices([]resourceapi.Device{a}, []resourceapi.Device{b}, semantic)
}

// Every field counts, those that a later version of the API adds included.
func TestDevicesDifferInEachField(t *testing.T) {
	attribute := func(a resourceapi.DeviceAttribute) resourceapi.Device {
		return resourceapi.Device{Attributes: map[resourceapi.QualifiedName]resourceapi.DeviceAttribute{"a": a}}
	}
	capacity := func(c resourceapi.DeviceCapacity) resourceapi.Device {
		return resourceapi.Device{Capacity: map[resourceapi.QualifiedName]resourceapi.DeviceCapacity{"c": c}}
	}
	whole := func(d resourceapi.Device) resourceapi.Device { return d }
	each(t, attribute)
	each(t, capacity)
	each(t, whole)
}

// each sets each field of a T alone and expects that the device is another one.
func each[T any](t *testing.T, device func(T) resourceapi.Device) {
	t.Helper()
	var empty T
	for i := range reflect.TypeOf(empty).NumField() {
		var filled T
		fill(t, reflect.ValueOf(&filled).Elem().Field(i))
		one, other := device(filled), device(empty)
		if alike(one, other) || alike(other, one) {
			t.Errorf("%T: %s does not count", empty, reflect.TypeOf(empty).Field(i).Name)
		}
		if !alike(one, *one.DeepCopy()) {
			t.Errorf("%T: with %s it is not the same as its copy", empty, reflect.TypeOf(empty).Field(i).Name)
		}
	}
}

// fill gives a field a value that is not the empty one.
func fill(t *testing.T, field reflect.Value) {
	t.Helper()
	switch field.Kind() {
	case reflect.String:
		field.SetString("x")
	case reflect.Pointer:
		field.Set(reflect.New(field.Type().Elem()))
	case reflect.Slice:
		field.Set(reflect.MakeSlice(field.Type(), 1, 1))
	case reflect.Map:
		field.Set(reflect.MakeMap(field.Type()))
		field.SetMapIndex(reflect.Zero(field.Type().Key()), reflect.Zero(field.Type().Elem()))
	default:
		if field.Type() != reflect.TypeFor[resource.Quantity]() {
			t.Fatalf("no way to fill a %s", field.Type())
		}
		field.Set(reflect.ValueOf(resource.MustParse("3Gi")))
	}
}

func TestDevices(t *testing.T) {
	named := func(names ...string) (all []resourceapi.Device) {
		for _, name := range names {
			all = append(all, resourceapi.Device{Name: name})
		}
		return all
	}
	with := func(name string, value *string) []resourceapi.Device {
		return []resourceapi.Device{{Attributes: map[resourceapi.QualifiedName]resourceapi.DeviceAttribute{
			resourceapi.QualifiedName(name): {StringValue: value},
		}}}
	}
	of := func(amount string) []resourceapi.Device {
		return []resourceapi.Device{{Capacity: map[resourceapi.QualifiedName]resourceapi.DeviceCapacity{
			"memory": {Value: resource.MustParse(amount)},
		}}}
	}
	list := func(values []int64) []resourceapi.Device {
		return []resourceapi.Device{{Attributes: map[resourceapi.QualifiedName]resourceapi.DeviceAttribute{
			"list": {IntValues: values},
		}}}
	}
	for name, test := range map[string]struct {
		a, b []resourceapi.Device
		same bool
	}{
		"nothing and an empty list":       {nil, []resourceapi.Device{}, true},
		"the same names":                  {named("a", "b"), named("a", "b"), true},
		"another order":                   {named("a", "b"), named("b", "a"), false},
		"one more":                        {named("a"), named("a", "b"), false},
		"one value written in two ways":   {of("1Gi"), of("1024Mi"), true},
		"two amounts":                     {of("1Gi"), of("1G"), false},
		"an attribute of another name":    {with("a", new("x")), with("b", new("x")), false},
		"an attribute without value":      {with("a", new("")), with("a", nil), false},
		"an attribute with another value": {with("a", new("x")), with("a", new("y")), false},
		"no attributes, in two ways": {
			[]resourceapi.Device{{}},
			[]resourceapi.Device{{Attributes: map[resourceapi.QualifiedName]resourceapi.DeviceAttribute{}}}, true,
		},
		"an empty list as value, and no value": {list([]int64{}), list(nil), true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Devices(test.a, test.b, semantic); got != test.same {
				t.Errorf("same: %v", got)
			}
			if library := semantic(test.a, test.b); library != test.same {
				t.Errorf("the library says %v", library)
			}
		})
	}
}
