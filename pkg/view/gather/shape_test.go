package gather

import (
	"encoding/json"
	"testing"
)

func TestTheShapeOfAConfigurationHasNoValues(t *testing.T) {
	for text, want := range map[string]string{
		`{"apiVersion":"a/v1","kind":"K","s":"x","n":1.5,"b":true,"z":null,"l":[{"p":"q"},{"r":1}],"e":[],` +
			`"o":{"kind":"x"}}`: `{"apiVersion":"a/v1","b":"boolean","e":[],"kind":"K","l":[{"p":"string"}],` +
			`"n":"number","o":{"kind":"string"},"s":"string","z":null}`,
		`"x"`: `"string"`,
		`{"someKey":"x","hunter-2":"x","a.b/c":{"d":1}}`: `{"[masked]":"string","someKey":"string"}`,
		`not JSON`: `null`,
		``:         `null`,
	} {
		if got := string(shape([]byte(text))); got != want {
			t.Errorf("%s becomes\n%s, and not\n%s", text, got, want)
		}
	}
}

func FuzzShape(f *testing.F) {
	f.Add([]byte(`{"kind":"K","password":"x","l":[1]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if made := shape(raw); !json.Valid(made) {
			t.Errorf("%q becomes %q, which is not JSON", raw, made)
		}
	})
}
