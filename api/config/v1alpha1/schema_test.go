package v1alpha1

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the schemas")

func TestSchemasAreCurrent(t *testing.T) {
	comments := readComments(t)
	for file, of := range map[string]any{
		"driver-config.json":   DriverConfig{},
		"machine-profile.json": MachineProfile{},
	} {
		t.Run(file, func(t *testing.T) {
			g := generator{comments: comments}
			schema := g.object(reflect.TypeOf(of))
			if len(g.problems) > 0 {
				t.Fatal(strings.Join(g.problems, "\n"))
			}
			kind := reflect.TypeOf(of).Name()
			schema.Schema, schema.ID = "http://json-schema.org/draft-07/schema#", "https://"+GroupVersion+"/"+file
			schema.Title = kind
			schema.Properties["apiVersion"] = &jsonSchema{Const: GroupVersion}
			schema.Properties["kind"] = &jsonSchema{Const: kind}
			schema.Required = append([]string{"apiVersion", "kind"}, schema.Required...)

			var got bytes.Buffer
			encoder := json.NewEncoder(&got)
			encoder.SetEscapeHTML(false)
			encoder.SetIndent("", "  ")
			if err := encoder.Encode(schema); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join("schema", file)
			if *update {
				if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got.String()); diff != "" {
				t.Errorf("%s is not what the types say (-file +types; -update writes it):\n%s", path, diff)
			}
		})
	}
}

// jsonSchema is the part of JSON Schema that the types need.
type jsonSchema struct {
	Schema               string                 `json:"$schema,omitempty"`
	ID                   string                 `json:"$id,omitempty"`
	Title                string                 `json:"title,omitempty"`
	Description          string                 `json:"description,omitempty"`
	Type                 string                 `json:"type,omitempty"`
	Const                string                 `json:"const,omitempty"`
	Enum                 []string               `json:"enum,omitempty"`
	Pattern              string                 `json:"pattern,omitempty"`
	Minimum              *int                   `json:"minimum,omitempty"`
	Maximum              *int                   `json:"maximum,omitempty"`
	Items                *jsonSchema            `json:"items,omitempty"`
	AnyOf                []*jsonSchema          `json:"anyOf,omitempty"`
	Properties           map[string]*jsonSchema `json:"properties,omitempty"`
	Required             []string               `json:"required,omitempty"`
	AdditionalProperties any                    `json:"additionalProperties,omitempty"` // false or a schema
}

// generator makes schemas of types, with the comments of their fields as descriptions.
type generator struct {
	comments map[string]string // "Type" or "Type.Field" -> text
	problems []string
}

func (g *generator) schema(of reflect.Type) *jsonSchema {
	switch of {
	case reflect.TypeFor[Integer]():
		return &jsonSchema{AnyOf: []*jsonSchema{
			{Type: "integer"},
			{Type: "string", Enum: []string{"{index}", "{groupIndex}", "{start}", "{copy}"}},
		}}
	case reflect.TypeFor[Quantity]():
		return &jsonSchema{AnyOf: []*jsonSchema{
			{Type: "number", Minimum: new(0)},
			{Type: "string", Pattern: quantityPattern.String()},
		}}
	}
	if of == reflect.TypeFor[Duration]() {
		return &jsonSchema{Type: "string", Pattern: `^([0-9]+(\.[0-9]+)?(ns|us|ms|s|m|h))+$`}
	}
	switch of.Kind() {
	case reflect.Pointer:
		return g.schema(of.Elem())
	case reflect.Struct:
		return g.object(of)
	case reflect.Slice:
		return &jsonSchema{Type: "array", Items: g.schema(of.Elem())}
	case reflect.Map:
		return &jsonSchema{Type: "object", AdditionalProperties: g.schema(of.Elem())}
	case reflect.String:
		return &jsonSchema{Type: "string"}
	case reflect.Bool:
		return &jsonSchema{Type: "boolean"}
	case reflect.Int:
		return &jsonSchema{Type: "integer"}
	default:
		g.problems = append(g.problems, fmt.Sprintf("no schema for the type %s", of))
		return &jsonSchema{}
	}
}

func (g *generator) object(of reflect.Type) *jsonSchema {
	object := &jsonSchema{Type: "object", Properties: map[string]*jsonSchema{}, AdditionalProperties: false}
	object.Description, _ = describe(g.comments[of.Name()])
	for f := range of.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" { // embedded
			embedded := g.object(f.Type)
			maps.Copy(object.Properties, embedded.Properties)
			object.Required = append(object.Required, embedded.Required...)
			continue
		}
		if of.Name() == "TypeMeta" {
			continue
		}
		property := g.schema(f.Type)
		description, markers := describe(g.comments[of.Name()+"."+f.Name])
		if !strings.HasPrefix(description, f.Name+" ") {
			problem := fmt.Sprintf("the comment of %s.%s must begin with its name", of.Name(), f.Name)
			g.problems = append(g.problems, problem)
		}
		property.Description = name + strings.TrimPrefix(description, f.Name)
		object.Properties[name] = property
		if g.mark(property, of.Name()+"."+f.Name, markers) {
			object.Required = append(object.Required, name)
		}
	}
	return object
}

// mark applies the markers of a field and returns whether it is required.
func (g *generator) mark(property *jsonSchema, field string, markers []string) (required bool) {
	presence := 0
	for _, marker := range markers {
		key, value, _ := strings.Cut(strings.TrimPrefix(marker, "+"), "=")
		number, err := strconv.Atoi(value)
		switch {
		case key == "required":
			required = true
			presence++
		case key == "optional":
			presence++
		case key == "enum":
			property.Enum = strings.Split(value, ",")
		case key == "minimum" && err == nil:
			property.Minimum = &number
		case key == "maximum" && err == nil:
			property.Maximum = &number
		default:
			g.problems = append(g.problems, fmt.Sprintf("%s: unknown marker %s", field, marker))
		}
	}
	if presence != 1 {
		g.problems = append(g.problems, field+" must be marked +optional or +required")
	}
	return required
}

// describe parts a comment into what people read and markers such as +optional.
func describe(comment string) (description string, markers []string) {
	var words []string
	for line := range strings.Lines(comment) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "+"):
			markers = append(markers, line)
		case line == "":
			words = append(words, "\n\n")
		default:
			words = append(words, line, " ")
		}
	}
	description = strings.ReplaceAll(strings.Join(words, ""), " \n", "\n")
	return strings.TrimSpace(description), markers
}

// readComments returns the comments of the types of this package and of their fields.
func readComments(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	comments := map[string]string{}
	for _, file := range slices.DeleteFunc(files, func(f string) bool { return strings.HasSuffix(f, "_test.go") }) {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, declaration := range parsed.Decls {
			general, ok := declaration.(*ast.GenDecl)
			if !ok || general.Tok != token.TYPE {
				continue
			}
			for _, spec := range general.Specs {
				commentsOf(spec.(*ast.TypeSpec), general.Doc.Text(), comments)
			}
		}
	}
	return comments
}

func commentsOf(spec *ast.TypeSpec, doc string, comments map[string]string) {
	comments[spec.Name.Name] = doc
	structure, ok := spec.Type.(*ast.StructType)
	if !ok {
		return
	}
	for _, field := range structure.Fields.List {
		for _, name := range field.Names {
			comments[spec.Name.Name+"."+name.Name] = field.Doc.Text()
		}
	}
}
