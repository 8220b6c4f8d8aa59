package checkpoint

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/types"
)

const (
	bootIDFile = "/proc/sys/kernel/random/boot_id"
	epochName  = "dragoman-epoch/"
	// recordLimit is far above the largest record; what is larger is not ours.
	recordLimit = 16 << 20
)

// Store is the records, markers and locks in one directory. All methods may be called concurrently; those that say so
// need the claim's lock.
type Store struct {
	dir   string
	epoch []byte
	turns turns
}

// Open makes the directory where it is missing, drops what an earlier boot left there, and removes the unfinished
// files of processes that died.
func Open(dir string) (*Store, error) {
	boot, err := os.ReadFile(bootIDFile)
	if err != nil {
		return nil, fmt.Errorf("tell this boot from earlier ones: %w", err)
	}
	return open(dir, strings.TrimSpace(string(boot)))
}

func open(dir, boot string) (*Store, error) {
	s := &Store{dir: filepath.Clean(dir), turns: turns{byClaim: map[types.UID]*turn{}}}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, s.explain("make state directory", err)
	}
	if err := s.enterEpoch(boot); err != nil {
		return nil, s.explain("open state directory", err)
	}
	return s, errors.Join(s.sweepUnfinished(), s.sweepLocks())
}

func (s *Store) makeDirectories() error {
	for _, name := range []string{"claims", "owners", "locks", "quarantine"} {
		if err := os.MkdirAll(filepath.Join(s.dir, name), 0o700); err != nil {
			return err
		}
	}
	return nil
}

// enterEpoch reads the epoch of this boot, or begins a new one: it forgets what is there first and names the new epoch
// last, so that dying in between forgets again. The lock keeps another process from forgetting what this one writes.
func (s *Store) enterEpoch(boot string) error {
	unlock, err := s.lockEpoch()
	if err != nil {
		return err
	}
	defer unlock()
	s.epoch, err = os.ReadFile(filepath.Join(s.dir, "epoch"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	words := strings.Fields(string(s.epoch)) // a later version may add some
	if len(words) >= 3 && strings.HasPrefix(words[0], epochName) && words[2] == boot {
		return s.makeDirectories()
	}
	for _, name := range []string{"claims", "owners", "quarantine"} {
		if err := os.RemoveAll(filepath.Join(s.dir, name)); err != nil {
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
	return replace(filepath.Join(s.dir, "epoch"), filepath.Join(s.dir, ".epoch.tmp"), s.epoch)
}

// lockEpoch waits for who is entering an epoch, which takes a few system calls. It locks the directory itself: that
// needs no free space.
func (s *Store) lockEpoch() (unlock func(), err error) {
	fd, err := lock(s.dir, unix.LOCK_EX, func() (int, error) {
		fd, err := unix.Open(s.dir, unix.O_DIRECTORY|unix.O_RDONLY|unix.O_CLOEXEC, 0)
		return fd, pathError("open", s.dir, err)
	})
	return func() { _ = unix.Close(fd) }, err
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
	path := filepath.Join(s.dir, "epoch")
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	unlock, err := s.lockEpoch()
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return replace(path, filepath.Join(s.dir, ".epoch.tmp"), s.epoch)
}

func (s *Store) sweepUnfinished() error {
	entries, err := os.ReadDir(filepath.Join(s.dir, "claims"))
	if err != nil {
		return s.explain("sweep unfinished records", err)
	}
	for _, entry := range entries {
		uid, ok := between(entry.Name(), ".", ".tmp")
		if !ok {
			continue
		}
		unlock, err := s.TryLock(uid)
		if err != nil || unlock == nil {
			continue
		}
		_ = os.Remove(filepath.Join(s.dir, "claims", entry.Name()))
		unlock()
	}
	return nil
}

// path returns <dir>/<folder>/<uid><suffix>. A UID comes from outside: one that is none never becomes a path.
func (s *Store) path(folder string, uid types.UID, suffix string) (string, error) {
	if !isName(string(uid), "") {
		return "", fmt.Errorf("claim uid %q is not one: it must be 1 to 64 letters, digits and hyphens", uid)
	}
	return s.dir + "/" + folder + "/" + string(uid) + suffix, nil
}

// between returns the UID in a file name, if it is one of ours.
func between(name, prefix, suffix string) (types.UID, bool) {
	rest, ok := strings.CutPrefix(name, prefix)
	if ok {
		rest, ok = strings.CutSuffix(rest, suffix)
	}
	return types.UID(rest), ok && isName(rest, "")
}

// isName says whether s can be part of the name of a file: 1 to 64 letters, digits, hyphens and characters of more.
func isName(s, more string) bool {
	for _, c := range []byte(s) {
		plain := c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '-'
		if !plain && strings.IndexByte(more, c) < 0 {
			return false
		}
	}
	return len(s) >= 1 && len(s) <= 64
}

// Get returns the record of a claim. The caller holds the claim's lock.
//
// It returns [ErrNotFound] if nothing is known of the claim, a *[VersionError] if a newer program wrote the record, and
// a *[CorruptError] if it cannot be read: the file is moved into quarantine, and from then on every Get says so again,
// with Earlier set, until there is a new record or the claim is deleted.
func (s *Store) Get(uid types.UID) (*Record, error) {
	path, err := s.path("claims", uid, ".json")
	if err != nil {
		return nil, err
	}
	r, err := s.read(path, uid)
	var corrupt *CorruptError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, s.quarantinedBefore(path, uid)
	case errors.As(err, &corrupt):
		s.quarantine(corrupt)
	}
	return r, err
}

// Has says whether anything is known of a claim, without reading it. It needs no lock.
func (s *Store) Has(uid types.UID) (bool, error) {
	for _, place := range []struct{ folder, suffix string }{{"claims", ".json"}, {"quarantine", ".1.json"}} {
		path, err := s.path(place.folder, uid, place.suffix)
		if err != nil {
			return false, err
		}
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			return err == nil, s.explain("look for record", err)
		}
	}
	return false, nil
}

func (s *Store) read(path string, uid types.UID) (*Record, error) {
	raw, err := readLimited(path)
	switch {
	case errors.Is(err, syscall.EISDIR):
		return nil, &CorruptError{UID: uid, Path: path, Reason: "it is a directory"}
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

func readLimited(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, recordLimit))
}

// Put writes the record of r.Claim, unless it is there already with the same content. After an error the earlier record
// is still there. The caller holds the claim's lock.
func (s *Store) Put(r *Record) error {
	path, err := s.path("claims", r.Claim.UID, ".json")
	if err != nil {
		return err
	}
	raw, err := encode(r)
	if err != nil {
		return fmt.Errorf("encode record of claim %s: %w", r.Claim, err)
	}
	if bytes.Equal(raw, r.stored) {
		if there, err := readLimited(path); err == nil && bytes.Equal(raw, there) {
			return nil
		}
	}
	temp := s.dir + "/claims/." + string(r.Claim.UID) + ".tmp"
	if err := s.withTree(func() error { return replace(path, temp, raw) }); err != nil {
		return s.explain("write record", err)
	}
	r.stored = raw
	return nil
}

// Delete forgets a claim, also one in quarantine, whose unreadable record is kept for people to look at. What is
// missing counts as done. It needs no free space. The caller holds the claim's lock.
func (s *Store) Delete(uid types.UID) error {
	path, err := s.path("claims", uid, ".json")
	if err != nil {
		return err
	}
	if err := removeIfThere(path); err != nil {
		return s.explain("delete record", err)
	}
	for n := 1; ; n++ {
		bad := s.quarantinePath(uid, n)
		if _, err := os.Lstat(bad); errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		err := os.Rename(bad, bad+".resolved")
		if err != nil {
			err = os.RemoveAll(bad)
		}
		if err != nil {
			return s.explain("delete record", err)
		}
	}
}

// List returns all records that can be read, ordered by UID, and for each of the others a *[CorruptError], a
// *[VersionError], or why it could not be looked at. It changes nothing and needs no lock.
func (s *Store) List() ([]*Record, []error, error) {
	entries, err := os.ReadDir(filepath.Join(s.dir, "claims"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, s.explain("list records", err)
	}
	var records []*Record
	var bad []error
	for _, entry := range entries {
		uid, ok := between(entry.Name(), "", ".json")
		if !ok {
			continue
		}
		r, err := s.read(filepath.Join(s.dir, "claims", entry.Name()), uid)
		switch {
		case err == nil:
			records = append(records, r)
		case !errors.Is(err, fs.ErrNotExist):
			bad = append(bad, err)
		}
	}
	quarantined, err := s.listQuarantine()
	slices.SortFunc(records, func(a, b *Record) int { return cmp.Compare(a.Claim.UID, b.Claim.UID) })
	return records, append(bad, quarantined...), err
}

func (s *Store) listQuarantine() ([]error, error) {
	entries, err := os.ReadDir(filepath.Join(s.dir, "quarantine"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, s.explain("list quarantine", err)
	}
	var bad []error
	for _, entry := range entries {
		uid, ok := between(entry.Name(), "", ".1.json")
		if !ok {
			continue
		}
		path, _ := s.path("claims", uid, ".json")
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			bad = append(bad, s.quarantinedBefore(path, uid))
		}
	}
	return bad, nil
}

func (s *Store) quarantinePath(uid types.UID, n int) string {
	return s.dir + "/quarantine/" + string(uid) + "." + strconv.Itoa(n) + ".json"
}

// quarantine moves the record of e away and notes in e where it is.
func (s *Store) quarantine(e *CorruptError) {
	to := s.quarantinePath(e.UID, 1)
	for n := 2; ; n++ {
		if _, err := os.Lstat(to); err != nil {
			break
		}
		to = s.quarantinePath(e.UID, n)
	}
	if err := s.withTree(func() error { return os.Rename(e.Path, to) }); err != nil {
		e.Reason += fmt.Sprintf("; %v", s.explain("move it to quarantine", err))
		return
	}
	e.QuarantinedTo = to
}

func (s *Store) quarantinedBefore(path string, uid types.UID) error {
	to := s.quarantinePath(uid, 1)
	if _, err := os.Lstat(to); errors.Is(err, fs.ErrNotExist) {
		return ErrNotFound
	} else if err != nil {
		return s.explain("look for record in quarantine", err)
	}
	return &CorruptError{UID: uid, Path: path, QuarantinedTo: to, Earlier: true, Reason: "it could not be read earlier"}
}

// replace makes path have the content raw, by way of temp in the same directory. Whoever looks sees the old content or
// the new one, also after the death of this process; nothing is flushed to disk. After an error temp is gone.
func replace(path, temp string, raw []byte) error {
	err := os.WriteFile(temp, raw, 0o600)
	if err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		_ = os.Remove(temp)
	}
	return err
}

// removeIfThere looks after an error whether there is anything to remove: a read-only file system does not say so.
func removeIfThere(path string) error {
	err := os.Remove(path)
	if err == nil {
		return nil
	}
	if _, missing := os.Lstat(path); errors.Is(missing, fs.ErrNotExist) {
		return nil
	}
	return err
}
