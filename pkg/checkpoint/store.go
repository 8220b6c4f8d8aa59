package checkpoint

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"example.com/dragoman/pkg/dir"
)

const (
	bootIDFile = "/proc/sys/kernel/random/boot_id"
	epochFile  = "epoch"
	epochName  = "dragoman-epoch/"
	// recordLimit is far above the largest record; what is larger is not ours.
	recordLimit = 16 << 20
	// onlyForUs are the permissions of directories, and onlyOurs of files.
	onlyForUs, onlyOurs = 0o700, 0o600
)

// Store is the records, markers and locks in one directory. All methods may be called concurrently; those that say so
// need the claim's lock.
type Store struct {
	dir                                string
	top                                dir.Dir // of the others
	claims, owners, locks, quarantined dir.Dir
	epoch                              []byte
	turns                              turns
}

// Open makes the directory where it is missing, drops what an earlier boot left there, and removes the unfinished
// files of processes that died.
func Open(path string) (*Store, error) {
	boot, err := os.ReadFile(bootIDFile)
	if err != nil {
		return nil, fmt.Errorf("tell this boot from earlier ones: %w", err)
	}
	return open(path, strings.TrimSpace(string(boot)))
}

func open(path, boot string) (*Store, error) {
	path = filepath.Clean(path)
	folder := func(name string) dir.Dir { return dir.At(filepath.Join(path, name), onlyForUs) }
	s := &Store{
		dir: path, top: folder(""), turns: turns{byClaim: map[types.UID]*turn{}},
		claims: folder("claims"), owners: folder("owners"), locks: folder("locks"), quarantined: folder("quarantine"),
	}
	if err := s.top.Make(); err != nil {
		return nil, s.explain("make state directory", err)
	}
	if err := s.enterEpoch(boot); err != nil {
		return nil, s.explain("open state directory", err)
	}
	return s, s.sweep()
}

func (s *Store) makeDirectories() error {
	for _, folder := range []dir.Dir{s.claims, s.owners, s.locks, s.quarantined} {
		if err := folder.Make(); err != nil {
			return err
		}
	}
	return nil
}

// enterEpoch reads the epoch of this boot, or begins a new one: it forgets what is there first and names the new epoch
// last, so that dying in between forgets again. The lock, which is held for a few system calls, keeps another process
// from forgetting what this one writes.
func (s *Store) enterEpoch(boot string) error {
	lock, err := s.top.LockAll()
	if err != nil {
		return err
	}
	defer lock.Unlock()
	s.epoch, err = s.top.Read(epochFile, recordLimit)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	words := strings.Fields(string(s.epoch)) // a later version may add some
	if len(words) >= 3 && strings.HasPrefix(words[0], epochName) && words[2] == boot {
		return s.makeDirectories()
	}
	for _, name := range []string{"claims", "owners", "quarantine"} {
		if err := s.top.RemoveAll(name); err != nil {
			return fmt.Errorf("drop what an earlier boot left: %w", err)
		}
	}
	id := make([]byte, 16)
	if _, err := rand.Read(id); err != nil {
		return fmt.Errorf("choose an epoch: %w", err)
	}
	s.epoch = fmt.Appendf(nil, "%sv1 %s %s\n", epochName, hex.EncodeToString(id), boot)
	if err := s.makeDirectories(); err != nil {
		return err
	}
	return s.top.Replace(epochFile, "."+epochFile+".tmp", s.epoch, onlyOurs)
}

// withTree does what needs the directories, and once more if somebody removed them. Then the epoch is put back too,
// or the next process to start would take the records for those of an earlier boot.
func (s *Store) withTree(do func() error) error {
	err := do()
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := s.makeDirectories(); err != nil {
		return err
	}
	if s.epoch != nil {
		if err := s.restoreEpoch(); err != nil {
			return err
		}
	}
	return do()
}

func (s *Store) restoreEpoch() error {
	if _, err := s.top.Lstat(epochFile); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	lock, err := s.top.LockAll()
	if err != nil {
		return err
	}
	defer lock.Unlock()
	if _, err := s.top.Lstat(epochFile); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return s.top.Replace(epochFile, "."+epochFile+".tmp", s.epoch, onlyOurs)
}

// sweep removes what processes left when they died: unfinished records, and the lock files of claims that are not
// known.
func (s *Store) sweep() error {
	entries, err := s.claims.List()
	if err != nil {
		return s.explain("sweep unfinished records", err)
	}
	recorded := make(map[types.UID]bool, len(entries))
	for _, entry := range entries {
		if uid, ok := between(entry.Name(), "", ".json"); ok {
			recorded[uid] = true
		} else if uid, ok := between(entry.Name(), ".", ".tmp"); ok {
			s.sweepUnfinished(uid)
		}
	}
	return s.sweepLocks(recorded)
}

func (s *Store) sweepUnfinished(uid types.UID) {
	if unlock, err := s.TryLock(uid); err == nil && unlock != nil {
		_ = s.claims.Remove(unfinishedName(uid))
		unlock()
	}
}

// checkUID refuses what is no UID: it comes from outside, and becomes part of the names of files.
func checkUID(uid types.UID) error {
	if !dir.IsName(string(uid), "") {
		return fmt.Errorf("claim uid %q is not one: it must be 1 to 64 letters, digits and hyphens", uid)
	}
	return nil
}

func recordName(uid types.UID) string { return string(uid) + ".json" }

func unfinishedName(uid types.UID) string { return "." + string(uid) + ".tmp" }

func quarantineName(uid types.UID, n int) string {
	return string(uid) + "." + strconv.Itoa(n) + ".json"
}

// explain wraps err, which names the file, with what can be done about it.
func (s *Store) explain(doing string, err error) error { return s.top.Explain(doing, err) }

// between returns the UID in a file name, if it is one of ours.
func between(name, prefix, suffix string) (types.UID, bool) {
	rest, ok := strings.CutPrefix(name, prefix)
	if ok {
		rest, ok = strings.CutSuffix(rest, suffix)
	}
	return types.UID(rest), ok && dir.IsName(rest, "")
}

// Get returns the record of a claim. The caller holds the claim's lock.
//
// It returns [ErrNotFound] if nothing is known of the claim, a *[VersionError] if a newer program wrote the record, and
// a *[CorruptError] if it cannot be read: the file is moved into quarantine, and from then on every Get says so again,
// with Earlier set, until there is a new record or the claim is deleted.
func (s *Store) Get(uid types.UID) (*Record, error) {
	if err := checkUID(uid); err != nil {
		return nil, err
	}
	r, err := s.read(uid)
	var corrupt *CorruptError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, s.quarantinedBefore(uid)
	case errors.As(err, &corrupt):
		s.quarantine(corrupt)
	}
	return r, err
}

// Has says whether anything is known of a claim, without reading it. It needs no lock.
func (s *Store) Has(uid types.UID) (bool, error) {
	if err := checkUID(uid); err != nil {
		return false, err
	}
	if known, err := s.there(s.claims, recordName(uid)); known || err != nil {
		return known, err
	}
	return s.there(s.quarantined, quarantineName(uid, 1))
}

func (s *Store) there(in dir.Dir, name string) (bool, error) {
	_, err := in.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, s.explain("look for record", err)
}

func (s *Store) read(uid types.UID) (*Record, error) {
	raw, err := s.claims.Read(recordName(uid), recordLimit)
	path := s.claims.File(recordName(uid))
	switch {
	case errors.Is(err, dir.ErrNoFile):
		return nil, &CorruptError{UID: uid, Path: path, Reason: dir.ErrNoFile.Error()}
	case errors.Is(err, fs.ErrNotExist):
		return nil, err
	case err != nil:
		return nil, s.explain("read record", err)
	}
	r, err := decode(raw, uid)
	var newer *newerFormat
	switch {
	case errors.As(err, &newer):
		return nil, &VersionError{UID: uid, Path: path, Version: newer.version}
	case err != nil:
		return nil, &CorruptError{UID: uid, Path: path, Reason: err.Error()}
	}
	return r, nil
}

// Put writes the record of r.Claim, unless it is there already with the same content. After an error the earlier record
// is still there. The caller holds the claim's lock.
func (s *Store) Put(r *Record) error {
	if err := checkUID(r.Claim.UID); err != nil {
		return err
	}
	if err := r.check(r.Claim.UID); err != nil { // or Get would take it for corrupt
		return fmt.Errorf("write record of claim %s: %w", r.Claim, err)
	}
	raw, err := encode(r)
	if err != nil {
		return fmt.Errorf("encode record of claim %s: %w", r.Claim, err)
	}
	name, temp := recordName(r.Claim.UID), unfinishedName(r.Claim.UID)
	if bytes.Equal(raw, r.stored) {
		if there, err := s.claims.Read(name, recordLimit); err == nil && bytes.Equal(raw, there) {
			return s.explain("remove unfinished record", s.claims.Remove(temp))
		}
	}
	if err := s.withTree(func() error { return s.claims.Replace(name, temp, raw, onlyOurs) }); err != nil {
		return s.explain("write record", err)
	}
	r.stored = raw
	return nil
}

// Delete forgets a claim, also one in quarantine, whose unreadable record is kept for people to look at. What is
// missing counts as done. It needs no free space. The caller holds the claim's lock.
func (s *Store) Delete(uid types.UID) error {
	if err := checkUID(uid); err != nil {
		return err
	}
	for _, name := range []string{recordName(uid), unfinishedName(uid)} {
		if err := s.claims.Remove(name); err != nil {
			return s.explain("delete record", err)
		}
	}
	for n := 1; ; n++ {
		bad := quarantineName(uid, n)
		if there, err := s.there(s.quarantined, bad); !there && err == nil {
			return nil
		}
		err := s.quarantined.Rename(bad, bad+".resolved")
		if err != nil {
			err = s.quarantined.RemoveAll(bad)
		}
		if err != nil {
			return s.explain("delete record", err)
		}
	}
}

// Look is [Store.Get] for who only looks: it moves nothing and needs no lock. Earlier is set in a *[CorruptError] if
// the record is in quarantine.
func (s *Store) Look(uid types.UID) (*Record, error) {
	if err := checkUID(uid); err != nil {
		return nil, err
	}
	r, err := s.read(uid)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, s.quarantinedBefore(uid)
	}
	return r, err
}

// List returns all records that can be read, ordered by UID, and for each of the others a *[CorruptError], a
// *[VersionError], or why it could not be looked at. It changes nothing and needs no lock. On a node with many claims
// it is large; see [Store.Claims] and [Store.Look].
func (s *Store) List() (records []*Record, bad []error, err error) {
	recorded, quarantined, err := s.Claims()
	for _, uid := range slices.Concat(recorded, quarantined) {
		r, err := s.Look(uid)
		switch {
		case err == nil:
			records = append(records, r)
		case !errors.Is(err, ErrNotFound):
			bad = append(bad, err)
		}
	}
	return records, bad, err
}

// inQuarantine returns the claims that have no record but an unreadable one in quarantine.
func (s *Store) inQuarantine() ([]types.UID, error) {
	entries, err := s.quarantined.List()
	if err != nil {
		return nil, s.explain("list quarantine", err)
	}
	var claims []types.UID
	for _, entry := range entries {
		uid, ok := between(entry.Name(), "", ".1.json")
		if !ok {
			continue
		}
		if recorded, err := s.there(s.claims, recordName(uid)); !recorded && err == nil {
			claims = append(claims, uid)
		}
	}
	return claims, nil
}

// quarantine moves the record of e away and notes in e where it is.
func (s *Store) quarantine(e *CorruptError) {
	n := 1
	for {
		if there, _ := s.there(s.quarantined, quarantineName(e.UID, n)); !there {
			break
		}
		n++
	}
	from, to := s.claims.Name()+"/"+recordName(e.UID), s.quarantined.Name()+"/"+quarantineName(e.UID, n)
	if err := s.withTree(func() error { return s.top.Rename(from, to) }); err != nil {
		e.Reason += fmt.Sprintf("; %v", s.explain("move it to quarantine", err))
		return
	}
	e.QuarantinedTo = s.top.File(to)
}

func (s *Store) quarantinedBefore(uid types.UID) error {
	there, err := s.there(s.quarantined, quarantineName(uid, 1))
	switch {
	case err != nil:
		return err
	case !there:
		return ErrNotFound
	}
	return &CorruptError{
		UID: uid, Path: s.claims.File(recordName(uid)), QuarantinedTo: s.quarantined.File(quarantineName(uid, 1)),
		Earlier: true, Reason: "it could not be read earlier",
	}
}
