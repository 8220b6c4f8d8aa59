package view

import (
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/api/resource/v1alpha3"
	"k8s.io/api/resource/v1beta1"
	"k8s.io/api/resource/v1beta2"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/conversion"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/json"
	frombeta1 "k8s.io/dynamic-resource-allocation/api/v1beta1"
	frombeta2 "k8s.io/dynamic-resource-allocation/api/v1beta2"
)

// ErrOldTaintRule says that a DeviceTaintRule of v1alpha3 selects devices by class or by CEL expressions. Kubernetes
// 1.34 evaluates them; from 1.35 on there is no such thing, and this does not guess what they select.
var ErrOldTaintRule = errors.New("the rule selects devices by class or CEL expression, which only Kubernetes 1.34 does")

// Convert returns objects of older versions of resource.k8s.io in v1, and unstructured ones of the kinds that a Cluster
// has with their types. All others are returned as they are. The result may share memory with the object.
func Convert(object runtime.Object) (runtime.Object, error) {
	if u, ok := object.(*unstructured.Unstructured); ok {
		typed, err := typedOf(u)
		if err != nil || typed == nil {
			return u, err
		}
		object = typed
	}
	switch o := object.(type) {
	case *v1beta1.ResourceSlice:
		return converted(o, frombeta1.Convert_v1beta1_ResourceSlice_To_v1_ResourceSlice)
	case *v1beta1.ResourceClaim:
		return converted(o, frombeta1.Convert_v1beta1_ResourceClaim_To_v1_ResourceClaim)
	case *v1beta1.ResourceClaimTemplate:
		return converted(o, frombeta1.Convert_v1beta1_ResourceClaimTemplate_To_v1_ResourceClaimTemplate)
	case *v1beta1.DeviceClass:
		return converted(o, frombeta1.Convert_v1beta1_DeviceClass_To_v1_DeviceClass)
	case *v1beta2.ResourceSlice:
		return converted(o, frombeta2.Convert_v1beta2_ResourceSlice_To_v1_ResourceSlice)
	case *v1beta2.ResourceClaim:
		return converted(o, frombeta2.Convert_v1beta2_ResourceClaim_To_v1_ResourceClaim)
	case *v1beta2.ResourceClaimTemplate:
		return converted(o, frombeta2.Convert_v1beta2_ResourceClaimTemplate_To_v1_ResourceClaimTemplate)
	case *v1beta2.DeviceClass:
		return converted(o, frombeta2.Convert_v1beta2_DeviceClass_To_v1_DeviceClass)
	case *v1beta2.DeviceTaintRule:
		return converted(o, frombeta2.Convert_v1beta2_DeviceTaintRule_To_v1_DeviceTaintRule)
	case *v1alpha3.DeviceTaintRule:
		return taintRuleOf(o), nil
	}
	return object, nil
}

// object is a pointer to a T that is a Kubernetes object.
type object[T any] interface {
	*T
	runtime.Object
}

func converted[From, To any, F object[From], T object[To]](
	from F, convert func(*From, *To, conversion.Scope) error,
) (runtime.Object, error) {
	to := new(To)
	if err := convert(from, to, nil); err != nil {
		return nil, fmt.Errorf("convert a %s to resource.k8s.io/v1: %w", kindOf(from), err)
	}
	return T(to), nil
}

// taintRuleOf converts by hand: there is no conversion in the library. The fields are those of v1.
func taintRuleOf(old *v1alpha3.DeviceTaintRule) *resourceapi.DeviceTaintRule {
	rule := &resourceapi.DeviceTaintRule{
		ObjectMeta: old.ObjectMeta,
		Spec: resourceapi.DeviceTaintRuleSpec{Taint: resourceapi.DeviceTaint{
			Key: old.Spec.Taint.Key, Value: old.Spec.Taint.Value,
			Effect: resourceapi.DeviceTaintEffect(old.Spec.Taint.Effect), TimeAdded: old.Spec.Taint.TimeAdded,
		}},
		Status: resourceapi.DeviceTaintRuleStatus{Conditions: old.Status.Conditions},
	}
	if s := old.Spec.DeviceSelector; s != nil {
		rule.Spec.DeviceSelector = &resourceapi.DeviceTaintSelector{Driver: s.Driver, Pool: s.Pool, Device: s.Device}
	}
	return rule
}

// typedOf returns nil for kinds that a Cluster does not have.
func typedOf(u *unstructured.Unstructured) (runtime.Object, error) {
	typed := newObject(u.GroupVersionKind())
	if typed == nil {
		return nil, nil
	}
	if _, alpha := typed.(*v1alpha3.DeviceTaintRule); alpha && selectsByClassOrCEL(u) {
		return nil, fmt.Errorf("read DeviceTaintRule %q: %w", u.GetName(), ErrOldTaintRule)
	}
	// By way of JSON, whose errors name the field.
	text, err := json.Marshal(u.Object)
	if err == nil {
		err = json.Unmarshal(text, typed)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s %q: %w", u.GetKind(), u.GetName(), err)
	}
	return typed, nil
}

func selectsByClassOrCEL(u *unstructured.Unstructured) bool {
	selector, _, err := unstructured.NestedMap(u.Object, "spec", "deviceSelector")
	if err != nil {
		return false // not an object: reading it says so
	}
	return selector["deviceClassName"] != nil || selector["selectors"] != nil
}

func newObject(kind schema.GroupVersionKind) runtime.Object {
	switch kind.GroupVersion() {
	case corev1.SchemeGroupVersion:
		switch kind.Kind {
		case "Node":
			return &corev1.Node{}
		case "Namespace":
			return &corev1.Namespace{}
		case "Pod":
			return &corev1.Pod{}
		case "Event":
			return &corev1.Event{}
		}
	case resourceapi.SchemeGroupVersion:
		return newResource(kind.Kind, &resourceapi.ResourceSlice{}, &resourceapi.DeviceClass{}, &resourceapi.ResourceClaim{},
			&resourceapi.ResourceClaimTemplate{}, &resourceapi.DeviceTaintRule{})
	case v1beta2.SchemeGroupVersion:
		return newResource(kind.Kind, &v1beta2.ResourceSlice{}, &v1beta2.DeviceClass{}, &v1beta2.ResourceClaim{},
			&v1beta2.ResourceClaimTemplate{}, &v1beta2.DeviceTaintRule{})
	case v1beta1.SchemeGroupVersion:
		return newResource(kind.Kind, &v1beta1.ResourceSlice{}, &v1beta1.DeviceClass{}, &v1beta1.ResourceClaim{},
			&v1beta1.ResourceClaimTemplate{}, nil)
	case v1alpha3.SchemeGroupVersion:
		return newResource(kind.Kind, nil, nil, nil, nil, &v1alpha3.DeviceTaintRule{})
	}
	return nil
}

func newResource(kind string, slice, class, claim, template, rule runtime.Object) runtime.Object {
	switch kind {
	case "ResourceSlice":
		return slice
	case "DeviceClass":
		return class
	case "ResourceClaim":
		return claim
	case "ResourceClaimTemplate":
		return template
	case "DeviceTaintRule":
		return rule
	}
	return nil
}

// kindOf returns "apps/v1 Deployment", or Go's name of the type if the object does not say what it is.
func kindOf(object runtime.Object) string {
	kind := object.GetObjectKind().GroupVersionKind()
	if kind.Kind == "" {
		return fmt.Sprintf("%T", object)
	}
	return kind.GroupVersion().String() + " " + kind.Kind
}
