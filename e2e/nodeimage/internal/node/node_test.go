package node

import (
	"encoding/json"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"example.com/dragoman/e2e/nodeimage/internal/versions"
)

func set(t *testing.T) versions.Set {
	t.Helper()
	s, err := versions.Lookup(versions.Default)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestRefNamesVersionAndKey(t *testing.T) {
	s := set(t)
	if got := Ref(s); got != "dragoman/node:v1.34.3-"+Key(s) {
		t.Errorf("got %s", got)
	}
}

func TestEverySystemImageHasItsProgram(t *testing.T) {
	m := Maker{Set: set(t), Work: "/w"}
	binaries := m.binaries()
	for _, ref := range m.Set.SystemImages() {
		name := ref[strings.LastIndex(ref, "/")+1 : strings.LastIndex(ref, ":")]
		if binaries[name] == "" {
			t.Errorf("nothing is known to put into %s", ref)
		}
	}
}

// What kind's base files look like where they are edited.
const kindConfig = `  sandbox_image = "registry.k8s.io/pause:3.10"
  # restrict_oom_score_adj needs to be true when running inside UserNS (rootless)
  restrict_oom_score_adj = false
`

func writeConfig(t *testing.T, text string) string {
	t.Helper()
	tree := t.TempDir()
	if err := place(filepath.Join(tree, "etc/containerd/config.toml"), text, 0o644); err != nil {
		t.Fatal(err)
	}
	return tree
}

func TestCRIConfig(t *testing.T) {
	m := Maker{Set: set(t)}
	got, err := m.criConfig(writeConfig(t, kindConfig))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"\n  restrict_oom_score_adj = true\n", `sandbox_image = "registry.k8s.io/pause:3.10.1"`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
	if _, err := m.criConfig(writeConfig(t, "sandbox_image = \"x\"\n")); err == nil {
		t.Error("a file of kind that looks different was taken for edited")
	}
}

func TestEditSpec(t *testing.T) {
	out, err := editSpec([]byte(`{"process":{"rlimits":[{}],"cwd":"/"},` +
		`"hooks":{"prestart":[{"path":"/a"}]},"n":18446744073709551615}`))
	if err != nil {
		t.Fatal(err)
	}
	var spec struct {
		Process map[string]any
		Hooks   map[string][]struct{ Path string }
		N       json.Number
	}
	if err := json.Unmarshal([]byte(out), &spec); err != nil {
		t.Fatal(err)
	}
	if spec.Process["cwd"] != "/" || spec.Process["rlimits"] != nil || spec.N != "18446744073709551615" {
		t.Errorf("got %s", out)
	}
	if len(spec.Hooks["prestart"]) != 1 || spec.Hooks["createContainer"][0].Path != "/kind/bin/mount-product-files.sh" {
		t.Errorf("hooks are %v", spec.Hooks)
	}
}

func TestNothingIsPlacedWhereDebianHasLinks(t *testing.T) {
	tree := t.TempDir()
	if err := linkUnits(tree); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"bin", "sbin", "lib", "lib64"} {
		if _, err := os.Lstat(filepath.Join(tree, name)); err == nil {
			t.Errorf("/%s would replace Debian's link", name)
		}
	}
	target, err := os.Readlink(filepath.Join(tree, "usr/sbin/init"))
	if err != nil || target != "/usr/lib/systemd/systemd" {
		t.Errorf("init is %q, %v", target, err)
	}
}

func TestCopyTreeMakesProgramsExecutable(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	for _, name := range []string{"local/bin/run", "etc/conf"} {
		if err := place(filepath.Join(from, name), "x", 0o444); err != nil {
			t.Fatal(err)
		}
	}
	if err := copyTree(from, to); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]os.FileMode{"local/bin/run": 0o755, "etc/conf": 0o644} {
		if st, err := os.Stat(filepath.Join(to, name)); err != nil || st.Mode().Perm() != want {
			t.Errorf("%s: %v, %v; want %o", name, st.Mode(), err, want)
		}
	}
}

func TestAssetsAreWellFormed(t *testing.T) {
	for name, text := range map[string]string{"coredns": coreDNSMain, "pause": pauseMain} {
		if _, err := parser.ParseFile(token.NewFileSet(), name, text, parser.SkipObjectResolution); err != nil {
			t.Error(err)
		}
	}
	for name, text := range map[string]string{"entrypoint": entrypoint, "crictl": crictl} {
		if !strings.HasPrefix(text, "#!/bin/") {
			t.Errorf("%s has no interpreter line", name)
		}
	}
	var class struct{ Kind string }
	if err := yaml.Unmarshal([]byte(storage), &class); err != nil || class.Kind != "StorageClass" {
		t.Errorf("storage is a %q, %v", class.Kind, err)
	}
}
