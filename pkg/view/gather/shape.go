package gather

import (
	"encoding/json"
	"regexp"

	"example.com/dragoman/pkg/view/mask"
)

// fieldName is how fields are named in Kubernetes. What is named otherwise may be a key that somebody has made up.
var fieldName = regexp.MustCompile(`^[a-z][A-Za-z]{0,39}[0-9]?$`)

// shape returns JSON with the names of fields but without values: strings become "string", and so on. What says which
// kind of configuration it is stays, and lists are cut to their first item. Names that do not look like those of fields
// are masked. What is not JSON becomes null.
func shape(raw []byte) []byte {
	var value any
	if err := json.Unmarshal(raw, &value); err != nil {
		return []byte("null")
	}
	top, is := value.(map[string]any)
	shaped := shapeOf(value)
	if is {
		for _, name := range []string{"apiVersion", "kind"} {
			if said, is := top[name].(string); is {
				shaped.(map[string]any)[name] = said
			}
		}
	}
	text, err := json.Marshal(shaped)
	if err != nil {
		return []byte("null")
	}
	return text
}

func shapeOf(value any) any {
	switch v := value.(type) {
	case map[string]any:
		shaped := make(map[string]any, len(v))
		for name, field := range v {
			if !fieldName.MatchString(name) {
				name, field = mask.Hidden, ""
			}
			shaped[name] = shapeOf(field)
		}
		return shaped
	case []any:
		if len(v) == 0 {
			return []any{}
		}
		return []any{shapeOf(v[0])}
	case string:
		return "string"
	case float64:
		return "number"
	case bool:
		return "boolean"
	}
	return nil
}
