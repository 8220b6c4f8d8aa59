package checkpoint

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
)

var update = flag.Bool("update", false, "rewrite the golden files") //nolint:gochecknoglobals // a flag

const uid = types.UID("0b0b3c1e-6e5c-4d8a-9d43-0c5a6f7f3a11")

func example() *Record {
	return &Record{
		Claim: Claim{Namespace: "team-a", Name: "train-0", UID: uid},
		State: Prepared,
		Devices: []Device{
			{
				DeviceKey: DeviceKey{Pool: "node-a", Device: "gpu-0"},
				Request:   "gpu", Undo: json.RawMessage(`{"computeMode":"Default"}`),
			},
			{
				DeviceKey: DeviceKey{Pool: "node-a", Device: "gpu-1", ShareID: "f7a1c0de-0000-4000-8000-000000000001"},
				Request:   "parts/small",
			},
			{DeviceKey: DeviceKey{Pool: "node-a", Device: "gpu-2"}, Request: "look", AdminAccess: true},
		},
		CDISpec: json.RawMessage(`{"cdiVersion":"0.5.0","kind":"k8s.gpu.example.com/gpu"}`),
	}
}

// framed puts the header of this format before body.
func framed(body string) []byte {
	sum := sha256.Sum256([]byte(body))
	return []byte("dragoman-record/v1 sha256:" + hex.EncodeToString(sum[:]) + "\n" + body)
}

// shares is a claim that has two shares of one device, and shows something of the first.
func shares() *Record {
	r := example()
	amounts := func(memory string) Amounts {
		return Amounts{"memory": resource.MustParse(memory), "gpu.example.com/compute": resource.MustParse("25")}
	}
	r.Devices = []Device{
		{DeviceKey: DeviceKey{Pool: "node-a", Device: "gpu-4", ShareID: "f7a1c0de-0000-4000-8000-000000000001"},
			Consumed: amounts("10Gi"), Request: "parts", Undo: json.RawMessage(`{"files":[]}`),
			Shown: json.RawMessage(`{"data":{"model":"M"}}`)},
		{DeviceKey: DeviceKey{Pool: "node-a", Device: "gpu-4", ShareID: "f7a1c0de-0000-4000-8000-000000000002"},
			Consumed: amounts("1536Mi"), Request: "parts"},
	}
	return r
}

// TestFault05ReleasedFormats reads the record of each released format. Never change such a file: add one for a new
// format, or for new fields.
func TestFault05ReleasedFormats(t *testing.T) {
	for name, r := range map[string]*Record{"record-v1": example(), "record-v1-shares": shares()} {
		golden := filepath.Join("testdata", name)
		written, err := encode(r)
		if err != nil {
			t.Fatal(err)
		}
		if *update {
			if err := os.WriteFile(golden, written, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(written)); diff != "" {
			t.Errorf("%s: what is written today differs from the released format (-released +written):\n%s", name, diff)
		}
		read, err := decode(want, uid)
		if err != nil {
			t.Fatalf("%s: the released format does not read: %v", name, err)
		}
		read.stored = nil
		if diff := cmp.Diff(r, read, cmp.AllowUnexported(Record{}, Device{})); diff != "" {
			t.Errorf("%s: the released format reads differently (-want +got):\n%s", name, diff)
		}
	}
}

func TestFault05UnknownFieldsSurvive(t *testing.T) {
	body := `{"claim":{"namespace":"n","name":"c","uid":"` + string(uid) + `"},"state":"Preparing",` +
		`"devices":[{"pool":"p","device":"gpu-0","zebra":[1,2],"State":"kept","undo":{"big":12345678901234567890}}],` +
		`"added":{"later":true},"STATE":"not ours"}` + "\n"
	r, err := decode(framed(body), uid)
	if err != nil {
		t.Fatal(err)
	}
	r.State, r.Devices[0].Request = Prepared, "gpu"
	written, err := encode(r)
	if err != nil {
		t.Fatal(err)
	}
	_, got, _ := strings.Cut(string(written), "\n")
	want := `{"claim":{"namespace":"n","name":"c","uid":"` + string(uid) + `"},"state":"Prepared",` +
		`"devices":[{"pool":"p","device":"gpu-0","request":"gpu","undo":{"big":12345678901234567890},` +
		`"State":"kept","zebra":[1,2]}],` +
		`"STATE":"not ours","added":{"later":true}}` + "\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestFault05DowngradeAndUpgrade goes from a later version of this program to this one and back. Its record, of the
// same format, has fields that this version does not know; never change the file.
func TestFault05DowngradeAndUpgrade(t *testing.T) {
	later, err := os.ReadFile(filepath.Join("testdata", "record-v1-later"))
	must(t, err)
	s := newStore(t)
	must(t, os.WriteFile(s.claims.File(recordName(uid)), later, 0o600))
	r, err := s.Get(uid)
	must(t, err)
	if diff := cmp.Diff(example().Devices[1].DeviceKey, r.Devices[1].DeviceKey); diff != "" || r.State != Prepared {
		t.Errorf("state %s, (-want +got):\n%s", r.State, diff)
	}
	must(t, s.Put(r))
	if there, err := os.ReadFile(s.claims.File(recordName(uid))); string(there) != string(later) {
		t.Errorf("what did not change was written anew, %v:\n%s", err, cmp.Diff(string(later), string(there)))
	}
	r.State, r.Devices[0].Request = Unpreparing, "other"
	must(t, s.Put(r))

	var before, after map[string]any
	for file, into := range map[string]*map[string]any{
		filepath.Join("testdata", "record-v1-later"): &before, s.claims.File(recordName(uid)): &after,
	} {
		raw, err := os.ReadFile(file)
		must(t, err)
		_, body, _ := strings.Cut(string(raw), "\n")
		must(t, json.Unmarshal([]byte(body), into))
	}
	before["state"] = "Unpreparing"
	before["devices"].([]any)[0].(map[string]any)["request"] = "other"
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("the later version loses something (-want +got):\n%s", diff)
	}
}

func TestFault04DecodeRefuses(t *testing.T) {
	good, err := encode(example())
	if err != nil {
		t.Fatal(err)
	}
	header, _, _ := strings.Cut(string(good), "\n")
	other := strings.Replace(string(good), "/v1 ", "/v2 ", 1)
	for name, c := range map[string]struct {
		raw  string
		want string
	}{
		"an empty file":               {"", "it is empty"},
		"zeros":                       {strings.Repeat("\x00", 4096), "it has no header line"},
		"a file cut in its header":    {string(good[:20]), "it has no header line"},
		"a file cut after its header": {header + "\n", "its checksum does not match"},
		"a file cut in its body":      {string(good[:len(good)-10]), "its checksum does not match"},
		"a file with something after": {string(good) + "{}", "its checksum does not match"},
		"JSON without a header":       {`{"claim":{"uid":"x"}}` + "\n", "names no format of a record"},
		"a format without number":     {"dragoman-record/v sha256:00\n{}", "names no format of a record"},
		"format zero":                 {"dragoman-record/v0 sha256:00\n{}", "names no format of a record"},
		"a padded format number":      {"dragoman-record/v01 sha256:00\n{}", "names no format of a record"},
		"a newer format":              {other, "format v2"},
		"a much newer format":         {"dragoman-record/v17 something else\n\x00", "format v17"},
		"a header without checksum":   {"dragoman-record/v1\n{}", "its checksum does not match"},
		"a body that is no JSON":      {string(framed("nothing")), "its JSON does not parse"},
		"a field of another type":     {string(framed(`{"state":7}`)), "its JSON does not parse: field state"},
		"null":                        {string(framed("null")), `it is the record of another claim, ""`},
		"the record of another claim": {string(framed(`{"claim":{"uid":"x"},"state":"Prepared"}`)),
			`it is the record of another claim, "x"`},
		"a record without state": {string(framed(`{"claim":{"uid":"` + string(uid) + `"}}`)), "it has no state"},
		"a device that leads elsewhere": {string(framed(`{"claim":{"uid":"` + string(uid) + `"},"state":"Prepared",` +
			`"devices":[{"device":"../x"}]}`)), "cannot be part of a file name"},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := decode([]byte(c.raw), uid)
			if err == nil {
				t.Fatalf("got %+v, want an error", r)
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("got error %q, want %q in it", err, c.want)
			}
			var newer *newerFormat
			if errors.As(err, &newer) != strings.Contains(name, "newer") {
				t.Errorf("got %#v", err)
			}
		})
	}
}

func TestFault04EveryFlippedBitIsNoticed(t *testing.T) {
	good, err := encode(example())
	if err != nil {
		t.Fatal(err)
	}
	for i := range good {
		for bit := range 8 {
			bad := append([]byte(nil), good...)
			bad[i] ^= 1 << bit
			if _, err := decode(bad, uid); err == nil {
				t.Fatalf("bit %d of byte %d was flipped, and decode returned no error", bit, i)
			}
		}
	}
}

func FuzzDecode(f *testing.F) {
	good, err := encode(example())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good, false)
	f.Add(good[:len(good)/2], false)
	claim := `{"claim":{"uid":"` + string(uid) + `"},`
	f.Add([]byte(claim+`"state":"Prepared","devices":[{"device":"gpu-0","x":1}],"y":{}}`), true)
	f.Add([]byte(claim+`"State":"a","state":"b","undo":null}`), true)
	f.Add([]byte("dragoman-record/v2 anything\n"), false)
	f.Fuzz(func(t *testing.T, raw []byte, frame bool) {
		if frame {
			raw = framed(string(raw)) // or the checksum keeps the fuzzer from the JSON
		}
		r, err := decode(raw, uid)
		if err != nil {
			return
		}
		again, err := encode(r)
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		r2, err := decode(again, uid)
		if err != nil {
			t.Fatalf("what was written cannot be read: %v\n%s", err, again)
		}
		third, err := encode(r2)
		if err != nil || string(third) != string(again) {
			t.Fatalf("writing what was read changes it: %v\n%s\n%s", err, again, third)
		}
	})
}

// TestWhatIsNoJSONIsNotWritten: it would be read as a corrupt record.
func TestWhatIsNoJSONIsNotWritten(t *testing.T) {
	for name, spoil := range map[string]func(r *Record, bad json.RawMessage){
		"the CDI spec":         func(r *Record, bad json.RawMessage) { r.CDISpec = bad },
		"how to undo a change": func(r *Record, bad json.RawMessage) { r.Devices[1].Undo = bad },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			must(t, s.Put(example()))
			r, err := s.Get(uid)
			must(t, err)
			spoil(r, json.RawMessage(`{"half":`))
			if err := s.Put(r); err == nil || !strings.Contains(err.Error(), "encode record") {
				t.Errorf("Put: %v", err)
			}
			r, err = s.Get(uid)
			must(t, err)
			if diff := cmp.Diff(example().Devices, r.Devices, cmp.AllowUnexported(Device{})); diff != "" {
				t.Errorf("the earlier record changed:\n%s", diff)
			}
		})
	}
}

func BenchmarkEncode(b *testing.B) {
	r := benchmarked(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := encode(r); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	raw, err := encode(benchmarked(b))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := decode(raw, uid); err != nil {
			b.Fatal(err)
		}
	}
}

// benchmarked is a record with a spec as large as that of a claim with three devices.
func benchmarked(b *testing.B) *Record {
	b.Helper()
	r := example()
	spec := map[string]any{"cdiVersion": "0.5.0", "kind": "k8s.gpu.example.com/gpu"}
	var devices []any
	for _, d := range r.Devices {
		devices = append(devices, map[string]any{"name": string(uid) + "-" + d.Device, "containerEdits": map[string]any{
			"env":         []string{"GPU_DEVICE=" + d.Device, "GPU_DEVICE_UUID=" + string(uid), "GPU_SHARING=None"},
			"deviceNodes": []any{map[string]any{"path": "/dev/" + d.Device, "type": "c", "major": 195, "permissions": "rw"}},
			"mounts":      []any{map[string]any{"hostPath": "/run/" + d.Device, "containerPath": "/run/" + d.Device}},
		}})
	}
	spec["devices"] = devices
	raw, err := json.Marshal(spec)
	if err != nil {
		b.Fatal(err)
	}
	r.CDISpec = raw
	return r
}
