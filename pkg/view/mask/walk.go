package mask

import (
	"bytes"
	"encoding/json"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
)

// place is what is known of a value by where it is.
type place struct {
	// free says that it is in something that may be anything: annotations, what a driver alone understands.
	// Elsewhere it is of a type, which has to stay: a number is none of a secret, and stays.
	free bool
	// secret says that something above it has a name that says that it is secret.
	secret bool
	// amounts says that it may be an amount of a resource, of any name.
	amounts bool
	// exact says that it must stay as it is, since devices are chosen by it, or programs.
	exact bool
	// chosen says that devices, nodes or pods are chosen by all that is in it: whatever it is called, only what looks
	// like a secret is masked, or the bundle would answer otherwise than the cluster.
	chosen  bool
	message bool
}

// chooses says whether devices, nodes or pods are chosen by what is in a field.
func chooses(name string) bool {
	switch name {
	case "labels", "matchLabels", "nodeSelector", "affinity", "attributes", "taint", "taints", "tolerations":
		return true
	}
	return false
}

// below returns what is known of a field.
func (m *Masker) below(p place, name string) place {
	if p.chosen = p.chosen || !p.free && chooses(name); p.chosen {
		return p
	}
	p.secret = p.secret || m.names.has(name)
	p.exact, p.message = false, false
	if p.free {
		return p
	}
	switch name {
	case "annotations", "parameters", "data":
		p.free = true
	case "requests", "limits", "capacity", "allocatable", "consumedCapacity", "counters", "overhead":
		p.amounts = true
	case "expression", "image", "imageID":
		p.exact = true
	case "message", "note", "args", "command":
		p.message = true
	}
	return p
}

// Object returns the fields of an object of Kubernetes' API without what may be a secret. They still are those of such
// an object: what has a type that is no text stays. The fields that are given are not changed.
func (m *Masker) Object(fields map[string]any) map[string]any { return m.fields(fields, place{}) }

// value masks what may be a secret in a value as JSON has it: a map, a list, a string and so on.
func (m *Masker) value(v any, in place) any {
	switch v := v.(type) {
	case map[string]any:
		return m.fields(v, in)
	case []any:
		return m.items(v, in)
	case string:
		return m.string(v, in)
	case nil:
		return nil
	}
	if in.secret && in.free {
		return Hidden
	}
	return v
}

// fields masks the values of names that say that they are secret, and also if a pair of name and value says so.
func (m *Masker) fields(fields map[string]any, in place) map[string]any {
	named := false
	for _, key := range []string{"name", "key", "Name", "Key"} {
		name, is := fields[key].(string)
		named = named || is && m.names.has(name)
	}
	kept := make(map[string]any, len(fields))
	for name, field := range fields {
		below := m.below(in, name)
		if named && !in.chosen && (strings.EqualFold(name, "value") || strings.EqualFold(name, "val")) {
			below.secret = true
		}
		if in.free {
			name = m.mask(name)
		}
		kept[name] = m.value(field, below)
	}
	return kept
}

// items masks lists, and in a list of arguments what follows a flag that asks for a secret.
func (m *Masker) items(items []any, in place) []any {
	kept := make([]any, len(items))
	asked := false
	for i, item := range items {
		below := in
		text, is := item.(string)
		below.secret = in.secret || asked && is && !strings.HasPrefix(text, "--")
		kept[i] = m.value(item, below)
		flag, value, together := strings.Cut(text, "=")
		secret := len(flag) > 1 && flag[0] == '-' && m.names.has(flag)
		if secret && together && value != "" {
			kept[i] = flag + "=" + Hidden
		}
		asked = secret && !together
	}
	return kept
}

func (m *Masker) string(s string, in place) string {
	switch {
	case in.chosen && !in.secret:
		return maskLooks(s)
	case in.amounts && isAmount(s), in.exact && !in.secret, s == "":
		return s
	case in.secret:
		return Hidden
	case in.message:
		return m.Text(s)
	}
	if text := strings.TrimSpace(s); strings.HasPrefix(text, "{") || strings.HasPrefix(text, "[") {
		if kept, is := m.document([]byte(s)); is {
			return kept
		}
	}
	return m.mask(s)
}

func isAmount(s string) bool {
	_, err := resource.ParseQuantity(s)
	return err == nil
}

// document masks a string that is JSON itself. It stays as it was written if there is nothing to mask.
func (m *Masker) document(raw []byte) (string, bool) {
	value, err := decoded(raw)
	if err != nil {
		return "", false
	}
	before, first := encoded(value)
	after, second := encoded(m.value(value, place{free: true}))
	if first != nil || second != nil {
		return "", false
	}
	if bytes.Equal(before, after) {
		return string(raw), true
	}
	return string(after), true
}

// decoded reads one JSON value. Numbers stay as they are written.
func decoded(raw []byte) (value any, err error) {
	if !json.Valid(raw) {
		return nil, json.Unmarshal(raw, &value)
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	return value, decoder.Decode(&value)
}

func encoded(value any) ([]byte, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(value)
	return bytes.TrimSpace(text.Bytes()), err
}
