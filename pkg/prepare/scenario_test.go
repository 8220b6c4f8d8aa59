package prepare

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	gpuv1alpha1 "example.com/dragoman/api/gpu/v1alpha1"
	"example.com/dragoman/pkg/claim"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestScenarios takes each claim.yaml below testdata the whole way: the plan, the CDI file, the record and the answer
// are in the files beside it. A file that is missing there must not be written.
func TestScenarios(t *testing.T) {
	inputs, err := filepath.Glob(filepath.Join("testdata", "*", "claim.yaml"))
	must(t, err)
	if len(inputs) == 0 {
		t.Fatal("there are no scenarios in testdata")
	}
	for _, input := range inputs {
		dir := filepath.Dir(input)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			plan := planFrom(t, input)
			p := newNode(t).start(t)
			for range 2 { // the second time everything is there
				answer, err := p.Prepare(t.Context(), plan)
				must(t, err)
				golden(t, filepath.Join(dir, "plan.json"), indented(t, plan))
				golden(t, filepath.Join(dir, "answer.json"), indented(t, answer))
				golden(t, filepath.Join(dir, "cdi.json"), contentOf(t, p.specOf(plan.UID)))
				golden(t, filepath.Join(dir, "record"), contentOf(t, p.recordOf(plan.UID)))
			}
			p.mustGoAway(t, plan.UID)
		})
	}
}

func planFrom(t *testing.T, path string) claim.Plan {
	t.Helper()
	raw, err := os.ReadFile(path)
	must(t, err)
	var c resourceapi.ResourceClaim
	must(t, yaml.UnmarshalStrict(raw, &c))
	plan, err := claim.Decide(&c, claim.Options{
		DriverName: driverName, PoolName: nodeName, Decode: gpuv1alpha1.Decode,
		Default: func() runtime.Object { return gpuv1alpha1.Default() },
	})
	must(t, err)
	return plan
}

func indented(t *testing.T, v any) []byte {
	t.Helper()
	raw, err := json.MarshalIndent(v, "", "  ")
	must(t, err)
	return append(raw, '\n')
}

func contentOf(t *testing.T, path string) []byte {
	t.Helper()
	raw, err := os.ReadFile(path)
	if !os.IsNotExist(err) {
		must(t, err)
	}
	return raw
}

func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		must(t, os.RemoveAll(path))
		if got != nil {
			must(t, os.WriteFile(path, got, 0o600))
		}
	}
	if diff := cmp.Diff(string(contentOf(t, path)), string(got)); diff != "" {
		t.Errorf("%s (-want +got), see -update:\n%s", path, diff)
	}
}
