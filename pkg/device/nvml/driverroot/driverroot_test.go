package driverroot

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const library = "libnvidia-ml.so.1"

// tree makes files ("path" or "path -> target", "path/" is a directory) below a new root.
func tree(t *testing.T, entries ...string) Root {
	t.Helper()
	root := t.TempDir()
	for _, entry := range entries {
		name, target, link := strings.Cut(entry, " -> ")
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		switch {
		case link:
			err = os.Symlink(target, file)
		case strings.HasSuffix(name, "/"):
			err = os.Mkdir(file, 0o755)
		default:
			err = os.WriteFile(file, nil, 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return Root(root)
}

func TestLibraries(t *testing.T) {
	for name, test := range map[string]struct {
		tree []string
		want []string
	}{
		"nothing there": {nil, nil},
		"a file of a distribution": {
			[]string{"usr/lib64/" + library}, []string{"usr/lib64/" + library},
		},
		"a link to the version, as drivers install it": {
			[]string{"usr/lib64/libnvidia-ml.so.580.95.05", "usr/lib64/" + library + " -> libnvidia-ml.so.580.95.05"},
			[]string{"usr/lib64/libnvidia-ml.so.580.95.05"},
		},
		"an absolute link stays in the root": {
			[]string{"opt/nvidia/ml.so", "usr/lib64/" + library + " -> /opt/nvidia/ml.so"}, []string{"opt/nvidia/ml.so"},
		},
		"a merged /usr gives each file once": {
			[]string{"usr/lib64/" + library, "lib64 -> usr/lib64"}, []string{"usr/lib64/" + library},
		},
		"a directory with the library's name hides nothing": {
			[]string{"usr/lib64/" + library + "/", "lib64/" + library}, []string{"lib64/" + library},
		},
		"a link to nowhere and a link to itself": {
			[]string{"usr/lib64/" + library + " -> /gone", "lib64/" + library + " -> " + library}, nil,
		},
		"a link that climbs out of the root": {
			[]string{"usr/lib64/" + library + " -> ../../../../../../../../../../etc/hostname"}, nil,
		},
		"two files, the better place first": {
			[]string{"run/opengl-driver/lib/" + library, "usr/lib64/" + library},
			[]string{"usr/lib64/" + library, "run/opengl-driver/lib/" + library},
		},
	} {
		t.Run(name, func(t *testing.T) {
			root := tree(t, test.tree...)
			found, searched := root.Libraries(library)
			var want []string
			for _, file := range test.want {
				want = append(want, root.Path(file))
			}
			if !slices.Equal(found, want) {
				t.Errorf("found %v, want %v", found, want)
			}
			if !slices.Contains(searched, "/usr/lib64") {
				t.Errorf("does not say what was searched: %v", searched)
			}
		})
	}
}

func TestTheLinkersCacheIsAsked(t *testing.T) {
	root := tree(t, "odd/place/"+library)
	if err := os.MkdirAll(root.Path("etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	cache := ldCacheOf([2]string{"libc.so.6", "/lib/libc.so.6"}, [2]string{library, "/odd/place/" + library})
	for name, raw := range map[string][]byte{
		"of the new format":                cache,
		"behind a cache of the old format": append([]byte("ld.so-1.7.0\x00\x00\x00\x00\x00"), cache...),
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(root.Path(ldCache), raw, 0o644); err != nil {
				t.Fatal(err)
			}
			found, searched := root.Libraries(library)
			if !slices.Equal(found, []string{root.Path("odd/place/" + library)}) || !slices.Contains(searched, ldCache) {
				t.Errorf("found %v in %v", found, searched)
			}
		})
	}
	for name, raw := range map[string][]byte{
		"empty": {}, "something else": []byte("hello"), "cut off": cache[:len(cache)-40],
		"only a header": cache[:ldHeaderSize],
	} {
		t.Run(name, func(t *testing.T) {
			if found, err := parseLDCache(raw, library); err == nil && len(found) > 0 {
				t.Errorf("found %v", found)
			}
		})
	}
}

// ldCacheOf is a cache as glibc writes it.
func ldCacheOf(entries ...[2]string) []byte {
	raw := make([]byte, ldHeaderSize+len(entries)*ldEntrySize)
	copy(raw, ldMagic)
	binary.NativeEndian.PutUint32(raw[len(ldMagic):], uint32(len(entries)))
	for i, entry := range entries {
		at := raw[ldHeaderSize+i*ldEntrySize:]
		for j, text := range entry {
			binary.NativeEndian.PutUint32(at[4+4*j:], uint32(len(raw)))
			raw = append(append(raw, text...), 0)
			at = raw[ldHeaderSize+i*ldEntrySize:]
		}
	}
	return raw
}

func TestProgram(t *testing.T) {
	root := tree(t, "usr/bin/nvidia-smi -> /opt/nvidia/nvidia-smi", "opt/nvidia/nvidia-smi", "usr/sbin/readme")
	if err := os.Chmod(root.Path("usr/sbin/readme"), 0o644); err != nil {
		t.Fatal(err)
	}
	if found, _ := root.Program("nvidia-smi"); found != root.Path("opt/nvidia/nvidia-smi") {
		t.Errorf("found %q", found)
	}
	found, searched := root.Program("readme")
	if found != "" || !slices.Contains(searched, "/usr/bin") {
		t.Errorf("found %q in %v, which nobody can execute", found, searched)
	}
}

func TestResolveRefusesWhatIsNotThere(t *testing.T) {
	root := tree(t, "there")
	if _, err := root.Resolve("not/there"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if got, err := root.Resolve("../../there/../there"); err != nil || got != "/there" {
		t.Error(got, err)
	}
	if got := Root("").Path("usr"); got != "/usr" {
		t.Errorf("the zero root is %q", got)
	}
}
