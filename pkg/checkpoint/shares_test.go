package checkpoint

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
)

// part is a share of gpu-4, or all of it if there is no ID.
func part(id string) Device {
	return Device{DeviceKey: DeviceKey{Pool: "node-a", Device: "gpu-4", ShareID: id}}
}

func claimed(uid string) Claim { return Claim{Namespace: "team", Name: uid, UID: types.UID(uid)} }

// longest has a name as long as it may be: then the text of a marker cannot be a path.
func longest(uid string) Claim {
	return Claim{Namespace: strings.Repeat("n", 63), Name: strings.Repeat("c", 253), UID: types.UID(uid)}
}

// mustOwn fails unless nothing is left in the directory of markers.
func mustOwnNothing(t *testing.T, s *Store) {
	t.Helper()
	if entries, err := os.ReadDir(filepath.Join(s.dir, "owners")); len(entries) > 0 || err != nil {
		t.Errorf("markers are left: %v, %v", entries, err)
	}
}

func TestADeviceIsHeldAsAWholeOrInShares(t *testing.T) {
	s := newStore(t)
	must(t, s.Hold(part("s-1"), claimed("a")))
	must(t, s.Hold(part("s-1"), claimed("a")))
	for i := range 6 {
		must(t, s.Hold(part(fmt.Sprint("s-2", i)), claimed(fmt.Sprint("b", i/2))))
	}
	var held *HeldError
	err := openAt(t, s.dir).Hold(part(""), claimed("c"))
	const want = "device gpu-4 of pool node-a is held in shares by claims team/a (uid a), team/b0 (uid b0), " +
		"team/b1 (uid b1), team/b2 (uid b2): it becomes free when the pods of these claims are gone from this node"
	if !errors.As(err, &held) || held.By.UID != "a" || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	must(t, s.Hold(part("s-9"), claimed("d")))
	if err := s.Hold(part(""), claimed("c")); !strings.Contains(fmt.Sprint(err), "team/b2 (uid b2) and 1 more: it") {
		t.Errorf("got %v", err)
	}
	for _, by := range []types.UID{"a", "b0", "b1", "b2"} {
		must(t, s.ReleaseAll(by))
	}
	must(t, s.Release("d", part("s-9").DeviceKey))
	mustOwnNothing(t, s)
	must(t, s.Hold(part(""), claimed("c")))
	if err := s.Hold(part("s-1"), claimed("a")); !errors.As(err, &held) || held.By.UID != "c" ||
		held.Key != part("s-1").DeviceKey {
		t.Errorf("got %v", err)
	}
	must(t, s.Release("c", part("").DeviceKey))
	must(t, s.Release("c", part("s-1").DeviceKey)) // of which nothing is there
	mustOwnNothing(t, s)
	must(t, s.Hold(part(""), longest("e")))
	must(t, s.Release("a", part("s-1").DeviceKey))
	if shares, err := s.Shares("node-a", "gpu-4"); len(shares) > 0 || err != nil {
		t.Errorf("got %v, %v", shares, err)
	}
}

func TestWhatHasTheNameOfAMarker(t *testing.T) {
	whole, err := part("").markerName()
	must(t, err)
	for name, test := range map[string]struct {
		make        func(path string) error
		whole, part string // who is said to hold it, "-" for nobody, "?" for not known
	}{
		"the directory of a process that died": {func(path string) error { return os.Mkdir(path, 0o700) }, "-", "-"},
		"a file":                               {func(path string) error { return os.WriteFile(path, nil, 0o600) }, "?", "?"},
		"a link":                               {func(path string) error { return os.Symlink("elsewhere", path) }, "?", "?"},
		"a link to a directory":                {func(path string) error { return os.Symlink("../claims", path) }, "?", "?"},
		"a directory with a file": {func(path string) error {
			return errors.Join(os.Mkdir(path, 0o700), os.WriteFile(filepath.Join(path, "s-1"), nil, 0o600))
		}, "?", "?"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, d := range []Device{part(""), part("s-1")} {
				s := newStore(t)
				path := filepath.Join(s.dir, "owners", whole)
				must(t, test.make(path))
				err := s.Hold(d, claimed("a"))
				want := test.whole
				if d.ShareID != "" {
					want = test.part
				}
				var held *HeldError
				switch {
				case want == "-" && err != nil:
					t.Errorf("%s: %v", d.DeviceKey, err)
				case want == "?" && (!errors.As(err, &held) || held.By.UID != "" || !strings.Contains(err.Error(), path)):
					t.Errorf("%s: %v", d.DeviceKey, err)
				}
				must(t, s.Release("a", d.DeviceKey))
				if _, _, err := s.Held(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestWhatSharesConsume(t *testing.T) {
	s := newStore(t)
	consuming := func(id, memory string) Device {
		d := part(id)
		d.Consumed = Amounts{"memory": resource.MustParse(memory)}
		return d
	}
	large := part("s-3") // more than a link has room for
	large.Consumed = Amounts{"memory": resource.MustParse("30Gi")}
	for i := range 40 {
		name := fmt.Sprintf("%s.example.com/%s%d", strings.Repeat("d", 63), strings.Repeat("c", 29), i)
		large.Consumed[name] = resource.MustParse("1")
	}
	must(t, s.Hold(consuming("s-1", "10Gi"), claimed("a")))
	must(t, s.Hold(consuming("s-2", "20Gi"), claimed("a")))
	must(t, s.Hold(large, claimed("b")))
	must(t, s.Hold(part("s-4"), claimed("c"))) // as a version did that did not say
	must(t, s.Put(&Record{Claim: claimed("b"), State: Prepared, Devices: []Device{consuming("s-2", "1Gi"), large}}))

	shares, err := openAt(t, s.dir).Shares("node-a", "gpu-4")
	must(t, err)
	var got []string
	for _, share := range shares {
		memory := share.Consumed["memory"]
		got = append(got, fmt.Sprintf("%s %s %s", share.ShareID, share.Claim.UID, &memory))
	}
	if want := "[s-1 a 10Gi s-2 a 20Gi s-3 b 30Gi s-4 c 0]"; fmt.Sprint(got) != want {
		t.Errorf("got  %v\nwant %s", got, want)
	}
	if others, err := s.Shares("node-b", "gpu-4"); len(others) > 0 || err != nil {
		t.Errorf("another pool's: %v, %v", others, err)
	}
	must(t, s.Hold(Device{DeviceKey: DeviceKey{Pool: "node-a", Device: "gpu-5"}}, claimed("a")))
	if whole, err := s.Shares("node-a", "gpu-5"); len(whole) > 0 || err != nil {
		t.Errorf("of a device that is held as a whole: %v, %v", whole, err)
	}
}

// TestWholesAndSharesAtOnce: in two processes, whoever comes and goes, no device is held as a whole and in shares, and
// what is free can be held.
func TestWholesAndSharesAtOnce(t *testing.T) {
	first := newStore(t)
	stores := []*Store{first, openAt(t, first.dir)}
	for range 100 {
		var group sync.WaitGroup
		results := make([]error, 8)
		for i := range results {
			d := part(fmt.Sprint("s-", i))
			if i%4 == 0 {
				d = part("")
			}
			group.Go(func() {
				by := longest(fmt.Sprint("c", i))
				if results[i] = stores[i%2].Hold(d, by); results[i] == nil && i%3 == 0 {
					results[i] = errors.Join(stores[i%2].Release(by.UID, d.DeviceKey), &HeldError{})
				}
			})
		}
		group.Wait()
		wholes, shares := 0, 0
		for i, err := range results {
			switch {
			case err != nil && !errors.As(err, new(*HeldError)):
				t.Fatal(err)
			case err == nil && i%4 == 0:
				wholes++
			case err == nil:
				shares++
			}
		}
		if held, bad, err := first.Held(); len(held) != wholes+shares || bad != nil || err != nil {
			t.Fatalf("%d wholes and %d shares are held, markers are %v, %v, %v", wholes, shares, held, bad, err)
		}
		if wholes > 1 || wholes*shares > 0 {
			t.Fatalf("%d claims hold the device and %d shares of it", wholes, shares)
		}
		for i := range results {
			must(t, stores[i%2].ReleaseAll(types.UID(fmt.Sprint("c", i))))
		}
		mustOwnNothing(t, first)
	}
}
