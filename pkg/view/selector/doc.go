// Package selector understands the CEL expressions with which classes and claims choose devices. It is the only door to
// the DRA library's compiler, so whatever it says of an expression is what the scheduler and the API server do with it.
//
// It is pure and knows no driver. A Selector may be used from several goroutines.
//
// The room has a few lines more than 500: compiling, and what an expression names, share the parsed expression.
package selector
