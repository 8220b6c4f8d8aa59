package strict

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

const (
	// maxBytes is what fits into a ConfigMap; more than that nobody wrote by hand.
	maxBytes = 1 << 20
	// maxDepth is far above what any type here nests.
	maxDepth = 64
	// maxNodes bounds what YAML aliases can expand to.
	maxNodes = 1 << 18
)

// kind is what a node is, in the words of JSON.
type kind string

const (
	null    kind = "null"
	boolean kind = "boolean"
	number  kind = "number"
	text    kind = "string"
	array   kind = "array"
	object  kind = "object"
)

// node is a value as it was written, with the order and the repetitions of its keys.
type node struct {
	kind    kind
	literal string   // of null, boolean and number as written, of text the text
	items   []node   // of an array
	members []member // of an object
}

type member struct {
	name  string
	value node
}

// parse reads one value. What is valid JSON is read as JSON, everything else as YAML, which JSON almost is.
func parse(raw []byte) (node, error) {
	if len(raw) > maxBytes {
		return node{}, fmt.Errorf("%d bytes are more than the %d that are allowed", len(raw), maxBytes)
	}
	r := reader{}
	if json.Valid(raw) {
		decoder := json.NewDecoder(bytes.NewReader(raw))
		decoder.UseNumber()
		return r.json(decoder, 0)
	}
	decoder := yaml.NewDecoder(bytes.NewReader(raw))
	var document yaml.Node
	switch err := decoder.Decode(&document); {
	case errors.Is(err, io.EOF):
		return node{}, errors.New("is empty")
	case err != nil:
		return node{}, fmt.Errorf("neither YAML nor JSON: %s", strings.TrimPrefix(err.Error(), "yaml: "))
	}
	if err := decoder.Decode(&yaml.Node{}); !errors.Is(err, io.EOF) {
		return node{}, errors.New("must be one YAML document, but something follows after the first one")
	}
	return r.yaml(&document, 0)
}

// reader counts what it makes.
type reader struct{ nodes int }

func (r *reader) enter(depth int) error {
	if r.nodes++; r.nodes > maxNodes {
		return fmt.Errorf("has more than %d values", maxNodes)
	}
	if depth > maxDepth {
		return fmt.Errorf("nests deeper than %d levels", maxDepth)
	}
	return nil
}

func (r *reader) json(decoder *json.Decoder, depth int) (node, error) {
	if err := r.enter(depth); err != nil {
		return node{}, err
	}
	token, err := decoder.Token()
	if err != nil {
		return node{}, err
	}
	switch token := token.(type) {
	case nil:
		return node{kind: null, literal: "null"}, nil
	case bool:
		return node{kind: boolean, literal: strconv.FormatBool(token)}, nil
	case json.Number:
		return node{kind: number, literal: token.String()}, nil
	case string:
		return node{kind: text, literal: token}, nil
	case json.Delim:
		return r.jsonContainer(decoder, token, depth)
	}
	return node{}, fmt.Errorf("unexpected %v", token)
}

func (r *reader) jsonContainer(decoder *json.Decoder, open json.Delim, depth int) (node, error) {
	n := node{kind: array}
	if open == '{' {
		n.kind = object
	}
	for decoder.More() {
		var name string
		if n.kind == object {
			key, err := decoder.Token()
			if err != nil {
				return node{}, err
			}
			name, _ = key.(string)
		}
		value, err := r.json(decoder, depth+1)
		if err != nil {
			return node{}, err
		}
		if n.kind == object {
			n.members = append(n.members, member{name, value})
		} else {
			n.items = append(n.items, value)
		}
	}
	_, err := decoder.Token() // the closing bracket
	return n, err
}

func (r *reader) yaml(y *yaml.Node, depth int) (node, error) {
	if err := r.enter(depth); err != nil {
		return node{}, err
	}
	switch y.Kind {
	case yaml.DocumentNode:
		return r.yaml(y.Content[0], depth)
	case yaml.AliasNode:
		return r.yaml(y.Alias, depth+1)
	case yaml.SequenceNode:
		n := node{kind: array}
		for _, content := range y.Content {
			item, err := r.yaml(content, depth+1)
			if err != nil {
				return node{}, err
			}
			n.items = append(n.items, item)
		}
		return n, nil
	case yaml.MappingNode:
		n := node{kind: object}
		for i := 0; i+1 < len(y.Content); i += 2 {
			key := y.Content[i]
			if key.Kind != yaml.ScalarNode {
				return node{}, fmt.Errorf("line %d: a key must be a plain word", key.Line)
			}
			value, err := r.yaml(y.Content[i+1], depth+1)
			if err != nil {
				return node{}, err
			}
			n.members = append(n.members, member{key.Value, value})
		}
		return n, nil
	default:
		return yamlScalar(y), nil
	}
}

// yamlScalar follows YAML 1.2: yes, no, on and off are strings.
func yamlScalar(y *yaml.Node) node {
	switch y.ShortTag() {
	case "!!null":
		return node{kind: null, literal: "null"}
	case "!!bool":
		return node{kind: boolean, literal: strings.ToLower(y.Value)}
	case "!!int":
		if i, err := strconv.ParseInt(strings.ReplaceAll(y.Value, "_", ""), 0, 64); err == nil {
			return node{kind: number, literal: strconv.FormatInt(i, 10)}
		}
		return node{kind: number, literal: y.Value}
	case "!!float":
		return node{kind: number, literal: y.Value}
	}
	return node{kind: text, literal: y.Value}
}

// json writes n for types that decode themselves.
func (n node) json() []byte {
	switch {
	case n.kind == object, n.kind == array:
		return []byte("{}") // no type of ours decodes those itself; every one refuses this
	case n.kind != text && json.Valid([]byte(n.literal)):
		return []byte(n.literal)
	}
	quoted, err := json.Marshal(n.literal)
	if err != nil {
		return []byte(`""`)
	}
	return quoted
}

// integer returns the value of a whole number.
func (n node) integer(bits int) (int64, error) {
	low, high := int64(math.MinInt64)>>(64-bits), int64(math.MaxInt64)>>(64-bits)
	if n.kind != number {
		return 0, errors.New("must be a whole number")
	}
	i, err := strconv.ParseInt(n.literal, 10, bits)
	if errors.Is(err, strconv.ErrRange) {
		return 0, fmt.Errorf("must be between %d and %d", low, high)
	}
	if err != nil {
		return 0, errors.New("must be a whole number")
	}
	return i, nil
}
