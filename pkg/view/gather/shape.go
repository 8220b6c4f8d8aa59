package gather

import "encoding/json"

// shape returns JSON with the names of fields but without values: strings become "string", and so on. What says which
// kind of configuration it is stays, and lists are cut to their first item. What is not JSON becomes null.
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

// maskJSON masks what looks like a secret in strings of JSON, and all of what has a name that says so.
func maskJSON(raw []byte) []byte {
	var value any
	if err := json.Unmarshal(raw, &value); err != nil {
		return []byte("null")
	}
	text, err := json.Marshal(maskValues(value))
	if err != nil {
		return []byte("null")
	}
	return text
}

func maskValues(value any) any {
	switch v := value.(type) {
	case map[string]any:
		for name, field := range v {
			v[name] = maskValues(field)
			if _, is := field.(string); is && namesASecret.MatchString(name) {
				v[name] = masked
			}
		}
	case []any:
		for i := range v {
			v[i] = maskValues(v[i])
		}
	case string:
		return maskString(v)
	}
	return value
}
