package manifest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"sort"
	"strconv"
)

// maxDepth is far above what any type of Kubernetes nests.
const maxDepth = 256

// parseJSON reads one JSON value whose first line is the given one.
func parseJSON(raw []byte, line int) (*node, error) {
	r := jsonReader{decoder: json.NewDecoder(bytes.NewReader(raw)), first: line}
	r.decoder.UseNumber()
	for i, c := range raw {
		if c == '\n' {
			r.ends = append(r.ends, i)
		}
	}
	return r.value(0)
}

type jsonReader struct {
	decoder *json.Decoder
	first   int
	ends    []int // where lines end
}

// line is that of the token that was read last.
func (r *jsonReader) line() int {
	return r.first + sort.SearchInts(r.ends, int(r.decoder.InputOffset()))
}

func (r *jsonReader) value(depth int) (*node, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("line %d: nests deeper than %d levels", r.line(), maxDepth)
	}
	token, err := r.decoder.Token()
	if err != nil {
		return nil, err
	}
	n := &node{line: r.line()}
	switch token := token.(type) {
	case nil:
		n.kind = null
	case bool:
		n.kind, n.literal = boolean, strconv.FormatBool(token)
	case json.Number:
		n.kind, n.literal = number, token.String()
	case string:
		n.kind, n.literal = str, token
	case json.Delim:
		n.kind = array
		if token == '{' {
			n.kind = object
		}
		return n, r.content(n, depth)
	}
	return n, nil
}

func (r *jsonReader) content(n *node, depth int) error {
	for r.decoder.More() {
		var m member
		if n.kind == object {
			key, err := r.decoder.Token()
			if err != nil {
				return err
			}
			m.name, _ = key.(string)
			m.line = r.line()
		}
		value, err := r.value(depth + 1)
		if err != nil {
			return err
		}
		if m.value = value; n.kind == object {
			n.members = append(n.members, m)
		} else {
			n.items = append(n.items, value)
		}
	}
	_, err := r.decoder.Token() // the closing bracket
	return err
}
