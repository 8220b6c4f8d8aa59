package mock_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"example.com/dragoman/pkg/device/mock"
)

func TestMachinesAreThoseThatABackendWouldSee(t *testing.T) {
	for _, profile := range append(mock.BuiltIn(), "../../../deployments/examples/profiles.yaml") {
		machines, err := mock.Machines(profile)
		if strings.HasSuffix(profile, ".yaml") {
			if err == nil {
				t.Errorf("%s: no error for a file that is not there", profile)
			}
			continue
		}
		if err != nil {
			t.Fatalf("%s: %v", profile, err)
		}
		for _, node := range []string{"node-0", "node-1"} {
			backend, err := mock.New(mock.Options{
				Profile: profile, NodeName: node, DriverName: "gpu.example.com", Dir: t.TempDir(),
			})
			if err != nil {
				t.Fatal(err)
			}
			want, err := backend.Devices(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, machines(node)); diff != "" {
				t.Errorf("%s on %s (- backend, + machines):\n%s", profile, node, diff)
			}
		}
	}
}
