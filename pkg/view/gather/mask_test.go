package gather

import (
	"encoding/json"
	"strings"
	"testing"
)

const certificate = "-----BEGIN CERTIFICATE-----\nMIIE\n-----END CERTIFICATE-----\n"

func TestWhatLooksLikeASecretIsMasked(t *testing.T) {
	for text, want := range map[string]string{
		"Authorization: Bearer abc.def-123":              "Authorization: [masked]",
		`"Authorization":"Basic dXNlcjpwYXNz", "x":1`:    `"Authorization":"[masked]", "x":1`,
		"sent bearer abcdefgh12345 to it":                "sent bearer [masked] to it",
		"a bearer of news":                               "a bearer of news",
		"password=hunter2 user=me":                       "password=[masked] user=me",
		`{"clientSecret": "a b c", "n": 1}`:              `{"clientSecret": "[masked]", "n": 1}`,
		`{\"apiKey\": \"abc\"}`:                          `{\"apiKey\": \"[masked]\"}`,
		"--token abc --v=4":                              "--token [masked] --v=4",
		"--api-key=abc,def":                              "--api-key=[masked]",
		"https://me:hunter2@registry.example.com/v2":     "https://[masked]@registry.example.com/v2",
		"pull https://registry.example.com/v2/@sha":      "pull https://registry.example.com/v2/@sha",
		"got eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJr.c2ln now": "got [masked] now",
		"AWS_SECRET_ACCESS_KEY: xyz":                     "AWS_SECRET_ACCESS_KEY: [masked]",
		"claim team-a/train-0 prepared in 4ms":           "claim team-a/train-0 prepared in 4ms",
		"a\n-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\nb\n": "a\n[masked]\nb\n",
		"a\n-----BEGIN PRIVATE KEY-----\nMIIE\n":                                       "a\n[masked]\n",
		certificate:                                                                    certificate,
	} {
		if got := maskString(text); got != want {
			t.Errorf("%q becomes\n%q, and not\n%q", text, got, want)
		}
	}
}

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

func FuzzMask(f *testing.F) {
	f.Add("password=", " user=me")
	f.Add("-----BEGIN PRIVATE KEY-----\n", "\n")
	f.Add("https://me:", "@host")
	f.Fuzz(func(t *testing.T, before, after string) {
		const token = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJrdWJlcm5ldGVzIn0.c2lnbmF0dXJlb2ZpdA"
		for _, text := range []string{
			before + " " + token + " " + after,
			before + "\nAuthorization: Bearer Zm9vYmFyYmF6cXV4\n" + after,
			before + "\npassword=Zm9vYmFyYmF6cXV4\n" + after,
		} {
			if got := maskString(text); strings.Contains(got, token) || strings.Contains(got, "Zm9vYmFyYmF6cXV4") {
				t.Errorf("%q becomes %q", text, got)
			}
		}
	})
}

func FuzzShape(f *testing.F) {
	f.Add([]byte(`{"kind":"K","password":"x","l":[1]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if made := shape(raw); !json.Valid(made) {
			t.Errorf("%q becomes %q, which is not JSON", raw, made)
		}
		if made, is := (masker{}).document(raw); is && !json.Valid([]byte(made)) {
			t.Errorf("%q becomes %q, which is not JSON", raw, made)
		}
	})
}
