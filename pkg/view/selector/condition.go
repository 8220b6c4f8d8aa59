package selector

import (
	"slices"
	"strings"

	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/operators"
)

// Conditions takes an expression apart where it says "and": a device matches if it matches each of them, in whatever
// order. An expression that is not of this kind is its own only condition.
func (s *Selector) Conditions() []*Selector {
	native := s.checked.NativeRep()
	var ands []int
	collectAnds(native.Expr(), func(id int64) {
		if at, found := native.SourceInfo().GetOffsetRange(id); found {
			ands = append(ands, int(at.Start))
		}
	})
	slices.Sort(ands)
	// An "and" between parentheses does not end a condition: what is before it cannot be compiled.
	expression := []rune(s.expression)
	var conditions []*Selector
	begin := 0
	for _, end := range append(ands, len(expression)) {
		if end < begin || end > len(expression) {
			return []*Selector{s}
		}
		condition, err := s.compile(strings.TrimSpace(string(expression[begin:end])))
		if err != nil {
			continue
		}
		conditions = append(conditions, condition)
		begin = end + len("&&")
	}
	if begin <= len(expression) || len(conditions) == 0 {
		return []*Selector{s}
	}
	return conditions
}

func collectAnds(e ast.Expr, found func(id int64)) {
	if e.Kind() != ast.CallKind || e.AsCall().FunctionName() != operators.LogicalAnd {
		return
	}
	found(e.ID())
	for _, side := range e.AsCall().Args() {
		collectAnds(side, found)
	}
}
