package checkpoint

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
)

const (
	formatName = "dragoman-record/v"
	// formatVersion is what this program writes, and the highest that it reads.
	formatVersion = 1
	// headerLimit bounds the first line of a record.
	headerLimit = 256
)

// Claim names the ResourceClaim of a record or a marker. The UID alone identifies it; names may come again.
type Claim struct {
	Namespace string    `json:"namespace"`
	Name      string    `json:"name"`
	UID       types.UID `json:"uid"`
}

// String returns the claim as people look for it, with its UID.
func (c Claim) String() string {
	if c.Name == "" {
		return "with uid " + string(c.UID)
	}
	return fmt.Sprintf("%s/%s (uid %s)", c.Namespace, c.Name, c.UID)
}

// DeviceKey names what one claim can own: a device of a pool, or a share of it.
type DeviceKey struct {
	Pool    string `json:"pool"`
	Device  string `json:"device"`
	ShareID string `json:"shareID,omitempty"`
}

// String returns the key as part of a sentence.
func (k DeviceKey) String() string {
	device := fmt.Sprintf("device %s of pool %s", k.Device, k.Pool)
	if k.ShareID != "" {
		return fmt.Sprintf("share %s of %s", k.ShareID, device)
	}
	return device
}

// Compare orders keys, for [slices.SortFunc].
func (k DeviceKey) Compare(other DeviceKey) int {
	return cmp.Or(
		cmp.Compare(k.Pool, other.Pool), cmp.Compare(k.Device, other.Device), cmp.Compare(k.ShareID, other.ShareID))
}

// State says how far a claim has come.
type State string

const (
	// Preparing means that anything of the claim may be there, or nothing.
	Preparing State = "Preparing"
	// Prepared means that everything of the claim was made and the answer may have been given.
	Prepared State = "Prepared"
	// Unpreparing means that anything of the claim may be gone already.
	Unpreparing State = "Unpreparing"
)

// Record is what is remembered of one claim. Change one that came from [Store.Get] rather than making a new one, so
// that what a newer version wrote into it survives.
type Record struct {
	Claim   Claim
	State   State
	Devices []Device
	// CDISpec is what the claim's CDI file was made from, to make it again.
	CDISpec json.RawMessage

	unknown map[string]json.RawMessage
	stored  []byte // the file as it was read or written last
}

// Amounts are quantities of capacities, by their names.
type Amounts map[string]resource.Quantity

// Device is what is remembered of one device of a claim.
type Device struct {
	DeviceKey
	// Consumed is what a share takes of the device's capacities; nil for a whole device.
	Consumed Amounts
	// Request is the request of the claim for which the device was allocated.
	Request string
	// AdminAccess means that the claim only looks at the device: it does not own it.
	AdminAccess bool
	// Undo is whatever the backend needs to take the device back.
	Undo json.RawMessage
	// Shown is what the status of the claim shows of the device, a JSON object; empty for nothing.
	Shown json.RawMessage

	unknown map[string]json.RawMessage
}

// newerFormat is why decode refuses a record that a newer program wrote.
type newerFormat struct{ version int }

func (e *newerFormat) Error() string { return fmt.Sprintf("format v%d", e.version) }

func encode(r *Record) ([]byte, error) {
	body, err := r.MarshalJSON() // which package json would read once more
	if err != nil {
		return nil, err
	}
	body = append(body, '\n')
	sum := sha256.Sum256(body)
	header := fmt.Sprintf("%s%d sha256:%s\n", formatName, formatVersion, hex.EncodeToString(sum[:]))
	return append([]byte(header), body...), nil
}

// decode reads the record of uid leniently: unknown fields are kept, missing ones are empty. It returns a *newerFormat
// for the record of a newer program; every other error means that the record is corrupt.
func decode(raw []byte, uid types.UID) (*Record, error) {
	if len(raw) == 0 {
		return nil, errors.New("it is empty")
	}
	head, _, found := bytes.Cut(raw[:min(len(raw), headerLimit)], []byte("\n"))
	if !found {
		return nil, errors.New("it has no header line")
	}
	body := raw[len(head)+1 : len(raw) : len(raw)]
	if err := checkHeader(string(head), body); err != nil {
		return nil, err
	}
	r := &Record{stored: raw}
	if err := r.UnmarshalJSON(body); err != nil {
		return nil, fmt.Errorf("its JSON does not parse: %w", err)
	}
	return r, r.check(uid)
}

func checkHeader(head string, body []byte) error {
	format, checksum, _ := strings.Cut(head, " ")
	number, ours := strings.CutPrefix(format, formatName)
	version, err := strconv.ParseUint(number, 10, 16)
	switch {
	case !ours || err != nil || version == 0 || number[0] == '0':
		return errors.New("its header line names no format of a record")
	case version > formatVersion:
		return &newerFormat{version: int(version)}
	}
	sum := sha256.Sum256(body)
	if checksum != "sha256:"+hex.EncodeToString(sum[:]) {
		return errors.New("its checksum does not match")
	}
	return nil
}

func (r *Record) check(uid types.UID) error {
	if r.Claim.UID != uid {
		return fmt.Errorf("it is the record of another claim, %q", r.Claim.UID)
	}
	if r.State == "" {
		return errors.New("it has no state")
	}
	for _, d := range r.Devices {
		if _, err := d.markerName(); err != nil {
			return err
		}
	}
	return nil
}

// MarshalJSON writes the known fields in a fixed order, then the unknown ones in theirs. The CDI spec is most of a
// record and JSON already, so it is only looked at, and not read and written again by each object that it is in.
func (r Record) MarshalJSON() ([]byte, error) {
	object, err := json.Marshal(struct {
		Claim   Claim    `json:"claim"`
		State   State    `json:"state"`
		Devices []Device `json:"devices,omitempty"`
	}{r.Claim, r.State, r.Devices})
	if err != nil || len(r.CDISpec) == 0 {
		return withUnknown(object, err, r.unknown)
	}
	if !json.Valid(r.CDISpec) {
		return nil, errors.New("its CDI spec is not JSON")
	}
	object = append(append(object[:len(object)-1], `,"cdiSpec":`...), r.CDISpec...)
	return withUnknown(append(object, '}'), nil, r.unknown)
}

// UnmarshalJSON keeps the fields that it does not know.
func (r *Record) UnmarshalJSON(raw []byte) (err error) {
	r.unknown, err = fields(raw, map[string]any{
		"claim": &r.Claim, "state": &r.State, "devices": &r.Devices, "cdiSpec": &r.CDISpec,
	})
	return err
}

// MarshalJSON writes the known fields in a fixed order, then the unknown ones in theirs.
func (d Device) MarshalJSON() ([]byte, error) {
	object, err := json.Marshal(struct {
		DeviceKey
		Consumed    Amounts         `json:"consumed,omitempty"`
		Request     string          `json:"request,omitempty"`
		AdminAccess bool            `json:"adminAccess,omitempty"`
		Undo        json.RawMessage `json:"undo,omitempty"`
		Shown       json.RawMessage `json:"shown,omitempty"`
	}{d.DeviceKey, d.Consumed, d.Request, d.AdminAccess, d.Undo, d.Shown})
	return withUnknown(object, err, d.unknown)
}

// UnmarshalJSON keeps the fields that it does not know.
func (d *Device) UnmarshalJSON(raw []byte) (err error) {
	d.unknown, err = fields(raw, map[string]any{
		"pool": &d.Pool, "device": &d.Device, "shareID": &d.ShareID, "consumed": &d.Consumed,
		"request": &d.Request, "adminAccess": &d.AdminAccess, "undo": &d.Undo, "shown": &d.Shown,
	})
	return err
}

// withUnknown appends unknown, sorted, to an object with at least one field, unless that could not be written.
func withUnknown(object []byte, err error, unknown map[string]json.RawMessage) ([]byte, error) {
	if err != nil || len(unknown) == 0 {
		return object, err
	}
	object = object[:len(object)-1]
	for _, name := range slices.Sorted(maps.Keys(unknown)) {
		quoted, err := json.Marshal(name)
		if err != nil {
			return nil, err
		}
		object = append(append(append(append(object, ','), quoted...), ':'), unknown[name]...)
	}
	return append(object, '}'), nil
}

// fields decodes the fields of a JSON object into known, by exact name, and returns the others.
func fields(raw []byte, known map[string]any) (map[string]json.RawMessage, error) {
	var all map[string]json.RawMessage
	if err := json.Unmarshal(raw, &all); err != nil {
		return nil, err
	}
	for name, into := range known {
		value, ok := all[name]
		if !ok {
			continue
		}
		if err := json.Unmarshal(value, into); err != nil {
			return nil, fmt.Errorf("field %s: %w", name, err)
		}
		delete(all, name)
	}
	if len(all) == 0 {
		return nil, nil
	}
	return all, nil
}
