package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"
)

// everything does all there is to do with a claim and a device of those names, and returns what went wrong.
func everything(s *Store, uid types.UID, key DeviceKey) map[string]error {
	r := &Record{Claim: Claim{Namespace: "n", Name: "c", UID: uid}, State: Prepared, Devices: []Device{{DeviceKey: key}}}
	errs := map[string]error{}
	unlock, err := s.Lock(context.Background(), uid)
	if errs["Lock"] = err; err == nil {
		defer unlock()
	}
	errs["Put"] = s.Put(r)
	errs["Hold"] = s.Hold(Device{DeviceKey: key}, r.Claim)
	_, errs["Has"] = s.Has(uid)
	_, errs["Get"] = s.Get(uid)
	_, _, errs["List"] = s.List()
	_, _, errs["Held"] = s.Held()
	errs["Release"] = s.Release(uid, key)
	errs["ReleaseAll"] = s.ReleaseAll(uid)
	errs["Delete"] = s.Delete(uid)
	return errs
}

func TestFault24HostileNamesOfDevices(t *testing.T) {
	long := strings.Repeat("d", 63)
	for name, c := range map[string]struct {
		key DeviceKey
		ok  bool
	}{
		"a pool with slashes":             {DeviceKey{Pool: "region/zone/node", Device: "gpu-0"}, true},
		"a pool that leads out":           {DeviceKey{Pool: "../../../etc", Device: "gpu-0"}, true},
		"names as long as they may be":    {DeviceKey{strings.Repeat("p", 253), long, strings.Repeat("s", 36)}, true},
		"a device that leads out":         {DeviceKey{Pool: "p", Device: "../../x"}, false},
		"a device that is a directory":    {DeviceKey{Pool: "p", Device: "a/b"}, false},
		"a share that leads out":          {DeviceKey{"p", "gpu-0", "../../../x"}, false},
		"a share with a dot":              {DeviceKey{"p", "gpu-0", ".."}, false},
		"a device without name":           {DeviceKey{Pool: "p"}, false},
		"a device that ends with a zero":  {DeviceKey{Pool: "p", Device: "gpu-0\x00"}, false},
		"a device with too long a name":   {DeviceKey{Pool: "p", Device: long + "dd"}, false},
		"two dots, which lead not far":    {DeviceKey{Pool: "p", Device: ".."}, true},
		"a device that looks like a temp": {DeviceKey{Pool: "p", Device: ".x.tmp"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			for call, err := range everything(s, uid, c.key) {
				refused := strings.Contains(fmt.Sprint(err), "cannot be part of a file name")
				if call == "Get" && !c.ok && errors.Is(err, ErrNotFound) {
					continue
				}
				if aboutDevices := call == "Hold" || call == "Put"; !aboutDevices && err != nil ||
					aboutDevices && refused == c.ok {
					t.Errorf("%s: %v", call, err)
				}
			}
			if left := files(t, filepath.Dir(s.dir)); len(left) > 1 { // the epoch
				t.Errorf("left: %v", left)
			}
		})
	}
}

// FuzzNames does everything with any names and looks whether anything is there afterwards beside what may be.
func FuzzNames(f *testing.F) {
	for _, names := range [][4]string{
		{string(uid), "node-a", "gpu-0", ""}, {"..", "../..", "../x", ".."}, {"a/b", "a/b", "a/b", "a/b"},
		{"", "", "", ""}, {"a\x00", "\x00", "gpu\x00", "s\x00"}, {"epoch", "", "epoch", "epoch"},
		{".a.tmp", "p", ".a.tmp", ""}, {"", "0", "0A", ""},
	} {
		f.Add(names[0], names[1], names[2], names[3])
	}
	f.Fuzz(func(t *testing.T, uid, pool, device, share string) {
		top, err := os.MkdirTemp("/dev/shm", "dragoman-fuzz-") //nolint:usetesting // in memory
		must(t, err)
		defer os.RemoveAll(top) //nolint:errcheck // a later run makes another one
		must(t, os.WriteFile(filepath.Join(top, "outside"), []byte("untouched"), 0o600))
		s := openAt(t, filepath.Join(top, "state"))
		epoch := string(s.epoch)
		errs := everything(s, types.UID(uid), DeviceKey{pool, device, share})
		if err := errors.Join(errs["Put"], errs["Hold"], errs["Lock"]); err == nil && errs["Get"] != nil {
			t.Errorf("what was written does not read: %v", errs["Get"])
		}
		for _, name := range files(t, top) {
			if name != "outside" && name != "state/epoch" {
				t.Errorf("left: %q", name)
			}
		}
		for path, want := range map[string]string{"outside": "untouched", "state/epoch": epoch} {
			if there, err := os.ReadFile(filepath.Join(top, path)); string(there) != want || err != nil {
				t.Errorf("%s is now %q, %v", path, there, err)
			}
		}
	})
}
