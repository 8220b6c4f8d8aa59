package selector

import (
	"fmt"
	"strings"

	"github.com/google/cel-go/cel"
	apiservercel "k8s.io/apiserver/pkg/cel"
)

// CompileError says what is wrong with an expression, all of it.
type CompileError struct {
	Expression string
	// Problems are in the order of the expression. There is at least one.
	Problems []Problem
	// Detail is what the API server says of it in its own answer, in several lines.
	Detail string
}

// Problem is one thing that is wrong with an expression.
type Problem struct {
	// Line and Column count from 1. Both are 0 for what has no place, such as the type of the result.
	Line, Column int
	// Message is the sentence of CEL.
	Message string
}

// Error says each problem with its place, in one line.
func (e *CompileError) Error() string {
	problems := make([]string, 0, len(e.Problems))
	for _, p := range e.Problems {
		problems = append(problems, p.String())
	}
	return strings.Join(problems, "; ")
}

// String says the problem with its place.
func (p Problem) String() string {
	switch p.Line {
	case 0:
		return p.Message
	case 1:
		return fmt.Sprintf("column %d: %s", p.Column, p.Message)
	default:
		return fmt.Sprintf("line %d, column %d: %s", p.Line, p.Column, p.Message)
	}
}

// TooLongError says that an expression has more characters than an API server takes.
type TooLongError struct{ Length, Limit int }

func (e *TooLongError) Error() string {
	return fmt.Sprintf("has %d bytes, and at most %d are allowed", e.Length, e.Limit)
}

// TooCostlyError says that an expression could cost more than an API server takes, in the units of CEL.
type TooCostlyError struct{ Cost, Limit uint64 }

func (e *TooCostlyError) Error() string {
	return fmt.Sprintf("could cost %d, and at most %d is allowed: use fewer loops over attributes or shorter strings",
		e.Cost, e.Limit)
}

// compileError looks for the places of what is wrong: the library says them only in a text that is made for terminals.
func compileError(expression string, said *apiservercel.Error, env func() *cel.Env) error {
	e := &CompileError{Expression: expression, Detail: said.Detail}
	if in := env(); in != nil {
		_, issues := in.Compile(expression)
		for _, p := range issues.Errors() {
			e.Problems = append(e.Problems, Problem{
				Line: p.Location.Line(), Column: p.Location.Column() + 1, Message: p.Message,
			})
		}
	}
	if len(e.Problems) == 0 {
		e.Problems = []Problem{{Message: said.Detail}}
	}
	return e
}
