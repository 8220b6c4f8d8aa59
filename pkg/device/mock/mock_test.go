package mock

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"k8s.io/kube-openapi/pkg/validation/strfmt"
	"k8s.io/kube-openapi/pkg/validation/validate"
	"sigs.k8s.io/yaml"

	gpuv1alpha1 "example.com/dragoman/api/gpu/v1alpha1"
	"example.com/dragoman/pkg/device"
	"example.com/dragoman/pkg/device/devicetest"
)

var update = flag.Bool("update", false, "write the golden files")

const patience = 10 * time.Second

func newBackend(t *testing.T, profile string) *Backend {
	t.Helper()
	b, err := New(Options{
		Profile: profile, NodeName: "node-a", DriverName: "gpu.example.com", Dir: filepath.Join(t.TempDir(), "mock"),
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func devices(t *testing.T, b *Backend) []device.Device {
	t.Helper()
	snapshot, err := b.Devices(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return snapshot.Devices
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got; -update writes it):\n%s", file, diff)
	}
}

func TestConformance(t *testing.T) {
	for _, profile := range BuiltIn() {
		t.Run(profile, func(t *testing.T) {
			devicetest.Run(t, func(t *testing.T) device.Backend {
				return newBackend(t, profile)
			}, gpuv1alpha1.Default())
		})
	}
}

func TestBuiltInProfiles(t *testing.T) {
	want := []string{"dgx-h100", "example", "l4-4x", "mixed", "showcase"}
	if diff := cmp.Diff(want, BuiltIn()); diff != "" {
		t.Fatal(diff)
	}
	for _, profile := range BuiltIn() {
		t.Run(profile, func(t *testing.T) {
			got, err := yaml.Marshal(devices(t, newBackend(t, profile)))
			if err != nil {
				t.Fatal(err)
			}
			golden(t, "devices-"+profile+".yaml", got)
			raw, err := builtIn.ReadFile(builtInFile(profile))
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(string(raw), "# ") {
				t.Error("has no header that says what it is")
			}
		})
	}
}

func TestNewRefuses(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad.yaml")
	writeFile(t, bad, "apiVersion: dragoman.example.com/v1alpha1\nkind: MachineProfile\ngroups: [{count: -1}]\n")
	for name, test := range map[string]struct {
		profile string
		want    []string
	}{
		"a name that is neither built in nor a file": {"dgx-h1000", []string{
			`machine profile "dgx-h1000" is neither built in (dgx-h100, example, l4-4x, mixed, showcase) nor a file`,
		}},
		"no name":             {"", []string{"dgx-h100, example, l4-4x, mixed"}},
		"a directory":         {dir, []string{"read machine profile", dir}},
		"a profile with many": {bad, []string{bad, "groups[0].name", "groups[0].count"}},
		"a built-in's path":   {"../example", []string{"neither built in"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := New(Options{Profile: test.profile, NodeName: "node-a", Dir: dir})
			for _, want := range test.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%v\ndoes not contain\n%s", err, want)
				}
			}
		})
	}
}

func TestUUIDsDifferByNode(t *testing.T) {
	uuids := map[string]bool{}
	for _, node := range []string{"node-a", "node-b"} {
		b, err := New(Options{Profile: "example", NodeName: node, Dir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range devices(t, b) {
			uuids[*d.Attributes["uuid"].StringValue] = true
		}
	}
	if len(uuids) != 16 {
		t.Errorf("%d UUIDs for 16 devices of two nodes", len(uuids))
	}
}

// caller is what prepare does with a backend.
type caller struct {
	*Backend
	undo map[string]json.RawMessage
}

func (c *caller) request(uid types.UID, results ...resourceapi.DeviceRequestAllocationResult) device.Request {
	for i := range results {
		results[i].Driver, results[i].Pool = "gpu.example.com", "node-a"
	}
	return device.Request{
		Claim:  device.Claim{Namespace: "team", Name: "train", UID: uid},
		Config: gpuv1alpha1.Default(), Devices: results, All: results,
		Remember: func(i int, undo json.RawMessage) error {
			c.undo[results[i].Device] = undo
			return nil
		},
	}
}

func newCaller(b *Backend) *caller { return &caller{Backend: b, undo: map[string]json.RawMessage{}} }

func result(request, name string) resourceapi.DeviceRequestAllocationResult {
	return resourceapi.DeviceRequestAllocationResult{Request: request, Device: name}
}

const claimUID = "3f6e7a1c-0000-4000-8000-000000000001"

func files(t *testing.T, dir string) []string {
	t.Helper()
	found := []string{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if path != dir && err == nil {
			name, _ := filepath.Rel(dir, path)
			found = append(found, name)
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return found
}

func writeFile(t *testing.T, file, content string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestPrepare(t *testing.T) {
	shared := result("shared", "gpu-2")
	shared.ShareID = new(types.UID("aaaabbbb-0000-4000-8000-000000000002"))
	admin := result("look", "gpu-1")
	admin.AdminAccess = new(true)
	b := newBackend(t, "dgx-h100")
	c := newCaller(b)
	r := c.request(claimUID, result("one", "gpu-0"), admin, shared)

	for call := range 2 { // the same question, the same answer
		grants, err := b.Prepare(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		var edits []any
		for _, grant := range grants {
			edits = append(edits, map[string]any{"edits": grant.Edits, "undo": grant.Undo})
		}
		got, err := yaml.Marshal(edits)
		if err != nil {
			t.Fatal(err)
		}
		golden(t, "prepare.yaml", []byte(strings.ReplaceAll(string(got), b.options.Dir, "/run/dragoman/mock")))
		for _, grant := range grants {
			mount := grant.Edits.Mounts[0]
			content, err := os.ReadFile(mount.HostPath)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, filepath.Base(mount.ContainerPath), content)
			info, err := os.Stat(mount.HostPath)
			if err != nil || info.Mode() != 0o644 {
				t.Errorf("call %d: mode %v, %v", call, info.Mode(), err)
			}
		}
		if want := []string{
			claimUID, claimUID + "/gpu-0.json", claimUID + "/gpu-1.json",
			claimUID + "/gpu-2.aaaabbbb-0000-4000-8000-000000000002.json",
		}; !slices.Equal(want, files(t, b.options.Dir)) {
			t.Errorf("files: %v", files(t, b.options.Dir))
		}
	}
}

func TestPrepareRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		claim types.UID
		share *types.UID
		names []string
		want  string
	}{
		"a device that is not there": {
			claimUID, nil, []string{"gpu-0", "gpu-8"},
			`device "gpu-8" is not on node node-a: it has gpu-0, gpu-1, gpu-2, gpu-3, gpu-4, gpu-5, gpu-6, gpu-7`,
		},
		"a device that is a path":    {claimUID, nil, []string{"../gpu-0"}, "is not on node"},
		"a claim UID that is a path": {"../x", nil, []string{"gpu-0"}, `claim UID "../x"`},
		"no claim UID":               {"", nil, []string{"gpu-0"}, `claim UID ""`},
		"a share ID that is a path":  {claimUID, new(types.UID("../../x")), []string{"gpu-0"}, `share ID "../../x"`},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBackend(t, "example")
			c := newCaller(b)
			var results []resourceapi.DeviceRequestAllocationResult
			for _, name := range test.names {
				r := result("one", name)
				r.ShareID = test.share
				results = append(results, r)
			}
			_, err := b.Prepare(t.Context(), c.request(test.claim, results...))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v\ndoes not contain\n%s", err, test.want)
			}
			if len(c.undo) != 0 || len(files(t, filepath.Dir(b.options.Dir))) != 0 {
				t.Errorf("left something: %v %v", c.undo, files(t, filepath.Dir(b.options.Dir)))
			}
			for _, r := range results {
				grant := device.Grant{Claim: device.Claim{UID: test.claim}, Result: r}
				check(t, b.Unprepare(t.Context(), grant))
			}
		})
	}
}

func TestRememberComesFirst(t *testing.T) {
	b := newBackend(t, "example")
	r := newCaller(b).request(claimUID, result("one", "gpu-0"))
	full := errors.New("disk full")
	r.Remember = func(int, json.RawMessage) error {
		if left := files(t, b.options.Dir); len(left) != 0 {
			t.Errorf("before Remember there was %v", left)
		}
		return full
	}
	if _, err := b.Prepare(t.Context(), r); !errors.Is(err, full) {
		t.Errorf("error %v", err)
	}
	if left := files(t, b.options.Dir); len(left) != 0 {
		t.Errorf("after Remember failed there is %v", left)
	}
}

func TestPrepareConverges(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, dir, file string){
		"somebody removed the directory": func(t *testing.T, dir, _ string) { check(t, os.RemoveAll(dir)) },
		"somebody removed the file":      func(t *testing.T, _, file string) { check(t, os.Remove(file)) },
		"somebody changed the file":      func(t *testing.T, _, file string) { writeFile(t, file, "{}") },
		"a process died while it wrote":  func(t *testing.T, _, file string) { writeFile(t, file+".tmp", "{") },
		"nothing happened":               func(*testing.T, string, string) {},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBackend(t, "example")
			c := newCaller(b)
			r := c.request(claimUID, result("one", "gpu-0"))
			grants, err := b.Prepare(t.Context(), r)
			check(t, err)
			want, err := os.ReadFile(grants[0].Edits.Mounts[0].HostPath)
			check(t, err)
			damage(t, b.options.Dir, grants[0].Edits.Mounts[0].HostPath)
			_, err = b.Prepare(t.Context(), r)
			check(t, err)
			got, err := os.ReadFile(grants[0].Edits.Mounts[0].HostPath)
			check(t, err)
			if string(want) != string(got) {
				t.Errorf("first\n%s\nthen\n%s", want, got)
			}
			check(t, b.Unprepare(t.Context(), device.Grant{Claim: r.Claim, Result: r.Devices[0]}))
			if left := files(t, b.options.Dir); len(left) != 0 {
				t.Errorf("unprepare left %v", left)
			}
		})
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestUnprepare(t *testing.T) {
	remembered := func(c *caller) json.RawMessage { return c.undo["gpu-0"] }
	for name, undo := range map[string]func(c *caller) json.RawMessage{
		"with what was remembered":     remembered,
		"without it":                   func(*caller) json.RawMessage { return nil },
		"with something else":          func(*caller) json.RawMessage { return json.RawMessage(`"x"`) },
		"with paths that lead outside": func(*caller) json.RawMessage { return outside },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBackend(t, "example")
			c := newCaller(b)
			bystander := filepath.Join(filepath.Dir(b.options.Dir), "bystander.json")
			writeFile(t, bystander, "")
			r := c.request(claimUID, result("one", "gpu-0"), result("two", "gpu-1"))
			_, err := b.Prepare(t.Context(), r)
			check(t, err)
			other := newCaller(b).request("other", result("one", "gpu-0"))
			_, err = b.Prepare(t.Context(), other)
			check(t, err)

			check(t, b.Unprepare(t.Context(), device.Grant{Claim: r.Claim, Result: r.Devices[0], Undo: undo(c)}))
			want := []string{claimUID, claimUID + "/gpu-1.json", "other", "other/gpu-0.json"}
			if diff := cmp.Diff(want, files(t, b.options.Dir)); diff != "" {
				t.Error(diff)
			}
			check(t, b.Unprepare(t.Context(), device.Grant{Claim: r.Claim, Result: r.Devices[1], Undo: undo(c)}))
			if diff := cmp.Diff([]string{"other", "other/gpu-0.json"}, files(t, b.options.Dir)); diff != "" {
				t.Error(diff)
			}
			_, err = os.Stat(bystander)
			check(t, err)
		})
	}
}

var outside = json.RawMessage(`{"files":["../bystander.json","` + claimUID + `/../../bystander.json",` +
	`"other/gpu-0.json",` +
	`"` + claimUID + `/","` + claimUID + `/..","","."]}`)

func TestUnprepareOfAFormerName(t *testing.T) {
	b := newBackend(t, "example")
	check(t, os.MkdirAll(filepath.Join(b.options.Dir, claimUID), 0o755))
	writeFile(t, filepath.Join(b.options.Dir, claimUID, "former.json"), "")
	check(t, b.Unprepare(t.Context(), device.Grant{
		Claim: device.Claim{UID: claimUID}, Result: result("one", "gpu-0"),
		Undo: json.RawMessage(`{"files":["` + claimUID + `/former.json"]}`),
	}))
	if left := files(t, b.options.Dir); len(left) != 0 {
		t.Errorf("left %v", left)
	}
}

func TestSweep(t *testing.T) {
	b := newBackend(t, "example")
	check(t, b.Sweep(t.Context(), func(types.UID) bool { return false }))
	c := newCaller(b)
	for _, uid := range []types.UID{"known", "unknown"} {
		_, err := b.Prepare(t.Context(), c.request(uid, result("one", "gpu-0")))
		check(t, err)
	}
	writeFile(t, filepath.Join(b.options.Dir, "a-file"), "")
	check(t, os.Mkdir(filepath.Join(b.options.Dir, "not.ours"), 0o755))
	check(t, b.Sweep(t.Context(), func(uid types.UID) bool { return uid == "known" }))
	want := []string{"a-file", "known", "known/gpu-0.json", "not.ours"}
	if diff := cmp.Diff(want, files(t, b.options.Dir)); diff != "" {
		t.Error(diff)
	}
}

// profileOf returns a profile with that many devices.
func profileOf(count int) string {
	return fmt.Sprintf("apiVersion: dragoman.example.com/v1alpha1\nkind: MachineProfile\ngroups: [{name: a, count:"+
		" %d}]\n", count)
}

func TestAProfileFileThatBecomesBadKeepsItsDevices(t *testing.T) {
	file := filepath.Join(t.TempDir(), "profile.yaml")
	writeFile(t, file, profileOf(2))
	b := newBackend(t, file)
	c := newCaller(b)
	for _, step := range []struct {
		name, content string
		want          int
		wantErr       string
	}{
		{"as it was made", profileOf(2), 2, ""},
		{"bad", profileOf(-1), 0, "groups[0].count"},
		{"no YAML", "{", 0, "profile.yaml"},
		{"good again", profileOf(3), 3, ""},
	} {
		writeFile(t, file, step.content)
		snapshot, err := b.Devices(t.Context())
		if len(snapshot.Devices) != step.want || (err == nil) != (step.wantErr == "") {
			t.Errorf("%s: %d devices, error %v", step.name, len(snapshot.Devices), err)
		}
		if err != nil && !strings.Contains(err.Error(), step.wantErr) {
			t.Errorf("%s: %v", step.name, err)
		}
		if _, err := b.Prepare(t.Context(), c.request(claimUID, result("one", "gpu-1"))); err != nil {
			t.Errorf("%s: %v", step.name, err)
		}
	}
	check(t, os.Remove(file))
	if _, err := b.Devices(t.Context()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("removed: %v", err)
	}
	_, err := b.Prepare(t.Context(), c.request(claimUID, result("one", "gpu-2")))
	check(t, err)
}

// described returns a profile whose devices have a UUID and a model.
func described(count int, model string) string {
	return fmt.Sprintf("apiVersion: dragoman.example.com/v1alpha1\nkind: MachineProfile\ngroups: [{name: a, count: %d, "+
		"attributes: {uuid: {string: \"{uuid}\"}, model: {string: %s}}, capacity: {memory: {value: 1Gi}}}]\n", count, model)
}

// Who asked has what was answered, and reads it while the profile changes.
func TestASnapshotStaysWhatItWas(t *testing.T) {
	file := filepath.Join(t.TempDir(), "profile.yaml")
	writeFile(t, file, described(3, "old"))
	b := newBackend(t, file)
	before, err := b.Devices(t.Context())
	check(t, err)
	var same []device.Device
	for _, d := range before.Devices {
		same = append(same, device.Device{Device: *d.DeepCopy(), Health: d.Health})
	}
	writeFile(t, file, described(4, "new"))
	after, err := b.Devices(t.Context())
	check(t, err)
	if len(after.Devices) != 4 || *after.Devices[0].Attributes["model"].StringValue != "new" {
		t.Fatalf("the profile was not read again: %v", after.Devices)
	}
	if diff := cmp.Diff(same, before.Devices); diff != "" {
		t.Errorf("the snapshot from before (-was +is):\n%s", diff)
	}
}

// What thousands of devices have in common is in memory once, and what a changed profile leaves as it is stays.
func TestDevicesShareWhatIsTheSame(t *testing.T) {
	file := filepath.Join(t.TempDir(), "profile.yaml")
	writeFile(t, file, described(2, "one"))
	b := newBackend(t, file)
	before, err := b.Devices(t.Context())
	check(t, err)
	one, other := before.Devices[0].Attributes, before.Devices[1].Attributes
	if one["model"].StringValue != other["model"].StringValue {
		t.Errorf("the model is in memory twice: %v, %v", one["model"], other["model"])
	}
	if *one["uuid"].StringValue == *other["uuid"].StringValue {
		t.Errorf("both have the UUID %s", *one["uuid"].StringValue)
	}
	writeFile(t, file, described(3, "one"))
	after, err := b.Devices(t.Context())
	check(t, err)
	if was, is := one["uuid"].StringValue, after.Devices[0].Attributes["uuid"].StringValue; was != is {
		t.Errorf("a device that is the same was made again: %s, %s", *was, *is)
	}
}

func TestWatchSeesChanges(t *testing.T) {
	for name, arrange := range map[string]func(t *testing.T, dir string) (file string, change func()){
		"of a file": func(t *testing.T, dir string) (string, func()) {
			file := filepath.Join(dir, "profile.yaml")
			writeFile(t, file, profileOf(1))
			return file, func() { writeFile(t, file, profileOf(2)) }
		},
		"of a file that is replaced": func(t *testing.T, dir string) (string, func()) {
			file := filepath.Join(dir, "profile.yaml")
			writeFile(t, file, profileOf(1))
			return file, func() {
				writeFile(t, file+".new", profileOf(2))
				check(t, os.Rename(file+".new", file))
			}
		},
		"of a mounted ConfigMap": func(t *testing.T, dir string) (string, func()) {
			for i := range 2 {
				version := filepath.Join(dir, fmt.Sprintf("..version%d", i))
				check(t, os.Mkdir(version, 0o755))
				writeFile(t, filepath.Join(version, "profile.yaml"), profileOf(1+i))
			}
			check(t, os.Symlink("..version0", filepath.Join(dir, "..data")))
			check(t, os.Symlink("..data/profile.yaml", filepath.Join(dir, "profile.yaml")))
			return filepath.Join(dir, "profile.yaml"), func() {
				check(t, os.Symlink("..version1", filepath.Join(dir, "..data_tmp")))
				check(t, os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			file, change := arrange(t, t.TempDir())
			b := newBackend(t, file)
			ctx, stop := context.WithTimeout(t.Context(), patience)
			defer stop()
			seen := make(chan struct{}, 1)
			ended := make(chan error, 1)
			go func() {
				ended <- b.Watch(ctx, func() {
					if snapshot, err := b.Devices(ctx); err == nil && len(snapshot.Devices) == 2 {
						seen <- struct{}{}
					}
				})
			}()
			change()
			select {
			case <-seen:
			case <-ctx.Done():
				t.Error("did not see the change")
			}
			stop()
			check(t, <-ended)
		})
	}
}

func TestWatchSaysThatItCannot(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "sub", "profile.yaml")
	check(t, os.Mkdir(filepath.Dir(file), 0o755))
	writeFile(t, file, profileOf(1))
	b := newBackend(t, file)
	ended := make(chan error, 1)
	go func() { ended <- b.Watch(t.Context(), func() {}) }()
	check(t, os.RemoveAll(filepath.Dir(file)))
	select {
	case err := <-ended:
		if err == nil || !strings.Contains(err.Error(), "watch machine profile") {
			t.Errorf("error %v", err)
		}
	case <-time.After(patience):
		t.Error("watches a directory that is gone")
	}
}

func TestPrepareAnUnhealthyDevice(t *testing.T) {
	file := filepath.Join(t.TempDir(), "profile.yaml")
	writeFile(t, file, strings.Replace(profileOf(2), "count: 2", "count: 2, devices: [{groupIndex: 1, health: "+
		"{unhealthy: true}}]", 1))
	b := newBackend(t, file)
	want := []device.Health{{}, {Unhealthy: true, Reason: "the machine profile says so"}}
	for i, d := range devices(t, b) {
		if d.Health != want[i] {
			t.Errorf("%s: %v", d.Name, d.Health)
		}
	}
	_, err := b.Prepare(t.Context(), newCaller(b).request(claimUID, result("one", "gpu-1")))
	check(t, err)
}

func BenchmarkNew(b *testing.B) {
	for b.Loop() {
		if _, err := New(Options{Profile: "dgx-h100", NodeName: "node-a", Dir: "/nonexistent"}); err != nil {
			b.Fatal(err)
		}
	}
}

func TestBuiltInProfilesFitTheSchema(t *testing.T) {
	raw, err := os.ReadFile("../../../api/config/v1alpha1/schema/machine-profile.json")
	check(t, err)
	var schema spec.Schema
	check(t, json.Unmarshal(raw, &schema))
	for _, profile := range BuiltIn() {
		raw, err := builtIn.ReadFile(builtInFile(profile))
		check(t, err)
		var value any
		check(t, yaml.Unmarshal(raw, &value))
		for _, err := range validate.NewSchemaValidator(&schema, nil, "", strfmt.Default).Validate(value).Errors {
			t.Errorf("%s: %v", profile, err)
		}
	}
}
