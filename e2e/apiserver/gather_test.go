package apiserver

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"example.com/dragoman/pkg/sanity/apiserver"
	"example.com/dragoman/pkg/view/gather"
)

// filesOf returns the files of a bundle by their names.
func filesOf(t *testing.T, bundle io.Reader) map[string]string {
	t.Helper()
	plain, err := gzip.NewReader(bundle)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for files := tar.NewReader(plain); ; {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			return found
		} else if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(files)
		if err != nil {
			t.Fatal(err)
		}
		found[header.Name] = string(content)
	}
}

func TestABundleHasWhatTheUserMaySee(t *testing.T) {
	for _, version := range []string{apiserver.DefaultVersion, newestVersion} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			l := newLooked(t, version)
			alice := l.as(t, "alice", map[string]string{"team-a": "get,list resourceclaims,pods,events"})
			for name, test := range map[string]struct {
				config  *rest.Config
				has     map[string]string // file: a part of it
				hasNot  []string
				missing string
			}{
				"an administrator's has everything": {
					config: configOf(t, l.Kubeconfig),
					has: map[string]string{
						"cluster/look.json": version, "cluster/nodes.yaml": "name: node", "cluster/resourceslices.yaml": "name: slice",
						"cluster/resourceclaims.yaml": "namespace: team-b", "cluster/resourceclaimtemplates.yaml": "name: template",
						"cluster/devicetaintrules.yaml": "name: drain", "cluster/events.yaml": "FailedScheduling",
						"cluster/pods.yaml": "name: pod", "versions.txt": "resource.k8s.io/v1 ",
						"feature-gates.txt": "DRAAdminAccess=true", "README.txt": "  Nothing.\n",
					},
				},
				"a user's has what is in the namespace": {
					config: alice,
					has: map[string]string{
						"cluster/resourceclaims.yaml": "namespace: team-a", "cluster/events.yaml": "FailedScheduling",
						"README.txt": `  resourceslices: resourceslices.resource.k8s.io is forbidden: User "alice"`,
					},
					hasNot:  []string{"cluster/nodes.yaml", "cluster/resourceslices.yaml", "feature-gates.txt"},
					missing: "drivers in namespaces whose pods you may not list",
				},
			} {
				t.Run(name, func(t *testing.T) {
					var bundle bytes.Buffer
					report, err := gather.Write(t.Context(), &bundle, collectorOf(t, test.config), gather.Options{
						Fallback: "team-a", Program: "a test", Time: time.Now(),
					})
					if err != nil {
						t.Fatal(err)
					}
					files := filesOf(t, &bundle)
					for file, part := range test.has {
						if content := files["dra-bundle/"+file]; !strings.Contains(content, part) {
							t.Errorf("%s does not have %q:\n%s", file, part, content)
						}
					}
					for _, file := range test.hasNot {
						if content, has := files["dra-bundle/"+file]; has {
							t.Errorf("it has %s:\n%s", file, content)
						}
					}
					if strings.Contains(files["dra-bundle/cluster/pods.yaml"], "without-devices") {
						t.Error("it has a pod that has nothing to do with devices")
					}
					all := strings.Join(report.Missing, "\n")
					if !strings.HasPrefix(all, test.missing) || (test.missing == "") != (all == "") {
						t.Errorf("missing is said to be %q", all)
					}
				})
			}
		})
	}
}
