package validate

import (
	"k8s.io/apimachinery/pkg/util/validation/field"

	configv1alpha1 "example.com/dragoman/api/config/v1alpha1"
	"example.com/dragoman/pkg/view/manifest"
)

// ownKind judges the files that this driver reads itself, and says whether a document is one.
func ownKind(d manifest.Document) (findings, bool) {
	if d.Kind.Group != configv1alpha1.GroupName {
		return nil, false
	}
	var errs field.ErrorList
	switch d.Kind.Kind {
	case "DriverConfig":
		_, errs = configv1alpha1.DecodeDriverConfig(d.Raw)
	case "MachineProfile":
		_, errs = configv1alpha1.DecodeMachineProfile(d.Raw)
	default:
		return nil, false
	}
	var f findings
	f.add(errs...)
	return f, true
}
