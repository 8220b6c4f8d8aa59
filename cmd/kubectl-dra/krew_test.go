package main

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// krewPlugin is what krew reads of a manifest (v1alpha2); other fields it refuses.
type krewPlugin struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name string `json:"name"`
	} `json:"metadata"`
	Spec struct {
		Version          string         `json:"version"`
		ShortDescription string         `json:"shortDescription"`
		Description      string         `json:"description"`
		Caveats          string         `json:"caveats"`
		Homepage         string         `json:"homepage"`
		Platforms        []krewPlatform `json:"platforms"`
	} `json:"spec"`
}

type krewPlatform struct {
	URI      string `json:"uri"`
	Sha256   string `json:"sha256"`
	Bin      string `json:"bin"`
	Selector struct {
		MatchLabels map[string]string `json:"matchLabels"`
	} `json:"selector"`
}

// filledIn is the manifest as "make kubectl-dra-archives" fills it in.
func filledIn(t *testing.T) krewPlugin {
	t.Helper()
	text, err := os.ReadFile("../../deployments/krew/dra.yaml")
	if err != nil {
		t.Fatal(err)
	}
	text = regexp.MustCompile(`SHA256_\w+`).ReplaceAll(text, []byte(strings.Repeat("0f", 32)))
	fill := strings.NewReplacer("VERSION", "1.2.3", "RELEASES", "https://example.com/releases")
	text = []byte(fill.Replace(string(text)))
	var plugin krewPlugin
	if err := yaml.UnmarshalStrict(text, &plugin); err != nil {
		t.Fatal(err)
	}
	return plugin
}

// TestKrewTakesTheManifest has the rules by which krew validates manifests, and those of its naming guide.
func TestKrewTakesTheManifest(t *testing.T) {
	p := filledIn(t)
	for name, c := range map[string]struct{ got, pattern string }{
		"the version of the format":      {p.APIVersion, `^krew\.googlecontainertools\.github\.com/v1alpha2$`},
		"the kind":                       {p.Kind, `^Plugin$`},
		"the name":                       {p.Metadata.Name, `^[a-z0-9][a-z0-9-]*$`},
		"the version":                    {p.Spec.Version, `^v\d+\.\d+\.\d+$`},
		"one short phrase of what it is": {p.Spec.ShortDescription, `^[A-Z].{10,49}$`},
		"no full stop after it":          {p.Spec.ShortDescription, `[^.]$`},
		"a longer description":           {p.Spec.Description, `\S`},
		"a home page":                    {p.Spec.Homepage, `^https://`},
	} {
		t.Run(name, func(t *testing.T) {
			if !regexp.MustCompile(c.pattern).MatchString(c.got) {
				t.Errorf("%q is not like %s", c.got, c.pattern)
			}
		})
	}
	for line := range strings.Lines(p.Spec.Description + p.Spec.Caveats) {
		if len(strings.TrimRight(line, "\n")) > 100 {
			t.Errorf("a line that is too long for a terminal: %s", line)
		}
	}
}

func TestEachPlatformIsInTheManifestOnce(t *testing.T) {
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(makefile), "\nPLATFORMS := ")
	list, _, _ := strings.Cut(rest, "\n")
	var has []string
	for _, platform := range filledIn(t).Spec.Platforms {
		osName, arch := platform.Selector.MatchLabels["os"], platform.Selector.MatchLabels["arch"]
		has = append(has, osName+"/"+arch)
		want := "https://example.com/releases/v1.2.3/kubectl-dra_v1.2.3_" + osName + "_" + arch + ".tar.gz"
		if platform.URI != want {
			t.Errorf("the archive of %s/%s is at %s, want %s", osName, arch, platform.URI, want)
		}
		if !regexp.MustCompile(`^[0-9a-f]{64}$`).MatchString(platform.Sha256) {
			t.Errorf("the sum of %s/%s is %q", osName, arch, platform.Sha256)
		}
		if want := "kubectl-dra" + map[string]string{"windows": ".exe"}[osName]; platform.Bin != want {
			t.Errorf("the program of %s/%s is %q, want %q", osName, arch, platform.Bin, want)
		}
	}
	if built := strings.Fields(list); len(built) < 6 || !slices.Equal(built, has) {
		t.Errorf("the Makefile builds for %v, and the manifest has %v", built, has)
	}
}
