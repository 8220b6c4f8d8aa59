//go:build failpoints

package checkpoint

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"example.com/dragoman/pkg/failpoint"
)

func TestFault02FullFileSystemAtAnyMoment(t *testing.T) { testFaults(t, "enospc", syscall.ENOSPC) }

func TestFault03FileSystemThatFailsAtAnyMoment(t *testing.T) {
	testFaults(t, "eio", syscall.EIO)
	testFaults(t, "erofs", syscall.EROFS)
}

// testFaults makes each system call of each operation fail. An error is never taken for "there is none": what was known
// before is known afterwards, to this process and to the next one.
func testFaults(t *testing.T, action string, with error) {
	key := DeviceKey{Pool: "p", Device: "gpu-0"}
	for name, do := range map[string]func(s *Store) error{
		"Open":        func(s *Store) error { _, err := open(s.dir, boot); return err },
		"Open anew":   func(s *Store) error { _, err := open(filepath.Join(s.dir, "new"), boot); return err },
		"Get":         func(s *Store) error { _, err := s.Get(uid); return err },
		"Has":         func(s *Store) error { return known(s.Has(uid)) },
		"Get of junk": func(s *Store) error { _, err := s.Get("junk"); return ignore(err, new(*CorruptError)) },
		"Put":         func(s *Store) error { return s.Put(example()) },
		"Hold":        func(s *Store) error { return s.Hold(Device{DeviceKey: key}, example().Claim) },
		"Hold another": func(s *Store) error {
			return s.Hold(Device{DeviceKey: DeviceKey{Pool: "p", Device: "gpu-1"}}, example().Claim)
		},
		"Hold a share": func(s *Store) error { return s.Hold(sharing("s-2"), example().Claim) },
		"Shares":       allShares,
		"Held":         func(s *Store) error { return knownHeld(s, key) },
		"List":         listed,
		"TryLock":      func(s *Store) error { return locked(s.TryLock(uid)) },
		"Hold of other": func(s *Store) error {
			return ignore(s.Hold(Device{DeviceKey: key}, Claim{UID: "other"}), new(*HeldError))
		},
	} {
		points := passing(t, action, do)
		for i, point := range points {
			t.Run(fmt.Sprintf("%s of %s, %d %s", action, name, i+1, point), func(t *testing.T) {
				s := filled(t, key)
				failpoint.Arm(failpoint.Plan{Action: action, At: i + 1})
				err := do(s)
				failpoint.Arm(failpoint.Plan{})
				if err != nil && (!errors.Is(err, with) || !strings.Contains(err.Error(), s.dir)) {
					t.Errorf("it ended with %v", err)
				}
				for _, s := range []*Store{s, openAt(t, s.dir)} {
					r, err := s.Get(uid)
					must(t, err)
					held, _, err := s.Held()
					if r.State != Prepared || held[key].UID != uid || held[sharing("s-1").DeviceKey].UID != uid || err != nil {
						t.Errorf("it is %s, and its device is held by %v, %v", r.State, held, err)
					}
					if known, err := s.Has("junk"); !known || err != nil {
						t.Errorf("the unreadable record is not known: %v", err)
					}
				}
				must(t, do(s))
			})
		}
	}
}

func known(known bool, err error) error {
	if err == nil && !known {
		return errors.New("it is not known")
	}
	return err
}

// sharing is a share of device gpu-9.
func sharing(id string) Device {
	return Device{DeviceKey: DeviceKey{Pool: "p", Device: "gpu-9", ShareID: id}}
}

func allShares(s *Store) error {
	shares, err := s.Shares("p", "gpu-9")
	return known(len(shares) > 0 && shares[0].Claim.UID == uid, err)
}

func knownHeld(s *Store, key DeviceKey) error {
	held, bad, err := s.Held()
	return known(len(bad) == 0 && held[key].UID == uid, err)
}

// listed wants the record, and one complaint about the other one.
func listed(s *Store) error {
	records, bad, err := s.List()
	if err == nil && len(records)+len(bad) != 2 {
		return fmt.Errorf("there are %d records and %v", len(records), bad)
	}
	for _, problem := range bad {
		err = errors.Join(err, ignore(problem, new(*CorruptError)))
	}
	return err
}

func locked(unlock func(), err error) error {
	if unlock != nil {
		unlock()
	}
	return err
}

// ignore returns nil for the error that is expected of an operation.
func ignore(err error, expected any) error {
	if errors.As(err, expected) {
		return nil
	}
	return err
}

// filled has a prepared claim, which holds the device, and a record that cannot be read.
func filled(t *testing.T, key DeviceKey) *Store {
	t.Helper()
	s := newStore(t)
	must(t, s.Put(example()))
	must(t, s.Hold(Device{DeviceKey: key}, example().Claim))
	must(t, s.Hold(sharing("s-1"), example().Claim))
	must(t, s.claims.Replace("junk.json", "temp", []byte("junk"), onlyOurs))
	return s
}

func passing(t *testing.T, action string, do func(s *Store) error) (points []string) {
	t.Helper()
	s := filled(t, DeviceKey{Pool: "p", Device: "gpu-0"})
	failpoint.Arm(failpoint.Plan{Action: action})
	defer failpoint.Arm(failpoint.Plan{})
	must(t, do(s))
	for _, point := range failpoint.Passed() {
		points = append(points, strings.ReplaceAll(strings.ReplaceAll(point, s.dir+"/", ""), "/", ":"))
	}
	return points
}
