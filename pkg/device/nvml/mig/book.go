//go:build cgo

package mig

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// Book is where a driver writes down which instances it makes, before it makes them. What is not in the book was made
// by somebody else. It is a directory of files that must not outlive the boot, since instances do not either:
//
//	<Dir>/<parent UUID>/<profile ID>-<start>  an instance: for which claim and device
//	<Dir>/<parent UUID>/enabled               the driver enabled MIG mode, and disables it after the last instance
//	<Dir>/<parent UUID>/disabled              the driver disabled MIG mode for the claim with this UID
//	<Dir>/<parent UUID>/lock                  taken while the GPU is being changed
//
// Several processes may use one book.
type Book struct{ Dir string }

// Entry is one instance in the book. It may not exist: not yet, or because the GPU was reset.
type Entry struct {
	Parent           string    `json:"-"`
	ProfileID, Start uint32    `json:"-"`
	Claim            types.UID `json:"claim"`
	Device           string    `json:"device"`
}

const (
	enabledFile  = "enabled"
	disabledFile = "disabled"
	lockFile     = "lock"
	temporary    = ".tmp"
)

var (
	parentPattern = regexp.MustCompile(`^GPU-[0-9a-zA-Z-]{1,64}$`)
	entryPattern  = regexp.MustCompile(`^[0-9]{1,10}-[0-9]{1,10}$`)
)

func (e Entry) file() string { return fmt.Sprintf("%d-%d", e.ProfileID, e.Start) }

// Lock waits until nobody else changes the GPU, in this process and in others.
func (b Book) Lock(ctx context.Context, parent string) (unlock func(), err error) {
	if !parentPattern.MatchString(parent) {
		return nil, fmt.Errorf("lock GPU %q: not the UUID of a GPU", parent)
	}
	dir := filepath.Join(b.Dir, parent)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("lock GPU %s: %w", parent, err)
	}
	file, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR|syscall.O_CLOEXEC, 0o640)
	if err != nil {
		return nil, fmt.Errorf("lock GPU %s: %w", parent, err)
	}
	const first, most = 5 * time.Millisecond, 200 * time.Millisecond
	for pause := first; ; pause = min(2*pause, most) {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = file.Close() }, nil
		}
		if errors.Is(err, syscall.EWOULDBLOCK) {
			if err = wait(ctx, pause); err == nil {
				continue
			}
			err = fmt.Errorf("another claim is changing its MIG instances: %w", err)
		}
		_ = file.Close()
		return nil, fmt.Errorf("lock GPU %s: %w", parent, err)
	}
}

// wait returns after a pause, or with an error if ctx ends before.
func wait(ctx context.Context, pause time.Duration) error {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Entries returns what is in the book about one GPU, by profile ID and start.
func (b Book) Entries(parent string) ([]Entry, error) {
	files, err := os.ReadDir(filepath.Join(b.Dir, parent))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read which MIG instances were made: %w", err)
	}
	var entries []Entry
	for _, file := range files {
		if !entryPattern.MatchString(file.Name()) {
			continue
		}
		e := Entry{Parent: parent}
		if _, err := fmt.Sscanf(file.Name(), "%d-%d", &e.ProfileID, &e.Start); err != nil {
			continue // no number of NVML's is so large
		}
		raw, err := os.ReadFile(filepath.Join(b.Dir, parent, file.Name()))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read for which claim a MIG instance was made: %w", err)
		}
		_ = json.Unmarshal(raw, &e) // whatever it contains, we made the instance: an entry for no claim is a leftover
		entries = append(entries, e)
	}
	slices.SortFunc(entries, func(a, b Entry) int {
		return cmp.Or(cmp.Compare(a.ProfileID, b.ProfileID), cmp.Compare(a.Start, b.Start))
	})
	return entries, nil
}

// Parents returns the UUIDs of the GPUs that the book has something about, sorted.
func (b Book) Parents() ([]string, error) {
	dirs, err := os.ReadDir(b.Dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read on which GPUs MIG instances were made: %w", err)
	}
	var parents []string
	for _, dir := range dirs {
		if dir.IsDir() && parentPattern.MatchString(dir.Name()) {
			parents = append(parents, dir.Name())
		}
	}
	return parents, nil
}

// find returns the entry for a partition.
func (b Book) find(parent string, id, start uint32) (Entry, bool, error) {
	entries, err := b.Entries(parent)
	i := slices.IndexFunc(entries, func(e Entry) bool { return e.ProfileID == id && e.Start == start })
	if err != nil || i < 0 {
		return Entry{}, false, err
	}
	return entries[i], true, nil
}

// OfClaim returns the entries that were made for a device of a claim, on any GPU.
func (b Book) OfClaim(claim types.UID, device string) ([]Entry, error) {
	parents, err := b.Parents()
	if err != nil {
		return nil, err
	}
	var found []Entry
	for _, parent := range parents {
		entries, err := b.Entries(parent)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if e.Claim == claim && e.Device == device {
				found = append(found, e)
			}
		}
	}
	return found, nil
}

func (b Book) put(e Entry) error {
	raw, err := json.Marshal(e)
	if err != nil {
		return err
	}
	return b.write(e.Parent, e.file(), raw)
}

func (b Book) remove(e Entry) error { return b.removeFile(e.Parent, e.file()) }

func (b Book) write(parent, name string, content []byte) error {
	path := filepath.Join(b.Dir, parent, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return fmt.Errorf("write down a change of GPU %s: %w", parent, err)
	}
	err := os.WriteFile(path+temporary, content, 0o640)
	if err == nil {
		err = os.Rename(path+temporary, path)
	}
	if err != nil {
		_ = os.Remove(path + temporary)
		return fmt.Errorf("write down a change of GPU %s: %w", parent, err)
	}
	return nil
}

func (b Book) removeFile(parent, name string) error {
	err := os.Remove(filepath.Join(b.Dir, parent, name))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("strike out a change of GPU %s: %w", parent, err)
	}
	return nil
}

// enabled says whether the driver enabled MIG mode of a GPU.
func (b Book) enabled(parent string) (bool, error) {
	_, err := os.Stat(filepath.Join(b.Dir, parent, enabledFile))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// disabledFor says for which claim the driver disabled MIG mode of a GPU, or "" if it did not.
func (b Book) disabledFor(parent string) (types.UID, error) {
	claim, err := os.ReadFile(filepath.Join(b.Dir, parent, disabledFile))
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	return types.UID(claim), err
}

// Disabled returns the GPUs whose MIG mode the driver disabled for a claim.
func (b Book) Disabled(claim types.UID) ([]string, error) {
	parents, err := b.Parents()
	if err != nil {
		return nil, err
	}
	var found []string
	for _, parent := range parents {
		by, err := b.disabledFor(parent)
		if err != nil {
			return nil, err
		}
		if by == claim {
			found = append(found, parent)
		}
	}
	return found, nil
}

// Divide tells the instances that are in the book from those that somebody else made.
func Divide(instances []Instance, entries []Entry) (own, foreign []Instance) {
	for _, i := range instances {
		if slices.ContainsFunc(entries, func(e Entry) bool { return e.ProfileID == i.Info.Id && e.Start == i.Start }) {
			own = append(own, i)
		} else {
			foreign = append(foreign, i)
		}
	}
	return own, foreign
}
