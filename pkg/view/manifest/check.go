package manifest

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
)

// maxProblems bounds what is said about one document.
const maxProblems = 64

// checker compares what was written with the type that it is to become.
type checker struct {
	problems []Problem
	// unreadable says that a value has the wrong type, so that no decoder can read the object.
	unreadable bool
}

func (c *checker) add(path string, line int, format string, args ...any) {
	if len(c.problems) < maxProblems {
		c.problems = append(c.problems, Problem{Path: path, Line: line, Message: fmt.Sprintf(format, args...)})
	}
}

// wrong is about a value that cannot be read.
func (c *checker) wrong(path string, n *node, format string, args ...any) {
	c.unreadable = true
	c.add(path, n.line, "%s: %s", n.shown(), fmt.Sprintf(format, args...))
}

// check compares a value with what it is to be read into, which it may change.
func (c *checker) check(n *node, into reflect.Value, path string) {
	if n.kind == null {
		return // as if it were not there
	}
	if into.CanAddr() {
		if own, ok := reflect.TypeAssert[json.Unmarshaler](into.Addr()); ok {
			c.checkOwn(n, own, path)
			return
		}
	}
	switch into.Kind() {
	case reflect.Pointer:
		c.check(n, reflect.New(into.Type().Elem()).Elem(), path)
	case reflect.Struct:
		c.checkStruct(n, into, path)
	case reflect.Map:
		c.checkMap(n, into, path)
	case reflect.Slice:
		c.checkSlice(n, into, path)
	case reflect.Interface:
	default:
		c.checkScalar(n, into.Type(), path)
	}
}

// checkOwn is for types that read themselves: quantities, times, what is somebody else's to read.
func (c *checker) checkOwn(n *node, own json.Unmarshaler, path string) {
	if n.kind == object || n.kind == array {
		if _, ok := own.(*resource.Quantity); ok {
			c.wrong(path, n, "must be a quantity")
		}
		return
	}
	if _, ok := own.(*resource.Quantity); ok && exponents.MatchString(n.literal) {
		c.wrong(path, n, "must be a quantity; there is none with such an exponent")
		return
	}
	raw := []byte(n.literal)
	if n.kind == str {
		raw = quoted(n.literal)
	}
	if err := own.UnmarshalJSON(raw); err != nil {
		c.wrong(path, n, "%s", err)
	}
}

func (c *checker) checkStruct(n *node, into reflect.Value, path string) {
	if n.kind != object {
		c.wrong(path, n, "must be an object")
		return
	}
	fields := fieldsOf(into.Type())
	seen := map[string]bool{}
	for _, m := range n.members {
		at := child(path, m.name)
		of, ok := fields[m.name]
		switch {
		case !ok:
			c.add(at, m.line, "unknown field%s", meant(m.name, slices.Sorted(maps.Keys(fields))))
		case seen[m.name]:
			c.add(at, m.line, "the field is given more than once")
		default:
			c.check(m.value, reflect.New(of).Elem(), at)
		}
		seen[m.name] = true
	}
}

func (c *checker) checkMap(n *node, into reflect.Value, path string) {
	if n.kind != object {
		c.wrong(path, n, "must be an object")
		return
	}
	seen := map[string]bool{}
	for _, m := range n.members {
		at := path + "[" + m.name + "]"
		if seen[m.name] {
			c.add(at, m.line, "the key is given more than once")
			continue
		}
		seen[m.name] = true
		c.check(m.value, reflect.New(into.Type().Elem()).Elem(), at)
	}
}

func (c *checker) checkSlice(n *node, into reflect.Value, path string) {
	if into.Type().Elem().Kind() == reflect.Uint8 {
		if n.kind != str {
			c.wrong(path, n, "must be a string in base64")
		}
		return
	}
	if n.kind != array {
		c.wrong(path, n, "must be a list; each item begins with a dash")
		return
	}
	for i, item := range n.items {
		c.check(item, reflect.New(into.Type().Elem()).Elem(), fmt.Sprintf("%s[%d]", path, i))
	}
}

func (c *checker) checkScalar(n *node, of reflect.Type, path string) {
	switch of.Kind() {
	case reflect.String:
		if n.kind == number || n.kind == boolean {
			c.wrong(path, n, "must be a string; put it in quotes")
		} else if n.kind != str {
			c.wrong(path, n, "must be a string")
		}
	case reflect.Bool:
		if n.kind != boolean {
			c.wrong(path, n, "must be true or false")
		}
	case reflect.Int, reflect.Int32, reflect.Int64:
		if _, err := strconv.ParseInt(n.literal, 10, of.Bits()); err != nil || n.kind != number {
			c.wrong(path, n, "must be a whole number of at most %d bits", of.Bits())
		}
	default:
		if n.kind == object || n.kind == array {
			c.wrong(path, n, "must be a single value")
		}
	}
}

// fieldsOf returns the types of the fields of a struct by their names in JSON, those of embedded structs included.
func fieldsOf(of reflect.Type) map[string]reflect.Type {
	fields := map[string]reflect.Type{}
	for f := range of.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "" && f.Type.Kind() == reflect.Struct:
			maps.Copy(fields, fieldsOf(f.Type))
		case f.IsExported() && name != "" && name != "-":
			fields[name] = f.Type
		}
	}
	return fields
}

func child(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}
