package gobuild

import (
	"strings"
	"testing"

	"golang.org/x/mod/modfile"
)

const upstream = `module k8s.io/kubernetes

go 1.24.0

godebug default=go1.24

require (
	example.com/outside v1.2.3
	example.com/indirect v0.1.0 // indirect
	k8s.io/api v0.0.0
	k8s.io/klog/v2 v2.130.1
	k8s.io/sample-apiserver v0.0.0
)

exclude example.com/outside v1.2.2

replace (
	k8s.io/api => ./staging/src/k8s.io/api
	k8s.io/code-generator => ./staging/src/k8s.io/code-generator
	k8s.io/sample-apiserver => ./staging/src/k8s.io/sample-apiserver
)
`

func parse(t *testing.T, text []byte, err error) *modfile.File {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	mod, err := modfile.Parse("go.mod", text, nil)
	if err != nil {
		t.Fatalf("%v in:\n%s", err, text)
	}
	return mod
}

func requires(mod *modfile.File) map[string]string {
	versions := map[string]string{}
	for _, r := range mod.Require {
		versions[r.Mod.Path] = r.Mod.Version
	}
	return versions
}

func TestKubernetesMod(t *testing.T) {
	text, err := kubernetesMod([]byte(upstream), "v1.34.3", "v0.34.3")
	mod := parse(t, text, err)
	if mod.Go.Version != "1.24.0" || len(mod.Godebug) != 1 || mod.Godebug[0].Value != "go1.24" {
		t.Errorf("language settings are not upstream's: %s", text)
	}
	want := map[string]string{
		"k8s.io/kubernetes": "v1.34.3", "k8s.io/api": "v0.34.3", "k8s.io/klog/v2": "v2.130.1",
		"example.com/outside": "v1.2.3", "example.com/indirect": "v0.1.0",
	}
	got := requires(mod)
	for m, v := range want {
		if got[m] != v {
			t.Errorf("requires %s at %q, want %s", m, got[m], v)
		}
	}
	if len(got) != len(want) {
		t.Errorf("requires %v, want only %v", got, want)
	}
	if len(mod.Replace) != 1 || mod.Replace[0].New.Path != "k8s.io/api" || mod.Replace[0].New.Version != "v0.34.3" {
		t.Errorf("replaces %v, want k8s.io/api by its published version", mod.Replace)
	}
}

func TestRequireModTakesNothingButTheModules(t *testing.T) {
	p := Program{Name: "etcd", Module: "example.com/server/v3", Version: "v3.6.5", With: []string{"example.com/api/v3"}}
	text, err := RequireMod([]byte(upstream), p)
	mod := parse(t, text, err)
	got := requires(mod)
	if len(got) != 2 || got[p.Module] != "v3.6.5" || got["example.com/api/v3"] != "v3.6.5" {
		t.Errorf("requires %v", got)
	}
	if len(mod.Replace)+len(mod.Exclude) != 0 || mod.Go.Version != "1.24.0" {
		t.Errorf("took over what go install refuses: %s", text)
	}
}

func TestModWithoutGoDirectiveIsRefused(t *testing.T) {
	if _, err := RequireMod([]byte("module x\n"), Program{Name: "x", Module: "x"}); err == nil {
		t.Error("want an error")
	}
}

func TestKubernetesLDFlags(t *testing.T) {
	flags := kubernetesLDFlags("v1.37.2")
	for _, want := range []string{
		"-X k8s.io/component-base/version.gitVersion=v1.37.2", "-X k8s.io/client-go/pkg/version.gitMinor=37",
	} {
		if !strings.Contains(flags, want) {
			t.Errorf("%q is not in %q", want, flags)
		}
	}
}
