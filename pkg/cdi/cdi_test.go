package cdi

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	oci "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/types"
	"tags.cncf.io/container-device-interface/pkg/cdi"
	cdispecs "tags.cncf.io/container-device-interface/specs-go"
)

var update = flag.Bool("update", false, "rewrite the golden files") //nolint:gochecknoglobals // a flag

const (
	uid    = types.UID("0b0b3c1e-6e5c-4d8a-9d43-0c5a6f7f3a11")
	driver = "gpu.example.com"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newDir(t *testing.T) *Dir {
	t.Helper()
	d, err := Open(filepath.Join(t.TempDir(), "run", "cdi"), driver)
	must(t, err)
	return d
}

func env(vars ...string) cdispecs.ContainerEdits { return cdispecs.ContainerEdits{Env: vars} }

func example() Spec {
	return Spec{
		Claim:          uid,
		ContainerEdits: env("KUBERNETES_NODE_NAME=node-a"),
		Devices: []cdispecs.Device{
			{Name: DeviceName(uid, "gpu-1", "f7a1c0de"), ContainerEdits: env("B=<2>", "A=1")},
			{Name: DeviceName(uid, "gpu-0", ""), ContainerEdits: cdispecs.ContainerEdits{
				DeviceNodes: []*cdispecs.DeviceNode{
					{Path: "/dev/dragoman/gpu-0", HostPath: "/dev/null", Type: "c", Permissions: "rw"},
				},
				Mounts: []*cdispecs.Mount{{HostPath: "/a", ContainerPath: "/b", Options: []string{"ro", "bind"}}},
			}},
		},
	}
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

func TestNames(t *testing.T) {
	d := newDir(t)
	for got, want := range map[string]string{
		d.Kind():                             "k8s.gpu.example.com/gpu",
		DeviceName("u-1", "gpu-0", ""):       "u-1-gpu-0",
		DeviceName("u-1", "gpu-0", "s-1"):    "u-1-gpu-0-s-1",
		d.ID(DeviceName("u-1", "mig-0", "")): "k8s.gpu.example.com/gpu=u-1-mig-0",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestFault24OpenRefusesDriverNamesThatAreNone(t *testing.T) {
	for _, name := range []string{"a/b", "gpu example", "gpu=", "../up"} {
		dir := filepath.Join(t.TempDir(), "cdi")
		if _, err := Open(dir, name); err == nil || !strings.Contains(err.Error(), "cannot be part of a CDI kind") {
			t.Errorf("%q: %v", name, err)
		}
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q: the directory was made", name)
		}
	}
}

func TestWrittenFile(t *testing.T) {
	defer unix.Umask(unix.Umask(0o077))
	d := newDir(t)
	_, err := d.Write(example())
	must(t, err)
	path := filepath.Join(d.path, "k8s.gpu.example.com-gpu_"+string(uid)+".json")
	got, err := os.ReadFile(path)
	must(t, err)
	golden := filepath.Join("testdata", "spec.json")
	if *update {
		must(t, os.MkdirAll("testdata", 0o755))
		must(t, os.WriteFile(golden, got, 0o600))
	}
	want, err := os.ReadFile(golden)
	must(t, err)
	if !bytes.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	for name, mode := range map[string]fs.FileMode{path: 0o644, d.path: 0o755 | fs.ModeDir} {
		if info, err := os.Stat(name); err != nil || info.Mode() != mode {
			t.Errorf("%s has mode %v, %v; runtimes may not be able to read it", name, info.Mode(), err)
		}
	}
	if left := names(t, d.path); len(left) != 1 {
		t.Errorf("left: %v", left)
	}
}

func TestRuntimesResolveWhatWasWritten(t *testing.T) {
	d := newDir(t)
	_, err := d.Write(example())
	must(t, err)
	cache, err := cdi.NewCache(cdi.WithSpecDirs(d.path), cdi.WithAutoRefresh(false))
	must(t, err)
	if problems := cache.GetErrors(); len(problems) != 0 {
		t.Fatal(problems)
	}
	container := &oci.Spec{}
	unresolved, err := cache.InjectDevices(container,
		d.ID(DeviceName(uid, "gpu-0", "")), d.ID(DeviceName(uid, "gpu-1", "f7a1c0de")))
	if err != nil || len(unresolved) != 0 {
		t.Fatalf("unresolved: %v, %v", unresolved, err)
	}
	want := []string{"KUBERNETES_NODE_NAME=node-a", "B=<2>", "A=1"}
	if !slices.Equal(container.Process.Env, want) || len(container.Mounts) != 1 || len(container.Linux.Devices) != 1 {
		t.Errorf("the container gets %+v", container)
	}
}

// TestRuntimesNoticeANewFile holds us to what CDI libraries up to 1.0 watch for: they look at a directory again when a
// file in it was renamed, removed or written to, not when one appears.
func TestRuntimesNoticeANewFile(t *testing.T) {
	d := newDir(t)
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	must(t, err)
	defer unix.Close(fd)
	_, err = unix.InotifyAddWatch(fd, d.path, unix.IN_MOVED_FROM|unix.IN_DELETE)
	must(t, err)
	_, err = d.Write(example())
	must(t, err)
	events := make([]byte, 4096)
	if n, err := unix.Read(fd, events); n <= 0 || err != nil {
		t.Errorf("no event for a file that was moved within the directory: %v", err)
	}
}

func TestWriteAgain(t *testing.T) {
	d := newDir(t)
	first, err := d.Write(example())
	must(t, err)
	path := d.path + "/" + d.name(uid)
	before, err := os.Stat(path)
	must(t, err)
	turned := example()
	slices.Reverse(turned.Devices)
	second, err := d.Write(turned)
	must(t, err)
	if !bytes.Equal(first, second) {
		t.Errorf("the order of the devices changes the file:\n%s\n%s", first, second)
	}
	if turned.Devices[0].Name != DeviceName(uid, "gpu-0", "") {
		t.Error("Write sorted the caller's devices")
	}
	if after, err := os.Stat(path); err != nil || !os.SameFile(before, after) {
		t.Errorf("a file with the right content was written again: %v", err)
	}
	content, err := os.ReadFile(path)
	must(t, err)
	for name, spoil := range map[string]func() error{
		"missing":                 func() error { return os.Remove(path) },
		"empty":                   func() error { return os.Truncate(path, 0) },
		"different":               func() error { return os.WriteFile(path, []byte("{}"), 0o600) },
		"gone with its directory": func() error { return os.RemoveAll(d.path) },
		"not finished": func() error {
			return os.WriteFile(d.files.File(d.unfinishedName(uid)), []byte("half"), 0o400)
		},
	} {
		for by, write := range map[string]func() error{
			"Write":    func() error { _, err := d.Write(example()); return err },
			"WriteRaw": func() error { return d.WriteRaw(uid, first) },
		} {
			must(t, spoil())
			must(t, write())
			if there, err := os.ReadFile(path); !bytes.Equal(there, content) || err != nil {
				t.Errorf("%s did not make the file again that was %s: %s, %v", by, name, there, err)
			}
		}
	}
	if left := names(t, d.path); len(left) != 1 {
		t.Errorf("left: %v", left)
	}
}

func TestWriteRawRefusesWhatIsNotOurs(t *testing.T) {
	d := newDir(t)
	for name, raw := range map[string]string{
		"no JSON": "{", "nothing": "", "another kind": `{"kind":"nvidia.com/gpu"}`, "no kind": "{}",
	} {
		err := d.WriteRaw(uid, json.RawMessage(raw))
		if err == nil || !strings.Contains(err.Error(), "restore CDI spec of claim "+string(uid)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if left := names(t, d.path); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

func TestRemoveAndList(t *testing.T) {
	d := newDir(t)
	other, err := Open(d.path, driver+"-2")
	must(t, err)
	for i, dir := range []*Dir{d, d, other} {
		s := example()
		s.Claim = types.UID(fmt.Sprint("claim-", i))
		_, err := dir.Write(s)
		must(t, err)
	}
	must(t, os.WriteFile(d.files.File(d.unfinishedName("claim-1")), nil, 0o600))
	must(t, os.WriteFile(d.files.File(d.unfinishedName("claim-3")), nil, 0o600))
	for _, name := range []string{
		"nvidia.yaml", "k8s.gpu.example.com-gpu_a b.json", "k8s.gpu.example.com-gpu_x.yaml",
		"k8s.gpu.example.com-gpu_.json", ".k8s.gpu.example.com-gpu_x.json", "k8s.gpu.example.com-gpu_x.json.tmp",
		"k8s.gpu.example.com-gpu_x",
	} {
		must(t, os.WriteFile(filepath.Join(d.path, name), nil, 0o600))
	}
	claims, err := d.List()
	if want := []types.UID{"claim-0", "claim-1", "claim-3"}; !slices.Equal(claims, want) || err != nil {
		t.Errorf("got %v, %v, want %v", claims, err, want)
	}
	for _, claim := range append(claims, "claim-2", "unknown") {
		must(t, d.Remove(claim))
		must(t, d.Remove(claim))
	}
	if claims, err := d.List(); len(claims) != 0 || err != nil {
		t.Errorf("after Remove: %v, %v", claims, err)
	}
	if left := names(t, d.path); len(left) != 8 {
		t.Errorf("others' files: %v", left)
	}
	must(t, os.RemoveAll(d.path))
	if claims, err := d.List(); len(claims) != 0 || err != nil || d.Remove(uid) != nil {
		t.Errorf("without a directory: %v, %v", claims, err)
	}
}

func TestFault24UIDsThatAreNoneNeverBecomePaths(t *testing.T) {
	d := newDir(t)
	for _, bad := range []types.UID{"", "..", "../x", "a/b", "a\x00", "ü", types.UID(strings.Repeat("a", 65))} {
		s := example()
		s.Claim = bad
		_, writeErr := d.Write(s)
		rawErr := d.WriteRaw(bad, json.RawMessage(`{"kind":"k8s.gpu.example.com/gpu"}`))
		for call, err := range map[string]error{"Write": writeErr, "Remove": d.Remove(bad), "WriteRaw": rawErr} {
			if err == nil || !strings.Contains(err.Error(), "is not one") {
				t.Errorf("%s(%q): %v", call, bad, err)
			}
		}
	}
}

// TestValidation holds our validation against that of the CDI library's reader: what it would refuse to read must not
// be written. (The reverse need not be: we also refuse what it would read and then ignore.)
func TestValidation(t *testing.T) {
	device := func(edits cdispecs.ContainerEdits) Spec {
		return Spec{Claim: uid, Devices: []cdispecs.Device{{Name: "gpu-0", ContainerEdits: edits}}}
	}
	claimWide := func(edits cdispecs.ContainerEdits) Spec {
		s := device(env("A=1"))
		s.ContainerEdits = edits
		return s
	}
	named := func(names ...string) Spec {
		s := Spec{Claim: uid}
		for _, name := range names {
			s.Devices = append(s.Devices, cdispecs.Device{Name: name, ContainerEdits: env("A=1")})
		}
		return s
	}
	typed := cdispecs.Mount{HostPath: "/a", ContainerPath: "/b", Type: "bind"}
	eth := cdispecs.LinuxNetDevice{HostInterfaceName: "eth7", Name: "net0"}
	annotated := named("gpu-0")
	annotated.Devices[0].Annotations = map[string]string{"a b": "c"}
	node := func(n *cdispecs.DeviceNode) Spec {
		return device(cdispecs.ContainerEdits{DeviceNodes: []*cdispecs.DeviceNode{n}})
	}
	mount := func(m *cdispecs.Mount) Spec {
		return device(cdispecs.ContainerEdits{Mounts: []*cdispecs.Mount{m}})
	}
	hook := func(h *cdispecs.Hook) Spec {
		return device(cdispecs.ContainerEdits{Hooks: []*cdispecs.Hook{h}})
	}
	rdt := func(r *cdispecs.IntelRdt) Spec { return device(cdispecs.ContainerEdits{IntelRdt: r}) }
	network := func(n *cdispecs.LinuxNetDevice) Spec {
		return device(cdispecs.ContainerEdits{NetDevices: []*cdispecs.LinuxNetDevice{n}})
	}
	for name, c := range map[string]struct {
		spec    Spec
		version string // empty: to be refused
	}{
		"a variable":                      {device(env("A=1")), "0.3.0"},
		"a name that begins with a digit": {named("0-gpu"), "0.5.0"},
		"a mount with a type":             {mount(&typed), "0.4.0"},
		"a group for all devices":         {claimWide(cdispecs.ContainerEdits{AdditionalGIDs: []uint32{7}}), "0.7.0"},
		"a network device":                {network(&eth), "1.1.0"},
		"no devices":                      {Spec{Claim: uid, ContainerEdits: env("A=1")}, ""},
		"a device without edits":          {device(cdispecs.ContainerEdits{}), ""},
		"a device with empty edits":       {device(cdispecs.ContainerEdits{Env: []string{}}), ""},
		"an RDT class that is a path":     {rdt(&cdispecs.IntelRdt{ClosID: "a/b"}), ""},
		"a variable without value":        {device(env("A")), ""},
		"a variable without name":         {claimWide(env("=1")), ""},
		"a device without name":           {named(""), ""},
		"a name with a space":             {named("gpu 0"), ""},
		"a name with =":                   {named("gpu=0"), ""},
		"a name that ends with a hyphen":  {named("gpu-"), ""},
		"one name twice":                  {named("gpu-0", "gpu-1", "gpu-0"), ""},
		"an annotation":                   {annotated, ""},
		"a device node without path":      {node(&cdispecs.DeviceNode{HostPath: "/dev/null"}), ""},
		"a device node of no type":        {node(&cdispecs.DeviceNode{Path: "/dev/x", Type: "x"}), ""},
		"a device node with odd rights":   {node(&cdispecs.DeviceNode{Path: "/dev/x", Permissions: "rwx"}), ""},
		"a nil device node":               {node(nil), ""},
		"a nil mount":                     {mount(nil), ""},
		"a nil hook":                      {hook(nil), ""},
		"a nil network device":            {network(nil), ""},
		"a nil mount for all devices":     {claimWide(cdispecs.ContainerEdits{Mounts: []*cdispecs.Mount{nil}}), ""},
		"a mount without a place":         {mount(&cdispecs.Mount{HostPath: "/a"}), ""},
		"a hook of an unknown kind":       {hook(&cdispecs.Hook{HookName: "never", Path: "/x"}), ""},
		"a network device without a name": {network(&cdispecs.LinuxNetDevice{HostInterfaceName: "eth7"}), ""},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDir(t)
			raw, err := d.Write(c.spec)
			if c.version == "" {
				if err == nil {
					t.Fatalf("it was written: %s", raw)
				}
				want := "make CDI spec of claim " + string(uid) + ": "
				if left := names(t, d.path); len(left) != 0 || !strings.HasPrefix(err.Error(), want) {
					t.Errorf("left %v and %v", left, err)
				}
				return
			}
			must(t, err)
			spec, err := cdi.ReadSpec(d.path+"/"+d.name(uid), 0)
			if err != nil {
				t.Fatalf("the CDI library does not read what was written: %v", err)
			}
			if spec.Version != c.version {
				t.Errorf("it asks for CDI %s, and %s is enough", spec.Version, c.version)
			}
		})
	}
}

// smallDisk mounts a file system of 64 KiB.
func smallDisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		if errors.Is(err, unix.EPERM) && os.Geteuid() != 0 {
			t.Skipf("only root may mount a small file system: %v", err)
		}
		t.Fatalf("mount a small file system: %v", err)
	}
	t.Cleanup(func() { must(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	return dir
}

func TestFault02WithAFullDisk(t *testing.T) {
	dir := smallDisk(t)
	d, err := Open(dir, driver)
	must(t, err)
	_, err = d.Write(example())
	must(t, err)
	if err := os.WriteFile(filepath.Join(dir, "filler"), make([]byte, 1<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	s := example()
	s.Claim = "other"
	want := "free space in the file system of " + dir
	if _, err := d.Write(s); !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), want) {
		t.Errorf("Write: %v", err)
	}
	if left := names(t, dir); !slices.Equal(left, []string{"filler", d.name(uid)}) {
		t.Errorf("left: %v", left)
	}
	must(t, d.Remove(uid))
}

func TestFault03WithAReadOnlyDisk(t *testing.T) {
	dir := smallDisk(t)
	d, err := Open(dir, driver)
	must(t, err)
	_, err = d.Write(example())
	must(t, err)
	must(t, unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	s := example()
	s.Claim = "other"
	want := "make " + dir + " writable for this process"
	_, writeErr := d.Write(s)
	for call, err := range map[string]error{"Write": writeErr, "Remove": d.Remove(uid)} {
		if !errors.Is(err, syscall.EROFS) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", call, err)
		}
	}
	must(t, d.Remove("other")) // there is nothing to remove
	_, err = d.Write(example())
	must(t, err) // it is there already
}

// TestFault05ASpecOfALaterVersion: what a later version of this program wrote is made again as it was.
func TestFault05ASpecOfALaterVersion(t *testing.T) {
	d := newDir(t)
	raw := json.RawMessage(`{"cdiVersion":"9.9.0","kind":"k8s.gpu.example.com/gpu","later":{"a":[1e3,"<"]}}`)
	must(t, d.WriteRaw(uid, raw))
	var compact bytes.Buffer
	there, err := os.ReadFile(d.files.File(d.name(uid)))
	must(t, errors.Join(err, json.Compact(&compact, there)))
	if compact.String() != string(raw) {
		t.Errorf("it became %s", there)
	}
}

// TestFault03WhatIsNoDirectory: it is said when the driver starts, not when the first pod does.
func TestFault03WhatIsNoDirectory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cdi")
	must(t, os.WriteFile(path, nil, 0o600))
	if _, err := Open(path, driver); !errors.Is(err, syscall.ENOTDIR) || !strings.HasSuffix(err.Error(), "a directory") {
		t.Errorf("Open of a file: %v", err)
	}
}

// FuzzNames does everything with any UID and device and looks whether anything is there afterwards.
func FuzzNames(f *testing.F) {
	for _, names := range [][2]string{
		{string(uid), "gpu-0"}, {"..", "../x"}, {"a/b", "a=b"}, {"", ""}, {"a\x00", "\x00"},
	} {
		f.Add(names[0], names[1])
	}
	f.Fuzz(func(t *testing.T, uid, device string) {
		top, err := os.MkdirTemp("/dev/shm", "dragoman-fuzz-") //nolint:usetesting // in memory
		must(t, err)
		defer os.RemoveAll(top) //nolint:errcheck // a later run makes another one
		d, err := Open(filepath.Join(top, "cdi"), driver)
		must(t, err)
		claim := types.UID(uid)
		s := Spec{Claim: claim, Devices: []cdispecs.Device{
			{Name: DeviceName(claim, device, ""), ContainerEdits: env("A=1")},
		}}
		raw, err := d.Write(s)
		if err == nil {
			if claims, err := d.List(); !slices.Equal(claims, []types.UID{claim}) || err != nil {
				t.Errorf("List: %q, %v", claims, err)
			}
			cache, err := cdi.NewCache(cdi.WithSpecDirs(d.path), cdi.WithAutoRefresh(false))
			must(t, err)
			if id := d.ID(s.Devices[0].Name); cache.GetDevice(id) == nil {
				t.Errorf("%q does not resolve: %v", id, cache.GetErrors())
			}
			must(t, d.WriteRaw(claim, raw))
		}
		if removed := d.Remove(claim); err == nil && removed != nil {
			t.Errorf("Remove: %v", removed)
		}
		if left := append(names(t, top), names(t, d.path)...); !slices.Equal(left, []string{"cdi"}) {
			t.Errorf("left: %q", left)
		}
	})
}

func BenchmarkWrite(b *testing.B) {
	d, err := Open(b.TempDir(), driver)
	if err != nil {
		b.Fatal(err)
	}
	s := example()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		s.ContainerEdits.Env[0] = fmt.Sprint("N=", i)
		if _, err := d.Write(s); err != nil {
			b.Fatal(err)
		}
	}
}
