package validate

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// findings are problems whose lines are not known yet.
type findings []Problem

// add takes over what is wrong, each thing once: some rules are in the types and here.
func (f *findings) add(errs ...*field.Error) {
	for _, err := range errs {
		if err.IsAlpha() { // no API server says so yet
			continue
		}
		p := Problem{Severity: Error, Path: err.Field, Message: sentence(err)}
		kind := err.Type.String()
		if slices.ContainsFunc(*f, func(o Problem) bool {
			return o.Path == p.Path && (o.Message == p.Message || strings.HasPrefix(o.Message, kind) &&
				strings.HasPrefix(p.Message, kind))
		}) {
			continue
		}
		*f = append(*f, p)
	}
}

func (f *findings) warn(at *field.Path, format string, args ...any) {
	*f = append(*f, Problem{Severity: Warning, Path: at.String(), Message: fmt.Sprintf(format, args...)})
}

// sentence leaves out values that are whole objects.
func sentence(err *field.Error) string {
	return strings.TrimSuffix(err.ErrorBody(), ": ")
}

func joined(parent, path string) string {
	if path == "" || strings.HasPrefix(path, "[") {
		return parent + path
	}
	return parent + "." + path
}

var (
	exactly = regexp.MustCompile(`(devices\.requests\[\d+\])\.exactly\b`)
	device  = regexp.MustCompile(`^(spec\.devices\[\d+\])\.`)
)

// asWritten turns a path of v1 into that of the version in which an object was written.
func asWritten(path string, kind schema.GroupVersionKind) string {
	if kind.Group != "resource.k8s.io" || kind.Version != "v1beta1" {
		return path
	}
	if kind.Kind == "ResourceSlice" && !strings.HasSuffix(path, "].name") {
		return device.ReplaceAllString(path, "$1.basic.")
	}
	return exactly.ReplaceAllString(path, "$1")
}
