package strict

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

type thing struct {
	metav1.TypeMeta `json:",inline"`
	Name            string           `json:"name,omitempty"`
	Count           *int             `json:"count,omitempty"`
	Small           int32            `json:"small,omitempty"`
	On              bool             `json:"on,omitempty"`
	Inner           *inner           `json:"inner,omitempty"`
	Plain           inner            `json:"plain,omitzero"`
	List            []inner          `json:"list,omitempty"`
	Map             map[string]inner `json:"map,omitempty"`
	Words           []string         `json:"words,omitempty"`
	Even            even             `json:"even,omitempty"`
}

type inner struct {
	DeviceName string `json:"deviceName,omitempty"`
}

// even decodes itself.
type even int

func (e *even) UnmarshalJSON(raw []byte) error {
	var i int
	if err := json.Unmarshal(raw, &i); err != nil || i%2 != 0 {
		return errors.New("must be an even number")
	}
	*e = even(i)
	return nil
}

var gvk = schema.GroupVersionKind{Group: "test.example.com", Version: "v1", Kind: "Thing"}

const head = "apiVersion: test.example.com/v1\nkind: Thing\n"

func whole() thing {
	return thing{
		TypeMeta: metav1.TypeMeta{APIVersion: "test.example.com/v1", Kind: "Thing"},
		Name:     "a", Count: new(3), Small: -4, On: true, Inner: &inner{"x"}, Plain: inner{"x"},
		List: []inner{{"0"}, {"1"}}, Map: map[string]inner{"k": {"v"}},
		Words: []string{"yes", "2024-01-01", "é😀"}, Even: 16,
	}
}

func TestDecode(t *testing.T) {
	for name, raw := range map[string]string{
		"YAML": head + `
name: a
count: 3
small: -4
on: true
inner: {deviceName: x}
plain: {deviceName: x}
list: [{deviceName: "0"}, {deviceName: '1'}]
map: {k: {deviceName: v}}
words: [yes, 2024-01-01, é😀]
even: 0x10
`,
		"JSON": `{"apiVersion":"test.example.com/v1","kind":"Thing","name":"a","count":3,"small":-4,"on":true,
			"inner":{"deviceName":"x"},"plain":{"deviceName":"x"},"list":[{"deviceName":"0"},{"deviceName":"1"}],
			"map":{"k":{"deviceName":"v"}},"words":["yes","2024-01-01","\u00e9\ud83d\ude00"],"even":16}`,
		"YAML with an alias": head + "name: a\ncount: 3\nsmall: -4\non: True\ninner: {deviceName: &x x}\n" +
			"plain: {deviceName: *x}\nlist: [{deviceName: '0'}, {deviceName: '1'}]\nmap: {k: {deviceName: v}}\n" +
			"words: [yes, 2024-01-01, é😀]\neven: 1_6\n",
	} {
		t.Run(name, func(t *testing.T) {
			var got thing
			if errs := Decode([]byte(raw), nil, gvk, &got); len(errs) > 0 {
				t.Fatal(errs.ToAggregate())
			}
			if diff := cmp.Diff(whole(), got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestDecodeTakesNullForNothing(t *testing.T) {
	var got thing
	raw := head + "name: null\ncount: ~\ninner:\nlist: null\nmap: null\neven: null\n"
	if errs := Decode([]byte(raw), nil, gvk, &got); len(errs) > 0 {
		t.Fatal(errs.ToAggregate())
	}
	want := thing{TypeMeta: metav1.TypeMeta{APIVersion: "test.example.com/v1", Kind: "Thing"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestDecodeRefuses(t *testing.T) {
	deep := strings.Repeat("[", 20000) + strings.Repeat("]", 20000)
	for name, test := range map[string]struct {
		raw  string
		want []string
	}{
		"nothing":        {"", []string{`p: Invalid value: "": is empty`}},
		"only a comment": {"# x\n", []string{`p: Invalid value: "": is empty`}},
		"null": {
			"null", []string{`p: Invalid value: "null": must be an object with apiVersion and kind`},
		},
		"a list": {
			"- a", []string{`p: Invalid value: "array": must be an object with apiVersion and kind`},
		},
		"a word": {
			"hello", []string{`p: Invalid value: "string": must be an object with apiVersion and kind`},
		},
		"broken YAML":   {"a: b\n c: [", []string{`p: Invalid value: "": neither YAML nor JSON: line 2: `}},
		"broken JSON":   {`{"a": `, []string{`p: Invalid value: "": neither YAML nor JSON: line 1: `}},
		"two documents": {head + "---\n" + head, []string{`p: Invalid value: "": must be one YAML document`}},
		"a key that is none": {
			head + "? [a]\n: b\n", []string{`p: Invalid value: "": line 3: a key must be a plain word`},
		},
		"too long": {
			strings.Repeat(" ", maxBytes+1), []string{`p: Invalid value: "": 1048577 bytes are more than`},
		},
		"deep YAML": {
			head + "list: " + strings.Repeat("[", 100) + strings.Repeat("]", 100), []string{`nests deeper than 64`},
		},
		"deep JSON": {
			`{"list":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + "}", []string{`nests deeper than 64`},
		},
		"very deep":          {deep, []string{"p: "}},
		"an alias to itself": {head + "list: &a [*a]\n", []string{"nests deeper than 64"}},
		"aliases that multiply": {
			head + "words: &a [x,x,x,x,x,x,x,x,x,x]\na: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nb: &c [*b,*b,*b,*b,*b," +
				"*b,*b,*b,*b,*b]\n" +
				"c: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\nd: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\ne: [*e,*e,*e,*e,*e," +
				"*e,*e,*e,*e,*e]\n",
			[]string{"has more than 262144 values"},
		},
		"no type": {"name: a", []string{
			`p.apiVersion: Required value: must be "test.example.com/v1"`, `p.kind: Required value: must be "Thing"`,
		}},
		"the wrong type": {"apiVersion: v2\nkind: 7\nfoo: 1", []string{
			`p.apiVersion: Unsupported value: "v2": supported values: "test.example.com/v1"`,
			`p.kind: Unsupported value: "7": supported values: "Thing"`,
		}},
		"a type given twice": {
			head + "kind: Thing", []string{`p.kind: Duplicate value: "kind": the field is given more than once`},
		},
		"fields that do not exist": {head + "Name: a\ninner: {device_name: x, other: y}\nmetadata: {}\n\"a " +
			"b\\n\": 1\n", []string{
			`p.Name: Forbidden: no such field; did you mean "name"?`,
			`p.inner.device_name: Forbidden: no such field; did you mean "deviceName"?`,
			`p.inner.other: Forbidden: no such field; there are: deviceName`,
			`p.metadata: Forbidden: no such field; there are: apiVersion, count, even, inner, kind, list, map, ` +
				`name, on, plain, ` +
				`small, words`,
			`p[a b\n]: Forbidden: no such field; there are:`,
		}},
		"the same in JSON": {`{"apiVersion":"test.example.com/v1","kind":"Thing","Name":"a","name":"b","name":` +
			`"c"}`, []string{
			`p.Name: Forbidden: no such field; did you mean "name"?`,
			`p.name: Duplicate value: "name": the field is given more than once`,
		}},
		"keys given twice": {head + "map: {k: {}, k: {}}\nname: a\nname: b\n", []string{
			`p.map[k]: Duplicate value: "k": the field is given more than once`,
			`p.name: Duplicate value: "name": the field is given more than once`,
		}},
		"values of the wrong type": {
			head + "name: 5\ncount: 1.5\nsmall: 2147483648\non: yes\ninner: [a]\nplain: x\nlist: {}\nmap: " +
				"[a]\nwords: [true, {}]\neven: 3\n",
			[]string{
				`p.name: Invalid value: "5": must be a string; put it in quotes`,
				`p.count: Invalid value: "1.5": must be a whole number`,
				`p.small: Invalid value: "2147483648": must be between -2147483648 and 2147483647`,
				`p.on: Invalid value: "yes": must be true or false`,
				`p.inner: Invalid value: "array": must be an object`,
				`p.plain: Invalid value: "x": must be an object`,
				`p.list: Invalid value: "object": must be a list`,
				`p.map: Invalid value: "array": must be an object`,
				`p.words[0]: Invalid value: "true": must be a string; put it in quotes`,
				`p.words[1]: Invalid value: "object": must be a string`,
				`p.even: Invalid value: "3": must be an even number`,
			},
		},
		"numbers out of any range": {head + "count: 99999999999999999999\nsmall: .inf\neven: .nan\n", []string{
			`p.count: Invalid value: "99999999999999999999": must be`,
			`p.small: Invalid value: ".inf": must be a whole number`,
			`p.even: Invalid value: ".nan": must be an even number`,
		}},
		"a merge key": {head + "<<: {name: a}\n", []string{`p[<<]: Forbidden: no such field`}},
	} {
		t.Run(name, func(t *testing.T) {
			errs := Decode([]byte(test.raw), field.NewPath("p"), gvk, &thing{})
			if len(errs) != len(test.want) {
				t.Errorf("%d problems instead of %d: %v", len(errs), len(test.want), errs.ToAggregate())
				return
			}
			for i, want := range test.want {
				if !strings.Contains(errs[i].Error(), want) {
					t.Errorf("%s\ndoes not contain\n%s", errs[i].Error(), want)
				}
			}
		})
	}
}

func TestDecodeBoundsItsAnswer(t *testing.T) {
	raw := head + strings.Repeat("a: 1\n", 1000) + strings.Repeat("k", 1000) + ": 1\n"
	errs := Decode([]byte(raw), nil, gvk, &thing{})
	if len(errs) != maxProblems+1 || !strings.Contains(errs[maxProblems].Error(), "there are 969 more problems") {
		t.Errorf("%d problems, the last is %v", len(errs), errs[len(errs)-1])
	}
	errs = Decode([]byte(head+strings.Repeat("k", 1000)+": 1\n"), nil, gvk, &thing{})
	if n := len(errs[0].Error()); n > 500 {
		t.Errorf("a message of %d bytes", n)
	}
}

func TestJoinLeavesOutWhatFollows(t *testing.T) {
	p := field.NewPath("a")
	form := field.ErrorList{
		field.TypeInvalid(p.Child("b"), "x", "must be an object"),
		field.Forbidden(p.Child("C"), "no such field"),
	}
	content := field.ErrorList{
		field.Required(p.Child("b"), ""), field.Required(p.Child("b").Child("c"), ""),
		field.Required(p.Child("b").Index(1), ""),
		field.Required(p.Child("bb"), ""), field.Required(p.Child("C"), ""),
	}
	var got []string
	for _, err := range Join(form, content) {
		got = append(got, err.Field)
	}
	if diff := cmp.Diff([]string{"a.b", "a.C", "a.bb", "a.C"}, got); diff != "" {
		t.Error(diff)
	}
}

func FuzzDecode(f *testing.F) {
	for _, raw := range []string{
		head + "name: a\nlist: [{deviceName: x}]\nmap: {a: {}}\n", head + "list: &a " +
			"[*a]", "{", "", "null", "\x00", "? a",
		`{"apiVersion":"test.example.com/v1","kind":"Thing","even":2,"even":3}`, head + "small: 0o17\neven: 1_000\n",
		head + "name: !!binary aGVsbG8=\n", "%YAML 1.1\n---\n" + head, head + "count: -0\non: TRUE\n",
	} {
		f.Add([]byte(raw))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var first thing
		if errs := Decode(raw, nil, gvk, &first); len(errs) > 0 {
			for _, err := range errs {
				_ = err.Error()
			}
			return
		}
		again, err := json.Marshal(first)
		if err != nil {
			t.Fatal(err)
		}
		var second thing
		if errs := Decode(again, nil, gvk, &second); len(errs) > 0 {
			t.Fatalf("%s: %v", again, errs.ToAggregate())
		}
	})
}
