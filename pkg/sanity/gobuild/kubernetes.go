package gobuild

import (
	"fmt"
	"strings"

	"golang.org/x/mod/modfile"
)

// kubernetesMod is the go.mod of a main module that can build Kubernetes' own commands.
//
// Upstream's go.mod points its k8s.io libraries at ./staging, which the module's zip does not have. The same libraries
// are published at the staging version (v0.34.3 for v1.34.3), so they are required and, because upstream requires them
// at v0.0.0, replaced there as well.
func kubernetesMod(upstream []byte, version, staging string) ([]byte, error) {
	up, err := modfile.Parse("go.mod", upstream, nil)
	if err != nil {
		return nil, fmt.Errorf("parse upstream go.mod: %w", err)
	}
	mod, err := newMod("kubernetes", up)
	if err != nil {
		return nil, err
	}
	mod.AddNewRequire("k8s.io/kubernetes", version, false)
	for _, r := range up.Require {
		if r.Mod.Version != "v0.0.0" {
			mod.AddNewRequire(r.Mod.Path, r.Mod.Version, r.Indirect)
		}
	}
	for _, r := range up.Replace {
		if !strings.HasPrefix(r.New.Path, "./staging/") || notLinked(r.Old.Path) {
			continue
		}
		mod.AddNewRequire(r.Old.Path, staging, false)
		if err := mod.AddReplace(r.Old.Path, "", r.Old.Path, staging); err != nil {
			return nil, fmt.Errorf("replace %s: %w", r.Old.Path, err)
		}
	}
	mod.SortBlocks()
	return mod.Format()
}

// notLinked names the staging modules that no command of a node links: they would only be downloaded.
func notLinked(module string) bool {
	return strings.HasPrefix(module, "k8s.io/sample-") || module == "k8s.io/code-generator"
}

// kubernetesLDFlags stamps the version that the commands report, and that kubeadm checks.
func kubernetesLDFlags(version string) string {
	minor, _, _ := strings.Cut(strings.TrimPrefix(version, "v1."), ".")
	var flags []string
	for _, pkg := range []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"} {
		for _, kv := range []string{
			"gitVersion=" + version, "gitMajor=1", "gitMinor=" + minor, "gitTreeState=archive",
			"gitCommit=" + version, "buildDate=1970-01-01T00:00:00Z",
		} {
			flags = append(flags, "-X "+pkg+"."+kv)
		}
	}
	return strings.Join(flags, " ")
}
