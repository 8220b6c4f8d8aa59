package strict

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

const (
	// maxProblems bounds the answer: the longest text that anybody sees is the 1 KiB of an event.
	maxProblems = 32
	// maxShown is how much of a value or a key is repeated in a message.
	maxShown = 64
)

// Decode reads raw, which must be one object of the given kind, into the struct that into points to. The problems are
// in the order of the text and begin with the path at; what had none of its own is set even if others are returned.
// When apiVersion or kind are wrong, only those are reported, since all else would be read with the wrong eyes.
func Decode(raw []byte, at *field.Path, want schema.GroupVersionKind, into any) field.ErrorList {
	root, err := parse(raw)
	if err != nil {
		return field.ErrorList{rootError(at, "", err.Error())}
	}
	if root.kind != object {
		return field.ErrorList{rootError(at, root.kind, "must be an object with apiVersion and kind")}
	}
	apiVersion, kind := want.ToAPIVersionAndKind()
	errs := checkType(root, at, "apiVersion", apiVersion)
	if errs = append(errs, checkType(root, at, "kind", kind)...); len(errs) > 0 {
		return errs
	}
	var d decoder
	d.decode(root, reflect.ValueOf(into).Elem(), at)
	return d.result(at)
}

// Join returns the problems of the form, and those of the content that do not merely follow from them: a value that
// could not be read is not missing too. Of many it returns the first.
func Join(form, content field.ErrorList) field.ErrorList {
	all := slices.Clone(form)
	for _, c := range content {
		follows := func(f *field.Error) bool {
			return f.Type == field.ErrorTypeTypeInvalid && within(c.Field, f.Field)
		}
		if !slices.ContainsFunc(form, follows) {
			all = append(all, c)
		}
	}
	if more := len(all) - maxProblems - 1; more > 0 {
		all = append(all[:maxProblems], rootError(nil, "", fmt.Sprintf("there are %d more problems", more+1)))
	}
	return all
}

func within(path, parent string) bool {
	rest, ok := strings.CutPrefix(path, parent)
	return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

func rootError(at *field.Path, value kind, problem string) *field.Error {
	if at == nil {
		at = field.NewPath("document")
	}
	return field.TypeInvalid(at, string(value), problem)
}

func checkType(root node, at *field.Path, name, want string) field.ErrorList {
	for _, m := range root.members {
		switch {
		case m.name != name:
		case m.value.kind == text && m.value.literal == want:
			return nil
		default:
			return field.ErrorList{field.NotSupported(at.Child(name), shown(m.value.literal), []string{want})}
		}
	}
	return field.ErrorList{field.Required(at.Child(name), fmt.Sprintf("must be %q", want))}
}

type decoder struct {
	errs    field.ErrorList
	omitted int
}

func (d *decoder) add(err *field.Error) {
	if d.full() {
		d.omitted++
		return
	}
	d.errs = append(d.errs, err)
}

// full tells that wording another problem is in vain.
func (d *decoder) full() bool { return len(d.errs) == maxProblems }

func (d *decoder) result(at *field.Path) field.ErrorList {
	if d.omitted > 0 {
		d.errs = append(d.errs, rootError(at, "", fmt.Sprintf("there are %d more problems", d.omitted)))
	}
	return d.errs
}

func (d *decoder) decode(n node, into reflect.Value, at *field.Path) {
	if n.kind == null {
		return // as if it were not there
	}
	if self, ok := reflect.TypeAssert[json.Unmarshaler](into.Addr()); ok {
		err := checkQuantity(self, n.literal)
		if err == nil {
			err = self.UnmarshalJSON(n.json())
		}
		if err != nil {
			d.add(field.TypeInvalid(at, n.shown(), err.Error()))
		}
		return
	}
	switch into.Kind() {
	case reflect.Pointer:
		value := reflect.New(into.Type().Elem())
		into.Set(value)
		d.decode(n, value.Elem(), at)
	case reflect.Struct:
		d.decodeStruct(n, into, at)
	case reflect.Map:
		d.decodeMap(n, into, at)
	case reflect.Slice:
		d.decodeSlice(n, into, at)
	default:
		d.decodeScalar(n, into, at)
	}
}

// checkQuantity refuses what is longer than any quantity, and exponents that lead beyond them: to parse 1e-999999999
// takes the library minutes, and all memory.
func checkQuantity(into json.Unmarshaler, literal string) error {
	const most, exponent = 64, 18
	if _, ok := into.(*resource.Quantity); !ok {
		return nil
	}
	if len(literal) > most {
		return fmt.Errorf("must be a quantity of at most %d characters", most)
	}
	_, digits, _ := strings.Cut(strings.ToLower(literal), "e") // which also stands for exa
	n, err := strconv.Atoi(digits)
	if errors.Is(err, strconv.ErrRange) || n > exponent || n < -exponent {
		return fmt.Errorf("must be a quantity with an exponent between -%d and %d", exponent, exponent)
	}
	return nil
}

func (d *decoder) decodeScalar(n node, into reflect.Value, at *field.Path) {
	switch into.Kind() {
	case reflect.String:
		switch n.kind {
		case text:
			into.SetString(n.literal)
		case number, boolean:
			d.add(field.TypeInvalid(at, n.shown(), "must be a string; put it in quotes"))
		default:
			d.add(field.TypeInvalid(at, n.shown(), "must be a string"))
		}
	case reflect.Bool:
		if n.kind != boolean {
			d.add(field.TypeInvalid(at, n.shown(), "must be true or false"))
			return
		}
		into.SetBool(n.literal == "true")
	case reflect.Int, reflect.Int32, reflect.Int64:
		i, err := n.integer(into.Type().Bits())
		if err != nil {
			d.add(field.TypeInvalid(at, n.shown(), err.Error()))
			return
		}
		into.SetInt(i)
	default: // a type in this tree that nobody has decoded yet; the tests find it
		d.add(field.InternalError(at, fmt.Errorf("no way to decode a %s", into.Type())))
	}
}

func (d *decoder) decodeStruct(n node, into reflect.Value, at *field.Path) {
	if n.kind != object {
		d.add(field.TypeInvalid(at, n.shown(), "must be an object"))
		return
	}
	fields := fieldsOf(into)
	seen := map[string]bool{}
	for _, m := range n.members {
		target, ok := fields[m.name]
		switch {
		case !ok && d.full():
			d.omitted++
		case !ok:
			d.add(field.Forbidden(child(at, m.name), unknown(m.name, fields)))
		case seen[m.name]:
			d.add(duplicate(child(at, m.name), m.name))
		default:
			seen[m.name] = true
			d.decode(m.value, target, child(at, m.name))
		}
	}
}

func (d *decoder) decodeMap(n node, into reflect.Value, at *field.Path) {
	if n.kind != object {
		d.add(field.TypeInvalid(at, n.shown(), "must be an object"))
		return
	}
	into.Set(reflect.MakeMap(into.Type()))
	for _, m := range n.members {
		key := reflect.ValueOf(m.name).Convert(into.Type().Key())
		path := at.Key(shown(m.name))
		if into.MapIndex(key).IsValid() {
			d.add(duplicate(path, m.name))
			continue
		}
		value := reflect.New(into.Type().Elem()).Elem()
		d.decode(m.value, value, path)
		into.SetMapIndex(key, value)
	}
}

func (d *decoder) decodeSlice(n node, into reflect.Value, at *field.Path) {
	if n.kind != array {
		d.add(field.TypeInvalid(at, n.shown(), "must be a list"))
		return
	}
	into.Set(reflect.MakeSlice(into.Type(), len(n.items), len(n.items)))
	for i, item := range n.items {
		d.decode(item, into.Index(i), at.Index(i))
	}
}

// fieldsOf returns the fields of a struct by their names in JSON, those of embedded structs included.
func fieldsOf(of reflect.Value) map[string]reflect.Value {
	fields := map[string]reflect.Value{}
	for i := range of.NumField() {
		f := of.Type().Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			maps.Copy(fields, fieldsOf(of.Field(i)))
		case f.IsExported() && name != "" && name != "-":
			fields[name] = of.Field(i)
		}
	}
	return fields
}

func unknown(name string, fields map[string]reflect.Value) string {
	var known []string
	for f := range fields {
		known = append(known, f)
	}
	slices.Sort(known)
	simple := simplified(name)
	for _, f := range known {
		if simplified(f) == simple {
			return fmt.Sprintf("no such field; did you mean %q?", f)
		}
	}
	return "no such field; there are: " + strings.Join(known, ", ")
}

// simplified makes names equal that differ in case, dashes and underscores only.
func simplified(name string) string {
	return strings.NewReplacer("-", "", "_", "").Replace(strings.ToLower(name))
}

func duplicate(at *field.Path, name string) *field.Error {
	err := field.Duplicate(at, shown(name))
	err.Detail = "the field is given more than once"
	return err
}

// child is at.Child for a key that somebody wrote.
func child(at *field.Path, name string) *field.Path {
	plain := func(r rune) bool {
		return r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || r == '_' || r == '-'
	}
	if name == "" || len(name) > maxShown || strings.ContainsFunc(name, func(r rune) bool { return !plain(r) }) {
		return at.Key(shown(name))
	}
	return at.Child(name)
}

// Shown cuts and escapes what somebody wrote, so that it does not spoil a message.
func Shown(s string) string { return shown(s) }

func shown(s string) string {
	if len(s) > maxShown {
		s = strings.ToValidUTF8(s[:maxShown], "") + "…"
	}
	if strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		s = strings.Trim(strconv.Quote(s), `"`)
	}
	return s
}

func (n node) shown() string {
	if n.kind == object || n.kind == array {
		return string(n.kind)
	}
	return shown(n.literal)
}
