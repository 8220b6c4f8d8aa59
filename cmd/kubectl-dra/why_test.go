package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"example.com/dragoman/pkg/view/why"
)

// whyClusters has a folder for each reason: cluster.yaml, whose second line is what somebody types, and answer.txt.
const whyClusters = "../../pkg/view/why/testdata"

// whyCall returns the arguments that the second line of a cluster has, after "kubectl dra".
func whyCall(t *testing.T, path string) []string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, call, found := strings.Cut(string(text), "# $ kubectl dra ")
	if !found {
		t.Fatalf("%s does not say what is typed", path)
	}
	call, _, _ = strings.Cut(call, "\n")
	return append(strings.Fields(call), "--from", path)
}

func clustersOfWhy(t *testing.T) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(whyClusters, "*", "cluster.yaml"))
	if err != nil || len(paths) < 50 {
		t.Fatalf("there are %d clusters, error %v", len(paths), err)
	}
	return paths
}

// TestEachReasonIsOneReadableScreen shows what is printed for each of the reasons.
func TestEachReasonIsOneReadableScreen(t *testing.T) {
	for _, path := range clustersOfWhy(t) {
		t.Run(filepath.Base(filepath.Dir(path)), func(t *testing.T) {
			out, errOut, code := called(t, whyCall(t, path)...)
			golden(t, filepath.Join("..", filepath.Dir(path), "answer.txt"), fmt.Sprintf("%s[exit %d]\n", out, code))
			if errOut != "" {
				t.Errorf("stderr says %q", errOut)
			}
			lines := strings.Split(out, "\n")
			if len(lines) > 40 {
				t.Errorf("the screen has %d lines", len(lines))
			}
			for _, line := range lines {
				if len([]rune(line)) > 120 {
					t.Errorf("a line has %d columns: %s", len([]rune(line)), line)
				}
			}
		})
	}
}

func TestWhyForProgramsIsTheSameInJSONAndYAML(t *testing.T) {
	for _, path := range clustersOfWhy(t) {
		asJSON, _, jsonCode := called(t, append(whyCall(t, path), "-o", "json")...)
		asYAML, _, yamlCode := called(t, append(whyCall(t, path), "-o", "yaml")...)
		var first, second why.Answer
		if err := json.Unmarshal([]byte(asJSON), &first); err != nil {
			t.Fatalf("%s: read JSON: %v", path, err)
		}
		if err := yaml.UnmarshalStrict([]byte(asYAML), &second); err != nil {
			t.Fatalf("%s: read YAML: %v", path, err)
		}
		if diff := cmp.Diff(first, second); diff != "" || jsonCode != yamlCode || first.Summary == "" {
			t.Errorf("%s: JSON and YAML differ (- JSON, + YAML), or say nothing:\n%s", path, diff)
		}
	}
}

func TestWhyTakesTheWaysInWhichKubectlNamesThings(t *testing.T) {
	cluster := filepath.Join(whyClusters, "running", "cluster.yaml")
	for _, words := range [][]string{
		{"pod/train-1"}, {"pods/train-1"}, {"po/train-1"}, {"pod", "train-1"},
		{"claim/gpus"}, {"resourceclaim/gpus"}, {"resourceclaims.resource.k8s.io/gpus"}, {"claims", "gpus"},
	} {
		if _, errOut, code := called(t, append(append([]string{"why"}, words...), "--from", cluster)...); code != exitYes {
			t.Errorf("why %s: exit code %d, %s", strings.Join(words, " "), code, errOut)
		}
	}
}

func TestWhyCannotTell(t *testing.T) {
	cluster := filepath.Join(whyClusters, "running", "cluster.yaml")
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"what is not there":              {[]string{"pod/other"}, `pod "other" is not in namespace "default"`},
		"what is in another namespace":   {[]string{"claim/gpus", "-n", "b"}, `claim "gpus" is not in namespace "b"`},
		"what is neither pod nor claim":  {[]string{"node/node-a"}, `say pod/NAME or claim/NAME, and not "node/node-a"`},
		"nothing":                        {nil, "say pod/NAME or claim/NAME"},
		"a pod without a name":           {[]string{"pod/"}, "say pod/NAME"},
		"two pods":                       {[]string{"pod/a", "pod/b"}, "say pod/NAME"},
		"a format that does not exist":   {[]string{"pod/train-1", "-o", "xml"}, "there are: text, json, yaml"},
		"more words than there are uses": {[]string{"a", "b", "c"}, `not "a b c"`},
	} {
		t.Run(name, func(t *testing.T) {
			out, errOut, code := called(t, append(append([]string{"why"}, c.args...), "--from", cluster)...)
			if code != exitCannotTell || out != "" || !strings.Contains(errOut, c.want) {
				t.Errorf("exit code %d, stdout %q, stderr %q; want 2 and %q", code, out, errOut, c.want)
			}
		})
	}
}

func TestAScreenSaysThatNotAllChangesWereTried(t *testing.T) {
	for name, next := range map[string][]why.Remedy{
		"none was found": nil,
		"one was found":  {{Kind: why.AskForFewer, Text: "ask for count: 1", Tried: true}},
	} {
		t.Run(name, func(t *testing.T) {
			w := &whyScreen{&screen{}}
			w.next(why.Answer{State: why.Waiting, Requests: []why.Request{{}}, Next: next, SearchCut: true})
			const said = "\n      (not all changes were tried, as there are many: others may help too)\n"
			if !strings.HasPrefix(w.text.String(), "\nNext: ") || !strings.HasSuffix(w.text.String(), said) {
				t.Errorf("the screen says %q", w.text.String())
			}
		})
	}
}
