package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"example.com/dragoman/pkg/view"
)

const (
	aSlice = `{apiVersion: resource.k8s.io/v1, kind: ResourceSlice, metadata: {name: s}, spec: {driver: d.example.com,
  nodeName: node-a, pool: {name: node-a, generation: 1, resourceSliceCount: 1}, devices: [{name: gpu-0}]}}
`
	aClaim = `{apiVersion: resource.k8s.io/v1, kind: ResourceClaim, metadata: {name: c, namespace: team-a},
  spec: {devices: {requests: [{name: r, exactly: {deviceClassName: d.example.com}}]}}}
`
	aDeployment = "{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}}\n"
	aFoo        = "{apiVersion: example.org/v1, kind: Foo, metadata: {name: foo}}\n"
)

type bundled struct{ name, text string }

// bundle packs files as "gather" does.
func bundle(t testing.TB, files ...bundled) []byte {
	t.Helper()
	var packed bytes.Buffer
	compressed := gzip.NewWriter(&packed)
	archive := tar.NewWriter(compressed)
	for _, f := range files {
		header := &tar.Header{Name: "dra-bundle/" + f.name, Mode: 0o644, Size: int64(len(f.text)), Typeflag: tar.TypeReg}
		if err := archive.WriteHeader(header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(archive, f.text); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []io.Closer{archive, compressed} {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return packed.Bytes()
}

// reading lets a session read files of these contents with --from; "-" is stdin.
func reading(t testing.TB, files map[string]string) (c *view.Cluster, errOut string, err error) {
	t.Helper()
	streams, stdin, _, stderr := genericiooptions.NewTestIOStreams()
	s := newSession(invocation{name: "kubectl-dra", streams: streams})
	dir := t.TempDir()
	for _, name := range sorted(files) {
		if name == "-" {
			stdin.WriteString(files[name])
			s.from = append(s.from, "-")
			continue
		}
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(files[name]), 0o644); err != nil {
			t.Fatal(err)
		}
		s.from = append(s.from, path)
	}
	c, err = s.read()
	return c, strings.ReplaceAll(stderr.String(), dir+"/", ""), err
}

func TestFilesStandForACluster(t *testing.T) {
	packed := string(bundle(t,
		bundled{"README.txt", "not read"},
		bundled{"cluster/resourceslices.yaml", "---\n" + aSlice},
		bundled{"cluster/resourceclaims.yaml", aClaim},
		bundled{"cluster/look.json", `{"version":"v1.34.3","unseen":[{"resource":"nodes","why":"no","forbidden":true}]}`},
		bundled{"answers/devices.yaml", "kind: : not even YAML"},
	))
	for name, c := range map[string]struct {
		files          map[string]string
		slices, claims int
		version        string
		unseen         int
		said           string
	}{
		"several files together": {files: map[string]string{"a.yaml": aSlice, "b.yaml": aClaim}, slices: 1, claims: 1},
		"standard input":         {files: map[string]string{"-": aSlice + "---\n" + aClaim}, slices: 1, claims: 1},
		"a bundle": {
			files: map[string]string{"b.tar.gz": packed}, slices: 1, claims: 1, version: "v1.34.3", unseen: 1,
		},
		"a bundle without a name": {
			files: map[string]string{"-": packed}, slices: 1, claims: 1, version: "v1.34.3", unseen: 1,
		},
		"kinds that do not matter, of Kubernetes and of others": {
			files: map[string]string{"a.yaml": aSlice + "---\n" + aDeployment + "---\n" + aFoo}, slices: 1,
			said: "Left out, because they do not tell of devices: example.org/v1 Foo\n" +
				"Left out, because they do not tell of devices: apps/v1 Deployment\n",
		},
		"fields of a newer release": {
			files: map[string]string{"a.yaml": strings.Replace(aSlice, "name: gpu-0", "name: gpu-0, colour: red", 1)}, slices: 1,
			said: "a.yaml has fields that are not known here (1); the answer is without them.\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, said, err := reading(t, c.files)
			if err != nil {
				t.Fatal(err)
			}
			if len(got.Slices) != c.slices || len(got.Claims) != c.claims || got.Version != c.version ||
				len(got.Unseen) != c.unseen {
				t.Errorf("%d slices, %d claims, version %q, %d unseen; want %d, %d, %q, %d", len(got.Slices), len(got.Claims),
					got.Version, len(got.Unseen), c.slices, c.claims, c.version, c.unseen)
			}
			if said != c.said {
				t.Errorf("stderr:\n%swant:\n%s", said, c.said)
			}
		})
	}
}

func TestFilesThatAreNoClusterAreRefused(t *testing.T) {
	whole := bundle(t, bundled{"cluster/resourceslices.yaml", aSlice})
	for name, c := range map[string]struct {
		files map[string]string
		want  []string
	}{
		"nothing of devices in it": {
			map[string]string{"a.yaml": aDeployment}, []string{"there is no ResourceSlice, DeviceClass, ResourceClaim or Pod"},
		},
		"no YAML": {
			map[string]string{"a.yaml": "kind: : :"}, []string{"a.yaml:1: "},
		},
		"a field of another type": {
			map[string]string{"a.yaml": strings.Replace(aSlice, "generation: 1", "generation: [1]", 1)},
			[]string{"a.yaml:", "generation"},
		},
		"a bundle that was cut off": {
			map[string]string{"b.tar.gz": string(whole[:len(whole)/2])}, []string{"b.tar.gz: ", "bundle"},
		},
		"a bundle with something else for what was not seen": {
			map[string]string{"b.tar.gz": string(bundle(t, bundled{"cluster/look.json", "[]"}))},
			[]string{"look.json of the bundle"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := reading(t, c.files)
			if err == nil {
				t.Fatal("there is no error")
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error lacks %q: %v", want, err)
				}
			}
		})
	}
}

func TestABundleThatNeverEndsIsNotReadToItsEnd(t *testing.T) {
	endless := &limited{from: endlessly{}, left: 10_000}
	if n, err := io.Copy(io.Discard, endless); err == nil || n > 10_000+32<<10 {
		t.Errorf("%d bytes were read, error %v", n, err)
	}
}

type endlessly struct{}

func (endlessly) Read(p []byte) (int, error) { return len(p), nil }

func TestAFileThatIsNotThereIsNamed(t *testing.T) {
	_, said, code := called(t, "devices", "--from", "testdata/nowhere.yaml")
	want := "error: read --from testdata/nowhere.yaml: stat testdata/nowhere.yaml: no such file or directory\n"
	if code != exitCannotTell || said != want {
		t.Errorf("exit code %d, stderr:\n%swant:\n%s", code, said, want)
	}
}

// FuzzReadBundle reads what somebody sends who has a problem, or is one.
func FuzzReadBundle(f *testing.F) {
	f.Add([]byte("cluster/resourceslices.yaml"), []byte(aSlice))
	f.Add([]byte("cluster/look.json"), []byte(`{"unseen":[{}]}`))
	f.Fuzz(func(t *testing.T, name, text []byte) {
		_, _, _ = reading(t, map[string]string{"-": string(bundle(t, bundled{cut(string(name), 80), string(text)}))})
		_, _, _ = readBundle(bytes.NewReader(text))
	})
}

func cut(name string, length int) string {
	name = strings.Map(func(r rune) rune { return max(r, '!') }, name)
	return name[:min(len(name), length)]
}
