package manifest_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"

	"example.com/dragoman/pkg/view/manifest"
)

const claim = `apiVersion: resource.k8s.io/v1
kind: ResourceClaim
metadata:
  name: gpus
spec:
  devices:
    requests:
    - name: gpu
      exactly:
        deviceClassName: gpu.example.com
`

// brief is what a test compares: place, kind, whether there is an object, and the problems.
func brief(documents []manifest.Document) []string {
	var all []string
	for _, d := range documents {
		object := "object"
		if d.Object == nil {
			object = "nothing"
		}
		all = append(all, fmt.Sprintf("%s[%d]:%d %s: %s", d.Source, d.Index, d.Line, d.Kind.Kind, object))
		for _, p := range d.Problems {
			all = append(all, fmt.Sprintf("  %d: %s: %s", p.Line, p.Path, p.Message))
		}
	}
	return all
}

func TestTextsBecomeDocuments(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"one document":              {claim, []string{"f[0]:1 ResourceClaim: object"}},
		"nothing":                   {"\n# only a comment\n---\n---\n", nil},
		"comments in front":         {"# a\n\n" + claim, []string{"f[0]:3 ResourceClaim: object"}},
		"a byte order mark":         {"\xef\xbb\xbf" + claim, []string{"f[0]:1 ResourceClaim: object"}},
		"lines that end as Windows": {strings.ReplaceAll(claim, "\n", "\r\n"), []string{"f[0]:1 ResourceClaim: object"}},
		"two documents, one empty": {
			"---\n" + claim + "--- # next\n---\n" + claim,
			[]string{"f[0]:2 ResourceClaim: object", "f[1]:14 ResourceClaim: object"},
		},
		"a stream of JSON": {
			"{\"apiVersion\":\"v1\",\"kind\":\"Pod\"}\n\n{\"apiVersion\":\"v1\",\"kind\":\"Node\"}",
			[]string{"f[0]:1 Pod: object", "f[1]:3 Node: object"},
		},
		"a list of anything": {
			"apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Pod}\n- {apiVersion: v1, kind: Pot}\n",
			[]string{
				"f[0]:4 Pod: object", "f[1]:5 Pot: nothing",
				`  5: kind: there is no kind "Pot" in v1; did you mean "Pod"?`,
			},
		},
		"a list of one kind in JSON": {
			"{\"apiVersion\":\"v1\",\"kind\":\"PodList\",\"items\":[\n{\"spec\":{\"x\":1}},\n{}]}",
			[]string{"f[0]:2 Pod: object", "  2: spec.x: unknown field", "f[1]:3 Pod: object"},
		},
		"a kind of somebody else": {
			"apiVersion: jobset.x-k8s.io/v1alpha2\nkind: JobSet\nspec: {a: 1}\n", []string{"f[0]:1 JobSet: nothing"},
		},
		"a version that is not there": {
			"apiVersion: resource.k8s.io/v2\nkind: ResourceClaim\n",
			[]string{
				"f[0]:1 ResourceClaim: nothing",
				`  2: kind: there is no apiVersion "resource.k8s.io/v2"; did you mean "resource.k8s.io/v1"?`,
			},
		},
		"no kind": {"a: 1\n", []string{"f[0]:1 : nothing", "  1: apiVersion: must say what the object is"}},
		"a word":  {"hello\n", []string{"f[0]:1 : nothing", "  1: : must be an object with apiVersion and kind"}},
		"not YAML, after what is": {
			claim + "---\na: [1\nb: 2\n",
			[]string{
				"f[0]:1 ResourceClaim: object", "f[1]:12 : nothing",
				"  12: : neither YAML nor JSON: line 12: did not find expected ',' or ']'",
			},
		},
		"fields that do not exist": {
			strings.NewReplacer("exactly", "Exactly", "name: gpu\n", "name: gpu\n      x1: 1\n").Replace(claim),
			[]string{
				"f[0]:1 ResourceClaim: object",
				"  9: spec.devices.requests[0].x1: unknown field; there are: exactly, firstAvailable, name",
				`  10: spec.devices.requests[0].Exactly: unknown field; did you mean "exactly"?`,
			},
		},
		"a field that is there twice": {
			claim + "        deviceClassName: other\n",
			[]string{
				"f[0]:1 ResourceClaim: object",
				"  11: spec.devices.requests[0].exactly.deviceClassName: the field is given more than once",
			},
		},
		"values of the wrong type": {
			strings.ReplaceAll(claim, "gpu.example.com", "1.5\n        count: many\n        selectors: {}\n"+
				"        adminAccess: 1"),
			[]string{
				"f[0]:1 ResourceClaim: nothing",
				"  10: spec.devices.requests[0].exactly.deviceClassName: 1.5: must be a string; put it in quotes",
				`  11: spec.devices.requests[0].exactly.count: "many": must be a whole number of at most 64 bits`,
				"  12: spec.devices.requests[0].exactly.selectors: object: must be a list; each item begins with a dash",
				"  13: spec.devices.requests[0].exactly.adminAccess: 1: must be true or false",
			},
		},
		"a plain yes, which is true in YAML 1.1": {
			"apiVersion: v1\nkind: Pod\nmetadata:\n  name: yes\n  labels: {on: \"off\", b: 7, c: 0x10}\n",
			[]string{
				"f[0]:1 Pod: nothing", "  4: metadata.name: yes, which YAML reads as true: must be a string; put it in quotes",
				"  5: metadata.labels[b]: 7: must be a string; put it in quotes",
				"  5: metadata.labels[c]: 0x10, which YAML reads as 16: must be a string; put it in quotes",
			},
		},
		"a quantity that takes minutes to read": {
			"apiVersion: v1\nkind: Node\nstatus:\n  capacity:\n    cpu: \"1e-999999999\"\n    memory: 8Gi\n",
			[]string{
				"f[0]:1 Node: nothing",
				`  5: status.capacity[cpu]: "1e-999999999": must be a quantity; there is none with such an exponent`,
			},
		},
		"a quantity that is none": {
			"apiVersion: v1\nkind: Node\nstatus:\n  capacity:\n    cpu: lots\n",
			[]string{
				"f[0]:1 Node: nothing", `  5: status.capacity[cpu]: "lots": quantities must match the regular expression ` +
					`'^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'`,
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, brief(manifest.Parse("f", []byte(c.text)))); diff != "" {
				t.Errorf("documents (-want +got):\n%s", diff)
			}
		})
	}
}

func TestYAMLIsReadAsKubectlReadsIt(t *testing.T) {
	text := `apiVersion: v1
kind: Pod
metadata:
  name: &name p
  annotations:
    octal: "0777"
    long: |
      two
      lines
    again: *name
    <<: {merged: "1", again: "not this"}
spec:
  activeDeadlineSeconds: 0x10
  hostNetwork: on
  priority: 1e3
`
	documents := manifest.Parse("f", []byte(text))
	if len(documents) != 1 || len(documents[0].Problems) > 0 {
		t.Fatalf("documents: %v", brief(documents))
	}
	pod, ok := documents[0].Object.(*corev1.Pod)
	if !ok {
		t.Fatalf("object: %T", documents[0].Object)
	}
	want := map[string]string{"octal": "0777", "long": "two\nlines\n", "again": "p", "merged": "1"}
	if diff := cmp.Diff(want, pod.Annotations); diff != "" {
		t.Errorf("annotations (-want +got):\n%s", diff)
	}
	if *pod.Spec.ActiveDeadlineSeconds != 16 || !pod.Spec.HostNetwork || *pod.Spec.Priority != 1000 {
		t.Errorf("spec: %+v", pod.Spec)
	}
	if pod.Kind != "Pod" || pod.APIVersion != "v1" {
		t.Errorf("kind: %v", pod.TypeMeta)
	}
}

func TestWhatDriversReadIsKeptAsItIs(t *testing.T) {
	text := claim + `    config:
    - opaque:
        driver: d.example.com
        parameters: {a: "<&>", b: [1, 2.50, null]}
`
	documents := manifest.Parse("f", []byte(text))
	object, ok := documents[0].Object.(*resourceapi.ResourceClaim)
	if !ok || len(documents[0].Problems) > 0 {
		t.Fatalf("documents: %v", brief(documents))
	}
	got, want := string(object.Spec.Devices.Config[0].Opaque.Parameters.Raw), `{"a":"<&>","b":[1,2.5,null]}`
	if got != want {
		t.Errorf("parameters: %s, want %s", got, want)
	}
}

func TestAPathHasALine(t *testing.T) {
	json := "{\"apiVersion\": \"resource.k8s.io/v1\",\n\"kind\": \"ResourceClaim\",\n\"metadata\": {\n\"name\": \"a\",\n" +
		"\"labels\": {\n\"a.b/c\": \"d\"}}}"
	list := "kind: List\napiVersion: v1\nitems:\n- apiVersion: v1\n  kind: Pod\n  metadata:\n    name: a\n"
	for name, c := range map[string]struct {
		text, path string
		want       int
	}{
		"the document":                     {claim, "", 1},
		"a field":                          {claim, "metadata.name", 4},
		"an item":                          {claim, "spec.devices.requests[0]", 8},
		"another item":                     {claim + "    - name: b\n", "spec.devices.requests[1]", 11},
		"a field of an item":               {claim, "spec.devices.requests[0].exactly.deviceClassName", 10},
		"a field that is not there":        {claim, "spec.devices.requests[0].exactly.count", 9},
		"an item that is not there":        {claim, "spec.devices.requests[3].name", 7},
		"a field of JSON":                  {json, "metadata.name", 4},
		"a key with dots":                  {json, "metadata.labels[a.b/c]", 6},
		"a field of an object in a list":   {list, "metadata.name", 7},
		"a path that makes no sense":       {claim, "spec..[x", 5},
		"a document behind some others":    {"# c\n---\n---\n" + claim, "metadata.name", 7},
		"a field of what is another thing": {claim, "metadata.name.first", 4},
	} {
		t.Run(name, func(t *testing.T) {
			if got := manifest.Parse("f", []byte(c.text))[0].LineOf(c.path); got != c.want {
				t.Errorf("line %d, want %d", got, c.want)
			}
		})
	}
}

func TestFilesFoldersAndStdinAreRead(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"b.yaml": claim, "a.yml": claim, "c.json": `{"apiVersion":"v1","kind":"Pod"}`, "notes.txt": "x",
		"below/d.yaml": claim,
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		paths     []string
		recursive bool
		want      string
	}{
		"a folder":                  {[]string{"."}, false, "a.yml b.yaml c.json"},
		"a folder and those below":  {[]string{"."}, true, "a.yml b.yaml below/d.yaml c.json"},
		"files in the order given":  {[]string{"b.yaml", "-", "a.yml"}, false, "b.yaml stdin a.yml"},
		"a file with any other end": {[]string{"notes.txt"}, false, "notes.txt"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Chdir(dir)
			documents, err := manifest.Read(c.paths, c.recursive, strings.NewReader(claim))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, d := range documents {
				got = append(got, d.Source)
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("sources %v, want %s", got, c.want)
			}
		})
	}
}

func TestWhatCannotBeReadIsAnError(t *testing.T) {
	empty := t.TempDir()
	for name, c := range map[string]struct{ path, want string }{
		"a file that is not there": {"/nowhere/x.yaml", "read manifest: stat /nowhere/x.yaml: no such file or directory"},
		"a folder without manifests": {
			empty, "it has no files that end in .yaml, .yml or .json; folders below it are read with --recursive",
		},
		"an address": {"https://example.com/x.yaml", "addresses are not fetched; pipe what is there into -f -"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := manifest.Read([]string{c.path}, false, nil)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %s", err, c.want)
			}
		})
	}
}

func FuzzNothingMakesItPanic(f *testing.F) {
	f.Add(claim)
	f.Add("a: &a [*a]\n")
	f.Add("a: &a {b: 1}\nc: {<<: *a, b: 2}\nd: {<<: [*a, *a]}\n")
	f.Add("{\"apiVersion\":\"v1\",\"kind\":\"List\",\"items\":[{},null,1]}")
	f.Add("apiVersion: v1\nkind: PodList\nitems: [1, {metadata: []}]\n")
	f.Add(strings.Repeat("[", 500))
	f.Fuzz(func(t *testing.T, text string) {
		for _, d := range manifest.Parse("f", []byte(text)) {
			if d.Object == nil && d.Raw == nil && len(d.Problems) == 0 {
				t.Errorf("a document is lost: %+v", d)
			}
			for _, p := range d.Problems {
				if most := strings.Count(text, "\n") + 1; p.Line < 1 || p.Line > most {
					t.Errorf("line %d of %d: %s", p.Line, most, p.Message)
				}
			}
			d.LineOf("spec.devices.requests[0].exactly[a.b/c].x")
		}
	})
}
