package manifest

import (
	"bytes"
	"encoding/json"
	"reflect"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"

	apiruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kjson "sigs.k8s.io/json"
)

// Parse returns the objects of one text, in its order. Documents that are empty are left out.
func Parse(source string, raw []byte) []Document {
	scheme, err := kinds()
	if err != nil {
		return []Document{{Source: source, Line: 1, Problems: []Problem{{Line: 1, Message: err.Error()}}}}
	}
	texts := split(raw)
	documents := make([][]Document, len(texts))
	var group sync.WaitGroup
	free := make(chan struct{}, runtime.GOMAXPROCS(0))
	for i, t := range texts {
		free <- struct{}{}
		group.Go(func() {
			documents[i] = reader{scheme: scheme, source: source}.read(t)
			<-free
		})
	}
	group.Wait()
	var all []Document
	for _, some := range documents {
		for _, d := range some {
			d.Index = len(all)
			all = append(all, d)
		}
	}
	return all
}

// reader makes documents of texts.
type reader struct {
	scheme *apiruntime.Scheme
	source string
}

// header is what a list and the kind of an object are known by.
type header struct {
	APIVersion string            `json:"apiVersion"`
	Kind       string            `json:"kind"`
	Items      []json.RawMessage `json:"items"`
}

func (r reader) read(t *text) []Document {
	raw, root := t.raw, (*node)(nil)
	if !t.json {
		var err error
		if root, err = t.parse(); err != nil {
			return []Document{{
				Source: r.source, Line: t.line, Problems: []Problem{{Line: lineIn(err, t.line), Message: err.Error()}},
			}}
		}
		if root == nil || root.kind == null {
			return nil
		}
		var b bytes.Buffer
		root.json(&b)
		raw = b.Bytes()
	}
	var h header
	if err := kjson.UnmarshalCaseSensitivePreserveInts(raw, &h); err == nil && strings.HasSuffix(h.Kind, "List") &&
		h.Items != nil {
		return r.readList(t, h)
	}
	return []Document{r.readOne(place{text: t, item: -1}, raw, t.begin(root), schema.GroupVersionKind{})}
}

// lineIn returns the line that an error names.
func lineIn(err error, otherwise int) int {
	if m := lineNumber.FindStringSubmatch(err.Error()); m != nil {
		if line, err := strconv.Atoi(m[1]); err == nil {
			return line
		}
	}
	return otherwise
}

// begin is the line of the first thing that is not a comment.
func (t *text) begin(root *node) int {
	if root != nil {
		return root.line
	}
	space := len(t.raw) - len(bytes.TrimLeft(t.raw, " \t\r\n"))
	return t.line + bytes.Count(t.raw[:space], []byte("\n"))
}

// readList takes a list apart. The items of a list of one kind need not say what they are.
func (r reader) readList(t *text, h header) []Document {
	var kind schema.GroupVersionKind
	if h.Kind != "List" {
		kind = schema.FromAPIVersionAndKind(h.APIVersion, strings.TrimSuffix(h.Kind, "List"))
	}
	all := make([]Document, 0, len(h.Items))
	line, counted := t.line, 0
	for i, item := range h.Items {
		p := place{text: t, item: i}
		if t.json { // where the item is in the text, without taking all of the text apart
			if at := bytes.Index(t.raw[counted:], item); at >= 0 {
				line += bytes.Count(t.raw[counted:counted+at], []byte("\n"))
				counted += at
			}
		} else if root := p.root(); root != nil {
			line = root.line
		}
		all = append(all, r.readOne(p, item, line, kind))
	}
	return all
}

func (r reader) readOne(p place, raw []byte, line int, kind schema.GroupVersionKind) Document {
	d := Document{Source: r.source, Line: line, Raw: raw, place: p}
	var h struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
	}
	if err := kjson.UnmarshalCaseSensitivePreserveInts(raw, &h); err != nil {
		return d.with(Problem{Line: line, Message: "must be an object with apiVersion and kind"})
	}
	d.Kind = schema.FromAPIVersionAndKind(h.APIVersion, h.Kind)
	if h.APIVersion == "" && h.Kind == "" && !kind.Empty() {
		d.Kind = kind
	}
	if d.Kind.Version == "" || d.Kind.Kind == "" {
		path := "kind"
		if d.Kind.Version == "" {
			path = "apiVersion"
		}
		return d.with(Problem{Path: path, Line: line, Message: "must say what the object is"})
	}
	into, err := r.scheme.New(d.Kind)
	if err != nil {
		if said := misspelt(r.scheme, d.Kind); said != "" {
			return d.with(Problem{Path: "kind", Line: d.LineOf("kind"), Message: said})
		}
		return d
	}
	return d.decode(into)
}

func (d Document) with(p Problem) Document {
	d.Problems = append(d.Problems, p)
	return d
}

// exponents are those of numbers that no quantity has; to read some of them takes the library minutes.
var exponents = regexp.MustCompile(`[0-9.][eE][+-]?[0-9]{4,}`)

// decode reads the object into its type. Only if something is wrong is it gone through field by field.
func (d Document) decode(into apiruntime.Object) Document {
	if !exponents.Match(d.Raw) {
		strict, err := kjson.UnmarshalStrict(d.Raw, into)
		if err == nil && len(strict) == 0 {
			into.GetObjectKind().SetGroupVersionKind(d.Kind)
			d.Object = into
			return d
		}
	}
	root := d.place.root()
	if root == nil {
		return d.with(Problem{Line: d.Line, Message: "nests too deeply"})
	}
	into = reflect.New(reflect.TypeOf(into).Elem()).Interface().(apiruntime.Object) //nolint:forcetypeassert // as before
	c := checker{}
	c.check(root, reflect.ValueOf(into).Elem(), "")
	d.Problems = append(d.Problems, c.problems...)
	if c.unreadable {
		return d
	}
	if err := kjson.UnmarshalCaseSensitivePreserveInts(d.Raw, into); err != nil {
		return d.with(Problem{Line: d.Line, Message: strings.TrimPrefix(err.Error(), "json: ")})
	}
	into.GetObjectKind().SetGroupVersionKind(d.Kind)
	d.Object = into
	return d
}
