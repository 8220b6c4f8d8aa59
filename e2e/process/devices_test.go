package process

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// command runs the binary to its end, without any variable that leads to a cluster.
func command(tb testing.TB, arguments ...string) ([]byte, error) {
	tb.Helper()
	c := exec.CommandContext(tb.Context(), binary, arguments...)
	c.Env = []string{"PATH=/bin", "HOME=/nonexistent"}
	return c.CombinedOutput()
}

func TestDevicesWithoutACluster(t *testing.T) {
	t.Parallel()
	for _, profile := range []string{"example", "dgx-h100", "l4-4x", "mixed"} {
		t.Run(profile, func(t *testing.T) {
			got, err := command(t, "devices", "--backend", "mock", "--mock-profile", profile,
				"--node-name", "golden", "-o", "yaml")
			if err != nil {
				t.Fatalf("%v: %s", err, got)
			}
			golden := filepath.Join("testdata", "devices-"+profile+".yaml")
			if *update {
				if err := os.WriteFile(golden, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			expected, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, expected) {
				t.Errorf("this is not %s; if the change is meant, run the tests with -update:\n%s", golden, got)
			}
		})
	}
	t.Run("without a node name", func(t *testing.T) {
		output, err := command(t, "devices", "--backend", "mock", "--mock-profile", "dgx-h100", "-o", "yaml")
		if err != nil {
			t.Errorf("%v: %s", err, output)
		}
	})
	t.Run("as a table", func(t *testing.T) {
		output, err := command(t, "devices", "--mock-profile", "l4-4x")
		if err != nil || !bytes.Contains(output, []byte("gpu-3")) {
			t.Errorf("%v: %s", err, output)
		}
	})
}

// BenchmarkDevices times what a person waits for; the aim is less than 100 ms.
func BenchmarkDevices(b *testing.B) {
	for b.Loop() {
		output, err := command(b, "devices", "--backend", "mock", "--mock-profile", "dgx-h100", "-o", "yaml")
		if err != nil {
			b.Fatalf("%v: %s", err, output)
		}
	}
}
