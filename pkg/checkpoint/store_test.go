package checkpoint

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/types"
)

const boot = "75480682-05cf-49bd-8e58-0ed034f817c5"

func openAt(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := open(dir, boot)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newStore(t *testing.T) *Store {
	return openAt(t, filepath.Join(t.TempDir(), "state", "gpu.example.com"))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// files returns what is below dir, without directories.
func files(t *testing.T, dir string) []string {
	t.Helper()
	var names []string
	must(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			name, _ := filepath.Rel(dir, path)
			names = append(names, name)
		}
		return err
	}))
	return names
}

func inode(t *testing.T, path string) uint64 {
	t.Helper()
	info, err := os.Stat(path)
	must(t, err)
	return info.Sys().(*syscall.Stat_t).Ino
}

func TestOpenMakesItsTreeForItselfOnly(t *testing.T) {
	s := newStore(t)
	for _, name := range []string{"", "claims", "owners", "locks", "quarantine"} {
		info, err := os.Stat(filepath.Join(s.dir, name))
		must(t, err)
		if info.Mode() != fs.ModeDir|0o700 {
			t.Errorf("%q has mode %v", name, info.Mode())
		}
	}
	if _, err := Open(filepath.Join(t.TempDir(), "real")); err != nil {
		t.Errorf("with the boot id of this machine: %v", err)
	}
}

func TestARecordIsReadAsItWasWritten(t *testing.T) {
	s := newStore(t)
	if _, err := s.Get(uid); !errors.Is(err, ErrNotFound) {
		t.Fatalf("before Put: %v", err)
	}
	must(t, s.Put(example()))
	for name, store := range map[string]*Store{"by this process": s, "by the next one": openAt(t, s.dir)} {
		got, err := store.Get(uid)
		must(t, err)
		want, _ := json.Marshal(example())
		if read, _ := json.Marshal(got); string(read) != string(want) {
			t.Errorf("%s: got %s, want %s", name, read, want)
		}
	}
	must(t, s.Delete(uid))
	must(t, s.Delete(uid))
	if _, err := s.Get(uid); !errors.Is(err, ErrNotFound) {
		t.Errorf("after Delete: %v", err)
	}
	if got := files(t, s.dir); !slices.Equal(got, []string{"epoch"}) {
		t.Errorf("after Delete there are %v", got)
	}
}

func TestPutWritesOnlyWhatChanged(t *testing.T) {
	s := newStore(t)
	must(t, s.Put(example()))
	path := filepath.Join(s.dir, "claims", string(uid)+".json")
	first := inode(t, path)
	r, err := s.Get(uid)
	must(t, err)
	must(t, s.Put(r))
	if inode(t, path) != first {
		t.Error("Put of what is there wrote it again")
	}
	r.State = Unpreparing
	must(t, s.Put(r))
	if inode(t, path) == first {
		t.Error("Put of something else wrote into the old file instead of replacing it")
	}
	must(t, os.Remove(path))
	must(t, s.Put(r))
	if _, err := s.Get(uid); err != nil {
		t.Errorf("Put of a record whose file somebody removed did not bring it back: %v", err)
	}
}

func TestAFailedPutLeavesTheOldRecordAndNothingElse(t *testing.T) {
	s := newStore(t)
	must(t, s.Put(example()))
	before := files(t, s.dir)
	bad := example()
	bad.Devices[0].Undo = json.RawMessage("{")
	if err := s.Put(bad); err == nil {
		t.Error("a record that cannot be encoded was written")
	}
	other := example()
	other.Claim.UID = "other"
	must(t, os.MkdirAll(filepath.Join(s.dir, "claims", "other.json", "in-the-way"), 0o700))
	if err := s.Put(other); err == nil || !strings.Contains(err.Error(), "write record: ") {
		t.Errorf("got %v", err)
	}
	must(t, os.RemoveAll(filepath.Join(s.dir, "claims", "other.json")))
	if after := files(t, s.dir); !slices.Equal(before, after) {
		t.Errorf("before %v, after %v", before, after)
	}
	if got, err := s.Get(uid); err != nil || got.State != Prepared {
		t.Errorf("the old record: %v, %v", got, err)
	}
}

func TestFault24UIDsThatAreNoneNeverBecomePaths(t *testing.T) {
	s := newStore(t)
	long := types.UID(strings.Repeat("a", 65))
	for _, bad := range []types.UID{"", ".", "..", "../epoch", "a/b", "a\x00b", "ü", "a.json", long} {
		r := example()
		r.Claim.UID = bad
		_, getErr := s.Get(bad)
		_, hasErr := s.Has(bad)
		_, lockErr := s.Lock(context.Background(), bad)
		for call, err := range map[string]error{
			"Get": getErr, "Has": hasErr, "Lock": lockErr, "Put": s.Put(r), "Delete": s.Delete(bad),
			"Hold": s.Hold(Device{DeviceKey: DeviceKey{Pool: "p", Device: "gpu-0"}}, r.Claim),
		} {
			if err == nil || errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "is not one") {
				t.Errorf("%s(%q): %v", call, bad, err)
			}
		}
	}
	if got := files(t, s.dir); !slices.Equal(got, []string{"epoch"}) {
		t.Errorf("there are %v", got)
	}
}

func TestFault04ACorruptRecord(t *testing.T) {
	good, err := encode(example())
	must(t, err)
	for name, content := range map[string]string{
		"that is empty": "", "that was cut": string(good[:len(good)/2]), "that is junk": "\x7fELF junk\njunk",
		"with a flipped bit":                            strings.Replace(string(good), "gpu-0", "gpu-1", 1),
		"of zeros, as a disk leaves after a power loss": strings.Repeat("\x00", len(good)),
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			key := DeviceKey{Pool: "node-a", Device: "gpu-0"}
			must(t, s.Put(example()))
			must(t, s.Hold(Device{DeviceKey: key}, example().Claim))
			path := filepath.Join(s.dir, "claims", string(uid)+".json")
			must(t, os.WriteFile(path, []byte(content), 0o600))

			records, bad, err := s.List()
			if len(records) != 0 || len(bad) != 1 || err != nil || !errors.As(bad[0], new(*CorruptError)) {
				t.Fatalf("List: %v, %v, %v", records, bad, err)
			}
			if _, err := os.Stat(path); err != nil {
				t.Fatalf("List changed something: %v", err)
			}

			var corrupt *CorruptError
			if _, err := s.Get(uid); !errors.As(err, &corrupt) || corrupt.Earlier || corrupt.UID != uid ||
				corrupt.Path != path {
				t.Fatalf("the first Get: %v", err)
			}
			want := filepath.Join(s.dir, "quarantine", string(uid)+".1.json")
			if kept, err := os.ReadFile(want); err != nil || string(kept) != content || corrupt.QuarantinedTo != want {
				t.Errorf("in quarantine: %q, %v; reported as %q", kept, err, corrupt.QuarantinedTo)
			}
			for range 2 { // also by the next process
				s = openAt(t, s.dir)
				if _, err := s.Get(uid); !errors.As(err, &corrupt) || !corrupt.Earlier || errors.Is(err, ErrNotFound) {
					t.Errorf("a later Get: %v", err)
				}
			}
			if known, err := s.Has(uid); !known || err != nil {
				t.Errorf("Has: %v, %v", known, err)
			}
			if _, bad, _ := s.List(); len(bad) != 1 {
				t.Errorf("a later List: %v", bad)
			}
			held, _, err := s.Held()
			if err != nil || held[key].UID != uid {
				t.Errorf("its device is held by %v, %v", held, err)
			}

			must(t, s.ReleaseAll(uid))
			must(t, s.Delete(uid))
			if _, err := s.Get(uid); !errors.Is(err, ErrNotFound) {
				t.Errorf("after Delete: %v", err)
			}
			left := []string{"epoch", "quarantine/" + string(uid) + ".1.json.resolved"}
			if got := files(t, s.dir); !slices.Equal(got, left) {
				t.Errorf("after Delete there are %v", got)
			}
		})
	}
}

func TestFault04ANewRecordReplacesOneInQuarantine(t *testing.T) {
	s := newStore(t)
	path := filepath.Join(s.dir, "claims", string(uid)+".json")
	for n := 1; n <= 3; n++ {
		must(t, os.WriteFile(path, []byte("junk"), 0o600))
		var corrupt *CorruptError
		if _, err := s.Get(uid); !errors.As(err, &corrupt) ||
			!strings.HasSuffix(corrupt.QuarantinedTo, fmt.Sprintf("%s.%d.json", uid, n)) {
			t.Fatalf("%d: %v", n, err)
		}
		must(t, s.Put(example()))
		if _, err := s.Get(uid); err != nil {
			t.Fatal(err)
		}
		if _, bad, _ := s.List(); len(bad) != 0 {
			t.Fatal(bad)
		}
	}
	must(t, s.Delete(uid))
	if _, err := s.Get(uid); !errors.Is(err, ErrNotFound) {
		t.Errorf("after Delete: %v", err)
	}
}

func TestFault05ARecordOfANewerFormatIsLeftAlone(t *testing.T) {
	s := newStore(t)
	path := filepath.Join(s.dir, "claims", string(uid)+".json")
	content := []byte("dragoman-record/v2 zstd sha512:…\n\x00\x01")
	must(t, os.WriteFile(path, content, 0o600))
	var newer *VersionError
	if _, err := s.Get(uid); !errors.As(err, &newer) || newer.Version != 2 || newer.Path != path {
		t.Errorf("Get: %v", err)
	}
	if records, bad, err := s.List(); len(records) != 0 || len(bad) != 1 || !errors.As(bad[0], &newer) || err != nil {
		t.Errorf("List: %v, %v, %v", records, bad, err)
	}
	if there, err := os.ReadFile(path); string(there) != string(content) {
		t.Errorf("now it is %q, %v", there, err)
	}
	other := example() // which is nobody else's problem
	other.Claim.UID = "other"
	must(t, s.Put(other))
	if _, err := s.Get("other"); err != nil {
		t.Errorf("Get of another claim: %v", err)
	}
}

// TestFault04ADirectoryInPlaceOfARecord: whatever is there, the claim is not one that never was prepared.
func TestFault04ADirectoryInPlaceOfARecord(t *testing.T) {
	for name, put := range map[string]func(path string) error{
		"an empty directory":  func(path string) error { return os.Mkdir(path, 0o700) },
		"a full directory":    func(path string) error { return os.MkdirAll(filepath.Join(path, "a", "b"), 0o700) },
		"a named pipe":        func(path string) error { return unix.Mkfifo(path, 0o600) },
		"a link to nowhere":   func(path string) error { return os.Symlink("nowhere", path) },
		"a link out of there": func(path string) error { return os.Symlink("../../../outside", path) },
		"a link to itself":    func(path string) error { return os.Symlink(string(uid)+".json", path) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			must(t, os.WriteFile(filepath.Join(s.dir, "..", "outside"), []byte("untouched"), 0o600))
			must(t, put(s.claims.File(recordName(uid))))
			for range 2 {
				if _, err := s.Get(uid); err == nil || errors.Is(err, ErrNotFound) {
					t.Errorf("Get: %v", err)
				}
				if known, err := s.Has(uid); !known && err == nil {
					t.Error("Has: it is not known")
				}
			}
			if records, bad, err := s.List(); len(records) != 0 || len(bad) != 1 || err != nil {
				t.Errorf("List: %v, %v, %v", records, bad, err)
			}
			must(t, s.Put(example()))
			if _, err := s.Get(uid); err != nil {
				t.Errorf("Get of a new record: %v", err)
			}
			must(t, s.Delete(uid))
			if _, err := s.Get(uid); !errors.Is(err, ErrNotFound) {
				t.Errorf("after Delete: %v", err)
			}
			if there, err := os.ReadFile(filepath.Join(s.dir, "..", "outside")); string(there) != "untouched" || err != nil {
				t.Errorf("outside there is %q, %v", there, err)
			}
		})
	}
}

func TestFault04OneBadRecordDoesNotHideTheGoodOnes(t *testing.T) {
	s := newStore(t)
	for _, name := range []types.UID{"c", "a", "b"} {
		r := example()
		r.Claim.UID = name
		must(t, s.Put(r))
	}
	must(t, os.WriteFile(filepath.Join(s.dir, "claims", "b.json"), nil, 0o600))
	must(t, os.WriteFile(filepath.Join(s.dir, "claims", "README"), nil, 0o600))
	must(t, os.Mkdir(filepath.Join(s.dir, "claims", "d.json"), 0o700))
	records, bad, err := s.List()
	must(t, err)
	var got []types.UID
	for _, r := range records {
		got = append(got, r.Claim.UID)
	}
	if !slices.Equal(got, []types.UID{"a", "c"}) || len(bad) != 2 {
		t.Errorf("got %v and %v", got, bad)
	}
}

func TestFault07RecordsOfAnotherBootAreNotBelieved(t *testing.T) {
	for name, c := range map[string]struct {
		boot   string
		change func(epoch string) error
	}{
		"the machine was started again": {"another-boot", func(string) error { return nil }},
		"the epoch is missing":          {boot, os.Remove},
		"the epoch is empty":            {boot, func(epoch string) error { return os.Truncate(epoch, 0) }},
		"the epoch is junk": {boot, func(epoch string) error {
			return os.WriteFile(epoch, []byte("a b "+boot), 0o600)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			must(t, s.Put(example()))
			must(t, s.Hold(Device{DeviceKey: DeviceKey{Pool: "p", Device: "gpu-0"}}, example().Claim))
			epoch := filepath.Join(s.dir, "epoch")
			old, err := os.ReadFile(epoch)
			must(t, err)
			must(t, c.change(epoch))
			after, err := open(s.dir, c.boot)
			must(t, err)
			if got := files(t, s.dir); !slices.Equal(got, []string{"epoch"}) {
				t.Errorf("there are %v", got)
			}
			if _, err := after.Get(uid); !errors.Is(err, ErrNotFound) {
				t.Errorf("Get: %v", err)
			}
			if now, err := os.ReadFile(epoch); err != nil || string(now) == string(old) {
				t.Errorf("the epoch is still %s, %v", now, err)
			}
		})
	}
}

func TestAnotherInstanceInTheSameBootKeepsEverything(t *testing.T) {
	s := newStore(t)
	must(t, s.Put(example()))
	must(t, s.Hold(Device{DeviceKey: DeviceKey{Pool: "p", Device: "gpu-0"}}, example().Claim))
	epoch, err := os.ReadFile(filepath.Join(s.dir, "epoch"))
	must(t, err)
	newer := strings.Replace(string(epoch), "/v1 ", "/v2 ", 1) + "more\n"
	must(t, os.WriteFile(filepath.Join(s.dir, "epoch"), []byte(newer), 0o600))
	before := files(t, s.dir)
	openAt(t, s.dir) // also if a newer version wrote the epoch
	if after := files(t, s.dir); !slices.Equal(before, after) {
		t.Errorf("before %v, after %v", before, after)
	}
}

func TestInstancesThatStartTogetherAgreeOnTheEpoch(t *testing.T) {
	for range 10 {
		dir := t.TempDir()
		var group sync.WaitGroup
		for i := range 8 {
			group.Go(func() {
				s, err := open(dir, boot)
				if err != nil {
					t.Error(err)
					return
				}
				r := example()
				r.Claim.UID = types.UID(fmt.Sprint("claim-", i))
				unlock, err := s.Lock(context.Background(), r.Claim.UID)
				if err == nil {
					err = s.Put(r)
					unlock()
				}
				if err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		if records, bad, err := openAt(t, dir).List(); len(records) != 8 || bad != nil || err != nil {
			t.Fatalf("got %d records, %v, %v: one instance dropped what another had written", len(records), bad, err)
		}
	}
}

// TestAnInstanceWaitsForOneThatEntersTheEpoch: or it would drop what that one writes then.
func TestAnInstanceWaitsForOneThatEntersTheEpoch(t *testing.T) {
	s := newStore(t)
	lock, err := s.top.LockAll()
	must(t, err)
	done := make(chan error)
	go func() { _, err := open(s.dir, "another-boot"); done <- err }()
	for waiter := fmt.Sprintf(":%d 0 EOF", inode(t, s.dir)); ; {
		locks, err := os.ReadFile("/proc/locks")
		must(t, err)
		if slices.ContainsFunc(strings.Split(string(locks), "\n"), func(line string) bool {
			return strings.Contains(line, "-> FLOCK") && strings.HasSuffix(line, waiter)
		}) {
			break
		}
		select {
		case err := <-done:
			t.Fatalf("it did not wait: %v", err)
		default:
		}
	}
	lock.Unlock()
	must(t, <-done)
}

func TestDirectoriesThatSomebodyRemovedAreMadeAgain(t *testing.T) {
	for name, use := range map[string]func(s *Store) error{
		"Put": func(s *Store) error { return s.Put(example()) },
		"Hold": func(s *Store) error {
			return s.Hold(Device{DeviceKey: DeviceKey{Pool: "p", Device: "gpu-0"}}, example().Claim)
		},
		"Lock": func(s *Store) error {
			unlock, err := s.Lock(context.Background(), uid)
			if err == nil {
				unlock()
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			epoch, err := os.ReadFile(filepath.Join(s.dir, "epoch"))
			must(t, err)
			must(t, os.RemoveAll(s.dir))
			must(t, use(s))
			must(t, s.Put(example()))
			if now, err := os.ReadFile(filepath.Join(s.dir, "epoch")); err != nil || string(now) != string(epoch) {
				t.Fatalf("the epoch was %s, is %s, %v", epoch, now, err)
			}
			if _, err := openAt(t, s.dir).Get(uid); err != nil {
				t.Errorf("the next instance does not believe the record: %v", err)
			}
		})
	}
	s := newStore(t)
	must(t, os.RemoveAll(s.dir))
	held, bad, err := s.Held()
	if len(held) > 0 || bad != nil || err != nil || s.Release(uid) != nil || s.Delete(uid) != nil {
		t.Errorf("what only reads or removes: %v, %v, %v", held, bad, err)
	}
}

func TestOpenRemovesUnfinishedFilesUnlessSomebodyMayBeWritingThem(t *testing.T) {
	s := newStore(t)
	for _, name := range []string{"dead", "alive"} {
		must(t, os.WriteFile(filepath.Join(s.dir, "claims", "."+name+".tmp"), []byte("half"), 0o600))
		must(t, os.WriteFile(filepath.Join(s.dir, "locks", name), nil, 0o600))
	}
	must(t, os.WriteFile(filepath.Join(s.dir, "claims", ".not-ours.swp"), nil, 0o600))
	unlock, err := s.Lock(context.Background(), "alive")
	must(t, err)
	openAt(t, s.dir)
	want := []string{"claims/.alive.tmp", "claims/.not-ours.swp", "epoch", "locks/alive"}
	if got := files(t, s.dir); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	unlock()
	openAt(t, s.dir)
	want = []string{"claims/.not-ours.swp", "epoch"}
	if got := files(t, s.dir); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestMarkers(t *testing.T) {
	a := Claim{Namespace: "team-a", Name: "train-0", UID: "uid-a"}
	b := Claim{Namespace: "team-b", Name: "infer-0", UID: "uid-b"}
	gpu := DeviceKey{Pool: "region/node-a", Device: "gpu-3"}
	share := DeviceKey{Pool: "region/node-a", Device: "gpu-4", ShareID: "s-1"}
	s := newStore(t)
	must(t, s.Hold(Device{DeviceKey: gpu}, a))
	must(t, s.Hold(Device{DeviceKey: gpu}, a))
	must(t, s.Hold(Device{DeviceKey: share}, a))
	otherShare, otherPool := share, gpu
	otherShare.ShareID, otherPool.Pool = "s-2", "region/node-b"
	must(t, s.Hold(Device{DeviceKey: otherShare}, b))
	must(t, s.Hold(Device{DeviceKey: otherPool}, b))

	var held *HeldError
	err := s.Hold(Device{DeviceKey: gpu}, b)
	want := "device gpu-3 of pool region/node-a is held by claim team-a/train-0 (uid uid-a): " +
		"it becomes free when the pods of that claim are gone from this node"
	if !errors.As(err, &held) || held.By != a || held.Key != gpu || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	if err := openAt(t, s.dir).Hold(Device{DeviceKey: share}, b); !errors.As(err, &held) ||
		!strings.HasPrefix(err.Error(), "share s-1 of device gpu-4") {
		t.Errorf("got %v", err)
	}

	must(t, s.Release(b.UID, gpu, share)) // which it does not hold
	all, bad, err := s.Held()
	if len(all) != 4 || bad != nil || err != nil || all[gpu] != a || all[share] != a || all[otherShare] != b ||
		all[otherPool] != b {
		t.Errorf("got %v, %v, %v", all, bad, err)
	}
	must(t, s.Release(a.UID, gpu))
	must(t, s.Release(a.UID, gpu))
	must(t, s.Hold(Device{DeviceKey: gpu}, b))
	must(t, s.ReleaseAll(b.UID))
	if all, _, _ := s.Held(); len(all) != 1 || all[share] != a {
		t.Errorf("got %v", all)
	}
}

func TestAMarkerThatSaysNothingBlocksAndSaysWhatToDo(t *testing.T) {
	gpu := DeviceKey{Pool: "node-a", Device: "gpu-3"}
	for name, spoil := range map[string]func(path string) error{
		"a file":       func(path string) error { return os.WriteFile(path, nil, 0o600) },
		"another link": func(path string) error { return os.Symlink("elsewhere", path) },
		"an empty one": func(path string) error { return os.Symlink("{}", path) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			marker, err := gpu.markerName()
			must(t, err)
			path := filepath.Join(s.dir, "owners", marker)
			must(t, spoil(path))
			var held *HeldError
			if err := s.Hold(Device{DeviceKey: gpu}, example().Claim); !errors.As(err, &held) || held.By.UID != "" ||
				!strings.Contains(err.Error(), path) {
				t.Errorf("Hold: %v", err)
			}
			must(t, s.Release(uid, gpu))
			if all, bad, err := s.Held(); len(all) != 0 || len(bad) != 1 || err != nil {
				t.Errorf("Held: %v, %v, %v", all, bad, err)
			}
		})
	}
}

func TestOfManyClaimsThatWantADeviceOneGetsIt(t *testing.T) {
	first := newStore(t)
	stores := []*Store{first, openAt(t, first.dir)}
	for range 50 {
		var group sync.WaitGroup
		results := make([]error, 8)
		for i := range results {
			group.Go(func() {
				by := Claim{UID: types.UID(fmt.Sprint("c", i))}
				results[i] = stores[i%2].Hold(Device{DeviceKey: DeviceKey{Pool: "p", Device: "gpu-0"}}, by)
			})
		}
		group.Wait()
		won := 0
		for _, err := range results {
			if err == nil {
				won++
			} else if !errors.As(err, new(*HeldError)) {
				t.Fatal(err)
			}
		}
		if won != 1 {
			t.Fatalf("%d claims hold the device", won)
		}
		must(t, os.RemoveAll(filepath.Join(first.dir, "owners")))
	}
}

func TestLockExcludesOthersInThisProcessAndOutside(t *testing.T) {
	first := newStore(t)
	// Each has its own open files, as processes have.
	stores := []*Store{first, openAt(t, first.dir), openAt(t, first.dir)}
	inside, most := map[types.UID]*int{"a": new(int), "b": new(int)}, 0
	var mu sync.Mutex
	add := func(claim types.UID, n int) {
		mu.Lock()
		defer mu.Unlock()
		*inside[claim] += n
		most = max(most, *inside[claim])
	}
	var group sync.WaitGroup
	for i := range 60 {
		claim := []types.UID{"a", "b"}[i%2]
		group.Go(func() {
			for range 20 {
				unlock, err := stores[i%3].Lock(context.Background(), claim)
				if err != nil {
					t.Error(err)
					return
				}
				add(claim, 1)
				add(claim, -1)
				unlock()
				unlock() // which does nothing
			}
		})
	}
	group.Wait()
	if most != 1 {
		t.Errorf("%d held the lock of one claim at once", most)
	}
	if got := files(t, first.dir); !slices.Equal(got, []string{"epoch"}) {
		t.Errorf("left: %v", got)
	}
	for _, s := range stores {
		if len(s.turns.byClaim) != 0 {
			t.Errorf("%d turns are left in memory", len(s.turns.byClaim))
		}
	}
}

func TestWaitingForALockEndsWithItsContext(t *testing.T) {
	first := newStore(t)
	for name, second := range map[string]*Store{"in this process": first, "in another one": openAt(t, first.dir)} {
		t.Run(name, func(t *testing.T) {
			unlock, err := first.Lock(context.Background(), uid)
			must(t, err)
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan error)
			for range 3 {
				go func() { _, err := second.Lock(ctx, uid); done <- err }()
			}
			select {
			case err := <-done:
				t.Fatalf("got the lock that somebody has, or %v", err)
			default:
			}
			cancel()
			for range 3 {
				err := <-done
				if !errors.Is(err, context.Canceled) ||
					!strings.Contains(err.Error(), "wait for the lock of claim "+string(uid)) {
					t.Errorf("got %v", err)
				}
			}
			if again, err := second.TryLock(uid); again != nil || err != nil {
				t.Errorf("TryLock: %v", err)
			}
			unlock()
			// Whoever gave up waiting gives the lock back when it comes.
			unlock, err = second.Lock(context.Background(), uid)
			must(t, err)
			unlock()
			unlock, err = first.TryLock(uid)
			if must(t, err); unlock == nil {
				t.Fatal("the lock is not free")
			}
			unlock()
		})
	}
}

func TestTheLockFileOfAKnownClaimStays(t *testing.T) {
	s := newStore(t)
	unlock, err := s.Lock(context.Background(), uid)
	must(t, err)
	must(t, s.Put(example()))
	unlock()
	openAt(t, s.dir)
	if got := files(t, s.dir); !slices.Contains(got, "locks/"+string(uid)) {
		t.Errorf("there are %v: taking the claim back would need free space", got)
	}
}

// smallDisk mounts a file system of 64 KiB, and returns it and how to fill it.
func smallDisk(t *testing.T) (dir string, fill func()) {
	dir = t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k,nr_inodes=48"); err != nil {
		if errors.Is(err, unix.EPERM) && os.Geteuid() != 0 {
			t.Skipf("only root may mount a small file system: %v", err)
		}
		t.Fatalf("mount a small file system: %v", err)
	}
	t.Cleanup(func() { must(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	return dir, func() {
		t.Helper()
		err := os.WriteFile(filepath.Join(dir, "filler"), make([]byte, 1<<20), 0o600)
		for n := 0; err == nil || errors.Is(err, syscall.ENOSPC) && n == 0; n++ {
			err = os.WriteFile(filepath.Join(dir, fmt.Sprint("filler-", n)), nil, 0o600)
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
	}
}

func TestFault02WithAFullDisk(t *testing.T) {
	dir, fill := smallDisk(t)
	s := openAt(t, filepath.Join(dir, "state"))
	key := DeviceKey{Pool: "p", Device: "gpu-0"}
	unlock, err := s.Lock(context.Background(), uid)
	must(t, err)
	must(t, s.Put(example()))
	must(t, s.Hold(Device{DeviceKey: key}, example().Claim))
	unlock()
	fill()

	before := files(t, s.dir)
	other := example()
	other.Claim.UID = "other"
	for call, err := range map[string]error{
		"Put": s.Put(other), "Hold": s.Hold(Device{DeviceKey: DeviceKey{Pool: "p", Device: "gpu-1"}}, other.Claim),
	} {
		if !errors.Is(err, syscall.ENOSPC) ||
			!strings.Contains(err.Error(), "free space in the file system of "+s.dir) {
			t.Errorf("%s: %v", call, err)
		}
	}
	if after := files(t, s.dir); !slices.Equal(before, after) {
		t.Errorf("before %v, after %v", before, after)
	}

	s = openAt(t, s.dir) // a new instance starts
	unlock, err = s.Lock(context.Background(), uid)
	must(t, err)
	must(t, s.Release(uid, key))
	must(t, s.Delete(uid))
	unlock()
	if got := files(t, s.dir); !slices.Equal(got, []string{"epoch"}) {
		t.Errorf("left: %v", got)
	}
}

func TestFault03WithAReadOnlyDisk(t *testing.T) {
	dir, _ := smallDisk(t)
	s := openAt(t, filepath.Join(dir, "state"))
	unlock, err := s.Lock(context.Background(), uid)
	must(t, err)
	must(t, s.Put(example()))
	unlock()
	must(t, unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	changed := example()
	changed.State = Unpreparing
	for call, err := range map[string]error{"Put": s.Put(changed), "Delete": s.Delete(uid)} {
		if !errors.Is(err, syscall.EROFS) ||
			!strings.Contains(err.Error(), "make "+s.dir+" writable for this process") {
			t.Errorf("%s: %v", call, err)
		}
	}
	if _, err := s.Get(uid); err != nil {
		t.Errorf("Get: %v", err)
	}
	unlock, err = openAt(t, s.dir).Lock(context.Background(), uid)
	must(t, err) // so that the call says what really is the matter
	unlock()
	if _, err := open(filepath.Join(dir, "new"), boot); !errors.Is(err, syscall.EROFS) {
		t.Errorf("Open: %v", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, nil, 0o600))
	if _, err := open(file, boot); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("Open of a file: %v", err)
	}
}

func BenchmarkPut(b *testing.B) {
	s, err := open(b.TempDir(), boot)
	if err != nil {
		b.Fatal(err)
	}
	r := example()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		r.CDISpec = json.RawMessage(fmt.Sprint(i))
		if err := s.Put(r); err != nil {
			b.Fatal(err)
		}
	}
}
