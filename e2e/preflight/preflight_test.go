package preflight_test

import (
	"strings"
	"testing"

	"example.com/dragoman/e2e/preflight"
)

func TestEnvironmentSaysWhatIsMissingAndWhoSetsIt(t *testing.T) {
	t.Setenv("E2E_SET", "value")
	t.Setenv("E2E_EMPTY", "")
	values, err := preflight.Environment("E2E_SET")
	if err != nil || values["E2E_SET"] != "value" {
		t.Errorf("got %v, %v", values, err)
	}
	_, err = preflight.Environment("E2E_SET", "E2E_EMPTY", "E2E_UNKNOWN")
	if err == nil {
		t.Fatal("no error")
	}
	for _, part := range []string{"E2E_EMPTY, E2E_UNKNOWN", `"make e2e"`} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the error does not say %s: %v", part, err)
		}
	}
	if strings.Contains(err.Error(), "E2E_SET") {
		t.Errorf("the error names what is set: %v", err)
	}
}

func TestClusterSaysWhichKubeconfigIsWrong(t *testing.T) {
	_, _, err := preflight.Cluster("/nonexistent/kubeconfig")
	if err == nil || !strings.Contains(err.Error(), "/nonexistent/kubeconfig") {
		t.Errorf("the error is %v", err)
	}
}
