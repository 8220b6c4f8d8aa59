package selector

import (
	"fmt"
	"maps"
	"regexp"
	"strings"

	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/operators"
	resourceapi "k8s.io/api/resource/v1"
)

// Kind says in which part of a device a reference looks.
type Kind string

// What the variable "device" has.
const (
	Driver                   Kind = "driver"
	AllowMultipleAllocations Kind = "allowMultipleAllocations"
	Attribute                Kind = "attribute"
	Capacity                 Kind = "capacity"
)

// Reference is something of a device that an expression names.
type Reference struct {
	Kind Kind
	// Domain and Name are those of an attribute or a capacity, as the expression has them.
	Domain, Name string
	// Optional says that a device without it is no error: the expression asks with ?., has() or in.
	Optional bool
	// Line and Column are where it is named first. They count from 1.
	Line, Column int
}

var identifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// String returns the reference as CEL has it.
func (r Reference) String() string {
	group := "attributes"
	switch r.Kind {
	case Driver, AllowMultipleAllocations:
		return "device." + string(r.Kind)
	case Capacity:
		group = "capacity"
	case Attribute:
	}
	if identifier.MatchString(r.Name) {
		return fmt.Sprintf("device.%s[%q].%s", group, r.Domain, r.Name)
	}
	return fmt.Sprintf("device.%s[%q][%q]", group, r.Domain, r.Name)
}

// In says whether a device of the driver has what is referred to. A name without a domain is in the driver's own.
func (r Reference) In(driver string, d *resourceapi.Device) bool {
	switch r.Kind {
	case Attribute:
		_, found := lookUp(d.Attributes, r, driver)
		return found
	case Capacity:
		_, found := lookUp(d.Capacity, r, driver)
		return found
	default:
		return true
	}
}

// Value returns what a device of the driver has there, as CEL would write it, and false if it has nothing.
func (r Reference) Value(driver string, d *resourceapi.Device) (string, bool) {
	switch r.Kind {
	case Driver:
		return fmt.Sprintf("%q", driver), true
	case AllowMultipleAllocations:
		return fmt.Sprint(d.AllowMultipleAllocations != nil && *d.AllowMultipleAllocations), true
	case Capacity:
		c, found := lookUp(d.Capacity, r, driver)
		return fmt.Sprintf("quantity(%q)", c.Value.String()), found
	default:
		a, found := lookUp(d.Attributes, r, driver)
		return literal(a), found
	}
}

func lookUp[V any](values map[resourceapi.QualifiedName]V, r Reference, driver string) (V, bool) {
	if r.Domain == driver {
		if v, found := values[resourceapi.QualifiedName(r.Name)]; found {
			return v, true
		}
	}
	v, found := values[resourceapi.QualifiedName(r.Domain+"/"+r.Name)]
	return v, found
}

func literal(a resourceapi.DeviceAttribute) string {
	switch {
	case a.StringValue != nil:
		return fmt.Sprintf("%q", *a.StringValue)
	case a.VersionValue != nil:
		return fmt.Sprintf("semver(%q)", *a.VersionValue)
	case a.IntValue != nil:
		return fmt.Sprint(*a.IntValue)
	case a.BoolValue != nil:
		return fmt.Sprint(*a.BoolValue)
	case a.StringValues != nil:
		return list(a.StringValues, "%q")
	case a.VersionValues != nil:
		return list(a.VersionValues, "semver(%q)")
	case a.IntValues != nil:
		return list(a.IntValues, "%d")
	case a.BoolValues != nil:
		return list(a.BoolValues, "%t")
	default:
		return ""
	}
}

func list[V any](values []V, verb string) string {
	written := make([]string, 0, len(values))
	for _, v := range values {
		written = append(written, fmt.Sprintf(verb, v))
	}
	return "[" + strings.Join(written, ", ") + "]"
}

// References returns what the expression names of a device, each once, in the order of the expression. What it asks
// for under a name that it works out itself is not among them.
func (s *Selector) References() []Reference {
	native := s.checked.NativeRep()
	r := &reader{info: native.SourceInfo(), index: make(map[Reference]int)}
	r.read(native.Expr(), map[string]part{})
	return r.found
}

// part is what an expression stands for: the device, a map in it, or something else.
type part struct {
	what   string // "device", "attributes", "capacity", "domain" or ""
	kind   Kind   // of "domain"
	domain string
	// optional says that the way here has a question mark.
	optional bool
}

type reader struct {
	info  *ast.SourceInfo
	found []Reference
	index map[Reference]int // without places and Optional
}

// read goes through an expression once and notes the references. It returns what the expression stands for.
func (r *reader) read(e ast.Expr, names map[string]part) part {
	switch e.Kind() {
	case ast.IdentKind:
		if named, found := names[e.AsIdent()]; found {
			return named
		}
		if e.AsIdent() == "device" {
			return part{what: "device"}
		}
	case ast.SelectKind:
		sel := e.AsSelect()
		return r.step(e, r.read(sel.Operand(), names), sel.FieldName(), sel.IsTestOnly())
	case ast.CallKind:
		return r.call(e, names)
	case ast.ComprehensionKind:
		return r.comprehension(e.AsComprehension(), names)
	case ast.ListKind:
		for _, element := range e.AsList().Elements() {
			r.read(element, names)
		}
	case ast.MapKind:
		for _, entry := range e.AsMap().Entries() {
			r.read(entry.AsMapEntry().Key(), names)
			r.read(entry.AsMapEntry().Value(), names)
		}
	case ast.StructKind:
		for _, field := range e.AsStruct().Fields() {
			r.read(field.AsStructField().Value(), names)
		}
	default: // a literal
	}
	return part{}
}

func (r *reader) call(e ast.Expr, names map[string]part) part {
	call := e.AsCall()
	if call.IsMemberFunction() {
		r.read(call.Target(), names)
	}
	args := call.Args()
	switch call.FunctionName() {
	case operators.Index, operators.OptIndex, operators.OptSelect:
		from := r.read(args[0], names)
		if key, ok := text(args[1]); ok {
			return r.step(e, from, key, call.FunctionName() != operators.Index)
		}
		r.read(args[1], names)
		return part{}
	case operators.In:
		in := r.read(args[1], names)
		if key, ok := text(args[0]); ok {
			r.step(e, in, key, true)
			return part{}
		}
		r.read(args[0], names)
		return part{}
	}
	for _, arg := range args {
		r.read(arg, names)
	}
	return part{}
}

// comprehension also reads what cel.bind is made into: a loop over nothing, whose accumulator has the value.
func (r *reader) comprehension(c ast.ComprehensionExpr, names map[string]part) part {
	r.read(c.IterRange(), names)
	initial := r.read(c.AccuInit(), names)
	inside := make(map[string]part, len(names)+3)
	maps.Copy(inside, names)
	inside[c.IterVar()] = part{}
	if c.HasIterVar2() {
		inside[c.IterVar2()] = part{}
	}
	inside[c.AccuVar()] = initial
	r.read(c.LoopCondition(), inside)
	r.read(c.LoopStep(), inside)
	return r.read(c.Result(), inside)
}

// step is what is below a part, by its name.
func (r *reader) step(e ast.Expr, from part, name string, optional bool) part {
	optional = optional || from.optional
	switch from.what {
	case "device":
		switch name {
		case "attributes", "capacity":
			return part{what: name, optional: optional}
		case "driver":
			r.note(e, Reference{Kind: Driver}, optional)
		case "allowMultipleAllocations":
			r.note(e, Reference{Kind: AllowMultipleAllocations}, optional)
		}
	case "attributes":
		return part{what: "domain", kind: Attribute, domain: name}
	case "capacity":
		return part{what: "domain", kind: Capacity, domain: name}
	case "domain":
		r.note(e, Reference{Kind: from.kind, Domain: from.domain, Name: name}, optional)
	}
	return part{}
}

func (r *reader) note(e ast.Expr, ref Reference, optional bool) {
	i, known := r.index[ref]
	if !known {
		i = len(r.found)
		r.index[ref] = i
		at := r.info.GetStartLocation(e.ID())
		ref.Line, ref.Column = at.Line(), at.Column()+1
		r.found = append(r.found, ref)
	}
	r.found[i].Optional = r.found[i].Optional || optional
}

func text(e ast.Expr) (string, bool) {
	if e.Kind() != ast.LiteralKind {
		return "", false
	}
	s, ok := e.AsLiteral().Value().(string)
	return s, ok
}
