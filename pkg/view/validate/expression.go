package validate

import (
	"errors"
	"strings"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"example.com/dragoman/pkg/view/selector"
)

func (j judge) selectors(selectors []resourceapi.DeviceSelector, at *field.Path, f *findings) {
	for i, s := range selectors {
		at := at.Index(i)
		if s.CEL == nil {
			f.add(field.Required(at.Child("cel"), "a CEL expression"))
			continue
		}
		j.expression(s.CEL.Expression, false, at.Child("cel", "expression"), f)
	}
}

// expression compiles a CEL expression as the API server would, and returns what it could cost.
func (j judge) expression(expression string, derived bool, at *field.Path, f *findings) uint64 {
	compiled, err := selector.CompileNew(expression, selector.Rules{
		ConsumableCapacity: j.has(consumableCapacity), ListTypeAttributes: j.has(listTypeAttributes),
		DerivedAttribute: derived,
	})
	if err == nil {
		return compiled.Cost()
	}
	p := Problem{Severity: Error, Path: at.String(), Message: "the CEL expression does not compile: " + err.Error()}
	var costly *selector.TooCostlyError
	var long *selector.TooLongError
	var compile *selector.CompileError
	switch {
	case errors.As(err, &costly):
		p.Message = "the CEL expression " + err.Error()
		*f = append(*f, p)
		return costly.Cost
	case errors.As(err, &long):
		p.Message = "the CEL expression " + err.Error()
	case errors.As(err, &compile):
		p.Detail = caret(compile.Detail)
	}
	*f = append(*f, p)
	return 0
}

// caret returns the lines in which the compiler shows the place.
func caret(detail string) string {
	var lines []string
	for line := range strings.Lines(detail) {
		if line = strings.TrimRight(line, "\n"); strings.HasPrefix(line, " | ") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n")
}
