package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxRepeated bounds what aliases can expand to.
const maxRepeated = 1 << 16

// parseYAML reads one document whose first line is the given one.
func parseYAML(raw []byte, line int) (*node, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(raw))
	var document yaml.Node
	if err := decoder.Decode(&document); err != nil {
		return nil, moved(err, line)
	}
	if len(document.Content) == 0 {
		return nil, nil //nolint:nilnil // a document that is empty is not wrong
	}
	if err := decoder.Decode(&yaml.Node{}); !errors.Is(err, io.EOF) {
		return nil, errors.New("must be one YAML document, but something follows after the first one")
	}
	r := yamlReader{before: line - 1}
	return r.value(document.Content[0], 0, false)
}

var lineNumber = regexp.MustCompile(`line (\d+)`)

// moved tells of a syntax error with the line that it has in the file.
func moved(err error, line int) error {
	said := strings.TrimPrefix(err.Error(), "yaml: ")
	return errors.New("neither YAML nor JSON: " + lineNumber.ReplaceAllStringFunc(said, func(s string) string {
		n, _ := strconv.Atoi(strings.TrimPrefix(s, "line "))
		return fmt.Sprintf("line %d", n+line-1)
	}))
}

type yamlReader struct {
	before   int // lines before the document
	repeated int // values that are there because of aliases
}

// value turns a node of the YAML library into ours. Aliased values have the line where they are written.
func (r *yamlReader) value(y *yaml.Node, depth int, aliased bool) (*node, error) {
	if aliased {
		r.repeated++
	}
	switch {
	case depth > maxDepth:
		return nil, fmt.Errorf("line %d: nests deeper than %d levels", y.Line+r.before, maxDepth)
	case r.repeated > maxRepeated:
		return nil, fmt.Errorf("line %d: aliases repeat more than %d values", y.Line+r.before, maxRepeated)
	}
	n := &node{line: y.Line + r.before}
	switch y.Kind {
	case yaml.AliasNode:
		return r.value(y.Alias, depth+1, true)
	case yaml.SequenceNode:
		n.kind = array
		for _, content := range y.Content {
			item, err := r.value(content, depth+1, aliased)
			if err != nil {
				return nil, err
			}
			n.items = append(n.items, item)
		}
	case yaml.MappingNode:
		n.kind = object
		return n, r.members(n, y, depth, aliased)
	default:
		n.kind, n.literal = scalar(y)
		if (n.kind == boolean || n.kind == number) && n.literal != y.Value {
			n.written = y.Value
		}
	}
	return n, nil
}

func (r *yamlReader) members(n *node, y *yaml.Node, depth int, aliased bool) error {
	var merged []member
	for i := 0; i+1 < len(y.Content); i += 2 {
		key := y.Content[i]
		value, err := r.value(y.Content[i+1], depth+1, aliased)
		if err != nil {
			return err
		}
		if key.ShortTag() == "!!merge" {
			merged = append(merged, mergedFrom(value)...)
			continue
		}
		name, err := r.value(key, depth+1, aliased)
		if err != nil {
			return err
		}
		if name.kind == object || name.kind == array {
			return fmt.Errorf("line %d: a key must be a plain word", key.Line+r.before)
		}
		if name.kind == null {
			name.literal = "null"
		}
		n.members = append(n.members, member{name.literal, key.Line + r.before, value})
	}
	for _, m := range merged {
		if !slices.ContainsFunc(n.members, func(o member) bool { return o.name == m.name }) {
			n.members = append(n.members, m)
		}
	}
	return nil
}

// mergedFrom returns the members that << brings, from one object or from several.
func mergedFrom(value *node) []member {
	all := value.members
	for _, item := range value.items {
		all = append(all, item.members...)
	}
	return all
}

// scalar follows YAML 1.1, as kubectl does: a plain yes is true.
func scalar(y *yaml.Node) (kind, string) {
	switch y.ShortTag() {
	case "!!null":
		return null, ""
	case "!!bool":
		return boolean, strconv.FormatBool(strings.EqualFold(y.Value, "true"))
	case "!!int", "!!float":
		return numeric(y.Value)
	case "!!str":
		if b, ok := oldBoolean(y.Value); ok && y.Style == 0 {
			return boolean, strconv.FormatBool(b)
		}
	}
	return str, y.Value
}

func oldBoolean(s string) (value, ok bool) {
	switch s {
	case "y", "Y", "yes", "Yes", "YES", "on", "On", "ON":
		return true, true
	case "n", "N", "no", "No", "NO", "off", "Off", "OFF":
		return false, true
	}
	return false, false
}

// numeric writes a number as JSON does. One that JSON cannot write is a string.
func numeric(s string) (kind, string) {
	plain := strings.ReplaceAll(s, "_", "")
	if i, err := strconv.ParseInt(plain, 0, 64); err == nil {
		return number, strconv.FormatInt(i, 10)
	}
	if u, err := strconv.ParseUint(plain, 0, 64); err == nil {
		return number, strconv.FormatUint(u, 10)
	}
	f, err := strconv.ParseFloat(plain, 64)
	if err != nil || math.IsInf(f, 0) || math.IsNaN(f) {
		return str, s
	}
	written, err := json.Marshal(f)
	if err != nil {
		return str, s
	}
	return number, string(written)
}
