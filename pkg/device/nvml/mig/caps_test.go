//go:build cgo

package mig_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"example.com/dragoman/pkg/device/nvml/mig"
)

func TestCapabilities(t *testing.T) {
	const minors, gi1 = "proc/driver/nvidia-caps/mig-minors", "proc/driver/nvidia/capabilities/gpu0/mig/gi1/access"
	const table = "gpu0/gi1/access 30\ngpu0/gi1/ci0/access 31\nconfig 1\ngpu1/gi1/access 165\n"
	const devices = "Character devices:\n195 nvidia\n511 nvidia-caps\n\nBlock devices:\n  8 sd\n"
	mine := map[string]string{
		gi1: "DeviceFileMinor: 12\nDeviceFileMode: 256\n",
		"proc/driver/nvidia/capabilities/gpu0/mig/gi1/ci0/access": "DeviceFileMinor: 13\nDeviceFileMode: 256\n",
	}
	for name, test := range map[string]struct {
		files map[string]string
		want  []mig.Capability
		err   string
	}{
		"the files of the instance": {mine, []mig.Capability{
			{Path: "/dev/nvidia-caps/nvidia-cap12", Minor: 12}, {Path: "/dev/nvidia-caps/nvidia-cap13", Minor: 13},
		}, ""},
		"the table of all": {map[string]string{minors: table, "proc/devices": devices},
			[]mig.Capability{
				{Path: "/dev/nvidia-caps/nvidia-cap30", Major: 511, Minor: 30},
				{Path: "/dev/nvidia-caps/nvidia-cap31", Major: 511, Minor: 31},
			}, ""},
		"nothing":                 {nil, nil, "gi1 of GPU number 0"},
		"a table without it":      {map[string]string{minors: "config 1\n"}, nil, "does not name it"},
		"a file without a number": {map[string]string{gi1: "x\n"}, nil, "DeviceFileMinor"},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			for file, content := range test.files {
				path := filepath.Join(root, file)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			got, err := mig.Capabilities(root, 0, 1, 0)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
			if (test.err == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), test.err) {
				t.Errorf("error %v, want …%s…", err, test.err)
			}
		})
	}
}
