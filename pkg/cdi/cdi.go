package cdi

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"
	"tags.cncf.io/container-device-interface/pkg/cdi"
	"tags.cncf.io/container-device-interface/pkg/parser"
	cdispecs "tags.cncf.io/container-device-interface/specs-go"

	"example.com/dragoman/pkg/dir"
)

const (
	vendorPrefix = "k8s."
	class        = "gpu"
	// Container runtimes must be able to read what is written here.
	forAllToEnter, forAllToRead = 0o755, 0o644
	// specLimit is far above the largest spec; what is larger is not ours.
	specLimit = 16 << 20
)

// Dir is this driver's spec files in one directory, which it shares with other drivers and tools. All methods may be
// called concurrently; for one claim the caller makes one call at a time that changes something, across processes too.
type Dir struct {
	path   string
	files  dir.Dir // at path
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
	files := dir.At(path, forAllToEnter)
	d := &Dir{path: files.Path(), files: files, vendor: vendorPrefix + driverName}
	if _, _, _, err := parser.ParseQualifiedName(d.ID("name")); err != nil {
		return nil, fmt.Errorf("driver name %q cannot be part of a CDI kind: %w", driverName, err)
	}
	d.prefix = cdi.GenerateTransientSpecName(d.vendor, class, "")
	return d, files.Explain("make CDI directory", files.Make())
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
	if err := checkUID(claim); err != nil {
		return err
	}
	return d.files.Explain("remove CDI spec",
		cmp.Or(d.files.Remove(d.name(claim)), d.files.Remove(d.unfinishedName(claim))))
}

// List returns the claims of which this driver has a file in the directory, finished or not, sorted.
func (d *Dir) List() ([]types.UID, error) {
	entries, err := d.files.List()
	if err != nil {
		return nil, d.files.Explain("list CDI specs", err)
	}
	var claims []types.UID
	for _, entry := range entries {
		name := strings.TrimPrefix(strings.TrimSuffix(entry.Name(), ".tmp"), ".")
		uid, ours := strings.CutPrefix(strings.TrimSuffix(name, ".json"), d.prefix)
		claim := types.UID(uid)
		if ours && checkUID(claim) == nil && slices.Contains([]string{d.name(claim), d.unfinishedName(claim)}, entry.Name()) {
			claims = append(claims, claim)
		}
	}
	slices.Sort(claims)
	return slices.Compact(claims), nil
}

func (d *Dir) name(claim types.UID) string { return d.prefix + string(claim) + ".json" }

// unfinishedName has none of the suffixes by which runtimes know spec files.
func (d *Dir) unfinishedName(claim types.UID) string { return "." + d.name(claim) + ".tmp" }

// checkUID refuses what is no UID: it comes from outside, and becomes part of the names of files and devices.
func checkUID(claim types.UID) error {
	if !dir.IsName(string(claim), "") {
		return fmt.Errorf("claim uid %q is not one: it must be 1 to 64 letters, digits and hyphens", claim)
	}
	return nil
}

// put makes the claim's file have the content raw, laid out for people, and leaves no unfinished one beside it.
func (d *Dir) put(claim types.UID, raw json.RawMessage) error {
	if err := checkUID(claim); err != nil {
		return err
	}
	content, err := layOut(raw)
	if err != nil {
		return fmt.Errorf("lay out CDI spec of claim %s: %w", claim, err)
	}
	name, temp := d.name(claim), d.unfinishedName(claim)
	if there, err := d.files.Read(name, specLimit); err == nil && bytes.Equal(there, content) {
		return d.files.Explain("remove unfinished CDI spec", d.files.Remove(temp))
	}
	err = d.files.Replace(name, temp, content, forAllToRead)
	if errors.Is(err, fs.ErrNotExist) {
		if err = d.files.Make(); err == nil {
			err = d.files.Replace(name, temp, content, forAllToRead)
		}
	}
	return d.files.Explain("write CDI spec", err)
}

func layOut(raw json.RawMessage) ([]byte, error) {
	var b bytes.Buffer
	if err := json.Indent(&b, raw, "", "  "); err != nil {
		return nil, err
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}
