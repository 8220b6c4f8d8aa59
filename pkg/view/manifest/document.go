package manifest

import (
	"sync"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Document is one object as somebody wrote it.
type Document struct {
	// Source is the file as it was named, or below the folder that was named; "stdin" for "-".
	Source string
	// Index counts the objects of the source from 0. Each object of a list counts.
	Index int
	// Line is where the object begins, from 1.
	Line int
	// Kind is what the object says it is, also if nobody here knows that kind.
	Kind schema.GroupVersionKind
	// Object is typed. It is nil if the kind is none of those known here, which are all of resource.k8s.io, core, apps
	// and batch, and if something is so wrong with the object that it cannot be read; then there are Problems.
	Object runtime.Object
	// Raw is the object as JSON. Of what cannot be parsed it is nil.
	Raw []byte
	// Problems is what is wrong with the form, in the order of the text.
	Problems []Problem

	place place
}

// Problem is one thing that is wrong with the form of a document.
type Problem struct {
	// Path is the field, as the API server writes it: spec.devices.requests[0].name. Empty if it is about all of the
	// document.
	Path string
	// Line is where it is in the source, from 1.
	Line int
	// Message is a sentence without the path.
	Message string
}

// LineOf returns the line of the field with this path, written as the API server writes it. A field that is not there
// has the line of the nearest one around it that is.
func (d Document) LineOf(path string) int {
	root := d.place.root()
	if root == nil {
		return d.Line
	}
	return root.lineOf(path)
}

// place finds a document again in the text that it is from.
type place struct {
	text *text
	// item is the position in the list that the text is, -1 if it is none.
	item int
}

// text is one document of a source. What it consists of is kept only when somebody asks for lines, because most
// documents are fine, and files with all devices of a cluster are large.
type text struct {
	raw  []byte
	line int // of its beginning
	json bool

	once   sync.Once
	parsed *node
}

func (p place) root() *node {
	if p.text == nil {
		return nil
	}
	p.text.once.Do(func() { p.text.parsed, _ = p.text.parse() })
	if p.text.parsed == nil || p.item < 0 {
		return p.text.parsed
	}
	return p.text.parsed.member("items").item(p.item)
}

func (t *text) parse() (*node, error) {
	if t.json {
		return parseJSON(t.raw, t.line)
	}
	return parseYAML(t.raw, t.line)
}
