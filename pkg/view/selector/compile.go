package selector

import (
	"context"
	"fmt"

	"github.com/google/cel-go/cel"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apiserver/pkg/cel/environment"
	dracel "k8s.io/dynamic-resource-allocation/cel"
)

// Selector is a compiled expression.
type Selector struct {
	expression string
	compiled   dracel.CompilationResult
	checked    *cel.Ast
	compile    func(string) (*Selector, error)
}

// Rules are those of an API server for expressions in objects that it does not have yet.
type Rules struct {
	// ConsumableCapacity has device.allowMultipleAllocations in the language (DRAConsumableCapacity, on since 1.36).
	ConsumableCapacity bool
	// ListTypeAttributes has lists as values of attributes, and includes() (DRAListTypeAttributes, alpha in 1.36).
	ListTypeAttributes bool
	// DerivedAttribute says that the expression is a derived attribute, whose value may be of any type that attributes
	// have, and not a selector.
	DerivedAttribute bool
}

// Compile compiles an expression as the scheduler does: one that an API server has stored, with whatever features it
// was accepted. It fails with a *CompileError.
func Compile(expression string) (*Selector, error) {
	envType := environment.StoredExpressions
	return compile(expression, storedFeatures(), dracel.Options{EnvType: &envType}, Compile)
}

// CompileNew compiles an expression as an API server does before it stores an object. Besides a *CompileError, it fails
// with a *TooLongError or a *TooCostlyError (k8s.io/kubernetes/pkg/apis/resource/validation).
func CompileNew(expression string, rules Rules) (*Selector, error) {
	if len(expression) > resourceapi.CELSelectorExpressionMaxLength {
		return nil, &TooLongError{Length: len(expression), Limit: resourceapi.CELSelectorExpressionMaxLength}
	}
	envType := environment.NewExpressions
	features := dracel.Features{
		EnableConsumableCapacity: rules.ConsumableCapacity,
		EnableListTypeAttributes: rules.ListTypeAttributes,
	}
	options := dracel.Options{EnvType: &envType, DerivedAttribute: rules.DerivedAttribute}
	s, err := compile(expression, features, options, func(part string) (*Selector, error) {
		return CompileNew(part, rules)
	})
	if err != nil {
		return nil, err
	}
	limit := uint64(resourceapi.CELSelectorExpressionMaxCost)
	if rules.DerivedAttribute {
		limit = min(limit, resourceapi.DeviceClaimDerivedAttributeCELMaxCost)
	}
	if s.Cost() > limit {
		return nil, &TooCostlyError{Cost: s.Cost(), Limit: limit}
	}
	return s, nil
}

// storedFeatures are those with which ForAllocator and Compile share one compiler of the library, which keeps only the
// last. Stored expressions have all features, whatever is asked for here.
func storedFeatures() dracel.Features {
	return dracel.Features{EnableConsumableCapacity: true, EnableListTypeAttributes: true}
}

func compile(
	expression string, features dracel.Features, options dracel.Options, again func(string) (*Selector, error),
) (*Selector, error) {
	compiler := dracel.GetCompiler(features)
	result := compiler.CompileCELExpression(expression, options)
	if result.Error != nil {
		return nil, compileError(expression, result.Error, func() *cel.Env {
			return compiler.CompileCELExpression("true", options).Environment
		})
	}
	checked, issues := result.Environment.Compile(expression)
	if err := issues.Err(); err != nil {
		return nil, fmt.Errorf("compile a second time: %w", err)
	}
	return &Selector{expression: expression, compiled: result, checked: checked, compile: again}, nil
}

// String returns the expression.
func (s *Selector) String() string { return s.expression }

// Cost is the worst case in the units of CEL, which the API server limits to resourceapi.CELSelectorExpressionMaxCost.
func (s *Selector) Cost() uint64 { return s.compiled.MaxCost }

// Matches says whether the expression is true for a device of the driver. The error is what CEL says, for example
// "no such key: model"; the scheduler then gives up on the whole pod, and not only on the device.
func (s *Selector) Matches(ctx context.Context, driver string, d *resourceapi.Device) (bool, error) {
	matches, _, err := s.compiled.DeviceMatches(ctx, dracel.Device{
		Driver:                   driver,
		AllowMultipleAllocations: d.AllowMultipleAllocations,
		Attributes:               d.Attributes,
		Capacity:                 d.Capacity,
	})
	return matches, err
}

// Compiled keeps compiled expressions for the library's allocator. It may be used from several goroutines.
type Compiled = dracel.Cache

// ForAllocator returns the library's own cache of compiled expressions, which its allocator asks for.
func ForAllocator() *Compiled {
	const expressions = 1000 // as many as a scheduler would keep for large clusters
	return dracel.NewCache(expressions, storedFeatures())
}
