package manifest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// kind is what a node is, in the words of JSON.
type kind string

const (
	null    kind = "null"
	boolean kind = "boolean"
	number  kind = "number"
	str     kind = "string"
	array   kind = "list"
	object  kind = "object"
)

// node is a value as it was written, with its line and with the order and the repetitions of its keys.
type node struct {
	kind    kind
	line    int
	literal string   // of boolean and number as JSON has it, of a string the text
	written string   // of boolean and number, where JSON has it otherwise than it was written
	items   []*node  // of a list
	members []member // of an object
}

type member struct {
	name  string
	line  int
	value *node
}

// member returns the value of a key, nil if there is none.
func (n *node) member(name string) *node {
	if n == nil {
		return nil
	}
	for _, m := range slices.Backward(n.members) { // as decoders do, the last one
		if m.name == name {
			return m.value
		}
	}
	return nil
}

func (n *node) item(i int) *node {
	if n == nil || i < 0 || i >= len(n.items) {
		return nil
	}
	return n.items[i]
}

// lineOf follows a path as far as it leads.
func (n *node) lineOf(path string) int {
	line := n.line
	for path != "" {
		var name string
		var next *node
		if rest, ok := strings.CutPrefix(path, "["); ok {
			name, path = bracketed(rest)
			if i, err := strconv.Atoi(name); err == nil && n.kind == array {
				next = n.item(i)
			}
		} else {
			path = strings.TrimPrefix(path, ".")
			end := strings.IndexAny(path, ".[")
			if end < 0 {
				end = len(path)
			}
			name, path = path[:end], path[end:]
		}
		for _, m := range n.members {
			if m.name == name {
				next, line = m.value, m.line
			}
		}
		if next == nil {
			return line
		}
		if n.kind == array {
			line = next.line
		}
		n = next
	}
	return line
}

// bracketed returns what is up to the closing bracket, and the rest. Keys have no brackets of their own.
func bracketed(s string) (string, string) {
	name, rest, _ := strings.Cut(s, "]")
	return name, rest
}

// json writes a node as JSON; of a key that is there twice, the last value.
func (n *node) json(b *bytes.Buffer) {
	switch n.kind {
	case array:
		b.WriteByte('[')
		for i, item := range n.items {
			if i > 0 {
				b.WriteByte(',')
			}
			item.json(b)
		}
		b.WriteByte(']')
	case object:
		b.WriteByte('{')
		for i, m := range n.members {
			if i > 0 {
				b.WriteByte(',')
			}
			b.Write(quoted(m.name))
			b.WriteByte(':')
			m.value.json(b)
		}
		b.WriteByte('}')
	case str:
		b.Write(quoted(n.literal))
	case null:
		b.WriteString("null")
	default:
		b.WriteString(n.literal)
	}
}

// quoted writes a string as JSON without HTML's escapes, which nobody wrote.
func quoted(s string) []byte {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if encoder.Encode(s) != nil {
		return []byte(`""`) // cannot happen: strings can be encoded
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// shown is a value as a message repeats it.
func (n *node) shown() string {
	switch n.kind {
	case array, object, null:
		return string(n.kind)
	case str:
		return fmt.Sprintf("%.64q", n.literal)
	case boolean, number:
		if n.written != "" {
			return fmt.Sprintf("%.64s, which YAML reads as %.64s", n.written, n.literal)
		}
	}
	return fmt.Sprintf("%.64s", n.literal)
}
