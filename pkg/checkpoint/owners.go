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

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/types"

	"example.com/dragoman/pkg/dir"
)

// A marker is a symbolic link whose target is not a path but a text: who holds what. One system call makes it, with its
// content, or says that it is there already, so that of two processes exactly one succeeds; and ls -l shows the owners.
//
// The marker of a whole device has the name of the device; in its place shares have a directory with a marker each. So
// that a device is held as a whole or in shares, and never both, costs nothing to find out.
type marker struct {
	DeviceKey
	Claim    Claim   `json:"claim"`
	Consumed Amounts `json:"consumed,omitempty"`
}

// markerLimit is what a symbolic link has room for.
const markerLimit = unix.PathMax - 1

// markerName is <device>-<8 hex digits of the SHA-256 of the pool>: pool names may hold slashes. For a share it is the
// name of the directory in which the marker has the name of the share.
func (k DeviceKey) markerName() (string, error) {
	if !dir.IsName(k.Device, ".") || k.ShareID != "" && !dir.IsName(k.ShareID, "") {
		return "", fmt.Errorf("device %q with share %q cannot be part of a file name", k.Device, k.ShareID)
	}
	if !utf8.ValidString(k.Pool) {
		return "", fmt.Errorf("pool %q is not text", k.Pool) // and would be another one when it is read
	}
	sum := sha256.Sum256([]byte(k.Pool))
	return k.Device + "-" + hex.EncodeToString(sum[:4]), nil
}

// sharesIn returns the directory that shares have in the place of a device's marker.
func (s *Store) sharesIn(name string) dir.Dir { return dir.At(s.owners.File(name), onlyForUs) }

// Hold makes the claim the owner of a device, or of a share of one that consumes what d.Consumed says, unless another
// claim owns it, or a part of it: then it returns a *[HeldError]. If that cannot be found out, the error is
// [ErrOwnerUnknown]. Holding what the claim holds already changes nothing. Of d the key and Consumed count. The caller
// holds the claim's lock.
func (s *Store) Hold(d Device, by Claim) error {
	k := d.DeviceKey
	name, err := k.markerName()
	if err := cmp.Or(err, checkUID(by.UID)); err != nil {
		return fmt.Errorf("hold %s: %w", k, err)
	}
	target, err := markerText(d, by)
	if err != nil {
		return fmt.Errorf("hold %s: %w", k, err)
	}
	for {
		done, err := s.tryHold(k, by, name, target)
		switch {
		case err != nil && !errors.As(err, new(*HeldError)):
			return s.explain("hold "+k.String(), err)
		case err != nil || done:
			return err
		}
	}
}

// markerText leaves out what a share consumes if there is no room for it: then the record tells.
func markerText(d Device, by Claim) (string, error) {
	m := marker{DeviceKey: d.DeviceKey, Claim: by, Consumed: d.Consumed}
	text, err := json.Marshal(m)
	if len(text) > markerLimit {
		m.Consumed = nil
		text, err = json.Marshal(m)
	}
	return string(text), err
}

// tryHold says whether it is done; if not, things changed meanwhile and it has to be tried again.
func (s *Store) tryHold(k DeviceKey, by Claim, name, target string) (done bool, err error) {
	there, err := s.readMarker(s.owners, name)
	switch {
	case err == nil && k.ShareID == "" && there.Claim.UID == by.UID && there.DeviceKey == k:
		return true, nil
	case err == nil:
		return false, &HeldError{Key: k, By: there.Claim, Path: s.owners.File(name)}
	case errors.Is(err, fs.ErrNotExist) && k.ShareID == "":
		return s.mark(s.owners, name, target)
	case errors.Is(err, fs.ErrNotExist):
		return false, s.withTree(func() error { return s.owners.MakeDir(name) })
	case !errors.Is(err, errUnreadable):
		return false, fmt.Errorf("%w: %w", ErrOwnerUnknown, err)
	case !errors.Is(err, errNoLink):
		return false, &HeldError{Key: k, Path: s.owners.File(name)}
	case k.ShareID == "":
		return false, s.heldInShares(k, name)
	}
	return s.tryHoldShare(k, by, name, target)
}

// tryHoldShare is tryHold where something is in the place of the device's marker.
func (s *Store) tryHoldShare(k DeviceKey, by Claim, name, target string) (done bool, err error) {
	shares := s.sharesIn(name)
	there, err := s.readMarker(shares, k.ShareID)
	switch {
	case err == nil && there.Claim.UID == by.UID && there.DeviceKey == k:
		return true, nil
	case err == nil:
		return false, &HeldError{Key: k, By: there.Claim, Path: shares.File(k.ShareID)}
	case errors.Is(err, errUnreadable):
		return false, &HeldError{Key: k, Path: shares.File(k.ShareID)}
	case errors.Is(err, syscall.ENOTDIR):
		return false, &HeldError{Key: k, Path: s.owners.File(name)}
	case !isNothing(err):
		return false, fmt.Errorf("%w: %w", ErrOwnerUnknown, err)
	}
	done, err = s.mark(shares, k.ShareID, target)
	if isNothing(err) { // the last other share went, and the directory with it
		return false, nil
	}
	return done, err
}

// isNothing says whether an error means that there is nothing in a directory of shares, as when the marker of the whole
// device is in its place: a link whose text is too long to be a path, or leads nowhere.
func isNothing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.ENAMETOOLONG)
}

// mark makes a marker; it is not done if something is there.
func (s *Store) mark(in dir.Dir, name, target string) (done bool, err error) {
	link := func() error { return in.Symlink(target, name) }
	if in == s.owners {
		err = s.withTree(link)
	} else {
		err = link()
	}
	if errors.Is(err, fs.ErrExist) {
		return false, nil
	}
	return err == nil, err
}

// heldInShares says who has shares of a device that is wanted as a whole, and removes the directory if nobody has.
func (s *Store) heldInShares(k DeviceKey, name string) error {
	shares := s.sharesIn(name)
	markers, err := shares.List()
	switch {
	case errors.Is(err, syscall.ENAMETOOLONG): // a marker is in its place now
		return nil
	case errors.Is(err, syscall.ENOTDIR):
		return &HeldError{Key: k, Path: s.owners.File(name)}
	case err != nil:
		return fmt.Errorf("%w: %w", ErrOwnerUnknown, err)
	case len(markers) == 0:
		return s.owners.RemoveEmpty(name)
	}
	held := &HeldError{Key: k, Path: shares.Path()}
	for _, entry := range markers {
		if m, err := s.readMarker(shares, entry.Name()); err == nil && !slices.Contains(held.Sharers, m.Claim) {
			held.Sharers = append(held.Sharers, m.Claim)
		}
	}
	if len(held.Sharers) > 0 {
		held.By = held.Sharers[0]
	}
	return held
}

// Share is a share of a device that a claim holds.
type Share struct {
	DeviceKey
	Claim Claim
	// Consumed is what it takes of the device's capacities; nil if that is not known.
	Consumed Amounts
}

// Shares returns the shares of a device that claims hold, by ID. It looks at nothing of other devices, and needs no
// lock. Markers that cannot be read are left out.
func (s *Store) Shares(pool, device string) ([]Share, error) {
	k := DeviceKey{Pool: pool, Device: device}
	name, err := k.markerName()
	if err != nil {
		return nil, fmt.Errorf("look for shares of %s: %w", k, err)
	}
	in := s.sharesIn(name)
	entries, err := in.List()
	if err != nil && !isNothing(err) {
		return nil, s.explain("look for shares of "+k.String(), err)
	}
	shares := make([]Share, 0, len(entries))
	for _, entry := range entries {
		m, err := s.readMarker(in, entry.Name())
		if isNothing(err) || errors.Is(err, errUnreadable) {
			continue
		}
		if err != nil {
			return nil, s.explain("look for shares of "+k.String(), err)
		}
		share := Share(m)
		if share.Consumed == nil {
			share.Consumed = s.consumedBy(m)
		}
		shares = append(shares, share)
	}
	return shares, nil
}

// consumedBy looks up what a marker has no room for.
func (s *Store) consumedBy(m marker) Amounts {
	r, err := s.Look(m.Claim.UID)
	if err != nil {
		return nil
	}
	for _, d := range r.Devices {
		if d.DeviceKey == m.DeviceKey {
			return d.Consumed
		}
	}
	return nil
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
		in := s.owners
		if k.ShareID != "" {
			in, name = s.sharesIn(name), k.ShareID
		}
		if err := s.release(by, in, name); err != nil {
			problems = append(problems, s.explain("release "+k.String(), err))
		}
	}
	return errors.Join(problems...)
}

// ReleaseAll is [Store.Release] for all devices that the claim holds. It looks at every marker of the node.
func (s *Store) ReleaseAll(by types.UID) error {
	var problems []error
	err := s.eachMarker(func(in dir.Dir, name string, m marker, err error) {
		if err == nil && m.Claim.UID == by {
			problems = append(problems, s.explain("release "+m.DeviceKey.String(), s.release(by, in, name)))
		}
	})
	return errors.Join(append(problems, err)...)
}

// release removes a marker, and after the last share its directory.
func (s *Store) release(by types.UID, in dir.Dir, name string) error {
	there, err := s.readMarker(in, name)
	if err == nil && there.Claim.UID == by {
		err = in.Remove(name)
	}
	if err != nil && !isNothing(err) && !errors.Is(err, errUnreadable) {
		return err
	}
	if in != s.owners {
		return s.owners.RemoveEmpty(in.Name())
	}
	return nil
}

// Held returns who owns what, and what is wrong with each marker that cannot be read. It needs no lock.
func (s *Store) Held() (held map[DeviceKey]Claim, bad []error, err error) {
	held = map[DeviceKey]Claim{}
	err = s.eachMarker(func(_ dir.Dir, _ string, m marker, err error) {
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
	err = s.eachPlace(func(in dir.Dir, name string) error {
		target, err := in.Readlink(name)
		switch {
		case isNothing(err), errors.Is(err, syscall.EINVAL):
			return nil // gone meanwhile, or no marker
		case err != nil:
			return err
		case !strings.Contains(target, string(uid)): // as it is, since nothing in a UID is quoted
			return nil
		}
		var m marker
		if json.Unmarshal([]byte(target), &m) == nil && m.Claim.UID == uid {
			keys, claim = append(keys, m.DeviceKey), m.Claim
		}
		return nil
	})
	slices.SortFunc(keys, DeviceKey.Compare)
	return keys, claim, err
}

func (s *Store) eachMarker(do func(in dir.Dir, name string, m marker, err error)) error {
	return s.eachPlace(func(in dir.Dir, name string) error {
		m, err := s.readMarker(in, name)
		switch {
		case err == nil, errors.Is(err, errUnreadable):
			do(in, name, m, err)
		case !isNothing(err):
			return err
		}
		return nil
	})
}

// eachPlace calls do for all that may be a marker, up to the first error.
func (s *Store) eachPlace(do func(in dir.Dir, name string) error) error {
	entries, err := s.owners.List()
	if err != nil {
		return s.explain("read markers", err)
	}
	for _, entry := range entries {
		in, within := s.owners, []fs.DirEntry{entry}
		if entry.IsDir() {
			in = s.sharesIn(entry.Name())
			if within, err = in.List(); err != nil && !isNothing(err) {
				return s.explain("read markers", err)
			}
		}
		for _, e := range within {
			if err := do(in, e.Name()); err != nil {
				return s.explain("read markers", err)
			}
		}
	}
	return nil
}

// errUnreadable means that something is at the place of a marker which this program did not make.
var errUnreadable = errors.New("it does not say who holds the device")

// errNoLink means the same of what is no link; it may be the directory of shares.
var errNoLink = fmt.Errorf("%w", errUnreadable)

func (s *Store) readMarker(in dir.Dir, name string) (marker, error) {
	var m marker
	target, err := in.Readlink(name)
	why := errUnreadable
	switch {
	case err == nil:
		err = json.Unmarshal([]byte(target), &m)
	case errors.Is(err, syscall.EINVAL):
		why = errNoLink
	default:
		return m, err
	}
	if err != nil || m.Claim.UID == "" {
		return m, fmt.Errorf("read marker %s: %w; remove it when no container uses the device", in.File(name), why)
	}
	return m, nil
}
