package failpoint_test

import (
	"os/exec"
	"strings"
	"testing"
)

const here = "example.com/dragoman/pkg/failpoint"

// TestOnlyTestBuildsHaveIt: what is built without the tag has empty functions, which are compiled into nothing.
func TestOnlyTestBuildsHaveIt(t *testing.T) {
	for tags, want := range map[string]string{"": "[doc.go release.go]", "failpoints": "[armed.go doc.go]"} {
		out, err := exec.Command("go", "list", "-tags="+tags, "-f={{.GoFiles}}", here).CombinedOutput()
		if got := strings.TrimSpace(string(out)); got != want || err != nil {
			t.Errorf("with the tags %q it is %s, %v, expected %s", tags, got, err, want)
		}
	}
	out, err := exec.Command("go", "build", "-gcflags=-m", here).CombinedOutput()
	if err != nil {
		t.Fatalf("build it: %v\n%s", err, out)
	}
	for _, function := range []string{"Before", "After", "Working"} {
		if !strings.Contains(string(out), "can inline "+function+"\n") {
			t.Errorf("%s is not compiled into its callers:\n%s", function, out)
		}
	}
}
