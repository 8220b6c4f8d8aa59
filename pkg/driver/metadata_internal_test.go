package driver

import (
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"example.com/dragoman/pkg/prepare"
)

// TestMetadataOfAClaimThatTheKubeletForgotIsRemovedWithIt: the helper removes it only when the kubelet asks.
func TestMetadataOfAClaimThatTheKubeletForgotIsRemovedWithIt(t *testing.T) {
	dir := t.TempDir()
	spec := filepath.Join(dir, "cdi", "gpu.example.com_metadata_1_gpu.json")
	file := filepath.Join(dir, "plugins/gpu.example.com/dra-device-metadata/team-a_train/gpu/metadata.json")
	for path, content := range map[string]string{spec: "{}", file: `{"metadata":{"uid":"1"}}`} {
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	client, _ := scripted(nil, apierrors.NewNotFound(claimsResource, "train"))
	records := &book{remembered: holding(prepare.Prepared)}
	records.recorded = map[types.UID]bool{"1": true}
	d := New(Options{DriverName: "gpu.example.com", KubeletDir: dir, CDIDir: filepath.Join(dir, "cdi"),
		DeviceMetadata: true, Client: client, Preparer: records, Records: records})
	d.unsettled.gone("1", time.Now().Add(-goneGrace))
	d.compare(quietly(t.Context()))
	for _, path := range []string{spec, filepath.Dir(filepath.Dir(file))} {
		if _, err := os.Lstat(path); !os.IsNotExist(err) {
			t.Errorf("%s is left (%v)", path, err)
		}
	}
	if records.recorded["1"] {
		t.Error("the claim was not taken back")
	}
}

// TestNoClaimWaitsForTheFirstLookAtDevicesThatWasLongAgo, also where it found none.
func TestNoClaimWaitsForTheFirstLookAtDevicesThatWasLongAgo(t *testing.T) {
	for name, tc := range map[string]struct {
		looked bool
		waits  time.Duration
	}{
		"nobody looked":             {false, firstLook},
		"there is no device (left)": {true, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHealth()
				if tc.looked {
					h.note(klog.Background(), nil)
				}
				begin := time.Now()
				devices := (&told{health: h}).looked(t.Context())
				if took := time.Since(begin); took != tc.waits || len(devices) > 0 {
					t.Errorf("it took %v, want %v, and found %v", took, tc.waits, devices)
				}
			})
		})
	}
}
