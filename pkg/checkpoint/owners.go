package checkpoint

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"syscall"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/types"

	"example.com/dragoman/pkg/dir"
)

// A marker is a symbolic link whose target is not a path but a text: who holds what. One system call makes it, with its
// content, or says that it is there already, so that of two processes exactly one succeeds; and ls -l shows the owners.
type marker struct {
	DeviceKey
	Claim Claim `json:"claim"`
}

// markerName is <device>-<8 hex digits of the SHA-256 of the pool>[-<share>]: pool names may hold slashes.
func (k DeviceKey) markerName() (string, error) {
	if !dir.IsName(k.Device, ".") || k.ShareID != "" && !dir.IsName(k.ShareID, "") {
		return "", fmt.Errorf("device %q with share %q cannot be part of a file name", k.Device, k.ShareID)
	}
	if !utf8.ValidString(k.Pool) {
		return "", fmt.Errorf("pool %q is not text", k.Pool) // and would be another one when it is read
	}
	sum := sha256.Sum256([]byte(k.Pool))
	name := k.Device + "-" + hex.EncodeToString(sum[:4])
	if k.ShareID != "" {
		name += "-" + k.ShareID
	}
	return name, nil
}

// Hold makes the claim the owner of a device, or of a share of one, unless another claim owns it: then it returns a
// *[HeldError]. If that cannot be found out, the error is [ErrOwnerUnknown]. Holding what the claim holds already
// changes nothing. The caller holds the claim's lock.
func (s *Store) Hold(k DeviceKey, by Claim) error {
	name, err := k.markerName()
	if err := cmp.Or(err, checkUID(by.UID)); err != nil {
		return fmt.Errorf("hold %s: %w", k, err)
	}
	path := s.owners.File(name)
	for {
		there, err := s.readMarker(name)
		switch {
		case err == nil && there.Claim.UID == by.UID && there.DeviceKey == k:
			return nil
		case err == nil:
			return &HeldError{Key: k, By: there.Claim, Path: path}
		case errors.Is(err, errUnreadable):
			return &HeldError{Key: k, Path: path}
		case !errors.Is(err, fs.ErrNotExist):
			return s.explain("hold "+k.String(), fmt.Errorf("%w: %w", ErrOwnerUnknown, err))
		}
		target, err := json.Marshal(marker{DeviceKey: k, Claim: by})
		if err != nil {
			return fmt.Errorf("hold %s: %w", k, err)
		}
		err = s.withTree(func() error { return s.owners.Symlink(string(target), name) })
		if !errors.Is(err, fs.ErrExist) {
			return s.explain("hold "+k.String(), err)
		}
	}
}

// Release ends the claim's ownership of the given devices; those that others hold are not touched. The caller holds the
// claim's lock.
func (s *Store) Release(by types.UID, keys ...DeviceKey) error {
	var problems []error
	for _, k := range keys {
		name, err := k.markerName()
		if err != nil {
			continue // nobody can hold it
		}
		if err := s.release(by, name); err != nil {
			problems = append(problems, s.explain("release "+k.String(), err))
		}
	}
	return errors.Join(problems...)
}

// ReleaseAll is [Store.Release] for all devices that the claim holds. It looks at every marker of the node.
func (s *Store) ReleaseAll(by types.UID) error {
	var problems []error
	err := s.eachMarker(func(name string, m marker, err error) {
		if err == nil && m.Claim.UID == by {
			problems = append(problems, s.explain("release "+m.DeviceKey.String(), s.release(by, name)))
		}
	})
	return errors.Join(append(problems, err)...)
}

func (s *Store) release(by types.UID, name string) error {
	there, err := s.readMarker(name)
	if err == nil && there.Claim.UID == by {
		err = s.owners.Remove(name)
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errUnreadable) {
		return nil
	}
	return err
}

// Held returns who owns what, and what is wrong with each marker that cannot be read. It needs no lock.
func (s *Store) Held() (held map[DeviceKey]Claim, bad []error, err error) {
	held = map[DeviceKey]Claim{}
	err = s.eachMarker(func(_ string, m marker, err error) {
		if err != nil {
			bad = append(bad, err)
			return
		}
		held[m.DeviceKey] = m.Claim
	})
	return held, bad, err
}

// HeldBy returns what the claim owns, sorted, with its names as the markers have them, which are empty if it owns
// nothing. It looks at every marker of the node, and needs no lock.
func (s *Store) HeldBy(uid types.UID) (keys []DeviceKey, claim Claim, err error) {
	claim.UID = uid
	entries, err := s.owners.List()
	if err != nil {
		return nil, claim, s.explain("read markers", err)
	}
	for _, entry := range entries {
		target, err := s.owners.Readlink(entry.Name())
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.EINVAL):
			continue // gone meanwhile, or no marker
		case err != nil:
			return nil, claim, s.explain("read markers", err)
		case !strings.Contains(target, string(uid)): // as it is, since nothing in a UID is quoted
			continue
		}
		var m marker
		if json.Unmarshal([]byte(target), &m) == nil && m.Claim.UID == uid {
			keys, claim = append(keys, m.DeviceKey), m.Claim
		}
	}
	slices.SortFunc(keys, DeviceKey.Compare)
	return keys, claim, nil
}

func (s *Store) eachMarker(do func(name string, m marker, err error)) error {
	entries, err := s.owners.List()
	if err != nil {
		return s.explain("read markers", err)
	}
	for _, entry := range entries {
		m, err := s.readMarker(entry.Name())
		switch {
		case err == nil, errors.Is(err, errUnreadable):
			do(entry.Name(), m, err)
		case !errors.Is(err, fs.ErrNotExist):
			return s.explain("read markers", err)
		}
	}
	return nil
}

// errUnreadable means that something is at the place of a marker which this program did not make.
var errUnreadable = errors.New("it does not say who holds the device")

func (s *Store) readMarker(name string) (marker, error) {
	var m marker
	target, err := s.owners.Readlink(name)
	switch {
	case err == nil:
		err = json.Unmarshal([]byte(target), &m)
	case !errors.Is(err, syscall.EINVAL): // which says that it is no link
		return m, err
	}
	if err != nil || m.Claim.UID == "" {
		return m, fmt.Errorf("read marker %s: %w; remove it when no container uses the device",
			s.owners.File(name), errUnreadable)
	}
	return m, nil
}
