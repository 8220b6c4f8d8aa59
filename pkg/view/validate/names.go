package validate

import (
	"strings"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func (f *findings) invalid(value string, at *field.Path, messages []string) {
	for _, message := range messages {
		f.add(field.Invalid(at, value, message))
	}
}

// label is the name of a request, a device, a counter.
func (f *findings) label(name string, at *field.Path) {
	if name == "" {
		f.add(field.Required(at, "a name in lower case, such as gpu-0"))
		return
	}
	f.invalid(name, at, validation.IsDNS1123Label(name))
}

func (f *findings) subdomain(name string, at *field.Path) {
	f.invalid(name, at, validation.IsDNS1123Subdomain(name))
}

func (f *findings) labelKey(key string, at *field.Path) {
	f.add(metavalidation.ValidateLabelName(key, at)...)
}

func (f *findings) labelValue(value string, at *field.Path) {
	f.invalid(value, at, validation.IsValidLabelValue(value))
}

// driverName may have upper case, as that of a CSI driver, whose rules these are.
func (f *findings) driverName(name string, at *field.Path) {
	if name == "" {
		f.add(field.Required(at, "the name of a driver"))
		return
	}
	if len(name) > resourceapi.DriverNameMaxLength {
		f.add(field.TooLong(at, "", resourceapi.DriverNameMaxLength))
	}
	f.invalid(name, at, validation.IsDNS1123Subdomain(strings.ToLower(name)))
}

func (f *findings) poolName(name string, at *field.Path) {
	if name == "" {
		f.add(field.Required(at, "the name of a pool"))
		return
	}
	if len(name) > resourceapi.PoolNameMaxLength {
		f.add(field.TooLong(at, "", resourceapi.PoolNameMaxLength))
	}
	for part := range strings.SplitSeq(name, "/") {
		f.subdomain(part, at)
	}
}

// qualified is the name of an attribute or a capacity. API servers take whatever has more than one slash.
func (f *findings) qualified(name string, at *field.Path) {
	domain, id, found := strings.Cut(name, "/")
	switch {
	case !found:
		f.identifier(name, at)
	case strings.Contains(id, "/"):
	default:
		if domain == "" {
			f.add(field.Invalid(at, name, "the domain before the slash is missing"))
		} else {
			f.driverName(domain, at)
		}
		f.identifier(id, at)
	}
}

func (f *findings) fullyQualified(name string, at *field.Path) {
	if !strings.Contains(name, "/") {
		f.add(field.Invalid(at, name, "must have a domain and a slash in front, such as gpu.example.com/model"))
		return
	}
	f.qualified(name, at)
}

func (f *findings) identifier(id string, at *field.Path) {
	if len(id) > resourceapi.DeviceMaxIDLength {
		f.add(field.TooLong(at, "", resourceapi.DeviceMaxIDLength))
	}
	f.invalid(id, at, content.IsCIdentifier(id))
}
