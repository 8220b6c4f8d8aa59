package cdi

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"k8s.io/apimachinery/pkg/types"
	"tags.cncf.io/container-device-interface/pkg/cdi"
	"tags.cncf.io/container-device-interface/pkg/parser"
	cdispecs "tags.cncf.io/container-device-interface/specs-go"
)

const (
	vendorPrefix = "k8s."
	class        = "gpu"
)

// Dir is this driver's spec files in one directory, which it shares with other drivers and tools. All methods may be
// called concurrently; for one claim the caller makes one call at a time that changes something, across processes too.
type Dir struct {
	path   string
	vendor string
	prefix string // of the names of our files
}

// Spec is what containers get from one claim.
type Spec struct {
	Claim types.UID
	// ContainerEdits are for every container that gets any of the devices.
	ContainerEdits cdispecs.ContainerEdits
	// Devices have names from [DeviceName], no annotations, and edits that are not empty.
	Devices []cdispecs.Device
}

// Open makes the directory where it is missing. Unfinished files that an interrupted process left stay until the next
// Write, WriteRaw or Remove of their claim, see List: only who holds a claim's lock knows that nobody is writing.
func Open(path, driverName string) (*Dir, error) {
	d := &Dir{path: filepath.Clean(path), vendor: vendorPrefix + driverName}
	if _, _, _, err := parser.ParseQualifiedName(d.ID("name")); err != nil {
		return nil, fmt.Errorf("driver name %q cannot be part of a CDI kind: %w", driverName, err)
	}
	d.prefix = cdi.GenerateTransientSpecName(d.vendor, class, "")
	return d, d.explain("make CDI directory", d.makeDirectory())
}

func (d *Dir) makeDirectory() error {
	if _, err := os.Stat(d.path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(d.path, 0o755); err != nil {
		return err
	}
	return os.Chmod(d.path, 0o755) // whatever the umask says
}

// Kind returns the CDI kind of all devices of this driver.
func (d *Dir) Kind() string { return d.vendor + "/" + class }

// DeviceName returns the name of one device of a claim within the kind, which no other claim uses:
// <claimUID>-<device>, followed by -<share> if share is not empty.
func DeviceName(claim types.UID, device, share string) string {
	name := string(claim) + "-" + device
	if share != "" {
		name += "-" + share
	}
	return name
}

// ID returns the qualified name by which the kubelet and the container runtime know a device.
func (d *Dir) ID(deviceName string) string { return parser.QualifiedName(d.vendor, class, deviceName) }

// Write makes the claim's file say what s says, unless it does already, and returns what [Dir.WriteRaw] needs to make
// it again. The same spec gives the same bytes. It refuses what a container runtime could not resolve.
func (d *Dir) Write(s Spec) (raw json.RawMessage, err error) {
	spec := &cdispecs.Spec{
		Kind:           d.Kind(),
		Devices:        slices.Clone(s.Devices),
		ContainerEdits: s.ContainerEdits,
	}
	slices.SortStableFunc(spec.Devices, func(a, b cdispecs.Device) int { return cmp.Compare(a.Name, b.Name) })
	if err := d.complete(spec); err != nil {
		return nil, fmt.Errorf("make CDI spec of claim %s: %w", s.Claim, err)
	}
	raw, err = json.Marshal(spec)
	if err != nil {
		return nil, fmt.Errorf("encode CDI spec of claim %s: %w", s.Claim, err)
	}
	return raw, d.put(s.Claim, raw)
}

// WriteRaw makes the claim's file say what an earlier Write returned, unless it does already, and removes what an
// interrupted Write left. The fields of raw are not looked at, apart from the kind: it may be from a newer version.
func (d *Dir) WriteRaw(claim types.UID, raw json.RawMessage) error {
	var head struct{ Kind string }
	if err := json.Unmarshal(raw, &head); err != nil {
		return fmt.Errorf("restore CDI spec of claim %s: %w", claim, err)
	}
	if head.Kind != d.Kind() {
		return fmt.Errorf("restore CDI spec of claim %s: it is of kind %q, not %q", claim, head.Kind, d.Kind())
	}
	return d.put(claim, raw)
}

// Remove removes the claim's file, finished or not. A missing one counts as removed. It needs no free space.
func (d *Dir) Remove(claim types.UID) error {
	path, err := d.file(claim)
	if err != nil {
		return err
	}
	return d.explain("remove CDI spec", cmp.Or(removeIfThere(path), removeIfThere(d.unfinished(claim))))
}

// List returns the claims of which this driver has a file in the directory, finished or not, sorted.
func (d *Dir) List() ([]types.UID, error) {
	entries, err := os.ReadDir(d.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, d.explain("list CDI specs", err)
	}
	var claims []types.UID
	for _, entry := range entries {
		name := strings.TrimPrefix(strings.TrimSuffix(entry.Name(), ".tmp"), ".")
		uid, ours := strings.CutPrefix(strings.TrimSuffix(name, ".json"), d.prefix)
		claim := types.UID(uid)
		if ours && validUID(claim) && slices.Contains([]string{d.name(claim), d.unfinishedName(claim)}, entry.Name()) {
			claims = append(claims, claim)
		}
	}
	slices.Sort(claims)
	return slices.Compact(claims), nil
}

func (d *Dir) name(claim types.UID) string { return d.prefix + string(claim) + ".json" }

// unfinishedName has none of the suffixes by which runtimes know spec files.
func (d *Dir) unfinishedName(claim types.UID) string { return "." + d.name(claim) + ".tmp" }

func (d *Dir) unfinished(claim types.UID) string { return d.path + "/" + d.unfinishedName(claim) }

// file returns the path of the claim's file. A UID comes from outside: one that is none never becomes a path.
func (d *Dir) file(claim types.UID) (string, error) {
	if !validUID(claim) {
		return "", fmt.Errorf("claim uid %q is not one: it must be 1 to 64 letters, digits and hyphens", claim)
	}
	return d.path + "/" + d.name(claim), nil
}

func validUID(uid types.UID) bool {
	for _, c := range []byte(uid) {
		if !parser.IsAlphaNumeric(rune(c)) && c != '-' {
			return false
		}
	}
	return len(uid) >= 1 && len(uid) <= 64
}

// put makes the claim's file have the content raw, laid out for people, and leaves no unfinished one beside it.
func (d *Dir) put(claim types.UID, raw json.RawMessage) error {
	path, err := d.file(claim)
	if err != nil {
		return err
	}
	content, err := layOut(raw)
	if err != nil {
		return fmt.Errorf("lay out CDI spec of claim %s: %w", claim, err)
	}
	if there, err := os.ReadFile(path); err == nil && bytes.Equal(there, content) {
		return d.explain("remove unfinished CDI spec", removeIfThere(d.unfinished(claim)))
	}
	err = replace(path, d.unfinished(claim), content)
	if errors.Is(err, fs.ErrNotExist) {
		if err = d.makeDirectory(); err == nil {
			err = replace(path, d.unfinished(claim), content)
		}
	}
	return d.explain("write CDI spec", err)
}

func layOut(raw json.RawMessage) ([]byte, error) {
	var b bytes.Buffer
	if err := json.Indent(&b, raw, "", "  "); err != nil {
		return nil, err
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}

// replace makes path have the content, readable by all whatever the umask says. Who looks sees the old content or the
// new one. After an error temp is gone.
func replace(path, temp string, content []byte) error {
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|syscall.O_NOFOLLOW, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	err = errors.Join(err, f.Chmod(0o644), f.Close())
	if err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
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

// explain wraps err, which names the file, with what can be done about it.
func (d *Dir) explain(doing string, err error) error {
	var todo string
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		todo = "; free space in the file system of " + d.path
	case errors.Is(err, syscall.EROFS), errors.Is(err, fs.ErrPermission):
		todo = "; make " + d.path + " writable for this process"
	case errors.Is(err, syscall.ENOTDIR):
		todo = "; make " + d.path + " a directory"
	}
	return fmt.Errorf("%s: %w%s", doing, err, todo)
}
